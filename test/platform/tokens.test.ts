import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from 'node:crypto';
import jwt from 'jsonwebtoken';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';

import { openTokens } from '../../src/platform/tokens.ts';
import { isoOf } from '../../src/platform/ids.ts';

const START = 1_767_323_045;
const userId = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f';
const sessionId = '017f22e2-79b0-7cc3-98c4-dc0c0c073990';
const issuer = 'http://localhost:4000';
const audience = 'custos';
const privateKey = newKey();
const previousKey = newKey();
const strangerKey = newKey();

let seconds = START;
const tokens = openTokens({
  privateKey,
  previousKeys: [previousKey],
  issuer,
  audience,
  now: () => BigInt(seconds) * 1_000_000n + 999_999n,
});
const kid = tokens.jwks().keys[0]!.kid;
const claims = { iss: issuer, aud: audience, sub: userId, sid: sessionId, iat: START, exp: START + 900 };

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function publicPem(): string {
  return String(createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }));
}

/** A token signed as ours are, with header and claims changed at will; undefined takes a key away. */
function forge({
  header = {},
  payload = {},
  key = privateKey,
}: { header?: object; payload?: object | string; key?: KeyObject } = {}): string {
  const claimed = typeof payload === 'string' ? payload : JSON.stringify({ ...claims, ...payload });
  return signed(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid, ...header }), claimed, key);
}

function signed(header: string, payload: string, key = privateKey): string {
  const text = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  return `${text}.${sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function signedByHmac(secret: string | Buffer, alg = 'HS256'): string {
  const text = [{ alg, typ: 'at+jwt', kid }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

test('a token names its user and session for exactly its lifetime', () => {
  seconds = START;
  const { token, expiresAt } = tokens.sign({ userId, sessionId });
  expect(expiresAt).toBe(isoOf(BigInt(START + 900) * 1_000_000n));
  expect(tokens.verify(token)).toEqual({ ok: true, userId, sessionId, expiresAt: START + 900 });
  seconds = START + 899;
  expect(tokens.verify(token)).toHaveProperty('ok', true);
  seconds = START + 900;
  expect(tokens.verify(token)).toEqual({ ok: false, reason: 'TOKEN_EXPIRED' });
  seconds = START;
});

test('the forge of these tests makes tokens that are accepted, so every refusal below has one reason', () => {
  expect(tokens.verify(forge())).toHaveProperty('ok', true);
});

test('a token is what any library reads, and says no more than it must', () => {
  const { token } = tokens.sign({ userId, sessionId, lifetimeSeconds: 60 });
  const { header, payload } = jwt.verify(token, createPublicKey(privateKey), {
    algorithms: ['ES256'],
    issuer,
    audience,
    clockTimestamp: START,
    complete: true,
  });
  expect(header).toEqual({ alg: 'ES256', typ: 'at+jwt', kid });
  expect(payload).toEqual({ ...claims, exp: START + 60 });
});

test.each([
  [
    'alg none, no signature',
    () =>
      `${forge({ header: { alg: 'none' } })
        .split('.')
        .slice(0, 2)
        .join('.')}.`,
  ],
  ['alg nOnE', () => forge({ header: { alg: 'nOnE' } })],
  ['alg none with our signature', () => forge({ header: { alg: 'none' } })],
  ['HS256 with our public key as the secret', () => signedByHmac(publicPem())],
  [
    'HS256 with our public key in DER',
    () => signedByHmac(createPublicKey(privateKey).export({ type: 'spki', format: 'der' })),
  ],
  ['HS256 with an empty secret', () => signedByHmac('')],
  ['HS384', () => signedByHmac(publicPem(), 'HS384')],
  ['an HMAC under the name ES256', () => signedByHmac(publicPem(), 'ES256')],
  ['another algorithm of the family', () => forge({ header: { alg: 'ES384' } })],
  ['an algorithm that is not text', () => forge({ header: { alg: ['ES256'] } })],
  ['no algorithm', () => forge({ header: { alg: undefined } })],
  ["a stranger's key under our kid", () => forge({ key: strangerKey })],
  [
    'a key brought along (jwk)',
    () =>
      forge({ header: { jwk: createPublicKey(strangerKey).export({ format: 'jwk' }) }, key: strangerKey }),
  ],
  ['a key to be fetched (jku)', () => forge({ header: { jku: 'https://example.com/jwks.json' } })],
  ['a certificate to be fetched (x5u)', () => forge({ header: { x5u: 'https://example.com/cert' } })],
  ['a certificate brought along (x5c)', () => forge({ header: { x5c: ['MIIB'] } })],
  ['an unknown kid', () => forge({ header: { kid: 'unknown' } })],
  ['a kid that is a path', () => forge({ header: { kid: '../../../../dev/null' } })],
  ['a kid that is SQL', () => forge({ header: { kid: "' OR 1=1 --" } })],
  ['a kid that is a property of every object', () => forge({ header: { kid: 'constructor' } })],
  ['no kid', () => forge({ header: { kid: undefined } })],
  ['a kid that is not text', () => forge({ header: { kid: { toString: kid } } })],
  ['crit', () => forge({ header: { crit: ['exp'] } })],
  ['an empty crit', () => forge({ header: { crit: [] } })],
  ['b64: false', () => forge({ header: { b64: false, crit: ['b64'] } })],
  ['typ JWT', () => forge({ header: { typ: 'JWT' } })],
  ["a refresh token's typ", () => forge({ header: { typ: 'rt+jwt' } })],
  ['no typ', () => forge({ header: { typ: undefined } })],
  ['cty JWT (a token in a token)', () => forge({ header: { cty: 'JWT' } })],
  [
    '__proto__ in the header',
    () => signed(`{"alg":"ES256","typ":"at+jwt","kid":"${kid}","__proto__":{"a":1}}`, JSON.stringify(claims)),
  ],
  ['a header that is not JSON', () => signed('{', JSON.stringify(claims))],
  ['a header that is null', () => signed('null', JSON.stringify(claims))],
  ['a header that is an array', () => signed('["ES256"]', JSON.stringify(claims))],
  ['no exp', () => forge({ payload: { exp: undefined } })],
  ['exp 1e300', () => forge({ payload: JSON.stringify(claims).replace(String(START + 900), '1e300') })],
  ['exp beyond the lifetime we give', () => forge({ payload: { exp: START + 901 } })],
  ['exp as text', () => forge({ payload: { exp: String(START + 900) } })],
  ['exp with a fraction', () => forge({ payload: { exp: START + 10.5 } })],
  ['exp before iat', () => forge({ payload: { iat: START + 30, exp: START + 20 } })],
  ['exp negative', () => forge({ payload: { exp: -1 } })],
  ['no iat', () => forge({ payload: { iat: undefined } })],
  ['iat a day ahead', () => forge({ payload: { iat: START + 86_400, exp: START + 86_700 } })],
  ['iat 61 seconds ahead', () => forge({ payload: { iat: START + 61, exp: START + 600 } })],
  ['nbf ahead', () => forge({ payload: { nbf: START + 3600 } })],
  ['any claim we do not give', () => forge({ payload: { role: 'SUPER_ADMIN' } })],
  [
    '__proto__ in the claims',
    () => forge({ payload: `${JSON.stringify(claims).slice(0, -1)},"__proto__":{"sub":"x"}}` }),
  ],
  [
    'two users, the second of which another reader might not see',
    () => forge({ payload: JSON.stringify(claims).replace('"sub"', `"sub":"${sessionId}","sub"`) }),
  ],
  ['white space in the claims', () => forge({ payload: JSON.stringify(claims, null, 1) })],
  [
    'two algorithms',
    () => signed(`{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"${kid}"}`, JSON.stringify(claims)),
  ],
  ['constructor in the claims', () => forge({ payload: { constructor: { prototype: {} } } })],
  ['another issuer', () => forge({ payload: { iss: 'https://example.com' } })],
  ['no issuer', () => forge({ payload: { iss: undefined } })],
  ['another audience', () => forge({ payload: { aud: 'refresh' } })],
  ['our audience among others', () => forge({ payload: { aud: [audience, 'example'] } })],
  ['no audience', () => forge({ payload: { aud: undefined } })],
  ['a user id that is not a UUID', () => forge({ payload: { sub: "1' OR '1'='1" } })],
  ['no user', () => forge({ payload: { sub: undefined } })],
  ['no session', () => forge({ payload: { sid: undefined } })],
  ['a payload that is text', () => forge({ payload: '"admin"' })],
  ['a payload that is not JSON', () => forge({ payload: 'admin' })],
  ['a payload that is an array', () => forge({ payload: '[]' })],
  ['a payload that is null', () => forge({ payload: 'null' })],
  ['no signature', () => `${forge().split('.').slice(0, 2).join('.')}.`],
  ['two parts', () => forge().split('.').slice(0, 2).join('.')],
  ['four parts', () => `${forge()}.e30`],
  ['five parts', () => `${forge()}.e30.e30`],
  [
    'a changed payload',
    () => forge().replace(/\.[^.]+\./, (part) => part.replace(/.\.$/, (end) => (end === 'A.' ? 'B.' : 'A.'))),
  ],
  ['a padded signature', () => `${forge()}=`],
  ['a DER signature', () => derSigned()],
  ['a signature of zeros', () => forge().replace(/[^.]+$/, Buffer.alloc(64).toString('base64url'))],
  ['white space around it', () => ` ${forge()}`],
  ['a line break after it', () => `${forge()}\n`],
  ['Bearer before it', () => `Bearer ${forge()}`],
  ['more than 4 KiB', () => forge({ payload: { note: 'x'.repeat(4096) } })],
  ['more than 4 KiB, good but for that', () => forge({ payload: JSON.stringify(claims) + ' '.repeat(4096) })],
  ['8 MB', () => 'x'.repeat(8_000_000)],
  ['a megabyte of dots', () => '.'.repeat(1_000_000)],
  ['nothing', () => ''],
  ['dots', () => '..'],
])('a token with %s is invalid', (_, make) => {
  expect(tokens.verify(make())).toEqual({ ok: false, reason: 'TOKEN_INVALID' });
});

function derSigned(): string {
  const text = forge().split('.').slice(0, 2).join('.');
  return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
}

test('a token of more than 4 KiB is refused before it is read', () => {
  const signedByUs = forge({ payload: { note: 'x'.repeat(8_000_000) } });
  const reading = leastMsOf(() => JSON.parse(Buffer.from(signedByUs.split('.')[1]!, 'base64url').toString()));
  const refusing = leastMsOf(() => tokens.verify(signedByUs));
  expect(refusing).toBeLessThan(reading / 10);
});

/** How long a call takes at the least of five, in milliseconds: the system may count a processor's time in ticks as long as a call. */
function leastMsOf(call: () => unknown): number {
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    call();
    return performance.now() - start;
  });
  return Math.min(...times);
}

test('a token of up to 60 seconds from now is accepted: clocks differ', () => {
  expect(tokens.verify(forge({ payload: { iat: START + 60, exp: START + 900 } }))).toHaveProperty('ok', true);
});

test('only a good token of ours is ever called expired', () => {
  const past = { iat: START - 2000, exp: START - 1100 };
  expect(tokens.verify(forge({ payload: past }))).toEqual({ ok: false, reason: 'TOKEN_EXPIRED' });
  expect(tokens.verify(forge({ payload: past, key: strangerKey }))).toHaveProperty('reason', 'TOKEN_INVALID');
  expect(tokens.verify(forge({ payload: { ...past, aud: 'x' } }))).toHaveProperty('reason', 'TOKEN_INVALID');
  expect(tokens.verify(forge({ payload: { exp: START - 1 } }))).toHaveProperty('reason', 'TOKEN_INVALID');
});

test('one token has one spelling: no bit of it can be flipped', () => {
  const { token } = tokens.sign({ userId, sessionId });
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  for (let i = 0; i < token.length; i++) {
    if (token[i] === '.') continue;
    const flipped = alphabet[alphabet.indexOf(token[i]!) ^ 1]!;
    expect(tokens.verify(token.slice(0, i) + flipped + token.slice(i + 1))).toHaveProperty('ok', false);
  }
});

test('what is not a token never makes the verifier throw', () => {
  const parts = fc.array(
    fc.oneof(
      fc.base64String(),
      fc.json().map((text) => Buffer.from(text).toString('base64url')),
    ),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        parts.map((all) => all.join('.')),
      ),
      (token) => {
        expect(tokens.verify(token)).toEqual({ ok: false, reason: 'TOKEN_INVALID' });
      },
    ),
  );
  // Callers are typed; a header that a framework parsed may not be.
  for (const odd of [undefined, null, 42, {}, ['a.b.c'], Symbol('x')]) {
    expect(Reflect.apply((token: string) => tokens.verify(token), undefined, [odd])).toEqual({
      ok: false,
      reason: 'TOKEN_INVALID',
    });
  }
});

test('after a rotation the previous key still verifies, and only the new one signs', () => {
  const before = openTokens({
    privateKey: previousKey,
    issuer,
    audience,
    now: () => BigInt(START) * 1_000_000n,
  });
  const { token } = before.sign({ userId, sessionId });
  expect(tokens.verify(token)).toHaveProperty('ok', true);
  expect(before.verify(tokens.sign({ userId, sessionId }).token)).toHaveProperty('reason', 'TOKEN_INVALID');
  expect(tokens.verify(forge({ key: previousKey }))).toHaveProperty('reason', 'TOKEN_INVALID');
});

test('the published keys verify our tokens and hold nothing private', () => {
  const { keys } = tokens.jwks();
  expect(keys).toHaveLength(2);
  for (const key of keys) {
    expect(Object.keys(key).toSorted()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  }
  const { token } = tokens.sign({ userId, sessionId });
  const published = createPublicKey({ key: { ...keys[0]! }, format: 'jwk' });
  expect(jwt.verify(token, published, { clockTimestamp: START })).toHaveProperty('sub', userId);
});

test('a kid is the RFC 7638 thumbprint, so every process names a key alike', () => {
  // RFC 9449 (DPoP), 6.1: the thumbprint of its example key.
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
    y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
  };
  const { keys } = openTokens({
    privateKey,
    previousKeys: [createPublicKey({ key: jwk, format: 'jwk' })],
    issuer,
    audience,
    now: () => 0n,
  }).jwks();
  expect(keys[1]!.kid).toBe('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I');
});

test.each([0, -1, 901, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
  'a lifetime of %d seconds is refused',
  (lifetimeSeconds) => {
    expect(() => tokens.sign({ userId, sessionId, lifetimeSeconds })).toThrow('from 1 to 900 whole seconds');
  },
);

test('only an EC P-256 private key signs', () => {
  const options = { issuer, audience, now: () => 0n };
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  const ed25519 = generateKeyPairSync('ed25519').privateKey;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  for (const key of [p384, ed25519, rsa]) {
    expect(() => openTokens({ ...options, privateKey: key })).toThrow('P-256');
    expect(() => openTokens({ ...options, privateKey, previousKeys: [key] })).toThrow('P-256');
  }
  expect(() => openTokens({ ...options, privateKey: createPublicKey(privateKey) })).toThrow(
    'not a public one',
  );
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  expect(openTokens({ ...options, privateKey: createPrivateKey(pem) }).jwks().keys[0]!.kid).toBe(kid);
});
