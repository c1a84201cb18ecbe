import type { Deed } from '../../../src/audit/act.ts';
import { TENANT, type TenantRow } from '../../../src/tenants/tables.ts';
import type { UserRow } from '../../../src/users/tables.ts';

declare const user: UserRow;
declare const tenant: TenantRow;

export const updateUser: Deed<'updateUser'> = async (act) =>
  // Row 15: a USER action recorded about a TENANT row.
  act.done({ user }, { of: TENANT, before: tenant, after: tenant }); // the mistake: TS2375
