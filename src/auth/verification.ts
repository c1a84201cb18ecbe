import { and, eq } from 'drizzle-orm';

import type { Deed } from '../audit/act.ts';
import { isoOf } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { USER, users } from '../users/tables.ts';
import { endLinks, sendVerification, takeMailed } from './tables.ts';

export const verifyEmail: Deed<'verifyEmail'> = async (act, { token }) => {
  const now = isoOf(act.now);
  const mailed = await takeMailed(act, token, 'EMAIL_VERIFICATION');
  const here = and(eq(users.tenantId, mailed.tenantId), eq(users.id, mailed.userId));
  const [before] = await act.tx.select().from(users).where(here).for('update');
  act.about(USER, before!);
  if (mailed.expiresAt <= now) throw new Refusal('TOKEN_EXPIRED');
  if (before!.deletedAt !== null || before!.status !== 'ACTIVE') throw new Refusal('USER_INACTIVE');
  await endLinks(act, before!, 'EMAIL_VERIFICATION');
  const [after] = await act.tx
    .update(users)
    .set({ emailVerifiedAt: now, updatedAt: now })
    .where(here)
    .returning();
  return act.done({ success: true }, { of: USER, before, after });
};

export const resendVerification: Deed<'resendVerification'> = async (act) => {
  if (act.actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  const here = and(eq(users.tenantId, act.actor.tenantId), eq(users.id, act.actor.id));
  const [user] = await act.tx.select().from(users).where(here).for('update');
  act.about(USER, user!);
  if (user!.emailVerifiedAt !== null) throw new Refusal('STATE_UNCHANGED');
  await sendVerification(act, user!);
  return act.done({ success: true }, { of: USER, before: user, after: user });
};
