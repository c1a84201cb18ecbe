import { and, eq } from 'drizzle-orm';

import { confinedTo, type Context, type Fields, holds } from '../audit/act.ts';
import { having } from '../audit/filter.ts';
import { type LogPage, pageOfLog } from '../audit/query.ts';
import { differentIn, endOf, type Facet, kindsIn, recordsOf, type Span, topIn } from '../audit/statistics.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type {
  ActivityCount,
  QueryResolvers,
  TenantActivity,
  TenantActivityResolvers,
  UserActivity,
  UserActivityResolvers,
} from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import type { PageArguments } from '../platform/page.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { tenantById } from '../tenants/tables.ts';
import { seenUsers, userById, type UserRow, users } from '../users/tables.ts';
import { actionOf } from '../audit/actions.ts';
import { tenantNamed, within } from './reach.ts';
import { addressOf, DAY_MICROS, spanFields, spanOf, statusOf } from './statistics.ts';

const DAYS_DEFAULT = 30;
const DAYS_MAX = 365;
const LISTED_MAX = 100;

/** @public The last days of a tenant; the mapper of TenantActivity, named in codegen.ts. */
export interface ActivityOfTenant extends Span {
  readonly days: number;
}

/** @public The last days of a user; the mapper of UserActivity, named in codegen.ts. */
export interface ActivityOfUser extends ActivityOfTenant {
  readonly userId: string;
}

export const queries = {
  userActivity: async (_root, { userId, days }, context) => {
    const past = lastDays(context, days);
    const { tenantId, id } = await userNamed(context, userId);
    const condition = await within(context, {
      all: [
        ...(confinedTo(context.actor) === undefined ? [having('tenantId', tenantId)] : []),
        having('userId', id),
      ],
    });
    return { ...past, userId: id, tenantId, condition };
  },

  tenantActivity: async (_root, { tenantId, days }, context) => {
    const past = lastDays(context, days);
    const named = (await tenantNamed(context, tenantId)) ?? PLATFORM_TENANT;
    return { ...past, ...(await spanOf(context, named, past.from, past.to)) };
  },
} satisfies Partial<QueryResolvers>;

function lastDays({ services }: Context, given: number | null | undefined) {
  const days = given ?? DAYS_DEFAULT;
  refuseUnlessEmpty(days < 1 || days > DAYS_MAX ? { days: `must be from 1 to ${DAYS_MAX}` } : {});
  const to = services.clock.now();
  return { days, from: to - BigInt(days) * DAY_MICROS, to };
}

/** A user the caller may see; for those who see all of their tenancy also a deleted one, whose records stay. */
async function userNamed(context: Context, id: string): Promise<Pick<UserRow, 'tenantId' | 'id'>> {
  const uuid = asUuid(id);
  const user =
    uuid === undefined
      ? undefined
      : await context.read(({ tx, actor }) => {
          const own = confinedTo(actor);
          const seesAll = holds(actor, 'USERS_READ');
          const seen = seesAll ? (own ? eq(users.tenantId, own) : undefined) : seenUsers(actor);
          return tx
            .select({ tenantId: users.tenantId, id: users.id })
            .from(users)
            .where(and(seen, eq(users.id, uuid)));
        });
  if (!user?.[0]) throw new Refusal('USER_NOT_FOUND');
  return user[0];
}

/** How both kinds of activity answer. */
const activity = {
  from: spanFields.from,
  to: spanFields.to,
  totalCount: spanFields.totalCount,
  counts: async (parent: Span, _args: object, context: Context): Promise<ActivityCount[]> => {
    const counts = new Map<string, ActivityCount>();
    for (const kind of await context.load(kindsIn, parent)) {
      const [action, status] = [actionOf(kind), statusOf(kind)];
      const count = (counts.get(action + status)?.count ?? 0) + kind.count;
      counts.set(action + status, { action, status, count });
    }
    return [...counts.values()].sort((one, other) => other.count - one.count);
  },
  firstSeenAt: (parent: Span, _args: object, context: Context) =>
    context.read((scope) => endOf(scope, parent, 'first')),
  lastSeenAt: (parent: Span, _args: object, context: Context) =>
    context.read((scope) => endOf(scope, parent, 'last')),
  addresses: async (parent: Span, _args: object, context: Context) =>
    (await listed(context, parent, 'address')).map(addressOf),
  devices: async (parent: Span, _args: object, context: Context) =>
    (await listed(context, parent, 'device')).map(({ value: userAgent, ...counts }) => ({
      userAgent,
      ...counts,
    })),
  // The while moves with the clock, the cursor does not.
  recent: (parent: ActivityOfTenant, page: PageArguments, context: Context): Promise<LogPage> =>
    pageOfLog(context, recordsOf(parent), page, { binding: [parent.condition, parent.days] }),
};

function listed(context: Context, parent: Span, facet: Facet) {
  return context.read((scope) => topIn(scope, parent, facet, LISTED_MAX));
}

export const types = {
  UserActivity: {
    ...activity,
    user: ({ userId }, _args, context) => context.load(userById, userId),
  } satisfies Fields<UserActivity, Pick<ActivityOfUser, 'userId'>, UserActivityResolvers>,

  TenantActivity: {
    ...activity,
    tenantId: spanFields.tenantId,
    tenant: ({ tenantId }, _args, context) =>
      tenantId === undefined || tenantId === PLATFORM_TENANT ? null : context.load(tenantById, tenantId),
    activeUsers: (parent, _args, context) => context.read((scope) => differentIn(scope, parent, 'actor')),
  } satisfies Fields<TenantActivity, object, TenantActivityResolvers>,
};
