/**
 * The signed head of a tree: a checkpoint (https://c2sp.org/tlog-checkpoint) in a note signed with Ed25519
 * (https://c2sp.org/signed-note). The key's name is the log's origin.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

import { sha256 } from '../platform/crypto.ts';
import { HASH_BYTES } from './merkle.ts';

const ED25519 = Buffer.of(1);
const KEY_ID_BYTES = 4;
const KEY_BYTES = 32;
/** What precedes the 32 bytes of an Ed25519 key in SPKI (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const NOTE_CHARS_MAX = 64 * 1024;
const SIGNATURES = /^(?:— [^\s+]+ \S+\n)+$/;

/** What a checkpoint says: the log of that name had that many records, and this was their root. */
export interface TreeHead {
  /** Which log: a URL without its scheme. */
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

/** A key that checkpoints are checked with, and the name of the log it signs for. */
export interface VerifierKey {
  readonly name: string;
  readonly publicKey: KeyObject;
}

/** The note of a checkpoint, signed. */
export function signCheckpoint(head: TreeHead, privateKey: KeyObject): string {
  return signNote(`${head.origin}\n${head.size}\n${head.root.toString('base64')}\n`, head.origin, privateKey);
}

/** What a checkpoint says; throws an Error that tells what is wrong unless this key signed it for its log. */
export function openCheckpoint(note: string, key: VerifierKey): TreeHead {
  const [origin = '', size = '', root = '', ...rest] = openNote(note, key, 'checkpoint').split('\n');
  const head = { origin, size: Number(size), root: fromBase64(root) };
  const isPlain = rest.length === 1 && /^(0|[1-9]\d*)$/.test(size) && Number.isSafeInteger(head.size);
  if (!isPlain || head.root.length !== HASH_BYTES) throw new Error('The checkpoint is malformed.');
  if (origin !== key.name) throw new Error(`The checkpoint is one of ${origin}, not of ${key.name}.`);
  return head;
}

/** A text that ends with a line break, signed under that name. */
export function signNote(text: string, name: string, privateKey: KeyObject): string {
  const signature = sign(null, Buffer.from(text), privateKey);
  const id = keyId(name, rawKey(createPublicKey(privateKey)));
  return `${text}\n— ${name} ${Buffer.concat([id, signature]).toString('base64')}\n`;
}

/** The text of a signed note; throws an Error that tells what is wrong with this kind of note unless this key signed it. */
export function openNote(note: string, { name, publicKey }: VerifierKey, kind: string): string {
  const end = note.length <= NOTE_CHARS_MAX ? note.lastIndexOf('\n\n') : -1;
  if (end < 0 || !SIGNATURES.test(note.slice(end + 2))) throw new Error(`This is not a signed ${kind}.`);
  const text = note.slice(0, end + 1);
  const id = keyId(name, rawKey(publicKey));
  const ours = note
    .slice(end + 2)
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, signer]) => signer === name)
    .map(([, , signature = '']) => fromBase64(signature))
    .filter((bytes) => bytes.subarray(0, KEY_ID_BYTES).equals(id));
  if (ours.length === 0) throw new Error(`The ${kind} is not signed with the key of ${name}.`);
  if (!ours.every((bytes) => verify(null, Buffer.from(text), publicKey, bytes.subarray(KEY_ID_BYTES)))) {
    throw new Error(`The ${kind}'s signature by ${name} is wrong.`);
  }
  return text;
}

/** A verifier key as text, `name+id+base64`: what a verifier is configured with. */
export function printVerifierKey({ name, publicKey }: VerifierKey): string {
  const raw = rawKey(publicKey);
  return [name, keyId(name, raw).toString('hex'), Buffer.concat([ED25519, raw]).toString('base64')].join('+');
}

/** Reads a verifier key. Throws an Error that tells what is wrong. */
export function parseVerifierKey(text: string): VerifierKey {
  const [, name, id, key] = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text.trim()) ?? [];
  const bytes = fromBase64(key ?? '');
  const raw = bytes.subarray(ED25519.length);
  if (!name || raw.length !== KEY_BYTES || !bytes.subarray(0, 1).equals(ED25519)) {
    throw new Error('A verifier key is written name+id+base64, and the key is one of Ed25519.');
  }
  if (keyId(name, raw).toString('hex') !== id)
    throw new Error(`The verifier key's id ${id} is not that of the key.`);
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' });
  return { name, publicKey };
}

/** The bytes written so; none when it is not the one way they are written (RFC 4648, section 4). */
export function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : Buffer.alloc(0);
}

function rawKey(publicKey: KeyObject): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length);
}

function keyId(name: string, raw: Buffer): Buffer {
  return sha256(Buffer.concat([Buffer.from(`${name}\n`), ED25519, raw])).subarray(0, KEY_ID_BYTES);
}
