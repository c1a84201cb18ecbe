import type { Deeds } from '../../../src/audit/act.ts';
import { deeds as tenants } from '../../../src/tenants/resolvers.ts';

// Row 1: a mutation of the SDL that nothing carries out.
export const deeds: Deeds = { ...tenants }; // the mistake: TS2740
