import { and, eq, inArray, isNull, or, type SQL, sql } from 'drizzle-orm';
import { check, index, pgTable, primaryKey, text, uniqueIndex, uuid } from 'drizzle-orm/pg-core';

import { type Act, type Actor, type Batch, confinedTo, type Mutations } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import type { Role, UserStatus } from '../generated/types.ts';
import { timestamptz, uuidArray } from '../platform/columns.ts';
import type { Page } from '../platform/page.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenants, userBranchAccess } from '../tenants/tables.ts';

const ADMIN_ROLES = ['SUPER_ADMIN', 'TENANT_ADMIN'] as const satisfies Role[];

export const users = pgTable(
  'users',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    email: text('email').notNull(),
    /** When the user proved that the e-mail is theirs. */
    emailVerifiedAt: timestamptz('email_verified_at'),
    fullName: text('full_name').notNull(),
    phone: text('phone'),
    role: text('role').$type<Role>().notNull(),
    status: text('status').$type<UserStatus>().notNull(),
    statusReason: text('status_reason'),
    /** bcrypt of a keyed pre-hash (platform/passwords.ts); null until the user has set a password. */
    passwordHash: text('password_hash'),
    lastLoginAt: timestamptz('last_login_at'),
    createdAt: timestamptz('created_at').notNull(),
    updatedAt: timestamptz('updated_at').notNull(),
    deletedAt: timestamptz('deleted_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    uniqueIndex('users_email_key')
      .on(table.tenantId, table.email)
      .where(sql`deleted_at is null`),
    index('users_id').on(table.id),
    index('users_email').on(table.email),
    check('users_role', sql`role in ('SUPER_ADMIN', 'TENANT_ADMIN', 'BRANCH_MANAGER', 'AUDITOR', 'MEMBER')`),
    check('users_status', sql`status in ('ACTIVE', 'INACTIVE', 'INVITED')`),
    check(
      'users_platform',
      sql`(role = 'SUPER_ADMIN') = (tenant_id = '00000000-0000-0000-0000-000000000000')`,
    ),
  ],
);

export type UserRow = typeof users.$inferSelect;
/** @public The mapper of UserConnection, named in codegen.ts. */
export type UserPage = Page<UserRow>;

export const USER = entity<UserRow>()({
  resource: 'USER',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    email: 'PII',
    emailVerifiedAt: 'TRACK',
    fullName: 'PII',
    phone: 'PII',
    role: 'TRACK',
    status: 'TRACK',
    statusReason: 'TRACK',
    passwordHash: 'SECRET',
    lastLoginAt: 'OMIT',
    createdAt: 'OMIT',
    updatedAt: 'OMIT',
    deletedAt: 'TRACK',
  },
  id: (user) => user.id,
  tenantId: (user) => user.tenantId,
  label: (user) => user.fullName,
  subject: (user) => user.id,
});

/** Users that are there: neither they nor their tenant is deleted. */
export const living: SQL = sql`(${users.deletedAt} is null and not exists (
  select from ${tenants} where ${tenants.id} = ${users.tenantId} and ${tenants.deletedAt} is not null))`;

/**
 * The users an actor may see: with USERS_READ those of its tenancy, as a branch manager those who share a branch with it, and
 * itself.
 */
export function seenUsers(actor: Actor): SQL | undefined {
  const own = confinedTo(actor);
  const inTenancy = and(living, own ? eq(users.tenantId, own) : undefined);
  if (actor.type !== 'USER' || actor.scopes.has('USERS_READ')) return inTenancy;
  const self = eq(users.id, actor.id);
  return and(inTenancy, actor.role === 'BRANCH_MANAGER' ? or(self, sharingBranchWith(actor.id)) : self);
}

function sharingBranchWith(userId: string): SQL {
  const { tenantId, userId: whose, branchId } = userBranchAccess;
  return sql`(${users.tenantId}, ${users.id}) in (
    select theirs.tenant_id, theirs.user_id from ${userBranchAccess} as theirs
    join ${userBranchAccess} on ${tenantId} = theirs.tenant_id and ${branchId} = theirs.branch_id
    where ${whose} = ${userId})`;
}

/** Users by id, as far as the asker may see them; deleted ones are not. */
export const userById: Batch<string, UserRow | null> = async ({ tx, actor }, ids) => {
  const rows = await tx
    .select()
    .from(users)
    .where(and(seenUsers(actor), sql`${users.id} = any(${uuidArray(ids)}::uuid[])`));
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id) ?? null);
};

/** Refuses if nobody would be left to administer the tenant (or the platform) without this user. */
export async function keepAnAdmin<M extends Mutations>(act: Act<M>, leaving: UserRow): Promise<void> {
  if (!ADMIN_ROLES.some((role) => role === leaving.role) || leaving.status !== 'ACTIVE') return;
  // Of two that step down at once, each would still see the other: the second waits here, then sees what the first did.
  await act.tx.execute(
    sql`select pg_advisory_xact_lock(hashtextextended(${`admins of ${leaving.tenantId}`}, 0))`,
  );
  const admins = await act.tx
    .select({ id: users.id })
    .from(users)
    .where(
      and(
        eq(users.tenantId, leaving.tenantId),
        inArray(users.role, ADMIN_ROLES),
        eq(users.status, 'ACTIVE'),
        isNull(users.deletedAt),
      ),
    );
  if (admins.every(({ id }) => id === leaving.id)) throw new Refusal('LAST_ADMIN');
}
