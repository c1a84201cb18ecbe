/** Legal holds: what keeps a log from being dropped, and people from being erased. */
import { and, desc, eq, isNull, or, type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';

import type { Deed, Fields } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import type { LegalHold, LegalHoldResolvers, QueryResolvers } from '../generated/types.ts';
import type { ReadTx, Tx } from '../platform/db.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, reason } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById, users } from '../users/tables.ts';
import { type LegalHoldRow, legalHolds } from './tables.ts';

const reasoned = z.object({ reason });

const LEGAL_HOLD = entity<LegalHoldRow>()({
  resource: 'LEGAL_HOLD',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    userId: 'TRACK',
    from: 'TRACK',
    to: 'TRACK',
    reason: 'TRACK',
    placedBy: 'OMIT',
    createdAt: 'OMIT',
    releasedAt: 'TRACK',
    releaseReason: 'TRACK',
  },
  id: ({ id }) => id,
  tenantId: ({ tenantId }) => tenantId,
  label: () => null,
});

const placeLegalHold: Deed<'placeLegalHold'> = async (act, input) => {
  const { tx, actor, now } = act;
  const { from = null, to = null } = input;
  const checked = checkedInput(reasoned, input);
  refuseUnlessEmpty(from !== null && to !== null && from >= to ? { to: 'must be after `from`' } : {});
  const tenantId = await logNamed(act, input.tenantId);
  const userId = typeof input.userId === 'string' ? await userOf(tx, tenantId, input.userId) : null;
  await lockHolds(tx, tenantId);
  const placedBy = actor.type === 'USER' ? actor.id : null;
  const [row] = await tx
    .insert(legalHolds)
    .values({ tenantId, id: idAt(now), userId, from, to, ...checked, placedBy, createdAt: isoOf(now) })
    .returning();
  return act.done({ legalHold: row! }, { of: LEGAL_HOLD, after: row! });
};

const releaseLegalHold: Deed<'releaseLegalHold'> = async (act, input) => {
  const uuid = asUuid(input.id);
  const [before] = uuid
    ? await act.tx.select().from(legalHolds).where(eq(legalHolds.id, uuid)).for('update')
    : [];
  if (!before) throw new Refusal('LEGAL_HOLD_NOT_FOUND');
  act.about(LEGAL_HOLD, before);
  const { reason: releaseReason } = checkedInput(reasoned, input);
  if (before.releasedAt !== null) throw new Refusal('STATE_UNCHANGED');
  const [after] = await act.tx
    .update(legalHolds)
    .set({ releasedAt: isoOf(act.now), releaseReason })
    .where(and(eq(legalHolds.tenantId, before.tenantId), eq(legalHolds.id, before.id)))
    .returning();
  return act.done({ legalHold: after! }, { of: LEGAL_HOLD, before, after: after! });
};

export const deeds = { placeLegalHold, releaseLegalHold };

export const queries = {
  legalHolds: async (_root, { tenantId, withReleased }, context) =>
    await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      const inForce = withReleased ? undefined : isNull(legalHolds.releasedAt);
      return await scope.tx
        .select()
        .from(legalHolds)
        .where(and(eq(legalHolds.tenantId, log), inForce))
        .orderBy(desc(legalHolds.id));
    }),
} satisfies Partial<QueryResolvers>;

export const types = {
  LegalHold: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    placedBy: ({ placedBy }, _args, context) => (placedBy === null ? null : context.load(userById, placedBy)),
  } satisfies Fields<LegalHold, LegalHoldRow, LegalHoldResolvers>,
};

/** Lets no hold be placed on a log until the transaction ends: whoever drops or erases looks for holds after that. */
export async function lockHolds(tx: Tx, tenantId: string): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`holds on ${tenantId}`}, 0))`);
}

/** What holds a log: as a whole, in a time that meets this one, or of this person. */
export async function holdsOn(
  tx: ReadTx,
  tenantId: string,
  what: { readonly time: readonly [string, string] } | { readonly userId: string },
): Promise<LegalHoldRow[]> {
  return await tx
    .select()
    .from(legalHolds)
    .where(and(eq(legalHolds.tenantId, tenantId), isNull(legalHolds.releasedAt), meeting(what)));
}

function meeting(what: Parameters<typeof holdsOn>[2]): SQL | undefined {
  if ('userId' in what) return or(isNull(legalHolds.userId), eq(legalHolds.userId, what.userId));
  const [from, to] = what.time;
  return sql`tstzrange(${legalHolds.from}, ${legalHolds.to}) && tstzrange(${from}::timestamptz, ${to}::timestamptz)`;
}

/** A user, also a deleted one. */
async function userOf(tx: ReadTx, tenantId: string, id: string): Promise<string> {
  const uuid = asUuid(id);
  const where = and(eq(users.tenantId, tenantId), uuid === undefined ? sql`false` : eq(users.id, uuid));
  const [found] = await tx.select({ id: users.id }).from(users).where(where);
  if (!found) throw new Refusal('USER_NOT_FOUND');
  return found.id;
}
