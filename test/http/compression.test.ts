import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { get, type IncomingHttpHeaders } from 'node:http';

import { expect, test } from 'vitest';

import { world, type World } from '../world/server.ts';

const LONG = '{ __schema { types { name description } } }';

test('a long answer is compressed as the client wishes, and a short one is not', async () => {
  const here = await world();
  const plain = await ask(here, LONG, undefined);
  expect(JSON.parse(plain.body.toString())).toHaveProperty('data.__schema');
  expect(plain.headers['content-encoding']).toBeUndefined();

  for (const [accepted, encoding, decoded] of [
    ['gzip', 'gzip', gunzipSync],
    ['gzip, deflate, br', 'br', brotliDecompressSync],
  ] as const) {
    const { headers, body } = await ask(here, LONG, accepted);
    expect([accepted, headers['content-encoding']]).toEqual([accepted, encoding]);
    expect(body.length).toBeLessThan(plain.body.length / 3);
    expect(decoded(body)).toEqual(plain.body);
    expect(headers['cache-control']).toBe('no-store');
  }
  expect((await ask(here, '{ __typename }', 'gzip')).headers['content-encoding']).toBeUndefined();
});

/** `fetch` would decode what comes. */
function ask(
  { url }: World,
  query: string,
  encodings: string | undefined,
): Promise<{ headers: IncomingHttpHeaders; body: Buffer }> {
  const headers = {
    'x-request-id': 'compressed',
    ...(encodings === undefined ? {} : { 'accept-encoding': encodings }),
  };
  return new Promise((resolve, reject) => {
    get(`${url}/graphql?query=${encodeURIComponent(query)}`, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    }).on('error', reject);
  });
}
