import { expect, test } from 'vitest';

import { auditLogs, type AuditLogRow } from '../../src/audit/tables.ts';
import { expectProven, expectRecord, expectRefused, asAdmin } from '../world/auditRecord.ts';
import { type World, world } from '../world/server.ts';

const ROW_BYTES_MAX = 64 * 1024;
const LONG = 20_000;

test('every record of a busy day proves itself as read from the database', async () => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const root = await here.root();
  const { id, admin } = await here.tenant('Ümläut 😀 & "quotes" \\ </script>');
  const ann = await here.user(admin, 'MEMBER');
  await root.do('updateTenantSubscription', { id, startsAt: '2026-01-01T00:00:00.000001Z', maxUsers: 3 });
  await root.do('deactivateTenant', { id, reason: 'Line\u2028separator and\u200bzero width' });
  await root.do('activateTenant', { id });
  await admin.do('deactivateUser', { id: ann.id, reason: '\ud800 alone' });
  await here.signIn('nobody@example.com', 'wrong');
  await here.signIn('e\u0301@example.com', 'x', '\ud800');
  await here.anybody.do('refreshToken', { refreshToken: 'nonsense' });
  // Addresses that Postgres writes in another way than RFC 5952 has them.
  for (const address of [
    '::2',
    '::0102:0304',
    '::ffff:1.2.3.4',
    '1::',
    '2001:db8:0:1:1:1:1:1',
    '64:ff9b::1.2.3.4',
  ]) {
    await admin.ask(
      `mutation { updateTenant(input: { id: "${id}" }) { receipts { id } } }`,
      {},
      {
        'x-forwarded-for': `198.51.100.7, ${address}`,
        'user-agent': `odd\u00ff agent ${address}`,
      },
    );
  }

  const rows = await recordsOf(here);
  expect(rows.length).toBeGreaterThan(15);
  for (const row of rows) expectProven(row);
  expect(rows.map(({ ipAddress }) => ipAddress)).toEqual(
    expect.arrayContaining([
      '::2',
      '::102:304',
      '1.2.3.4',
      '1::',
      '2001:db8:0:1:1:1:1:1',
      '64:ff9b::102:304',
    ]),
  );
});

test('an address is found and shown in the form of RFC 5952, however Postgres writes it', async () => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const { id, admin } = await here.tenant();
  const answer = await admin.ask(
    `mutation { updateTenant(input: { id: "${id}" }) { receipts { id } } }`,
    {},
    { 'x-forwarded-for': '::0102:0304' },
  );
  expect(answer.errors).toEqual([]);

  const found = await admin.ask(
    'query ($ip: IP) { auditLogs(filter: { ipAddress: $ip }) { nodes { ipAddress } } }',
    {
      ip: '0:0::0102:304',
    },
  );
  expect(found.data.auditLogs.nodes).toEqual([{ ipAddress: '::102:304' }]);
});

test('nothing personal stands in clear anywhere in a record or beside it', async () => {
  const here = await world();
  const { admin } = await here.tenant('Business');
  const secret = { email: 'very.personal@example.com', fullName: 'Veronica Personal', phone: '+44 555 0199' };
  const { data } = await admin.do('createUser', { ...secret, role: 'MEMBER' }, 'user { id }');
  await admin.do('createUser', { ...secret, role: 'MEMBER' });
  await admin.do('updateUser', { id: data.user.id, fullName: 'Veronica Gray', phone: null });
  await admin.do('updateUser', { id: data.user.id, email: 'personal at example' });
  await admin.do('deleteUser', { id: data.user.id });
  await here.signIn(secret.email, 'a wrong password');

  const personal = [
    'very.personal',
    'Veronica',
    'Personal',
    '555 0199',
    'personal at',
    'Admin of',
    admin.email,
  ];
  for (const table of ['audit_logs', 'subject_keys', 'audit_seals']) {
    const rows = await here.database.admin.unsafe<{ text: string }[]>(
      `select t::text as text from ${table} t`,
    );
    for (const { text } of rows) {
      for (const word of [...personal, 'a wrong password', 'correct horse']) {
        expect(text).not.toContain(word);
        expect(text).not.toContain(Buffer.from(word).toString('hex'));
      }
    }
  }
});

test('the input of a refused call is cut, visibly, and the record stays small', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();

  const name = 'n'.repeat(LONG);
  const answer = await admin.do('updateTenant', { id, name, subdomain: '€'.repeat(LONG) });

  expect(answer.errors[0]?.extensions.reason).toBe('INVALID_INPUT');
  const row = await expectRecord(here, admin, answer, {
    action: 'TENANT_UPDATED',
    mutation: 'updateTenant',
    by: asAdmin(admin),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'WARNING',
    failure: 'INVALID_INPUT',
    details: {
      input: {
        id,
        name: `${'n'.repeat(2_048)}… (cut: ${LONG} characters)`,
        subdomain: `${'€'.repeat(2_048)}… (cut: ${LONG} characters)`,
      },
    },
  });
  expect(await bytesOf(here, row)).toBeLessThan(ROW_BYTES_MAX);
});

test('a flood of personal input hides neither who acted nor on whom', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  // Control characters weigh six bytes each in JSON: the worst there is.
  const flood = '\u0001'.repeat(LONG);
  const input = { id: admin.id, email: flood, fullName: flood, phone: flood };
  const answer = await admin.do('updateUser', input);

  expect(answer.errors[0]?.extensions.reason).toBe('INVALID_INPUT');
  const row = await expectRecord(here, admin, answer, {
    action: 'USER_UPDATED',
    mutation: 'updateUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: admin.id,
    resourceName: 'Admin of Acme',
    severity: 'WARNING',
    failure: 'INVALID_INPUT',
    details: {
      input: { id: admin.id },
      cut: expect.stringMatching(/^details had \d+ bytes; 16384 are kept$/),
    },
  });
  expect(await bytesOf(here, row)).toBeLessThan(ROW_BYTES_MAX);
});

test('text that Postgres cannot hold is refused as the caller’s fault, on record', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();

  const input = { email: 'nul\0@example.com', fullName: 'Ann', role: 'MEMBER' };
  const answer = await admin.do('createUser', input);
  expectRefused(answer, 'INVALID_INPUT', { email: 'must be an e-mail address' });
  await expectRecord(here, admin, answer, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asAdmin(admin),
    tenantId,
    severity: 'WARNING',
    failure: 'INVALID_INPUT',
    details: { email: 'nul\u2400@example.com', input: { ...input, email: 'nul\u2400@example.com' } },
  });

  expectRefused(await here.signIn('nul\0@example.com', 'x'), 'INVALID_INPUT');
  expectRefused(await here.signIn('ann@example.com', 'x', 'a\0b'), 'INVALID_INPUT');
  const asked = await root.ask(
    `query ($nul: String) { tenants(search: $nul) { totalCount } auditLogs(filter: { requestId: $nul }) { totalCount }
      failedLoginAttempts(email: $nul) { totalCount } }`,
    { nul: 'a\0b' },
  );
  expect(asked.errors.map(({ extensions }) => extensions.code)).not.toContain('INTERNAL_SERVER_ERROR');
});

async function recordsOf({ server }: World): Promise<AuditLogRow[]> {
  return await server.house.db.withReadTx('PLATFORM', (tx) => tx.select().from(auditLogs));
}

async function bytesOf({ database }: World, { id }: AuditLogRow): Promise<number> {
  const [row] = await database.admin`select pg_column_size(t.*) as bytes from audit_logs t where id = ${id}`;
  return row!.bytes as number;
}
