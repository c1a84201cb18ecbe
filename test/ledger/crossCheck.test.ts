import { generateKeyPairSync } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

// The package's own door takes whole Sigstore bundles only: its checks of notes and paths lie behind it.
import { verifyCheckpoint } from '@sigstore/verify/dist/tlog/checkpoint.js';
import { verifyMerkleInclusion } from '@sigstore/verify/dist/tlog/merkle.js';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { openCheckpoint, printVerifierKey, signCheckpoint } from '../../src/ledger/checkpoint.ts';
import { inclusionSpans, isIncluded } from '../../src/ledger/merkle.ts';
import { spanHashes } from '../../src/ledger/tiles.ts';
import { leafHash, treeOf } from '../world/tree.ts';

/** That an entry is in the tree of a checkpoint. */
interface Claim {
  readonly entry: Buffer;
  readonly index: number;
  readonly hashes: Buffer[];
  readonly checkpoint: string;
}

const TREE = treeOf(300);
const origin = 'custos.example/log';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const STRANGER = generateKeyPairSync('ed25519').privateKey;
const KEY = { name: origin, publicKey };

const SPOILINGS: Record<string, (claim: Claim) => Partial<Claim>> = {
  nothing: () => ({}),
  entry: () => ({ entry: Buffer.from('another') }),
  place: ({ index }) => ({ index: index ^ 1 }),
  path: ({ hashes }) => ({ hashes: hashes.toReversed() }),
  shorter: ({ hashes }) => ({ hashes: hashes.slice(1) }),
  longer: ({ hashes }) => ({ hashes: [...hashes, TREE.leaves[0]!] }),
  root: () => ({ checkpoint: signCheckpoint({ origin, size: 300, root: Buffer.alloc(32) }, privateKey) }),
  note: ({ checkpoint }) => ({ checkpoint: checkpoint.replace('\n', '/1\n') }),
  signer: () => ({ checkpoint: signCheckpoint({ origin, size: 300, root: TREE.hash(0, 300) }, STRANGER) }),
};

test('the verifier of Sigstore takes our checkpoints and proofs, and refuses those we refuse', async () => {
  const places = fc
    .integer({ min: 1, max: 300 })
    .chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1)));
  const kinds = fc.constantFrom(...Object.keys(SPOILINGS));
  const judged = fc.asyncProperty(places, kinds, async ([size, index], kind) => {
    const root = TREE.hash(0, size);
    const right = {
      entry: TREE.entries[index]!,
      index,
      hashes: await spanHashes(inclusionSpans(index, size), TREE.tiles(size)),
      checkpoint: signCheckpoint({ origin, size, root }, privateKey),
    };
    const claim = { ...right, ...SPOILINGS[kind]!(right) };
    const holds = isDeepStrictEqual(claim, right);
    expect([holdsForUs(claim), holdsForThem(claim)]).toEqual([holds, holds]);
  });
  await fc.assert(judged, { numRuns: 500 });
});

function holdsForUs({ checkpoint, entry, ...path }: Claim): boolean {
  return succeeds(() => {
    const head = openCheckpoint(checkpoint, KEY);
    if (!isIncluded({ ...head, ...path, leafHash: leafHash(entry) })) throw new Error('Not included.');
  });
}

function holdsForThem({ checkpoint, entry, index, hashes }: Claim): boolean {
  const log = {
    logID: Buffer.from(printVerifierKey(KEY).split('+')[1]!, 'hex'),
    baseURL: `https://${origin}`,
    publicKey,
    validFor: { start: new Date(0), end: new Date() },
  };
  const claimed = {
    logIndex: String(index),
    logId: { keyId: log.logID },
    kindVersion: { kind: '', version: '' },
    integratedTime: '0',
    inclusionPromise: undefined,
    inclusionProof: {
      logIndex: String(index),
      rootHash: Buffer.alloc(0),
      treeSize: '',
      hashes,
      checkpoint: { envelope: checkpoint },
    },
    canonicalizedBody: entry,
  };
  return succeeds(() => verifyMerkleInclusion(claimed, verifyCheckpoint(claimed, [log])));
}

function succeeds(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}
