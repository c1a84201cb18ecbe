import { and, desc, eq, gt, isNull, type SQL, sql } from 'drizzle-orm';

import type { Context, Deed, UserActor } from '../audit/act.ts';
import { asUuid, isoOf } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { refreshTokens, revokeSessions, SESSION, type SessionRow, sessions } from './tables.ts';

/** The actor's sessions that can still be used, or the one with that id; newest first. */
export async function ownSessions(context: Context, id?: string): Promise<readonly SessionRow[]> {
  const { actor } = context;
  if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  return await context.read(({ tx, now }) =>
    tx
      .select()
      .from(sessions)
      .where(and(usable(actor, isoOf(now)), id === undefined ? undefined : eq(sessions.id, id)))
      .orderBy(desc(sessions.id)),
  );
}

/** Neither ended nor run out: a session whose refresh token has expired cannot be prolonged. */
function usable(actor: UserActor, now: string): SQL | undefined {
  return and(
    eq(sessions.tenantId, actor.tenantId),
    eq(sessions.userId, actor.id),
    isNull(sessions.revokedAt),
    gt(sessions.expiresAt, now),
    sql`exists (select from ${refreshTokens} where ${refreshTokens.tenantId} = ${sessions.tenantId}
      and ${refreshTokens.sessionId} = ${sessions.id} and ${refreshTokens.usedAt} is null
      and ${refreshTokens.expiresAt} > ${now})`,
  );
}

export const revokeSession: Deed<'revokeSession'> = async (act, { sessionId }) => {
  const { actor } = act;
  if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  const now = isoOf(act.now);
  const uuid = asUuid(sessionId);
  const here = uuid ? and(usable(actor, now), eq(sessions.id, uuid)) : sql`false`;
  const [before] = await act.tx.select().from(sessions).where(here).for('update');
  if (!before) throw new Refusal('SESSION_NOT_FOUND');
  act.about(SESSION, before);
  const [after] = await act.tx
    .update(sessions)
    .set({ revokedAt: now, revokedBecause: 'REVOKED' })
    .where(and(eq(sessions.tenantId, before.tenantId), eq(sessions.id, before.id)))
    .returning();
  return act.done({ session: after! }, { of: SESSION, before, after });
};

export const revokeOtherSessions: Deed<'revokeOtherSessions'> = async (act) => {
  const { actor } = act;
  if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  const sessionIds = await revokeSessions(act, actor, 'REVOKED', actor.sessionId);
  return act.done({ count: sessionIds.length }, { of: SESSION, details: { userId: actor.id, sessionIds } });
};
