/**
 * The public vectors of RFC 6962's proofs, made anew: the values and the rules by which each is spoilt are those of the
 * generator of https://github.com/transparency-dev/merkle, `cmd/proofgen/main.go` (Apache-2.0, Google LLC).
 */
import type { ConsistencyProof, InclusionProof } from '../../src/ledger/merkle.ts';
import { leafHash } from '../world/tree.ts';

export interface Vector<Proof> {
  readonly name: string;
  readonly proof: Proof;
  /** Whether a verifier has to accept it. */
  readonly holds: boolean;
}

/** The entries of the tree of eight that has been the example since the first implementation of the RFC. */
export const ENTRIES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((entry) => Buffer.from(entry, 'hex'));

/** The roots of the trees of its first 0 to 8 entries. */
export const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
].map(hex) as [Buffer, ...Buffer[]];

/** Subtrees, by their first leaf and the one after their last. */
const NODE = {
  '0-1': ROOTS[1]!,
  '0-2': ROOTS[2]!,
  '0-4': ROOTS[4]!,
  '1-2': hex('96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7'),
  '2-4': hex('5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e'),
  '4-5': hex('bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b'),
  '4-6': hex('0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a'),
  '4-8': hex('6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4'),
  '6-7': hex('b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f'),
  '6-8': hex('ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0'),
};
const [EMPTY] = ROOTS;
const SOME = hex('abacaba000000000000000000000000000000000000000000060061e00123456');
const NOTHING = Buffer.alloc(0);

/** Leaf, tree size and path. */
const INCLUDED: [number, number, Buffer[]][] = [
  [0, 1, []],
  [0, 8, [NODE['1-2'], NODE['2-4'], NODE['4-8']]],
  [5, 8, [NODE['4-5'], NODE['6-8'], NODE['0-4']]],
  [2, 3, [NODE['0-2']]],
  [1, 5, [NODE['0-1'], NODE['2-4'], NODE['4-5']]],
];

/** The older size, the newer one and the proof. */
const CONSISTENT: [number, number, Buffer[]][] = [
  [1, 1, []],
  [1, 8, [NODE['1-2'], NODE['2-4'], NODE['4-8']]],
  [6, 8, [NODE['4-6'], NODE['6-8'], NODE['0-4']]],
  [2, 5, [NODE['2-4'], NODE['4-5']]],
  [6, 7, [NODE['4-6'], NODE['6-7'], NODE['0-4']]],
];

export function inclusionVectors(): Vector<InclusionProof>[] {
  const based = INCLUDED.flatMap(([index, size, hashes]) => {
    const right = { index, size, hashes, root: ROOTS[size]!, leafHash: leafHash(ENTRIES[index]!) };
    const name = `leaf ${index} of ${size}`;
    return [{ name, proof: right, holds: true }, ...spoilt(name, right, wrongInclusions(right))];
  });
  // Nothing is in a tree of these sizes by an empty path.
  const sizes = [
    [0, 0],
    [0, 1],
    [1, 0],
    [2, 1],
  ] as const;
  const empty = sizes.flatMap(([index, size]) =>
    spoilt(`no path, leaf ${index} of ${size}`, { index, size, hashes: [], root: EMPTY, leafHash: SOME }, [
      ['random leaf', { root: NOTHING }],
      ['empty root', { leafHash: NOTHING }],
      ['empty root and random leaf', {}],
    ]),
  );
  const only = leafHash(Buffer.from('data'));
  const single = { index: 0, size: 1, hashes: [], root: only, leafHash: only };
  return [
    ...based,
    ...empty,
    { name: 'single entry', proof: single, holds: true },
    ...spoilt('single entry', single, [
      ['empty leaf', { leafHash: NOTHING }],
      ['empty root', { root: NOTHING }],
      ['empty root and leaf', { root: NOTHING, leafHash: NOTHING }],
    ]),
  ];
}

export function consistencyVectors(): Vector<ConsistencyProof>[] {
  const based = CONSISTENT.flatMap(([from, to, hashes]) => {
    const right = { older: head(from), newer: head(to), hashes };
    const name = `${from} to ${to}`;
    const wrong = hashes.length === 0 ? [] : wrongConsistencies(right);
    return [{ name, proof: right, holds: true }, ...spoilt(name, right, wrong)];
  });
  const [one, two] = [Buffer.from("don't care 1"), Buffer.from("don't care 2")];
  const bare: [number, number, Buffer, Buffer, Buffer[]][] = [
    [0, 0, one, two, []],
    [1, 1, one, two, []],
    [0, 0, one, one, []],
    [0, 1, one, two, []],
    [1, 1, two, two, []],
    [1, 0, one, two, []],
    [2, 1, one, two, []],
    [1, 2, one, two, []],
    [0, 0, EMPTY, two, []],
    [1, 1, EMPTY, two, []],
    [0, 0, EMPTY, EMPTY, [EMPTY]],
    [1, 1, EMPTY, EMPTY, [EMPTY]],
    [0, 1, EMPTY, two, []],
    [0, 1, EMPTY, EMPTY, [EMPTY]],
  ];
  return [
    ...based,
    ...bare.map(([from, to, before, after, hashes], at) => ({
      name: `bare ${at}`,
      proof: { older: { size: from, root: before }, newer: { size: to, root: after }, hashes },
      // A tree is consistent with itself, whatever its root.
      holds: at === 4,
    })),
  ];
}

type Wrong<Proof> = readonly [string, Partial<Proof>];

function wrongInclusions({ index, size, root, hashes }: InclusionProof): Wrong<InclusionProof>[] {
  const [first, ...rest] = hashes;
  return [
    ['index less 1', { index: uint64(BigInt(index) - 1n) }],
    ['index plus 1', { index: index + 1 }],
    ['index xor 2', { index: uint64(BigInt(index) ^ 2n) }],
    ['size doubled', { size: size * 2 }],
    ['size halved', { size: Math.floor(size / 2) }],
    ['wrong leaf', { leafHash: Buffer.from('WrongLeaf') }],
    ['empty root', { root: EMPTY }],
    ['random root', { root: SOME }],
    ...padded(hashes, { nothing: NOTHING, root }),
    ...hashes.map((_, at) => [`hash ${at} altered`, { hashes: flipped(hashes, at, 8) }] as const),
    ...(first ? [['removed', { hashes: hashes.slice(0, -1) }] as const] : []),
    ...(first && rest.length > 0 ? [['inserted', { hashes: [first, SOME, ...rest] }] as const] : []),
  ];
}

function wrongConsistencies({ older, newer, hashes }: ConsistencyProof): Wrong<ConsistencyProof>[] {
  return [
    ['older less 1', { older: { ...older, size: uint64(BigInt(older.size) - 1n) } }],
    ['older plus 1', { older: { ...older, size: older.size + 1 } }],
    ['older xor 2', { older: { ...older, size: uint64(BigInt(older.size) ^ 2n) } }],
    ['newer doubled', { newer: { ...newer, size: newer.size * 2 } }],
    ['newer halved', { newer: { ...newer, size: Math.floor(newer.size / 2) } }],
    ['wrong older root', { older: { ...older, root: Buffer.from('WrongRoot') } }],
    ['wrong newer root', { newer: { ...newer, root: Buffer.from('WrongRoot') } }],
    ['roots swapped', { older: { ...older, root: newer.root }, newer: { ...newer, root: older.root } }],
    ['no proof', { hashes: [] }],
    ...padded(hashes, { nothing: NOTHING, older: older.root, newer: newer.root }),
    ['first hash twice', { hashes: [hashes[0]!, ...hashes] }],
    ['removed', { hashes: hashes.slice(0, -1) }],
    ...hashes.map((_, at) => [`hash ${at} altered`, { hashes: flipped(hashes, at, 16) }] as const),
  ];
}

function spoilt<Proof>(of: string, right: Proof, wrong: readonly Wrong<Proof>[]): Vector<Proof>[] {
  return wrong.map(([name, change]) => ({
    name: `${of}: ${name}`,
    proof: { ...right, ...change },
    holds: false,
  }));
}

/** The path with each of these behind it, and before it. */
function padded(hashes: readonly Buffer[], by: Record<string, Buffer>) {
  return Object.entries(by).flatMap(([name, hash]) => [
    [`trailing ${name}`, { hashes: [...hashes, hash] }] as const,
    [`preceding ${name}`, { hashes: [hash, ...hashes] }] as const,
  ]);
}

function flipped(hashes: readonly Buffer[], at: number, bits: number): Buffer[] {
  return hashes.map((hash, index) => (index === at ? Buffer.of(hash[0]! ^ bits, ...hash.subarray(1)) : hash));
}

/** As the generator counts: one less than nothing is 2^64 - 1, which is no number to be exact with here. */
function uint64(value: bigint): number {
  return Number(BigInt.asUintN(64, value));
}

function head(size: number): { size: number; root: Buffer } {
  return { size, root: ROOTS[size]! };
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}
