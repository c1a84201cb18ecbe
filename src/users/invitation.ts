import { and, eq } from 'drizzle-orm';
import { z } from 'zod';

import type { Deed } from '../audit/act.ts';
import { endLinks, mailedLink } from '../auth/tables.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, email, name } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { lockTenant } from '../tenants/tables.ts';
import { branchIdsOf, giveAccess } from './access.ts';
import { living, USER, type UserRow, users } from './tables.ts';
import { assertPlaceIn } from './users.ts';

const WEEK_MICROS = 7n * 86_400_000_000n;
const invitation = z.object({
  email,
  fullName: name.nullish(),
  branchIds: z.array(z.string()).max(500, 'must name at most 500 branches').nullish(),
});

export const inviteUser: Deed<'inviteUser'> = async (act, input) => {
  const { email: address, fullName, branchIds } = checkedInput(invitation, input);
  if (input.role === 'SUPER_ADMIN') throw new Refusal('ROLE_NOT_GRANTABLE');
  const tenant = await lockTenant(act, input.tenantId);
  const tenantId = tenant.id;
  const theirs = and(eq(users.tenantId, tenantId), eq(users.email, address), living);
  const [before] = await act.tx.select().from(users).where(theirs).for('update');
  if (before) act.about(USER, before);
  if (before && before.status !== 'INVITED') throw new Refusal('EMAIL_TAKEN');
  if (!before) await assertPlaceIn(act, tenant);

  const now = isoOf(act.now);
  const asked = { role: input.role, updatedAt: now, ...(fullName ? { fullName } : {}) };
  const [after] = before
    ? await act.tx.update(users).set(asked).where(theirs).returning()
    : await act.tx
        .insert(users)
        .values({
          fullName: address,
          ...asked,
          tenantId,
          id: idAt(act.services.clock.now()),
          email: address,
          status: 'INVITED',
          createdAt: now,
        })
        .returning();
  const access = branchIds
    ? { branchIds: await giveAccess(act, after!, await branchIdsOf(act, after!), branchIds) }
    : {};

  await endLinks(act, after!, 'INVITATION');
  const link = await mailedLink(act, after!, 'INVITATION', WEEK_MICROS);
  act.afterwards(() => act.services.mailer.send(invitationMail(after!, link)));
  return act.done({ user: after! }, { of: USER, before, after, details: access });
};

function invitationMail(user: UserRow, link: string) {
  return {
    to: user.email,
    subject: 'You are invited',
    text: [
      'Hello,',
      'you are invited to an organisation. This link lets you in, once, within seven days; you will set a password:',
      link,
      'If you do not expect this mail, there is nothing to do.',
    ].join('\n\n'),
  };
}
