import { Refusal } from '../../../src/platform/refusal.ts';

// Row 8: a refusal with a reason that the SDL does not have.
export const no = new Refusal('BECAUSE'); // the mistake: TS2345
