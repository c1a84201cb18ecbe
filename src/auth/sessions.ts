import type { Act, Mutations, PayloadOf, UserActor } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { randomToken } from '../platform/crypto.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { type EffectiveSettings, settingsOf, type TenantRow } from '../tenants/tables.ts';
import type { UserRow } from '../users/tables.ts';
import { scopesOf, UNVERIFIED_SCOPES } from './roles.ts';
import { refreshTokens, type SessionRow, sessions } from './tables.ts';

const DAY_MICROS = 86_400_000_000n;

/** Begins a session for a user who has just proven who they are, and makes them the actor of the record. */
export async function beginSession<M extends Mutations>(
  act: Act<M>,
  user: UserRow,
): Promise<PayloadOf<'login'>> {
  const settings = await settingsOf(act.tx, user.tenantId);
  const session: SessionRow = {
    tenantId: user.tenantId,
    id: idAt(act.services.clock.now()),
    userId: user.id,
    ipAddress: act.request.ipAddress,
    userAgent: act.request.userAgent,
    createdAt: isoOf(act.now),
    lastUsedAt: isoOf(act.now),
    expiresAt: isoOf(act.now + BigInt(settings.maxDays) * DAY_MICROS),
    revokedAt: null,
    revokedBecause: null,
  };
  await act.tx.insert(sessions).values(session);
  return await issueTokens(act, user, session, settings);
}

/** Hands out the next pair of tokens of a session. */
export async function issueTokens<M extends Mutations>(
  act: Act<M>,
  user: UserRow,
  session: SessionRow,
  settings: EffectiveSettings,
): Promise<PayloadOf<'login'>> {
  const refresh = randomToken();
  const lasts = isoOf(act.now + BigInt(settings.idleDays) * DAY_MICROS);
  await act.tx.insert(refreshTokens).values({
    tenantId: user.tenantId,
    hash: refresh.hash,
    sessionId: session.id,
    createdAt: isoOf(act.now),
    expiresAt: lasts < session.expiresAt ? lasts : session.expiresAt,
  });
  act.identified(userActor(user, session.id, settings));
  const access = act.services.tokens.sign({ userId: user.id, sessionId: session.id });
  return { accessToken: access.token, refreshToken: refresh.token, expiresAt: access.expiresAt, user };
}

/** A user as an actor. Where the tenant wants e-mails proven, who has not done so holds only what everybody does. */
export function userActor(
  user: Pick<UserRow, 'id' | 'tenantId' | 'role' | 'email' | 'fullName' | 'emailVerifiedAt'>,
  sessionId: string,
  { requireVerifiedEmail }: Pick<EffectiveSettings, 'requireVerifiedEmail'>,
): UserActor {
  const withheld = requireVerifiedEmail && user.emailVerifiedAt === null;
  return {
    type: 'USER',
    id: user.id,
    tenantId: user.tenantId,
    role: user.role,
    email: user.email,
    name: user.fullName,
    sessionId,
    ...(withheld
      ? { scopes: UNVERIFIED_SCOPES, withheld: 'EMAIL_NOT_VERIFIED' }
      : { scopes: scopesOf(user.role) }),
  };
}

/** Why an existing user may not act, if so. `tenant` is absent for those who belong to none. */
export function whyShutOut(
  user: Pick<UserRow, 'tenantId' | 'status' | 'deletedAt'>,
  tenant: Pick<TenantRow, 'status' | 'deletedAt'> | null,
): 'USER_INACTIVE' | 'TENANT_INACTIVE' | undefined {
  if (user.deletedAt !== null || user.status !== 'ACTIVE') return 'USER_INACTIVE';
  if (user.tenantId === PLATFORM_TENANT) return undefined;
  return tenant?.status === 'ACTIVE' && tenant.deletedAt === null ? undefined : 'TENANT_INACTIVE';
}
