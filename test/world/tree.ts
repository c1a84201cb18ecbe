/**
 * Trees to try the ledger's against: hashed as RFC 6962, 2.1 and 2.1.1 write it down, recursively, with nothing of the
 * ledger's own code.
 */
import { createHash } from 'node:crypto';

import type { ReadTile } from '../../src/ledger/tiles.ts';

const TILE = 256;

export interface Tree {
  /** What the leaves are the hashes of. */
  readonly entries: readonly Buffer[];
  readonly leaves: readonly Buffer[];
  /** MTH(D[from:to]). */
  hash(from: number, to: number): Buffer;
  /** The tiles of the tree of its first `size` leaves. */
  tiles(size: number): ReadTile;
}

/** The hash of a leaf. */
export function leafHash(entry: Buffer): Buffer {
  return sha256(Buffer.of(0), entry);
}

/** A tree of that many leaves, no two of them alike. */
export function treeOf(size: number): Tree {
  const entries = Array.from({ length: size }, (_, at) => Buffer.from(`entry ${at}`));
  const leaves = entries.map(leafHash);
  const known = new Map<string, Buffer>();
  return { entries, leaves, hash, tiles };

  function hash(from: number, to: number): Buffer {
    if (to - from === 0) return sha256();
    if (to - from === 1) return leaves[from]!;
    const key = `${from}-${to}`;
    const middle = from + splitOf(to - from);
    const found = known.get(key) ?? sha256(Buffer.of(1), hash(from, middle), hash(middle, to));
    known.set(key, found);
    return found;
  }

  function tiles(size: number): ReadTile {
    return ({ level, index }) => {
      const width = TILE ** level;
      const hashes: Buffer[] = [];
      for (let at = index * TILE; at < (index + 1) * TILE && (at + 1) * width <= size; at++)
        hashes.push(hash(at * width, (at + 1) * width));
      return Promise.resolve(Buffer.concat(hashes));
    };
  }
}

/** The largest power of two smaller than that many: k of RFC 6962. */
export function splitOf(count: number): number {
  return 2 ** Math.floor(Math.log2(count - 1));
}

function sha256(...parts: Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest();
}
