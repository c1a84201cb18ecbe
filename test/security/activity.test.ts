import { expect, test } from 'vitest';

import { idAt, openClock } from '../../src/platform/ids.ts';
import { expectRefused } from '../world/auditRecord.ts';
import { type LogRow, writeLogRows } from '../world/logRows.ts';
import { allSealed } from '../world/seal.ts';
import { introspected, selectionOf } from '../world/selection.ts';
import { type Answer, type Person, world } from '../world/server.ts';

const DAY = 86_400_000_000n;
const NOBODY = '01890000-0000-7000-8000-000000000000';
const NUMBERS = `from to totalCount counts { action status count } firstSeenAt lastSeenAt
  addresses { ipAddress count failures } devices { userAgent count failures }`;

test('what a user did is counted and listed: by action and result, from where, with what, and when', async () => {
  const { here, tenantId, admin, member } = await people();
  await rename(member, member.id, '192.0.2.1', 'phone');
  await rename(member, member.id, '192.0.2.1', 'laptop');
  await rename(member, admin.id, '192.0.2.2', 'phone');
  await rename(admin, member.id, '192.0.2.3', 'desk');
  const now = openClock().now();
  const old = (days: bigint): LogRow => ({ ...aLogin(tenantId, now - days * DAY), userId: member.id });
  await writeLogRows(here.database.admin, [old(31n), old(29n)]);

  const { data, errors } = await admin.ask(
    `query ($id: ID!) { userActivity(userId: $id) { userId user { id } ${NUMBERS} recent { totalCount nodes { action userId createdAt } } }
      auditLogs(filter: { userId: $id }) { nodes { createdAt } } }`,
    { id: member.id },
  );

  expect(errors).toEqual([]);
  const { recent, from, to, ...activity } = data.userActivity;
  const moments = (data.auditLogs.nodes as { createdAt: string }[]).map(({ createdAt }) => createdAt);
  expect(Date.parse(to) - Date.parse(from)).toBe(30 * 86_400_000);
  expect(activity).toEqual({
    userId: member.id,
    user: { id: member.id },
    totalCount: 5,
    counts: [
      { action: 'LOGIN', status: 'SUCCESS', count: 2 },
      { action: 'USER_UPDATED', status: 'SUCCESS', count: 2 },
      { action: 'USER_UPDATED', status: 'FAILURE', count: 1 },
    ],
    firstSeenAt: moments.at(-2),
    lastSeenAt: moments[0],
    addresses: [
      { ipAddress: '192.0.2.1', count: 2, failures: 0 },
      { ipAddress: '127.0.0.1', count: 1, failures: 0 },
      { ipAddress: '192.0.2.2', count: 1, failures: 1 },
      { ipAddress: '203.0.113.9', count: 1, failures: 0 },
    ],
    devices: [
      { userAgent: 'phone', count: 2, failures: 1 },
      { userAgent: 'laptop', count: 1, failures: 0 },
      { userAgent: 'node', count: 1, failures: 0 },
    ],
  });
  expect(recent.totalCount).toBe(5);
  expect(recent.nodes.map(({ createdAt }: { createdAt: string }) => createdAt)).toEqual(moments.slice(0, 5));
  const year = await admin.ask(`{ userActivity(userId: "${member.id}", days: 365) { totalCount } }`);
  expect(year.data.userActivity.totalCount).toBe(6);
});

test('the recent records are read page by page, while the while goes on', async () => {
  const { admin, member } = await people();
  for (let turn = 0; turn < 4; turn++) await rename(member, member.id, '192.0.2.1', `agent ${turn}`);
  const page = async (field: string, after: string | null) =>
    (
      await admin.ask(
        `query ($after: String) { activity: ${field} { recent(first: 2, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } } }`,
        { after },
      )
    ).data.activity.recent;
  for (const field of [`userActivity(userId: "${member.id}")`, 'tenantActivity(days: 5)']) {
    const ids: string[] = [];
    for (let after = null, more = true; more;) {
      const { nodes, pageInfo } = await page(field, after);
      ids.push(...nodes.map(({ id }: { id: string }) => id));
      [after, more] = [pageInfo.endCursor, pageInfo.hasNextPage];
    }
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeGreaterThan(4);
    expect(ids).toEqual(ids.toSorted().toReversed());
  }
  const foreign = await page('tenantActivity(days: 5)', null);
  const elsewhere = await admin.ask(
    `{ userActivity(userId: "${member.id}") { recent(after: "${foreign.pageInfo.endCursor}") { totalCount } } }`,
  );
  expect(elsewhere.errors[0]!.extensions['reason']).toBe('CURSOR_MISMATCH');
});

test('one sees oneself, readers their tenant, branch managers their people; all others are not told from nobody', async () => {
  const { here, admin, member } = await people();
  const auditor = await here.user(admin, 'AUDITOR');
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  const colleague = await here.user(admin, 'MEMBER');
  const branch = await admin.do('createBranch', { name: 'North', code: 'N' }, 'branch { id }');
  for (const { id } of [manager, member])
    await admin.do('setUserBranches', { id, branchIds: [branch.data.branch.id] });
  const root = await here.root();
  const { admin: foreign } = await here.tenant('Other');
  const ask = (person: Person, id: string) =>
    person.ask(`{ userActivity(userId: "${id}") { userId totalCount recent { nodes { userId } } } }`);
  const sees = async (person: Person, { id }: Person) => {
    const { userActivity } = (await ask(person, id.toUpperCase())).data;
    expect(userActivity.userId).toBe(id);
    expect(userActivity.totalCount).toBeGreaterThan(0);
    expect(userActivity.recent.nodes).toEqual(
      Array.from({ length: userActivity.totalCount }, () => ({ userId: id })),
    );
  };
  for (const person of [admin, auditor, manager, member, foreign, root]) await sees(person, person);
  for (const reader of [admin, auditor, manager, root]) await sees(reader, member);
  for (const reader of [admin, auditor, root]) await sees(reader, colleague);
  await sees(root, foreign);

  const refusals: [Person, Person][] = [
    [member, colleague],
    [member, admin],
    [member, foreign],
    [manager, colleague],
    [manager, admin],
    [admin, foreign],
    [auditor, root],
    [foreign, member],
  ];
  for (const [person, other] of refusals) {
    const answer = await ask(person, other.id);
    expectRefused(answer, 'USER_NOT_FOUND');
    expect(bare(answer)).toBe(bare(await ask(person, NOBODY)));
    expect(bare(answer)).toBe(bare(await ask(person, 'not an id')));
  }
});

test('a member sees its own records whole, and by way of them nothing else', async () => {
  const { here, admin, member } = await people();
  await rename(member, admin.id, '192.0.2.1', 'phone');
  await rename(admin, member.id, '192.0.2.3', 'desk');
  const schema = await introspected(here.anybody);
  const selection = selectionOf(schema, schema.getType('UserActivity') as never, 5);
  const { data, errors } = await member.ask(`{ userActivity(userId: "${member.id}") ${selection} }`);
  expect(errors).toEqual([]);
  expect(data.userActivity.totalCount).toBe(2);
  for (const node of data.userActivity.recent.nodes) {
    expect(node.actor.id).toBe(member.id);
    expect(node.user.email).toBe(member.email);
  }
  const text = JSON.stringify(data);
  for (const canary of [admin.email, '192.0.2.3', 'Admin of']) expect(text).not.toContain(canary);
});

test('what a deleted user did stays, for those who see all users', async () => {
  const { here, admin, member } = await people();
  await admin.do('deleteUser', { id: member.id });
  for (const reader of [admin, await here.root(), await here.user(admin, 'AUDITOR')]) {
    const { data } = await reader.ask(`{ userActivity(userId: "${member.id}") { user { id } totalCount } }`);
    expect(data.userActivity).toEqual({ user: null, totalCount: 1 });
  }
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  expectRefused(
    await manager.ask(`{ userActivity(userId: "${member.id}") { totalCount } }`),
    'USER_NOT_FOUND',
  );
});

test('what happened in a tenant is counted, with who took part', async () => {
  const { here, tenantId, admin, member } = await people();
  await rename(member, admin.id, '192.0.2.2', 'phone');
  const now = openClock().now();
  await writeLogRows(here.database.admin, [
    aLogin(tenantId, now - 9n * DAY),
    aLogin(tenantId, now - 40n * DAY),
  ]);
  await allSealed(here.database.admin);

  const { data, errors } = await admin.ask(
    `{ tenantActivity { tenantId tenant { id } activeUsers ${NUMBERS} recent(first: 500) { totalCount nodes { action status createdAt ipAddress userId } } } }`,
  );

  expect(errors).toEqual([]);
  const { recent, counts, ...activity } = data.tenantActivity;
  const { nodes } = recent as {
    nodes: { action: string; status: string; createdAt: string; ipAddress: string }[];
  };
  expect(activity).toMatchObject({
    tenantId,
    tenant: { id: tenantId },
    activeUsers: 2,
    totalCount: nodes.length,
    firstSeenAt: nodes.at(-1)!.createdAt,
    lastSeenAt: nodes[0]!.createdAt,
    addresses: [
      { ipAddress: '127.0.0.1', count: nodes.length - 2, failures: 0 },
      { ipAddress: '192.0.2.2', count: 1, failures: 1 },
      { ipAddress: '203.0.113.9', count: 1, failures: 0 },
    ],
    devices: [
      { userAgent: 'node', count: nodes.length - 2, failures: 0 },
      { userAgent: 'phone', count: 1, failures: 1 },
    ],
  });
  for (const { action, status, count } of counts)
    expect([action, status, count]).toEqual([
      action,
      status,
      nodes.filter((node) => node.action === action && node.status === status).length,
    ]);
  expect(new Set(nodes.map(({ action, status }) => action + status)).size).toBe(counts.length);
});

test('one sees the activity of one tenant: super administrators of any, or the platform itself', async () => {
  const { here, tenantId, admin, member } = await people();
  const [root, auditor] = [await here.root(), await here.user(admin, 'AUDITOR')];
  const away = await here.tenant('Away');
  const ask = (person: Person, given: string) =>
    person.ask(`{ tenantActivity${given} { tenantId totalCount } }`);
  const own = (await ask(auditor, '')).data.tenantActivity;
  expect(own.tenantId).toBe(tenantId);
  expect((await ask(auditor, `(tenantId: "${tenantId.toUpperCase()}")`)).data.tenantActivity).toEqual(own);
  expect((await ask(root, `(tenantId: "${tenantId}")`)).data.tenantActivity).toEqual(own);
  const platform = (
    await root.ask('{ tenantActivity { tenantId tenant { id } totalCount recent { nodes { tenantId } } } }')
  ).data.tenantActivity;
  expect(platform).toMatchObject({ tenantId: null, tenant: null });
  expect(platform.recent.nodes).toEqual(
    Array.from({ length: platform.totalCount }, () => ({ tenantId: null })),
  );

  for (const reader of [admin, auditor]) {
    const answer = await ask(reader, `(tenantId: "${away.id}")`);
    expectRefused(answer, 'TENANT_NOT_FOUND');
    for (const id of [NOBODY, 'not an id'])
      expect(bare(await ask(reader, `(tenantId: "${id}")`))).toBe(bare(answer));
  }
  expectRefused(await ask(root, `(tenantId: "${NOBODY}")`), 'TENANT_NOT_FOUND');
  expectRefused(await ask(member, ''), 'SCOPE_MISSING');
  await root.do('deleteTenant', { id: away.id });
  const gone = (await root.ask(`{ tenantActivity(tenantId: "${away.id}") { tenant { id } totalCount } }`))
    .data;
  expect(gone.tenantActivity).toEqual({ tenant: null, totalCount: 3 });
});

test.each(['tenantActivity(days: 0)', 'tenantActivity(days: 366)', 'userActivity(userId: "x", days: -1)'])(
  '%s is refused: a while has 1 to 365 days',
  async (field) => {
    const { admin } = await (await world()).tenant();
    expectRefused(await admin.ask(`{ ${field} { totalCount } }`), 'INVALID_INPUT', {
      days: 'must be from 1 to 365',
    });
  },
);

async function people() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const { id: tenantId, admin } = await here.tenant();
  return { here, tenantId, admin, member: await here.user(admin, 'MEMBER') };
}

/** Renames a user, from that address and with that agent; of others only an administrator may. */
function rename(by: Person, id: string, ipAddress: string, userAgent: string): Promise<Answer> {
  return by.ask(
    'mutation ($input: UpdateUserInput!) { updateUser(input: $input) { user { id } } }',
    { input: { id, fullName: `Renamed with ${userAgent}` } },
    { 'x-forwarded-for': ipAddress, 'user-agent': userAgent },
  );
}

function aLogin(tenantId: string, micros: bigint): LogRow {
  const facts = { action: 'LOGIN', status: 'SUCCESS', severity: 0, requestId: 'r' } as const;
  return {
    ...facts,
    tenantId,
    id: idAt(micros),
    micros,
    userId: null,
    resourceId: null,
    ipAddress: '203.0.113.9',
  };
}

function bare({ status, data, errors, requestId }: Answer): string {
  return JSON.stringify([status, data, errors]).replaceAll(requestId, '');
}
