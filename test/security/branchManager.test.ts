import { expect, test } from 'vitest';

import { allSealed } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';

interface Edge {
  readonly cursor: string;
  readonly node: { readonly position: string; readonly resourceId: string | null } | null;
}

const LOG = '{ auditLogs(last: 100) { nodes { action resourceId userId } totalCount } }';
const TAIL =
  'subscription Tail($after: String) { auditLogAppended(after: $after) { cursor node { position resourceId } } }';

/** A tenant with two branches; bea manages the first, in which ann works too, and ben works in the second. */
async function open() {
  const here = await world();
  const { admin } = await here.tenant();
  const branchOf = async (name: string) =>
    (await admin.do('createBranch', { name, code: name }, 'branch { id }')).data.branch.id as string;
  const [north, south] = [await branchOf('North'), await branchOf('South')];
  const staff = async (role: string, branchId: string) => {
    const person = await here.user(admin, role);
    await assign(admin, person, [branchId]);
    return person;
  };
  const bea = await staff('BRANCH_MANAGER', north);
  return {
    here,
    admin,
    north,
    south,
    bea,
    ann: await staff('MEMBER', north),
    ben: await staff('MEMBER', south),
  };
}

const assign = (admin: Person, { id }: Person, branchIds: readonly string[]) =>
  admin.do('setUserBranches', { id, branchIds });

const tail = ({ url }: World, { token }: Person, after?: string) =>
  subscribe<Edge>(socketClient(url, token), TAIL, { after });

test('a branch manager reads what is about its branches and about or by who works there, and nothing else', async () => {
  const { here, admin, north, south, bea, ann, ben } = await open();
  await ann.do('updateUser', { id: ann.id, fullName: 'Ann' });
  await ben.do('updateUser', { id: ben.id, fullName: 'Ben' });
  await admin.do('updateBranch', { id: north, name: 'Far North' });
  await admin.do('updateBranch', { id: south, name: 'Deep South' });

  const { nodes, totalCount } = (await bea.ask(LOG)).data.auditLogs as {
    nodes: { action: string; resourceId: string; userId: string }[];
    totalCount: number;
  };

  expect(totalCount).toBe(nodes.length);
  const within = [north, bea.id, ann.id];
  for (const node of nodes)
    expect([node, within.includes(node.resourceId) || within.includes(node.userId)]).toEqual([node, true]);
  const all = (await admin.ask('{ auditLogs(last: 200) { nodes { resourceId userId } } }')).data.auditLogs
    .nodes as {
    resourceId: string;
    userId: string;
  }[];
  expect(all.filter((node) => within.includes(node.resourceId) || within.includes(node.userId))).toHaveLength(
    totalCount,
  );
  expect(nodes.map(({ action }) => action)).toContain('BRANCH_UPDATED');

  const of = async (id: string) =>
    (await admin.ask(`{ auditLogs(filter: { resourceId: "${id}" }, last: 1) { nodes { id } } }`)).data
      .auditLogs.nodes[0].id as string;
  const asked = async (id: string) =>
    (await bea.ask(`{ auditLog(id: "${id}") { id } node(id: "${id}") { id } }`)).data;
  const [mine, theirs] = [await of(north), await of(south)];
  expect(await asked(mine)).toEqual({ auditLog: { id: mine }, node: { id: mine } });
  expect(await asked(theirs)).toEqual({ auditLog: null, node: null });
  const foreign = await here.tenant('Other');
  await foreign.admin.do('createBranch', { name: 'F', code: 'F' });
  expect((await bea.ask(LOG)).data.auditLogs.totalCount).toBe(totalCount);
});

test('live too, and from the moment its branches change the stream ends, to go on from its cursor with the new ones', async () => {
  const { here, admin, north, south, bea, ben } = await open();
  const before = tail(here, bea);
  const { cursor } = await before.next();
  await admin.do('updateBranch', { id: south, name: 'Unseen' });
  await admin.do('updateBranch', { id: north, name: 'Seen' });
  const seen = await before.until(({ node }) => node?.resourceId === north);
  expect(seen.filter(({ node }) => node).map(({ node }) => node!.resourceId)).toEqual([north]);

  await assign(admin, bea, [south]);
  expect(await before.ended).toMatchObject({ code: 4403 });

  const after = tail(here, bea, seen.at(-1)!.cursor);
  await admin.do('updateBranch', { id: north, name: 'Gone' });
  await admin.do('updateBranch', { id: south, name: 'Mine now' });
  const rest = await after.until(({ node }) => node?.resourceId === south);
  expect(rest.filter(({ node }) => node).map(({ node }) => node!.resourceId)).not.toContain(north);
  // Who comes to work in its branch is seen from then on.
  await assign(admin, ben, [south]);
  await ben.do('updateUser', { id: ben.id, fullName: 'Ben' });
  expect(cursor).toBeTypeOf('string');
});

test('nothing that comes after the record of a lost branch is delivered', async () => {
  const { here, admin, north, bea } = await open();
  for (let round = 0; round < 10; round++) {
    await assign(admin, bea, [north]);
    await allSealed(here.database.admin);
    const live = tail(here, bea);
    await live.next();

    const [, late] = await Promise.all([
      assign(admin, bea, []),
      live.ended,
      ...Array.from({ length: 5 }, (_, at) => admin.do('updateBranch', { id: north, name: `Race ${at}` })),
    ]);

    expect(late).toMatchObject({ code: 4403 });
    await allSealed(here.database.admin);
    const delivered: bigint[] = [];
    for (
      let edge = await live.next().catch(() => undefined);
      edge;
      edge = await live.next().catch(() => undefined)
    )
      if (edge.node) delivered.push(BigInt(edge.node.position));
    const changed =
      '{ auditLogs(filter: { actions: [USER_BRANCHES_CHANGED] }, first: 1) { nodes { position } } }';
    const answer = await admin.ask(changed);
    expect(answer.errors).toEqual([]);
    const [lost] = answer.data.auditLogs.nodes as [{ position: string }];
    for (const position of delivered) expect(position).toBeLessThan(BigInt(lost.position));
  }
});
