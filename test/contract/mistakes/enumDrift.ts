import type { Tx } from '../../../src/platform/db.ts';
import { users } from '../../../src/users/tables.ts';

// Row 10: a value that the column's enum, which is the SDL's, does not have.
export const promote = (tx: Tx) => tx.update(users).set({ role: 'OWNER' }); // the mistake: TS2322
