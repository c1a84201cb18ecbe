import { and, eq } from 'drizzle-orm';

import type { Actor, Services } from '../audit/act.ts';
import { API_KEY_PREFIX, apiKeys } from '../delivery/tables.ts';
import { tokenHash } from '../platform/crypto.ts';
import type { Database } from '../platform/db.ts';
import { isoOf } from '../platform/ids.ts';
import { effective, tenants, tenantSettings } from '../tenants/tables.ts';
import { users } from '../users/tables.ts';
import { userActor, whyShutOut } from './sessions.ts';
import { sessions } from './tables.ts';

/** What is looked at for each request, and no more. */
const PRINCIPAL = {
  session: { id: sessions.id, revokedAt: sessions.revokedAt, expiresAt: sessions.expiresAt },
  user: {
    id: users.id,
    tenantId: users.tenantId,
    role: users.role,
    email: users.email,
    fullName: users.fullName,
    status: users.status,
    emailVerifiedAt: users.emailVerifiedAt,
    deletedAt: users.deletedAt,
  },
  tenant: { status: tenants.status, deletedAt: tenants.deletedAt },
  settings: { requireVerifiedEmail: tenantSettings.requireVerifiedEmail },
};

/**
 * Who an access token stands for, as the database knows them now: an ended session, a user or tenant that was shut out,
 * and a changed role count from this request on. Never throws for a bad token: that is nobody, with the reason.
 */
export async function actorOf(db: Database, services: Services, token: string | undefined): Promise<Actor> {
  if (token === undefined) return { type: 'ANONYMOUS' };
  if (token.startsWith(API_KEY_PREFIX)) return await actorOfKey(db, services, token);
  const claims = services.tokens.verify(token);
  if (!claims.ok) return { type: 'ANONYMOUS', because: claims.reason };
  return await actorOfSession(db, services, claims);
}

/** Who a session stands for, if it is that user's; as `actorOf`. */
export async function actorOfSession(
  db: Database,
  services: Services,
  { sessionId, userId }: { readonly sessionId: string; readonly userId?: string },
): Promise<Actor> {
  const [found] = await db.withReadTx('PLATFORM', (tx) =>
    tx
      .select(PRINCIPAL)
      .from(sessions)
      .innerJoin(users, and(eq(users.tenantId, sessions.tenantId), eq(users.id, sessions.userId)))
      .leftJoin(tenants, eq(tenants.id, sessions.tenantId))
      .leftJoin(tenantSettings, eq(tenantSettings.tenantId, sessions.tenantId))
      .where(eq(sessions.id, sessionId)),
  );
  if (!found || (userId !== undefined && found.user.id !== userId))
    return { type: 'ANONYMOUS', because: 'TOKEN_INVALID' };
  const { session, user, tenant, settings } = found;
  if (session.revokedAt !== null || session.expiresAt <= isoOf(services.clock.now())) {
    return { type: 'ANONYMOUS', because: 'SESSION_REVOKED' };
  }
  const because = whyShutOut(user, tenant);
  return because
    ? { type: 'ANONYMOUS', because }
    : userActor(user, session.id, effective(user.tenantId, settings));
}

/** Who an API key stands for. It is refused in one word, whether it is unknown, revoked or over. */
async function actorOfKey(db: Database, { clock }: Services, key: string): Promise<Actor> {
  const [found] = await db.withReadTx('PLATFORM', (tx) =>
    tx
      .select({ key: apiKeys, tenant: { status: tenants.status, deletedAt: tenants.deletedAt } })
      .from(apiKeys)
      .leftJoin(tenants, eq(tenants.id, apiKeys.tenantId))
      .where(eq(apiKeys.hash, tokenHash(key))),
  );
  if (!found) return { type: 'ANONYMOUS', because: 'TOKEN_INVALID' };
  const { id, tenantId, name, scopes, expiresAt, revokedAt } = found.key;
  const isOver = revokedAt !== null || (expiresAt !== null && expiresAt <= isoOf(clock.now()));
  if (isOver) return { type: 'ANONYMOUS', because: 'TOKEN_INVALID' };
  const { tenant } = found;
  if (tenant && (tenant.deletedAt !== null || tenant.status !== 'ACTIVE'))
    return { type: 'ANONYMOUS', because: 'TENANT_INACTIVE' };
  const held = new Set(scopes);
  // Who reads what is about all reads what is about somebody.
  if (held.has('SECURITY_READ')) held.add('SECURITY_READ_OWN');
  return { type: 'API_KEY', id, tenantId, name, scopes: held };
}
