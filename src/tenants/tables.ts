import { and, eq, isNull, type SQL, sql } from 'drizzle-orm';
import {
  boolean,
  check,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';

import { type Act, type Actor, type Batch, confinedTo, type Mutations, type Scope } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { BranchStatus, SubscriptionTier, TenantStatus } from '../generated/types.ts';
import { timestamptz, uuidArray } from '../platform/columns.ts';
import type { ReadTx } from '../platform/db.ts';
import { asUuid } from '../platform/ids.ts';
import type { Page } from '../platform/page.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';

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

/**
 * The tenant with that id, or without one the actor's own, locked until the act ends. A deleted one, like one of others, does
 * not exist; who belongs to none must name it.
 */
export async function lockTenant<M extends Mutations>(
  act: Act<M>,
  id: string | null | undefined,
): Promise<TenantRow> {
  const own = confinedTo(act.actor);
  const wanted = id ?? own;
  refuseUnlessEmpty(wanted === undefined ? { tenantId: 'must name the tenant' } : {});
  const uuid = asUuid(wanted!);
  const [tenant] = uuid
    ? await act.tx
        .select()
        .from(tenants)
        .where(and(own ? eq(tenants.id, own) : undefined, eq(tenants.id, uuid), isNull(tenants.deletedAt)))
        .for('update')
    : [];
  if (!tenant) throw new Refusal('TENANT_NOT_FOUND');
  return tenant;
}

/** Whose log is named, also that of a deleted tenant; unnamed, the caller's own or the platform's. */
export async function logNamed(
  { actor, tx }: Pick<Scope, 'actor' | 'tx'>,
  tenantId: string | null | undefined,
): Promise<string> {
  const own = confinedTo(actor);
  if (typeof tenantId !== 'string') return own ?? PLATFORM_TENANT;
  const uuid = asUuid(tenantId);
  const isVisible = uuid !== undefined && (own === undefined || own === uuid);
  const found = isVisible
    ? await tx.select({ id: tenants.id }).from(tenants).where(eq(tenants.id, uuid))
    : [];
  if (found.length === 0) throw new Refusal('TENANT_NOT_FOUND');
  return uuid!;
}

/** A log as it is named to the outside: null for the platform's. */
export function namedLog(tenantId: string): string | null {
  return tenantId === PLATFORM_TENANT ? null : tenantId;
}

export const branches = pgTable(
  'branches',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    name: text('name').notNull(),
    code: text('code').notNull(),
    address: text('address'),
    status: text('status').$type<BranchStatus>().notNull(),
    statusReason: text('status_reason'),
    createdAt: timestamptz('created_at').notNull(),
    updatedAt: timestamptz('updated_at').notNull(),
    deletedAt: timestamptz('deleted_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueIndex('branches_code_key')
      .on(table.tenantId, table.code)
      .where(sql`deleted_at is null`),
    index('branches_id').on(table.id),
    check('branches_status', sql`status in ('ACTIVE', 'INACTIVE')`),
  ],
);

export type BranchRow = typeof branches.$inferSelect;
/** @public The mapper of BranchConnection, named in codegen.ts. */
export type BranchPage = Page<BranchRow>;

export const BRANCH = entity<BranchRow>()({
  resource: 'BRANCH',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    name: 'TRACK',
    code: 'TRACK',
    address: 'TRACK',
    status: 'TRACK',
    statusReason: 'TRACK',
    createdAt: 'OMIT',
    updatedAt: 'OMIT',
    deletedAt: 'TRACK',
  },
  id: (branch) => branch.id,
  tenantId: (branch) => branch.tenantId,
  label: (branch) => branch.name,
});

/** Which users have access to which branches. */
export const userBranchAccess = pgTable(
  'user_branch_access',
  {
    tenantId: uuid('tenant_id').notNull(),
    userId: uuid('user_id').notNull(),
    branchId: uuid('branch_id').notNull(),
    grantedAt: timestamptz('granted_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.userId, table.branchId] }),
    index('user_branch_access_branch').on(table.tenantId, table.branchId, table.userId),
  ],
);

/** The branches an actor may see: those of its tenancy, or without USERS_READ those it has access to. */
export function seenBranches(actor: Actor): SQL | undefined {
  const own = confinedTo(actor);
  return and(
    isNull(branches.deletedAt),
    own ? eq(branches.tenantId, own) : undefined,
    actor.type === 'USER' && !actor.scopes.has('USERS_READ') ? accessibleTo(actor.id) : undefined,
  );
}

/** The branches a user has access to. */
function accessibleTo(userId: string): SQL {
  return sql`exists (select from ${userBranchAccess} where ${userBranchAccess.tenantId} = ${branches.tenantId}
    and ${userBranchAccess.userId} = ${userId} and ${userBranchAccess.branchId} = ${branches.id})`;
}

/** Branches by id, as far as the asker may see them; deleted ones are not. */
export const branchById: Batch<string, BranchRow | null> = async ({ tx, actor }, ids) => {
  const rows = await tx
    .select()
    .from(branches)
    .where(and(seenBranches(actor), sql`${branches.id} = any(${uuidArray(ids)}::uuid[])`));
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id) ?? null);
};

/** The branches each user has access to, as far as the asker may see them, by name. */
export const branchesOfUser: Batch<string, readonly BranchRow[]> = async ({ tx, actor }, userIds) => {
  const rows = await tx
    .select({ userId: userBranchAccess.userId, branch: branches })
    .from(userBranchAccess)
    .innerJoin(
      branches,
      and(eq(branches.tenantId, userBranchAccess.tenantId), eq(branches.id, userBranchAccess.branchId)),
    )
    .where(and(seenBranches(actor), sql`${userBranchAccess.userId} = any(${uuidArray(userIds)}::uuid[])`))
    .orderBy(branches.name, branches.id);
  const byUser = new Map<string, BranchRow[]>(userIds.map((id) => [id, []]));
  for (const { userId, branch } of rows) byUser.get(userId)!.push(branch);
  return userIds.map((id) => byUser.get(id)!);
};

/** What a tenant has decided for itself, or under PLATFORM_TENANT the platform; null is the default, like an absent row. */
export const tenantSettings = pgTable('tenant_settings', {
  tenantId: uuid('tenant_id').primaryKey(),
  displayName: text('display_name'),
  supportUrl: text('support_url'),
  timeZone: text('time_zone'),
  locale: text('locale'),
  failedLoginsPerAccount: integer('failed_logins_per_account'),
  failedLoginsPerAddress: integer('failed_logins_per_address'),
  failedLoginsWindowMinutes: integer('failed_logins_window_minutes'),
  sprayedAccounts: integer('sprayed_accounts'),
  familiarDays: integer('familiar_days'),
  dormantDays: integer('dormant_days'),
  travelKmPerHour: integer('travel_km_per_hour'),
  bulkDeletions: integer('bulk_deletions'),
  bulkExports: integer('bulk_exports'),
  bulkWindowMinutes: integer('bulk_window_minutes'),
  requireVerifiedEmail: boolean('require_verified_email'),
  auditRetentionDays: integer('audit_retention_days'),
  maxDays: integer('max_days'),
  idleDays: integer('idle_days'),
  updatedAt: timestamptz('updated_at').notNull(),
});

export type SettingsRow = typeof tenantSettings.$inferSelect;

/** Settings as they are asked for: those of a tenant that has changed none have no row. */
type TenantSettings = Omit<SettingsRow, 'updatedAt'> & { readonly updatedAt: string | null };

/** What holds where a tenant has decided nothing. */
const SETTINGS_DEFAULTS = {
  timeZone: 'UTC',
  locale: 'en',
  failedLoginsPerAccount: 5,
  failedLoginsPerAddress: 20,
  failedLoginsWindowMinutes: 15,
  sprayedAccounts: 10,
  familiarDays: 90,
  dormantDays: 90,
  travelKmPerHour: 1_000,
  bulkDeletions: 20,
  bulkExports: 10,
  bulkWindowMinutes: 60,
  requireVerifiedEmail: false,
  maxDays: 30,
  idleDays: 7,
} as const satisfies Partial<SettingsRow>;

type Decided = typeof SETTINGS_DEFAULTS;
/** Settings with every default in its place. */
export type EffectiveSettings = TenantSettings & {
  readonly [Name in keyof Decided]: NonNullable<SettingsRow[Name]>;
};

/** The settings of a tenant, defaults included. */
export async function settingsOf(tx: ReadTx, tenantId: string): Promise<EffectiveSettings> {
  const [row] = await tx.select().from(tenantSettings).where(eq(tenantSettings.tenantId, tenantId));
  return effective(tenantId, row);
}

/** The row of a tenant, if it has one, or what was read of it, with every default in its place. */
export function effective(tenantId: string, row: Partial<SettingsRow> | null | undefined): EffectiveSettings {
  const decided = Object.entries(row ?? {}).filter(([, value]) => value !== null);
  return { ...UNDECIDED, tenantId, ...(Object.fromEntries(decided) as Partial<EffectiveSettings>) };
}

const UNDECIDED = {
  auditRetentionDays: null,
  displayName: null,
  supportUrl: null,
  updatedAt: null,
  ...SETTINGS_DEFAULTS,
};

export const SETTINGS = entity<SettingsRow>()({
  resource: 'SETTINGS',
  columns: {
    tenantId: 'OMIT',
    displayName: 'TRACK',
    supportUrl: 'TRACK',
    timeZone: 'TRACK',
    locale: 'TRACK',
    failedLoginsPerAccount: 'TRACK',
    failedLoginsPerAddress: 'TRACK',
    failedLoginsWindowMinutes: 'TRACK',
    sprayedAccounts: 'TRACK',
    familiarDays: 'TRACK',
    dormantDays: 'TRACK',
    travelKmPerHour: 'TRACK',
    bulkDeletions: 'TRACK',
    bulkExports: 'TRACK',
    bulkWindowMinutes: 'TRACK',
    requireVerifiedEmail: 'TRACK',
    auditRetentionDays: 'TRACK',
    maxDays: 'TRACK',
    idleDays: 'TRACK',
    updatedAt: 'OMIT',
  },
  id: (settings) => settings.tenantId,
  tenantId: (settings) => settings.tenantId,
  label: () => null,
});
