/** Proofs of single records and of growth, from the stored tree. */
import { canonicalRecord, leafHash } from '../ledger/leaf.ts';
import { consistencySpans, inclusionSpans } from '../ledger/merkle.ts';
import { spanHashes } from '../ledger/tiles.ts';
import type { ReadTx } from '../platform/db.ts';
import { checkpointOf, type CheckpointRow } from './checkpoints.ts';
import { leafRecord } from './personal.ts';
import type { AuditLogRow } from './tables.ts';
import { openTiles } from './trees.ts';

/** That a record is at a place of a tree. */
export interface Inclusion {
  readonly index: number;
  readonly size: number;
  readonly leafHash: Buffer;
  readonly hashes: readonly Buffer[];
  /** Canonical JSON. */
  readonly record: string;
  /** Of just that size, where there is one. */
  readonly checkpoint: CheckpointRow | undefined;
}

/**
 * The proof for a record in the tree of that size, or of the newest checkpoint. Undefined when no checkpoint covers the
 * record or so many; the record must be in a tree of that size.
 */
export async function inclusionOf(
  tx: ReadTx,
  row: AuditLogRow,
  position: bigint,
  treeSize: bigint | undefined,
): Promise<Inclusion | undefined> {
  const covering = await checkpointOf(tx, row.tenantId, treeSize);
  if (!covering || covering.size <= position) return undefined;
  const [index, size] = [Number(position), Number(treeSize ?? covering.size)];
  const record = leafRecord(row);
  return {
    index,
    size,
    leafHash: leafHash(record),
    hashes: await spanHashes(inclusionSpans(index, size), openTiles(tx)(row.tenantId)),
    record: canonicalRecord(record),
    checkpoint: covering.size === BigInt(size) ? covering : undefined,
  };
}

/** The proof that the tree of `to` leaves has grown out of the one of `from`; undefined beyond the newest checkpoint. */
export async function consistencyOf(
  tx: ReadTx,
  tenantId: string,
  from: bigint,
  to: bigint,
): Promise<Buffer[] | undefined> {
  if (!(await checkpointOf(tx, tenantId, to))) return undefined;
  return await spanHashes(consistencySpans(Number(from), Number(to)), openTiles(tx)(tenantId));
}
