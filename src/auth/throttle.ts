import { and, eq, gt, inArray, isNull, or } from 'drizzle-orm';

import type { Preparation } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { addressKey } from '../platform/addressKey.ts';
import { isoOf } from '../platform/ids.ts';
import { normalizedEmail } from '../platform/input.ts';
import { living, type UserRow, users } from '../users/tables.ts';
import { sessions } from './tables.ts';

/** How long an address is known after a session began there. */
const KNOWN_MICROS = 30n * 86_400_000_000n;
/** No user has this id. */
const NOBODY = PLATFORM_TENANT;

/**
 * Whether the password is that of the account, which is undefined where none is meant. Rejects with Throttled when too many
 * attempts have failed (platform/throttle.ts), then the password is not looked at; and with PasswordQueueFull.
 */
export async function provesPassword(
  { actor, request, services, now, read }: Preparation,
  typed: { readonly email: string; readonly password: string },
  account: UserRow | undefined,
): Promise<boolean> {
  const email = normalizedEmail(typed.email);
  // The same questions whether or not there is an account: time would tell.
  const { addresses, namesakes } = await read(async ({ tx }) => ({
    addresses: await tx
      .selectDistinct({ ip: sessions.ipAddress })
      .from(sessions)
      .where(
        and(
          eq(sessions.tenantId, account?.tenantId ?? NOBODY),
          eq(sessions.userId, account?.id ?? NOBODY),
          gt(sessions.createdAt, isoOf(now - KNOWN_MICROS)),
          // Not where its owner, or we, have put somebody out.
          or(
            isNull(sessions.revokedBecause),
            inArray(sessions.revokedBecause, ['LOGOUT', 'PASSWORD_CHANGE']),
          ),
        ),
      ),
    namesakes: await tx.$count(users, and(eq(users.email, email), living)),
  }));
  const here = addressKey(request.ipAddress);
  return await services.throttle.check(
    {
      account: services.vault.emailHmac(email).toString('base64url'),
      tenantId: account?.tenantId,
      ipAddress: request.ipAddress,
      known: here !== null && addresses.some(({ ip }) => addressKey(ip) === here),
      // Whoever may make an account for an e-mail must not make good for guesses at another one's. A user who is signed in
      // does not see the others.
      forgets: actor.type === 'ANONYMOUS' && namesakes === 1,
    },
    () => services.passwords.verify(typed.password, account?.passwordHash ?? null),
  );
}
