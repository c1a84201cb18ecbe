import { expect, test } from 'vitest';

import { isConsistent, isIncluded, rootOf } from '../../src/ledger/merkle.ts';
import { leafHash } from '../world/tree.ts';
import { consistencyVectors, ENTRIES, inclusionVectors, ROOTS } from './vectors.ts';

const INCLUSIONS = inclusionVectors();
const CONSISTENCIES = consistencyVectors();

test('the public vectors are all here: 98 of inclusion, 98 of consistency, 184 of the two to be refused', () => {
  const all = [...INCLUSIONS, ...CONSISTENCIES];
  const refused = all.filter(({ holds }) => !holds);
  expect([INCLUSIONS.length, CONSISTENCIES.length, refused.length]).toEqual([98, 98, 184]);
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
});

test.each(INCLUSIONS)('inclusion is judged as everywhere: $name', ({ proof, holds }) => {
  expect(isIncluded(proof)).toBe(holds);
});

test.each(CONSISTENCIES)('consistency is judged as everywhere: $name', ({ proof, holds }) => {
  expect(isConsistent(proof)).toBe(holds);
});

test('the trees of the first entries have the roots the world agrees on', () => {
  const leaves = ENTRIES.map(leafHash);
  expect(ROOTS.map((_, size) => rootOf(leaves.slice(0, size)))).toEqual(ROOTS);
});
