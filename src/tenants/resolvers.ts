import { and, eq, isNull, or, sql } from 'drizzle-orm';

import { confinedTo, type Context, type Deeds, type Fields } from '../audit/act.ts';
import { pageOfTable } from '../audit/list.ts';
import type {
  QueryResolvers,
  Tenant,
  TenantConnectionResolvers,
  TenantResolvers,
  TenantSubscription,
  TenantSubscriptionResolvers,
} from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { connection } from '../platform/page.ts';
import { tenantById, type TenantRow, tenants } from './tables.ts';
import {
  activateTenant,
  createTenant,
  deactivateTenant,
  deleteTenant,
  updateTenant,
  updateTenantSubscription,
} from './tenants.ts';

export const deeds = {
  createTenant,
  updateTenant,
  updateTenantSubscription,
  activateTenant,
  deactivateTenant,
  deleteTenant,
} satisfies Partial<Deeds>;

export const queries = {
  tenant: (_root, { id }, context) => visibleTenant(context, id),

  tenants: (_root, { status, search, ...page }, context) => {
    const prefix = search?.trim().toLowerCase();
    const wanted = and(
      isNull(tenants.deletedAt),
      status ? eq(tenants.status, status) : undefined,
      prefix
        ? or(
            sql`starts_with(lower(${tenants.name}), ${prefix})`,
            sql`starts_with(${tenants.subdomain}, ${prefix})`,
          )
        : undefined,
    );
    return pageOfTable(context, tenants, wanted, { kind: 'tenants', binding: [status, prefix] }, page);
  },
} satisfies Partial<QueryResolvers>;

/** A tenant the caller may see: its own, or for those of the platform any. */
export async function visibleTenant(context: Context, id: string): Promise<TenantRow | null> {
  const uuid = asUuid(id);
  const own = confinedTo(context.actor);
  return uuid !== undefined && (own === undefined || own === uuid)
    ? await context.load(tenantById, uuid)
    : null;
}

export const types = {
  Tenant: { subscription: (tenant) => tenant } satisfies Fields<Tenant, TenantRow, TenantResolvers>,
  TenantSubscription: {} satisfies Fields<TenantSubscription, TenantRow, TenantSubscriptionResolvers>,
  TenantConnection: connection satisfies TenantConnectionResolvers,
};
