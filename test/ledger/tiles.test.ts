import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { completeSpans, rootOf } from '../../src/ledger/merkle.ts';
import { hashesIn, spanHashes, tileIndex, tilePath, widthOfLevel } from '../../src/ledger/tiles.ts';
import { treeOf } from '../world/tree.ts';

/** The example of the specification. */
const SIZE = 70_000;
const TREE = treeOf(SIZE);

test('a tile has one path, and the path gives back its number', () => {
  expect([0, 7, 999, 1000, 1_234_067].map(tilePath)).toEqual([
    '000',
    '007',
    '999',
    'x001/000',
    'x001/x234/067',
  ]);
  const paths = fc.property(fc.maxSafeNat(), (index) => {
    expect(tileIndex(tilePath(index))).toBe(index);
  });
  fc.assert(paths);
});

test.each([
  '',
  '0',
  '00',
  '0000',
  '1000',
  'x001',
  'x000/001',
  'x000/x001/000',
  'x1/000',
  '001/000',
  'x001/x000',
  'x001//000',
  '/000',
  '000/',
  'x001/00a',
  '-01',
  '1e3',
  ' 001',
  '001\n',
  '٠٠١',
  'X001/000',
  '000.p/5',
  '../000',
  // 2^53, and a number no tree reaches.
  'x009/x007/x199/x254/x740/992',
  `${'x999/'.repeat(9)}999`,
])('%j is no path of a tile', (path) => {
  expect(tileIndex(path)).toBeUndefined();
});

test('the example of the specification has the widths it tells, and so do its tiles', async () => {
  expect([0, 1, 2, 3].map((level) => widthOfLevel(level, SIZE))).toEqual([70_000, 273, 1, 0]);
  expect([255, 256].map((size) => widthOfLevel(1, size))).toEqual([0, 1]);
  const read = TREE.tiles(SIZE);
  const widthOf = async (level: number, index: number) => hashesIn(await read({ level, index })).length;
  expect([await widthOf(0, 272), await widthOf(0, 273), await widthOf(0, 274)]).toEqual([256, 112, 0]);
  expect([await widthOf(1, 0), await widthOf(1, 1), await widthOf(2, 0)]).toEqual([256, 17, 1]);
});

test('a tile has the roots of the full tiles below', async () => {
  const read = TREE.tiles(SIZE);
  const [first] = hashesIn(await read({ level: 1, index: 0 }));
  expect(rootOf(hashesIn(await read({ level: 0, index: 0 })))).toEqual(first);
});

test("any subtree's hash is found in few tiles", async () => {
  const ends = fc.integer({ min: 1, max: SIZE });
  const widths = fc.nat(17).map((log) => 2 ** log);
  const found = fc.asyncProperty(ends, widths, async (to, width) => {
    const from = Math.floor((to - 1) / width) * width;
    const tiles = new Set<string>();
    const [hash] = await spanHashes([{ from, to }], (tile) => {
      tiles.add(`${tile.level}/${tile.index}`);
      return TREE.tiles(SIZE)(tile);
    });
    expect(hash).toEqual(TREE.hash(from, to));
    // One of each level: what a subtree has of it lies together.
    expect(tiles.size).toBeLessThanOrEqual(3);
  });
  await fc.assert(found, { numRuns: 300 });
});

test('a tile that is missing or cut short is named', async () => {
  const whole = completeSpans({ from: 0, to: SIZE });
  await expect(spanHashes([{ from: 69_888, to: SIZE }], TREE.tiles(SIZE - 1))).rejects.toThrow(
    'The tile 0/273 has 3552 bytes: too few for 112 hashes.',
  );
  await expect(spanHashes(whole, TREE.tiles(65_535))).rejects.toThrow(
    'The tile 2/000 has 0 bytes: too few for 1 hashes.',
  );
  await expect(
    spanHashes([{ from: 256_000, to: 256_001 }], () => Promise.resolve(Buffer.alloc(31))),
  ).rejects.toThrow('The tile 0/x001/000 has 31 bytes: too few for 1 hashes.');
});
