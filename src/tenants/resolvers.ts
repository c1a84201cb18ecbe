import { and, eq, isNull, or, type SQL, sql } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';

import { confinedTo, type Context, type Deeds, type Fields } from '../audit/act.ts';
import { pageOfTable } from '../audit/list.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type {
  Branch,
  BranchConnectionResolvers,
  BranchResolvers,
  OrganisationSettings,
  OrganisationSettingsResolvers,
  QueryResolvers,
  SecuritySettings,
  SecuritySettingsResolvers,
  SessionSettings,
  SessionSettingsResolvers,
  Settings,
  SettingsResolvers,
  Tenant,
  TenantConnectionResolvers,
  TenantResolvers,
  TenantSubscription,
  TenantSubscriptionResolvers,
} from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { connection } from '../platform/page.ts';
import { activateBranch, createBranch, deactivateBranch, deleteBranch, updateBranch } from './branches.ts';
import { updateSettings, visibleSettings } from './settings.ts';
import {
  branchById,
  branches,
  type BranchRow,
  type EffectiveSettings,
  seenBranches,
  tenantById,
  type TenantRow,
  tenants,
} from './tables.ts';
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
  createBranch,
  updateBranch,
  activateBranch,
  deactivateBranch,
  deleteBranch,
  updateSettings,
} satisfies Partial<Deeds>;

export const queries = {
  tenant: (_root, { id }, context) => visibleTenant(context, id),

  tenants: (_root, { status, search, ...page }, context) => {
    const prefix = search?.trim().toLowerCase();
    const wanted = and(
      isNull(tenants.deletedAt),
      status ? eq(tenants.status, status) : undefined,
      beginning(prefix, tenants.name, tenants.subdomain),
    );
    return pageOfTable(context, tenants, wanted, { kind: 'tenants', binding: [status, prefix] }, page);
  },

  branch: (_root, { id }, context) => visibleBranch(context, id),

  branches: (_root, { tenantId, status, search, ...page }, context) => {
    const { actor } = context;
    const prefix = search?.trim().toLowerCase();
    const wanted = and(
      seenBranches(actor),
      typeof tenantId === 'string' ? ofTenant(tenantId) : undefined,
      status ? eq(branches.status, status) : undefined,
      beginning(prefix, branches.name, branches.code),
    );
    const reader = actor.type === 'USER' && [confinedTo(actor), actor.scopes.has('USERS_READ') || actor.id];
    const binding = [reader, tenantId, status, prefix];
    return pageOfTable(context, branches, wanted, { kind: 'branches', binding }, page);
  },

  settings: (_root, { tenantId }, context) => visibleSettings(context, tenantId),
} satisfies Partial<QueryResolvers>;

/** One of the columns begins so, whatever its case. */
function beginning(prefix: string | undefined, ...columns: readonly PgColumn[]): SQL | undefined {
  return prefix ? or(...columns.map((column) => sql`starts_with(lower(${column}), ${prefix})`)) : undefined;
}

/** What is not an id is no tenant's. */
function ofTenant(id: string): SQL {
  const uuid = asUuid(id);
  return uuid === undefined ? sql`false` : eq(branches.tenantId, uuid);
}

/** A branch the caller may see. */
export async function visibleBranch(context: Context, id: string): Promise<BranchRow | null> {
  const uuid = asUuid(id);
  return uuid === undefined ? null : await context.load(branchById, uuid);
}

/** Whether the caller sees more of a tenant than what is public in it. */
function seesSettings({ actor }: Context): boolean {
  return actor.type === 'USER' && actor.scopes.has('SETTINGS_READ');
}

/** A tenant the caller may see: its own, or for those of the platform any. */
export async function visibleTenant(context: Context, id: string): Promise<TenantRow | null> {
  const uuid = asUuid(id);
  const own = confinedTo(context.actor);
  return uuid !== undefined && (own === undefined || own === uuid)
    ? await context.load(tenantById, uuid)
    : null;
}

export const types = {
  Tenant: {
    subscription: (tenant, _args, context) => (seesSettings(context) ? tenant : null),
  } satisfies Fields<Tenant, TenantRow, TenantResolvers>,
  TenantSubscription: {} satisfies Fields<TenantSubscription, TenantRow, TenantSubscriptionResolvers>,
  TenantConnection: connection satisfies TenantConnectionResolvers,
  Branch: {
    tenant: (branch, _args, context) => context.load(tenantById, branch.tenantId),
  } satisfies Fields<Branch, BranchRow, BranchResolvers>,
  BranchConnection: connection satisfies BranchConnectionResolvers,
  Settings: {
    tenantId: ({ tenantId }) => (tenantId === PLATFORM_TENANT ? null : tenantId),
    organisation: (settings) => settings,
    security: (settings, _args, context) => (seesSettings(context) ? settings : null),
    sessions: (settings, _args, context) => (seesSettings(context) ? settings : null),
  } satisfies Fields<Settings, EffectiveSettings, SettingsResolvers>,
  OrganisationSettings: {} satisfies Fields<
    OrganisationSettings,
    EffectiveSettings,
    OrganisationSettingsResolvers
  >,
  SecuritySettings: {} satisfies Fields<SecuritySettings, EffectiveSettings, SecuritySettingsResolvers>,
  SessionSettings: {} satisfies Fields<SessionSettings, EffectiveSettings, SessionSettingsResolvers>,
};
