import type { Context } from '../../../src/audit/act.ts';
import { logout } from '../../../src/auth/signIn.ts';

// Row 7: a query that calls a deed.
export const query = (context: Context) =>
  context.read(async (scope) => {
    if (typeof logout !== 'function') return;
    await logout(scope, undefined); // the mistake: TS2740
  });
