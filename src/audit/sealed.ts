/** A log as it was sealed: its records at their positions, each with the hash it has in the tree. */
import { and, asc, eq, getTableColumns, gte, lt, sql } from 'drizzle-orm';

import { HASH_BYTES } from '../ledger/merkle.ts';
import { LedgerFault } from '../ledger/walk.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx } from '../platform/db.ts';
import { uuidOf } from '../platform/ids.ts';
import { auditLogs, type AuditLogRow, auditSeals } from './tables.ts';

const ID_BYTES = 16;

/** What stands at one position. */
export interface SealedRecord {
  readonly id: string;
  /** The leaf of the tree. */
  readonly leaf: Buffer;
  /** Undefined when it is not there any more. */
  readonly row: AuditLogRow | undefined;
}

/** The records `from <= position < to` of a tenant, all at once. Throws a LedgerFault where the order has a gap. */
export async function sealedRecords(
  tx: ReadTx,
  tenantId: string,
  from: number,
  to: number,
): Promise<SealedRecord[]> {
  const places = await placesIn(tx, tenantId, from, to);
  const ids = uuidArray(places.map(({ id }) => id));
  // One by one each id leads to its month; of a list in a prepared statement Postgres would seek every id in every month.
  const rows = await tx
    .select(getTableColumns(auditLogs))
    .from(sql`unnest(${ids}::uuid[]) as place (id)`)
    .innerJoin(auditLogs, sql`${auditLogs.tenantId} = ${tenantId} and ${auditLogs.id} = place.id`);
  const byId = new Map(rows.map((row) => [row.id, row]));
  return places.map(({ id, leaf }) => ({ id, leaf, row: byId.get(id) }));
}

async function placesIn(
  tx: ReadTx,
  tenantId: string,
  from: number,
  to: number,
): Promise<Pick<SealedRecord, 'id' | 'leaf'>[]> {
  const seals = await tx
    .select()
    .from(auditSeals)
    .where(
      and(
        eq(auditSeals.tenantId, tenantId),
        lt(auditSeals.firstSeq, BigInt(to)),
        gte(
          auditSeals.firstSeq,
          sql`(select max(first_seq) from audit_seals where tenant_id = ${tenantId} and first_seq <= ${from})`,
        ),
      ),
    )
    .orderBy(asc(auditSeals.firstSeq));
  const places: Pick<SealedRecord, 'id' | 'leaf'>[] = [];
  for (const { firstSeq, count, ids, leaves } of seals) {
    const first = Number(firstSeq);
    const next = from + places.length;
    if (next < first || next >= first + count) break;
    for (let at = next - first; at < count && first + at < to; at++) {
      places.push({
        id: uuidOf(ids.subarray(at * ID_BYTES, (at + 1) * ID_BYTES)),
        leaf: leaves.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
      });
    }
  }
  if (places.length < to - from) {
    const at = from + places.length;
    throw new LedgerFault(
      'ORDER_ALTERED',
      at,
      `The order of the log does not tell which record is at ${at}.`,
    );
  }
  return places;
}
