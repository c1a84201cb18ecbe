/** Erasing a person: what is kept of them goes, what the log proves stays. */
import { and, eq, inArray, sql } from 'drizzle-orm';
import { z } from 'zod';

import { confinedTo, type Deed } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { subjectOfEmail } from '../audit/personal.ts';
import { mailedTokens, revokeSessions, sessions } from '../auth/tables.ts';
import { uuidArray } from '../platform/columns.ts';
import type { Tx } from '../platform/db.ts';
import { asUuid, isoOf } from '../platform/ids.ts';
import { checkedInput, reason } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { keepAnAdmin, USER, type UserRow, users } from '../users/tables.ts';
import { holdsOn, lockHolds } from './holds.ts';
import { auditExportParts, auditExports } from './tables.ts';

const reasoned = z.object({ reason });

/** A user of whom nothing personal goes into the record: sealed anew, it would be there again. */
const ERASED_USER = entity<UserRow>()({
  ...USER,
  columns: { ...USER.columns, email: 'SECRET', fullName: 'SECRET', phone: 'SECRET' },
  label: () => null,
});

const eraseSubject: Deed<'eraseSubject'> = async (act, input) => {
  const { tx, actor, now, services } = act;
  const before = await userToErase(tx, confinedTo(actor), input.userId);
  act.about(ERASED_USER, before);
  const { reason: why } = checkedInput(reasoned, input);
  if (actor.type === 'USER' && before.id === actor.id) throw new Refusal('OWN_ACCOUNT');
  const { tenantId, id } = before;
  await lockHolds(tx, tenantId);
  if ((await holdsOn(tx, tenantId, { userId: id })).length > 0) throw new Refusal('HELD');
  if (before.deletedAt === null) await keepAnAdmin(act, before);

  const erasedAt = isoOf(now);
  await revokeSessions(act, before, 'USER_DELETED');
  await tx
    .update(sessions)
    .set({ ipAddress: null, userAgent: null })
    .where(and(eq(sessions.tenantId, tenantId), eq(sessions.userId, id)));
  await tx
    .update(mailedTokens)
    .set({ usedAt: erasedAt })
    .where(and(eq(mailedTokens.tenantId, tenantId), eq(mailedTokens.userId, id)));
  await dropExports(tx, tenantId);
  const [after] = await tx
    .update(users)
    .set({
      email: `${id}@erased.invalid`,
      emailVerifiedAt: null,
      fullName: 'Erased',
      phone: null,
      passwordHash: null,
      status: 'INACTIVE',
      statusReason: null,
      lastLoginAt: null,
      deletedAt: before.deletedAt ?? erasedAt,
      updatedAt: erasedAt,
    })
    .where(and(eq(users.tenantId, tenantId), eq(users.id, id)))
    .returning();
  // Sign-ins that failed before there was the account are about its e-mail.
  const subjects = [id, subjectOfEmail(services.vault.emailHmac(before.email))];
  const keysDestroyed = await destroyKeys(tx, subjects);
  const details = { reason: why, keysDestroyed };
  return act.done(
    { erasure: { userId: id, erasedAt, keysDestroyed } },
    { of: ERASED_USER, before, after: after!, details },
  );
};

export const deeds = { eraseSubject };

/** The user, locked until the act ends; also one who is deleted. */
async function userToErase(tx: Tx, own: string | undefined, userId: string): Promise<UserRow> {
  const uuid = asUuid(userId);
  const inTenancy = own === undefined ? undefined : eq(users.tenantId, own);
  const [user] = uuid
    ? await tx
        .select()
        .from(users)
        .where(and(inTenancy, eq(users.id, uuid)))
        .for('update')
    : [];
  if (!user) throw new Refusal('USER_NOT_FOUND');
  return user;
}

/** Files of the log hold what is personal in clear: those that are there go, and those being written are given up. */
async function dropExports(tx: Tx, tenantId: string): Promise<void> {
  const dropped = await tx
    .delete(auditExports)
    .where(eq(auditExports.tenantId, tenantId))
    .returning({ id: auditExports.id });
  const ids = dropped.map(({ id }) => id);
  await tx
    .delete(auditExportParts)
    .where(and(eq(auditExportParts.tenantId, tenantId), inArray(auditExportParts.exportId, ids)));
}

/** Destroys the keys of subjects, as far as the transaction reaches. Returns how many there were. */
async function destroyKeys(tx: Tx, subjects: readonly string[]): Promise<number> {
  const [destroyed] = await tx.execute<{ keys: number }>(
    sql`select destroy_subject_keys(${uuidArray(subjects)}::uuid[]) as keys`,
  );
  return destroyed!.keys;
}
