import { expect, test } from 'vitest';

import { asAdmin, asRoot, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { linkTo } from '../world/mailbox.ts';
import { PASSWORD, world } from '../world/server.ts';

const GIVEN = { email: 'Ann.Lee@Example.COM ', fullName: ' Ann Lee ', phone: '+44 20 7946 0000' };
const ANN = { email: 'ann.lee@example.com', fullName: 'Ann Lee', phone: '+44 20 7946 0000' };
const PROFILE = 'user { id email fullName phone }';

test('createUser makes an account without a password, mails a link for one, and the record holds its profile', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const answer = await admin.do(
    'createUser',
    { ...GIVEN, role: 'BRANCH_MANAGER' },
    'user { id email fullName phone role status tenantId lastLoginAt }',
  );

  const { user } = answer.data;
  const made = { ...ANN, role: 'BRANCH_MANAGER', status: 'ACTIVE', tenantId, lastLoginAt: null };
  expect(user).toEqual({ id: user.id, ...made });
  await expectRecord(here, admin, answer, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: user.id,
    resourceName: 'Ann Lee',
    severity: 'NOTICE',
    changes: [
      ['email', null, ANN.email],
      ['fullName', null, ANN.fullName],
      ['phone', null, ANN.phone],
      ['role', null, 'BRANCH_MANAGER'],
      ['status', null, 'ACTIVE'],
    ],
  });

  const { page, token } = await linkTo(here, ANN.email);
  expect(page).toBe('reset-password');
  await here.anybody.do('resetPassword', { token, newPassword: PASSWORD }, 'success');
  expect((await here.signIn(ANN.email, PASSWORD)).data.user.id).toBe(user.id);
});

test('createUser refuses what cannot be an account, and what was tried is on record as personal data', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const input = { email: 'nobody', fullName: ' ', phone: '1'.repeat(41), role: 'MEMBER' };

  const answer = await admin.do('createUser', input);

  expectRefused(answer, 'INVALID_INPUT', {
    email: 'must be an e-mail address',
    fullName: 'must not be empty',
    phone: 'must have at most 40 characters',
  });
  const row = await expectRecord(here, admin, answer, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asAdmin(admin),
    tenantId,
    severity: 'WARNING',
    failure: 'INVALID_INPUT',
    details: { email: 'nobody', input },
  });
  expect(row.details).toEqual({ input: { role: 'MEMBER' } });
});

test('an e-mail belongs to one user of a tenant, also when two take it at once, and to one of each other tenant', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const other = await here.tenant('Other');
  const input = { email: 'ann@example.com', fullName: 'Ann', role: 'MEMBER' };

  const answers = await Promise.all([1, 2].map(() => admin.do('createUser', input, PROFILE)));
  const elsewhere = await other.admin.do('createUser', input, PROFILE);

  const refused = answers.find(({ data }) => data === null);
  expect(answers.filter(({ data }) => data !== null)).toHaveLength(1);
  expectRefused(refused!, 'EMAIL_TAKEN');
  await expectRecord(here, admin, refused!, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asAdmin(admin),
    tenantId,
    severity: 'WARNING',
    failure: 'EMAIL_TAKEN',
    details: { email: input.email, input },
  });
  expect(elsewhere.data.user.email).toBe(input.email);
});

test('updateUser changes what is given; null takes a telephone number away, absence does not', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const created = await admin.do('createUser', { ...ANN, role: 'MEMBER' }, 'user { id }');
  const { id } = created.data.user;
  const record = {
    action: 'USER_UPDATED',
    mutation: 'updateUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: id,
    severity: 'INFO',
  } as const;

  const renamed = await admin.do(
    'updateUser',
    { id, fullName: 'Ann Gray', email: 'GRAY@example.com' },
    PROFILE,
  );
  expect(renamed.data.user).toEqual({ id, ...ANN, fullName: 'Ann Gray', email: 'gray@example.com' });
  await expectRecord(here, admin, renamed, {
    ...record,
    resourceName: 'Ann Gray',
    changes: [
      ['email', ANN.email, 'gray@example.com'],
      ['fullName', 'Ann Lee', 'Ann Gray'],
    ],
  });

  const silent = await admin.do('updateUser', { id, phone: null }, PROFILE);
  expect(silent.data.user).toMatchObject({ fullName: 'Ann Gray', phone: null });
  await expectRecord(here, admin, silent, {
    ...record,
    resourceName: 'Ann Gray',
    changes: [['phone', ANN.phone, null]],
  });

  const same = await admin.do('updateUser', { id, fullName: 'Ann Gray' }, PROFILE);
  await expectRecord(here, admin, same, { ...record, resourceName: 'Ann Gray', changes: [] });
});

test('updateUser refuses null for what a user must have, and an e-mail that is taken', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  const record = {
    action: 'USER_UPDATED',
    mutation: 'updateUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: ann.id,
    resourceName: 'A MEMBER',
    severity: 'WARNING',
  } as const;

  const emptied = { id: ann.id, fullName: null };
  const refused = await admin.do('updateUser', emptied);
  expectRefused(refused, 'INVALID_INPUT', { fullName: expect.any(String) as string });
  await expectRecord(here, admin, refused, {
    ...record,
    failure: 'INVALID_INPUT',
    details: { input: emptied },
  });

  const stolen = { id: ann.id, email: admin.email };
  const taken = await admin.do('updateUser', stolen);
  expectRefused(taken, 'EMAIL_TAKEN');
  await expectRecord(here, admin, taken, {
    ...record,
    failure: 'EMAIL_TAKEN',
    details: { email: admin.email, input: stolen },
  });
});

test('a super administrator makes others like it and users of any tenant', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId } = await here.tenant();

  const peer = await root.do(
    'createUser',
    { ...ANN, role: 'SUPER_ADMIN' },
    'user { id tenantId tenant { id } }',
  );
  expect(peer.data.user).toMatchObject({ tenantId: null, tenant: null });
  await expectRecord(here, root, peer, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asRoot(root),
    tenantId: null,
    resourceId: peer.data.user.id,
    resourceName: 'Ann Lee',
    severity: 'NOTICE',
    changes: [
      ['email', null, ANN.email],
      ['fullName', null, ANN.fullName],
      ['phone', null, ANN.phone],
      ['role', null, 'SUPER_ADMIN'],
      ['status', null, 'ACTIVE'],
    ],
  });
  const member = await here.user(root, 'MEMBER', tenantId);
  expect(member.tenantId).toBe(tenantId);
  const own = await member.do('updateUser', { id: member.id, phone: '1' }, PROFILE);
  await expectRecord(here, root, own, {
    action: 'USER_UPDATED',
    mutation: 'updateUser',
    by: asUser(member, 'MEMBER'),
    tenantId,
    resourceId: member.id,
    resourceName: 'A MEMBER',
    severity: 'INFO',
    changes: [['phone', null, '1']],
  });
});
