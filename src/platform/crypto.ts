import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** Length of every symmetric key here, and the least length of a master secret: 256 bits. */
export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * A 256-bit key for one purpose, by HKDF-SHA-256 (RFC 5869). Different labels give independent keys, so one
 * leaked key says nothing about its siblings or the master. A master shorter than 32 bytes is refused.
 */
export function deriveKey(master: Buffer, label: string): Buffer {
  if (master.length < KEY_BYTES) {
    throw new RangeError(
      `A master secret has at least ${KEY_BYTES} bytes, but this one has ${master.length}.`,
    );
  }
  return Buffer.from(hkdfSync('sha256', master, Buffer.alloc(0), label, KEY_BYTES));
}

/**
 * Encrypts with AES-256-GCM: nonce (12 bytes) | tag (16) | ciphertext. `aad` is not stored but must be the same
 * when the box is opened, so a box cannot be moved to another row.
 * The nonce is random: one key seals at most 2^32 boxes (NIST SP 800-38D, 8.3), plenty for a key per subject.
 */
export function sealBox(key: Buffer, plaintext: Buffer, aad: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(aad);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]);
}

/** The plaintext of a sealed box. Throws, and gives nothing, if the key, the `aad` or one bit of the box differs. */
export function openBox(key: Buffer, box: Buffer, aad: Buffer): Buffer {
  if (box.length < NONCE_BYTES + TAG_BYTES) {
    throw new RangeError(
      `A sealed box has at least ${NONCE_BYTES + TAG_BYTES} bytes, but this one has ${box.length}.`,
    );
  }
  const nonce = box.subarray(0, NONCE_BYTES);
  // authTagLength also on this side: without it Node takes a tag of four bytes for a whole one.
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(aad)
    .setAuthTag(box.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  const plaintext = decipher.update(box.subarray(NONCE_BYTES + TAG_BYTES));
  return Buffer.concat([plaintext, decipher.final()]);
}

/** HMAC-SHA-256; text is taken as UTF-8. */
export function hmac256(key: Buffer, text: string | Uint8Array): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** SHA-256; text is taken as UTF-8. */
export function sha256(data: string | Uint8Array): Buffer {
  return createHash('sha256').update(data).digest();
}

/** A 256-bit secret to hand out once (43 characters, base64url) and the hash to keep in its place. */
export function randomToken(): { token: string; hash: Buffer } {
  const token = randomBytes(32).toString('base64url');
  return { token, hash: tokenHash(token) };
}

/** What is stored of a token. A plain hash is enough for 256 random bits: there is nothing to guess. */
export function tokenHash(token: string): Buffer {
  return sha256(token);
}
