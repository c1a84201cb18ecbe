import type { Deeds } from '../../../src/audit/act.ts';
import { logout } from '../../../src/auth/signIn.ts';

export const deeds = {
  // Row 11: a deed under another one's name.
  activateUser: logout, // the mistake: TS2322
} satisfies Partial<Deeds>;
