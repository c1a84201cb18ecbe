import { auditServer } from 'graphql-http';
import { expect, test } from 'vitest';

import { world } from '../world/server.ts';

test('the server passes every audit of GraphQL over HTTP', async () => {
  const { url } = await world();

  const audits = await auditServer({ url: `${url}/graphql`, fetchFn: fetch });

  const failed = audits.filter(({ status }) => status !== 'ok');
  expect(failed.map(({ id, name, status }) => `${status} ${id} ${name}`)).toEqual([]);
  expect(audits).toHaveLength(61);
});
