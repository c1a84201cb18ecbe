import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { once } from 'node:events';
import jwt from 'jsonwebtoken';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { socketClient, subscribe } from '../world/socket.ts';
import { type Person, post, type World, world } from '../world/server.ts';

interface Left {
  readonly ipAddress: string | null;
  readonly requestId: string;
  readonly userAgent: string | null;
  readonly context: { readonly transport: string; readonly forwardedFor: readonly string[] | null };
}

async function leftBy(reader: Person, requestId: string): Promise<Left[]> {
  const read = await reader.ask(
    `query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes {
      ipAddress requestId userAgent context { transport forwardedFor } } } }`,
    { id: requestId },
  );
  return read.data.auditLogs.nodes as Left[];
}

test('a request has one id: in the header, the answer, the record and every line of its log', async () => {
  const here = await world();
  const root = await here.root();
  const id = 'client/chosen:0123-id_4.5+6=';

  const failed = await here.anybody.ask(
    'mutation { login(input: { email: "a", password: "b" }) { expiresAt } }',
    {},
    { 'x-request-id': id },
  );
  const read = await root.ask('{ me { id } }', {}, { 'x-request-id': `${id}/2` });

  expect(failed.headers.get('x-request-id')).toBe(id);
  expect(failed.requestId).toBe(id);
  expect(failed.errors[0]!.extensions['requestId']).toBe(id);
  expect(await leftBy(root, id)).toMatchObject([{ requestId: id }]);
  expect(read.requestId).toBe(`${id}/2`);
  const lines = here.log.filter((line) => line['requestId'] === id);
  expect(lines.some(({ msg }) => msg === 'request')).toBe(true);
  // Nothing of that request was logged under another name.
  expect(here.log.filter((line) => JSON.stringify(line).includes(id) && !('requestId' in line))).toEqual([]);
});

test.each([
  ['absent', undefined],
  ['empty', ''],
  ['too long', 'x'.repeat(129)],
  ['with a space', 'a b'],
  ['with markup', '<script>'],
  ['with a quote', 'a"b'],
])('an id that is %s is replaced by one of ours', async (_what, given) => {
  const here = await world();
  const answer = await here.anybody.ask(
    '{ __typename }',
    {},
    given === undefined ? {} : { 'x-request-id': given },
  );
  expect(answer.requestId).toMatch(/^[0-9a-f]{8}-/);
  expect(answer.headers.get('x-request-id')).toBe(answer.requestId);
});

test('a request that is no operation is answered with its id too', async () => {
  const here = await world();
  for (const query of ['{', '{ nothing }', 'query A { __typename } query B { __typename }']) {
    const answer = await post(here.url, { query });
    expect(answer.errors[0]!.extensions).toMatchObject({ code: expect.any(String) as string });
    expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f]{8}-/);
  }
});

test('forwarding headers are not believed by default, and kept as evidence', async () => {
  const here = await world();
  const answer = await failedLogin(here, { 'x-forwarded-for': '6.6.6.6, 7.7.7.7', 'x-real-ip': '8.8.8.8' });
  expect(await leftBy(await here.root(), answer.requestId)).toMatchObject([
    { ipAddress: '127.0.0.1', context: { forwardedFor: ['6.6.6.6', '7.7.7.7'] } },
  ]);
});

test.each([
  ['6.6.6.6, 1.2.3.4', '1.2.3.4'],
  ['1.2.3.4, 127.0.0.9', '1.2.3.4'],
  ['[2001:db8:0::1]:443', '2001:db8::1'],
  ['::ffff:1.2.3.4', '1.2.3.4'],
  ['1.2.3.4, ::ffff:127.0.0.9', '1.2.3.4'],
  ['127.0.0.8, 127.0.0.9', '127.0.0.8'],
  ['1.2.3.4, unknown', '127.0.0.1'],
  ['unknown', '127.0.0.1'],
  ['2130706433', '127.0.0.1'],
  ['01.2.3.4', '127.0.0.1'],
  ['1.2.3.4/24', '127.0.0.1'],
  ['fe80::1%eth0', '127.0.0.1'],
  [',,', '127.0.0.1'],
])('behind a trusted proxy %s is %s, over HTTP as over WebSocket', async (forwarded, ip) => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.0/8' });
  const root = await here.root();
  const headers = { 'x-forwarded-for': forwarded };
  const { requestId } = await failedLogin(here, headers);
  expect(await leftBy(root, requestId)).toMatchObject([{ ipAddress: ip }]);
  expect(await leftBy(root, await failedLoginOverSocket(here, headers))).toMatchObject([{ ipAddress: ip }]);
});

test('over a WebSocket too nobody who is not trusted chooses an address', async () => {
  const here = await world();
  const headers = { 'x-forwarded-for': '6.6.6.6', 'x-real-ip': '6.6.6.6', forwarded: 'for=6.6.6.6' };
  expect(await leftBy(await here.root(), await failedLoginOverSocket(here, headers))).toMatchObject([
    { ipAddress: '127.0.0.1', context: { transport: 'WEBSOCKET', forwardedFor: ['6.6.6.6'] } },
  ]);
});

test('an operation over a WebSocket has an id and the address of its upgrade', async () => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.0/8' });
  const root = await here.root();
  const id = await failedLoginOverSocket(here, { 'x-forwarded-for': '1.2.3.4', 'user-agent': 'a browser' });
  expect(await leftBy(root, id)).toMatchObject([
    { ipAddress: '1.2.3.4', userAgent: 'a browser', context: { transport: 'WEBSOCKET' } },
  ]);
});

test('who comes to the address alone is led to the explorer', async () => {
  const { url } = await world();
  const response = await fetch(url, { redirect: 'manual' });
  expect([response.status, response.headers.get('location')]).toEqual([302, '/graphiql']);
});

test('anybody can check an access token with the published key alone', async () => {
  const here = await world();
  const root = await here.root();
  const { keys } = (await (await fetch(`${here.url}/.well-known/jwks.json`)).json()) as {
    keys: (JsonWebKey & { kid: string })[];
  };
  const { header } = jwt.decode(root.token, { complete: true })!;
  const key = keys.find(({ kid }) => kid === header.kid)!;

  const claims = jwt.verify(root.token, createPublicKey({ key, format: 'jwk' }), { algorithms: ['ES256'] });

  expect(claims).toMatchObject({ sub: root.id, iss: 'http://custos.test', aud: 'http://custos.test' });
  expect(header).toMatchObject({ alg: 'ES256', typ: 'at+jwt' });
  expect('d' in key).toBe(false);
});

test('a token of another server, and none at all, are told apart from an expired one', async () => {
  const here = await world();
  const elsewhere = await (await world()).root();
  const reasonOf = async (token: string) =>
    (await here.anybody.ask('{ me { id } }', {}, { authorization: `Bearer ${token}` })).errors[0]!.extensions;

  expect(await reasonOf(elsewhere.token)).toMatchObject({ code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' });
  expect(await reasonOf('x.y.z')).toMatchObject({ reason: 'TOKEN_INVALID' });
  const nobody = await here.anybody.ask('{ me { id } }');
  expect(nobody.errors[0]!.extensions).toMatchObject({ reason: 'SIGN_IN_REQUIRED' });
  const client = socketClient(here.url, elsewhere.token);
  const refused = subscribe(client, 'subscription { loginFailed { cursor } }');
  expect(await refused.ended).toMatchObject({ code: 4403 });
  await client.dispose();
});

/** A login that fails over a WebSocket whose upgrade had these headers; returns its request id, which the error names too. */
async function failedLoginOverSocket({ url }: World, headers: Record<string, string>): Promise<string> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', { headers });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init' }));
  await once(socket, 'message');
  const query = 'mutation { login(input: { email: "a", password: "b" }) { expiresAt } }';
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
  const [message] = (await once(socket, 'message')) as [Buffer];
  socket.close();
  const { payload } = JSON.parse(message.toString()) as {
    payload: { extensions: { requestId: string }; errors: { extensions: object }[] };
  };
  expect(payload.errors[0]!.extensions).toMatchObject({ requestId: payload.extensions.requestId });
  return payload.extensions.requestId;
}

function failedLogin({ anybody }: World, headers: Record<string, string>) {
  return anybody.ask('mutation { login(input: { email: "a", password: "b" }) { expiresAt } }', {}, headers);
}
