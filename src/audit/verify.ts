/**
 * Checks the stored log against what was signed: each record against the hash it was sealed with, those hashes against the
 * tiles, and the tree against its checkpoints.
 */
import { setImmediate as breathe } from 'node:timers/promises';

import type { VerifierKey } from '../ledger/checkpoint.ts';
import { leafHash } from '../ledger/leaf.ts';
import { completeSpans, HASH_BYTES, rootOf, type Span } from '../ledger/merkle.ts';
import { hashesIn, type ReadTile, spanHashes, TILE_WIDTH } from '../ledger/tiles.ts';
import { assertRecord, LedgerFault, openWalk, type Visited } from '../ledger/walk.ts';
import type { ReadTx } from '../platform/db.ts';
import { droppedMonths, monthOf } from './archived.ts';
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
  /** A checkpoint that was kept elsewhere: the log is held against it, and not against its own. */
  readonly kept?: { readonly note: string; readonly size: number } | undefined;
}

/**
 * Checks the records `from <= position < to`, as far as there is a checkpoint for them. Throws a LedgerFault for the first
 * thing that is wrong. Reads all of them at once: a few thousand at most.
 */
export async function verifySpan(
  tx: ReadTx,
  { tenantId, from, to, key, vault, kept }: SpanToVerify,
): Promise<Verification> {
  const newest = await checkpointOf(tx, tenantId);
  const size = await sizeOfTree(tx, tenantId);
  const signed = kept?.size ?? Number(newest?.size ?? 0);
  if (signed > size) {
    const message = `The log has ${size} records, and a checkpoint was signed for ${signed}.`;
    throw new LedgerFault('LOG_CUT', size, message);
  }
  const end = Math.min(to, signed);
  const begin = Math.min(from, end);
  const checkpoint = await checkpointOf(tx, tenantId, BigInt(end));
  const covering = kept?.note ?? checkpoint?.note;
  if (covering === undefined) return { to: end, checkpoint };
  const read = openTiles(tx)(tenantId);

  const walk = openWalk(key, begin, await hashesOf(read, 0, begin));
  const notes = kept ? new Map<number, string>() : await checkpointNotes(tx, tenantId, begin, end);
  await visit(tx, tenantId, { from: begin, to: end }, vault, (visited) => {
    walk.record(visited);
    const note = notes.get(walk.position);
    if (note !== undefined) walk.checkpoint(note);
  });
  await assertTiles(read, begin, end);
  walk.close(covering, await hashesOf(read, end, kept?.size ?? Number(checkpoint!.size)));
  return { to: end, checkpoint };
}

/** Checks records that no checkpoint covers yet against the hashes they were sealed with. */
export async function verifyUnsigned(
  tx: ReadTx,
  { tenantId, from, to, vault }: Omit<SpanToVerify, 'key' | 'kept'>,
): Promise<void> {
  let position = from;
  await visit(tx, tenantId, { from, to }, vault, (visited) => assertRecord(visited, position++));
}

/** Goes along the records of a span, each with what it says now. */
async function visit(
  tx: ReadTx,
  tenantId: string,
  { from, to }: Span,
  vault: PersonalVault | undefined,
  each: (visited: Visited) => void,
): Promise<void> {
  const records = await sealedRecords(tx, tenantId, from, to);
  const keys = await vault?.keys(
    tx,
    records.flatMap(({ row }) => row ?? []),
  );
  const dropped = records.some(({ row }) => !row) ? await droppedMonths(tx, tenantId) : new Set<string>();
  for (const [at, { id, leaf, row }] of records.entries()) {
    if (at % HASHED_AT_ONCE === 0) await breathe();
    // What retention has dropped is proven by its place in the tree, and said by the archive.
    const gone = !row && dropped.has(monthOf(id)) ? leaf : undefined;
    each({ id, sealed: leaf, found: row ? hashNow(row, vault, keys) : gone });
  }
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
