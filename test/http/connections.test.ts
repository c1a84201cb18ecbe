import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { type ClientOptions, WebSocket } from 'ws';

import { holdLog } from '../world/locks.ts';
import { type World, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const PROTOCOL = 'graphql-transport-ws';

/** The socket, or the status its upgrade was refused with. */
async function upgrade(
  { url }: Pick<World, 'url'>,
  options: ClientOptions = {},
): Promise<WebSocket | number> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, PROTOCOL, options);
  onTestFinished(() => socket.terminate());
  return await new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('unexpected-response', (_request, response) => resolve(response.statusCode!));
    socket.once('error', reject);
  });
}

test('a page of another origin gets no connection; our own, named ones and programs do', async () => {
  const here = await world({ CORS_ORIGINS: 'https://admin.example', PUBLIC_URL: 'https://custos.example' });
  const allowed = [undefined, here.url, 'https://admin.example', 'https://custos.example'];
  for (const origin of allowed)
    expect(await upgrade(here, origin ? { origin } : {})).toBeInstanceOf(WebSocket);
  for (const origin of ['https://evil.example', 'null', 'https://custos.example.evil.example'])
    expect([origin, await upgrade(here, { origin })]).toEqual([origin, 403]);
});

test('an address has fifty connections, a network of IPv6 too, and others connect meanwhile', async () => {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.0/8' });
  const from = (address: string) => upgrade(here, { headers: { 'x-forwarded-for': address } });
  const flood: (WebSocket | number)[] = [];
  for (let wave = 0; wave < 10; wave++)
    flood.push(...(await Promise.all(Array.from({ length: 200 }, () => from('203.0.113.9')))));
  const kept = flood.filter((each) => each instanceof WebSocket);
  expect(kept).toHaveLength(50);
  expect(new Set(flood.filter((each) => typeof each === 'number'))).toEqual(new Set([429]));

  const network = await Promise.all(
    Array.from({ length: 60 }, (_, at) => from(`2001:db8:1:2::${at.toString(16)}`)),
  );
  expect(network.filter((each) => each instanceof WebSocket)).toHaveLength(50);
  expect(await from('2001:db8:1:3::1')).toBeInstanceOf(WebSocket);
  expect(await from('203.0.113.10')).toBeInstanceOf(WebSocket);
  // Who leaves makes room, and who never says who it is is put out.
  kept[0]!.close();
  await once(kept[0]!, 'close');
  await until('there is room again', async () => (await from('203.0.113.9')) instanceof WebSocket);
  await Promise.all(
    kept.slice(1).map(async (socket) => {
      if (socket.readyState !== WebSocket.CLOSED) await once(socket, 'close');
    }),
  );
}, 60_000);

test('a connection has twenty operations at once, and the one too many is told so alone', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const client = socketClient(here.url, admin.token);
  const live = Array.from({ length: 20 }, () =>
    subscribe<{ cursor: string }>(client, 'subscription { auditLogAppended { cursor } }'),
  );
  for (const each of live) await each.next();
  const more = subscribe(client, 'subscription { auditLogAppended { cursor } }');
  expect(await more.ended).toMatchObject([
    { message: expect.stringContaining('at most 20 operations'), extensions: { code: 'QUERY_TOO_COMPLEX' } },
  ]);
  live[0]!.stop();
  const instead = subscribe<{ cursor: string }>(client, 'subscription { auditLogAppended { cursor } }');
  expect((await instead.next()).cursor).toBeTypeOf('string');
});

test('what a client has given up counts as long as it goes on', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const socket = (await upgrade(here)) as WebSocket;
  const send = (message: object) => socket.send(JSON.stringify(message));
  const answered = async () => JSON.parse(String((await once(socket, 'message'))[0])) as { type: string };
  const rename = `mutation { updateUser(input: { id: "${admin.id}", fullName: "Again" }) { user { id } } }`;
  send({ type: 'connection_init', payload: { authorization: `Bearer ${admin.token}` } });
  expect(await answered()).toMatchObject({ type: 'connection_ack' });
  const log = await holdLog(here.database.admin);
  for (let id = 0; id < 20; id++) {
    send({ id: `${id}`, type: 'subscribe', payload: { query: rename } });
    send({ id: `${id}`, type: 'complete' });
  }

  send({ id: 'more', type: 'subscribe', payload: { query: '{ __typename }' } });

  const refusal = [{ message: expect.stringContaining('at most 20 operations') as string }];
  expect(await answered()).toMatchObject({ id: 'more', type: 'error', payload: refusal });
  await log.release();
});

test('a client that hangs up while it is refused harms nobody', async () => {
  const here = await world();
  const { hostname, port, host } = new URL(here.url);
  const request = `GET /graphql HTTP/1.1\r\nhost: ${host}\r\norigin: https://evil.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`;
  const hangUp = async () => {
    const socket = connect(Number(port), hostname).on('error', () => {});
    await once(socket, 'connect');
    socket.write(request, () => socket.resetAndDestroy());
    await once(socket, 'close');
  };
  await Promise.all(Array.from({ length: 100 }, hangUp));
  expect((await here.anybody.ask('{ __typename }')).errors).toEqual([]);
});

test('a message that is too long is closed with 1009, and nothing of it is printed', async () => {
  const here = await world();
  const socket = (await upgrade(here)) as WebSocket;
  const closed = once(socket, 'close');
  socket.send('x'.repeat(256 * 1024 + 1));
  expect((await closed)[0]).toBe(1009);
  await until('it is logged', () => here.log.some(({ msg }) => msg === 'a connection was closed'));
});

test('a stop lets the mutation in flight finish, closes sockets with 1001 and takes nothing new', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const live = subscribe<{ cursor: string }>(
    socketClient(here.url, admin.token),
    'subscription { auditLogAppended { cursor } }',
  );
  const { cursor } = await live.next();
  const log = await holdLog(here.database.admin);
  const underway = admin.do('updateUser', { id: admin.id, fullName: 'In flight' }, 'user { fullName }');
  await log.waiting(1);

  const stopping = here.server.stop();
  expect(await live.ended).toMatchObject({ code: 1001 });
  await until('it takes nothing new', () => refuses(here.url));
  await log.release();

  expect((await underway).data.user.fullName).toBe('In flight');
  await stopping;
  const other = await here.another();
  const after = subscribe<{ node: { action: string } | null }>(
    socketClient(other.url, admin.token),
    'subscription After($after: String) { auditLogAppended(after: $after) { node { action } } }',
    { after: cursor },
  );
  await after.until(({ node }) => node?.action === 'USER_UPDATED');
});

test('what the database takes too long for is given up, named as what it is, and holds no connection', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const holder = await here.database.admin.reserve();
  onTestFinished(() => holder.release());
  await holder`begin`;
  await holder`lock table audit_logs in access exclusive mode`;

  const { errors } = await admin.ask('{ auditLogs { totalCount } }');

  expect(errors[0]).toMatchObject({
    message: expect.stringContaining('five seconds'),
    extensions: { code: 'QUERY_TOO_COMPLEX', reason: 'DEADLINE_EXCEEDED' },
  });
  await holder`rollback`;
  await until('the statement is gone', async () => {
    const [row] = await here.database.admin`
      select count(*)::int as left from pg_stat_activity where datname = current_database() and query like '%audit_logs%'
        and state = 'active' and pid <> pg_backend_pid()`;
    return row!['left'] === 0;
  });
  expect((await admin.ask('{ auditLogs { totalCount } }')).errors).toEqual([]);
}, 20_000);

function refuses(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(true));
  });
}
