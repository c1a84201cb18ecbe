import { expect, test } from 'vitest';

import { asAdmin, asRoot, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { holdLog } from '../world/locks.ts';
import { type Person, PASSWORD, type World, world } from '../world/server.ts';

const leavings = (id: string) =>
  [
    ['changeUserRole', 'USER_ROLE_CHANGED', { id, role: 'MEMBER' }],
    ['deactivateUser', 'USER_DEACTIVATED', { id, reason: 'Enough' }],
    ['deleteUser', 'USER_DELETED', { id }],
  ] as const;

test('a tenant keeps its last administrator, whoever asks, and the attempt is on record', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  // One that is shut out does not count.
  const out = await here.user(admin, 'TENANT_ADMIN');
  await admin.do('deactivateUser', { id: out.id, reason: 'Leave' });

  for (const [mutation, action, input] of leavings(admin.id)) {
    const answer = await root.do(mutation, input);
    expectRefused(answer, 'LAST_ADMIN');
    await expectRecord(here, root, answer, {
      action,
      mutation,
      by: asRoot(root),
      tenantId,
      resourceId: admin.id,
      resourceName: 'Admin of Acme',
      severity: 'WARNING',
      security: action === 'USER_ROLE_CHANGED',
      failure: 'LAST_ADMIN',
      details: { input },
    });
  }
  expect(await administrators(here, tenantId)).toEqual([admin.id]);
});

test('an administrator may go when another stays', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  for (const [mutation, , input] of leavings('')) {
    const other = await here.user(admin, 'TENANT_ADMIN');
    expect((await admin.do(mutation, { ...input, id: other.id })).errors).toEqual([]);
  }
  expect(await administrators(here, tenantId)).toEqual([admin.id]);
});

test.each(['changeUserRole', 'deactivateUser', 'deleteUser'])(
  'of two administrators who remove each other at once by %s, one stays',
  async (mutation) => {
    const here = await world();
    const { id: tenantId, admin } = await here.tenant();
    const other = await here.user(admin, 'TENANT_ADMIN');
    const [, action, { id: _id, ...input }] = leavings('').find(([name]) => name === mutation)!;

    const log = await holdLog(here.database.admin);
    const first = admin.do(mutation, { id: other.id, ...input });
    await log.waiting(1);
    const second = other.do(mutation, { id: admin.id, ...input });
    await log.waiting(2);
    await log.release();

    expect((await first).errors).toEqual([]);
    const answer = await second;
    expectRefused(answer, 'LAST_ADMIN');
    expect(await administrators(here, tenantId)).toEqual([admin.id]);
    await expectRecord(here, admin, answer, {
      action,
      mutation,
      by: asUser(other, 'TENANT_ADMIN'),
      tenantId,
      resourceId: admin.id,
      resourceName: 'Admin of Acme',
      severity: 'WARNING',
      security: action === 'USER_ROLE_CHANGED',
      failure: 'LAST_ADMIN',
      details: { input: { id: admin.id, ...input } },
    });
  },
);

test('the platform keeps a super administrator, also when two remove each other at once', async () => {
  const here = await world();
  const root = await here.root();
  const peer = await superAdministrator(here, root);

  const log = await holdLog(here.database.admin);
  const first = root.do('deactivateUser', { id: peer.id, reason: 'Mine' });
  await log.waiting(1);
  const second = peer.do('deleteUser', { id: root.id });
  await log.waiting(2);
  await log.release();

  expect((await first).errors).toEqual([]);
  expectRefused(await second, 'LAST_ADMIN');
});

test('nobody changes their own role, or shuts out or deletes themselves', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  await here.user(admin, 'TENANT_ADMIN');

  for (const [mutation, action, input] of leavings(admin.id)) {
    const failure = action === 'USER_ROLE_CHANGED' ? 'OWN_ROLE' : 'OWN_ACCOUNT';
    const answer = await admin.do(mutation, input);
    expectRefused(answer, failure);
    await expectRecord(here, admin, answer, {
      action,
      mutation,
      by: asAdmin(admin),
      tenantId,
      resourceId: admin.id,
      resourceName: 'Admin of Acme',
      severity: 'WARNING',
      security: true,
      failure,
      details: { input },
    });
  }
});

async function administrators({ database }: World, tenantId: string): Promise<string[]> {
  const rows = await database.admin`
    select id from users
    where tenant_id = ${tenantId} and role = 'TENANT_ADMIN' and status = 'ACTIVE' and deleted_at is null`;
  return rows.map(({ id }) => id as string);
}

/** Signed in with the password of all, which the link in the mail would have set. */
async function superAdministrator(here: World, root: Person): Promise<Person> {
  const peer = await here.user(root, 'SUPER_ADMIN');
  expect((await here.signIn(peer.email, PASSWORD)).errors).toEqual([]);
  return peer;
}
