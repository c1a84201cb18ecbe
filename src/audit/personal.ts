/**
 * Personal values in the log. Each person has a key a tenant; a record holds their values sealed under it, beside a
 * commitment to them in clear. Destroying the key erases the values in every record, copy and archive, and no proof
 * breaks, because the leaf holds the commitment (see ledger/leaf.ts).
 *
 * Layout of `audit_logs.pii`, a part a person: subject id (16 bytes) | commitment (32) | length of the box (4, big endian)
 * | box = AES-256-GCM(salt (16) | JSON of the values), with the subject id as associated data.
 */
import { randomBytes } from 'node:crypto';

import { sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';

import type { Commitment, LeafRecord } from '../ledger/leaf.ts';
import { deriveKey, hmac256, KEY_BYTES, openBox, sealBox, sha256 } from '../platform/crypto.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx, Tx } from '../platform/db.ts';
import { uuidOf } from '../platform/ids.ts';
import { subjectKeys } from './tables.ts';

const SUBJECT_BYTES = 16;
const COMMITMENT_BYTES = 32;
const LENGTH_BYTES = 4;
const SALT_BYTES = 16;
/** Keys kept in memory for writing; a destroyed one may be used that much longer, and what it seals is then erased already. */
const KEYS_KEPT = 10_000;
const KEYS_KEPT_MS = 60_000;

/** The personal values of one record: what its clear part leaves out. */
export interface PersonalValues {
  readonly actor?: { readonly email: string; readonly name: string };
  readonly resourceName?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  /** Path of the change to its values before and after. */
  readonly changes?: Readonly<Record<string, readonly [unknown, unknown]>>;
}

interface SubjectRef {
  readonly tenantId: string;
  readonly subjectId: string;
}

/** A person whose key may have to be made. */
interface NewRef extends SubjectRef {
  readonly createdAt: string;
}

/** Keys by tenant and person; an erased person's is absent. */
export type SubjectKeys = ReadonlyMap<string, Buffer>;

/** A record, as far as its personal values go. */
interface Sealed {
  readonly tenantId: string;
  readonly pii: Buffer | null;
}

/** What is to be sealed of a record: values by person. */
export interface Unsealed {
  readonly tenantId: string;
  /** Dates the keys that are made for it. */
  readonly createdAt: string;
  readonly values: ReadonlyMap<string, PersonalValues>;
}

/** Seals and opens personal values; makes keys as people first appear. */
export interface PersonalVault {
  /** Seals the values of records by person. Null for a record that holds none. */
  seal(tx: Tx, records: readonly Unsealed[]): Promise<(Buffer | null)[]>;
  /** The keys for what many records hold. One statement. */
  keys(tx: ReadTx, records: readonly Sealed[]): Promise<SubjectKeys>;
  /** What a record holds of the people whose keys are given, merged. */
  open(record: Sealed, keys: SubjectKeys): PersonalValues;
  /** What a record holds of them, a person each, with the salt of its commitment: enough to check that. */
  disclose(record: Sealed, keys: SubjectKeys): { subjectId: string; salt: string; values: unknown }[];
  /** Whether what a record holds of them is what it commits to. */
  isIntact(record: Sealed, keys: SubjectKeys): boolean;
  /** Keyed HMAC of an e-mail: finds it without storing it. */
  emailHmac(email: string): Buffer;
}

/** Opens the vault under the master key. */
export function openVault(master: Buffer): PersonalVault {
  const wrapping = deriveKey(master, 'custos subject keys');
  const emails = deriveKey(master, 'custos e-mail hmac');

  const known = new LRUCache<string, Buffer>({ max: KEYS_KEPT, ttl: KEYS_KEPT_MS });
  /** What was unwrapped lately, by its wrapping: a key is only ever found here when the database still has it. */
  const unwrapped = new LRUCache<string, Buffer>({ max: KEYS_KEPT, ttl: KEYS_KEPT_MS });
  /** Transactions that made a key: what they read may be undone with them, so it is not remembered. */
  const makers = new WeakSet<Tx>();

  function opened(row: SubjectRef & { readonly wrappedKey: Buffer }): Buffer {
    const name = keyName(row);
    const wrappedAs = `${name}/${row.wrappedKey.toString('latin1')}`;
    const key = unwrapped.get(wrappedAs) ?? openBox(wrapping, row.wrappedKey, Buffer.from(name));
    unwrapped.set(wrappedAs, key);
    return key;
  }

  async function read(tx: ReadTx, refs: readonly SubjectRef[]): Promise<Map<string, Buffer>> {
    if (refs.length === 0) return new Map();
    const tenantIds = uuidArray(refs.map(({ tenantId }) => tenantId));
    const subjectIds = uuidArray(refs.map(({ subjectId }) => subjectId));
    const rows = await tx
      .select()
      .from(subjectKeys)
      .where(
        sql`(tenant_id, subject_id) in (select * from unnest(${tenantIds}::uuid[], ${subjectIds}::uuid[]))`,
      );
    return new Map(rows.map((row) => [keyName(row), opened(row)]));
  }

  /** The keys for what is about to be written; they are made where a person first appears. */
  async function keysToSeal(tx: Tx, refs: readonly NewRef[]): Promise<Map<string, Buffer>> {
    const keys = new Map(refs.flatMap((ref) => pair(keyName(ref), known.get(keyName(ref)))));
    const absent = () => refs.filter((ref) => !keys.has(keyName(ref)));
    for (const [name, key] of await read(tx, absent())) {
      keys.set(name, key);
      if (!makers.has(tx)) known.set(name, key);
    }
    const made = absent().map((ref) => ({
      ...ref,
      wrappedKey: sealBox(wrapping, randomBytes(KEY_BYTES), Buffer.from(keyName(ref))),
    }));
    if (made.length > 0) {
      makers.add(tx);
      await tx.insert(subjectKeys).values(made).onConflictDoNothing();
      // Read back, and not remembered: another transaction's key may have won, and ours may yet be rolled back.
      for (const [name, key] of await read(tx, made)) keys.set(name, key);
    }
    return keys;
  }

  return {
    async seal(tx, records) {
      const refs = new Map<string, NewRef>();
      for (const { tenantId, createdAt, values } of records) {
        for (const subjectId of values.keys()) {
          const ref = { tenantId, subjectId, createdAt };
          refs.set(keyName(ref), refs.get(keyName(ref)) ?? ref);
        }
      }
      // In the order of their names: two who write of the same people never wait for each other's new keys crosswise.
      const inOrder = [...refs].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, ref]) => ref);
      const keys = await keysToSeal(tx, inOrder);
      return records.map(({ tenantId, values }) => {
        const parts = [...values.keys()]
          .sort()
          .map((subjectId) =>
            sealPart(keys.get(keyName({ tenantId, subjectId }))!, subjectId, values.get(subjectId)!),
          );
        return parts.length > 0 ? Buffer.concat(parts) : null;
      });
    },

    keys(tx, records) {
      const refs = new Map<string, SubjectRef>();
      for (const { tenantId, pii } of records) {
        for (const { subject } of partsOf(pii)) {
          const ref = { tenantId, subjectId: uuidOf(subject) };
          refs.set(keyName(ref), ref);
        }
      }
      return read(tx, [...refs.values()]);
    },

    open(record, keys) {
      return openedParts(record, keys)
        .map(({ plaintext }) => valuesIn(plaintext))
        .reduce<PersonalValues>(
          // Not Object.assign: a key may be __proto__.
          (all, values) => ({
            ...all,
            ...values,
            details: { ...all.details, ...values.details },
            changes: { ...all.changes, ...values.changes },
          }),
          {},
        );
    },

    disclose: (record, keys) =>
      openedParts(record, keys).map(({ subjectId, plaintext }) => ({
        subjectId,
        salt: plaintext.subarray(0, SALT_BYTES).toString('base64'),
        values: valuesIn(plaintext),
      })),

    isIntact: (record, keys) =>
      openedParts(record, keys).every(({ plaintext, commitment }) => sha256(plaintext).equals(commitment)),

    emailHmac: (email) => hmac256(emails, email),
  };
}

/** What a record commits to of its personal values. */
export function commitmentsOf(pii: Buffer | null): Commitment[] {
  return partsOf(pii).map(({ subject, commitment }) => ({
    subjectId: uuidOf(subject),
    hash: commitment.toString('hex'),
  }));
}

/** What a record's leaf is made of: commitments in place of its personal values. */
export function leafRecord<Row extends Omit<LeafRecord, 'commitments'> & Pick<Sealed, 'pii'>>(
  row: Row,
): Row & LeafRecord {
  return { ...row, commitments: commitmentsOf(row.pii) };
}

/** The subject for an e-mail no account has: a UUIDv8 (RFC 9562) of its keyed hash, so the same e-mail is the same subject. */
export function subjectOfEmail(emailHmac: Buffer): string {
  const bytes = Buffer.from(emailHmac.subarray(0, SUBJECT_BYTES));
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return uuidOf(bytes);
}

function sealPart(key: Buffer, subjectId: string, values: PersonalValues): Buffer {
  const plaintext = Buffer.concat([randomBytes(SALT_BYTES), Buffer.from(JSON.stringify(values))]);
  const subject = bytesOf(subjectId);
  const box = sealBox(key, plaintext, subject);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(box.length);
  return Buffer.concat([subject, sha256(plaintext), length, box]);
}

/** The parts of those whose keys are given. */
function openedParts({ tenantId, pii }: Sealed, keys: SubjectKeys) {
  return partsOf(pii).flatMap(({ subject, commitment, box }) => {
    const subjectId = uuidOf(subject);
    const key = keys.get(keyName({ tenantId, subjectId }));
    return key ? [{ subjectId, commitment, plaintext: openBox(key, box, subject) }] : [];
  });
}

function valuesIn(plaintext: Buffer): PersonalValues {
  return JSON.parse(plaintext.subarray(SALT_BYTES).toString()) as PersonalValues;
}

function partsOf(pii: Buffer | null): { subject: Buffer; commitment: Buffer; box: Buffer }[] {
  const parts = [];
  const bytes = pii ?? Buffer.of();
  let at = 0;
  while (at < bytes.length) {
    const commitmentAt = at + SUBJECT_BYTES;
    const lengthAt = commitmentAt + COMMITMENT_BYTES;
    const boxAt = lengthAt + LENGTH_BYTES;
    const end = boxAt + bytes.readUInt32BE(lengthAt);
    parts.push({
      subject: bytes.subarray(at, commitmentAt),
      commitment: bytes.subarray(commitmentAt, lengthAt),
      box: bytes.subarray(boxAt, end),
    });
    at = end;
  }
  return parts;
}

function keyName({ tenantId, subjectId }: SubjectRef): string {
  return `${tenantId}/${subjectId}`;
}

function pair<Value>(name: string, value: Value | undefined): [string, Value][] {
  return value === undefined ? [] : [[name, value]];
}

function bytesOf(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}
