import { expect, test } from 'vitest';

import { idAt, openClock } from '../../src/platform/ids.ts';
import { expectRefused } from '../world/auditRecord.ts';
import { type LogRow, writeLogRows } from '../world/logRows.ts';
import { allSealed } from '../world/seal.ts';
import { type Answer, type Person, world } from '../world/server.ts';

const DAY = 86_400_000_000n;
const NOBODY = '01890000-0000-7000-8000-000000000000';

const NUMBERS = `tenantId from to totalCount failureCount failureRate byAction { action count } byCategory { category count }
  byStatus { status count } bySeverity { severity count } byDay { from count failures } byHour { from count failures }
  topActors { userId user { id } count failures } topAddresses { ipAddress count failures }
  trend { previousTotalCount previousFailureCount totalChange failureChange }`;
const RECORDS = `auditLogs(first: 500) { totalCount nodes { action category status severity userId ipAddress createdAt } }`;

interface Node {
  readonly action: string;
  readonly category: string;
  readonly status: string;
  readonly severity: string;
  readonly userId: string | null;
  readonly ipAddress: string;
  readonly createdAt: string;
}

test('what is counted is what is listed, at once and by everything it is counted by', async () => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  await here.tenant('Elsewhere');
  const rename =
    'mutation ($id: ID!, $fullName: String!) { updateUser(input: { id: $id, fullName: $fullName }) { user { id } } }';
  for (const [at, address] of ['192.0.2.1', '192.0.2.1', '::102:304', '2001:db8::1'].entries())
    await member.ask(
      rename,
      { id: at === 1 ? admin.id : member.id, fullName: `M ${at}` },
      { 'x-forwarded-for': address },
    );

  const { data, errors } = await admin.ask(`{ auditStatistics { ${NUMBERS} } ${RECORDS} }`);

  expect(errors).toEqual([]);
  const nodes = data.auditLogs.nodes as Node[];
  const { from, to, byDay, byHour, topActors, topAddresses, ...numbers } = data.auditStatistics;
  const failed = nodes.filter(({ status }) => status !== 'SUCCESS').length;
  expect(failed).toBe(1);
  expect(Date.parse(to) - Date.parse(from)).toBe(30 * 86_400_000);
  expect(numbers).toEqual({
    tenantId,
    totalCount: nodes.length,
    failureCount: failed,
    failureRate: failed / nodes.length,
    byAction: counted(nodes, 'action'),
    byCategory: counted(nodes, 'category'),
    byStatus: counted(nodes, 'status'),
    bySeverity: counted(nodes, 'severity'),
    trend: { previousTotalCount: 0, previousFailureCount: 0, totalChange: null, failureChange: null },
  });
  const signedIn = nodes.filter(({ userId }) => userId !== null);
  expect(topActors.map(({ userId, count }: Tally) => ({ userId, count }))).toEqual(
    counted(signedIn, 'userId'),
  );
  expect(topActors.map(({ user }: { user: { id: string } }) => user.id)).toEqual(
    topActors.map(({ userId }: Tally) => userId),
  );
  expect(topActors.find(({ userId }: Tally) => userId === member.id)).toMatchObject({
    count: 5,
    failures: 1,
  });
  const addresses = topAddresses.map(({ ipAddress, count }: Tally) => ({ ipAddress, count }));
  expect(addresses).toEqual(counted(nodes, 'ipAddress'));
  expect(addresses.map(({ ipAddress }: Tally) => ipAddress)).toContain('::102:304');
  for (const [periods, length] of [
    [byDay, 10],
    [byHour, 13],
  ] as const) {
    const begins = nodes.map(({ createdAt }) => createdAt.slice(0, length)).toReversed();
    expect(periods.map((period: { from: string }) => period.from.slice(0, length))).toEqual([
      ...new Set(begins),
    ]);
    expect(sum(periods, 'count')).toBe(nodes.length);
    expect(sum(periods, 'failures')).toBe(failed);
  }
});

test('the while before has the same length, and is compared', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const now = openClock().now();
  const at = (days: bigint, status: LogRow['status']) => aRow(tenantId, now - days * DAY, status);
  await writeLogRows(here.database.admin, [
    at(10n, 'FAILURE'),
    at(10n, 'ERROR'),
    at(10n, 'SUCCESS'),
    at(16n, 'SUCCESS'),
    at(16n, 'FAILURE'),
    at(24n, 'SUCCESS'),
  ]);
  await allSealed(here.database.admin);
  const iso = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
  const trend = async (from: number, to: number) =>
    (
      await admin.ask(
        'query ($from: DateTime, $to: DateTime) { auditStatistics(from: $from, to: $to) { totalCount trend { previousTotalCount previousFailureCount totalChange failureChange } } }',
        {
          from: iso(from),
          to: iso(to),
        },
      )
    ).data.auditStatistics;

  expect(await trend(13, 7)).toEqual({
    totalCount: 3,
    trend: { previousTotalCount: 2, previousFailureCount: 1, totalChange: 0.5, failureChange: 1 },
  });
  expect(await trend(19, 13)).toMatchObject({ trend: { totalChange: 1, failureChange: null } });
  expect(await trend(28, 22)).toMatchObject({
    totalCount: 1,
    trend: { previousTotalCount: 0, totalChange: null },
  });
});

test('readers see their own tenant, super administrators each and all; another tenant is not told from none', async () => {
  const here = await world();
  const root = await here.root();
  const [home, away] = [await here.tenant('Home'), await here.tenant('Away')];
  const auditor = await here.user(home.admin, 'AUDITOR');
  const totals = async (person: Person, given: string, filter: string) => {
    const { data } = await person.ask(
      `{ auditStatistics${given} { tenantId totalCount } auditLogs${filter} { totalCount } }`,
    );
    expect(data.auditStatistics.totalCount).toBe(data.auditLogs.totalCount);
    return data.auditStatistics;
  };
  const mine = await totals(auditor, '', '');
  expect(mine.tenantId).toBe(home.id);
  expect(await totals(auditor, `(tenantId: "${home.id}")`, '')).toEqual(mine);
  expect(await totals(root, `(tenantId: "${home.id}")`, `(filter: { tenantId: "${home.id}" })`)).toEqual(
    mine,
  );
  expect((await totals(root, '', '')).totalCount).toBeGreaterThan(mine.totalCount + 3);

  const asked = async (person: Person, id: string) => {
    const answer = await person.ask(`{ auditStatistics(tenantId: "${id}") { totalCount } }`);
    expectRefused(answer, 'TENANT_NOT_FOUND');
    return bare(answer);
  };
  expect(await asked(auditor, away.id)).toBe(await asked(auditor, NOBODY));
  await asked(auditor, 'not an id');
  await asked(root, NOBODY);
  await root.do('deleteTenant', { id: away.id });
  expect(
    (await totals(root, `(tenantId: "${away.id}")`, `(filter: { tenantId: "${away.id}" })`)).totalCount,
  ).toBe(3);
});

test('a branch manager counts what it may list, no more', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const branch = await admin.do('createBranch', { name: 'North', code: 'N' }, 'branch { id }');
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  const near = await here.user(admin, 'MEMBER');
  await here.user(admin, 'MEMBER');
  for (const { id } of [manager, near])
    await admin.do('setUserBranches', { id, branchIds: [branch.data.branch.id] });

  await writeLogRows(here.database.admin, [aRow(tenantId, openClock().now() - 9n * DAY, 'SUCCESS')]);
  await allSealed(here.database.admin);

  const ask = async (person: Person) =>
    (
      await person.ask(`{ auditStatistics { totalCount byAction { action count } topActors { userId count } byDay { count } }
      auditActionCatalog { action count30d lastSeenAt } ${RECORDS} }`)
    ).data;
  const [own, all] = [await ask(manager), await ask(admin)];

  for (const { auditStatistics, auditLogs, auditActionCatalog } of [own, all]) {
    const nodes = auditLogs.nodes as Node[];
    expect(auditStatistics.totalCount).toBe(nodes.length);
    expect(auditStatistics.byAction).toEqual(counted(nodes, 'action'));
    expect(auditStatistics.topActors).toEqual(
      counted(
        nodes.filter(({ userId }) => userId !== null),
        'userId',
      ),
    );
    expect(sum(auditStatistics.byDay, 'count')).toBe(nodes.length);
    expect(auditActionCatalog).toEqual(
      auditActionCatalog.map(({ action }: Node) => ({
        action,
        count30d: nodes.filter((node) => node.action === action).length,
        lastSeenAt: nodes.find((node) => node.action === action)?.createdAt ?? null,
      })),
    );
  }
  expect(own.auditStatistics.totalCount).toBeLessThan(all.auditStatistics.totalCount);
});

test('the catalogue tells how often and when last only those who may read the log', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  const old = openClock().now() - 40n * DAY;
  await writeLogRows(here.database.admin, [aRow(tenantId, old, 'SUCCESS')]);
  await allSealed(here.database.admin);
  const entries = async (person: Person) =>
    (await person.ask('{ auditActionCatalog { action key lastSeenAt count30d emittedBy } }')).data
      .auditActionCatalog as Record<string, unknown>[];
  const told = await entries(member);
  expect(told.length).toBeGreaterThan(30);
  expect(told.filter(({ lastSeenAt, count30d }) => lastSeenAt !== null || count30d !== null)).toEqual([]);
  const seen = await entries(admin);
  expect(seen.find(({ action }) => action === 'TENANT_DELETED')).toMatchObject({
    count30d: 0,
    lastSeenAt: expect.stringMatching(/Z$/) as string,
  });
  expect(seen.find(({ action }) => action === 'BRANCH_DELETED')).toMatchObject({
    count30d: 0,
    lastSeenAt: null,
  });
  expect(seen.map(({ key }) => key)).toEqual(told.map(({ key }) => key));
});

test.each([
  [
    '(from: "2026-01-02T00:00:00Z", to: "2026-01-02T00:00:00Z") { totalCount }',
    { from: 'must be before to' },
  ],
  [
    '(from: "2025-01-01T00:00:00Z", to: "2026-01-02T00:00:00.000001Z") { totalCount }',
    { from: 'must be at most 366 days before to' },
  ],
  ['{ topActors(first: 0) { count } }', { first: 'must be from 1 to 100' }],
  ['{ topAddresses(first: 101) { count } }', { first: 'must be from 1 to 100' }],
])('auditStatistics%s is refused', async (asked, fields) => {
  const here = await world();
  const { admin } = await here.tenant();
  expectRefused(await admin.ask(`{ auditStatistics${asked} }`), 'INVALID_INPUT', fields);
  const { errors } = await admin.ask(
    '{ auditStatistics(from: "0001-01-01T00:00:00Z", to: "0001-12-31T00:00:00Z") { totalCount byDay { count } topActors { count } trend { totalChange } } }',
  );
  expect(errors).toEqual([]);
});

interface Tally {
  readonly userId: string;
  readonly ipAddress: string;
  readonly count: number;
}

/** How many records have each value, and that it comes most often first; what is as often comes in any order. */
function counted(nodes: readonly Node[], key: keyof Node): unknown {
  const values = [...new Set(nodes.map((node) => node[key]))];
  const counts = values.map((value) => ({
    [key]: value,
    count: nodes.filter((node) => node[key] === value).length,
  }));
  return expect.toSatisfy((given: readonly { count: number }[]) => {
    expect(given.toSorted(byText)).toEqual(counts.toSorted(byText));
    return given.every(({ count }, at) => count <= (given[at - 1]?.count ?? count));
  }, `${key} and how many have it`);
}

function byText(one: object, other: object): number {
  return JSON.stringify(one).localeCompare(JSON.stringify(other));
}

function sum<Key extends string>(rows: readonly Record<Key, number>[], key: Key): number {
  return rows.reduce((total, row) => total + row[key], 0);
}

function aRow(tenantId: string, micros: bigint, status: LogRow['status']): LogRow {
  const facts = { action: 'TENANT_DELETED', severity: 0, requestId: 'r', ipAddress: null } as const;
  return { ...facts, tenantId, id: idAt(micros), micros, status, userId: null, resourceId: null };
}

function bare({ status, errors, requestId }: Answer): string {
  return JSON.stringify([status, errors]).replaceAll(requestId, '');
}
