import canonicalize from 'canonicalize';

import { sha256 } from '../platform/crypto.ts';

/** What a record commits to of each person's values: the hash of a salt and the values, never the values. */
export interface Commitment {
  readonly subjectId: string;
  /** SHA-256(salt || JSON of the values), hexadecimal. */
  readonly hash: string;
}

/** What a leaf is made of: the columns of a record, with commitments in place of personal values. */
export interface LeafRecord {
  readonly tenantId: string;
  readonly id: string;
  readonly createdAt: string;
  readonly operationId: string;
  readonly schemaVersion: number;
  readonly userId: string | null;
  readonly actor: unknown;
  readonly action: string;
  readonly resource: string;
  readonly resourceId: string | null;
  readonly resourceName: string | null;
  readonly status: string;
  readonly failure: string | null;
  readonly severity: number;
  readonly security: boolean;
  readonly ipAddress: string | null;
  readonly userAgent: string | null;
  readonly requestId: string;
  readonly context: unknown;
  readonly details: unknown;
  readonly changes: unknown;
  readonly subjectHmac: Buffer | null;
  readonly commitments: readonly Commitment[];
}

/** Marks a leaf, so that no inner node of the tree can be passed off as one (RFC 6962, 2.1). */
const LEAF_PREFIX = Buffer.of(0);

/** The bytes a record is proven by: RFC 8785 canonical JSON, the same whichever way the record was read. */
export function canonicalRecord(record: LeafRecord): string {
  const fields: { [Field in keyof LeafRecord]: unknown } = {
    tenantId: record.tenantId,
    id: record.id,
    createdAt: record.createdAt,
    operationId: record.operationId,
    schemaVersion: record.schemaVersion,
    userId: record.userId,
    actor: record.actor,
    action: record.action,
    resource: record.resource,
    resourceId: record.resourceId,
    resourceName: record.resourceName,
    status: record.status,
    failure: record.failure,
    severity: record.severity,
    security: record.security,
    ipAddress: record.ipAddress,
    userAgent: record.userAgent,
    requestId: record.requestId,
    context: record.context,
    details: record.details,
    changes: record.changes,
    subjectHmac: record.subjectHmac?.toString('hex') ?? null,
    commitments: record.commitments.map(({ subjectId, hash }) => ({ subjectId, hash })),
  };
  return canonicalize(fields)!;
}

/** The RFC 6962 leaf hash of a record. */
export function leafHash(record: LeafRecord): Buffer {
  return hashOfRecord(canonicalRecord(record));
}

/** The same of a record in its canonical form. */
export function hashOfRecord(canonical: string): Buffer {
  return sha256(Buffer.concat([LEAF_PREFIX, Buffer.from(canonical)]));
}

/** What a record commits to of a person's values. */
export function commitmentOf(salt: Buffer, values: unknown): Buffer {
  return sha256(Buffer.concat([salt, Buffer.from(JSON.stringify(values))]));
}
