import { entity } from '../../../src/audit/entity.ts';

export const USER = entity<{ id: string; totpSecret: string }>()({
  resource: 'USER',
  // Row 5: a column nobody has classified.
  columns: { id: 'OMIT' }, // the mistake: TS2741
  id: (user) => user.id,
  tenantId: (user) => user.id,
  label: () => null,
});
