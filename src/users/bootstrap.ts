import { and, eq, isNull } from 'drizzle-orm';

import type { PreparedDeed } from '../audit/act.ts';
import { perform, type Recorder } from '../audit/record.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { USER, users } from './tables.ts';

/** The system, as the actor of what happens at a start. */
const BOOTSTRAP = {
  actor: { type: 'SYSTEM', system: 'bootstrap' },
  request: { id: 'bootstrap', transport: 'INTERNAL', ipAddress: null, userAgent: null, forwardedFor: null },
  read: () => Promise.reject(new Error('A bootstrap reads in its transaction.')),
} as const;

/** Makes the first super administrator, on record. False when there is one already, also when another process is first. */
export async function createFirstAdministrator(
  recorder: Recorder,
  { email, password }: { readonly email: string; readonly password: string },
): Promise<boolean> {
  const administrators = await recorder.db.withReadTx('PLATFORM', (tx) =>
    tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.tenantId, PLATFORM_TENANT), isNull(users.deletedAt)))
      .limit(1),
  );
  if (administrators.length > 0) return false;
  try {
    await perform(
      recorder,
      BOOTSTRAP,
      'createUser',
      firstAdministrator(password),
      { email, fullName: 'Administrator', role: 'SUPER_ADMIN' },
      {},
    );
    return true;
  } catch (cause) {
    if (cause instanceof Refusal && cause.reason === 'EMAIL_TAKEN') return false;
    throw cause;
  }
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
