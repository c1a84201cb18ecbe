import { sql } from 'drizzle-orm';
import {
  boolean,
  check,
  customType,
  index,
  integer,
  pgTable,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';

import type { ActorType, AuditReadKind, AuditTransport, ErrorReason, Role } from '../generated/types.ts';
import { bigint, bytea, inet, jsonb, timestamptz, xid8 } from '../platform/columns.ts';
import type { Change } from './entity.ts';

/** A snapshot as Postgres writes it: `xmin:xmax:xip,...`. */
const pgSnapshot = customType<{ data: string }>({ dataType: () => 'pg_snapshot' });

/** The tenant id of what belongs to no tenant: the platform itself. GraphQL shows null. */
export const PLATFORM_TENANT = '00000000-0000-0000-0000-000000000000';

/** Version of the record format, and so of the bytes under `leaf_hash`. */
export const SCHEMA_VERSION = 1;

/** The clear part of who acted; e-mail and name are in `pii`. */
export interface RecordedActor {
  readonly type: ActorType;
  readonly role?: Role;
  readonly sessionId?: string;
  readonly apiKeyId?: string;
  readonly apiKeyName?: string;
  /** What acted, where the system did: such as `bootstrap`. */
  readonly system?: string;
}

/** How the call came in. */
export interface RecordedContext {
  readonly transport: AuditTransport;
  readonly operationName?: string;
  readonly fieldPath?: string;
  readonly documentHash?: string;
  readonly forwardedFor?: readonly string[];
}

/** In rising order: the number is what `audit_logs.severity` holds. */
export const SEVERITIES = ['INFO', 'NOTICE', 'WARNING', 'ERROR', 'CRITICAL'] as const;

/** What a record's severity is at least, whatever its action's. */
export const LEAST_SEVERITY = {
  success: SEVERITIES.indexOf('INFO'),
  failure: SEVERITIES.indexOf('WARNING'),
  error: SEVERITIES.indexOf('ERROR'),
};

/**
 * The log. Partitioned by month on `id` (a UUIDv7, so the id is the time); append-only; without foreign keys, because a
 * record outlives what it tells of. Every index ends in `id`, so that each documented filter is served in order.
 */
export const auditLogs = pgTable(
  'audit_logs',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    /** The writing transaction: what the sealer's snapshot difference works on. */
    tx: xid8('tx')
      .notNull()
      .default(sql`pg_current_xact_id()`),
    createdAt: timestamptz('created_at').notNull(),
    operationId: uuid('operation_id').notNull(),
    schemaVersion: smallint('schema_version').notNull(),
    userId: uuid('user_id'),
    actor: jsonb<RecordedActor>()('actor').notNull(),
    /** The key of the action, such as `auth.login`. */
    action: text('action').notNull(),
    resource: text('resource').notNull(),
    resourceId: uuid('resource_id'),
    /** What the object was called; null where the name is personal (then it is in `pii`). */
    resourceName: text('resource_name'),
    status: text('status').$type<'success' | 'failure' | 'error'>().notNull(),
    failure: text('failure').$type<ErrorReason>(),
    severity: smallint('severity').notNull(),
    security: boolean('security').notNull().default(false),
    ipAddress: inet('ip_address'),
    userAgent: text('user_agent'),
    requestId: text('request_id').notNull(),
    context: jsonb<RecordedContext>()('context').notNull(),
    details: jsonb<Record<string, unknown>>()('details').notNull(),
    changes: jsonb<readonly Change[]>()('changes').notNull(),
    /** Keyed HMAC of an attempted e-mail. */
    subjectHmac: bytea('subject_hmac'),
    /** Personal values, sealed under their subjects' keys; see audit/personal.ts. */
    pii: bytea('pii'),
    /** RFC 6962 leaf hash of the canonical record; see ledger/leaf.ts. */
    leafHash: bytea('leaf_hash').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('audit_logs_id').on(table.id),
    index('audit_logs_user').on(table.tenantId, table.userId, table.id),
    index('audit_logs_action').on(table.tenantId, table.action, table.id),
    index('audit_logs_resource').on(table.tenantId, table.resourceId, table.id),
    index('audit_logs_address').on(table.tenantId, table.ipAddress, table.id),
    index('audit_logs_failed')
      .on(table.tenantId, table.id)
      .where(sql`status <> 'success'`),
    index('audit_logs_security')
      .on(table.tenantId, table.id)
      .where(sql`security`),
    index('audit_logs_failed_ip')
      .on(table.tenantId, table.ipAddress, table.id)
      .where(sql`status <> 'success'`),
    index('audit_logs_subject')
      .on(table.tenantId, table.subjectHmac, table.id)
      .where(sql`subject_hmac is not null`),
    index('audit_logs_request').on(table.requestId, table.id),
    index('audit_logs_tx').on(table.tx, table.id),
    check('audit_logs_status', sql`status in ('success', 'failure', 'error')`),
    check('audit_logs_severity', sql`severity between 0 and 4`),
    check('audit_logs_leaf', sql`octet_length(leaf_hash) = 32`),
  ],
);

/** A record as it stands in the table. */
export type AuditLogRow = typeof auditLogs.$inferSelect;

/** One key a person and tenant, wrapped by the master key. Destroying it erases the person's values in every record. */
export const subjectKeys = pgTable(
  'subject_keys',
  {
    tenantId: uuid('tenant_id').notNull(),
    subjectId: uuid('subject_id').notNull(),
    wrappedKey: bytea('wrapped_key').notNull(),
    createdAt: timestamptz('created_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.subjectId] })],
);

/** The durable order: a row a batch and tenant. Append-only. */
export const auditSeals = pgTable(
  'audit_seals',
  {
    tenantId: uuid('tenant_id').notNull(),
    /** Position of the first record in its tenant's order, from 0. */
    firstSeq: bigint('first_seq').notNull(),
    /** Position of the first record in the order of all, from 0. */
    firstPos: bigint('first_pos').notNull(),
    count: integer('count').notNull(),
    /** Least and greatest id inside: where the position of a record is looked up. */
    minId: uuid('min_id').notNull(),
    maxId: uuid('max_id').notNull(),
    /** 16 bytes a record, in order. */
    ids: bytea('ids').notNull(),
    /** The leaves of the tenant's tree: 32 bytes a record, in the same order. */
    leaves: bytea('leaves').notNull(),
    sealedAt: timestamptz('sealed_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.firstSeq] }),
    index('audit_seals_pos').on(table.firstPos),
    index('audit_seals_ids').on(table.tenantId, table.maxId),
  ],
);

/** How many records of a tenant are sealed. */
export const auditTrees = pgTable('audit_trees', {
  tenantId: uuid('tenant_id').primaryKey(),
  size: bigint('size').notNull(),
});

/**
 * The trees above their leaves, in tiles of up to 256 hashes (ledger/tiles.ts), from level 1 up: level 0 are the leaves in
 * `audit_seals`. Tiles only grow. They follow from the leaves, so whoever completes them writes the same.
 */
export const auditTiles = pgTable(
  'audit_tiles',
  {
    tenantId: uuid('tenant_id').notNull(),
    level: smallint('level').notNull(),
    index: bigint('index').notNull(),
    hashes: bytea('hashes').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.level, table.index] }),
    check('audit_tiles_level', sql`level > 0`),
    check(
      'audit_tiles_hashes',
      sql`octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0`,
    ),
  ],
);

/** The signed heads of the trees: see ledger/checkpoint.ts. Append-only. */
export const auditCheckpoints = pgTable(
  'audit_checkpoints',
  {
    tenantId: uuid('tenant_id').notNull(),
    size: bigint('size').notNull(),
    note: text('note').notNull(),
    createdAt: timestamptz('created_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.size] })],
);

/** Whose ledger this is; one row, written when it begins. What was signed stays good only under the same name and key. */
export const auditLedger = pgTable(
  'audit_ledger',
  {
    one: boolean('one').primaryKey().default(true),
    /** What the names of all trees begin with; see audit/signer.ts. */
    name: text('name').notNull(),
    /** The key of the name `ledger`, as a verifier key is written. */
    verifierKey: text('verifier_key').notNull(),
  },
  () => [check('audit_ledger_one', sql`one`)],
);

/** How far the walk over a tenant's log that checks it again and again has come. */
export const auditVerifications = pgTable('audit_verifications', {
  tenantId: uuid('tenant_id').primaryKey(),
  /** How many records have been found unaltered at least once. */
  verifiedTo: bigint('verified_to').notNull(),
  /** Where the walk goes on. */
  nextSeq: bigint('next_seq').notNull(),
  /** When it is its turn again. */
  dueAt: timestamptz('due_at').notNull(),
  /** The first record that was found wrong, and has been reported. */
  faultAt: bigint('fault_at'),
});

/** The sealer's one row: how far the log is sealed. Its row lock is the election. */
export const auditSealer = pgTable(
  'audit_sealer',
  {
    one: boolean('one').primaryKey().default(true),
    /** Every transaction visible in this snapshot is sealed. */
    sealed: pgSnapshot('sealed').notNull(),
    /** A later snapshot that is being sealed in batches; null between drains. */
    target: pgSnapshot('target'),
    /** The last record sealed of `target`. */
    targetTx: xid8('target_tx'),
    targetId: uuid('target_id'),
    /** The next global position. */
    pos: bigint('pos').notNull(),
    /** The cluster the snapshots belong to: transaction ids mean nothing in another. */
    systemIdentifier: bigint('system_identifier').notNull(),
  },
  () => [check('audit_sealer_one', sql`one`)],
);

/** The log in numbers: how many records a tenant has of a kind, by the hour of their id. Kept by the sealer. */
export const auditHours = pgTable(
  'audit_hours',
  {
    tenantId: uuid('tenant_id').notNull(),
    hour: timestamptz('hour').notNull(),
    action: text('action').notNull(),
    status: text('status').$type<AuditLogRow['status']>().notNull(),
    severity: smallint('severity').notNull(),
    count: bigint('count').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.hour, table.action, table.status, table.severity] }),
    index('audit_hours_hour').on(table.hour),
  ],
);

/**
 * Which records changed a field: the way into the log for whoever asks. Partitioned as the log is; append-only; kept by the
 * sealer, and it follows from the records: what a record changed is what it says itself.
 */
export const auditChanges = pgTable(
  'audit_changes',
  {
    tenantId: uuid('tenant_id').notNull(),
    /** The `path` of a change. */
    field: text('field').notNull(),
    id: uuid('id').notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.field, table.id] })],
);

/** Who acted, from where and with what, by the day (UTC) of the record's id. Kept by the sealer. */
export const auditFacets = pgTable(
  'audit_facets',
  {
    tenantId: uuid('tenant_id').notNull(),
    day: timestamptz('day').notNull(),
    facet: text('facet').$type<'actor' | 'address' | 'device'>().notNull(),
    value: text('value').notNull(),
    count: bigint('count').notNull(),
    failures: bigint('failures').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.day, table.facet, table.value] }),
    index('audit_facets_day').on(table.day, table.facet),
    check('audit_facets_facet', sql`facet in ('actor', 'address', 'device')`),
  ],
);

/** A month of a log that was written to a file, to be dropped, or has been. */
export const auditArchives = pgTable(
  'audit_archives',
  {
    tenantId: uuid('tenant_id').notNull(),
    /** Such as `2026-01`, in UTC. */
    month: text('month').notNull(),
    /** Where the file lies in the archive. */
    file: text('file').notNull(),
    bytes: bigint('bytes').notNull(),
    sha256: text('sha256').notNull(),
    manifest: text('manifest').notNull(),
    /** The records of the month. */
    rows: bigint('rows').notNull(),
    /** The positions among which they are, the latter excluded. */
    fromSeq: bigint('from_seq').notNull(),
    toSeq: bigint('to_seq').notNull(),
    archivedAt: timestamptz('archived_at').notNull(),
    /** The record that tells that the month was dropped; null while it was not. */
    recordId: uuid('record_id'),
    droppedAt: timestamptz('dropped_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.month] }),
    check('audit_archives_month', sql`month ~ '^\\d{4}-\\d{2}$'`),
  ],
);

export type AuditArchiveRow = typeof auditArchives.$inferSelect;

/** When retention was last looked after for a log. */
export const auditRetention = pgTable('audit_retention', {
  tenantId: uuid('tenant_id').primaryKey(),
  lastRunAt: timestamptz('last_run_at').notNull(),
});

/** Who read which log, with what they asked for: queries once in ten minutes, streams and files each. */
export const auditReads = pgTable(
  'audit_reads',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    readerType: text('reader_type').$type<ActorType>().notNull(),
    readerId: uuid('reader_id').notNull(),
    kind: text('kind').$type<AuditReadKind>().notNull(),
    query: text('query').notNull(),
    /** Without what may name somebody. */
    args: jsonb<Readonly<Record<string, unknown>>>()('args').notNull(),
    /** Keyed hash of all that was asked for. */
    asked: bytea('asked').notNull(),
    /** What comes again within it is not kept again; for streams and files their own time. */
    since: timestamptz('since').notNull(),
    readAt: timestamptz('read_at').notNull(),
    ipAddress: inet('ip_address'),
    userAgent: text('user_agent'),
    requestId: text('request_id').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueIndex('audit_reads_once').on(table.tenantId, table.readerId, table.since, table.asked),
    check('audit_reads_kind', sql`kind in ('QUERY', 'STREAM', 'FILE')`),
  ],
);

export type AuditReadRow = typeof auditReads.$inferSelect;
