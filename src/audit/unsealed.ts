/** Which records have no place yet, in the order in which they are to get it. */
import { type SQL, sql } from 'drizzle-orm';

import type { ReadTx } from '../platform/db.ts';
import { executePlanned } from '../platform/planning.ts';

/** Less than the id of any record. */
export const NIL = '00000000-0000-0000-0000-000000000000';

/** How far the way from one snapshot to the next has been gone. */
export interface Place {
  /** Visible in this one: sealed. */
  readonly sealed: string;
  /** Visible in this one: to be sealed. */
  readonly target: string;
  /** The last record looked at. Without a transaction id the whole log is looked through, by id. */
  readonly tx: string | null;
  readonly id: string;
}

// A type, not an interface: only that is a Record to `execute`.
export type Found = {
  readonly tenant_id: string;
  readonly id: string;
  readonly tx: string;
  /** Its hash in the tree, hexadecimal. */
  readonly leaf: string;
  readonly is_sealed: boolean;
};

/** The next records after that place, at most `limit`. */
export async function recordsAfter(tx: ReadTx, place: Place, limit: number): Promise<readonly Found[]> {
  // A plan made anew for each look would cost more than the look itself.
  return await executePlanned<Found>(tx, 'IN_INDEX_ORDER', recordsQuery(place, limit));
}

function recordsQuery(place: Place, limit: number): SQL {
  const [records, order] =
    place.tx === null
      ? [everyRecord(place, limit), sql`found.id`]
      : [difference(place, limit), sql`found.tx, found.id`];
  return sql`
    select found.tenant_id, found.id, found.tx, encode(found.leaf_hash, 'hex') as leaf, ${IS_SEALED} as is_sealed from (${records}) as found order by ${order}`;
}

/**
 * Two ranges of the index on (tx, id): transactions that ran when `sealed` was taken and have ended since, and those begun
 * since. Both in order, so a batch of a large backlog costs no more than any other.
 */
function difference({ sealed, target, tx, id }: Place, limit: number): SQL {
  const [, begun] = sealed.split(':') as [string, string];
  // One lower bound, not two: Postgres might begin at the lower one and read the index from there.
  const [fromTx, fromId] = BigInt(tx!) < BigInt(begun) ? [begun, NIL] : [tx, id];
  const inOrder = sql`and pg_visible_in_snapshot(tx, ${target}::pg_snapshot)
    order by audit_logs.tx, audit_logs.id limit ${limit}`;
  return sql`
    select either.*
    from (
      (select tenant_id, id, tx, leaf_hash from audit_logs
       where tx = any(array(
         select ran from pg_snapshot_xip(${sealed}::pg_snapshot) as ran
         where pg_visible_in_snapshot(ran, ${target}::pg_snapshot) and ran >= ${tx}::xid8))
         and (tx, id) > (${tx}::xid8, ${id}::uuid) ${inOrder})
      union all
      (select tenant_id, id, tx, leaf_hash from audit_logs
       where (tx, id) > (${fromTx}::xid8, ${fromId}::uuid) and tx < pg_snapshot_xmax(${target}::pg_snapshot) ${inOrder})
    ) as either
    order by either.tx, either.id
    limit ${limit}`;
}

function everyRecord({ id }: Place, limit: number): SQL {
  return sql`
    select tenant_id, id, tx, leaf_hash from audit_logs where id > ${id}::uuid order by audit_logs.id limit ${limit}`;
}

/**
 * Whether a record has its place already. Asked of every record, because those that came with a copy of a database keep
 * transaction ids that this cluster gives out again one day.
 */
const IS_SEALED = sql`(
  select true from audit_seals
  where audit_seals.tenant_id = found.tenant_id and max_id >= found.id and min_id <= found.id
    and position(uuid_send(found.id) in ids) > 0
  order by max_id limit 1) is not null`;
