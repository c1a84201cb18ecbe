import { sql } from 'drizzle-orm';
import { check, index, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';

import type { Condition } from '../audit/filter.ts';
import type { AuditExportFormat, AuditExportState, AuditLogFilter } from '../generated/types.ts';
import { bigint, bytea, jsonb, timestamptz } from '../platform/columns.ts';

/** A log, or a part of it, that somebody wants as a file. */
export const auditExports = pgTable(
  'audit_exports',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    requestedBy: uuid('requested_by'),
    format: text('format').$type<AuditExportFormat>().notNull(),
    /** As it was given. */
    filter: jsonb<AuditLogFilter>()('filter'),
    /** What of the log goes into the file. */
    condition: jsonb<Condition>()('condition').notNull(),
    state: text('state').$type<AuditExportState>().notNull(),
    /** The position up to which the log has been gone through, and the one at which it ends. */
    nextSeq: bigint('next_seq').notNull(),
    endSeq: bigint('end_seq').notNull(),
    rows: bigint('rows').notNull(),
    bytes: bigint('bytes').notNull(),
    firstPosition: bigint('first_position'),
    lastPosition: bigint('last_position'),
    manifest: text('manifest'),
    error: text('error'),
    createdAt: timestamptz('created_at').notNull(),
    finishedAt: timestamptz('finished_at'),
    expiresAt: timestamptz('expires_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('audit_exports_id').on(table.id),
    index('audit_exports_expiry').on(table.expiresAt),
    check('audit_exports_format', sql`format in ('CSV', 'NDJSON', 'PARQUET')`),
    check('audit_exports_state', sql`state in ('QUEUED', 'RUNNING', 'DONE', 'FAILED')`),
  ],
);

export type AuditExportRow = typeof auditExports.$inferSelect;

/** The file, in parts that are encrypted: each is added in the transaction that says how far the export has come. */
export const auditExportParts = pgTable(
  'audit_export_parts',
  {
    tenantId: uuid('tenant_id').notNull(),
    exportId: uuid('export_id').notNull(),
    number: integer('number').notNull(),
    body: bytea('body').notNull(),
    /** What the end of the file says of this part, where the format has such an end. */
    footer: bytea('footer'),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.exportId, table.number] })],
);

/** Why nothing may be dropped or erased: of a log, of what it says of a person, or in a time. */
export const legalHolds = pgTable(
  'legal_holds',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    /** Null for everybody. */
    userId: uuid('user_id'),
    /** Null for the beginning. */
    from: timestamptz('from_time'),
    /** Exclusive; null for no end. */
    to: timestamptz('to_time'),
    reason: text('reason').notNull(),
    placedBy: uuid('placed_by'),
    createdAt: timestamptz('created_at').notNull(),
    releasedAt: timestamptz('released_at'),
    releaseReason: text('release_reason'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('legal_holds_id').on(table.id),
    check('legal_holds_time', sql`from_time < to_time`),
  ],
);

export type LegalHoldRow = typeof legalHolds.$inferSelect;
