/**
 * The log in numbers, exact for any span of time: whole hours and days from what the sealer keeps (audit/rollup.ts), the
 * edges from the records themselves, and everything that the kept numbers cannot tell apart.
 */
import { and, asc, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';

import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import { idFloor, isoOf, microsFrom, microsOf } from '../platform/ids.ts';
import { executePlanned } from '../platform/planning.ts';
import type { Batch, Scope } from './act.ts';
import { type Column, type Condition, inSql } from './filter.ts';
import { auditFacets, auditHours, auditLogs, type AuditLogRow } from './tables.ts';
import { partsOf as conjunctsOf, tenantOf } from './ways.ts';

const HOUR_MICROS = 3_600_000_000n;
const DAY_MICROS = 24n * HOUR_MICROS;
const SPAN_MICROS = 30n * DAY_MICROS;
/**
 * What is younger is counted from the records: it may not be sealed yet. So a number holds what was committed before it was
 * asked for, as long as the sealer is not further behind than this.
 */
const SEALED_AFTER_MICROS = 15n * 60_000_000n;

/** After every record. */
const END_MICROS = microsFrom('9999-12-31T00:00:00Z');
/** What the kept numbers tell of a record. */
const HOUR_COLUMNS: readonly Column[] = ['tenantId', 'action', 'status', 'severity'];
const ACTIONS = Object.values(AUDIT_CATALOGUE);
const FACET_COLUMNS: readonly Column[] = ['tenantId'];

/** The records that are counted. */
export interface Span {
  /** The one tenant they are of; undefined for all. */
  readonly tenantId: string | undefined;
  /** The tenant again, and what else is asked of a record. */
  readonly condition: Condition;
  /** The first moment inside, in microseconds since 1970. */
  readonly from: bigint;
  /** The first moment outside. */
  readonly to: bigint;
}

/** How many records are of a kind. */
export interface Kind {
  readonly action: string;
  readonly status: AuditLogRow['status'];
  readonly severity: number;
  readonly count: number;
}

/** A value and how many records have it. */
export interface Tally {
  readonly value: string;
  readonly count: number;
  /** Those that are not a success. */
  readonly failures: number;
}

export type Period = 'hour' | 'day' | 'week' | 'month';

/** By what else than their kind records are counted. */
export type Facet = (typeof auditFacets.$inferSelect)['facet'];

/**
 * The records of a condition: in the time it names, or that of the records it names; where it is open, up to `now` and from thirty
 * days before its end.
 */
export function spanOfCondition(condition: Condition, now: bigint): Span {
  return spanOf(condition, (to = now) => ({ from: to - SPAN_MICROS, to }));
}

/** The span a condition names, and what it is where that is open. */
function spanOf(
  condition: Condition,
  open: (to: bigint | undefined) => { readonly from: bigint; readonly to: bigint },
): Span {
  const parts = conjunctsOf(condition);
  const ids = parts.flatMap((part) => ('column' in part && part.column === 'id' ? [part] : []));
  const others = parts.filter((part) => !ids.some((each) => each === part && !('in' in part)));
  const named = ids.flatMap((part) => ('in' in part ? part.in.map((id) => microsOf(String(id))) : []));
  const froms = [
    ...ids.flatMap((part) => ('from' in part ? [microsOf(String(part.from))] : [])),
    ...inOrder(named).slice(0, 1),
  ];
  const tos = [
    ...ids.flatMap((part) => ('below' in part ? [microsOf(String(part.below))] : [])),
    ...inOrder(named)
      .slice(-1)
      .map((at) => at + 1n),
  ];
  const otherwise = open(inOrder(tos)[0]);
  return {
    tenantId: tenantOf(condition),
    condition: { all: others },
    from: inOrder(froms).at(-1) ?? otherwise.from,
    to: otherwise.to,
  };
}

function inOrder(moments: readonly bigint[]): bigint[] {
  return moments.toSorted((one, other) => (one < other ? -1 : 1));
}

/** The records of a span, as a condition. */
export function recordsOf({ condition, from, to }: Pick<Span, 'condition' | 'from' | 'to'>): Condition {
  return {
    all: [condition, { column: 'id', from: idFloor(from) }, { column: 'id', below: idFloor(to) }],
  };
}

/** The records of each span by kind, most often first. */
export const kindsIn: Batch<Span, readonly Kind[]> = (scope, spans) =>
  Promise.all(
    spans.map(async (span) => {
      const rows = await executePlanned<Omit<Kind, 'count'> & { count: string }>(
        scope.tx,
        'FOR_ITS_VALUES',
        sql`
        select action, status, severity, sum(count) as count from (${hoursIn(span, scope.now)}) as hours
        group by action, status, severity order by sum(count) desc, action, status, severity`,
      );
      return rows.map(({ count, ...kind }) => ({ ...kind, count: Number(count) }));
    }),
  );

/** How many records fulfil a condition; undefined where what is kept says nothing of it. */
export async function countKept({ tx, now }: Scope, condition: Condition): Promise<number | undefined> {
  const span = spanOf(condition, (to = END_MICROS) => ({ from: 0n, to }));
  if (!asksOnly(byAction(span.condition), HOUR_COLUMNS)) return undefined;
  const [row] = await executePlanned<{ count: string }>(
    tx,
    'FOR_ITS_VALUES',
    sql`select coalesce(sum(count), 0) as count from (${hoursIn(span, now)}) as hours`,
  );
  return Number(row!.count);
}

/** How many records there are of each period (UTC) that has any, oldest first; the value is when it begins. A week begins on Monday. */
export async function periodsIn({ tx, now }: Scope, span: Span, unit: Period): Promise<readonly Tally[]> {
  const rows = await executePlanned<TallyRow>(
    tx,
    'FOR_ITS_VALUES',
    sql`
    select date_trunc(${unit}, hour, 'UTC') as value, sum(count) as count,
      coalesce(sum(count) filter (where status <> 'success'), 0) as failures
    from (${hoursIn(span, now)}) as hours group by 1 order by 1`,
  );
  return rows.map((row) => talliedAs(auditHours.hour, row));
}

/** The values that most records have, at most `limit`, most often first. */
export async function topIn(
  { tx, now }: Scope,
  span: Span,
  facet: Facet,
  limit: number,
): Promise<readonly Tally[]> {
  const rows = await executePlanned<TallyRow>(
    tx,
    'FOR_ITS_VALUES',
    sql`
    select value, sum(count) as count, sum(failures) as failures from (${facetsIn(span, facet, now)}) as facets
    group by value order by sum(count) desc, value limit ${limit}`,
  );
  return rows.map((row) => talliedAs(VALUES[facet].column, row));
}

/** How many different values the records have. */
export async function differentIn({ tx, now }: Scope, span: Span, facet: Facet): Promise<number> {
  const [row] = await executePlanned<{ count: string }>(
    tx,
    'FOR_ITS_VALUES',
    sql`select count(*) as count from (select distinct value from (${facetsIn(span, facet, now)}) as facets) as values`,
  );
  return Number(row!.count);
}

/** When the first or the last record was made; null where there is none. */
export async function endOf({ tx }: Scope, span: Span, end: 'first' | 'last'): Promise<string | null> {
  const [row] = await tx
    .select({ at: auditLogs.createdAt })
    .from(auditLogs)
    .where(inSql(recordsOf(span)))
    .orderBy(end === 'first' ? asc(auditLogs.id) : desc(auditLogs.id))
    .limit(1);
  return row?.at ?? null;
}

/** When each action, by its key, was last recorded in a span. One statement, which looks for the hour first. */
export const lastSeenIn: Batch<Span, ReadonlyMap<string, string>> = (scope, spans) =>
  Promise.all(
    spans.map(async (span) => {
      const rows = await executePlanned<{ action: string; at: string }>(
        scope.tx,
        'FOR_ITS_VALUES',
        sql`
        select seen.action, latest.at
        from (select action, max(hour) as hour from (${hoursIn(span, scope.now)}) as hours group by action) as seen
        cross join lateral (
          select created_at as at from audit_logs
          where ${inSql(recordsOf(span))} and audit_logs.action = seen.action
            and id >= audit_id_floor(seen.hour) and id < audit_id_floor(seen.hour + interval '1 hour')
          order by id desc limit 1) as latest`,
      );
      return new Map(rows.map(({ action, at }) => [action, instantOf(auditLogs.createdAt, at)]));
    }),
  );

/** Rows (hour, action, status, severity, count) that add up to the records of the span. */
function hoursIn(span: Span, now: bigint): SQL {
  const condition = byAction(span.condition);
  const { whole, edges } = partsOf(span, HOUR_MICROS, now, asksOnly(condition, HOUR_COLUMNS));
  const records = edges.map(
    (edge) => sql`
      select date_trunc('hour', created_at, 'UTC') as hour, action, status, severity, 1::bigint as count
      from audit_logs where ${inSql(recordsOf(edge))}`,
  );
  const kept = whole.map(
    ({ from, to }) => sql`
      select hour, action, status, severity, count from audit_hours
      where ${and(inSql(condition, auditHours), gte(auditHours.hour, isoOf(from)), lt(auditHours.hour, isoOf(to)))}`,
  );
  return sql.join([...kept, ...records], sql` union all `);
}

/** The same condition, but for resources: they are those of the actions. */
function byAction(condition: Condition): Condition {
  if ('all' in condition) return { all: condition.all.map(byAction) };
  if ('any' in condition) return { any: condition.any.map(byAction) };
  if ('not' in condition) return { not: byAction(condition.not) };
  if (!('in' in condition) || condition.column !== 'resource') return condition;
  const actions = ACTIONS.filter(({ resource }) => condition.in.includes(resource));
  return { column: 'action', in: actions.map(({ key }) => key) };
}

/** Whether a condition asks for nothing but these columns. */
function asksOnly(condition: Condition, columns: readonly Column[]): boolean {
  const nested = (each: Condition) => asksOnly(each, columns);
  if ('all' in condition) return condition.all.every(nested);
  if ('any' in condition) return condition.any.every(nested);
  if ('not' in condition) return nested(condition.not);
  return 'column' in condition && columns.includes(condition.column);
}

/** Rows (value, count, failures) that add up to the records of the span that have a value. */
function facetsIn(span: Span, facet: Facet, now: bigint): SQL {
  const { whole, edges } = partsOf(span, DAY_MICROS, now, asksOnly(span.condition, FACET_COLUMNS));
  const { column, text } = VALUES[facet];
  const records = edges.map(
    (edge) => sql`
      select ${text} as value, 1::bigint as count, (status <> 'success')::int::bigint as failures
      from audit_logs where ${inSql(recordsOf(edge))} and ${column} is not null`,
  );
  const kept = whole.map(
    ({ from, to }) => sql`
      select value, count, failures from audit_facets
      where ${and(inSql(span.condition, auditFacets), eq(auditFacets.facet, facet), gte(auditFacets.day, isoOf(from)), lt(auditFacets.day, isoOf(to)))}`,
  );
  return sql.join([...kept, ...records], sql` union all `);
}

/** Where a facet comes from, and how `audit_facets` writes it. */
const VALUES = {
  actor: { column: auditLogs.userId, text: sql`user_id::text` },
  address: { column: auditLogs.ipAddress, text: sql`host(ip_address)` },
  device: { column: auditLogs.userAgent, text: sql`user_agent` },
} satisfies Record<Facet, { column: PgColumn; text: SQL }>;

/** The whole units of a span that are sealed, if any and they are kept, and the rest of it. */
function partsOf(
  span: Span,
  unit: bigint,
  now: bigint,
  isKept: boolean,
): { whole: readonly Span[]; edges: readonly Span[] } {
  const sealed = now - SEALED_AFTER_MICROS;
  // No record is older than 1970, and division rounds towards it.
  const from = span.from < 0n ? 0n : ((span.from + unit - 1n) / unit) * unit;
  const to = ((span.to < sealed ? span.to : sealed) / unit) * unit;
  if (!isKept || from >= to) return { whole: [], edges: [span] };
  const edges = [
    { ...span, to: from },
    { ...span, from: to },
  ];
  return { whole: [{ ...span, from, to }], edges: edges.filter((edge) => edge.from < edge.to) };
}

// A type, not an interface: only that is a Record to `execute`.
type TallyRow = { readonly value: string; readonly count: string; readonly failures: string };

/** A tally whose value reads as the column's. */
function talliedAs(column: PgColumn, { value, count, failures }: TallyRow): Tally {
  return { value: instantOf(column, value), count: Number(count), failures: Number(failures) };
}

function instantOf(column: PgColumn, value: string): string {
  return column.mapFromDriverValue(value) as string;
}
