/**
 * Checks the stored log against what was signed: each record against the hash it was sealed with, those hashes against the
 * tiles, and the tree against its checkpoints.
 */
import { setImmediate as breathe } from 'node:timers/promises';

import type { VerifierKey } from '../ledger/checkpoint.ts';
import { leafHash } from '../ledger/leaf.ts';
import { completeSpans, HASH_BYTES, rootOf } from '../ledger/merkle.ts';
import { hashesIn, type ReadTile, spanHashes, TILE_WIDTH } from '../ledger/tiles.ts';
import { LedgerFault, openWalk } from '../ledger/walk.ts';
import type { ReadTx } from '../platform/db.ts';
import { checkpointNotes, checkpointOf, type CheckpointRow } from './checkpoints.ts';
import { leafRecord, type PersonalVault, type SubjectKeys } from './personal.ts';
import { sealedRecords } from './sealed.ts';
import type { AuditLogRow } from './tables.ts';
import { openTiles, sizeOfTree } from './trees.ts';

const NOTHING = Buffer.of();
/** Records hashed before the event loop gets its turn: some milliseconds. */
const HASHED_AT_ONCE = 100;

export interface Verification {
  /** The first position that was not looked at. */
  readonly to: number;
  /** What it was checked against; undefined for a log without any. */
  readonly checkpoint: CheckpointRow | undefined;
}

export interface SpanToVerify {
  readonly tenantId: string;
  readonly from: number;
  readonly to: number;
  readonly key: VerifierKey;
  /** Given, the personal values are checked too, as far as their keys exist. */
  readonly vault?: PersonalVault | undefined;
}

/**
 * Checks the records `from <= position < to`, as far as there is a checkpoint for them. Throws a LedgerFault for the first
 * thing that is wrong. Reads all of them at once: a few thousand at most.
 */
export async function verifySpan(
  tx: ReadTx,
  { tenantId, from, to, key, vault }: SpanToVerify,
): Promise<Verification> {
  const newest = await checkpointOf(tx, tenantId);
  const size = await sizeOfTree(tx, tenantId);
  if (!newest) return { to: from, checkpoint: undefined };
  if (newest.size > BigInt(size)) {
    throw new LedgerFault(
      'LOG_CUT',
      size,
      `The log has ${size} records, and a checkpoint was signed for ${newest.size}.`,
    );
  }
  const end = Math.min(to, Number(newest.size));
  const begin = Math.min(from, end);
  const checkpoint = (await checkpointOf(tx, tenantId, BigInt(end))) ?? newest;
  const read = openTiles(tx)(tenantId);

  const walk = openWalk(key, begin, await hashesOf(read, 0, begin));
  const records = await sealedRecords(tx, tenantId, begin, end);
  const notes = await checkpointNotes(tx, tenantId, begin, end);
  const keys = await vault?.keys(
    tx,
    records.flatMap(({ row }) => row ?? []),
  );
  for (const { id, leaf, row } of records) {
    if (walk.position % HASHED_AT_ONCE === 0) await breathe();
    walk.record({ id, sealed: leaf, found: row && hashNow(row, vault, keys) });
    const note = notes.get(walk.position);
    if (note !== undefined) walk.checkpoint(note);
  }
  await assertTiles(read, begin, end);
  walk.close(checkpoint.note, await hashesOf(read, end, Number(checkpoint.size)));
  return { to: end, checkpoint };
}

/** The hash of what a record says now; that of nothing when it cannot be what was written. */
function hashNow(row: AuditLogRow, vault?: PersonalVault, keys?: SubjectKeys): Buffer {
  try {
    const isWhole = !vault || vault.isIntact(row, keys!);
    const leaf = leafHash(leafRecord(row));
    return isWhole && leaf.equals(row.leafHash) ? leaf : NOTHING;
  } catch {
    return NOTHING;
  }
}

async function hashesOf(read: ReadTile, from: number, to: number): Promise<Buffer[]> {
  try {
    return await spanHashes(completeSpans({ from, to }), read);
  } catch (cause) {
    if (cause instanceof RangeError) throw new LedgerFault('TILE_ALTERED', from, cause.message);
    throw cause;
  }
}

/** Every tile above the full tiles of leaves in the span has their roots, and every higher one those of the lower. */
async function assertTiles(read: ReadTile, from: number, end: number): Promise<void> {
  for (let width = TILE_WIDTH, level = 1; width <= end; width *= TILE_WIDTH, level++) {
    for (let index = Math.ceil(from / width); (index + 1) * width <= end; index++) {
      const [upper, lower] = await Promise.all([
        read({ level, index: Math.floor(index / TILE_WIDTH) }),
        read({ level: level - 1, index }),
      ]);
      const at = (index % TILE_WIDTH) * HASH_BYTES;
      if (!rootOf(hashesIn(lower)).equals(upper.subarray(at, at + HASH_BYTES))) {
        const first = index * width;
        throw new LedgerFault(
          'TILE_ALTERED',
          first,
          `The stored hash of the records ${first} to ${first + width - 1} is not theirs.`,
        );
      }
    }
  }
}
