import { and, eq, inArray, isNull } from 'drizzle-orm';
import { z } from 'zod';

import type { Act, Deed, Mutations } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { asUuid, isoOf } from '../platform/ids.ts';
import { checkedInput } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { branches, userBranchAccess } from '../tenants/tables.ts';
import { USER, type UserRow } from './tables.ts';
import { userToChange } from './users.ts';

const access = z.object({ branchIds: z.array(z.string()).max(500, 'must name at most 500 branches') });

/** A user with the branches it has access to, in the order of their ids. */
interface Staff {
  readonly user: UserRow;
  readonly branchIds: readonly string[];
}

const STAFF = entity<Staff>()({
  resource: 'USER',
  columns: { user: 'OMIT', branchIds: 'TRACK' },
  id: ({ user }) => USER.id(user),
  tenantId: ({ user }) => USER.tenantId(user),
  label: ({ user }) => USER.label(user),
  subject: ({ user }) => USER.subject!(user),
});

export const setUserBranches: Deed<'setUserBranches'> = async (act, input) => {
  const user = await userToChange(act, input.id);
  const { branchIds } = checkedInput(access, input);
  const before = await branchIdsOf(act, user);
  const after = await giveAccess(act, user, before, branchIds);
  return act.done(
    { user },
    { of: STAFF, before: { user, branchIds: before }, after: { user, branchIds: after } },
  );
};

/** Gives a user access to these branches and no others; refuses one that its tenant does not have. */
export async function giveAccess<M extends Mutations>(
  act: Act<M>,
  { tenantId, id: userId }: UserRow,
  before: readonly string[],
  wanted: readonly string[],
): Promise<readonly string[]> {
  const uuids = [...new Set(wanted.map((id) => asUuid(id)))];
  const known = uuids.filter((id) => id !== undefined).sort();
  const found =
    known.length > 0
      ? await act.tx
          .select({ id: branches.id })
          .from(branches)
          .where(
            and(eq(branches.tenantId, tenantId), inArray(branches.id, known), isNull(branches.deletedAt)),
          )
          // Nobody gets access to a branch that is being deleted.
          .for('share')
      : [];
  if (found.length < uuids.length) throw new Refusal('BRANCH_NOT_FOUND');

  const [lost, gained] = [without(before, known), without(known, before)];
  if (lost.length > 0) {
    const theirs = and(eq(userBranchAccess.tenantId, tenantId), eq(userBranchAccess.userId, userId));
    await act.tx.delete(userBranchAccess).where(and(theirs, inArray(userBranchAccess.branchId, lost)));
  }
  if (gained.length > 0) {
    const grantedAt = isoOf(act.now);
    await act.tx
      .insert(userBranchAccess)
      .values(gained.map((branchId) => ({ tenantId, userId, branchId, grantedAt })));
  }
  return known;
}

/** The branches a user has access to, in the order of their ids. */
export async function branchIdsOf<M extends Mutations>(
  act: Act<M>,
  user: UserRow,
): Promise<readonly string[]> {
  const rows = await act.tx
    .select({ id: userBranchAccess.branchId })
    .from(userBranchAccess)
    .where(and(eq(userBranchAccess.tenantId, user.tenantId), eq(userBranchAccess.userId, user.id)))
    .orderBy(userBranchAccess.branchId);
  return rows.map(({ id }) => id);
}

function without(ids: readonly string[], others: readonly string[]): string[] {
  return ids.filter((id) => !others.includes(id));
}
