/** Pages of the log: by cursor on the id, in both directions, over whatever a condition lets through. */
import {
  and,
  type AnyColumn,
  asc,
  count,
  desc,
  eq,
  getTableColumns,
  gt,
  gte,
  lt,
  type SQL,
  sql,
} from 'drizzle-orm';
import { unionAll } from 'drizzle-orm/pg-core';

import type { BoundedCount, OrderDirection } from '../generated/types.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx } from '../platform/db.ts';
import { idFloor, microsOf } from '../platform/ids.ts';
import { type Page, type PageArguments, pageOf } from '../platform/page.ts';
import { Refusal } from '../platform/refusal.ts';
import type { Batch, Context, Scope } from './act.ts';
import { type Condition, inSql } from './filter.ts';
import type { PersonalValues } from './personal.ts';
import { auditChanges, auditLogs, type AuditLogRow } from './tables.ts';
import { partsOf, tenantOf, waysOf } from './ways.ts';

const DAY_MICROS = 86_400_000_000n;
/**
 * A page is sought in this span of ids first and in the rest only if it is not full: without a bound the planner opens
 * and locks every partition.
 */
const WINDOW_MICROS = 35n * DAY_MICROS;
/** What a text is looked for in, at most. */
const TEXT_DAYS_MAX = 31n;
/**
 * Changes younger than this are looked for in the records: they may not be sealed yet, and so not in `audit_changes`. `/readyz`
 * complains when the sealer is a sixth of it behind.
 */
const SEALED_AFTER_MICROS = 60_000_000n;

/** A page of the log. */
export interface LogPage extends Page<AuditLogRow> {
  /** How many records the whole list has, counted no further than `max`. */
  countUpTo(max: number): Promise<BoundedCount>;
  /** What all of the list fulfils. */
  readonly condition: Condition;
}

/**
 * The page that the arguments ask for. `condition` includes what the reader is confined to. `binding` is what the cursor
 * belongs to; it is the condition, unless that moves with the clock.
 */
export async function pageOfLog(
  context: Context,
  condition: Condition,
  page: PageArguments,
  {
    direction = 'DESC',
    binding = condition,
  }: { direction?: OrderDirection | undefined; binding?: unknown } = {},
): Promise<LogPage> {
  refuseUnboundedText(condition, context.services.clock.now());
  const list = {
    kind: 'log',
    binding: JSON.stringify([binding, direction]),
    descending: direction === 'DESC',
    count: () => countOf(context, condition),
  };
  const found = await pageOf<AuditLogRow>(list, page, ({ limit, descending, beyond, short }) =>
    context.read(async ({ tx, now }) => {
      const [past, before] = descending ? [lt, gt] : [gt, lt];
      const order = descending ? desc : asc;
      const read = async (span: Span | undefined, atMost: number) => {
        const bounds: Span = (id) =>
          and(beyond ? past(id, beyond) : undefined, short ? before(id, short) : undefined, span?.(id));
        const walks = waysOf(condition).flatMap((way) => recordsOf(tx, way, bounds, now));
        const ordered = walks.map((walk) => walk.orderBy(order(auditLogs.id)).limit(atMost));
        const [first, second, ...others] = ordered;
        if (first === undefined) return [];
        return await (second === undefined ? first : merged(tx, [first, second, ...others], order, atMost));
      };

      const [span, rest] = spansFrom(beyond, descending, now);
      const rows = await read(span, limit);
      return rest && rows.length < limit ? [...rows, ...(await read(rest, limit - rows.length))] : rows;
    }),
  );
  return { ...found, condition, countUpTo: (max) => countUpTo(context, condition, max) };
}

/** A condition on an id, wherever it stands. */
type Span = (id: AnyColumn) => SQL | undefined;

/** The records that fulfil the condition within the bounds: one selection, or two that have none in common. */
function recordsOf(tx: ReadTx, condition: Condition, bounds: Span, now: bigint) {
  const parts = partsOf(condition);
  const change = parts.find((part) => 'changed' in part);
  const records = tx.select(getTableColumns(auditLogs)).from(auditLogs).$dynamic();
  if (!change || tenantOf(condition) === undefined)
    return [records.where(and(bounds(auditLogs.id), inSql(condition)))];

  const edge = idFloor(now - SEALED_AFTER_MICROS);
  // Said of both tables: only what is equal does Postgres carry over by itself.
  const within: Span = (id) => and(bounds(id), lt(id, edge), ...parts.flatMap((part) => ofId(part, id)));
  const known = tx
    .select(getTableColumns(auditLogs))
    .from(auditChanges)
    .innerJoin(
      auditLogs,
      and(eq(auditLogs.tenantId, auditChanges.tenantId), eq(auditLogs.id, auditChanges.id)),
    )
    .where(
      and(
        eq(auditChanges.field, change.changed),
        within(auditChanges.id),
        within(auditLogs.id),
        inSql(condition),
      ),
    )
    .$dynamic();
  const young = records.where(and(bounds(auditLogs.id), gte(auditLogs.id, edge), inSql(condition)));
  return [young, known];
}

/** What a part of the condition says of the id. */
function ofId(part: Condition, id: AnyColumn): SQL[] {
  if (!('column' in part) || part.column !== 'id') return [];
  if ('from' in part) return [gte(id, part.from)];
  return 'below' in part ? [lt(id, part.below)] : [];
}

/** The selections as one, a record in several of them once. They are in order, so they are merged, not sorted. */
function merged(
  tx: ReadTx,
  [first, second, ...others]: readonly [Selection, Selection, ...Selection[]],
  order: typeof asc,
  limit: number,
) {
  const all = unionAll(first, second, ...others).as('records');
  return tx.selectDistinctOn([all.id]).from(all).orderBy(order(all.id)).limit(limit);
}

type Selection = ReturnType<typeof recordsOf>[number];

/** Without an index, a text is looked for in records one by one. */
function refuseUnboundedText(condition: Condition, now: bigint): void {
  if (!JSON.stringify(condition).includes('"text":')) return;
  const bounds = partsOf(condition).flatMap((part) =>
    'column' in part && part.column === 'id' ? [part] : [],
  );
  const from = bounds.flatMap((part) => ('from' in part ? [microsOf(String(part.from))] : []));
  const to = bounds.flatMap((part) => ('below' in part ? [microsOf(String(part.below))] : []));
  const days = (least([now, ...to]) - greatest(from)) / DAY_MICROS;
  if (tenantOf(condition) !== undefined && from.length > 0 && days <= TEXT_DAYS_MAX) return;
  throw new Refusal('INVALID_INPUT', {
    fields: {
      text: `needs the records of one tenant and of at most ${TEXT_DAYS_MAX} days: name createdAt, and tenantId where several are seen`,
    },
  });
}

function least(values: readonly bigint[]): bigint {
  return values.reduce((one, other) => (other < one ? other : one));
}

function greatest(values: readonly bigint[]): bigint {
  return values.reduce((one, other) => (other > one ? other : one), 0n);
}

/** The ids to look at first, and the others. The oldest record is not known: a list from there on is read in one. */
function spansFrom(start: string | undefined, descending: boolean, now: bigint): readonly [Span?, Span?] {
  if (start === undefined && !descending) return [];
  const from = start === undefined ? now : microsOf(start);
  const edge = idFloor(descending ? from - WINDOW_MICROS : from + WINDOW_MICROS);
  const [older, newer]: [Span, Span] = [(id) => lt(id, edge), (id) => gte(id, edge)];
  return descending ? [newer, older] : [older, newer];
}

/** How many records fulfil the condition. */
function countOf(context: Context, condition: Condition): Promise<number> {
  return context.read(async ({ tx }) => {
    const [row] = await tx.select({ value: count() }).from(auditLogs).where(inSql(condition));
    return row!.value;
  });
}

function countUpTo(context: Context, condition: Condition, max: number): Promise<BoundedCount> {
  return context.read(async ({ tx }) => {
    const found = tx
      .select({ one: sql`1`.as('one') })
      .from(auditLogs)
      .where(inSql(condition))
      .limit(max + 1)
      .as('found');
    const [row] = await tx.select({ value: count() }).from(found);
    return { value: Math.min(row!.value, max), exact: row!.value <= max };
  });
}

/** Where each record stands in its tenant's sealed order; null until it is sealed. One statement. */
export const positionOf: Batch<AuditLogRow, bigint | null> = async ({ tx }, rows) => {
  const found = await tx.execute<{ id: string; seq: string }>(sql`
    select wanted.id, seal.seq
    from unnest(${uuidArray(rows.map((row) => row.tenantId))}::uuid[], ${uuidArray(rows.map((row) => row.id))}::uuid[])
      as wanted(tenant_id, id)
    cross join lateral (
      select first_seq + (position(uuid_send(wanted.id) in ids) - 1) / 16 as seq
      from audit_seals
      where audit_seals.tenant_id = wanted.tenant_id and max_id >= wanted.id and min_id <= wanted.id
        and position(uuid_send(wanted.id) in ids) > 0
      order by max_id
      limit 1
    ) as seal`);
  const seqs = new Map(found.map(({ id, seq }) => [id, BigInt(seq)]));
  return rows.map((row) => seqs.get(row.id) ?? null);
};

/** The personal values of each record, as far as their keys exist. One statement. */
export const personalOf = async (
  { tx, services }: Pick<Scope, 'tx' | 'services'>,
  rows: readonly AuditLogRow[],
): Promise<PersonalValues[]> => {
  const keys = await services.vault.keys(tx, rows);
  return rows.map((row) => services.vault.open(row, keys));
};
