import { setTimeout as pause } from 'node:timers/promises';

import { and, eq, isNull } from 'drizzle-orm';

import type { Deed, PreparedDeed } from '../audit/act.ts';
import { isoOf } from '../platform/ids.ts';
import { normalizedEmail } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenants } from '../tenants/tables.ts';
import { USER, type UserRow, users } from '../users/tables.ts';
import { whyShutOut } from './sessions.ts';
import { mailedLink, mailedTokens, revokeSessions, takeMailed } from './tables.ts';
import { provesPassword } from './throttle.ts';

const HOUR_MICROS = 3_600_000_000n;
/** Requests for a link take a multiple of this. */
const ALIKE_MS = 25;

export const forgotPassword: Deed<'forgotPassword'> = async (act, { email }) => {
  const since = performance.now();
  act.attempted(email);
  const accounts = await act.tx
    .select({ user: users, tenant: tenants })
    .from(users)
    .leftJoin(tenants, eq(tenants.id, users.tenantId))
    .where(and(eq(users.email, normalizedEmail(email)), isNull(users.deletedAt)));
  // An e-mail that several tenants know gets a link each; the record is about the first.
  const able = accounts.filter(({ user, tenant }) => !whyShutOut(user, tenant)).map(({ user }) => user);
  for (const user of able) {
    const link = await mailedLink(act, user, 'PASSWORD_RESET', HOUR_MICROS);
    act.afterwards(() => act.services.mailer.send(resetMail(user, link)));
  }
  // Making a link takes a while, which would tell that there is somebody to make it for.
  await pause(ALIKE_MS - ((performance.now() - since) % ALIKE_MS));
  return act.done({ accepted: true }, able[0] ? { of: USER, before: able[0], after: able[0] } : { of: USER });
};

function resetMail(user: UserRow, link: string) {
  return {
    to: user.email,
    subject: 'Set a new password',
    text: [
      `Hello ${user.fullName},`,
      'somebody, hopefully you, asked for a new password. This link sets it, once, within an hour:',
      link,
      'If it was not you, there is nothing to do: your password still holds.',
    ].join('\n\n'),
  };
}

export const resetPassword: PreparedDeed<'resetPassword'> = {
  async prepare({ services }, { token, newPassword }) {
    const passwordHash = await services.passwords.hash(newPassword);

    return async (act) => {
      const now = isoOf(act.now);
      const mailed = await takeMailed(act, token, 'PASSWORD_RESET');
      const here = and(eq(users.tenantId, mailed.tenantId), eq(users.id, mailed.userId));
      const [before] = await act.tx.select().from(users).where(here).for('update');
      act.about(USER, before!);
      if (mailed.expiresAt <= now) throw new Refusal('TOKEN_EXPIRED');
      if (before!.deletedAt !== null || before!.status !== 'ACTIVE') throw new Refusal('USER_INACTIVE');

      await act.tx
        .update(mailedTokens)
        .set({ usedAt: now })
        .where(and(eq(mailedTokens.tenantId, mailed.tenantId), eq(mailedTokens.userId, mailed.userId)));
      const [after] = await act.tx
        .update(users)
        // Who holds a link that was mailed has the mailbox.
        .set({ passwordHash, emailVerifiedAt: before!.emailVerifiedAt ?? now, updatedAt: now })
        .where(here)
        .returning();
      await revokeSessions(act, after!, 'PASSWORD_CHANGE');
      return act.done({ success: true }, { of: USER, before, after });
    };
  },
};

export const changePassword: PreparedDeed<'changePassword'> = {
  async prepare(preparation, { currentPassword, newPassword }) {
    const { actor, read, services } = preparation;
    if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
    const here = and(eq(users.tenantId, actor.tenantId), eq(users.id, actor.id));
    const [known] = await read(({ tx }) => tx.select().from(users).where(here));
    const typed = { email: known!.email, password: currentPassword };
    const proven = await provesPassword(preparation, typed, known);
    if (!proven) throw new Refusal('INVALID_CREDENTIALS');
    const passwordHash = await services.passwords.hash(newPassword);

    return async (act) => {
      const [before] = await act.tx.select().from(users).where(here).for('update');
      if (before!.passwordHash !== known!.passwordHash) throw new Refusal('INVALID_CREDENTIALS');
      const [after] = await act.tx
        .update(users)
        .set({ passwordHash, updatedAt: isoOf(act.now) })
        .where(here)
        .returning();
      await revokeSessions(act, after!, 'PASSWORD_CHANGE', actor.sessionId);
      return act.done({ user: after! }, { of: USER, before, after });
    };
  },
};
