/** Pages of the log: by cursor on the id, in both directions, over whatever a condition lets through. */
import { and, type AnyColumn, asc, desc, eq, getTableColumns, gt, gte, lt, type SQL, sql } from 'drizzle-orm';

import type { BoundedCount, OrderDirection } from '../generated/types.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx } from '../platform/db.ts';
import { idFloor, microsOf } from '../platform/ids.ts';
import { type Page, type PageArguments, pageOf } from '../platform/page.ts';
import { executePlanned } from '../platform/planning.ts';
import { Refusal } from '../platform/refusal.ts';
import { type Selection, selectionOf } from '../platform/selection.ts';
import type { Batch, Context, Scope } from './act.ts';
import { type Condition, inSql } from './filter.ts';
import type { PersonalValues } from './personal.ts';
import { countKept } from './statistics.ts';
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

/** A total is exact: where the sealer is further behind, the records are counted. The kept numbers allow for 15 minutes. */
const KEPT_LAG_MS_MAX = 5 * 60_000;

/** A network with no more records than this is looked up, another one is met often enough on a walk. */
const RARE_MAX = 1_000;

/** A page of the log. */
export interface LogPage extends Page<AuditLogRow> {
  /** How many records the whole list has, counted no further than `max`. */
  countUpTo(max: number): Promise<BoundedCount>;
  /** What all of the list fulfils. */
  readonly condition: Condition;
}

/**
 * The page that the arguments ask for. `condition` includes what the reader is confined to. `binding` is what the cursor
 * belongs to; it is the condition, unless that moves with the clock. Of the large columns only those in `large` are read.
 */
export async function pageOfLog(
  context: Context,
  condition: Condition,
  page: PageArguments,
  {
    direction = 'DESC',
    binding = condition,
    large = LARGE,
  }: {
    direction?: OrderDirection | undefined;
    binding?: unknown;
    large?: readonly LargeColumn[] | undefined;
  } = {},
): Promise<LogPage> {
  refuseUnboundedText(condition, context.services.clock.now());
  const list = {
    kind: 'log',
    binding: JSON.stringify([binding, direction]),
    descending: direction === 'DESC',
    count: () => countOf(context, condition),
  };
  const selection = selectionWith(large);
  const found = await pageOf<AuditLogRow>(list, page, ({ limit, descending, beyond, short }) =>
    context.read(async ({ tx, now }) => {
      const [past, before] = descending ? [lt, gt] : [gt, lt];
      const order = descending ? desc : asc;
      // Of all tenants at once only ids have an index.
      const plan = tenantOf(condition) === undefined ? 'FOR_ITS_VALUES' : 'IN_INDEX_ORDER';
      const read = async (span: Span | undefined, atMost: number) => {
        const within: Span = (id) =>
          and(beyond ? past(id, beyond) : undefined, short ? before(id, short) : undefined, span?.(id));
        const rare = await rareIn(tx, condition, within);
        const bounds: Span = (id) => and(within(id), rare && sql`${id} = any(${uuidArray(rare)}::uuid[])`);
        if (rare?.length === 0) return [];
        const walks = waysOf(condition)
          .flatMap((way) => recordsOf(way, bounds, now, selection))
          .map(
            ({ columns, from, id }) =>
              sql`(select ${columns} from ${from} order by ${order(id)} limit ${atMost})`,
          );
        return walks.length === 0
          ? []
          : selection.rowsOf(await executePlanned(tx, plan, merged(walks, order, atMost)));
      };

      const [span, rest] = spansFrom(beyond, descending, now);
      const rows = await read(span, limit);
      return rest && rows.length < limit ? [...rows, ...(await read(rest, limit - rows.length))] : rows;
    }),
  );
  return { ...found, condition, countUpTo: (max) => countUpTo(context, condition, max) };
}

const LARGE = ['userAgent', 'context', 'details', 'changes', 'pii', 'leafHash'] as const;
/** What a page need not read of its records where nobody asks for it. */
export type LargeColumn = (typeof LARGE)[number];

const SMALL = (Object.keys(getTableColumns(auditLogs)) as (keyof AuditLogRow)[]).filter(
  (key) => !LARGE.some((large) => large === key),
);
const selections = new Map<string, Selection<AuditLogRow>>();

/** Columns that are not read are absent from the rows, against their type: who leaves one out never looks at it. */
function selectionWith(large: readonly LargeColumn[]): Selection<AuditLogRow> {
  const wanted = LARGE.filter((key) => large.includes(key));
  const known = selections.get(wanted.join());
  const selection = known ?? selectionOf(auditLogs, [...SMALL, ...wanted]);
  selections.set(wanted.join(), selection);
  return selection;
}

/** A condition on an id, wherever it stands. */
type Span = (id: AnyColumn) => SQL | undefined;

/**
 * The ids of a tenant's records from the network that the condition names, if they are few. The planner knows how many records come
 * from a network, but not of whom: it would sort a hundred thousand of them, or walk the whole log for one.
 */
async function rareIn(tx: ReadTx, condition: Condition, bounds: Span): Promise<string[] | undefined> {
  const network = partsOf(condition).find((part) => 'network' in part);
  const tenantId = tenantOf(condition);
  if (!network || tenantId === undefined) return undefined;
  const wanted = and(eq(auditLogs.tenantId, tenantId), inSql(network), bounds(auditLogs.id));
  const found = await executePlanned<{ id: string }>(
    tx,
    'FOR_ITS_VALUES',
    sql`select id from ${auditLogs} where ${wanted} order by ip_address limit ${RARE_MAX + 1}`,
  );
  return found.length > RARE_MAX ? undefined : found.map(({ id }) => id);
}

/** Records, as a statement selects them, and the id in whose order an index gives them. */
interface Records {
  readonly columns: SQL;
  readonly from: SQL;
  readonly id: AnyColumn;
}

/**
 * The records that fulfil the condition within the bounds: one set, or two that have none in common. Without a selection they are
 * only counted, and what `audit_changes` tells by itself is not looked up.
 */
function recordsOf(
  condition: Condition,
  bounds: Span,
  now: bigint,
  selection?: Selection<AuditLogRow>,
): Records[] {
  const parts = partsOf(condition);
  const change = parts.find((part) => 'changed' in part);
  const { id } = auditLogs;
  const columns = selection?.columns ?? sql`1`;
  const within = (...others: (SQL | undefined)[]): SQL =>
    sql`${auditLogs} where ${and(...others, bounds(id), inSql(condition))}`;
  const tenantId = tenantOf(condition);
  if (!change || tenantId === undefined) return [{ columns, from: within(), id }];

  const edge = idFloor(now - SEALED_AFTER_MICROS);
  const known = and(
    eq(auditChanges.tenantId, tenantId),
    eq(auditChanges.field, change.changed),
    lt(auditChanges.id, edge),
    bounds(auditChanges.id),
    ...parts.flatMap((part) => ofId(part, auditChanges.id)),
  );
  const named = within(eq(auditLogs.tenantId, auditChanges.tenantId), eq(id, auditChanges.id));
  const isTold = !selection && parts.every((part) => part === change || isOfTenantOrTime(part));
  return [
    { columns, from: within(gte(id, edge)), id },
    {
      // Its id is the one that is in order.
      columns: selection?.columnsWith('id', auditChanges.id) ?? columns,
      // One look-up a change: as a plain join the planner might read the whole log for it.
      from: isTold
        ? sql`${auditChanges} where ${known}`
        : sql`${auditChanges} cross join lateral (select ${columns} from ${named} limit 1) as ${auditLogs} where ${known}`,
      id: auditChanges.id,
    },
  ];
}

/** Whether `audit_changes` answers that, too. */
function isOfTenantOrTime(part: Condition): boolean {
  if (!('column' in part)) return false;
  return 'in' in part ? tenantOf(part) !== undefined : part.column === 'id';
}

/** What a part of the condition says of the id. */
function ofId(part: Condition, id: AnyColumn): SQL[] {
  if (!('column' in part) || part.column !== 'id') return [];
  if ('from' in part) return [gte(id, part.from)];
  return 'below' in part ? [lt(id, part.below)] : [];
}

/** The walks as one, a record of several of them once. They are in order, so they are merged, not sorted. */
function merged(walks: readonly SQL[], order: typeof asc, limit: number): SQL {
  if (walks.length === 1) return walks[0]!;
  const all = sql.join([...walks], sql` union all `);
  return sql`select distinct on (id) * from (${all}) as records order by ${order(sql`id`)} limit ${limit}`;
}

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
  // No record is of a later day (audit/months.ts): the months ahead need not be opened.
  const end = idFloor(now + DAY_MICROS);
  const from = start === undefined ? now : microsOf(start);
  const edge = idFloor(descending ? from - WINDOW_MICROS : from + WINDOW_MICROS);
  const [older, newer]: [Span, Span] = [(id) => lt(id, edge), (id) => and(gte(id, edge), lt(id, end))];
  return descending ? [newer, older] : [older, newer];
}

/** How many records fulfil the condition. */
function countOf(context: Context, condition: Condition): Promise<number> {
  return context.read(async (scope) => {
    const isKept = context.sealerLagMs() < KEPT_LAG_MS_MAX;
    return (isKept ? await countKept(scope, condition) : undefined) ?? (await countIn(scope, condition));
  });
}

function countUpTo(context: Context, condition: Condition, max: number): Promise<BoundedCount> {
  return context.read(async (scope) => {
    const found = await countIn(scope, condition, max + 1);
    return { value: Math.min(found, max), exact: found <= max };
  });
}

async function countIn({ tx, now }: Scope, condition: Condition, max?: number): Promise<number> {
  const found = recordsOf(condition, () => undefined, now).map(({ from }) => sql`select 1 from ${from}`);
  const all = sql.join(found, sql` union all `);
  const [row] = await executePlanned<{ count: string }>(
    tx,
    'FOR_ITS_VALUES',
    sql`select count(*) as count from (${all} limit ${max ?? null}) as found`,
  );
  return Number(row!.count);
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
