import { and, eq, isNull } from 'drizzle-orm';

import type { Deed, PreparedDeed, Scope } from '../audit/act.ts';
import { tokenHash } from '../platform/crypto.ts';
import { isoOf } from '../platform/ids.ts';
import { normalizedEmail } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { settingsOf, tenants } from '../tenants/tables.ts';
import { living, USER, type UserRow, users } from '../users/tables.ts';
import { beginSession, issueTokens, whyShutOut } from './sessions.ts';
import { refreshTokens, SESSION, sessions } from './tables.ts';
import { provesPassword } from './throttle.ts';

export const login: PreparedDeed<'login'> = {
  async prepare(preparation, { email, password, tenant: subdomain }) {
    const { services } = preparation;
    const { tenantId, accounts } = await preparation.read((scope) =>
      findAccounts(scope, normalizedEmail(email), subdomain ?? undefined),
    );
    preparation.attempted(email, tenantId);
    const account = meantBy(accounts);
    if (account) preparation.about(USER, account.user);

    const proven = await provesPassword(preparation, { email, password }, account?.user);
    if (!account || !proven) throw new Refusal('INVALID_CREDENTIALS');
    const { passwordHash } = account.user;
    const rehashed = services.passwords.needsRehash(passwordHash!)
      ? await services.passwords.rehash(password)
      : passwordHash;

    return async (act) => {
      const [before] = await act.tx
        .select()
        .from(users)
        .where(and(eq(users.tenantId, account.user.tenantId), eq(users.id, account.user.id)))
        .for('update');
      // The password may have changed while it was being checked.
      if (before?.passwordHash !== passwordHash) throw new Refusal('INVALID_CREDENTIALS');
      const shutOut = whyShutOut(before, account.tenant);
      if (shutOut) throw new Refusal(shutOut);
      const [after] = await act.tx
        .update(users)
        .set({ lastLoginAt: isoOf(act.now), passwordHash: rehashed })
        .where(and(eq(users.tenantId, before.tenantId), eq(users.id, before.id)))
        .returning();
      return act.done(await beginSession(act, after!), { of: USER, before, after });
    };
  },
};

/**
 * Several tenants may know the e-mail: then nobody is meant until a tenant is named, and saying so would tell. An account
 * that never had a password does not count, or making one for somebody's e-mail would lock them out elsewhere.
 */
function meantBy<Account extends { readonly user: UserRow }>(
  accounts: readonly Account[],
): Account | undefined {
  if (accounts.length === 1) return accounts[0];
  const used = accounts.filter(({ user }) => user.passwordHash !== null);
  return used.length === 1 ? used[0] : undefined;
}

async function findAccounts({ tx }: Scope, email: string, subdomain: string | undefined) {
  const offered = and(eq(users.email, email), living);
  if (subdomain === undefined) {
    const accounts = await tx
      .select({ user: users, tenant: tenants })
      .from(users)
      .leftJoin(tenants, eq(tenants.id, users.tenantId))
      .where(offered);
    return { tenantId: undefined, accounts };
  }
  const [tenant] = await tx
    .select()
    .from(tenants)
    .where(and(eq(tenants.subdomain, subdomain.trim().toLowerCase()), isNull(tenants.deletedAt)));
  if (!tenant) return { tenantId: undefined, accounts: [] };
  const found = await tx
    .select()
    .from(users)
    .where(and(eq(users.tenantId, tenant.id), offered));
  return { tenantId: tenant.id, accounts: found.map((user) => ({ user, tenant })) };
}

export const logout: Deed<'logout'> = async (act) => {
  if (act.actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  const { tenantId, sessionId } = act.actor;
  const here = and(eq(sessions.tenantId, tenantId), eq(sessions.id, sessionId));
  const [before] = await act.tx.select().from(sessions).where(here).for('update');
  const [after] = await act.tx
    .update(sessions)
    .set({ revokedAt: isoOf(act.now), revokedBecause: 'LOGOUT' })
    .where(here)
    .returning();
  return act.done({ success: true }, { of: SESSION, before, after });
};

export const refreshToken: Deed<'refreshToken'> = async (act, input) => {
  const hash = tokenHash(input.refreshToken);
  const now = isoOf(act.now);
  // The token's row is locked: of two that come with it at once, the second finds it used.
  const [token] = await act.tx.select().from(refreshTokens).where(eq(refreshTokens.hash, hash)).for('update');
  if (!token) throw new Refusal('TOKEN_INVALID');
  const here = and(eq(sessions.tenantId, token.tenantId), eq(sessions.id, token.sessionId));
  const [session] = await act.tx.select().from(sessions).where(here).for('update');
  act.about(SESSION, session!);

  if (session!.revokedAt !== null) throw new Refusal('SESSION_REVOKED');
  if (token.usedAt !== null) {
    const [revoked] = await act.tx
      .update(sessions)
      .set({ revokedAt: now, revokedBecause: 'TOKEN_REUSE' })
      .where(here)
      .returning();
    return act.refused('TOKEN_REUSED', {
      action: 'TOKEN_REUSE_DETECTED',
      of: SESSION,
      before: session,
      after: revoked,
      details: { userId: session!.userId, firstUsedAt: token.usedAt },
    });
  }
  if (token.expiresAt <= now) throw new Refusal('TOKEN_EXPIRED');

  const [owner] = await act.tx
    .select({ user: users, tenant: tenants })
    .from(users)
    .leftJoin(tenants, eq(tenants.id, users.tenantId))
    .where(and(eq(users.tenantId, session!.tenantId), eq(users.id, session!.userId)));
  const shutOut = whyShutOut(owner!.user, owner!.tenant);
  if (shutOut) throw new Refusal(shutOut);

  await act.tx
    .update(refreshTokens)
    .set({ usedAt: now })
    .where(and(eq(refreshTokens.tenantId, token.tenantId), eq(refreshTokens.hash, hash)));
  await act.tx.update(sessions).set({ lastUsedAt: now }).where(here);
  const settings = await settingsOf(act.tx, session!.tenantId);
  const payload = await issueTokens(act, owner!.user, session!, settings);
  return act.done(payload, { action: 'TOKEN_REFRESHED', of: SESSION, before: session, after: session });
};
