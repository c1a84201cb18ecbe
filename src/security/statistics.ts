import { confinedTo, type Context, type Fields } from '../audit/act.ts';
import { ANY, having } from '../audit/filter.ts';
import { type Kind, kindsIn, periodsIn, type Span, type Tally, topIn } from '../audit/statistics.ts';
import { PLATFORM_TENANT, SEVERITIES } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type {
  ActivityAddress,
  ActorCount,
  ActorCountResolvers,
  AuditStatistics,
  AuditStatisticsResolvers,
  AuditStatus,
  PeriodCount,
  QueryResolvers,
} from '../generated/types.ts';
import { isoOf, microsFrom } from '../platform/ids.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { userById } from '../users/tables.ts';
import { actionOf } from '../audit/actions.ts';
import { tenantNamed, within } from './reach.ts';

export const DAY_MICROS = 86_400_000_000n;
const DAYS_DEFAULT = 30n;
const DAYS_MAX = 366n;
const TOP_MAX = 100;

export const queries = {
  auditStatistics: async (_root, { tenantId, from, to }, context) => {
    const end = to ? microsFrom(to) : context.services.clock.now();
    const begin = from ? microsFrom(from) : end - DAYS_DEFAULT * DAY_MICROS;
    if (begin >= end) throw invalid('from', 'must be before to');
    if (end - begin > DAYS_MAX * DAY_MICROS)
      throw invalid('from', `must be at most ${DAYS_MAX} days before to`);
    return spanOf(context, await tenantNamed(context, tenantId), begin, end);
  },
} satisfies Partial<QueryResolvers>;

/** What the caller may see of a tenant's log, or of all there is, between two moments. */
export async function spanOf(
  context: Context,
  tenantId: string | undefined,
  from: bigint,
  to: bigint,
): Promise<Span> {
  const own = confinedTo(context.actor);
  const named = own === undefined && tenantId !== undefined ? having('tenantId', tenantId) : ANY;
  const condition = await within(context, named);
  return { tenantId: own ?? tenantId, condition, from, to };
}

/** How many records of these kinds there are. */
export function countOf(kinds: readonly Kind[]): number {
  return kinds.reduce((sum, { count }) => sum + count, 0);
}

/** The SDL's name of a status. */
export function statusOf({ status }: Pick<Kind, 'status'>): AuditStatus {
  return status.toUpperCase() as AuditStatus;
}

/** An address and how often it is there, as the schema has it. */
export function addressOf({ value: ipAddress, count, failures }: Tally): ActivityAddress {
  return { ipAddress, count, failures };
}

function failuresOf(kinds: readonly Kind[]): number {
  return countOf(kinds.filter(({ status }) => status !== 'success'));
}

/** The kinds added up by a part of them, most often first. */
function by<Part>(kinds: readonly Kind[], partOf: (kind: Kind) => Part): (readonly [Part, number])[] {
  const counts = new Map<Part, number>();
  for (const kind of kinds) counts.set(partOf(kind), (counts.get(partOf(kind)) ?? 0) + kind.count);
  return [...counts].sort(([, one], [, other]) => other - one);
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function periods(unit: 'day' | 'hour') {
  return (span: Span, _args: object, context: Context): Promise<PeriodCount[]> =>
    context.read(async (scope) =>
      (await periodsIn(scope, span, unit)).map(({ value: from, ...counts }) => ({ from, ...counts })),
    );
}

function checkedTop(first: number): number {
  refuseUnlessEmpty(first < 1 || first > TOP_MAX ? { first: `must be from 1 to ${TOP_MAX}` } : {});
  return first;
}

function invalid(field: string, fault: string): Refusal {
  return new Refusal('INVALID_INPUT', { fields: { [field]: fault } });
}

/** What a summary says of its span. */
export const spanFields = {
  tenantId: ({ tenantId }: Span) => (tenantId === PLATFORM_TENANT ? null : (tenantId ?? null)),
  from: ({ from }: Span) => isoOf(from),
  to: ({ to }: Span) => isoOf(to),
  totalCount: async (parent: Span, _args: object, context: Context) =>
    countOf(await context.load(kindsIn, parent)),
};

export const types = {
  AuditStatistics: {
    ...spanFields,
    failureCount: async (parent, _args, context) => failuresOf(await context.load(kindsIn, parent)),
    failureRate: async (parent, _args, context) => {
      const kinds = await context.load(kindsIn, parent);
      return ratio(failuresOf(kinds), countOf(kinds)) ?? 0;
    },
    byAction: async (parent, _args, context) =>
      by(await context.load(kindsIn, parent), actionOf).map(([action, count]) => ({ action, count })),
    byCategory: async (parent, _args, context) =>
      by(await context.load(kindsIn, parent), (kind) => AUDIT_CATALOGUE[actionOf(kind)].category).map(
        ([category, count]) => ({ category, count }),
      ),
    byStatus: async (parent, _args, context) =>
      by(await context.load(kindsIn, parent), statusOf).map(([status, count]) => ({ status, count })),
    bySeverity: async (parent, _args, context) =>
      by(await context.load(kindsIn, parent), (kind) => SEVERITIES[kind.severity]!).map(
        ([severity, count]) => ({ severity, count }),
      ),
    byDay: periods('day'),
    byHour: periods('hour'),
    topActors: (parent, { first }, context) =>
      context.read(async (scope) =>
        (await topIn(scope, parent, 'actor', checkedTop(first))).map(({ value: userId, ...counts }) => ({
          userId,
          ...counts,
        })),
      ),
    topAddresses: (parent, { first }, context) =>
      context.read(async (scope) =>
        (await topIn(scope, parent, 'address', checkedTop(first))).map(addressOf),
      ),
    trend: async (parent, _args, context) => {
      const previous = { ...parent, from: 2n * parent.from - parent.to, to: parent.from };
      const [before, kinds] = await Promise.all([
        context.load(kindsIn, previous),
        context.load(kindsIn, parent),
      ]);
      const change = (now: number, then: number) => ratio(now - then, then);
      return {
        previousTotalCount: countOf(before),
        previousFailureCount: failuresOf(before),
        totalChange: change(countOf(kinds), countOf(before)),
        failureChange: change(failuresOf(kinds), failuresOf(before)),
      };
    },
  } satisfies Fields<AuditStatistics, object, AuditStatisticsResolvers>,

  ActorCount: {
    user: ({ userId }, _args, context) => context.load(userById, userId),
  } satisfies Fields<ActorCount, Omit<ActorCount, 'user'>, ActorCountResolvers>,
};
