import { assert, asyncProperty, constantFrom, integer, option, sample } from 'fast-check';
import { expect, test } from 'vitest';

import type { Context, Scope } from '../../src/audit/act.ts';
import { conditionOf, having } from '../../src/audit/filter.ts';
import type { LogPage } from '../../src/audit/query.ts';
import { spanOfCondition } from '../../src/audit/statistics.ts';
import { SEVERITIES } from '../../src/audit/tables.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditLogFilter } from '../../src/generated/types.ts';
import { idAt, isoOf, microsFrom, openClock } from '../../src/platform/ids.ts';
import { facets, histogram } from '../../src/security/distribution.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { isAskedFor, logFilters, logRows, type LogRow, writeLogRows } from '../world/logRows.ts';
import { sealAll } from '../world/seal.ts';
import { world } from '../world/server.ts';

const DAY = 86_400_000_000n;
const TENANTS = ['a', 'b'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const INTERVALS = ['HOUR', 'DAY', 'WEEK', 'MONTH'] as const;
const FACETS = ['ACTION', 'CATEGORY', 'STATUS', 'SEVERITY', 'RESOURCE', 'ACTOR', 'ADDRESS'] as const;

test('for any filter and time, both are what a recount of the records gives', async () => {
  const now = openClock().now();
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl, max: 3 });
  const [rows] = sample(logRows(TENANTS, now, { minLength: 400, maxLength: 400 }), 1) as [LogRow[]];
  await writeLogRows(fresh.admin, rows);
  await sealAll(fresh.admin, db);
  const moment = constantFrom(...rows.map(({ micros }) => micros));
  let unfiltered = 0;
  await assert(
    asyncProperty(
      option(
        logFilters(
          TENANTS,
          rows.map(({ micros }) => micros),
        ),
        { freq: 3 },
      ),
      constantFrom(...TENANTS, undefined),
      moment,
      integer({ min: 0, max: 12 }),
      constantFrom(...INTERVALS),
      async (some, tenantId, from, days, interval) => {
        const to = from + BigInt(days) * (DAY / 2n);
        // The time is said above.
        const { createdAt: _, ...rest } = some ?? {};
        const filter: AuditLogFilter = { ...rest, createdAt: { from: isoOf(from), to: isoOf(to) } };
        const condition = {
          all: [...(tenantId ? [having('tenantId', tenantId)] : []), conditionOf(filter)],
        };
        if (Object.keys(rest).length === 0) unfiltered++;
        const asked = rows.filter(
          (row) => (tenantId ?? row.tenantId) === row.tenantId && isAskedFor(row, filter),
        );
        await db.withReadTx('PLATFORM', async (tx) => {
          const context = contextOn({ tx, now } as Scope);
          const page = { condition } as unknown as LogPage;
          const buckets = await histogram(page, { interval }, context);
          expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(asked.length);
          expect(buckets.slice(1).map((bucket) => bucket.from)).toEqual(
            buckets.slice(0, -1).map((bucket) => bucket.to),
          );
          expect(buckets.map(({ count, failures }) => [count, failures])).toEqual(
            buckets.map((bucket) => {
              const inside = asked.filter(
                ({ micros }) => micros >= microsFrom(bucket.from) && micros < microsFrom(bucket.to),
              );
              return [inside.length, failuresOf(inside)];
            }),
          );
          const counts = await facets(page, { by: [...FACETS], top: 100 }, context);
          expect(counts.map(({ by, values }) => [by, inOrder(values)])).toEqual(
            FACETS.map((by) => [by, tallied(asked, by)]),
          );
        });
      },
    ),
    { numRuns: 150 },
  );
  expect(unfiltered).toBeGreaterThan(10);
});

test('intervals are those of UTC: weeks begin on Monday, months on their first, and empty ones are there', async () => {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant();
  const ask = async (interval: string, from: string, to: string) => {
    const { data, errors } = await admin.ask(
      `query ($filter: AuditLogFilter) { auditLogs(filter: $filter) { totalCount histogram(interval: ${interval}) { from to count failures } } }`,
      { filter: { createdAt: { from, to } } },
    );
    expect(errors).toEqual([]);
    return data.auditLogs.histogram as { from: string; to: string; count: number; failures: number }[];
  };
  const months = await ask('MONTH', '2024-01-31T23:00:00Z', '2024-04-01T00:00:00Z');
  expect(months.map(({ from }) => from)).toEqual(
    ['01', '02', '03'].map((month) => `2024-${month}-01T00:00:00.000000Z`),
  );
  expect(months.at(-1)!.to).toBe('2024-04-01T00:00:00.000000Z');
  const weeks = await ask('WEEK', '2024-02-26T00:00:00Z', '2024-03-11T00:00:00.000001Z');
  expect(weeks.map(({ from }) => from.slice(0, 10))).toEqual(['2024-02-26', '2024-03-04', '2024-03-11']);
  expect(weeks.every(({ count, failures }) => count === 0 && failures === 0)).toBe(true);

  await here.user(admin, 'MEMBER');
  await admin.do('updateTenant', { id: tenantId, name: '' });
  const { data } = await admin.ask(`{ auditLogs { totalCount histogram(interval: DAY) { count failures }
    facets(by: [STATUS, ACTION], top: 1) { by values { value count failures } } } }`);
  const { totalCount, histogram: days, facets: counts } = data.auditLogs;
  const sum = (name: 'count' | 'failures') =>
    (days as Record<typeof name, number>[]).reduce((all, day) => all + day[name], 0);
  expect([sum('count'), sum('failures')]).toEqual([totalCount, 1]);
  expect(days.length).toBeGreaterThanOrEqual(31);
  expect(counts).toMatchObject([
    { by: 'STATUS', values: [{ value: 'SUCCESS', count: totalCount - 1, failures: 0 }] },
    { by: 'ACTION', values: [{ count: expect.any(Number) }] },
  ]);
});

test('too many intervals or values are refused with what is allowed', async () => {
  const { admin } = await (await world()).tenant();
  const long =
    '{ auditLogs(filter: { createdAt: { from: "2020-01-01T00:00:00Z" } }) { histogram(interval: HOUR) { count } } }';
  const refused = await admin.ask(long);
  expect(refused.errors[0]!.extensions).toMatchObject({ code: 'BAD_USER_INPUT', reason: 'INVALID_INPUT' });
  expect(refused.errors[0]!.extensions['fields']).toEqual({
    interval: 'would give more than 1000 intervals: choose a longer one, or a shorter time in createdAt',
  });
  for (const top of [0, 101]) {
    const { errors } = await admin.ask(`{ auditLogs { facets(by: [ACTOR], top: ${top}) { by } } }`);
    expect(errors[0]!.extensions['fields']).toEqual({ top: 'must be from 1 to 100' });
  }
});

test('a branch manager’s are of what it sees', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  const { data } = await manager.ask(
    '{ auditLogs { totalCount histogram(interval: MONTH) { count } facets(by: [ACTION, ADDRESS]) { values { count } } } }',
  );
  const { totalCount, histogram: months, facets: counts } = data.auditLogs;
  const sum = (each: { count: number }[]) => each.reduce((all, { count }) => all + count, 0);
  expect([sum(months), sum(counts[0].values), sum(counts[1].values)]).toEqual([
    totalCount,
    totalCount,
    totalCount,
  ]);
  const whole = await admin.ask('{ auditLogs { totalCount } }');
  expect(whole.data.auditLogs.totalCount).toBeGreaterThan(totalCount);
});

test('whole hours are read from the kept numbers where those tell what is asked for, and else from the records', async () => {
  const now = openClock().now();
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl, max: 3 });
  const [rows] = sample(logRows(TENANTS, now, { minLength: 60, maxLength: 60 }), 1) as [LogRow[]];
  await writeLogRows(fresh.admin, rows);
  await sealAll(fresh.admin, db);
  // What only the kept numbers know.
  await fresh.admin`update audit_hours set count = 1000`;
  const countIn = async (filter: AuditLogFilter) => {
    const createdAt = { from: isoOf(now - 60n * DAY), to: isoOf(now) };
    const condition = conditionOf({ ...filter, createdAt });
    const months = await db.withReadTx('PLATFORM', (tx) =>
      histogram({ condition } as unknown as LogPage, { interval: 'MONTH' }, contextOn({ tx, now } as Scope)),
    );
    return months.reduce((sum, { count }) => sum + count, 0);
  };
  expect(await countIn({})).toBeGreaterThan(1000);
  expect(await countIn({ tenantId: TENANTS[0]! })).toBeGreaterThan(1000);
  expect(await countIn({ statuses: ['FAILURE', 'SUCCESS'], minSeverity: 'INFO' })).toBeGreaterThan(1000);
  expect(await countIn({ tenantId: TENANTS[0]!, not: { requestId: 'none' } })).toBeLessThan(61);
});

test('the evidence of an event is counted when it happened', async () => {
  const now = openClock().now();
  const ids = [now - 90n * DAY, now - 80n * DAY].map((at) => idAt(at));
  expect(spanOfCondition({ column: 'id', in: ids.toReversed() }, now)).toMatchObject({
    from: now - 90n * DAY,
    to: now - 80n * DAY + 1n,
  });
});

/** What resolvers use of a context, on one transaction. */
function contextOn(scope: Scope): Context {
  return {
    services: { clock: { now: () => scope.now } },
    read: (query: (scope: Scope) => unknown) => query(scope),
    load: async (
      batch: (scope: Scope, keys: readonly unknown[]) => Promise<readonly unknown[]>,
      key: unknown,
    ) => (await batch(scope, [key]))[0],
  } as unknown as Context;
}

const VALUE: Record<(typeof FACETS)[number], (row: LogRow) => string | null> = {
  ACTION: ({ action }) => action,
  CATEGORY: ({ action }) => AUDIT_CATALOGUE[action].category,
  STATUS: ({ status }) => status,
  SEVERITY: ({ severity }) => SEVERITIES[severity]!,
  RESOURCE: ({ action }) => AUDIT_CATALOGUE[action].resource,
  ACTOR: ({ userId }) => userId,
  ADDRESS: ({ ipAddress }) => ipAddress,
};

function tallied(rows: readonly LogRow[], by: (typeof FACETS)[number]) {
  const values = new Set(rows.map(VALUE[by]).filter((value) => value !== null));
  return inOrder(
    [...values].map((value) => {
      const having = rows.filter((row) => VALUE[by](row) === value);
      return { value, count: having.length, failures: failuresOf(having) };
    }),
  );
}

function inOrder(values: readonly { value: string; count: number; failures: number }[]) {
  return values.toSorted((one, other) => other.count - one.count || (one.value < other.value ? -1 : 1));
}

function failuresOf(rows: readonly LogRow[]): number {
  return rows.filter(({ status }) => status !== 'SUCCESS').length;
}
