import type { Fields } from '../../../src/audit/act.ts';
import type { User, UserResolvers } from '../../../src/generated/types.ts';
import type { UserRow } from '../../../src/users/tables.ts';

// Row 14: a field of the type that no column answers and no resolver fills.
export const user = { tenantId: (row) => row.tenantId } satisfies Fields<User, UserRow, UserResolvers>; // the mistake: TS1360
