import { and, eq } from 'drizzle-orm';
import { z } from 'zod';

import type { PreparedDeed } from '../audit/act.ts';
import { isoOf } from '../platform/ids.ts';
import { checkedInput, name } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenants } from '../tenants/tables.ts';
import { USER, users } from '../users/tables.ts';
import { beginSession, whyShutOut } from './sessions.ts';
import { endLinks, takeMailed } from './tables.ts';

const acceptance = z.object({ fullName: name });

export const acceptInvitation: PreparedDeed<'acceptInvitation'> = {
  async prepare({ services }, input) {
    const { fullName } = checkedInput(acceptance, input);
    const passwordHash = await services.passwords.hash(input.password);

    return async (act) => {
      const now = isoOf(act.now);
      const mailed = await takeMailed(act, input.token, 'INVITATION');
      const here = and(eq(users.tenantId, mailed.tenantId), eq(users.id, mailed.userId));
      const [before] = await act.tx.select().from(users).where(here).for('update');
      act.about(USER, before!);
      if (mailed.expiresAt <= now) throw new Refusal('TOKEN_EXPIRED');
      if (before!.status !== 'INVITED') throw new Refusal('USER_INACTIVE');
      const [tenant] = await act.tx.select().from(tenants).where(eq(tenants.id, mailed.tenantId));
      const shutOut = whyShutOut({ ...before!, status: 'ACTIVE' }, tenant ?? null);
      if (shutOut) throw new Refusal(shutOut);

      await endLinks(act, before!, 'INVITATION');
      const [after] = await act.tx
        .update(users)
        .set({
          fullName,
          passwordHash,
          status: 'ACTIVE',
          // Who holds the link that was mailed has the mailbox.
          emailVerifiedAt: now,
          lastLoginAt: now,
          updatedAt: now,
        })
        .where(here)
        .returning();
      return act.done(await beginSession(act, after!), { of: USER, before, after });
    };
  },
};
