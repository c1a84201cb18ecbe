import { readFileSync } from 'node:fs';
import { buildSchema } from 'graphql';
import { expect, test } from 'vitest';

import { openSchema } from '../../src/graphql/schema.ts';
import { world } from '../world/server.ts';

const PRINTED = readFileSync(new URL('../../client/schema.graphql', import.meta.url), 'utf8');

test('/schema.graphql is the committed schema, to the byte, and is sent again only when it has changed', async () => {
  const { url } = await world();
  const ask = (headers: Record<string, string> = {}) => fetch(`${url}/schema.graphql`, { headers });

  const first = await ask();
  const etag = first.headers.get('etag')!;
  expect(first.status).toBe(200);
  expect(first.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(first.headers.get('cache-control')).toBe('no-cache');
  expect(await first.text()).toBe(PRINTED);
  // Strong: code generators compare bytes.
  expect(etag).toMatch(/^"[\w-]{43}"$/);

  for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const again = await ask({ 'if-none-match': known });
    expect([known, again.status, again.headers.get('etag'), await again.text()]).toEqual([
      known,
      304,
      etag,
      '',
    ]);
  }
  for (const unknown of ['"other"', etag.slice(1, -1), '']) {
    expect([unknown, (await ask({ 'if-none-match': unknown })).status]).toEqual([unknown, 200]);
  }
});

test('it is shown to those who may see the schema by introspection, and to nobody else', async () => {
  for (const [introspection, anonymous, signedIn] of [
    ['signed-in', 403, 200],
    ['off', 403, 403],
  ] as const) {
    const here = await world({ INTROSPECTION: introspection });
    const { admin } = await here.tenant();
    const ask = async (headers: Record<string, string> = {}) =>
      await fetch(`${here.url}/schema.graphql`, { headers: { 'if-none-match': '*', ...headers } });
    expect((await ask()).status).toBe(anonymous);
    expect((await ask({ authorization: 'Bearer nonsense' })).status).toBe(anonymous);
    const shown = await ask({ authorization: `Bearer ${admin.token}`, 'if-none-match': '' });
    expect([introspection, shown.status, (await shown.text()) === PRINTED]).toEqual([
      introspection,
      signedIn,
      signedIn === 200,
    ]);
  }
});

test('the committed schema has the fields, descriptions and directives of the one that runs', () => {
  const fields = (schema = openSchema()) =>
    Object.values(schema.getTypeMap()).flatMap((type) =>
      'getFields' in type && !type.name.startsWith('__')
        ? Object.values(type.getFields()).map(
            ({ name, description }) => `${type.name}.${name} ${description}`,
          )
        : [],
    );

  expect(fields(buildSchema(PRINTED)).sort()).toEqual(fields().sort());
  expect(PRINTED).toContain('me: User! @requires(scope: SIGNED_IN)');
});
