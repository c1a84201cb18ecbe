import { and, count, eq, isNull } from 'drizzle-orm';
import { z } from 'zod';

import { type Act, confinedTo, type Deed, type Mutations, type UserActor } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { endLinks, mailedLink, revokeSessions, SESSION, sendVerification } from '../auth/tables.ts';
import type { Role } from '../generated/types.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, email, line, name, reason } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { lockTenant, type TenantRow } from '../tenants/tables.ts';
import { keepAnAdmin, living, USER, type UserRow, users } from './tables.ts';

const DAY_MICROS = 86_400_000_000n;
const WEEK_MICROS = 7n * DAY_MICROS;

const phone = line(40).nullish();
const creation = z.object({ email, fullName: name, phone });
const profile = z.object({ email: email.optional(), fullName: name.optional(), phone });
const deactivation = z.object({ reason });

export const createUser: Deed<'createUser'> = async (act, input) => {
  const checked = checkedInput(creation, input);
  const tenantId = await tenantForNewUser(act, input.tenantId, input.role);
  const now = isoOf(act.now);
  const [user] = await act.tx
    .insert(users)
    .values({
      ...checked,
      tenantId,
      id: idAt(act.services.clock.now()),
      role: input.role,
      status: 'ACTIVE',
      createdAt: now,
      updatedAt: now,
    })
    .returning();
  const link = await mailedLink(act, user!, 'PASSWORD_RESET', WEEK_MICROS);
  act.afterwards(() => act.services.mailer.send(welcomeMail(user!, link)));
  return act.done({ user: user! }, { of: USER, after: user! });
};

/** Where a new user belongs; its row is locked, so that two at once do not both take the last place. */
async function tenantForNewUser(
  act: Act<'createUser'>,
  given: string | null | undefined,
  role: Role,
): Promise<string> {
  if (role === 'SUPER_ADMIN') {
    if (confinedTo(act.actor) !== undefined) throw new Refusal('ROLE_NOT_GRANTABLE');
    refuseUnlessEmpty(
      given ? { tenantId: 'must be absent: a super administrator belongs to no tenant' } : {},
    );
    return PLATFORM_TENANT;
  }
  const tenant = await lockTenant(act, given);
  await assertPlaceIn(act, tenant);
  return tenant.id;
}

/** Refuses when the subscription of the tenant, which is locked, allows no further user. */
export async function assertPlaceIn<M extends Mutations>(
  act: Act<M>,
  { id, maxUsers }: TenantRow,
): Promise<void> {
  if (maxUsers === null) return;
  const [living] = await act.tx
    .select({ value: count() })
    .from(users)
    .where(and(eq(users.tenantId, id), isNull(users.deletedAt)));
  if (living!.value >= maxUsers) throw new Refusal('USER_LIMIT_REACHED');
}

function welcomeMail(user: UserRow, link: string) {
  return {
    to: user.email,
    subject: 'Your new account',
    text: [
      `Hello ${user.fullName},`,
      'an account was made for you. This link sets its password, once, within seven days:',
      link,
    ].join('\n\n'),
  };
}

export const updateUser: Deed<'updateUser'> = async (act, input) => {
  const actor = signedIn(act);
  // Before the row is looked up: who may not change others learns nothing of them, and locks nothing.
  if (asUuid(input.id) !== actor.id && !actor.scopes.has('USERS_WRITE')) throw new Refusal('SCOPE_MISSING');
  const before = await userToChange(act, input.id);
  const changes = checkedInput(profile, input);
  const moved = changes.email !== undefined && changes.email !== before.email;
  const after = await change(act, before, moved ? { ...changes, emailVerifiedAt: null } : changes);
  if (moved && after.status === 'ACTIVE') {
    // A link that was mailed to the old address must not speak for the new one.
    await endLinks(act, after, 'PASSWORD_RESET');
    await sendVerification(act, after);
  }
  return act.done({ user: after }, { of: USER, before, after });
};

export const changeUserRole: Deed<'changeUserRole'> = async (act, { id, role }) => {
  const before = await userToChange(act, id);
  if (before.id === signedIn(act).id) throw new Refusal('OWN_ROLE');
  // A super administrator belongs to no tenant and everybody else to one, so no change of role leads across.
  if (role === 'SUPER_ADMIN' || before.role === 'SUPER_ADMIN') throw new Refusal('ROLE_NOT_GRANTABLE');
  if (before.role === role) throw new Refusal('STATE_UNCHANGED');
  await keepAnAdmin(act, before);
  const after = await change(act, before, { role });
  return act.done({ user: after }, { of: USER, before, after });
};

export const activateUser: Deed<'activateUser'> = async (act, { id }) => {
  const before = await userToChange(act, id);
  if (before.status === 'ACTIVE') throw new Refusal('STATE_UNCHANGED');
  if (before.status === 'INVITED') throw new Refusal('INVITATION_PENDING');
  const after = await change(act, before, { status: 'ACTIVE', statusReason: null });
  return act.done({ user: after }, { of: USER, before, after });
};

export const deactivateUser: Deed<'deactivateUser'> = async (act, input) => {
  const before = await userToChange(act, input.id);
  const { reason: statusReason } = checkedInput(deactivation, input);
  if (before.id === signedIn(act).id) throw new Refusal('OWN_ACCOUNT');
  if (before.status === 'INACTIVE') throw new Refusal('STATE_UNCHANGED');
  await keepAnAdmin(act, before);
  const after = await change(act, before, { status: 'INACTIVE', statusReason });
  await revokeSessions(act, after, 'USER_DEACTIVATED');
  return act.done({ user: after }, { of: USER, before, after, details: { reason: statusReason } });
};

export const deleteUser: Deed<'deleteUser'> = async (act, { id }) => {
  const before = await userToChange(act, id);
  if (before.id === signedIn(act).id) throw new Refusal('OWN_ACCOUNT');
  await keepAnAdmin(act, before);
  const after = await change(act, before, { deletedAt: isoOf(act.now) });
  await revokeSessions(act, after, 'USER_DELETED');
  return act.done({ user: after }, { of: USER, before, after });
};

export const startPasswordReset: Deed<'startPasswordReset'> = async (act, { id }) => {
  const user = await userToChange(act, id);
  if (user.status === 'INVITED') throw new Refusal('INVITATION_PENDING');
  if (user.status !== 'ACTIVE') throw new Refusal('USER_INACTIVE');
  const link = await mailedLink(act, user, 'PASSWORD_RESET', DAY_MICROS);
  act.afterwards(() => act.services.mailer.send(resetMail(user, link)));
  return act.done({ user }, { of: USER, before: user, after: user });
};

function resetMail(user: UserRow, link: string) {
  return {
    to: user.email,
    subject: 'Set a new password',
    text: [
      `Hello ${user.fullName},`,
      'an administrator asks you to set a new password. This link sets it, once, within a day:',
      link,
    ].join('\n\n'),
  };
}

export const revokeUserSessions: Deed<'revokeUserSessions'> = async (act, { id }) => {
  const user = await userToChange(act, id);
  const sessionIds = await revokeSessions(act, user, 'REVOKED');
  return act.done(
    { user, count: sessionIds.length },
    { of: SESSION, details: { userId: user.id, sessionIds } },
  );
};

export const unlockAccount: Deed<'unlockAccount'> = async (act, { id }) => {
  const user = await userToChange(act, id);
  const { throttle, vault } = act.services;
  const account = vault.emailHmac(user.email).toString('base64url');
  act.afterwards(() => throttle.unlock({ tenantId: user.tenantId, account }));
  return act.done({ user }, { of: USER, before: user, after: user });
};

/** The user, locked until the act ends; a deleted one, like one of another tenant, does not exist. */
export async function userToChange<M extends Mutations>(act: Act<M>, id: string): Promise<UserRow> {
  const uuid = asUuid(id);
  const own = confinedTo(act.actor);
  const [user] = uuid
    ? await act.tx
        .select()
        .from(users)
        .where(and(own ? eq(users.tenantId, own) : undefined, eq(users.id, uuid), living))
        .for('update')
    : [];
  if (!user) throw new Refusal('USER_NOT_FOUND');
  act.about(USER, user);
  return user;
}

async function change<M extends Mutations>(
  act: Act<M>,
  { tenantId, id }: UserRow,
  changes: { [Column in keyof UserRow]?: UserRow[Column] | undefined },
): Promise<UserRow> {
  const [after] = await act.tx
    .update(users)
    .set({ ...changes, updatedAt: isoOf(act.now) })
    .where(and(eq(users.tenantId, tenantId), eq(users.id, id)))
    .returning();
  return after!;
}

function signedIn<M extends Mutations>({ actor }: Act<M>): UserActor {
  if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  return actor;
}
