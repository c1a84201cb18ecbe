import type { Context, Deeds, Fields } from '../audit/act.ts';
import type { QueryResolvers, Session, SessionResolvers } from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { userById } from '../users/tables.ts';
import { acceptInvitation } from './invitation.ts';
import { ownSessions, revokeOtherSessions, revokeSession } from './ownSessions.ts';
import { changePassword, forgotPassword, resetPassword } from './password.ts';
import { register } from './registration.ts';
import { login, logout, refreshToken } from './signIn.ts';
import type { SessionRow } from './tables.ts';
import { resendVerification, verifyEmail } from './verification.ts';

export const deeds = {
  login,
  logout,
  refreshToken,
  register,
  forgotPassword,
  resetPassword,
  changePassword,
  verifyEmail,
  resendVerification,
  acceptInvitation,
  revokeSession,
  revokeOtherSessions,
} satisfies Partial<Deeds>;

export const queries = {
  me: async (_root, _args, context) => {
    if (context.actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
    return (await context.load(userById, context.actor.id))!;
  },

  sessions: (_root, _args, context) => ownSessions(context),
} satisfies Partial<QueryResolvers>;

/** A session of the caller's own that can still be used. */
export async function visibleSession(context: Context, id: string): Promise<SessionRow | null> {
  const uuid = asUuid(id);
  return uuid === undefined ? null : ((await ownSessions(context, uuid))[0] ?? null);
}

export const types = {
  Session: {
    current: ({ id }, _args, { actor }) => actor.type === 'USER' && actor.sessionId === id,
  } satisfies Fields<Session, SessionRow, SessionResolvers>,
};
