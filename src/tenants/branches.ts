import { and, count, eq, isNull } from 'drizzle-orm';
import { z } from 'zod';

import type { Act, Deed, Mutations } from '../audit/act.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, line, name, reason } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { BRANCH, branches, type BranchRow, lockTenant, seenBranches, userBranchAccess } from './tables.ts';

const code = z
  .string()
  .trim()
  .toUpperCase()
  .regex(/^[A-Z0-9_-]{1,32}$/, 'must have 1 to 32 of A-Z, 0-9, hyphen and underscore');
const address = line(300).nullish();
const creation = z.object({ name, code, address });
const profile = z.object({ name: name.optional(), code: code.optional(), address });
const deactivation = z.object({ reason: reason.nullish() });

export const createBranch: Deed<'createBranch'> = async (act, input) => {
  const checked = checkedInput(creation, input);
  const { id: tenantId, maxBranches } = await lockTenant(act, input.tenantId);
  if (maxBranches !== null) {
    const [living] = await act.tx
      .select({ value: count() })
      .from(branches)
      .where(and(eq(branches.tenantId, tenantId), isNull(branches.deletedAt)));
    if (living!.value >= maxBranches) throw new Refusal('BRANCH_LIMIT_REACHED');
  }
  const now = isoOf(act.now);
  const [branch] = await act.tx
    .insert(branches)
    .values({
      ...checked,
      tenantId,
      id: idAt(act.services.clock.now()),
      status: 'ACTIVE',
      createdAt: now,
      updatedAt: now,
    })
    .returning();
  return act.done({ branch: branch! }, { of: BRANCH, after: branch! });
};

export const updateBranch: Deed<'updateBranch'> = async (act, input) => {
  const before = await branchToChange(act, input.id);
  const after = await change(act, before, checkedInput(profile, input));
  return act.done({ branch: after }, { of: BRANCH, before, after });
};

export const activateBranch: Deed<'activateBranch'> = async (act, { id }) => {
  const before = await branchToChange(act, id);
  if (before.status === 'ACTIVE') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, { status: 'ACTIVE', statusReason: null });
  return act.done({ branch: after }, { of: BRANCH, before, after });
};

export const deactivateBranch: Deed<'deactivateBranch'> = async (act, input) => {
  const before = await branchToChange(act, input.id);
  const { reason: statusReason = null } = checkedInput(deactivation, input);
  if (before.status === 'INACTIVE') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, { status: 'INACTIVE', statusReason });
  const details = statusReason === null ? {} : { reason: statusReason };
  return act.done({ branch: after }, { of: BRANCH, before, after, details });
};

export const deleteBranch: Deed<'deleteBranch'> = async (act, { id }) => {
  const before = await branchToChange(act, id);
  await act.tx
    .delete(userBranchAccess)
    .where(and(eq(userBranchAccess.tenantId, before.tenantId), eq(userBranchAccess.branchId, before.id)));
  const after = await change(act, before, { deletedAt: isoOf(act.now) });
  return act.done({ branch: after }, { of: BRANCH, before, after });
};

/** The branch, locked until the act ends; one the actor may not see does not exist. */
async function branchToChange<M extends Mutations>(act: Act<M>, id: string): Promise<BranchRow> {
  const uuid = asUuid(id);
  const [branch] = uuid
    ? await act.tx
        .select()
        .from(branches)
        .where(and(seenBranches(act.actor), eq(branches.id, uuid)))
        .for('update')
    : [];
  if (!branch) throw new Refusal('BRANCH_NOT_FOUND');
  act.about(BRANCH, branch);
  return branch;
}

async function change<M extends Mutations>(
  act: Act<M>,
  { tenantId, id }: BranchRow,
  changes: { [Column in keyof BranchRow]?: BranchRow[Column] | undefined },
): Promise<BranchRow> {
  const [after] = await act.tx
    .update(branches)
    .set({ ...changes, updatedAt: isoOf(act.now) })
    .where(and(eq(branches.tenantId, tenantId), eq(branches.id, id)))
    .returning();
  return after!;
}
