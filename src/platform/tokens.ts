import { createPublicKey, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';

import { sha256 } from './crypto.ts';
import { isoOf } from './ids.ts';

/** How long an access token lives, and the longest life a token may claim: 15 minutes. */
const ACCESS_TOKEN_SECONDS = 900;
const TOKEN_CHARS_MAX = 4096;
const TOKENS_KEPT = 5_000;
/** How far ahead of ours the clock of the process that signed may be. */
const SKEW_SECONDS = 60;
const MICROS_A_SECOND = 1_000_000n;

/** Why a token is not accepted. `TOKEN_EXPIRED` is said of a token that was ours and good, and of nothing else. */
type TokenProblem = { readonly ok: false; readonly reason: 'TOKEN_EXPIRED' | 'TOKEN_INVALID' };

/** Who bears a token. `expiresAt` in seconds since 1970. */
type TokenBearer = {
  readonly ok: true;
  readonly userId: string;
  readonly sessionId: string;
  readonly expiresAt: number;
};

/** A public key as /.well-known/jwks.json shows it (RFC 7517). */
interface PublicJwk {
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly x: string;
  readonly y: string;
  readonly kid: string;
  readonly alg: 'ES256';
  readonly use: 'sig';
}

/** Signs and checks access tokens. */
export interface Tokens {
  /** A token for `lifetimeSeconds`, at most and by default 900. `expiresAt` is an ISO time with microseconds. */
  sign(bearer: { userId: string; sessionId: string; lifetimeSeconds?: number }): {
    token: string;
    expiresAt: string;
  };
  /** Never throws, whatever comes in. Says nothing of the session: whether it still lives is the caller's question. */
  verify(token: string): TokenBearer | TokenProblem;
  /** The keys a third party may check tokens with: ours first, then the previous ones. */
  jwks(): { keys: PublicJwk[] };
}

export interface TokensOptions {
  /** EC P-256; signs. */
  readonly privateKey: KeyObject;
  /** Keys rotated out, private or public: their tokens are accepted until they expire. */
  readonly previousKeys?: readonly KeyObject[];
  readonly issuer: string;
  readonly audience: string;
  /** Microseconds since 1970. */
  readonly now: () => bigint;
}

/**
 * ES256 access tokens. Short-lived, so that a role is never read from them: they name a user and a session, and what
 * these may do is looked up. The profile is closer than RFC 9068's: exactly these header keys and claims, each once.
 */
export function openTokens({ privateKey, previousKeys = [], issuer, audience, now }: TokensOptions): Tokens {
  if (privateKey.type !== 'private')
    throw new TypeError(`Tokens are signed with a private key, not a ${privateKey.type} one.`);
  const own = publicJwk(privateKey);
  const jwks = [own, ...previousKeys.map(publicJwk)];
  // A map, not a look-up by name: a kid is a key we hold or it is nothing (no path, no URL, no query).
  const keys = new Map(jwks.map((jwk) => [jwk.kid, createPublicKey({ key: { ...jwk }, format: 'jwk' })]));
  const Claims = claimsOf(issuer, audience);
  const nowSeconds = () => Number(now() / MICROS_A_SECOND);
  /** A signature that was good stays so, and checking it is an eighth of a small request. */
  const ours = new LRUCache<string, z.infer<typeof Claims>>({ max: TOKENS_KEPT });

  return {
    sign({ userId, sessionId, lifetimeSeconds = ACCESS_TOKEN_SECONDS }) {
      if (
        !Number.isInteger(lifetimeSeconds) ||
        lifetimeSeconds < 1 ||
        lifetimeSeconds > ACCESS_TOKEN_SECONDS
      ) {
        throw new RangeError(
          `A token lives from 1 to ${ACCESS_TOKEN_SECONDS} whole seconds, but got ${lifetimeSeconds}.`,
        );
      }
      const iat = nowSeconds();
      const exp = iat + lifetimeSeconds;
      const claims = Claims.parse({ iss: issuer, aud: audience, sub: userId, sid: sessionId, iat, exp });
      const header = { alg: 'ES256' as const, typ: 'at+jwt', kid: own.kid };
      const token = jwt.sign(claims, privateKey, { algorithm: 'ES256', header });
      return { token, expiresAt: isoOf(BigInt(exp) * MICROS_A_SECOND) };
    },
    verify(token) {
      try {
        return verify(token);
      } catch {
        return INVALID;
      }
    },
    jwks: () => ({ keys: jwks }),
  };

  /** Throws or answers INVALID for every token that was never ours. */
  function verify(token: string): TokenBearer | TokenProblem {
    const claims = ours.get(token) ?? claimsIn(token);
    if (!claims) return INVALID;
    ours.set(token, claims);
    const { sub, sid, iat, exp } = claims;
    const seconds = nowSeconds();
    if (iat > seconds + SKEW_SECONDS || exp <= iat || exp - iat > ACCESS_TOKEN_SECONDS) return INVALID;
    if (exp <= seconds) return EXPIRED;
    return { ok: true, userId: sub, sessionId: sid, expiresAt: exp };
  }

  /** What a token that we signed says; throws or answers undefined for any other. */
  function claimsIn(token: string): z.infer<typeof Claims> | undefined {
    if (typeof token !== 'string' || token.length > TOKEN_CHARS_MAX || !isCanonical(token)) return undefined;
    const [header = '', payload = ''] = token.split('.');
    const key = keys.get(Header.parse(exactJson(header)).kid);
    if (!key) return undefined;
    // Only the signature is left to the library: by default it takes a token without exp, or one that never expires.
    jwt.verify(token, key, { algorithms: ['ES256'], ignoreExpiration: true });
    return Claims.parse(exactJson(payload));
  }
}

const INVALID: TokenProblem = { ok: false, reason: 'TOKEN_INVALID' };
const EXPIRED: TokenProblem = { ok: false, reason: 'TOKEN_EXPIRED' };

/** Strict: `crit`, `b64`, `jwk`, `jku`, `x5u` and whatever will be invented are refused by not being here. */
const Header = z.strictObject({ alg: z.literal('ES256'), typ: z.literal('at+jwt'), kid: z.string() });

function claimsOf(issuer: string, audience: string) {
  return z.strictObject({
    iss: z.literal(issuer),
    aud: z.literal(audience),
    sub: z.uuid(),
    sid: z.uuid(),
    iat: z.int().nonnegative(),
    exp: z.int().nonnegative(),
  });
}

/** Three parts, each the one base64url spelling of its bytes: otherwise flipping unused bits makes a second token. */
function isCanonical(token: string): boolean {
  const parts = token.split('.');
  return (
    parts.length === 3 &&
    parts.every((part) => part !== '' && Buffer.from(part, 'base64url').toString('base64url') === part)
  );
}

/** The JSON of a part, as we write it: a key that stands there twice means one thing to us and another to somebody else. */
function exactJson(part: string): unknown {
  const text = Buffer.from(part, 'base64url').toString();
  const value: unknown = JSON.parse(text);
  if (JSON.stringify(value) !== text)
    throw new SyntaxError('The JSON of a token is not as JSON.stringify writes it.');
  return value;
}

/** The public half, named by its RFC 7638 thumbprint, so that every process gives a key the same name. */
function publicJwk(key: KeyObject): PublicJwk {
  const { kty, crv, x, y } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' });
  if (kty !== 'EC' || crv !== 'P-256' || !x || !y) {
    throw new TypeError(
      `Tokens need an EC key on the curve P-256 (ES256), but got ${crv ?? kty ?? key.type}.`,
    );
  }
  const kid = sha256(JSON.stringify({ crv, kty, x, y })).toString('base64url');
  return { kty, crv, x, y, kid, alg: 'ES256', use: 'sig' };
}
