import { request } from 'node:http';
import { connect } from 'node:net';
import { expect, test } from 'vitest';

import { post, world } from '../world/server.ts';

const QUERY = `?query=${encodeURIComponent('{ __typename }')}`;

interface Got {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

/** As a browser or anything else would send it: fetch forbids these headers. */
function get(url: string, headers: Record<string, string> = {}, method = 'GET', body = ''): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

test('a page of another site may not read by GET; our own, named ones and programs may', async () => {
  const { url } = await world({
    CORS_ORIGINS: 'https://admin.example',
    PUBLIC_URL: 'https://custos.example',
  });
  const cases: readonly (readonly [why: string, headers: Record<string, string>, status: number])[] = [
    ['a program', {}, 200],
    ['a program that names JSON', { 'content-type': 'application/json' }, 200],
    ['our own page', { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' }, 200],
    ['our own page, with its origin', { origin: url, 'sec-fetch-site': 'same-origin' }, 200],
    ['somebody who types the address', { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }, 200],
    [
      'a page that CORS_ORIGINS names',
      { origin: 'https://admin.example', 'sec-fetch-site': 'cross-site' },
      200,
    ],
    ['a page at PUBLIC_URL', { origin: 'https://custos.example', 'sec-fetch-site': 'same-origin' }, 200],
    ['a script tag elsewhere', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 403],
    ['a page of a sibling domain', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }, 403],
    ['a page elsewhere', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 403],
    ['an old browser elsewhere', { origin: 'https://evil.example' }, 403],
    ['a sandboxed frame', { origin: 'null', 'sec-fetch-site': 'cross-site' }, 403],
    ['a name that begins like ours', { origin: 'https://custos.example.evil.example' }, 403],
    ['another scheme', { origin: 'http://custos.example' }, 403],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['a type with a cross-site trick', { 'content-type': 'message/rfc822' }, 415],
  ];
  for (const [why, headers, status] of cases) {
    const got = await get(`${url}/graphql${QUERY}`, headers);
    expect({ why, status: got.status }).toEqual({ why, status });
    expect(got.body).toContain(status === 200 ? '"__typename":"Query"' : '"extensions":{"code":');
  }
});

test('CORS lets the named origins read, and nobody else', async () => {
  const { url } = await world({ CORS_ORIGINS: 'https://admin.example,https://other.example' });
  const preflight = (origin: string) =>
    get(
      `${url}/graphql`,
      {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
      'OPTIONS',
    );
  const allowed = await preflight('https://admin.example');
  expect(allowed.status).toBe(204);
  expect(allowed.headers).toMatchObject({
    'access-control-allow-origin': 'https://admin.example',
    'access-control-allow-headers': 'authorization,content-type',
  });
  expect(allowed.headers['access-control-allow-credentials']).toBeUndefined();
  expect((await preflight('https://evil.example')).headers['access-control-allow-origin']).toBeUndefined();
  const answer = await post(url, { query: '{ __typename }' }, { origin: 'https://other.example' });
  expect(answer.headers.get('access-control-allow-origin')).toBe('https://other.example');
  expect(answer.headers.get('access-control-expose-headers')).toContain('x-request-id');
  const closed = await world();
  const none = await post(closed.url, { query: '{ __typename }' }, { origin: 'https://admin.example' });
  expect(none.headers.get('access-control-allow-origin')).toBeNull();
});

test('every answer says what a browser may do with it, and an answer of the API is kept by nobody', async () => {
  const { url } = await world({ PUBLIC_URL: 'https://custos.example' });
  for (const path of ['/graphql', '/healthz', '/nothing', '/.well-known/jwks.json', '/graphiql']) {
    const { headers } = await get(`${url}${path}${path === '/graphql' ? QUERY : ''}`);
    expect({ path, headers }).toMatchObject({
      path,
      headers: {
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'x-frame-options': 'SAMEORIGIN',
        'strict-transport-security': expect.stringContaining('max-age=31536000'),
        'content-security-policy': expect.stringMatching(/default-src 'none'.*frame-ancestors 'none'/s),
      },
    });
    expect(headers['x-powered-by']).toBeUndefined();
  }
  expect((await get(`${url}/graphql${QUERY}`)).headers['cache-control']).toBe('no-store');
});

test('whatever is wrong with a request, its answer is JSON with a code and the request id, and tells nothing of us', async () => {
  const { url } = await world();
  const json = { 'content-type': 'application/json' };
  const cases: readonly (readonly [why: string, got: Promise<Got>, status: number])[] = [
    ['no such place', get(`${url}/nothing/here?password=secret`), 404],
    ['another method', get(`${url}/graphql`, {}, 'DELETE'), 404],
    ['half a body', get(`${url}/graphql`, json, 'POST', '{"query": "{'), 400],
    ['no body', get(`${url}/graphql`, json, 'POST'), 400],
    ['a prototype in the body', get(`${url}/graphql`, json, 'POST', '{"__proto__": {"a": 1}}'), 400],
    ['XML', get(`${url}/graphql`, { 'content-type': 'application/xml' }, 'POST', '<a/>'), 415],
  ];
  for (const [why, answered, status] of cases) {
    const got = await answered;
    expect({ why, status: got.status }).toEqual({ why, status });
    const { errors } = JSON.parse(got.body) as {
      errors: [{ message: string; extensions: Record<string, unknown> }];
    };
    expect(errors[0].extensions).toMatchObject({
      code: expect.any(String),
      requestId: got.headers['x-request-id'],
    });
    expect(got.body).not.toMatch(/node_modules|at \w+ \(|secret/);
  }
  const announced = 'content-type: application/json\r\ncontent-length: 2000000';
  expect(await firstLine(url, `POST /graphql HTTP/1.1\r\nhost: x\r\n${announced}\r\n\r\n{`)).toContain(
    ' 413 ',
  );
  expect(
    await firstLine(url, `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(64 * 1024)}\r\n\r\n`),
  ).toContain(' 431 ');
  expect(await firstLine(url, 'GET / HTTP/1.1\r\nhost: x\r\nx-nul: a\0b\r\n\r\n')).toContain(' 400 ');
});

/** What the server says to bytes that no client library would send, or would not wait for. */
function firstLine(url: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.once('data', (data) => {
      resolve(data.toString().split('\r\n')[0]!);
      socket.destroy();
    });
    socket.on('error', () => {});
  });
}
