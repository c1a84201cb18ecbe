import { and, eq, inArray } from 'drizzle-orm';

import { type Batch, confinedTo, type Context, type UserActor } from '../audit/act.ts';
import { ANY, type Condition, having } from '../audit/filter.ts';
import { userBranchAccess } from '../tenants/tables.ts';

/**
 * The condition, and what the caller may see at all: the tenant it is confined to, and for a branch manager what is about its
 * branches and about or by the users that have access to them. Row-level security keeps tenants apart by itself, but the
 * planner needs it said.
 */
export async function within(context: Context, condition: Condition = ANY): Promise<Condition> {
  const { actor } = context;
  const own = confinedTo(actor);
  if (own === undefined) return condition;
  const reach = managesBranches(actor) ? await context.load(branchReach, actor) : ANY;
  return { all: [having('tenantId', own), reach, condition] };
}

/** Whether an actor sees the log of its branches only. */
export function managesBranches(actor: Context['actor']): actor is UserActor {
  return actor.type === 'USER' && actor.role === 'BRANCH_MANAGER';
}

const branchReach: Batch<UserActor, Condition> = async ({ tx }, actors) =>
  await Promise.all(
    actors.map(async ({ tenantId, id }): Promise<Condition> => {
      const branches = tx
        .select({ id: userBranchAccess.branchId })
        .from(userBranchAccess)
        .where(and(eq(userBranchAccess.tenantId, tenantId), eq(userBranchAccess.userId, id)));
      const access = await tx
        .select({ branchId: userBranchAccess.branchId, userId: userBranchAccess.userId })
        .from(userBranchAccess)
        .where(and(eq(userBranchAccess.tenantId, tenantId), inArray(userBranchAccess.branchId, branches)));
      const branchIds = [...new Set(access.map(({ branchId }) => branchId))].sort();
      const userIds = [...new Set([id, ...access.map(({ userId }) => userId)])].sort();
      return {
        any: [
          { column: 'resourceId', in: [...branchIds, ...userIds] },
          { column: 'userId', in: userIds },
        ],
      };
    }),
  );
