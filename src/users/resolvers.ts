import { and, eq, type SQL, sql } from 'drizzle-orm';

import { confinedTo, type Context, type Deeds, type Fields } from '../audit/act.ts';
import { pageOfTable } from '../audit/list.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { QueryResolvers, User, UserConnectionResolvers, UserResolvers } from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { connection } from '../platform/page.ts';
import { branchesOfUser, tenantById } from '../tenants/tables.ts';
import { setUserBranches } from './access.ts';
import { inviteUser } from './invitation.ts';
import { seenUsers, userById, type UserRow, users } from './tables.ts';
import {
  activateUser,
  changeUserRole,
  createUser,
  deactivateUser,
  deleteUser,
  revokeUserSessions,
  startPasswordReset,
  unlockAccount,
  updateUser,
} from './users.ts';

export const deeds = {
  createUser,
  updateUser,
  changeUserRole,
  activateUser,
  deactivateUser,
  deleteUser,
  inviteUser,
  setUserBranches,
  startPasswordReset,
  revokeUserSessions,
  unlockAccount,
} satisfies Partial<Deeds>;

export const queries = {
  user: (_root, { id }, context) => visibleUser(context, id),

  users: (_root, { tenantId, role, status, ...page }, context) => {
    const { actor } = context;
    const wanted = and(
      seenUsers(actor),
      typeof tenantId === 'string' ? ofTenant(tenantId) : undefined,
      role ? eq(users.role, role) : undefined,
      status ? eq(users.status, status) : undefined,
    );
    const reader = actor.type === 'USER' && [confinedTo(actor), actor.scopes.has('USERS_READ') || actor.id];
    const binding = [reader, tenantId, role, status];
    return pageOfTable(context, users, wanted, { kind: 'users', binding }, page);
  },
} satisfies Partial<QueryResolvers>;

/** What is not an id is no tenant's. */
function ofTenant(id: string): SQL {
  const uuid = asUuid(id);
  return uuid === undefined ? sql`false` : eq(users.tenantId, uuid);
}

/** A user the caller may see. */
export async function visibleUser(context: Context, id: string): Promise<UserRow | null> {
  const uuid = asUuid(id);
  return uuid === undefined ? null : await context.load(userById, uuid);
}

export const types = {
  User: {
    emailVerified: (user) => user.emailVerifiedAt !== null,
    branches: (user, _args, context) => context.load(branchesOfUser, user.id),
    tenantId: (user) => (user.tenantId === PLATFORM_TENANT ? null : user.tenantId),
    tenant: (user, _args, context) =>
      user.tenantId === PLATFORM_TENANT ? null : context.load(tenantById, user.tenantId),
  } satisfies Fields<User, UserRow, UserResolvers>,
  UserConnection: connection satisfies UserConnectionResolvers,
};
