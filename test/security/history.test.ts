import { expect, test } from 'vitest';

import type { AuditResource } from '../../src/generated/types.ts';
import { isoOf } from '../../src/platform/ids.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { diffOf, momentOf, now, stateOf } from '../world/history.ts';
import { type Person, type World, world } from '../world/server.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';

test('an object is there from its creation on and gone from its deletion on, each at the very microsecond', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const made = await admin.do('createBranch', { name: 'Pier', code: 'PIER' }, 'branch { id }');
  const id = made.data.branch.id as string;
  const gone = await admin.do('deleteBranch', { id });

  expect(await stateOf(admin, 'BRANCH', id, isoOf(momentOf(made) - 1n))).toBe(null);
  const createdAt = isoOf(momentOf(made));
  expect(await stateOf(admin, 'BRANCH', id, createdAt)).toMatchObject({
    id,
    exists: true,
    createdAt,
    isComplete: true,
    record: { action: 'BRANCH_CREATED' },
  });
  expect(await stateOf(admin, 'BRANCH', id, isoOf(momentOf(gone) - 1n))).toMatchObject({ exists: true });
  const after = await stateOf(admin, 'BRANCH', id, isoOf(momentOf(gone)));
  expect(after).toMatchObject({ exists: false, createdAt, record: { action: 'BRANCH_DELETED' } });
  expect(after!.fields.map(({ path, record, since }) => [path, record.action, since])).toEqual(
    ['code', 'deletedAt', 'name', 'status'].map((path) =>
      path === 'deletedAt'
        ? [path, 'BRANCH_DELETED', isoOf(momentOf(gone))]
        : [path, 'BRANCH_CREATED', createdAt],
    ),
  );
  expect(await stateOf(admin, 'BRANCH', id)).toMatchObject({ ...after, at: expect.any(String) as string });
  expect(await diffOf(admin, 'BRANCH', id, createdAt, createdAt)).toEqual([]);
});

test('personal values that were erased show as that, in a state and in a difference, and the rest stays', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const person = { email: 'ann@example.com', fullName: 'Ann', phone: '1' };
  const made = await admin.do('createUser', { ...person, role: 'MEMBER' }, 'user { id }');
  const id = made.data.user.id as string;
  await admin.do('updateUser', { id, fullName: 'Ann Gray' });
  const last = await admin.do('changeUserRole', { id, role: 'AUDITOR' });
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`delete from subject_keys where tenant_id = ${tenantId} and subject_id = ${id}`;
  });

  const state = await stateOf(admin, 'USER', id);
  expect(state!.fields.map(({ path, value, redaction }) => [path, value, redaction])).toEqual([
    ['email', null, 'ERASED'],
    ['fullName', null, 'ERASED'],
    ['phone', null, 'ERASED'],
    ['role', 'AUDITOR', null],
    ['status', 'ACTIVE', null],
  ]);
  const [from, to] = [isoOf(momentOf(made)), isoOf(momentOf(last))];
  expect(await diffOf(admin, 'USER', id, from, to)).toEqual([
    { path: 'fullName', before: null, after: null, redaction: 'ERASED' },
    { path: 'role', before: 'MEMBER', after: 'AUDITOR', redaction: null },
  ]);
});

test('of a secret only the last change shows', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const passwords = { currentPassword: 'correct horse battery', newPassword: 'another battery staple' };
  const changed = await admin.do('changePassword', passwords);

  const state = await stateOf(admin, 'USER', admin.id);
  expect(state!.fields.find(({ path }) => path === 'passwordHash')).toMatchObject({
    value: null,
    redaction: 'SECRET',
    record: { action: 'PASSWORD_CHANGED' },
  });
  expect(await diffOf(admin, 'USER', admin.id, isoOf(momentOf(changed) - 1n))).toEqual([
    { path: 'passwordHash', before: null, after: null, redaction: 'SECRET' },
  ]);
});

test('a value that was too long to be recorded is unknown, and the one before it is not taken for it', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const { id } = await here.user(admin, 'MEMBER');
  const branchIds = await manyBranches(here, tenantId);
  const give = (ids: readonly string[]) => admin.do('setUserBranches', { id, branchIds: ids });
  const told = async (at?: bigint) => {
    const { isComplete, fields } = (await stateOf(admin, 'USER', id, at === undefined ? at : isoOf(at)))!;
    const { value, redaction } = fields.find(({ path }) => path === 'branchIds')!;
    return { isComplete, value, redaction };
  };

  const few = await give(branchIds.slice(0, 1));
  await give(branchIds);
  expect(await told(momentOf(few))).toEqual({
    isComplete: true,
    value: branchIds.slice(0, 1),
    redaction: null,
  });
  expect(await told()).toEqual({ isComplete: false, value: null, redaction: 'CUT' });
  await give([]);
  await give(branchIds.slice(1, 2));
  expect(await told()).toEqual({ isComplete: true, value: branchIds.slice(1, 2), redaction: null });
  expect(await diffOf(admin, 'USER', id, isoOf(momentOf(few)))).toEqual([
    { path: 'branchIds', before: null, after: branchIds.slice(1, 2), redaction: 'CUT' },
  ]);
});

test('what a refused call changed all the same counts; what is not created on record is never complete', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  const session = sessionOf(member);
  expect(await stateOf(admin, 'SESSION', session)).toBe(null);
  const { refreshToken } = member;
  await here.anybody.do('refreshToken', { refreshToken });
  const reused = await here.anybody.do('refreshToken', { refreshToken });
  expect(reused.errors[0]!.extensions['reason']).toBe('TOKEN_REUSED');

  const state = await stateOf(admin, 'SESSION', session);
  expect(state).toMatchObject({ exists: true, createdAt: null, isComplete: false });
  expect(state!.fields.map(({ path, value }) => [path, path === 'revokedAt' || value])).toEqual([
    ['revokedAt', true],
    ['revokedBecause', 'TOKEN_REUSE'],
  ]);

  const [old] = await manyBranches(here, tenantId);
  await admin.do('deactivateBranch', { id: old!, reason: 'Flood' });
  expect(await stateOf(admin, 'BRANCH', old!)).toMatchObject({ createdAt: null, isComplete: false });
});

test('its history are the records that changed an object, page by page, newest first, and no others', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const { id, email } = await here.user(admin, 'MEMBER');
  await here.signIn(email, 'wrong password');
  await admin.do('updateUser', { id, phone: '1' });
  await admin.do('updateUser', { id, phone: '1' });
  await admin.do('changeUserRole', { id, role: 'MEMBER' });
  await admin.do('deactivateUser', { id, reason: 'Left' });

  const page = async (given: string) =>
    (
      await admin.ask(`{ resourceHistory(resource: USER, id: "${id.toUpperCase()}" ${given}) {
        nodes { action } totalCount pageInfo { endCursor hasNextPage } } }`)
    ).data.resourceHistory;
  const first = await page('first: 2');
  const second = await page(`first: 2, after: "${first.pageInfo.endCursor}"`);
  expect(first).toMatchObject({ totalCount: 3, pageInfo: { hasNextPage: true } });
  expect([...first.nodes, ...second.nodes].map(({ action }) => action)).toEqual([
    'USER_DEACTIVATED',
    'USER_UPDATED',
    'USER_CREATED',
  ]);
});

test('a branch manager sees an object if all about it is theirs to see, and not what their people did to others', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const branchOf = async (name: string) =>
    (await admin.do('createBranch', { name, code: name }, 'branch { id }')).data.branch.id as string;
  const [near, far] = [await branchOf('Near'), await branchOf('Far')];
  const [manager, colleague] = [
    await here.user(admin, 'BRANCH_MANAGER'),
    await here.user(admin, 'TENANT_ADMIN'),
  ];
  for (const { id } of [manager, colleague]) await admin.do('setUserBranches', { id, branchIds: [near] });
  for (const id of [near, far]) await colleague.do('updateBranch', { id, address: 'Pier 1' });

  const all = (person: Person, id: string) =>
    person.ask(
      `query ($id: ID!) { auditLogs(filter: { resourceId: $id }) { totalCount }
        resourceHistory(resource: BRANCH, id: $id) { nodes { id } }
        resourceAt(resource: BRANCH, id: $id, at: "2100-01-01T00:00:00Z") { fields { path value } }
        resourceDiff(resource: BRANCH, id: $id, from: "2000-01-01T00:00:00Z") { path after } }`,
      { id },
    );
  const theirs = await all(manager, near);
  expect(theirs.data).toEqual((await all(admin, near)).data);
  expect(theirs.data.resourceAt.fields).toContainEqual({ path: 'address', value: 'Pier 1' });
  expect((await all(manager, far)).data).toEqual({
    auditLogs: { totalCount: 1 },
    resourceHistory: { nodes: [] },
    resourceAt: null,
    resourceDiff: [],
  });
});

test('who sees all tenants is told of every kind of object what its own administrator is told', async () => {
  const here = await world();
  const [root, { id: tenantId, admin }] = [await here.root(), await here.tenant()];
  const branch = await admin.do('createBranch', { name: 'Pier', code: 'PIER' }, 'branch { id }');
  const leaver = await here.user(admin, 'MEMBER');
  await leaver.do('logout', undefined);
  await admin.do('deleteUser', { id: leaver.id });
  await admin.do('updateSettings', { organisation: { displayName: 'We' } });
  await here.signIn(admin.email, 'wrong password');
  const exported = await admin.do('createAuditExport', { format: 'CSV' }, 'auditExport { id }');
  const key = await admin.do('createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] }, 'apiKey { id }');
  const type = await admin.do('registerEventType', { name: 'a.b', schema: {} }, 'eventType { id }');
  const hook = await admin.do('createWebhook', { url: ALLOWED_TARGET }, 'webhook { id }');
  const held = await root.do('placeLegalHold', { tenantId, reason: 'Trial' }, 'legalHold { id }');
  const { data } = await admin.ask('{ securityEvents(first: 1) { nodes { id } } }');
  const event = data.securityEvents.nodes[0].id as string;
  await admin.do('acknowledgeSecurityEvent', { id: event });

  // An event of another application is no object of ours.
  const objects: Readonly<Record<Exclude<AuditResource, 'EVENT'>, string>> = {
    USER: leaver.id,
    BRANCH: branch.data.branch.id as string,
    TENANT: tenantId,
    SETTINGS: tenantId,
    SESSION: sessionOf(leaver),
    SECURITY_EVENT: event,
    AUDIT_EXPORT: exported.data.auditExport.id as string,
    WEBHOOK: hook.data.webhook.id as string,
    API_KEY: key.data.apiKey.id as string,
    EVENT_TYPE: type.data.eventType.id as string,
    LEGAL_HOLD: held.data.legalHold.id as string,
  };
  for (const [resource, id] of Object.entries(objects) as [AuditResource, string][]) {
    const at = isoOf(now(here));
    const own = await stateOf(admin, resource, id, at);
    expect([resource, own?.id]).toEqual([resource, id]);
    expect(await stateOf(root, resource, id, at)).toEqual(own);
  }
  for (const id of ['nothing', root.id, tenantId]) expect(await stateOf(root, 'BRANCH', id)).toBe(null);
});

test('a difference backwards in time is refused', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  const [from, to] = ['2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z'];
  const { errors } = await admin.ask(
    `{ resourceDiff(resource: TENANT, id: "${id}", from: "${from}", to: "${to}") { path } }`,
  );
  expect(errors[0]!.extensions).toMatchObject({
    reason: 'INVALID_INPUT',
    fields: { from: 'must not be after to' },
  });
});

/** More branches than a record can name. */
function manyBranches({ database, server }: World, tenantId: string): Promise<string[]> {
  const at = isoOf(server.house.services.clock.now());
  return database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    const rows = await sql<{ id: string }[]>`
      insert into branches (tenant_id, id, name, code, status, created_at, updated_at)
      select ${tenantId}, gen_random_uuid(), 'Branch ' || n, 'B' || n, 'ACTIVE', ${at}, ${at}
      from generate_series(1, 450) n returning id`;
    return rows.map(({ id }) => id).toSorted();
  });
}
