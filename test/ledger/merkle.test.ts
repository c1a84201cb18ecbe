import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import {
  completeSpans,
  consistencySpans,
  type InclusionProof,
  inclusionSpans,
  isConsistent,
  isIncluded,
  nodeHash,
  openFrontier,
  rootOf,
} from '../../src/ledger/merkle.ts';
import { spanHashes } from '../../src/ledger/tiles.ts';
import { splitOf, treeOf } from '../world/tree.ts';

const TREE = treeOf(1100);
/** What no hash of the tree is. */
const STRANGER = Buffer.alloc(32, 7);
/** Where a tree's shape turns. */
const CORNERS = [1, 2, 4, 8, 64, 128, 256, 512, 768, 1024].flatMap((size) => [size, size + 1, size - 1 || 1]);

const sizes = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.constantFrom(...CORNERS));
const places = sizes.chain((size) => fc.record({ size: fc.constant(size), index: fc.nat(size - 1) }));
const growths = sizes.chain((newer) =>
  fc.record({ newer: fc.constant(newer), older: fc.integer({ min: 1, max: newer }) }),
);

test('a proof of inclusion from tiles is the one of the RFC, and holds', async () => {
  const proofs = fc.asyncProperty(places, async ({ index, size }) => {
    const proof = await inclusion(index, size);
    expect(proof.hashes).toEqual(pathTo(index, 0, size));
    expect(isIncluded(proof)).toBe(true);
  });
  await fc.assert(proofs, { numRuns: 400 });
});

test('a proof of consistency from tiles is the one of the RFC, and holds', async () => {
  const proofs = fc.asyncProperty(growths, async ({ older, newer }) => {
    const proof = await consistency(older, newer);
    expect(proof.hashes).toEqual(subproof(older, 0, newer, true));
    expect(isConsistent(proof)).toBe(true);
  });
  await fc.assert(proofs, { numRuns: 400 });
});

test('a proof does not depend on how much the tree has grown since', async () => {
  const proofs = fc.asyncProperty(growths, places, async ({ older, newer }, { index, size }) => {
    const spans = [...inclusionSpans(index, size), ...consistencySpans(older, newer)];
    const then = await spanHashes(spans, TREE.tiles(Math.max(size, newer)));
    expect(await spanHashes(spans, TREE.tiles(1100))).toEqual(then);
  });
  await fc.assert(proofs);
});

test('one bit of a leaf, a root or a path makes a proof of inclusion void', async () => {
  const proofs = fc.asyncProperty(places, async ({ index, size }) => {
    const proof = await inclusion(index, size);
    for (const leafHash of spoilt(proof.leafHash)) expect(isIncluded({ ...proof, leafHash })).toBe(false);
    for (const root of spoilt(proof.root)) expect(isIncluded({ ...proof, root })).toBe(false);
    const bent = bentPaths(proof.hashes).filter((hashes) => isIncluded({ ...proof, hashes }));
    expect(bent).toEqual([]);
  });
  await fc.assert(proofs, { numRuns: 20 });
});

test('one bit of a root or a path makes a proof of consistency void', async () => {
  const proofs = fc.asyncProperty(growths, async ({ older: from, newer: to }) => {
    const { older, newer, hashes } = await consistency(from, to);
    for (const root of spoilt(older.root))
      expect(isConsistent({ older: { ...older, root }, newer, hashes })).toBe(false);
    for (const root of spoilt(newer.root))
      expect(isConsistent({ older, newer: { ...newer, root }, hashes })).toBe(false);
    const bent = bentPaths(hashes).filter((path) => isConsistent({ older, newer, hashes: path }));
    expect(bent).toEqual([]);
  });
  await fc.assert(proofs, { numRuns: 20 });
});

test('a path proves no leaf at another place, and no older tree of another size', async () => {
  const proofs = fc.asyncProperty(places, growths, async ({ index, size }, { older, newer }) => {
    const leaf = await inclusion(index, size);
    const elsewhere = range(0, size).filter((at) => isIncluded({ ...leaf, index: at }));
    expect(elsewhere).toEqual([index]);
    const growth = await consistency(older, newer);
    const others = range(0, newer + 1).filter((at) =>
      isConsistent({ ...growth, older: { ...growth.older, size: at } }),
    );
    expect(others).toEqual([older]);
  });
  await fc.assert(proofs, { numRuns: 40 });
});

test('a path higher than the tree proves nothing, though its hashes lead to the root', async () => {
  const proofs = fc.asyncProperty(places, growths, async ({ index, size }, { older, newer }) => {
    const higher = (root: Buffer) => nodeHash(STRANGER, root);
    const leaf = await inclusion(index, size);
    const hashes = [...leaf.hashes, STRANGER];
    expect(isIncluded({ ...leaf, root: higher(leaf.root), hashes })).toBe(false);
    const growth = await consistency(older, newer);
    const lifted = {
      older: { size: older, root: higher(growth.older.root) },
      newer: { size: newer, root: higher(growth.newer.root) },
      hashes: [...growth.hashes, STRANGER],
    };
    expect(isConsistent(lifted)).toBe(false);
  });
  await fc.assert(proofs);
});

test('two hashes that meet at another byte prove nothing, though together they are the same bytes', async () => {
  const shifted = (left: Buffer, right: Buffer) => {
    const both = Buffer.concat([left, right]);
    return [both.subarray(0, 33), both.subarray(33)] as const;
  };
  const leaf = await inclusion(0, 2);
  const [leafHash, sibling] = shifted(leaf.leafHash, leaf.hashes[0]!);
  expect(isIncluded({ ...leaf, leafHash, hashes: [sibling] })).toBe(false);
  const growth = await consistency(1, 2);
  const [root, added] = shifted(growth.older.root, growth.hashes[0]!);
  expect(isConsistent({ ...growth, older: { size: 1, root }, hashes: [added] })).toBe(false);
});

test('a number that is none, or not exact, proves nothing', async () => {
  const leaf = await inclusion(0, 8);
  const growth = await consistency(4, 8);
  for (const none of [-1, 0.5, Number.NaN, Infinity, 2 ** 53, 2 ** 64]) {
    expect(isIncluded({ ...leaf, index: none })).toBe(false);
    expect(isIncluded({ ...leaf, size: none })).toBe(false);
    expect(isConsistent({ ...growth, older: { ...growth.older, size: none } })).toBe(false);
    expect(isConsistent({ ...growth, newer: { ...growth.newer, size: none } })).toBe(false);
  }
});

test('what is not in a tree has no proof', () => {
  expect(() => inclusionSpans(8, 8)).toThrow('No leaf 8 is in a tree of 8.');
  expect(() => inclusionSpans(0, 0)).toThrow('No leaf 0 is in a tree of 0.');
  expect(() => inclusionSpans(-1, 8)).toThrow('No leaf -1 is in a tree of 8.');
  expect(() => consistencySpans(9, 8)).toThrow('A tree of 9 is no part of one of 8.');
  expect(consistencySpans(0, 8)).toEqual([]);
});

test('a tree grown leaf by leaf has the root of the RFC at every size', () => {
  const frontier = openFrontier();
  for (const size of range(0, 601)) {
    expect([frontier.size, frontier.root()]).toEqual([size, TREE.hash(0, size)]);
    frontier.push(TREE.leaves[size]!);
  }
  const roots = fc.property(sizes, (size) => {
    expect(rootOf(TREE.leaves.slice(0, size))).toEqual(TREE.hash(0, size));
  });
  fc.assert(roots);
});

test('a tree opened at any size from the hashes of its subtrees grows on as if it had never been closed', async () => {
  const reopened = fc.asyncProperty(sizes, fc.nat(70), async (size, more) => {
    const frontier = openFrontier(
      size,
      await spanHashes(completeSpans({ from: 0, to: size }), TREE.tiles(size)),
    );
    expect(frontier.root()).toEqual(TREE.hash(0, size));
    for (const leaf of TREE.leaves.slice(size, size + more)) frontier.push(leaf);
    expect([frontier.size, frontier.root()]).toEqual([size + more, TREE.hash(0, size + more)]);
  });
  await fc.assert(reopened);
});

async function inclusion(index: number, size: number): Promise<InclusionProof> {
  const hashes = await spanHashes(inclusionSpans(index, size), TREE.tiles(size));
  return { leafHash: TREE.leaves[index]!, index, size, root: TREE.hash(0, size), hashes };
}

async function consistency(older: number, newer: number) {
  const hashes = await spanHashes(consistencySpans(older, newer), TREE.tiles(newer));
  return {
    older: { size: older, root: TREE.hash(0, older) },
    newer: { size: newer, root: TREE.hash(0, newer) },
    hashes,
  };
}

/** PATH(index, D[from:to]) of RFC 6962, 2.1.1, word for word. */
function pathTo(index: number, from: number, to: number): Buffer[] {
  if (to - from === 1) return [];
  const middle = from + splitOf(to - from);
  return from + index < middle
    ? [...pathTo(index, from, middle), TREE.hash(middle, to)]
    : [...pathTo(index - (middle - from), middle, to), TREE.hash(from, middle)];
}

/** SUBPROOF(size, D[from:to], isWhole) of RFC 6962, 2.1.2, word for word. */
function subproof(size: number, from: number, to: number, isWhole: boolean): Buffer[] {
  if (size === to - from) return isWhole ? [] : [TREE.hash(from, to)];
  const middle = from + splitOf(to - from);
  return from + size <= middle
    ? [...subproof(size, from, middle, isWhole), TREE.hash(middle, to)]
    : [...subproof(size - (middle - from), middle, to, false), TREE.hash(from, middle)];
}

/** The hash with each of its bits turned, one byte shorter and one longer. */
function spoilt(hash: Buffer): Buffer[] {
  const flipped = range(0, 256).map((bit) => {
    const copy = Buffer.from(hash);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    return copy;
  });
  return [...flipped, hash.subarray(1), Buffer.concat([hash, Buffer.of(0)])];
}

/** Every path that differs from this one in a bit, or by a hash too few, too many or out of its place. */
function bentPaths(path: readonly Buffer[]): Buffer[][] {
  const places = range(0, path.length);
  return [
    ...places.flatMap((at) => spoilt(path[at]!).map((hash) => path.with(at, hash))),
    ...places.map((at) => path.toSpliced(at, 1)),
    ...range(0, path.length + 1).flatMap((at) =>
      [STRANGER, TREE.leaves[0]!, ...path].map((hash) => path.toSpliced(at, 0, hash)),
    ),
    ...places.slice(1).map((by) => [...path.slice(by), ...path.slice(0, by)]),
  ];
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at);
}
