import { eq } from 'drizzle-orm';
import { z } from 'zod';

import type { Act, Deed, Mutations } from '../audit/act.ts';
import type { SubscriptionTier } from '../generated/types.ts';
import { idAt, isoOf, microsFrom } from '../platform/ids.ts';
import { checkedInput, limit, name, reason, subdomain } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { lockTenant, TENANT, type TenantRow, tenants } from './tables.ts';

const tier = z.enum(['FREE', 'STARTER', 'PROFESSIONAL', 'ENTERPRISE'] satisfies SubscriptionTier[]);
const creation = z.object({ name, subdomain, tier: tier.nullish().transform((given) => given ?? 'FREE') });
const profile = z.object({ name: name.optional(), subdomain: subdomain.optional() });
const subscription = z.object({
  tier: tier.optional(),
  maxUsers: limit.nullish(),
  maxBranches: limit.nullish(),
  startsAt: z.string().nullish(),
  endsAt: z.string().nullish(),
});
const deactivation = z.object({ reason });

export const createTenant: Deed<'createTenant'> = async (act, input) => {
  const now = isoOf(act.now);
  const [tenant] = await act.tx
    .insert(tenants)
    .values({
      ...checkedInput(creation, input),
      id: idAt(act.services.clock.now()),
      status: 'ACTIVE',
      createdAt: now,
      updatedAt: now,
    })
    .returning();
  return act.done({ tenant: tenant! }, { of: TENANT, after: tenant! });
};

export const updateTenant: Deed<'updateTenant'> = async (act, input) => {
  const before = await tenantToChange(act, input.id);
  const after = await change(act, before, checkedInput(profile, input));
  return act.done({ tenant: after }, { of: TENANT, before, after });
};

export const updateTenantSubscription: Deed<'updateTenantSubscription'> = async (act, input) => {
  const before = await tenantToChange(act, input.id);
  const changes = checkedInput(subscription, input);
  const { startsAt, endsAt } = { ...before, ...changes };
  const backwards = startsAt && endsAt && microsFrom(endsAt) <= microsFrom(startsAt);
  refuseUnlessEmpty(backwards ? { endsAt: 'must be after startsAt' } : {});
  const after = await change(act, before, changes);
  return act.done({ tenant: after }, { of: TENANT, before, after });
};

export const activateTenant: Deed<'activateTenant'> = async (act, { id }) => {
  const before = await tenantToChange(act, id);
  if (before.status === 'ACTIVE') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, { status: 'ACTIVE', statusReason: null });
  return act.done({ tenant: after }, { of: TENANT, before, after });
};

export const deactivateTenant: Deed<'deactivateTenant'> = async (act, input) => {
  const before = await tenantToChange(act, input.id);
  const { reason: statusReason } = checkedInput(deactivation, input);
  if (before.status === 'INACTIVE') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, { status: 'INACTIVE', statusReason });
  return act.done({ tenant: after }, { of: TENANT, before, after, details: { reason: statusReason } });
};

export const deleteTenant: Deed<'deleteTenant'> = async (act, { id }) => {
  const before = await tenantToChange(act, id);
  const after = await change(act, before, { deletedAt: isoOf(act.now) });
  return act.done({ tenant: after }, { of: TENANT, before, after });
};

async function tenantToChange<M extends Mutations>(act: Act<M>, id: string): Promise<TenantRow> {
  const tenant = await lockTenant(act, id);
  act.about(TENANT, tenant);
  return tenant;
}

async function change<M extends Mutations>(
  act: Act<M>,
  { id }: TenantRow,
  changes: { [Column in keyof TenantRow]?: TenantRow[Column] | undefined },
): Promise<TenantRow> {
  const [after] = await act.tx
    .update(tenants)
    .set({ ...changes, updatedAt: isoOf(act.now) })
    .where(eq(tenants.id, id))
    .returning();
  return after!;
}
