/** The numbers of any span, against a recount of the records. */
import {
  type Arbitrary,
  assert,
  asyncProperty,
  bigInt,
  constantFrom,
  oneof,
  record,
  sample,
} from 'fast-check';
import { expect, test } from 'vitest';

import type { Scope } from '../../src/audit/act.ts';
import { ANY, type Condition, having } from '../../src/audit/filter.ts';
import {
  differentIn,
  endOf,
  type Facet,
  kindsIn,
  lastSeenIn,
  periodsIn,
  type Span,
  topIn,
} from '../../src/audit/statistics.ts';
import { idAt, isoOf, openClock } from '../../src/platform/ids.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { type LogRow, logRows, writeLogRows } from '../world/logRows.ts';
import { sealAll } from '../world/seal.ts';

type Sql = FreshDatabase['admin'];

const TENANTS = ['a', 'b', 'c'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const USER = '00000000-0000-4000-8000-000000000001';
const MINUTE = 60_000_000n;
const HOUR = 60n * MINUTE;
const DAY = 24n * HOUR;
const TOP = 3;
const RECORDS = 400;

test('whatever the span and whoever reads, the numbers are those of a recount, also of what is not sealed yet', async () => {
  // Shortly after midnight: what is young lies in whole hours and days.
  const now = (openClock().now() / DAY) * DAY - DAY + 2n * MINUTE;
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl, max: 3 });
  const [made] = sample(logRows(TENANTS, now, { minLength: RECORDS, maxLength: RECORDS }), 1) as [LogRow[]];
  const spread = made.map((row, at) => movedTo(row, row.micros - ((BigInt(at) * 7_919_000_003n) % DAY)));
  const young = spread.slice(0, 40).map((row, at) => movedTo(row, now - BigInt(at) * 20n * 1_000_000n));
  await writeLogRows(fresh.admin, spread);
  await nameAgents(fresh.admin);
  await sealAll(fresh.admin, db);
  await writeLogRows(fresh.admin, young);

  const moments = [...spread, ...young].map(({ micros }) => micros);
  let whole = 0;
  await assert(
    asyncProperty(spans(now, moments), async (span) => {
      await db.withReadTx('PLATFORM', async (tx) => {
        const scope = { tx, now } as Scope;
        expect(await numbersOf(scope, span)).toEqual(await recount(fresh.admin, span));
      });
      if (!ofUser(span) && span.to - span.from > 2n * DAY) whole++;
    }),
    { numRuns: 120 },
  );
  expect(whole).toBeGreaterThan(10);
});

test('whole hours and days are answered without the records', async () => {
  const now = openClock().now();
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl, max: 3 });
  await writeLogRows(fresh.admin, [aRow(now - 3n * DAY)]);
  await sealAll(fresh.admin, db);
  // What only the kept numbers know.
  await fresh.admin`update audit_hours set count = 70`;
  await fresh.admin`update audit_facets set count = 50`;
  const span = { tenantId: undefined, condition: ANY, from: now - 10n * DAY, to: now };
  const [kinds, top, part] = await db.withReadTx('PLATFORM', async (tx) => {
    const scope = { tx, now } as Scope;
    return [
      await kindsIn(scope, [span]),
      await topIn(scope, span, 'address', TOP),
      await kindsIn(scope, [{ ...span, condition: { not: having('userId', USER) } }]),
    ];
  });
  expect(kinds[0]![0]!.count).toBe(70);
  expect(top[0]!.count).toBe(50);
  expect(part[0]![0]!.count).toBe(1);
});

function spans(now: bigint, moments: readonly bigint[]): Arbitrary<Span> {
  const exactly = constantFrom(...moments).chain((at) => constantFrom(at - 1n, at, at + 1n));
  const rounded = exactly.chain((at) => constantFrom(at - (at % HOUR), at - (at % DAY)));
  const moment = oneof(
    exactly,
    rounded,
    bigInt({ min: now - 60n * DAY, max: now + DAY }),
    constantFrom(0n, -1n, now),
  );
  const reader = constantFrom<Pick<Span, 'tenantId' | 'condition'>>(
    { tenantId: undefined, condition: ANY },
    ...TENANTS.map((tenantId) => ({ tenantId, condition: having('tenantId', tenantId) })),
    {
      tenantId: TENANTS[0],
      condition: both(having('tenantId', TENANTS[0]!), having('userId', USER)),
    },
  );
  return record({ reader, one: moment, other: moment }).map(({ reader: whose, one, other }) => ({
    ...whose,
    from: one < other ? one : other,
    to: one < other ? other : one,
  }));
}

async function numbersOf(scope: Scope, span: Span) {
  const top = async (facet: Facet) => plain(await topIn(scope, span, facet, TOP));
  const [kinds] = await kindsIn(scope, [span]);
  const [seen] = await lastSeenIn(scope, [span]);
  return {
    kinds: kinds!.map(({ action, status, severity, count }) => [action, status, severity, count]),
    days: plain(await periodsIn(scope, span, 'day')),
    hours: plain(await periodsIn(scope, span, 'hour')),
    actors: await top('actor'),
    addresses: await top('address'),
    devices: await top('device'),
    different: await differentIn(scope, span, 'actor'),
    first: await endOf(scope, span, 'first'),
    last: await endOf(scope, span, 'last'),
    seen: [...seen!].sort(byAction),
  };
}

function byAction([one]: readonly unknown[], [other]: readonly unknown[]): number {
  return String(one).localeCompare(String(other));
}

function plain(tallies: readonly { value: string; count: number; failures: number }[]) {
  return tallies.map(({ value, count, failures }) => [value, count, failures]);
}

/** The same of the records alone, by the moment they say, not by their id. */
function ofUser({ condition }: Span): boolean {
  return JSON.stringify(condition).includes(USER);
}

async function recount(sql: Sql, span: Span) {
  const { tenantId, from, to } = span;
  const since = from < 0n ? 0n : from;
  const counted = sql`audit_logs where created_at >= ${isoOf(since)}::text::timestamptz
    and created_at < ${isoOf(to < 0n ? 0n : to)}::text::timestamptz
    ${tenantId ? sql`and tenant_id = ${tenantId}` : sql``} ${ofUser(span) ? sql`and user_id = ${USER}` : sql``}`;
  const failures = sql`sum((status in ('failure', 'error'))::int)::int`;
  const utc = (moment: ReturnType<Sql['unsafe']>) =>
    sql`to_char(${moment} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
  const periods = (unit: string) =>
    sql`
    select ${utc(sql`date_bin(${unit}::text::interval, created_at, '2000-01-01Z')`)}, count(*)::int, ${failures}
    from ${counted} group by 1 order by 1`.values();
  const top = (value: ReturnType<Sql['unsafe']>) =>
    sql`
    select ${value} as value, count(*)::int, ${failures} from ${counted} and ${value} is not null
    group by 1 order by 2 desc, 1 limit ${TOP}`.values();
  const [ends] = await sql`
    select ${utc(sql`min(created_at)`)} as first, ${utc(sql`max(created_at)`)} as last,
      count(distinct user_id)::int as different from ${counted}`;
  return {
    kinds: [
      ...(await sql`
        select action, status, severity, count(*)::int from ${counted}
        group by 1, 2, 3 order by 4 desc, 1, 2, 3`.values()),
    ],
    days: [...(await periods('1 day'))],
    hours: [...(await periods('1 hour'))],
    actors: [...(await top(sql`user_id::text`))],
    addresses: [...(await top(sql`host(ip_address)`))],
    devices: [...(await top(sql`user_agent`))],
    different: ends!['different'] as number,
    first: ends!['first'] as string | null,
    last: ends!['last'] as string | null,
    seen: [
      ...(await sql`select action, ${utc(sql`max(created_at)`)} from ${counted} group by 1`.values()),
    ].sort(byAction),
  };
}

function both(...conditions: Condition[]): Condition {
  return { all: conditions };
}

function movedTo(row: LogRow, micros: bigint): LogRow {
  return { ...row, id: idAt(micros), micros };
}

function aRow(micros: bigint): LogRow {
  const facts = { action: 'LOGIN', status: 'SUCCESS', severity: 0, requestId: 'r' } as const;
  const [tenantId] = TENANTS as [string];
  return {
    ...facts,
    tenantId,
    id: idAt(micros),
    micros,
    userId: null,
    resourceId: null,
    ipAddress: '192.0.2.1',
  };
}

async function nameAgents(admin: Sql): Promise<void> {
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update audit_logs set user_agent = 'agent ' || left(md5(id::text), 1) where status <> 'error'`;
  });
}
