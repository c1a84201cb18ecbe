import { expect, test } from 'vitest';
import * as fc from 'fast-check';

import {
  deriveKey,
  hmac256,
  openBox,
  randomToken,
  sealBox,
  sha256,
  tokenHash,
} from '../../src/platform/crypto.ts';

const master = Buffer.alloc(32, 7);
const key = deriveKey(master, 'test');
const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));

test('hashes and keyed hashes are the published ones (FIPS 180-4, RFC 4231 case 2)', () => {
  expect(sha256('abc').toString('hex')).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
  expect(sha256(Buffer.from('abc'))).toEqual(sha256('abc'));
  expect(hmac256(Buffer.from('Jefe'), 'what do ya want for nothing?').toString('hex')).toBe(
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  );
});

test('a derived key is stable across releases, and another label gives another key', () => {
  // Data is encrypted under it: if this value changes, nobody can read their database any more.
  expect(key.toString('hex')).toBe('9cd923b2a7b612b525b1f93415466f7ca72c780713d5344eb74f4cc229ca5919');
  expect(deriveKey(master, 'test')).toEqual(key);
  expect(deriveKey(master, 'other')).not.toEqual(key);
  expect(deriveKey(Buffer.alloc(32, 8), 'test')).not.toEqual(key);
});

test('a master secret shorter than 32 bytes is refused', () => {
  expect(() => deriveKey(Buffer.alloc(31), 'test')).toThrow('at least 32 bytes, but this one has 31');
});

test('a box opens to what was sealed, whatever it holds', () => {
  fc.assert(
    fc.property(bytes, bytes, (plaintext, aad) => {
      expect(openBox(key, sealBox(key, plaintext, aad), aad)).toEqual(plaintext);
    }),
  );
});

test('a box is nonce, tag and ciphertext, and no two are alike', () => {
  const plaintext = Buffer.from('the same');
  const box = sealBox(key, plaintext, Buffer.alloc(0));
  expect(box).toHaveLength(12 + 16 + plaintext.length);
  expect(sealBox(key, plaintext, Buffer.alloc(0))).not.toEqual(box);
});

test('a box with any bit flipped, cut short, or under another key or context does not open', () => {
  const aad = Buffer.from('users/1');
  const box = sealBox(key, Buffer.from('Ada'), aad);
  for (let bit = 0; bit < box.length * 8; bit++) {
    const altered = Buffer.from(box);
    altered[bit >> 3]! ^= 1 << (bit & 7);
    expect(() => openBox(key, altered, aad)).toThrow('unable to authenticate');
  }
  for (let length = 0; length < box.length; length++) {
    expect(() => openBox(key, box.subarray(0, length), aad)).toThrow(
      /unable to authenticate|at least 28 bytes/,
    );
  }
  expect(() => openBox(key, box, Buffer.from('users/2'))).toThrow('unable to authenticate');
  expect(() => openBox(deriveKey(master, 'other'), box, aad)).toThrow('unable to authenticate');
});

test('a token has 256 bits, fits a URL, and is stored as its hash', () => {
  const tokens = Array.from({ length: 100 }, () => randomToken());
  for (const { token, hash } of tokens) {
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(hash).toEqual(sha256(token));
    expect(tokenHash(token)).toEqual(hash);
  }
  expect(new Set(tokens.map(({ token }) => token)).size).toBe(100);
});
