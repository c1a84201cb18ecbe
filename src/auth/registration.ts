import { z } from 'zod';

import type { PreparedDeed } from '../audit/act.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, email, name, subdomain } from '../platform/input.ts';
import { TENANT, tenants } from '../tenants/tables.ts';
import { USER, users } from '../users/tables.ts';
import { beginSession } from './sessions.ts';
import { sendVerification } from './tables.ts';

const registration = z.object({ tenantName: name, subdomain, email, fullName: name });

export const register: PreparedDeed<'register'> = {
  async prepare({ services }, input) {
    const checked = checkedInput(registration, input);
    const passwordHash = await services.passwords.hash(input.password);

    return async (act) => {
      const now = isoOf(act.now);
      const [tenant] = await act.tx
        .insert(tenants)
        .values({
          id: idAt(services.clock.now()),
          name: checked.tenantName,
          subdomain: checked.subdomain,
          status: 'ACTIVE',
          tier: 'FREE',
          createdAt: now,
          updatedAt: now,
        })
        .returning();
      const [user] = await act.tx
        .insert(users)
        .values({
          tenantId: tenant!.id,
          id: idAt(services.clock.now()),
          email: checked.email,
          fullName: checked.fullName,
          role: 'TENANT_ADMIN',
          status: 'ACTIVE',
          passwordHash,
          lastLoginAt: now,
          createdAt: now,
          updatedAt: now,
        })
        .returning();
      await sendVerification(act, user!);
      const payload = await beginSession(act, user!);
      return act.done(
        payload,
        { action: 'TENANT_CREATED', of: TENANT, after: tenant! },
        { action: 'USER_CREATED', of: USER, after: user! },
      );
    };
  },
};
