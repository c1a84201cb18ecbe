import type { Deed, Deeds } from '../../../src/audit/act.ts';

declare const ghost: Deed<'logout'>;

// Row 3: a function for a mutation that the SDL does not have.
export const deeds = {
  ghost, // the mistake: TS2353
} satisfies Partial<Deeds>;
