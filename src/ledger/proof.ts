/** The proof for one record as a file that needs nothing else: https://c2sp.org/tlog-proof. */
import { fromBase64, openCheckpoint, type TreeHead, type VerifierKey } from './checkpoint.ts';
import { isIncluded } from './merkle.ts';

/** The first line of a proof. */
export const PROOF_HEADING = 'c2sp.org/tlog-proof@v1';

/** A record's place and path in the tree of a checkpoint. */
export interface RecordProof {
  readonly index: number;
  /** From the leaf's sibling up to the root's child. */
  readonly hashes: readonly Buffer[];
  /** The signed note. */
  readonly checkpoint: string;
  /** Canonical JSON of the record, which nobody vouches for before it is checked: `extra` in the file. */
  readonly record: string;
}

/** The text of a `.tlog-proof` file. */
export function printProof({ index, hashes, checkpoint, record }: RecordProof): string {
  const extra = Buffer.from(record).toString('base64');
  const path = hashes.map((hash) => `${hash.toString('base64')}\n`).join('');
  return `${PROOF_HEADING}\nextra ${extra}\nindex ${index}\n${path}\n${checkpoint}`;
}

/** Reads such a file. Throws an Error that tells what is wrong; nothing in it is verified yet. */
export function parseProof(text: string): RecordProof {
  const end = text.indexOf('\n\n');
  const [heading, extra = '', index = '', ...path] = text.slice(0, Math.max(end, 0)).split('\n');
  if (heading !== PROOF_HEADING) throw new Error(`A proof begins with the line ${PROOF_HEADING}.`);
  const record = fromBase64(/^extra (\S+)$/.exec(extra)?.[1] ?? '').toString();
  const place = /^index (0|[1-9]\d{0,15})$/.exec(index)?.[1];
  if (record === '' || place === undefined) throw new Error('The proof lacks its record or its index.');
  return {
    index: Number(place),
    hashes: path.map(fromBase64),
    checkpoint: text.slice(end + 2),
    record,
  };
}

/** The tree the proof is in; throws an Error unless the record with that leaf hash is in it. */
export function verifyProof(proof: RecordProof, leafHash: Buffer, key: VerifierKey): TreeHead {
  const head = openCheckpoint(proof.checkpoint, key);
  if (!isIncluded({ ...head, leafHash, index: proof.index, hashes: proof.hashes }))
    throw new Error(`The record is not the one at ${proof.index} of ${head.origin}.`);
  return head;
}
