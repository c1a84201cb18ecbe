import { and, eq, isNull } from 'drizzle-orm';

import type { PreparedDeed } from '../audit/act.ts';
import { perform, type Recorder } from '../audit/record.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { Database } from '../platform/db.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { USER, users } from './tables.ts';

/** The system, as the actor of what happens at a start. */
const BOOTSTRAP = {
  actor: { type: 'SYSTEM', system: 'bootstrap' },
  request: { id: 'bootstrap', transport: 'INTERNAL', ipAddress: null, userAgent: null, forwardedFor: null },
  read: () => Promise.reject(new Error('A bootstrap reads in its transaction.')),
} as const;

/** Whether there is a super administrator. */
export async function hasAdministrator(db: Database): Promise<boolean> {
  const administrators = await db.withReadTx('PLATFORM', (tx) =>
    tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.tenantId, PLATFORM_TENANT), isNull(users.deletedAt)))
      .limit(1),
  );
  return administrators.length > 0;
}

/** Makes the first super administrator, on record. Not to be called when there is one. */
export async function createFirstAdministrator(
  recorder: Recorder,
  { email, password }: { readonly email: string; readonly password: string },
): Promise<void> {
  const input = { email, fullName: 'Administrator', role: 'SUPER_ADMIN' } as const;
  await perform(recorder, BOOTSTRAP, 'createUser', firstAdministrator(password), input, {});
}

function firstAdministrator(password: string): PreparedDeed<'createUser'> {
  return {
    async prepare({ services }, { email, fullName, role }) {
      const passwordHash = await services.passwords.hash(password);
      return async (act) => {
        const now = isoOf(act.now);
        const [user] = await act.tx
          .insert(users)
          .values({
            tenantId: PLATFORM_TENANT,
            id: idAt(services.clock.now()),
            email,
            fullName,
            role,
            status: 'ACTIVE',
            passwordHash,
            createdAt: now,
            updatedAt: now,
          })
          .returning();
        return act.done({ user: user! }, { of: USER, after: user! });
      };
    },
  };
}
