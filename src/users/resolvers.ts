import { and, eq, type SQL, sql } from 'drizzle-orm';

import { confinedTo, type Context, type Deeds, type Fields } from '../audit/act.ts';
import { pageOfTable } from '../audit/list.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { QueryResolvers, User, UserConnectionResolvers, UserResolvers } from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { connection } from '../platform/page.ts';
import { tenantById } from '../tenants/tables.ts';
import { living, userById, type UserRow, users } from './tables.ts';
import { activateUser, changeUserRole, createUser, deactivateUser, deleteUser, updateUser } from './users.ts';

export const deeds = {
  createUser,
  updateUser,
  changeUserRole,
  activateUser,
  deactivateUser,
  deleteUser,
} satisfies Partial<Deeds>;

export const queries = {
  user: (_root, { id }, context) => visibleUser(context, id),

  users: (_root, { tenantId, role, status, ...page }, context) => {
    const { actor } = context;
    const own = confinedTo(actor);
    const wanted = and(
      living,
      own ? eq(users.tenantId, own) : undefined,
      actor.type === 'USER' && !seesOthers(context) ? eq(users.id, actor.id) : undefined,
      typeof tenantId === 'string' ? ofTenant(tenantId) : undefined,
      role ? eq(users.role, role) : undefined,
      status ? eq(users.status, status) : undefined,
    );
    return pageOfTable(
      context,
      users,
      wanted,
      {
        kind: 'users',
        binding: [
          own,
          seesOthers(context) ? null : actor.type === 'USER' && actor.id,
          tenantId,
          role,
          status,
        ],
      },
      page,
    );
  },
} satisfies Partial<QueryResolvers>;

/** What is not an id is no tenant's. */
function ofTenant(id: string): SQL {
  const uuid = asUuid(id);
  return uuid === undefined ? sql`false` : eq(users.tenantId, uuid);
}

/** A user the caller may see: itself, or with USERS_READ those of its tenancy. */
export async function visibleUser(context: Context, id: string): Promise<UserRow | null> {
  const uuid = asUuid(id);
  const self = context.actor.type === 'USER' && context.actor.id === uuid;
  return uuid !== undefined && (self || seesOthers(context)) ? await context.load(userById, uuid) : null;
}

function seesOthers({ actor }: Context): boolean {
  return actor.type === 'USER' && actor.scopes.has('USERS_READ');
}

export const types = {
  User: {
    tenantId: (user) => (user.tenantId === PLATFORM_TENANT ? null : user.tenantId),
    tenant: (user, _args, context) =>
      user.tenantId === PLATFORM_TENANT ? null : context.load(tenantById, user.tenantId),
  } satisfies Fields<User, UserRow, UserResolvers>,
  UserConnection: connection satisfies UserConnectionResolvers,
};
