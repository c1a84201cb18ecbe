/** Erasing people, and the holds that stop it. */
import { expect, test } from 'vitest';

import { exported } from '../world/exports.ts';
import { allSigned } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';

const HOLD = 'legalHold { id tenantId userId from to reason placedBy { id } releasedAt releaseReason }';
const SAID = ['Bob Barker', '+44 20 7946 0002', 'bob@barker.example'];

async function stage() {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant('Acme');
  // Before there was the account: of the e-mail alone.
  await here.signIn('bob@barker.example', 'wrong password');
  const created = await admin.do(
    'createUser',
    { email: 'bob@barker.example', fullName: 'Bob Barker', phone: '+44 20 7946 0002' },
    'user { id }',
  );
  const bob = created.data.user.id as string;
  await here.signIn('bob@barker.example', 'wrong password');
  await admin.do('updateUser', { id: bob, fullName: 'Bob B. Barker' });
  return { here, root, tenantId, admin, bob };
}

/** The whole log as somebody sees it, the words about it included. */
async function logOf(person: Person): Promise<string> {
  const { data, errors } = await person.ask(`{ auditLogs(first: 500) { nodes {
    id resourceName details actor { email name } changes { path before after redaction } } } }`);
  expect(errors).toEqual([]);
  return JSON.stringify(data);
}

async function erase(person: Person, userId: string) {
  return await person.do(
    'eraseSubject',
    { userId, reason: 'Art. 17 GDPR' },
    'erasure { userId erasedAt keysDestroyed }',
  );
}

async function intact(here: World, person: Person, tenantId: string) {
  await allSigned(here.database.admin);
  const { data } = await person.ask(`{ verifyAuditLog(tenantId: "${tenantId}") { ok } }`);
  expect(data.verifyAuditLog.ok).toBe(true);
}

test('what is personal of an erased person is nowhere any more, every record stays, and the log still verifies', async () => {
  const { here, admin, root, bob, tenantId } = await stage();
  const file = await exported(admin, { format: 'NDJSON' });
  for (const said of SAID) expect([said, (await logOf(admin)).includes(said)]).toEqual([said, true]);
  const { admin: sql } = here.database;
  const records = await sql`select id, leaf_hash from audit_logs where tenant_id = ${tenantId} order by id`;

  const { data, errors } = await erase(admin, bob);
  expect(errors).toEqual([]);
  // Of the account and of its e-mail: in the tenant's log. A tenant reaches no other.
  expect(data.erasure).toMatchObject({ userId: bob, keysDestroyed: 1 });
  expect(data.receipts[0].action).toBe('SUBJECT_ERASED');

  const log = await logOf(admin);
  for (const said of [...SAID, 'Bob B.']) expect([said, log.includes(said)]).toEqual([said, false]);
  expect(await sql`select email, full_name, phone, password_hash from users where id = ${bob}`).toEqual([
    { email: `${bob}@erased.invalid`, full_name: 'Erased', phone: null, password_hash: null },
  ]);
  const kept = await sql`select id, leaf_hash from audit_logs where tenant_id = ${tenantId} order by id`;
  expect(kept.slice(0, records.length)).toEqual([...records]);
  await intact(here, admin, tenantId);
  expect((await admin.ask(`{ auditExport(id: "${file.id}") { id } }`)).data.auditExport).toBe(null);
  expect((await here.signIn('bob@barker.example', 'anything')).data).toBe(null);

  // The platform reaches further: the attempts on the e-mail, before there was the account, are in its log.
  const again = await erase(root, bob);
  expect(again.data.erasure.keysDestroyed).toBeGreaterThanOrEqual(0);
  expect(await logOf(root)).not.toContain('Bob');
});

test('a hold stops the erasure of whom it covers until it is released', async () => {
  const { root, admin, bob, tenantId, here } = await stage();
  const other = await here.user(admin, 'MEMBER');
  const refused = async (userId: string) => (await erase(admin, userId)).errors[0]?.extensions['reason'];

  const placed = await root.do('placeLegalHold', { tenantId, userId: bob, reason: 'Bob v Acme' }, HOLD);
  const hold = placed.data.legalHold as { id: string };
  expect(hold).toMatchObject({
    tenantId,
    userId: bob,
    from: null,
    to: null,
    reason: 'Bob v Acme',
    placedBy: { id: root.id },
    releasedAt: null,
  });
  expect(await refused(bob)).toBe('HELD');
  expect(await refused(other.id)).toBeUndefined();
  expect(await logOf(admin)).toContain('Bob B. Barker');

  const released = await root.do('releaseLegalHold', { id: hold.id, reason: 'Settled' }, HOLD);
  expect(released.data.legalHold).toMatchObject({ id: hold.id, releaseReason: 'Settled' });
  const again = await root.do('releaseLegalHold', { id: hold.id, reason: 'Settled' });
  expect(again.errors[0]!.extensions['reason']).toBe('STATE_UNCHANGED');
  const { data } = await admin.ask('{ now: legalHolds { id } ever: legalHolds(withReleased: true) { id } }');
  expect(data).toEqual({ now: [], ever: [{ id: hold.id }] });

  await root.do('placeLegalHold', { tenantId, from: '2020-01-01T00:00:00Z', reason: 'Inquiry' });
  expect(await refused(bob)).toBe('HELD');
});

test('a hold about nobody, in no time or of somebody else is refused', async () => {
  const { root, tenantId, bob } = await stage();
  const reasonOf = async (input: object) =>
    (await root.do('placeLegalHold', { reason: 'Why', ...input })).errors[0]!.extensions;
  expect(await reasonOf({ tenantId: bob })).toMatchObject({ reason: 'TENANT_NOT_FOUND' });
  expect(await reasonOf({ tenantId, userId: root.id })).toMatchObject({ reason: 'USER_NOT_FOUND' });
  const time = { from: '2026-02-01T00:00:00Z', to: '2026-02-01T00:00:00Z' };
  expect(await reasonOf(time)).toMatchObject({ fields: { to: 'must be after `from`' } });
  expect(await reasonOf({ reason: '' })).toMatchObject({ fields: { reason: 'must not be empty' } });
});

test('nobody erases themselves, the last administrator, or anybody without a record', async () => {
  const { here, root, admin, tenantId } = await stage();
  const reasonOf = async (person: Person, userId: string) =>
    (await erase(person, userId)).errors[0]!.extensions['reason'];
  expect(await reasonOf(admin, admin.id)).toBe('OWN_ACCOUNT');
  expect(await reasonOf(root, admin.id)).toBe('LAST_ADMIN');
  const { admin: sql } = here.database;
  const raw = sql.begin(async (tx) => {
    await tx`select set_config('app.scope', 'platform', true)`;
    await tx`select destroy_subject_keys(array(select subject_id from subject_keys where tenant_id = ${tenantId}))`;
  });
  await expect(raw).rejects.toMatchObject({ code: 'CUS01' });
});
