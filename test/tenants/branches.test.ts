import { expect, test } from 'vitest';

import { asAdmin, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { type Person, type World, world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const BRANCH = 'branch { id name code address status statusReason tenantId }';

const branchOf = async (admin: Person, name = 'North', code = 'N-1') =>
  (await admin.do('createBranch', { name, code, address: '1 High St' }, BRANCH)).data.branch.id as string;

const namesSeen = async (person: Person, args = '') =>
  (await person.ask(`{ branches${args} { nodes { name } totalCount } }`)).data.branches as {
    nodes: { name: string }[];
    totalCount: number;
  };

async function manager(here: World, admin: Person, branchIds: readonly string[]): Promise<Person> {
  const person = await here.user(admin, 'BRANCH_MANAGER');
  await admin.do('setUserBranches', { id: person.id, branchIds });
  return person;
}

test('createBranch makes an open branch with its code raised, and the record holds it', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const answer = await admin.do(
    'createBranch',
    { name: ' North ', code: ' n-1', address: '1 High St' },
    BRANCH,
  );

  const { branch } = answer.data;
  const made = { name: 'North', code: 'N-1', address: '1 High St', status: 'ACTIVE' };
  expect(branch).toEqual({ id: branch.id, ...made, statusReason: null, tenantId });
  await expectRecord(here, admin, answer, {
    action: 'BRANCH_CREATED',
    mutation: 'createBranch',
    by: asAdmin(admin),
    tenantId,
    resourceId: branch.id,
    resourceName: 'North',
    severity: 'INFO',
    changes: Object.entries(made).map(([path, value]) => [path, null, value] as const),
  });
});

test('a code is unique in its tenant, until its branch is deleted', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const elsewhere = await here.tenant('Other');
  const id = await branchOf(admin);
  const again = { name: 'Second', code: 'n-1' };

  expectRefused(await admin.do('createBranch', again), 'BRANCH_CODE_TAKEN');
  const other = await branchOf(admin, 'South', 'S');
  expectRefused(await admin.do('updateBranch', { id: other, code: 'N-1' }), 'BRANCH_CODE_TAKEN');
  expect((await elsewhere.admin.do('createBranch', again)).errors).toEqual([]);
  await admin.do('deleteBranch', { id });
  expect((await admin.do('createBranch', again)).errors).toEqual([]);
});

test('a branch that cannot be is refused with every field that is wrong', async () => {
  const here = await world();
  const { admin } = await here.tenant();

  expectRefused(
    await admin.do('createBranch', { name: ' ', code: 'a b', address: 'x'.repeat(301) }),
    'INVALID_INPUT',
    {
      name: 'must not be empty',
      code: 'must have 1 to 32 of A-Z, 0-9, hyphen and underscore',
      address: 'must have at most 300 characters',
    },
  );
  const root = await here.root();
  expectRefused(await root.do('createBranch', { name: 'A', code: 'A' }), 'INVALID_INPUT', {
    tenantId: 'must name the tenant',
  });
});

test('a subscription allows so many branches, and of two that want the last place one gets it', async () => {
  const here = await world();
  const root = await here.root();
  const { id, admin } = await here.tenant();
  await root.do('updateTenantSubscription', { id, maxBranches: 2 });
  await branchOf(admin);

  const both = await Promise.all([
    admin.do('createBranch', { name: 'B', code: 'B' }),
    admin.do('createBranch', { name: 'C', code: 'C' }),
  ]);

  expect(
    both.map(({ errors }) => (errors[0]?.extensions['reason'] as string | undefined) ?? 'DONE').sort(),
  ).toEqual(['BRANCH_LIMIT_REACHED', 'DONE']);
});

test('updateBranch changes what is given, and null removes the address', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const id = await branchOf(admin);

  const answer = await admin.do('updateBranch', { id, name: 'Far North', address: null }, BRANCH);

  expect(answer.data.branch).toMatchObject({ name: 'Far North', code: 'N-1', address: null });
  await expectRecord(here, admin, answer, {
    action: 'BRANCH_UPDATED',
    mutation: 'updateBranch',
    by: asAdmin(admin),
    tenantId,
    resourceId: id,
    resourceName: 'Far North',
    severity: 'INFO',
    changes: [
      ['name', 'North', 'Far North'],
      ['address', '1 High St', null],
    ],
  });
});

test('a branch is closed with a reason or without, opened again, and neither twice', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const id = await branchOf(admin);

  const closed = await admin.do('deactivateBranch', { id, reason: 'Flooded' }, BRANCH);
  expect(closed.data.branch).toMatchObject({ status: 'INACTIVE', statusReason: 'Flooded' });
  const common = { by: asAdmin(admin), tenantId, resourceId: id, resourceName: 'North' };
  await expectRecord(here, admin, closed, {
    ...common,
    action: 'BRANCH_DEACTIVATED',
    mutation: 'deactivateBranch',
    severity: 'WARNING',
    details: { reason: 'Flooded' },
    changes: [
      ['status', 'ACTIVE', 'INACTIVE'],
      ['statusReason', null, 'Flooded'],
    ],
  });
  const twice = await admin.do('deactivateBranch', { id });
  expectRefused(twice, 'STATE_UNCHANGED');
  await expectRecord(here, admin, twice, {
    ...common,
    action: 'BRANCH_DEACTIVATED',
    mutation: 'deactivateBranch',
    severity: 'WARNING',
    failure: 'STATE_UNCHANGED',
    details: { input: { id } },
  });

  const opened = await admin.do('activateBranch', { id }, BRANCH);
  expect(opened.data.branch).toMatchObject({ status: 'ACTIVE', statusReason: null });
  await expectRecord(here, admin, opened, {
    ...common,
    action: 'BRANCH_ACTIVATED',
    mutation: 'activateBranch',
    severity: 'NOTICE',
    changes: [
      ['status', 'INACTIVE', 'ACTIVE'],
      ['statusReason', 'Flooded', null],
    ],
  });
  expectRefused(await admin.do('activateBranch', { id }), 'STATE_UNCHANGED');
  const silently = await admin.do('deactivateBranch', { id }, BRANCH);
  expect(silently.data.branch).toMatchObject({ status: 'INACTIVE', statusReason: null });
});

test('deleteBranch takes the branch from everybody, and its log stays', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const [id, kept] = [await branchOf(admin), await branchOf(admin, 'South', 'S')];
  const bea = await manager(here, admin, [id, kept]);

  const answer = await admin.do('deleteBranch', { id }, BRANCH);

  const row = await expectRecord(here, admin, answer, {
    action: 'BRANCH_DELETED',
    mutation: 'deleteBranch',
    by: asAdmin(admin),
    tenantId,
    resourceId: id,
    resourceName: 'North',
    severity: 'WARNING',
    changes: [['deletedAt', null, expect.any(String)]],
  });
  expect(row.resource).toBe('BRANCH');
  expect((await admin.ask(`{ branch(id: "${id}") { id } node(id: "${id}") { id } }`)).data).toEqual({
    branch: null,
    node: null,
  });
  expect((await bea.ask('{ me { branches { name } } }')).data.me.branches).toEqual([{ name: 'South' }]);
  for (const mutation of ['updateBranch', 'activateBranch', 'deactivateBranch', 'deleteBranch'])
    expectRefused(await admin.do(mutation, { id }), 'BRANCH_NOT_FOUND');
});

test('who sees which branches: readers the tenant, managers and members those they have access to, the platform all', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const elsewhere = await here.tenant('Other');
  const [north, south] = [await branchOf(admin), await branchOf(admin, 'South', 'S')];
  const foreign = await branchOf(elsewhere.admin, 'Foreign', 'F');
  const bea = await manager(here, admin, [south]);
  const mel = await here.user(admin, 'MEMBER');
  const auditor = await here.user(admin, 'AUDITOR');

  for (const reader of [admin, auditor]) {
    expect(await namesSeen(reader)).toEqual({ nodes: [{ name: 'South' }, { name: 'North' }], totalCount: 2 });
    expect(await namesSeen(reader, `(tenantId: "${elsewhere.id}")`)).toEqual({ nodes: [], totalCount: 0 });
  }
  expect(await namesSeen(bea)).toEqual({ nodes: [{ name: 'South' }], totalCount: 1 });
  expect(await namesSeen(mel)).toEqual({ nodes: [], totalCount: 0 });
  expect((await namesSeen(root)).totalCount).toBe(3);
  expect((await namesSeen(root, `(tenantId: "${tenantId}", search: "no")`)).nodes).toEqual([
    { name: 'North' },
  ]);
  expect((await namesSeen(root, '(status: INACTIVE)')).totalCount).toBe(0);
  for (const hidden of [north, foreign, NOBODY, 'not an id'])
    expect((await bea.ask(`{ branch(id: "${hidden}") { id } }`)).data).toEqual({ branch: null });
  expect(
    (await bea.ask(`{ node(id: "${south}") { ... on Branch { name tenant { id } } } }`)).data.node,
  ).toEqual({
    name: 'South',
    tenant: { id: tenantId },
  });
});

test('a branch manager changes the branches it has access to and learns nothing of others', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const [north, south] = [await branchOf(admin), await branchOf(admin, 'South', 'S')];
  const bea = await manager(here, admin, [south]);

  const answer = await bea.do('updateBranch', { id: south, name: 'Deep South' }, BRANCH);

  await expectRecord(here, admin, answer, {
    action: 'BRANCH_UPDATED',
    mutation: 'updateBranch',
    by: asUser(bea, 'BRANCH_MANAGER'),
    tenantId,
    resourceId: south,
    resourceName: 'Deep South',
    severity: 'INFO',
    changes: [['name', 'South', 'Deep South']],
  });
  for (const id of [north, NOBODY])
    expectRefused(await bea.do('updateBranch', { id, name: 'Mine' }), 'BRANCH_NOT_FOUND');
  for (const mutation of ['activateBranch', 'deactivateBranch', 'deleteBranch'])
    expectRefused(await bea.do(mutation, { id: south }), 'SCOPE_MISSING');
});
