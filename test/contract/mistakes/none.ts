/** The control: a deed, its row and its query as they should be. */
import type { Context, Deed, Deeds } from '../../../src/audit/act.ts';
import { entity } from '../../../src/audit/entity.ts';
import { Refusal } from '../../../src/platform/refusal.ts';
import { TENANT, type TenantRow, tenants } from '../../../src/tenants/tables.ts';

export const WHOLE = entity<{ id: string; name: string }>()({
  resource: 'TENANT',
  columns: { id: 'OMIT', name: 'TRACK' },
  id: (row) => row.id,
  tenantId: (row) => row.id,
  label: (row) => row.name,
});

const activateTenant: Deed<'activateTenant'> = async (act, { id }) => {
  const tenant = { id } as TenantRow;
  if (!id) throw new Refusal('TENANT_NOT_FOUND');
  return act.done({ tenant }, { of: TENANT, before: tenant, after: tenant });
};

export const deeds = { activateTenant } satisfies Partial<Deeds>;
export const query = (context: Context) => context.read(({ tx }) => tx.select().from(tenants));
