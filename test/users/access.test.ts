import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { type Person, world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const STAFF = 'user { id branches { id name } }';

const branchOf = async (admin: Person, name: string) =>
  (await admin.do('createBranch', { name, code: name }, 'branch { id }')).data.branch.id as string;

test('setUserBranches gives access to these branches and no others, and the record holds which before and after', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const [a, b, c] = [await branchOf(admin, 'A'), await branchOf(admin, 'B'), await branchOf(admin, 'C')];
  const bea = await here.user(admin, 'BRANCH_MANAGER');
  await admin.do('setUserBranches', { id: bea.id, branchIds: [b, a] });

  const answer = await admin.do('setUserBranches', { id: bea.id, branchIds: [c, b, c.toUpperCase()] }, STAFF);

  expect(answer.data.user.branches.map(({ name }: { name: string }) => name)).toEqual(['B', 'C']);
  await expectRecord(here, admin, answer, {
    action: 'USER_BRANCHES_CHANGED',
    mutation: 'setUserBranches',
    by: asAdmin(admin),
    tenantId,
    resourceId: bea.id,
    resourceName: 'A BRANCH_MANAGER',
    severity: 'NOTICE',
    changes: [['branchIds', [a, b].sort(), [b, c].sort()]],
  });
  const none = await admin.do('setUserBranches', { id: bea.id, branchIds: [] }, STAFF);
  expect(none.data.user.branches).toEqual([]);
});

test('nobody gets access to a branch that is not there, or to one of another tenant', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const elsewhere = await here.tenant('Other');
  const a = await branchOf(admin, 'A');
  const foreign = await branchOf(elsewhere.admin, 'F');
  const bea = await here.user(admin, 'BRANCH_MANAGER');
  await admin.do('setUserBranches', { id: bea.id, branchIds: [a] });

  for (const id of [foreign, NOBODY, 'not an id'])
    expectRefused(await admin.do('setUserBranches', { id: bea.id, branchIds: [a, id] }), 'BRANCH_NOT_FOUND');
  expectRefused(
    await admin.do('setUserBranches', { id: elsewhere.admin.id, branchIds: [] }),
    'USER_NOT_FOUND',
  );
  const many = Array.from({ length: 501 }, () => a);
  expectRefused(await admin.do('setUserBranches', { id: bea.id, branchIds: many }), 'INVALID_INPUT', {
    branchIds: 'must name at most 500 branches',
  });
  expect((await bea.ask('{ me { branches { id } } }')).data.me.branches).toEqual([{ id: a }]);
});

test('a branch manager sees the users that share a branch with it, and itself', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const [a, b] = [await branchOf(admin, 'A'), await branchOf(admin, 'B')];
  const [bea, ann, ben] = [
    await here.user(admin, 'BRANCH_MANAGER'),
    await here.user(admin, 'MEMBER'),
    await here.user(admin, 'MEMBER'),
  ];
  for (const [person, branchId] of [
    [bea, a],
    [ann, a],
    [ben, b],
  ] as const)
    await admin.do('setUserBranches', { id: person.id, branchIds: [branchId] });

  const seen = (await bea.ask('{ users { nodes { id branches { id } } totalCount } }')).data.users;

  expect(seen).toEqual({
    nodes: [
      { id: ann.id, branches: [{ id: a }] },
      { id: bea.id, branches: [{ id: a }] },
    ],
    totalCount: 2,
  });
  const asked = `{ ann: user(id: "${ann.id}") { id } ben: user(id: "${ben.id}") { id } admin: user(id: "${admin.id}") { id } }`;
  expect((await bea.ask(asked)).data).toEqual({ ann: { id: ann.id }, ben: null, admin: null });
  expect((await ann.ask(`{ user(id: "${bea.id}") { id } }`)).data.user).toBeNull();
});
