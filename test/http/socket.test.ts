import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';

import { sessionOf } from '../world/auditRecord.ts';
import { PASSWORD, type Person, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

test('a token that is none of ours, or has expired, or is no bearer token, is refused with 4403', async () => {
  const { here, admin, tokenFor } = await signedIn();
  const expired = tokenFor(1);
  await until('it has expired', () => !here.server.house.services.tokens.verify(expired).ok);
  const bad = ['Bearer nonsense', `Bearer ${admin.token}x`, admin.token, 'Basic YTpi', 7, ''];
  for (const authorization of bad) expect(await closeCode(here, { authorization })).toBe(4403);
  expect(await closeCode(here, { authorization: `Bearer ${expired}` })).toBe(4403);
});

test('who says nothing within three seconds, or asks before it has said who it is, is hung up on', async () => {
  const { here } = await signedIn();
  const since = performance.now();
  const silent = await open(here);
  const hasty = await open(here);
  hasty.send({ id: '1', type: 'subscribe', payload: { query: '{ __typename }' } });
  expect(await hasty.closed).toBe(4401);
  expect(await silent.closed).toBe(4408);
  const waitedMs = performance.now() - since;
  expect(waitedMs).toBeGreaterThan(2_900);
  expect(waitedMs).toBeLessThan(6_000);
});

test('a message of more than 256 KiB ends the connection, one of less does not', async () => {
  const { here, admin } = await signedIn();
  const padded = (bytes: number) => {
    const query = '{ __typename } #';
    const message = { id: '1', type: 'subscribe', payload: { query } };
    const missing = bytes - JSON.stringify(message).length;
    return { ...message, payload: { query: query + 'x'.repeat(missing) } };
  };
  const socket = await connected(here, admin);
  socket.send(padded(256 * 1024));
  expect(await socket.next()).toMatchObject({ type: 'next', payload: { data: { __typename: 'Query' } } });
  socket.send(padded(256 * 1024 + 1));
  expect(await socket.closed).toBe(1009);
});

test('the connection ends with 4403 when its token expires, though its session goes on', async () => {
  const { here, admin, tokenFor } = await signedIn();
  const socket = await connected(here, { token: tokenFor(2) });
  expect(await socket.closed).toBe(4403);
  expect((await admin.ask('{ me { id } }')).errors).toEqual([]);
});

test('queries and mutations are answered and recorded as over HTTP, but for the transport', async () => {
  const { here, admin, tenantId } = await signedIn();
  const operation = `mutation Rename($input: UpdateTenantInput!) {
    updateTenant(input: $input) { tenant { name } receipts { id action } } }`;
  const over = async (id: string, socket: Socket) => {
    socket.send({
      id: '1',
      type: 'subscribe',
      payload: { query: operation, variables: { input: { id, name: 'New' } } },
    });
    const { payload } = await socket.next();
    expect(await socket.next()).toMatchObject({ type: 'complete' });
    return payload!;
  };
  const socket = await connected(here, admin);
  const done = await over(tenantId, socket);
  const refused = await over(randomUUID(), socket);
  const { requestId: _id, ...http } = (await admin.ask(operation, { input: { id: tenantId, name: 'Newer' } }))
    .data;

  expect(done.data.updateTenant).toMatchObject({
    tenant: { name: 'New' },
    receipts: [{ action: 'TENANT_UPDATED' }],
  });
  expect(refused.errors[0]).toEqual({
    message: 'No such tenant.',
    path: ['updateTenant'],
    locations: [{ line: 2, column: 5 }],
    extensions: { code: 'NOT_FOUND', reason: 'TENANT_NOT_FOUND', requestId: refused.extensions.requestId },
  });
  expect(done.extensions.requestId).not.toBe(refused.extensions.requestId);
  const records = await recordsOf(
    admin,
    [done, refused].map(({ extensions }) => extensions.requestId as string),
  );
  const overHttp = await recordsOf(admin, [], [http.updateTenant.receipts[0].id as string]);
  expect(records).toMatchObject([
    { action: 'TENANT_UPDATED', status: 'SUCCESS', context: { transport: 'WEBSOCKET' } },
    { action: 'TENANT_UPDATED', status: 'FAILURE', context: { transport: 'WEBSOCKET' } },
  ]);
  const { requestId: _own, ...rest } = overHttp[0]!;
  expect(records[0]).toEqual({
    ...rest,
    requestId: done.extensions.requestId,
    userAgent: 'a test',
    details: expect.anything() as unknown,
    changes: [{ path: 'name', before: 'Acme', after: 'New' }],
    context: { ...rest.context, transport: 'WEBSOCKET' },
  });
});

test('a connection without a token can sign in, once in an operation', async () => {
  const { here, admin } = await signedIn();
  const socket = await connected(here, undefined);
  const login = (alias: string) =>
    `${alias}: login(input: { email: "${admin.email}", password: "${PASSWORD}" }) { user { id } }`;
  socket.send({ id: '1', type: 'subscribe', payload: { query: `mutation { ${login('a')} }` } });
  expect((await socket.next()).payload!.data.a).toEqual({ user: { id: admin.id } });
  await socket.next();
  socket.send({ id: '2', type: 'subscribe', payload: { query: `mutation { ${login('a')} ${login('b')} }` } });
  const { errors } = (await socket.next()).payload!;
  expect(errors).toMatchObject([
    { path: ['a'], extensions: { reason: 'ONE_SIGN_IN_A_REQUEST' } },
    { path: ['b'], extensions: { reason: 'ONE_SIGN_IN_A_REQUEST' } },
  ]);
});

test('an operation that does not parse, is not valid or names nothing is refused alone: the connection goes on', async () => {
  const { here, admin } = await signedIn();
  const socket = await connected(here, admin);
  for (const payload of [
    { query: '{' },
    { query: '{ nothing }' },
    { query: 'query A { me { id } }', operationName: 'B' },
    { query: '{ me { id } }', operationName: 'B' },
  ]) {
    socket.send({ id: '1', type: 'subscribe', payload });
    const { type, payload: errors } = await socket.next();
    expect([type, errors]).toMatchObject([
      'error',
      [{ extensions: { code: expect.stringMatching(/^(BAD_USER_INPUT|GRAPHQL_)/) as string } }],
    ]);
    expect(errors[0].extensions.requestId).toMatch(/^[0-9a-f-]{36}$/);
  }
  socket.send({ id: '2', type: 'subscribe', payload: { query: '{ me { id } }' } });
  expect((await socket.next()).payload!.data.me).toEqual({ id: admin.id });
});

test('a connection whose session has ended is nobody at its next operation', async () => {
  const { here, admin } = await signedIn();
  const socket = await connected(here, admin);
  await admin.do('logout', undefined);
  socket.send({ id: '1', type: 'subscribe', payload: { query: '{ me { id } }' } });
  expect((await socket.next()).payload!.errors[0].extensions).toMatchObject({ reason: 'SESSION_REVOKED' });
});

test('without the database a connection is told to try later, with a code that clients obey, and no fault shows', async () => {
  const { here, admin } = await signedIn();
  const { db } = here.server.house;
  const socket = await connected(here, admin);
  const withReadTx = db.withReadTx.bind(db);
  Object.assign(db, { withReadTx: () => Promise.reject(new Error('the secret of the database')) });
  onTestFinished(() => void Object.assign(db, { withReadTx }));

  expect(await closeCode(here, { authorization: `Bearer ${admin.token}` })).toBe(1013);
  socket.send({ id: '1', type: 'subscribe', payload: { query: '{ me { id } }' } });
  const { type, payload } = await socket.next();
  expect([type, payload[0].extensions.code]).toEqual(['error', 'INTERNAL_SERVER_ERROR']);
  expect(JSON.stringify(payload)).not.toContain('secret');
  const { requestId } = payload[0].extensions;
  expect(here.log.filter((line) => line['requestId'] === requestId)).toHaveLength(1);
});

interface Message {
  readonly type: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test asked for
  readonly payload?: any;
}

interface Socket {
  send(message: object): void;
  next(): Promise<Message>;
  /** The code it is closed with. */
  readonly closed: Promise<number>;
}

/** The protocol by hand: what a client library would hide is the subject here. */
async function open({ url }: World): Promise<Socket> {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/graphql`, 'graphql-transport-ws', {
    headers: { 'user-agent': 'a test' },
  });
  onTestFinished(() => socket.terminate());
  const received: Message[] = [];
  const waiting: ((message: Message) => void)[] = [];
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(String(data)) as Message;
    const waiter = waiting.shift();
    if (waiter) waiter(message);
    else received.push(message);
  });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await once(socket, 'open');
  return {
    send: (message) => socket.send(JSON.stringify(message)),
    next: () => {
      const message = received.shift();
      return message ? Promise.resolve(message) : new Promise((resolve) => waiting.push(resolve));
    },
    closed,
  };
}

async function connected(here: World, person: Pick<Person, 'token'> | undefined): Promise<Socket> {
  const socket = await open(here);
  socket.send({
    type: 'connection_init',
    ...(person ? { payload: { authorization: `Bearer ${person.token}` } } : {}),
  });
  expect(await socket.next()).toEqual({ type: 'connection_ack' });
  return socket;
}

async function closeCode(here: World, payload: object): Promise<number> {
  const socket = await open(here);
  socket.send({ type: 'connection_init', payload });
  return await socket.closed;
}

const FACTS = `action status requestId userAgent ipAddress userId tenantId resourceId details actor { type id sessionId }
  changes { path before after } context { operationName fieldPath documentHash transport forwardedFor }`;

async function recordsOf(reader: Person, requestIds: string[], ids: string[] = []) {
  const found = [];
  for (const requestId of requestIds) {
    const { data } = await reader.ask(
      `query ($requestId: String!) { auditLogs(filter: { requestId: $requestId }) { nodes { ${FACTS} } } }`,
      { requestId },
    );
    found.push(...data.auditLogs.nodes);
  }
  for (const id of ids) {
    found.push(
      (await reader.ask(`query ($id: ID!) { auditLog(id: $id) { ${FACTS} } }`, { id })).data.auditLog,
    );
  }
  return found;
}

async function signedIn() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const { tokens } = here.server.house.services;
  const tokenFor = (lifetimeSeconds: number) =>
    tokens.sign({ userId: admin.id, sessionId: sessionOf(admin), lifetimeSeconds }).token;
  return { here, tenantId, admin, tokenFor };
}
