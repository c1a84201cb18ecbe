import { and, eq, inArray } from 'drizzle-orm';

import { type Batch, confinedTo, type Context, type UserActor } from '../audit/act.ts';
import { ANY, type Condition, having, NONE } from '../audit/filter.ts';
import { asUuid } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenants, userBranchAccess } from '../tenants/tables.ts';

/**
 * The condition, and what the caller may see at all: the tenant it is confined to, and for a branch manager what is about its
 * branches and about or by the users that have access to them. Row-level security keeps tenants apart by itself, but the
 * planner needs it said.
 */
export async function within(context: Context, condition: Condition = ANY): Promise<Condition> {
  const { actor } = context;
  const own = confinedTo(actor);
  if (own === undefined) return condition;
  const reach = managesBranches(actor) ? concerning(await context.load(reachOf, actor)) : ANY;
  return { all: [having('tenantId', own), reach, condition] };
}

/**
 * The condition where the caller may see all that its tenancy has about the object, and otherwise none: a branch manager sees
 * what its people did to other objects, too, and would take that for all.
 */
export async function withinAllAbout(
  context: Context,
  resourceId: string,
  condition: Condition,
): Promise<Condition> {
  const { actor } = context;
  const isHidden =
    managesBranches(actor) && !(await context.load(reachOf, actor)).resourceIds.includes(resourceId);
  return isHidden ? NONE : within(context, condition);
}

/** Whether an actor sees the log of its branches only. */
function managesBranches(actor: Context['actor']): actor is UserActor {
  return actor.type === 'USER' && actor.role === 'BRANCH_MANAGER';
}

interface Reach {
  readonly resourceIds: readonly string[];
  readonly userIds: readonly string[];
}

function concerning({ resourceIds, userIds }: Reach): Condition {
  return {
    any: [
      { column: 'resourceId', in: resourceIds },
      { column: 'userId', in: userIds },
    ],
  };
}

const reachOf: Batch<UserActor, Reach> = async ({ tx }, actors) =>
  await Promise.all(
    actors.map(async ({ tenantId, id }): Promise<Reach> => {
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
      return { resourceIds: [...branchIds, ...userIds], userIds };
    }),
  );

/** The tenant that is named, also a deleted one, for its log stays; unnamed, the caller's own. Refuses what is not there for the caller. */
export async function tenantNamed(
  context: Context,
  id: string | null | undefined,
): Promise<string | undefined> {
  const own = confinedTo(context.actor);
  if (typeof id !== 'string') return own;
  const uuid = asUuid(id);
  if (uuid === undefined || !(own === undefined ? await context.load(tenantExists, uuid) : own === uuid))
    throw new Refusal('TENANT_NOT_FOUND');
  return uuid;
}

const tenantExists: Batch<string, boolean> = ({ tx }, ids) =>
  Promise.all(
    ids.map(
      async (id) => (await tx.select({ id: tenants.id }).from(tenants).where(eq(tenants.id, id))).length > 0,
    ),
  );
