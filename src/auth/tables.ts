import { and, eq, isNull, ne, sql } from 'drizzle-orm';
import { check, index, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';

import type { Act, Mutations } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { bigint, bytea, inet, timestamptz } from '../platform/columns.ts';
import { randomToken, tokenHash } from '../platform/crypto.ts';
import { isoOf } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';

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
    /** When a refresh token was last handed out. */
    lastUsedAt: timestamptz('last_used_at').notNull(),
    expiresAt: timestamptz('expires_at').notNull(),
    revokedAt: timestamptz('revoked_at'),
    revokedBecause: text('revoked_because').$type<
      'LOGOUT' | 'TOKEN_REUSE' | 'PASSWORD_CHANGE' | 'USER_DEACTIVATED' | 'USER_DELETED' | 'REVOKED'
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
    lastUsedAt: 'OMIT',
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

/** What a mailed link is good for. */
export type MailedPurpose = 'PASSWORD_RESET' | 'EMAIL_VERIFICATION' | 'INVITATION';

/** Links sent by mail, by the hash of their token. Each works once. */
export const mailedTokens = pgTable(
  'mailed_tokens',
  {
    tenantId: uuid('tenant_id').notNull(),
    hash: bytea('hash').notNull(),
    userId: uuid('user_id').notNull(),
    purpose: text('purpose').$type<MailedPurpose>().notNull(),
    createdAt: timestamptz('created_at').notNull(),
    expiresAt: timestamptz('expires_at').notNull(),
    usedAt: timestamptz('used_at'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.hash] }),
    index('mailed_tokens_hash').on(table.hash),
    index('mailed_tokens_user').on(table.tenantId, table.userId),
    check('mailed_tokens_purpose', sql`purpose in ('PASSWORD_RESET', 'EMAIL_VERIFICATION', 'INVITATION')`),
  ],
);

/**
 * Failed attempts by key, shared by all processes; the columns are those of rate-limiter-flexible. The table is unlogged: a
 * crash of the database forgets the attempts, which costs no truth.
 *
 * @public Read by drizzle-kit; rate-limiter-flexible knows it by name.
 */
export const throttleCounters = pgTable('throttle_counters', {
  key: text('key').primaryKey(),
  points: integer('points').notNull().default(0),
  /** In milliseconds since 1970. */
  expire: bigint('expire'),
});

interface Account {
  readonly tenantId: string;
  readonly id: string;
}

/** Ends the open sessions of a user, all or all but one, from the next request on. Resolves to their ids. */
export async function revokeSessions<M extends Mutations>(
  act: Act<M>,
  user: Account,
  because: NonNullable<SessionRow['revokedBecause']>,
  except?: string,
): Promise<readonly string[]> {
  const ended = await act.tx
    .update(sessions)
    .set({ revokedAt: isoOf(act.now), revokedBecause: because })
    .where(
      and(
        eq(sessions.tenantId, user.tenantId),
        eq(sessions.userId, user.id),
        isNull(sessions.revokedAt),
        except === undefined ? undefined : ne(sessions.id, except),
      ),
    )
    .returning({ id: sessions.id });
  return ended.map(({ id }) => id);
}

/** The page each kind of link leads to. */
const PAGES: Readonly<Record<MailedPurpose, string>> = {
  PASSWORD_RESET: 'reset-password',
  EMAIL_VERIFICATION: 'verify-email',
  INVITATION: 'accept-invitation',
};

/** Makes a link to be mailed to a user, good once and until `lastsMicros` from now. */
export async function mailedLink<M extends Mutations>(
  act: Act<M>,
  user: Account,
  purpose: MailedPurpose,
  lastsMicros: bigint,
): Promise<string> {
  const { token, hash } = randomToken();
  await act.tx.insert(mailedTokens).values({
    tenantId: user.tenantId,
    hash,
    userId: user.id,
    purpose,
    createdAt: isoOf(act.now),
    expiresAt: isoOf(act.now + lastsMicros),
  });
  return `${act.services.publicUrl}/console/${PAGES[purpose]}?token=${token}`;
}

/** Ends the links of that kind that were mailed to a user before. */
export async function endLinks<M extends Mutations>(
  act: Act<M>,
  user: Account,
  purpose: MailedPurpose,
): Promise<void> {
  await act.tx
    .update(mailedTokens)
    .set({ usedAt: isoOf(act.now) })
    .where(
      and(
        eq(mailedTokens.tenantId, user.tenantId),
        eq(mailedTokens.userId, user.id),
        eq(mailedTokens.purpose, purpose),
        isNull(mailedTokens.usedAt),
      ),
    );
}

/** A mailed token for that purpose, locked until the act ends: of two that come with it at once, the second finds it used. */
export async function takeMailed<M extends Mutations>(
  act: Act<M>,
  token: string,
  purpose: MailedPurpose,
): Promise<typeof mailedTokens.$inferSelect> {
  const [mailed] = await act.tx
    .select()
    .from(mailedTokens)
    .where(and(eq(mailedTokens.hash, tokenHash(token)), eq(mailedTokens.purpose, purpose)))
    .for('update');
  if (!mailed || mailed.usedAt !== null) throw new Refusal('TOKEN_INVALID');
  return mailed;
}

const VERIFICATION_MICROS = 3n * 86_400_000_000n;

/** Mails a user a link that proves their e-mail; links sent before stop working. */
export async function sendVerification<M extends Mutations>(
  act: Act<M>,
  user: Account & { readonly email: string; readonly fullName: string },
): Promise<void> {
  await endLinks(act, user, 'EMAIL_VERIFICATION');
  const link = await mailedLink(act, user, 'EMAIL_VERIFICATION', VERIFICATION_MICROS);
  act.afterwards(() =>
    act.services.mailer.send({
      to: user.email,
      subject: 'Is this your e-mail?',
      text: [
        `Hello ${user.fullName},`,
        'this link says that this e-mail is yours, once, within three days:',
        link,
        'If you do not expect this mail, there is nothing to do.',
      ].join('\n\n'),
    }),
  );
}
