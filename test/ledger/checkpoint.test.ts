import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';

import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import {
  openCheckpoint,
  parseVerifierKey,
  printVerifierKey,
  signCheckpoint,
} from '../../src/ledger/checkpoint.ts';

/** Of the tests of golang.org/x/mod/sumdb/note (BSD-3-Clause). */
const PETER = {
  key: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
  note: `If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
`,
};
/** Go's checksum database on 2024-09-23, whose key has another name than its log. */
const GO = {
  key: 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8',
  note: `go.sum database tree
30055305
mXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=

— sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJYle3EJlDCrQ+y3A8=
`,
};
/** Of a log made by Tessera with the key its documentation publishes (github.com/transparency-dev/tessera, Apache-2.0). */
const TESSERA = {
  key: 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx',
  publishedSeed: '7KZj9JkBfSNlwnx6dnkVjUPP7BMwvbJZKQr70NIXd6A=',
  size: 100_270,
  root: 'GRV1O0dCqmjjPvYi7CtOT79zb/fPwLNsMFWsynwU8Ac=',
  note: `example.com/log/testdata
100270
GRV1O0dCqmjjPvYi7CtOT79zb/fPwLNsMFWsynwU8Ac=

— example.com/log/testdata M9e0lkcvy5bAe7rrC8tCyAP+my+CLzswA91zOpBNWVU7qCojkUOHnfdQzDImoYeYH8G8PJSwOqsx0RkSa261OmKVwwM=
`,
};

const name = 'custos.example/log';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const OURS = { name, publicKey };
const STRANGER = generateKeyPairSync('ed25519');
const HEAD = { origin: name, size: 8, root: Buffer.alloc(32, 0xfb) };
const ROOT = HEAD.root.toString('base64');
const TEXT = `${name}\n8\n${ROOT}\n`;
const NOTE = signCheckpoint(HEAD, privateKey);
const OUR_LINE = signatureLine(TEXT);

test.each([PETER, GO, TESSERA])('a verifier key of others is written as it was read: $key', ({ key }) => {
  expect(printVerifierKey(parseVerifierKey(key))).toBe(key);
  expect(printVerifierKey(parseVerifierKey(`${key}\n`))).toBe(key);
});

test('a verifier key that is cut or altered anywhere is refused', () => {
  const { key } = PETER;
  for (let at = 0; at < key.length; at++) {
    expect(() => parseVerifierKey(key.slice(0, at))).toThrow(/verifier key/);
    expect(() => parseVerifierKey(key.slice(at + 1))).toThrow(/verifier key/);
    const next = String.fromCharCode(key.charCodeAt(at) + 1);
    expect(() => parseVerifierKey(key.slice(0, at) + next + key.slice(at + 1))).toThrow(/verifier key/);
  }
});

test.each([
  ['of another length', 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='],
  ['of fewer bytes', 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy'],
  ['of another algorithm', 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'],
  ['in base64 for URLs', PETER.key.replace('/', '_')],
  ['with an id in capitals', PETER.key.replace('c74f', 'C74F')],
])('a verifier key %s is refused', (_, key) => {
  expect(() => parseVerifierKey(key)).toThrow('A verifier key is written name+id+base64');
});

test('a checkpoint of another implementation is opened, and signed here would be the same byte for byte', () => {
  const head = openCheckpoint(TESSERA.note, parseVerifierKey(TESSERA.key));
  expect(head).toEqual({
    origin: 'example.com/log/testdata',
    size: TESSERA.size,
    root: Buffer.from(TESSERA.root, 'base64'),
  });
  const der = Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.from(TESSERA.publishedSeed, 'base64'),
  ]);
  expect(signCheckpoint(head, createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))).toBe(
    TESSERA.note,
  );
});

test('a note that is truly signed but no checkpoint of the log is refused for that', () => {
  const peter = parseVerifierKey(PETER.key);
  expect(() => openCheckpoint(PETER.note, peter)).toThrow('The checkpoint is malformed.');
  const altered = PETER.note.replace('problem is.', 'problem is!');
  expect(() => openCheckpoint(altered, peter)).toThrow(
    "The checkpoint's signature by PeterNeumann is wrong.",
  );
  expect(() => openCheckpoint(GO.note, parseVerifierKey(GO.key))).toThrow(
    'The checkpoint is one of go.sum database tree, not of sum.golang.org.',
  );
});

test('a checkpoint says what was signed', () => {
  const roots = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
  const opened = fc.property(fc.webPath(), fc.maxSafeNat(), roots, (path, size, root) => {
    const origin = `log.example${path.replaceAll('+', '-')}`;
    const key = parseVerifierKey(printVerifierKey({ name: origin, publicKey }));
    const head = { origin, size, root };
    expect(openCheckpoint(signCheckpoint(head, privateKey), key)).toEqual(head);
  });
  fc.assert(opened);
});

test('no bit of a signature, and no character of the text, can be another', () => {
  const at = NOTE.indexOf('\n\n');
  for (let place = 0; place <= at; place++) {
    const other = NOTE[place] === 'x' ? 'y' : 'x';
    expect(() => openCheckpoint(NOTE.slice(0, place) + other + NOTE.slice(place + 1), OURS)).toThrow(
      /wrong|not a signed/,
    );
  }
  const bytes = Buffer.from(OUR_LINE.split(' ')[2]!, 'base64');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const forged = Buffer.from(bytes);
    forged[bit >> 3]! ^= 1 << (bit & 7);
    expect(() => openCheckpoint(`${TEXT}\n— ${name} ${forged.toString('base64')}\n`, OURS)).toThrow(
      bit < 32 ? 'is not signed with the key of' : 'signature by custos.example/log is wrong',
    );
  }
});

test.each([
  ['nothing', ''],
  ['no signature', `${TEXT}\n`],
  ['no blank line', TEXT + OUR_LINE],
  ['lines that end as on Windows', NOTE.replaceAll('\n', '\r\n')],
  ['no end of its last line', NOTE.slice(0, -1)],
  ['text behind it', `${NOTE}more\n`],
  ['a blank line behind it', `${NOTE}\n`],
  ['a hyphen for the dash', NOTE.replace('—', '-')],
  ['three words of signature', NOTE.replace(/\n$/, ' more\n')],
  ['more than a note may have', `${TEXT}\n${OUR_LINE.repeat(600)}`],
])('a checkpoint with %s is none', (_, note) => {
  expect(() => openCheckpoint(note, OURS)).toThrow('This is not a signed checkpoint.');
});

test.each([
  ["under a stranger's name", signatureLine(TEXT, { as: 'stranger.example' })],
  ['with an id of another key', signatureLine(TEXT, { key: STRANGER.privateKey })],
  ['with a bit too many in its base64', `${respelt(OUR_LINE.trimEnd())}\n`],
  ['without the padding of its base64', OUR_LINE.replace('=\n', '\n')],
])('a signature %s is not ours', (_, line) => {
  expect(line).not.toBe(OUR_LINE);
  expect(() => openCheckpoint(`${TEXT}\n${line}`, OURS)).toThrow(
    'The checkpoint is not signed with the key of custos.example/log.',
  );
});

test.each([
  ['made by another key under our id', signatureLine(TEXT, { key: STRANGER.privateKey, idOf: publicKey })],
  ['of another text', signatureLine(TEXT.replace('8', '9'))],
  [
    'cut short',
    `— ${name} ${Buffer.from(OUR_LINE.split(' ')[2]!, 'base64').subarray(0, 67).toString('base64')}\n`,
  ],
])('a signature %s is wrong, even beside a right one', (_, line) => {
  for (const lines of [line, line + OUR_LINE, OUR_LINE + line]) {
    expect(() => openCheckpoint(`${TEXT}\n${lines}`, OURS)).toThrow(
      "The checkpoint's signature by custos.example/log is wrong.",
    );
  }
});

test('our signature is found among those of strangers, whatever theirs are worth', () => {
  const strangers = [
    signatureLine(TEXT, { as: 'witness.example', key: STRANGER.privateKey }),
    signatureLine(TEXT, { key: STRANGER.privateKey }),
    signatureLine('another text', { as: 'witness.example', idOf: publicKey }),
    '— witness.example no+base64-at-all!\n',
  ];
  for (let at = 0; at <= strangers.length; at++) {
    const lines = strangers.toSpliced(at, 0, OUR_LINE).join('');
    expect(openCheckpoint(`${TEXT}\n${lines}`, OURS)).toEqual(HEAD);
  }
  expect(openCheckpoint(`${TEXT}\n${strangers[0]!.repeat(40)}${OUR_LINE}`, OURS)).toEqual(HEAD);
});

test.each([
  ...['08', '-8', '+8', '8.0', '8e0', '0x8', '', ' 8', '٨', '9007199254740992', '18446744073709551615'].map(
    (size) => [`of size "${size}"`, `${name}\n${size}\n${ROOT}\n`],
  ),
  ['with a root of 31 bytes', `${name}\n8\n${Buffer.alloc(31).toString('base64')}\n`],
  ['with a root of 33 bytes', `${name}\n8\n${Buffer.alloc(33).toString('base64')}\n`],
  ['with a root in hexadecimal', `${name}\n8\n${HEAD.root.toString('hex')}\n`],
  ['with a root in base64 for URLs', `${name}\n8\n${HEAD.root.toString('base64url')}=\n`],
  ['with a bit too many in its root', `${name}\n8\n${respelt(ROOT)}\n`],
  ['without the padding of its root', `${name}\n8\n${ROOT.slice(0, -1)}\n`],
  ['with an extension', `${TEXT}extension\n`],
  ['with an empty extension', `${TEXT}\n`],
  ['without a root', `${name}\n8\n`],
  ['without a size', `${name}\n`],
])('a signed checkpoint %s is malformed', (_, text) => {
  expect(() => openCheckpoint(`${text}\n${signatureLine(text)}`, OURS)).toThrow(
    'The checkpoint is malformed.',
  );
});

/** A signature line as the specification has it, with what is to be wrong about it. */
function signatureLine(
  text: string,
  { as = name, key = privateKey, idOf = createPublicKey(key) } = {},
): string {
  const [, id] = printVerifierKey({ name: as, publicKey: idOf }).split('+');
  const bytes = Buffer.concat([Buffer.from(id!, 'hex'), sign(null, Buffer.from(text), key)]);
  return `— ${as} ${bytes.toString('base64')}\n`;
}

/** The same bytes in base64, though another text: the last letter before the padding has two bits to spare. */
function respelt(base64: string): string {
  return base64.replace(/.=$/, ([last]) => `${String.fromCharCode(last!.charCodeAt(0) + 1)}=`);
}
