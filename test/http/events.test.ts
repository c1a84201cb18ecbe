/** The log for clients without WebSocket. What is shown to whom is the schema's and tested there: here it is how it travels. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';

import { openSchema } from '../../src/graphql/schema.ts';
import { listen } from '../../src/http/listen.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { askEvents, openEvents } from '../world/events.ts';
import { APPENDED, livePeople } from '../world/live.ts';
import { openProxy } from '../world/proxy.ts';
import { record } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { type Person, world } from '../world/server.ts';
import { type LiveStep, socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const NDJSON = 'application/x-ndjson';
/** Every field that is a record's own. */
const RECORD = `id position createdAt schemaVersion action actionKey category severity status failure { code reason message }
  userId actor { type id email name role sessionId } tenantId resource resourceId resourceName details
  changes { path before after redaction } ipAddress userAgent requestId
  context { operationName fieldPath documentHash transport forwardedFor }`;
const END = '{ auditFeed(from: END) { nextCursor } }';

async function open() {
  const here = await world();
  const { id, admin } = await here.tenant();
  await allSealed(here.database.admin);
  const { data } = await admin.ask(END);
  return { here, id, admin, origin: data.auditFeed.nextCursor as string };
}

/** Leaves a record, and returns its id. */
async function rename(admin: Person, fullName: string): Promise<string> {
  const { data } = await admin.do('updateUser', { id: admin.id, fullName });
  return data.receipts[0].id as string;
}

const idOf = ({ data }: { data: string }) => (JSON.parse(data) as { id?: string }).id;

test('a record travels as the API shows it, as an event and as a line, under a cursor that is the API’s', async () => {
  const { here, admin, origin } = await open();
  const live = await openEvents(here.url, admin.token);
  expect(await live.next()).toEqual({ id: origin, event: 'progress', data: '{}' });
  const id = await rename(admin, 'One\u2028Two');
  const [, event] = [await allSealed(here.database.admin), await live.next()];
  const page = await askEvents(here.url, admin.token, { accept: NDJSON, query: { after: origin } });
  const line = JSON.parse(await page.text()) as { cursor: string; record: object };

  const { data } = await admin.ask(`query ($id: ID!) { auditLog(id: $id) { ${RECORD} } }`, { id });
  expect(event).toEqual({ id: line.cursor, event: 'record', data: expect.any(String) as string });
  expect(JSON.parse(event!.data)).toEqual(data.auditLog);
  expect(line.record).toEqual(data.auditLog);
  expect(page.headers.get('custos-next-cursor')).toBe(line.cursor);
  const steps = subscribe<LiveStep>(socketClient(here.url, admin.token), APPENDED, { after: origin });
  expect(await steps.next()).toMatchObject({ cursor: line.cursor, node: { id } });
});

test('through twenty cuts of the connection every record arrives once and in order, by Last-Event-ID', async () => {
  const { here, admin, origin } = await open();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const written: string[] = [];
  const seen: string[] = [];
  let connections = 0;
  const reading = (async () => {
    for (let lastEventId = origin; seen.length < 101;) {
      connections++;
      try {
        // The address stays the one it began with, as with a browser.
        const events = await openEvents(proxy.url, admin.token, { lastEventId, query: { after: origin } });
        while (seen.length < 101) {
          const event = (await events.next())!;
          lastEventId = event.id!;
          if (event.event === 'record') seen.push(idOf(event)!);
        }
      } catch (cause) {
        if (!/aborted|socket hang up|ECONNRESET/.test(String(cause))) throw cause;
      }
    }
  })();
  for (let cut = 0; cut < 20; cut++) {
    for (let each = 0; each < 5; each++) written.push(await rename(admin, `Name ${cut} ${each}`));
    const before = connections;
    proxy.cutAll();
    await until('it has come again', () => connections > before);
  }
  written.push(await rename(admin, 'Last'));
  await reading;
  expect(seen).toEqual(written);
  expect(connections).toBeGreaterThan(20);
});

test('a filter lets through what it asks for; a stream it lets nothing into still gets on', async () => {
  const { here, admin, fail } = await livePeople();
  const filter = JSON.stringify({ actions: ['USER_UPDATED'], userId: admin.id });
  const live = await openEvents(here.url, admin.token, { query: { filter } });
  const { id: before } = (await live.next())!;
  await fail(admin.email);
  const { id: cursor, event } = (await live.next())!;
  expect([event, cursor === before]).toEqual(['progress', false]);
  const id = await rename(admin, 'Renamed');
  expect((await live.until((each) => each.event === 'record')).map(idOf).at(-1)).toBe(id);
  const page = await askEvents(here.url, admin.token, { query: { filter, format: 'ndjson', first: '10' } });
  expect(
    (await page.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).record.id as string),
  ).toEqual([id]);
});

test('pages of lines, each asked for with the cursor of the one before, are the table, to the end', async () => {
  const { here, admin } = await open();
  for (let each = 0; each < 12; each++) await rename(admin, `Name ${each}`);
  await allSealed(here.database.admin);
  const lines: string[] = [];
  let after: Record<string, string> = {};
  for (let more = 'true'; more === 'true';) {
    const page = await askEvents(here.url, admin.token, { accept: NDJSON, query: { first: '5', ...after } });
    expect(page.headers.get('content-type')).toContain(NDJSON);
    lines.push(...(await page.text()).split('\n').slice(0, -1));
    more = page.headers.get('custos-has-more')!;
    after = { after: page.headers.get('custos-next-cursor')! };
  }
  const { data } = await admin.ask(
    '{ auditLogs(first: 500, orderBy: { direction: ASC }) { nodes { id position } } }',
  );
  const nodes = data.auditLogs.nodes as { id: string; position: number }[];
  expect(lines.map((line) => (JSON.parse(line).record as { id: string }).id)).toEqual(
    nodes.toSorted((one, two) => one.position - two.position).map(({ id }) => id),
  );
  const end = await askEvents(here.url, admin.token, { accept: NDJSON, query: after });
  expect([end.status, await end.text(), end.headers.get('custos-next-cursor')]).toEqual([
    200,
    '',
    after['after'],
  ]);
});

test('what is refused is refused with a status and the body that every error has', async () => {
  const { here, admin } = await open();
  const member = await here.user(admin, 'MEMBER');
  const { data } = await (await here.tenant('Globex')).admin.ask(END);
  const beyond = Buffer.from(
    Buffer.from((await admin.ask(END)).data.auditFeed.nextCursor as string, 'base64url')
      .toString()
      .replace(/"\d+"]/, '"999999"]'),
  ).toString('base64url');
  const cases: [number, string, string | undefined, Record<string, string>][] = [
    [401, 'SIGN_IN_REQUIRED', undefined, {}],
    [401, 'TOKEN_INVALID', `${admin.token}x`, {}],
    [403, 'SCOPE_MISSING', member.token, {}],
    [400, 'CURSOR_MISMATCH', admin.token, { after: data.auditFeed.nextCursor as string }],
    [400, 'CURSOR_MISMATCH', admin.token, { after: beyond }],
    [400, 'INVALID_INPUT', admin.token, { actions: 'LOGIN_FAILED' }],
    [400, 'INVALID_INPUT', admin.token, { filter: '{' }],
    [400, 'INVALID_INPUT', admin.token, { filter: '{"action":"LOGIN_FAILED"}' }],
    [400, 'INVALID_INPUT', admin.token, { first: 'x' }],
  ];
  for (const accept of ['text/event-stream', NDJSON]) {
    for (const [status, reason, token, query] of cases) {
      const answer = await askEvents(here.url, token, { accept, query });
      const body = (await answer.json()) as { errors: { extensions: object }[] };
      const requestId = answer.headers.get('x-request-id');
      expect([query, answer.status, body]).toEqual([
        query,
        status,
        {
          errors: [
            {
              message: expect.any(String) as string,
              extensions: expect.objectContaining({
                code: expect.any(String) as string,
                reason,
                requestId,
              }) as object,
            },
          ],
        },
      ]);
      expect(answer.headers.get('www-authenticate')).toBe(status === 401 ? 'Bearer' : null);
    }
  }
  expect(here.server.house.feed.followers()).toBe(0);
});

test('when the right to follow is lost, nothing later is delivered, and the stream ends saying why', async () => {
  const { here, admin } = await open();
  const losses: [string, (watcher: Person) => Promise<unknown>][] = [
    ['SESSION_REVOKED', (watcher) => watcher.do('logout', undefined)],
    ['SCOPE_MISSING', ({ id }) => admin.do('changeUserRole', { id, role: 'MEMBER' })],
    ['SESSION_REVOKED', ({ id }) => admin.do('deactivateUser', { id, reason: 'Gone' })],
  ];
  for (const [reason, lose] of losses) {
    const watcher = await here.user(admin, 'AUDITOR');
    await allSealed(here.database.admin);
    const live = await openEvents(here.url, watcher.token);
    await live.next();
    const seen = await rename(admin, `Seen before ${reason}`);
    await lose(watcher);
    await rename(admin, `Not seen after ${reason}`);
    const events = await live.until(({ event }) => event === 'end');
    expect(events.map(idOf)).toEqual([seen, undefined]);
    expect(JSON.parse(events.at(-1)!.data)).toEqual({ code: 4403, reason });
    expect(await live.next()).toBeUndefined();
  }
});

test('the stream ends when its token expires, though its session goes on, and a new token goes on from there', async () => {
  const { here, admin } = await open();
  const { tokens } = here.server.house.services;
  const { token } = tokens.sign({ userId: admin.id, sessionId: sessionOf(admin), lifetimeSeconds: 2 });
  const live = await openEvents(here.url, token);
  const { id: lastEventId } = (await live.next())!;
  expect(await live.next()).toEqual({
    id: undefined,
    event: 'end',
    data: '{"code":4403,"reason":"TOKEN_EXPIRED"}',
  });
  expect(await live.next()).toBeUndefined();
  const id = await rename(admin, 'Meanwhile');
  const again = await openEvents(here.url, admin.token, { lastEventId });
  expect((await again.until(({ event }) => event === 'record')).map(idOf).at(-1)).toBe(id);
});

test('a reader that takes nothing holds one event, is cut, and holds up nobody; who hangs up is let go', async () => {
  const { here, id: tenantId, admin, origin } = await open();
  const { house } = here.server;
  const server = await listen({
    house,
    schema: openSchema(),
    host: '127.0.0.1',
    port: 0,
    trustedProxies: [],
    stuckMsMax: 1_000,
  });
  onTestFinished(() => server.stop());
  const details = { filler: 'x'.repeat(20_000) };
  await record(house.db, ...Array.from({ length: 1_000 }, () => ({ tenantId, details })));
  await allSealed(here.database.admin);
  const { hostname, port, host } = new URL(server.url);
  const stuck = connect(Number(port), hostname).on('error', () => {});
  onTestFinished(() => void stuck.destroy());
  stuck.pause();
  stuck.write(
    `GET /feed/events?after=${origin} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${admin.token}\r\n\r\n`,
  );
  await until('it follows', () => house.feed.followers() === 1);

  const other = await openEvents(server.url, admin.token, { lastEventId: origin });
  const id = await rename(admin, 'Renamed');
  const taken = await other.until((event) => idOf(event) === id);
  expect(taken.filter(({ event }) => event === 'record')).toHaveLength(1_001);
  await until('the one that takes nothing is cut', () => house.feed.followers() === 1, 10_000);
  const left = once(stuck, 'close');
  stuck.resume();
  await left;
  expect(stuck.bytesRead).toBeLessThan(1_000 * 20_000);
  other.close();
  await until('who hung up is let go', () => house.feed.followers() === 0);
}, 30_000);

test('a stop ends streams at once, and any other process goes on from the cursor', async () => {
  const { here, admin } = await open();
  const other = await here.another();
  const live = await openEvents(here.url, admin.token);
  const { id: lastEventId } = (await live.next())!;
  const since = performance.now();
  await here.server.stop();
  expect(performance.now() - since).toBeLessThan(5_000);
  expect(await live.next()).toBeUndefined();
  const again = await openEvents(other.url, admin.token, { lastEventId });
  expect((await again.next())!.id).toBe(lastEventId);
});

test('event streams and WebSockets of an address are fifty together, and who hung up at once is not one of them', async () => {
  const { here, admin } = await open();
  const { hostname, port, host } = new URL(here.url);
  const hasty = `GET /feed/events HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${admin.token}\r\n\r\n`;
  const hangUp = async () => {
    const socket = connect(Number(port), hostname).on('error', () => {});
    await once(socket, 'connect');
    socket.write(hasty, () => socket.destroy());
    await once(socket, 'close');
  };
  await Promise.all(Array.from({ length: 100 }, hangUp));
  (await askEvents(here.url, admin.token)).hangUp();
  await until('those who hung up are gone', () => here.server.house.feed.followers() === 0);
  const client = socketClient(here.url, admin.token, { lazyCloseTimeout: 60_000 });
  onTestFinished(() => client.dispose());
  await subscribe<LiveStep>(client, APPENDED).next();
  const streams = await Promise.all(Array.from({ length: 49 }, () => openEvents(here.url, admin.token)));
  const refused = await askEvents(here.url, admin.token);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
  expect(await refused.json()).toMatchObject({
    errors: [{ extensions: { code: 'RATE_LIMITED', reason: 'BUSY' } }],
  });
  streams[0]!.close();
  await until('it is let go', () => here.server.house.feed.followers() === 49);
  expect(await (await openEvents(here.url, admin.token)).next()).toMatchObject({ event: 'progress' });
});
