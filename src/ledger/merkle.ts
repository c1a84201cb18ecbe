/**
 * The Merkle tree of RFC 6962, section 2.1 (RFC 9162 describes the same tree): hashes of its subtrees, and the proofs made
 * of them. Indexes and sizes are whole numbers up to 2^53.
 */
import { sha256 } from '../platform/crypto.ts';

export const HASH_BYTES = 32;
const NODE_PREFIX = Buffer.of(1);
/** The root of a tree without leaves. */
const EMPTY_ROOT = sha256('');

/** The leaves `from <= index < to`: a subtree of the recursive definition, complete or at the right edge. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The hash of an inner node. */
export function nodeHash(left: Buffer, right: Buffer): Buffer {
  return sha256(Buffer.concat([NODE_PREFIX, left, right]));
}

/** The subtrees whose hashes prove that a leaf is in a tree, in the order of RFC 6962, 2.1.1. */
export function inclusionSpans(index: number, size: number): Span[] {
  if (!(index >= 0 && index < size)) throw new RangeError(`No leaf ${index} is in a tree of ${size}.`);
  const spans: Span[] = [];
  let whole: Span = { from: 0, to: size };
  while (whole.to - whole.from > 1) {
    const [left, right] = halves(whole);
    spans.unshift(index < left.to ? right : left);
    whole = index < left.to ? left : right;
  }
  return spans;
}

/** The subtrees whose hashes prove that a tree of `older` leaves has grown into one of `newer`: RFC 6962, 2.1.2. */
export function consistencySpans(older: number, newer: number): Span[] {
  if (!(older >= 0 && older <= newer))
    throw new RangeError(`A tree of ${older} is no part of one of ${newer}.`);
  if (older === 0) return [];
  const spans: Span[] = [];
  let whole: Span = { from: 0, to: newer };
  while (older < whole.to) {
    const [left, right] = halves(whole);
    spans.unshift(older <= left.to ? right : left);
    whole = older <= left.to ? left : right;
  }
  // The whole older tree itself need not be proven to who knows its root.
  return whole.from === 0 ? spans : [whole, ...spans];
}

/** The complete subtrees, as large as can be, that those leaves consist of, in order. */
export function completeSpans({ from, to }: Span): Span[] {
  const spans: Span[] = [];
  for (let at = from; at < to;) {
    let width = powerOfTwoWithin(to - at);
    while (at % width !== 0) width /= 2;
    spans.push({ from: at, to: at + width });
    at += width;
  }
  return spans;
}

/** The hash over subtrees that follow each other, each smaller than the one before. */
export function joined(hashes: readonly Buffer[]): Buffer {
  return hashes.length === 0 ? EMPTY_ROOT : hashes.reduceRight((right, left) => nodeHash(left, right));
}

/** A tree that grows at its right edge, and keeps only the hashes of its complete subtrees. */
export interface Frontier {
  readonly size: number;
  /** Appends a leaf, or a complete subtree of `width` leaves where one may begin. */
  push(hash: Buffer, width?: number): void;
  root(): Buffer;
}

/** A tree of `size` leaves, given the hashes of its `completeSpans`. */
export function openFrontier(size = 0, hashes: readonly Buffer[] = []): Frontier {
  const subtrees = [...hashes];
  let leaves = size;
  return {
    get size() {
      return leaves;
    },
    push(hash, width = 1) {
      let whole = hash;
      for (let below = leaves / width; below % 2 === 1; below = (below - 1) / 2)
        whole = nodeHash(subtrees.pop()!, whole);
      subtrees.push(whole);
      leaves += width;
    },
    root: () => joined(subtrees),
  };
}

/** The root of a tree with these leaves. */
export function rootOf(leaves: readonly Buffer[]): Buffer {
  const frontier = openFrontier();
  for (const leaf of leaves) frontier.push(leaf);
  return frontier.root();
}

export interface InclusionProof {
  readonly leafHash: Buffer;
  readonly index: number;
  readonly size: number;
  readonly root: Buffer;
  readonly hashes: readonly Buffer[];
}

/** Whether the leaf is in the tree: RFC 9162, 2.1.3.2. */
export function isIncluded({ leafHash, index, size, root, hashes }: InclusionProof): boolean {
  if (!isIndex(index) || !isIndex(size) || index >= size || !areHashes([leafHash, root, ...hashes]))
    return false;
  let [at, last] = [index, size - 1];
  let hash = leafHash;
  for (const sibling of hashes) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash);
      // A left edge without siblings goes up as it is.
      while (at % 2 === 0 && at > 0) [at, last] = [half(at), half(last)];
    } else {
      hash = nodeHash(hash, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && hash.equals(root);
}

export interface ConsistencyProof {
  readonly older: { readonly size: number; readonly root: Buffer };
  readonly newer: { readonly size: number; readonly root: Buffer };
  readonly hashes: readonly Buffer[];
}

/** Whether the newer tree is the older one with leaves appended: RFC 9162, 2.1.4.2. Nothing is known of an empty one. */
export function isConsistent({ older, newer, hashes }: ConsistencyProof): boolean {
  const sizes = [older.size, newer.size];
  if (!sizes.every(isIndex) || older.size === 0 || older.size > newer.size) return false;
  if (older.size === newer.size) return hashes.length === 0 && older.root.equals(newer.root);
  if (!areHashes([older.root, newer.root, ...hashes])) return false;
  const isPowerOfTwo = powerOfTwoWithin(older.size) === older.size;
  const [first, ...rest] = isPowerOfTwo ? [older.root, ...hashes] : hashes;
  if (!first) return false;
  let [at, last] = [older.size - 1, newer.size - 1];
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  let [before, after] = [first, first];
  for (const sibling of rest) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      before = nodeHash(sibling, before);
      after = nodeHash(sibling, after);
      while (at % 2 === 0 && at > 0) [at, last] = [half(at), half(last)];
    } else {
      after = nodeHash(after, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && before.equals(older.root) && after.equals(newer.root);
}

/** A subtree's two children: the left one complete, and as large as can be. */
function halves({ from, to }: Span): [Span, Span] {
  const middle = from + powerOfTwoWithin(to - from - 1);
  return [
    { from, to: middle },
    { from: middle, to },
  ];
}

/** The greatest power of two that is not greater. */
function powerOfTwoWithin(count: number): number {
  let power = 1;
  while (power * 2 <= count) power *= 2;
  return power;
}

function half(count: number): number {
  return Math.floor(count / 2);
}

function isIndex(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function areHashes(all: readonly Buffer[]): boolean {
  return all.every((hash) => hash.length === HASH_BYTES);
}
