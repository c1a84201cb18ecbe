import type { Scope } from '../../../src/audit/act.ts';
import { users } from '../../../src/users/tables.ts';

// Row 6: a reading scope used to write.
export const rename = ({ tx }: Scope) => tx.update(users).set({ fullName: 'X' }); // the mistake: TS2339
