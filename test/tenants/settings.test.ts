import { expect, test } from 'vitest';

import { asAdmin, asRoot, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { businessRows } from '../world/business.ts';
import { linkTo } from '../world/mailbox.ts';
import { world } from '../world/server.ts';

const ALL = `tenantId updatedAt organisation { displayName supportUrl timeZone locale }
  security { failedLoginsPerAccount failedLoginsPerAddress failedLoginsWindowMinutes requireVerifiedEmail }
  sessions { maxDays idleDays }`;
const DEFAULTS = {
  organisation: { displayName: null, supportUrl: null, timeZone: 'UTC', locale: 'en' },
  security: {
    failedLoginsPerAccount: 5,
    failedLoginsPerAddress: 20,
    failedLoginsWindowMinutes: 15,
    requireVerifiedEmail: false,
  },
  sessions: { maxDays: 30, idleDays: 7 },
};

test('a tenant that has decided nothing has the defaults', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  expect((await admin.ask(`{ settings { ${ALL} } }`)).data.settings).toEqual({
    tenantId: id,
    updatedAt: null,
    ...DEFAULTS,
  });
});

test('updateSettings changes what is given, null restores a default, and the record says which fields changed', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const first = await admin.do(
    'updateSettings',
    {
      organisation: { displayName: 'Acme & Sons', timeZone: 'Europe/Zurich' },
      security: { failedLoginsPerAccount: 10 },
      sessions: { maxDays: 14 },
    },
    `settings { ${ALL} }`,
  );

  expect(first.data.settings).toMatchObject({
    organisation: { ...DEFAULTS.organisation, displayName: 'Acme & Sons', timeZone: 'Europe/Zurich' },
    security: { ...DEFAULTS.security, failedLoginsPerAccount: 10 },
    sessions: { maxDays: 14, idleDays: 7 },
  });
  const common = {
    action: 'SETTINGS_UPDATED',
    mutation: 'updateSettings',
    by: asAdmin(admin),
    tenantId,
    resourceId: tenantId,
    severity: 'NOTICE',
  } as const;
  await expectRecord(here, admin, first, {
    ...common,
    changes: [
      ['displayName', null, 'Acme & Sons'],
      ['timeZone', null, 'Europe/Zurich'],
      ['failedLoginsPerAccount', null, 10],
      ['maxDays', null, 14],
    ],
  });
  const second = await admin.do(
    'updateSettings',
    { organisation: { timeZone: null, supportUrl: 'https://help.acme.example/' } },
    `settings { ${ALL} }`,
  );
  expect(second.data.settings.organisation).toEqual({
    displayName: 'Acme & Sons',
    supportUrl: 'https://help.acme.example/',
    timeZone: 'UTC',
    locale: 'en',
  });
  await expectRecord(here, admin, second, {
    ...common,
    changes: [
      ['supportUrl', null, 'https://help.acme.example/'],
      ['timeZone', 'Europe/Zurich', null],
    ],
  });
});

test('settings that make no sense are refused with every field that is wrong, and change nothing', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const before = await businessRows(here.database);

  expectRefused(
    await admin.do('updateSettings', {
      organisation: {
        displayName: '',
        supportUrl: 'javascript:alert(1)',
        timeZone: 'Moon/Base',
        locale: 'no way',
      },
      security: { failedLoginsPerAccount: 2, failedLoginsPerAddress: 10_001, failedLoginsWindowMinutes: 0 },
      sessions: { maxDays: 366, idleDays: 0 },
    }),
    'INVALID_INPUT',
    {
      'organisation.displayName': 'must not be empty',
      'organisation.supportUrl': 'must be an http(s) address',
      'organisation.timeZone': 'must be an IANA time zone, such as Europe/Zurich',
      'organisation.locale': 'must be a BCP 47 language tag, such as de-CH',
      'security.failedLoginsPerAccount': 'must be from 3 to 1000',
      'security.failedLoginsPerAddress': 'must be from 3 to 10000',
      'security.failedLoginsWindowMinutes': 'must be from 1 to 1440',
      'sessions.maxDays': 'must be from 1 to 365',
      'sessions.idleDays': 'must be from 1 to 90',
    },
  );
  expectRefused(await admin.do('updateSettings', { sessions: { maxDays: 5 } }), 'INVALID_INPUT', {
    'sessions.idleDays': 'must be at most maxDays, which is 5',
  });
  expect(await businessRows(here.database)).toEqual(before);
});

test('of two that change the settings first at once, both changes stay', async () => {
  const here = await world();
  const { admin } = await here.tenant();

  await Promise.all([
    admin.do('updateSettings', { organisation: { displayName: 'Both' } }),
    admin.do('updateSettings', { sessions: { maxDays: 20 } }),
  ]);

  const { organisation, sessions } = (await admin.ask(`{ settings { ${ALL} } }`)).data.settings;
  expect([organisation.displayName, sessions.maxDays]).toEqual(['Both', 20]);
});

test('the platform has settings of its own and changes those of any tenant; nobody else reaches beyond their own', async () => {
  const here = await world();
  const root = await here.root();
  const { id, admin } = await here.tenant();
  const elsewhere = await here.tenant('Other');

  const own = await root.do('updateSettings', { sessions: { maxDays: 8 } }, 'settings { tenantId }');
  await expectRecord(here, root, own, {
    action: 'SETTINGS_UPDATED',
    mutation: 'updateSettings',
    by: asRoot(root),
    tenantId: null,
    resourceId: '00000000-0000-0000-0000-000000000000',
    severity: 'NOTICE',
    changes: [['maxDays', null, 8]],
  });
  await root.do('updateSettings', { tenantId: id, sessions: { maxDays: 9 } });
  const asked = `{ own: settings { tenantId sessions { maxDays } } theirs: settings(tenantId: "${id}") { tenantId sessions { maxDays } } }`;
  expect((await root.ask(asked)).data).toEqual({
    own: { tenantId: null, sessions: { maxDays: 8 } },
    theirs: { tenantId: id, sessions: { maxDays: 9 } },
  });
  for (const tenantId of [id, '01890000-0000-7000-8000-000000000000', 'not an id']) {
    expectRefused(await elsewhere.admin.do('updateSettings', { tenantId }), 'TENANT_NOT_FOUND');
    const { errors } = await elsewhere.admin.ask(`{ settings(tenantId: "${tenantId}") { tenantId } }`);
    expect(errors[0]?.extensions['reason']).toBe('TENANT_NOT_FOUND');
  }
  expect(
    (await admin.ask(`{ settings(tenantId: "${id}") { sessions { maxDays } } }`)).data.settings.sessions,
  ).toEqual({ maxDays: 9 });
});

test('members see how the organisation shows itself, and neither security, session lengths nor subscription', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  const mel = await here.user(admin, 'MEMBER');
  const asked = `{ settings { organisation { locale } security { requireVerifiedEmail } sessions { maxDays } }
    tenant(id: "${id}") { name subscription { tier } } }`;

  expect((await mel.ask(asked)).data).toEqual({
    settings: { organisation: { locale: 'en' }, security: null, sessions: null },
    tenant: { name: 'Acme', subscription: null },
  });
  for (const role of ['AUDITOR', 'BRANCH_MANAGER'])
    expect((await (await here.user(admin, role)).ask(asked)).data).toEqual({
      settings: {
        organisation: { locale: 'en' },
        security: { requireVerifiedEmail: false },
        sessions: { maxDays: 30 },
      },
      tenant: { name: 'Acme', subscription: { tier: 'FREE' } },
    });
});

test('sessions last as long as the tenant says', async () => {
  const here = await world();
  const { admin, subdomain } = await here.tenant();
  await admin.do('updateSettings', { sessions: { maxDays: 2, idleDays: 1 } });

  await here.signIn(admin.email, 'correct horse battery', subdomain);

  const [session] = await here.database.admin`
    select s.expires_at - s.created_at = interval '2 days' as lasts, t.expires_at - t.created_at = interval '1 day' as idle
    from sessions s join refresh_tokens t on t.session_id = s.id order by s.id desc limit 1`;
  expect(session).toEqual({ lasts: true, idle: true });
});

test('where a tenant wants e-mails proven, who has not done so can do nothing but that, at once', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  await admin.do('updateSettings', { security: { requireVerifiedEmail: true } });

  for (const asked of [
    `{ tenant(id: "${id}") { id } }`,
    '{ auditLogs { totalCount } }',
    '{ settings { tenantId } }',
  ]) {
    const { errors } = await admin.ask(asked);
    expect(errors[0]?.extensions).toMatchObject({ code: 'FORBIDDEN', reason: 'EMAIL_NOT_VERIFIED' });
  }
  expectRefused(await admin.do('updateUser', { id: admin.id, fullName: 'X' }), 'EMAIL_NOT_VERIFIED');
  expect((await admin.ask('{ me { emailVerified } users { totalCount } }')).data).toEqual({
    me: { emailVerified: false },
    users: { totalCount: 1 },
  });
  const { token } = await linkTo(here, admin.email);
  await here.anybody.do('verifyEmail', { token }, 'success');
  expect((await admin.ask(`{ tenant(id: "${id}") { id } me { emailVerified } }`)).data).toEqual({
    tenant: { id },
    me: { emailVerified: true },
  });
});
