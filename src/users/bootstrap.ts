import { and, eq, isNull } from 'drizzle-orm';
import { z } from 'zod';

import type { PreparedDeed } from '../audit/act.ts';
import { perform, type Recorder } from '../audit/record.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { Database } from '../platform/db.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, email, name } from '../platform/input.ts';
import { USER, users } from './tables.ts';

/** The system, as the actor of what happens at a start, or by a command of whoever runs it. */
const callerBy = (system: 'bootstrap' | 'command') => ({
  actor: { type: 'SYSTEM', system } as const,
  request: {
    id: system,
    transport: 'INTERNAL',
    ipAddress: null,
    userAgent: null,
    forwardedFor: null,
  } as const,
  read: () => Promise.reject(new Error('A bootstrap reads in its transaction.')),
});

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

export interface NewAdministrator {
  readonly email: string;
  readonly password: string;
  readonly fullName?: string | undefined;
  readonly by: 'bootstrap' | 'command';
}

/** Makes a super administrator, on record. Throws a Refusal, EMAIL_TAKEN where there is one with that e-mail. */
export async function createAdministrator(
  recorder: Recorder,
  { email, password, fullName = 'Administrator', by }: NewAdministrator,
): Promise<void> {
  const input = { email, fullName, role: 'SUPER_ADMIN' } as const;
  await perform(recorder, callerBy(by), 'createUser', administrator(password), input, {});
}

const creation = z.object({ email, fullName: name });

function administrator(password: string): PreparedDeed<'createUser'> {
  return {
    async prepare({ services }, { role, ...input }) {
      const checked = checkedInput(creation, input);
      const passwordHash = await services.passwords.hash(password);
      return async (act) => {
        const now = isoOf(act.now);
        const [user] = await act.tx
          .insert(users)
          .values({
            tenantId: PLATFORM_TENANT,
            id: idAt(services.clock.now()),
            ...checked,
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
