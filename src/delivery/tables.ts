import { sql } from 'drizzle-orm';
import { check, index, integer, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';

import type { Condition } from '../audit/filter.ts';
import type { AuditLogFilter, AuditRecordFormat, Scope, WebhookState } from '../generated/types.ts';
import { bigint, bytea, jsonb, timestamptz } from '../platform/columns.ts';

/** Where records of a log are sent to. */
export const webhooks = pgTable(
  'webhooks',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    url: text('url').notNull(),
    description: text('description'),
    format: text('format').$type<AuditRecordFormat>().notNull(),
    /** As it was given. */
    filter: jsonb<AuditLogFilter>()('filter'),
    condition: jsonb<Condition>()('condition').notNull(),
    /** What signs, encrypted. */
    secret: bytea('secret').notNull(),
    state: text('state').$type<WebhookState>().notNull(),
    pausedBecause: text('paused_because'),
    createdBy: uuid('created_by'),
    createdAt: timestamptz('created_at').notNull(),
    updatedAt: timestamptz('updated_at').notNull(),
    deletedAt: timestamptz('deleted_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('webhooks_id').on(table.id),
    check('webhooks_state', sql`state in ('ACTIVE', 'PAUSED')`),
  ],
);

export type WebhookRow = typeof webhooks.$inferSelect;

/** How far a webhook has come. */
export const webhookCursors = pgTable(
  'webhook_cursors',
  {
    tenantId: uuid('tenant_id').notNull(),
    webhookId: uuid('webhook_id').notNull(),
    /** The position that is looked at next. */
    nextSeq: bigint('next_seq').notNull(),
    /** How often it has failed since it last did not. */
    attempts: integer('attempts').notNull(),
    failingSince: timestamptz('failing_since'),
    nextAttemptAt: timestamptz('next_attempt_at').notNull(),
    deliveredAt: timestamptz('delivered_at'),
    /** Who delivers, and until when nobody else does. */
    lease: uuid('lease'),
    leasedUntil: timestamptz('leased_until'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.webhookId] }),
    index('webhook_cursors_due').on(table.nextAttemptAt),
  ],
);

export type WebhookCursor = typeof webhookCursors.$inferSelect;

/** Each attempt to deliver. */
export const webhookDeliveries = pgTable(
  'webhook_deliveries',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    webhookId: uuid('webhook_id').notNull(),
    /** What the receiver knows the message by. */
    messageId: text('message_id').notNull(),
    /** The record, and its position; null for a test. */
    recordId: uuid('record_id'),
    position: bigint('position'),
    attempt: integer('attempt').notNull(),
    attemptedAt: timestamptz('attempted_at').notNull(),
    durationMs: integer('duration_ms').notNull(),
    status: integer('status'),
    /** Why no answer came. */
    error: text('error'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('webhook_deliveries_webhook').on(table.tenantId, table.webhookId, table.id),
    index('webhook_deliveries_expiry').on(table.attemptedAt),
  ],
);

export type WebhookDeliveryRow = typeof webhookDeliveries.$inferSelect;

export const API_KEY_PREFIX = 'custos_';

/** What programs act with. */
export const apiKeys = pgTable(
  'api_keys',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    name: text('name').notNull(),
    /** SHA-256 of the key. */
    hash: bytea('hash').notNull(),
    hint: text('hint').notNull(),
    scopes: jsonb<readonly Scope[]>()('scopes').notNull(),
    createdBy: uuid('created_by'),
    createdAt: timestamptz('created_at').notNull(),
    expiresAt: timestamptz('expires_at'),
    revokedAt: timestamptz('revoked_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('api_keys_id').on(table.id),
    uniqueIndex('api_keys_hash').on(table.hash),
  ],
);

export type ApiKeyRow = typeof apiKeys.$inferSelect;

/** What events of other applications look like. A version is never changed. */
export const eventTypes = pgTable(
  'event_types',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    name: text('name').notNull(),
    version: integer('version').notNull(),
    description: text('description'),
    schema: jsonb<object>()('schema').notNull(),
    createdBy: uuid('created_by'),
    createdAt: timestamptz('created_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.name, table.version] }),
    index('event_types_id').on(table.id),
  ],
);

export type EventTypeRow = typeof eventTypes.$inferSelect;

/** Which events were recorded lately. */
export const auditEventKeys = pgTable(
  'audit_event_keys',
  {
    tenantId: uuid('tenant_id').notNull(),
    key: text('key').notNull(),
    recordId: uuid('record_id').notNull(),
    createdAt: timestamptz('created_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.key] }),
    index('audit_event_keys_expiry').on(table.createdAt),
  ],
);
