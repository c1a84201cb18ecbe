import type { Deed } from '../../../src/audit/act.ts';
import { SESSION, type SessionRow } from '../../../src/auth/tables.ts';

declare const session: SessionRow;

export const logout: Deed<'logout'> = async (act) =>
  // Row 9: a payload of another shape than the SDL's.
  act.done({ succeeded: true }, { of: SESSION, after: session }); // the mistake: TS2353
