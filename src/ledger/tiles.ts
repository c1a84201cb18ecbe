/**
 * A tree in tiles (https://c2sp.org/tlog-tiles): 256 hashes of neighbouring subtrees each. The hashes of level 0 are the
 * leaves, those of a higher level the roots of full tiles below. From tiles any subtree's hash is found by reading few.
 */
import { completeSpans, HASH_BYTES, joined, rootOf, type Span } from './merkle.ts';

export const TILE_WIDTH = 256;

/** The place of a tile. */
export interface TileRef {
  readonly level: number;
  readonly index: number;
}

/** The hashes of a tile, one behind the other, as many as there are: at least those of the tree that is asked about. */
export type ReadTile = (tile: TileRef) => Promise<Buffer>;

/** The hashes of those subtrees. */
export function spanHashes(spans: readonly Span[], read: ReadTile): Promise<Buffer[]> {
  return Promise.all(
    spans.map(async (span) =>
      joined(await Promise.all(completeSpans(span).map((each) => completeHash(each, read)))),
    ),
  );
}

/** The hashes in the bytes of a tile. */
export function hashesIn(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, at) =>
    bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
}

/** How many hashes a level has in a tree of that size. */
export function widthOfLevel(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** A tile's number in a path: 1234067 is `x001/x234/067`. */
export function tilePath(index: number): string {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  return groups.join('/');
}

/** The number in such a path; undefined when it is none. */
export function tileIndex(path: string): number | undefined {
  if (!/^(x\d{3}\/)*\d{3}$/.test(path)) return undefined;
  const index = Number(path.replaceAll(/[x/]/g, ''));
  // One number has one path: x000/001 would be cached beside 001.
  return Number.isSafeInteger(index) && tilePath(index) === path ? index : undefined;
}

/** The hash of a complete subtree: from the highest tiles that have all of it. */
async function completeHash({ from, to }: Span, read: ReadTile): Promise<Buffer> {
  let level = 0;
  let unit = 1;
  while (unit * TILE_WIDTH <= to - from) {
    unit *= TILE_WIDTH;
    level++;
  }
  const first = from / unit;
  const index = Math.floor(first / TILE_WIDTH);
  const start = first - index * TILE_WIDTH;
  const bytes = await read({ level, index });
  const end = start + (to - from) / unit;
  if (bytes.length < end * HASH_BYTES) {
    throw new RangeError(
      `The tile ${level}/${tilePath(index)} has ${bytes.length} bytes: too few for ${end} hashes.`,
    );
  }
  return rootOf(hashesIn(bytes.subarray(start * HASH_BYTES, end * HASH_BYTES)));
}
