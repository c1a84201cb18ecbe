/** Pages of the log: by cursor on the id, in both directions, over whatever a condition lets through. */
import { and, asc, count, desc, gt, gte, lt, type SQL, sql } from 'drizzle-orm';

import type { BoundedCount, OrderDirection } from '../generated/types.ts';
import { uuidArray } from '../platform/columns.ts';
import { idFloor, microsOf } from '../platform/ids.ts';
import { type Page, type PageArguments, pageOf } from '../platform/page.ts';
import type { Batch, Context, Scope } from './act.ts';
import { type Condition, inSql } from './filter.ts';
import type { PersonalValues } from './personal.ts';
import { auditLogs, type AuditLogRow } from './tables.ts';

/**
 * A page is sought in this span of ids first and in the rest only if it is not full: without a bound the planner opens
 * and locks every partition.
 */
const WINDOW_MICROS = 35n * 86_400_000_000n;

/** A page of the log. */
export interface LogPage extends Page<AuditLogRow> {
  /** How many records the whole list has, counted no further than `max`. */
  countUpTo(max: number): Promise<BoundedCount>;
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
  const list = {
    kind: 'log',
    binding: JSON.stringify([binding, direction]),
    descending: direction === 'DESC',
    count: () => countOf(context, condition),
  };
  const found = await pageOf<AuditLogRow>(list, page, ({ limit, descending, beyond, short }) =>
    context.read(async ({ tx, now }) => {
      const [past, before] = descending ? [lt, gt] : [gt, lt];
      const wanted = and(
        beyond ? past(auditLogs.id, beyond) : undefined,
        short ? before(auditLogs.id, short) : undefined,
        inSql(condition),
      );
      const read = (span: SQL | undefined, atMost: number) =>
        tx
          .select()
          .from(auditLogs)
          .where(and(wanted, span))
          .orderBy(descending ? desc(auditLogs.id) : asc(auditLogs.id))
          .limit(atMost);

      const [span, rest] = spansFrom(beyond, descending, now);
      const rows = await read(span, limit);
      return rest && rows.length < limit ? [...rows, ...(await read(rest, limit - rows.length))] : rows;
    }),
  );
  return { ...found, countUpTo: (max) => countUpTo(context, condition, max) };
}

/** The ids to look at first, and the others. The oldest record is not known: a list from there on is read in one. */
function spansFrom(start: string | undefined, descending: boolean, now: bigint): readonly [SQL?, SQL?] {
  if (start === undefined && !descending) return [];
  const from = start === undefined ? now : microsOf(start);
  const edge = idFloor(descending ? from - WINDOW_MICROS : from + WINDOW_MICROS);
  const [older, newer] = [lt(auditLogs.id, edge), gte(auditLogs.id, edge)];
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
