import type { Deed } from '../../../src/audit/act.ts';

// Row 4: a deed that does not say what it did.
export const logout: Deed<'logout'> = async () => ({ success: true }); // the mistake: TS2322
