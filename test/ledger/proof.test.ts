import { generateKeyPairSync } from 'node:crypto';

import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { signCheckpoint } from '../../src/ledger/checkpoint.ts';
import { inclusionSpans } from '../../src/ledger/merkle.ts';
import { parseProof, printProof, verifyProof } from '../../src/ledger/proof.ts';
import { spanHashes } from '../../src/ledger/tiles.ts';
import { leafHash, treeOf } from '../world/tree.ts';

const TREE = treeOf(300);
const origin = 'custos.example/log';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const KEY = { name: origin, publicKey };
/** What a proof that fails says, whatever is wrong with it. */
const REFUSAL =
  /^(A proof begins with the line|The proof lacks|This is not a signed checkpoint|The checkpoint|The record is not the one at)/;

test('the file is the one of the specification', async () => {
  const [first, second] = await spanHashes(inclusionSpans(2, 3), TREE.tiles(3));
  expect(second).toBeUndefined();
  expect(await proofOf(2, 3)).toBe(
    `c2sp.org/tlog-proof@v1\nextra ZW50cnkgMg==\nindex 2\n${first!.toString('base64')}\n\n${headOf(3)}`,
  );
});

test('a proof is read as it was written', () => {
  const hashes = fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)));
  const proofs = fc.record({
    index: fc.maxSafeNat(),
    hashes,
    checkpoint: fc.string({ unit: 'grapheme' }),
    record: fc.string({ unit: 'grapheme', minLength: 1 }),
  });
  const read = fc.property(proofs, (proof) => {
    expect(parseProof(printProof(proof))).toEqual(proof);
  });
  fc.assert(read);
});

test('the proof of every record of every tree holds, and tells the tree', async () => {
  const places = fc
    .integer({ min: 1, max: 300 })
    .chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1)));
  const held = fc.asyncProperty(places, async ([size, index]) => {
    expect(verified(await proofOf(index, size))).toEqual({ origin, size, root: TREE.hash(0, size) });
  });
  await fc.assert(held);
});

test('a proof with any character altered, left out or put in fails, and says why', async () => {
  const text = await proofOf(4, 7);
  const altered = Array.from(text).flatMap((char, at) =>
    ['', 'A', '1', '=', ' ', '\n', '\r', 'é', char + char].map(
      (put) => text.slice(0, at) + put + text.slice(at + 1),
    ),
  );
  for (const each of altered.filter((each) => each !== text))
    expect(() => verified(each), each).toThrow(REFUSAL);
});

test('a proof with a line left out, doubled or out of its place fails', async () => {
  const lines = (await proofOf(4, 7)).split('\n').slice(0, -1);
  for (const [at, line] of lines.entries()) {
    const next = (at + 1) % lines.length;
    expect(() => verified(joined(lines.toSpliced(at, 1)))).toThrow(REFUSAL);
    expect(() => verified(joined(lines.with(at, lines[next]!).with(next, line)))).toThrow(REFUSAL);
  }
  // All but the signature, which may stand there twice.
  for (const [at, line] of lines.slice(0, -1).entries())
    expect(() => verified(joined(lines.toSpliced(at, 0, line)))).toThrow(REFUSAL);
});

test('a proof cut short anywhere, or with other ends of line, fails', async () => {
  const text = await proofOf(4, 7);
  for (let length = 0; length < text.length; length++)
    expect(() => verified(text.slice(0, length))).toThrow(REFUSAL);
  expect(() => verified(text.replaceAll('\n', '\r\n'))).toThrow(REFUSAL);
  expect(() => verified(`${text}more\n`)).toThrow(REFUSAL);
  expect(() => verified(`\uFEFF${text}`)).toThrow('A proof begins with the line c2sp.org/tlog-proof@v1.');
});

test.each([
  ['extra ', 'Extra ', 'The proof lacks its record or its index.'],
  [/extra .*\n/, '', 'The proof lacks its record or its index.'],
  ['index 4', 'index 04', 'The proof lacks its record or its index.'],
  ['index 4', 'index -4', 'The proof lacks its record or its index.'],
  [
    'index 4',
    'index 9007199254740992',
    'The record is not the one at 9007199254740992 of custos.example/log.',
  ],
  ['index 4', 'index 5', 'The record is not the one at 5 of custos.example/log.'],
  ['extra ZW50cnkgNA==', 'extra ZW50cnkgNQ==', 'The record is not the one at 4 of custos.example/log.'],
  ['extra ZW50cnkgNA==', 'extra ZW50cnkgNB==', 'The proof lacks its record or its index.'],
])('of %s made %j it is told', async (from, to, told) => {
  const text = await proofOf(4, 7);
  expect(text).toMatch(from);
  expect(() => verified(text.replace(from, to))).toThrow(told);
});

test('a proof does not hold for the checkpoint of another tree, or under the key of another log', async () => {
  const proof = parseProof(await proofOf(4, 7));
  const leaf = leafHash(TREE.entries[4]!);
  expect(() => verifyProof({ ...proof, checkpoint: headOf(8) }, leaf, KEY)).toThrow(
    'The record is not the one at 4 of custos.example/log.',
  );
  expect(() => verifyProof(proof, leaf, { ...KEY, name: 'custos.example/other' })).toThrow(
    'The checkpoint is not signed with the key of custos.example/other.',
  );
  expect(() =>
    verifyProof(proof, leaf, { ...KEY, publicKey: generateKeyPairSync('ed25519').publicKey }),
  ).toThrow('The checkpoint is not signed with the key of custos.example/log.');
});

/** As one who is handed the file goes about it. */
function verified(text: string) {
  const proof = parseProof(text);
  return verifyProof(proof, leafHash(Buffer.from(proof.record)), KEY);
}

async function proofOf(index: number, size: number): Promise<string> {
  const hashes = await spanHashes(inclusionSpans(index, size), TREE.tiles(size));
  return printProof({ index, hashes, checkpoint: headOf(size), record: TREE.entries[index]!.toString() });
}

function headOf(size: number): string {
  return signCheckpoint({ origin, size, root: TREE.hash(0, size) }, privateKey);
}

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}
