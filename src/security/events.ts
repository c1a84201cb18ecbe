import type { Context, Deeds, Fields, LiveStep } from '../audit/act.ts';
import {
  atLeast,
  type Condition,
  conditionOf,
  createdFrom,
  given,
  having,
  havingId,
  ofActions,
} from '../audit/filter.ts';
import { personalIn } from '../audit/known.ts';
import { pageOfLog } from '../audit/query.ts';
import { type AuditLogRow, SEVERITIES } from '../audit/tables.ts';
import type {
  LoginFailed,
  QueryResolvers,
  SecurityEvent,
  SecurityEventConnectionResolvers,
  SecurityEventResolvers,
  SubscriptionResolvers,
} from '../generated/types.ts';
import { isoOf } from '../platform/ids.ts';
import { normalizedEmail } from '../platform/input.ts';
import { connection } from '../platform/page.ts';
import { Refusal } from '../platform/refusal.ts';
import { userById } from '../users/tables.ts';
import { actionOf } from '../audit/actions.ts';
import {
  acknowledgeSecurityEvent,
  eventIdOf,
  recordIdOf,
  resolveSecurityEvent,
  stateOf,
} from './eventStates.ts';
import { within } from './reach.ts';

const HOUR_MICROS = 3_600_000_000n;
const HOURS_MAX = 8760;
const DAYS_MAX = 365;

/** The status follows from the action, but only where it is said do the indexes of what failed serve. */
const FAILED_LOGIN: Condition = {
  all: [ofActions(['LOGIN_FAILED']), { column: 'status', in: ['failure', 'error'] }],
};
const SECURITY_EVENT = having('security', true);

export const deeds = { acknowledgeSecurityEvent, resolveSecurityEvent } satisfies Partial<Deeds>;

export const queries = {
  failedLoginAttempts: async (_root, { ipAddress, email, hours, ...page }, context) => {
    const since = createdSince(context, 'hours', hours ?? 24, HOURS_MAX, HOUR_MICROS);
    const lasting = await within(context, {
      all: present([
        FAILED_LOGIN,
        ownUnlessReader(context),
        given(ipAddress, (address) => having('ipAddress', address)),
        given(email, (attempted) => ofEmail(context, attempted)),
      ]),
    });
    return pageOfLog(context, { all: [lasting, since] }, page, { binding: [lasting, hours] });
  },

  securityEvents: async (_root, { filter, days, ...page }, context) => {
    const since = createdSince(context, 'days', days ?? 7, DAYS_MAX, 24n * HOUR_MICROS);
    const lasting = await within(context, {
      all: present([SECURITY_EVENT, ownUnlessReader(context), conditionOf(filter)]),
    });
    return pageOfLog(context, { all: [lasting, since] }, page, { binding: [lasting, days] });
  },
} satisfies Partial<QueryResolvers>;

/** A security event the caller may see, by its own id, if it may see any. */
export async function visibleEvent(context: Context, id: string): Promise<AuditLogRow | null> {
  const recordId = recordIdOf(id);
  if (recordId === undefined) return null;
  const conditions = [having('id', recordId), SECURITY_EVENT, ownUnlessReader(context)];
  const condition = await within(context, { all: present(conditions) });
  const { rows } = await pageOfLog(context, condition, { first: 1 });
  return rows[0] ?? null;
}

export const subscriptions = {
  auditLogAppended: {
    subscribe: (_root, { filter, after }, context) =>
      context.follow(() => within(context, conditionOf(filter)), after),
    resolve: (step: LiveStep) => ({ cursor: step.cursor, node: step.row }),
  },

  loginFailed: {
    subscribe: (_root, { filter, after }, context) => {
      const conditions = [
        FAILED_LOGIN,
        given(filter?.tenantId, (id) => havingId('tenantId', id)),
        given(filter?.ipAddress, (address) => having('ipAddress', address)),
        given(filter?.email, (attempted) => ofEmail(context, attempted)),
      ];
      return context.follow(() => within(context, { all: present(conditions) }), after);
    },
    resolve: async ({ cursor, row }: LiveStep, _args: unknown, context: Context) => ({
      cursor,
      node: row && (await failedLogin(context, row)),
    }),
  },

  securityEventRaised: {
    subscribe: (_root, { minSeverity, after }, context) => {
      const conditions = [SECURITY_EVENT, given(minSeverity, atLeast)];
      return context.follow(() => within(context, { all: present(conditions) }), after);
    },
    resolve: (step: LiveStep) => ({ cursor: step.cursor, node: step.row }),
  },
} satisfies Partial<SubscriptionResolvers>;

async function failedLogin(context: Context, log: AuditLogRow) {
  const { details } = await personalIn(context, log);
  return {
    log,
    email: (details?.email as string | undefined) ?? null,
    ipAddress: log.ipAddress,
    reason: log.failure!,
    occurredAt: log.createdAt,
  } satisfies Omit<LoginFailed, 'log'> & { log: AuditLogRow };
}

/** Those who do not read a tenant's events see the ones about themselves. */
function ownUnlessReader({ actor }: Context): Condition | undefined {
  return actor.type === 'USER' && !actor.scopes.has('SECURITY_READ')
    ? having('resourceId', actor.id)
    : undefined;
}

function ofEmail({ services }: Context, email: string): Condition {
  return having('subjectHmac', services.vault.emailHmac(normalizedEmail(email)));
}

function createdSince(
  { services }: Context,
  field: string,
  count: number,
  max: number,
  unitMicros: bigint,
): Condition {
  if (count < 1 || count > max)
    throw new Refusal('INVALID_INPUT', { fields: { [field]: `must be from 1 to ${max}` } });
  return createdFrom(isoOf(services.clock.now() - BigInt(count) * unitMicros));
}

function present(conditions: readonly (Condition | undefined)[]): Condition[] {
  return conditions.filter((condition) => condition !== undefined);
}

export const types = {
  SecurityEvent: {
    id: (row) => eventIdOf(row.id),
    action: actionOf,
    severity: (row) => SEVERITIES[row.severity]!,
    occurredAt: (row) => row.createdAt,
    log: (row) => row,
    state: async (row, _args, context) => (await context.load(stateOf, row))?.state ?? 'OPEN',
    note: async (row, _args, context) => (await context.load(stateOf, row))?.note ?? null,
    stateChangedAt: async (row, _args, context) => (await context.load(stateOf, row))?.changedAt ?? null,
    stateChangedBy: async (row, _args, context) => {
      const state = await context.load(stateOf, row);
      return state && context.load(userById, state.changedBy);
    },
    evidence: async (row, page, context) => {
      const conditions = [
        having('tenantId', row.tenantId),
        { column: 'id', in: evidenceOf(row) } as const,
        ownUnlessReader(context),
      ];
      return pageOfLog(context, await within(context, { all: present(conditions) }), page);
    },
  } satisfies Fields<SecurityEvent, AuditLogRow, SecurityEventResolvers>,
  SecurityEventConnection: connection satisfies SecurityEventConnectionResolvers,
};

function evidenceOf({ id, actor, details }: AuditLogRow): readonly string[] {
  return actor.type === 'SYSTEM' && Array.isArray(details['evidence'])
    ? (details['evidence'] as string[])
    : [id];
}
