import type { Act, Mutations, PayloadOf, UserActor } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { randomToken } from '../platform/crypto.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import type { TenantRow } from '../tenants/tables.ts';
import type { UserRow } from '../users/tables.ts';
import { scopesOf } from './roles.ts';
import { refreshTokens, type SessionRow, sessions } from './tables.ts';

const DAY_MICROS = 86_400_000_000n;
/** How long a session lasts at most, however often it is prolonged. */
const SESSION_MICROS = 30n * DAY_MICROS;
/** How long a session lasts without being prolonged. */
const REFRESH_TOKEN_MICROS = 7n * DAY_MICROS;

/** Begins a session for a user who has just proven who they are, and makes them the actor of the record. */
export async function beginSession<M extends Mutations>(
  act: Act<M>,
  user: UserRow,
): Promise<PayloadOf<'login'>> {
  const session: SessionRow = {
    tenantId: user.tenantId,
    id: idAt(act.services.clock.now()),
    userId: user.id,
    ipAddress: act.request.ipAddress,
    userAgent: act.request.userAgent,
    createdAt: isoOf(act.now),
    expiresAt: isoOf(act.now + SESSION_MICROS),
    revokedAt: null,
    revokedBecause: null,
  };
  await act.tx.insert(sessions).values(session);
  return await issueTokens(act, user, session);
}

/** Hands out the next pair of tokens of a session. */
export async function issueTokens<M extends Mutations>(
  act: Act<M>,
  user: UserRow,
  session: SessionRow,
): Promise<PayloadOf<'login'>> {
  const refresh = randomToken();
  const lasts = isoOf(act.now + REFRESH_TOKEN_MICROS);
  await act.tx.insert(refreshTokens).values({
    tenantId: user.tenantId,
    hash: refresh.hash,
    sessionId: session.id,
    createdAt: isoOf(act.now),
    expiresAt: lasts < session.expiresAt ? lasts : session.expiresAt,
  });
  act.identified(userActor(user, session.id));
  const access = act.services.tokens.sign({ userId: user.id, sessionId: session.id });
  return { accessToken: access.token, refreshToken: refresh.token, expiresAt: access.expiresAt, user };
}

/** A user as an actor. */
export function userActor(user: UserRow, sessionId: string): UserActor {
  return {
    type: 'USER',
    id: user.id,
    tenantId: user.tenantId,
    role: user.role,
    email: user.email,
    name: user.fullName,
    sessionId,
    scopes: scopesOf(user.role),
  };
}

/** Why an existing user may not act, if so. `tenant` is absent for those who belong to none. */
export function whyShutOut(
  user: UserRow,
  tenant: TenantRow | null,
): 'USER_INACTIVE' | 'TENANT_INACTIVE' | undefined {
  if (user.deletedAt !== null || user.status !== 'ACTIVE') return 'USER_INACTIVE';
  if (user.tenantId === PLATFORM_TENANT) return undefined;
  return tenant?.status === 'ACTIVE' && tenant.deletedAt === null ? undefined : 'TENANT_INACTIVE';
}
