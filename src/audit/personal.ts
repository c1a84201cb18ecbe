/**
 * Personal values in the log. Each person has a key a tenant; a record holds their values sealed under it, beside a
 * commitment to them in clear. Destroying the key erases the values in every record, copy and archive, and no proof
 * breaks, because the leaf holds the commitment (see ledger/leaf.ts).
 *
 * Layout of `audit_logs.pii`, a part a person: subject id (16 bytes) | commitment (32) | length of the box (4, big endian)
 * | box = AES-256-GCM(salt (16) | JSON of the values), with the subject id as associated data.
 */
import { randomBytes } from 'node:crypto';

import { and, eq, sql } from 'drizzle-orm';

import type { Commitment } from '../ledger/leaf.ts';
import { deriveKey, hmac256, KEY_BYTES, openBox, sealBox, sha256 } from '../platform/crypto.ts';
import { uuidArray } from '../platform/columns.ts';
import type { ReadTx, Tx } from '../platform/db.ts';
import { subjectKeys } from './tables.ts';

const SUBJECT_BYTES = 16;
const COMMITMENT_BYTES = 32;
const LENGTH_BYTES = 4;
const SALT_BYTES = 16;

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

/** Seals and opens personal values; makes keys as people first appear. */
export interface PersonalVault {
  /** Seals a record's values by person. `now` dates keys that are made. */
  seal(
    tx: Tx,
    tenantId: string,
    values: ReadonlyMap<string, PersonalValues>,
    now: string,
  ): Promise<Buffer | null>;
  /** The keys for what many records hold, by `keyName`; an erased person's is absent. One statement. */
  keys(
    tx: ReadTx,
    records: readonly { tenantId: string; pii: Buffer | null }[],
  ): Promise<ReadonlyMap<string, Buffer>>;
  /** What a record holds of the people whose keys are given, merged. */
  open(record: { tenantId: string; pii: Buffer | null }, keys: ReadonlyMap<string, Buffer>): PersonalValues;
  /** Keyed HMAC of an e-mail: finds it without storing it. */
  emailHmac(email: string): Buffer;
}

/** Opens the vault under the master key. */
export function openVault(master: Buffer): PersonalVault {
  const wrapping = deriveKey(master, 'custos subject keys');
  const emails = deriveKey(master, 'custos e-mail hmac');

  async function keyFor(tx: Tx, ref: SubjectRef, now: string): Promise<Buffer> {
    const made = randomBytes(KEY_BYTES);
    await tx
      .insert(subjectKeys)
      .values({ ...ref, wrappedKey: sealBox(wrapping, made, nameBytes(ref)), createdAt: now })
      .onConflictDoNothing();
    // Read back in a statement of its own: a key made at the same time by another transaction is visible only now.
    const [row] = await tx.select().from(subjectKeys).where(isSubject(ref));
    return openBox(wrapping, row!.wrappedKey, nameBytes(ref));
  }

  return {
    async seal(tx, tenantId, values, now) {
      const parts: Buffer[] = [];
      // In the order of the ids: two records about the same people never wait for each other's new keys crosswise.
      for (const [subjectId, personal] of [...values].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const key = await keyFor(tx, { tenantId, subjectId }, now);
        parts.push(sealPart(key, subjectId, personal));
      }
      return parts.length > 0 ? Buffer.concat(parts) : null;
    },

    async keys(tx, records) {
      const refs = new Map<string, SubjectRef>();
      for (const { tenantId, pii } of records) {
        for (const { subjectId } of partsOf(pii))
          refs.set(keyName({ tenantId, subjectId }), { tenantId, subjectId });
      }
      if (refs.size === 0) return new Map();
      const named = [...refs.values()];
      const rows = await tx
        .select()
        .from(subjectKeys)
        .where(
          sql`(tenant_id, subject_id) in (select * from unnest(
            ${uuidArray(named.map((ref) => ref.tenantId))}::uuid[], ${uuidArray(named.map((ref) => ref.subjectId))}::uuid[]))`,
        );
      return new Map(rows.map((row) => [keyName(row), openBox(wrapping, row.wrappedKey, nameBytes(row))]));
    },

    open({ tenantId, pii }, keys) {
      const opened = partsOf(pii).flatMap(({ subjectId, box }) => {
        const key = keys.get(keyName({ tenantId, subjectId }));
        return key ? [openPart(key, subjectId, box)] : [];
      });
      return opened.reduce<PersonalValues>(
        (all, values) => ({
          ...all,
          ...values,
          details: { ...all.details, ...values.details },
          changes: { ...all.changes, ...values.changes },
        }),
        {},
      );
    },

    emailHmac: (email) => hmac256(emails, email),
  };
}

/** What a record commits to of its personal values. */
export function commitmentsOf(pii: Buffer | null): Commitment[] {
  return partsOf(pii).map(({ subjectId, commitment }) => ({ subjectId, hash: commitment.toString('hex') }));
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

function openPart(key: Buffer, subjectId: string, box: Buffer): PersonalValues {
  const plaintext = openBox(key, box, bytesOf(subjectId));
  return JSON.parse(plaintext.subarray(SALT_BYTES).toString()) as PersonalValues;
}

function partsOf(pii: Buffer | null): { subjectId: string; commitment: Buffer; box: Buffer }[] {
  const parts = [];
  const bytes = pii ?? Buffer.of();
  let at = 0;
  while (at < bytes.length) {
    const commitmentAt = at + SUBJECT_BYTES;
    const lengthAt = commitmentAt + COMMITMENT_BYTES;
    const boxAt = lengthAt + LENGTH_BYTES;
    const end = boxAt + bytes.readUInt32BE(lengthAt);
    parts.push({
      subjectId: uuidOf(bytes.subarray(at, commitmentAt)),
      commitment: bytes.subarray(commitmentAt, lengthAt),
      box: bytes.subarray(boxAt, end),
    });
    at = end;
  }
  return parts;
}

function isSubject({ tenantId, subjectId }: SubjectRef) {
  return and(eq(subjectKeys.tenantId, tenantId), eq(subjectKeys.subjectId, subjectId));
}

function keyName({ tenantId, subjectId }: SubjectRef): string {
  return `${tenantId}/${subjectId}`;
}

function nameBytes(ref: SubjectRef): Buffer {
  return Buffer.from(keyName(ref));
}

function bytesOf(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

function uuidOf(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
