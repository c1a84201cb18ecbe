import { and, eq, isNull, ne, sql } from 'drizzle-orm';
import { check, index, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';

import type { Act, Mutations } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { bytea, inet, timestamptz } from '../platform/columns.ts';
import { randomToken } from '../platform/crypto.ts';
import { isoOf } from '../platform/ids.ts';

/** One sign-in, and all refresh tokens that descend from it. */
export const sessions = pgTable(
  'sessions',
  {
    tenantId: uuid('tenant_id').notNull(),
    id: uuid('id').notNull(),
    userId: uuid('user_id').notNull(),
    ipAddress: inet('ip_address'),
    userAgent: text('user_agent'),
    createdAt: timestamptz('created_at').notNull(),
    expiresAt: timestamptz('expires_at').notNull(),
    revokedAt: timestamptz('revoked_at'),
    revokedBecause: text('revoked_because').$type<
      'LOGOUT' | 'TOKEN_REUSE' | 'PASSWORD_CHANGE' | 'USER_DEACTIVATED' | 'USER_DELETED'
    >(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    index('sessions_id').on(table.id),
    index('sessions_user').on(table.tenantId, table.userId),
  ],
);

export type SessionRow = typeof sessions.$inferSelect;

export const SESSION = entity<SessionRow>()({
  resource: 'SESSION',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    userId: 'OMIT',
    ipAddress: 'OMIT',
    userAgent: 'OMIT',
    createdAt: 'OMIT',
    expiresAt: 'TRACK',
    revokedAt: 'TRACK',
    revokedBecause: 'TRACK',
  },
  id: (session) => session.id,
  tenantId: (session) => session.tenantId,
  label: () => null,
  subject: (session) => session.userId,
});

/** Refresh tokens by hash. A used one stays, so that its second use is noticed. */
export const refreshTokens = pgTable(
  'refresh_tokens',
  {
    tenantId: uuid('tenant_id').notNull(),
    hash: bytea('hash').notNull(),
    sessionId: uuid('session_id').notNull(),
    createdAt: timestamptz('created_at').notNull(),
    expiresAt: timestamptz('expires_at').notNull(),
    usedAt: timestamptz('used_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.hash] }),
    index('refresh_tokens_hash').on(table.hash),
    index('refresh_tokens_session').on(table.tenantId, table.sessionId),
  ],
);

/** Links sent by mail, by the hash of their token. Each works once. */
export const mailedTokens = pgTable(
  'mailed_tokens',
  {
    tenantId: uuid('tenant_id').notNull(),
    hash: bytea('hash').notNull(),
    userId: uuid('user_id').notNull(),
    purpose: text('purpose').$type<'PASSWORD_RESET'>().notNull(),
    createdAt: timestamptz('created_at').notNull(),
    expiresAt: timestamptz('expires_at').notNull(),
    usedAt: timestamptz('used_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.hash] }),
    index('mailed_tokens_hash').on(table.hash),
    index('mailed_tokens_user').on(table.tenantId, table.userId),
    check('mailed_tokens_purpose', sql`purpose in ('PASSWORD_RESET')`),
  ],
);

interface Account {
  readonly tenantId: string;
  readonly id: string;
}

/** Ends the open sessions of a user, all or all but one. Takes effect on the next request. */
export async function revokeSessions<M extends Mutations>(
  act: Act<M>,
  user: Account,
  because: NonNullable<SessionRow['revokedBecause']>,
  except?: string,
): Promise<void> {
  await act.tx
    .update(sessions)
    .set({ revokedAt: isoOf(act.now), revokedBecause: because })
    .where(
      and(
        eq(sessions.tenantId, user.tenantId),
        eq(sessions.userId, user.id),
        isNull(sessions.revokedAt),
        except === undefined ? undefined : ne(sessions.id, except),
      ),
    );
}

/** Makes the address of a page where a user sets a password, once, until `lastsMicros` from now. */
export async function passwordLink<M extends Mutations>(
  act: Act<M>,
  user: Account,
  lastsMicros: bigint,
): Promise<string> {
  const { token, hash } = randomToken();
  await act.tx.insert(mailedTokens).values({
    tenantId: user.tenantId,
    hash,
    userId: user.id,
    purpose: 'PASSWORD_RESET',
    createdAt: isoOf(act.now),
    expiresAt: isoOf(act.now + lastsMicros),
  });
  return `${act.services.publicUrl}/console/reset-password?token=${token}`;
}
