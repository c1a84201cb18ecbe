import { and, eq, isNull, sql } from 'drizzle-orm';
import { check, integer, pgTable, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';

import { type Batch, confinedTo } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import type { SubscriptionTier, TenantStatus } from '../generated/types.ts';
import { timestamptz, uuidArray } from '../platform/columns.ts';
import type { Page } from '../platform/page.ts';

export const tenants = pgTable(
  'tenants',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    subdomain: text('subdomain').notNull(),
    status: text('status').$type<TenantStatus>().notNull(),
    statusReason: text('status_reason'),
    tier: text('tier').$type<SubscriptionTier>().notNull(),
    maxUsers: integer('max_users'),
    maxBranches: integer('max_branches'),
    startsAt: timestamptz('starts_at'),
    endsAt: timestamptz('ends_at'),
    createdAt: timestamptz('created_at').notNull(),
    updatedAt: timestamptz('updated_at').notNull(),
    deletedAt: timestamptz('deleted_at'),
  },
  (table) => [
    uniqueIndex('tenants_subdomain_key')
      .on(table.subdomain)
      .where(sql`deleted_at is null`),
    check('tenants_status', sql`status in ('ACTIVE', 'INACTIVE')`),
    check('tenants_tier', sql`tier in ('FREE', 'STARTER', 'PROFESSIONAL', 'ENTERPRISE')`),
  ],
);

export type TenantRow = typeof tenants.$inferSelect;
/** @public The mapper of TenantConnection, named in codegen.ts. */
export type TenantPage = Page<TenantRow>;

export const TENANT = entity<TenantRow>()({
  resource: 'TENANT',
  columns: {
    id: 'OMIT',
    name: 'TRACK',
    subdomain: 'TRACK',
    status: 'TRACK',
    statusReason: 'TRACK',
    tier: 'TRACK',
    maxUsers: 'TRACK',
    maxBranches: 'TRACK',
    startsAt: 'TRACK',
    endsAt: 'TRACK',
    createdAt: 'OMIT',
    updatedAt: 'OMIT',
    deletedAt: 'TRACK',
  },
  id: (tenant) => tenant.id,
  tenantId: (tenant) => tenant.id,
  label: (tenant) => tenant.name,
});

/** Tenants by id, as far as the asker may see them; deleted ones are not. */
export const tenantById: Batch<string, TenantRow | null> = async ({ tx, actor }, ids) => {
  const own = confinedTo(actor);
  const rows = await tx
    .select()
    .from(tenants)
    .where(
      and(
        own ? eq(tenants.id, own) : undefined,
        sql`${tenants.id} = any(${uuidArray(ids)}::uuid[])`,
        isNull(tenants.deletedAt),
      ),
    );
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id) ?? null);
};
