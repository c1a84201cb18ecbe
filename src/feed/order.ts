/** The sealed order, as it is read: of one tenant by its `seq`, of the whole platform by `pos`. */
import { and, asc, desc, eq, getTableColumns, gte, lte, sql } from 'drizzle-orm';

import { ANY, type Condition, inSql } from '../audit/filter.ts';
import { knownAt } from '../audit/known.ts';
import { auditLogs, type AuditLogRow, auditSealer, auditSeals, auditTrees } from '../audit/tables.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx } from '../platform/db.ts';
import { uuidOf } from '../platform/ids.ts';

const ID_BYTES = 16;

/** The place of a record, from 0. */
export interface Place {
  readonly tenantId: string;
  readonly id: string;
  /** In the order of its tenant. */
  readonly seq: bigint;
  /** In the order of all. */
  readonly pos: bigint;
}

/** A record at its place. */
export interface LogEvent extends Place {
  /** Undefined when retention has dropped the record, or it was not asked for: its place stays. */
  readonly row: AuditLogRow | undefined;
}

/** The number that counts in the order of that tenant; without one, of the platform. */
export function placeIn(tenantId: string | undefined, { seq, pos }: Place): bigint {
  return tenantId === undefined ? pos : seq;
}

/** How many records are sealed: of all, and in the order of that tenant. The transaction must be the platform's. */
export async function headOf(
  tx: ReadTx,
  tenantId: string | undefined,
): Promise<{ pos: bigint; own: bigint }> {
  const size = tx
    .select({ size: auditTrees.size })
    .from(auditTrees)
    .where(eq(auditTrees.tenantId, sql`${tenantId ?? null}::uuid`));
  const [row] = await tx
    .select({ pos: auditSealer.pos, size: sql<string | null>`(${size})` })
    .from(auditSealer);
  const { pos, size: own } = row!;
  return { pos, own: tenantId === undefined ? pos : BigInt(own ?? 0) };
}

/** The place after the last sealed one, in the transaction's own sight: a tenant's may ask it of its own log. */
export async function endOf(tx: ReadTx, tenantId: string | undefined): Promise<bigint> {
  const first = tenantId === undefined ? auditSeals.firstPos : auditSeals.firstSeq;
  const [last] = await tx
    .select({ first, count: auditSeals.count })
    .from(auditSeals)
    .where(tenantId === undefined ? undefined : eq(auditSeals.tenantId, tenantId))
    .orderBy(desc(first))
    .limit(1);
  return last ? last.first + BigInt(last.count) : 0n;
}

/** The places from that one on, at most `limit`; fewer may come before the end of the log, none only there. */
export async function placesFrom(
  tx: ReadTx,
  tenantId: string | undefined,
  from: bigint,
  limit: number,
): Promise<readonly Place[]> {
  const first = tenantId === undefined ? auditSeals.firstPos : auditSeals.firstSeq;
  const own = tenantId === undefined ? undefined : eq(auditSeals.tenantId, tenantId);
  // Without coalesce for an empty log, which has nothing anyway: it may leak what it is given, so no index would serve the comparison.
  const within = tx
    .select({ first })
    .from(auditSeals)
    .where(and(own, lte(first, from)))
    .orderBy(desc(first))
    .limit(1);
  const seals = await tx
    .select({
      tenantId: auditSeals.tenantId,
      firstSeq: auditSeals.firstSeq,
      firstPos: auditSeals.firstPos,
      // A seal may hold thousands: only what is asked for travels.
      ids: sql<Buffer>`substring(${auditSeals.ids}
        from ${ID_BYTES}::int * greatest(${from} - ${first}, 0)::int + 1 for ${ID_BYTES * limit}::int)`,
    })
    .from(auditSeals)
    .where(and(own, gte(first, sql`(${within})`)))
    .orderBy(asc(first))
    .limit(limit);

  return seals
    .flatMap(({ tenantId: tenant, firstSeq, firstPos, ids }) => {
      const start = tenantId === undefined ? firstPos : firstSeq;
      const skipped = from > start ? from - start : 0n;
      return Array.from({ length: ids.length / ID_BYTES }, (_, at) => ({
        tenantId: tenant,
        id: uuidOf(ids.subarray(at * ID_BYTES, (at + 1) * ID_BYTES)),
        seq: firstSeq + skipped + BigInt(at),
        pos: firstPos + skipped + BigInt(at),
      }));
    })
    .slice(0, limit);
}

/** The records at those places, as far as they fulfil the condition, in one statement. */
export async function eventsAt(
  tx: ReadTx,
  places: readonly Place[],
  condition: Condition = ANY,
): Promise<LogEvent[]> {
  if (places.length === 0) return [];
  const tenantIds = uuidArray(places.map(({ tenantId }) => tenantId));
  const ids = uuidArray(places.map(({ id }) => id));
  const rows = await tx
    .select(getTableColumns(auditLogs))
    .from(sql`unnest(${tenantIds}::uuid[], ${ids}::uuid[]) as place (tenant_id, id)`)
    .innerJoin(auditLogs, sql`${auditLogs.tenantId} = place.tenant_id and ${auditLogs.id} = place.id`)
    .where(inSql(condition));
  const byId = new Map(rows.map((row) => [row.tenantId + row.id, row]));
  return places.map((place) => {
    const row = byId.get(place.tenantId + place.id);
    if (row) knownAt(row, place.seq);
    return { ...place, row };
  });
}
