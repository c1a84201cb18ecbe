import { createClient } from 'graphql-ws';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';

import { openSchema } from '../../src/graphql/schema.ts';
import { listen } from '../../src/http/listen.ts';
import { BULKY, FOLLOW, follower, type LogStep, placesOf } from '../world/bareSocket.ts';
import { openDoor } from '../world/door.ts';
import { record } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const CLOSED_TOO_SLOW = 4413;
test(
  'who takes nothing is closed with 4413, which it learns when it reads again, and goes on from its last cursor',
  { timeout: 90_000 },
  async () => {
    const here = await world();
    const { admin, id: tenantId } = await here.tenant();
    await allSealed(here.database.admin);
    const { house } = here.server;
    const edge = await listen({
      house,
      schema: openSchema(),
      host: '127.0.0.1',
      port: 0,
      trustedProxies: [],
      stuckMsMax: 200,
    });
    onTestFinished(() => edge.stop());
    const db = openDoor({ url: here.database.adminUrl });
    const write = (count: number) =>
      record(db, ...Array.from({ length: count }, () => ({ tenantId, details: BULKY })));
    const followers = house.feed.followers();
    const slow = await follower(edge.url, admin.token);
    const quick = await follower(edge.url, admin.token);
    const client = await patient(edge.url, admin.token);
    const origin = quick.steps[0]!;

    slow.socket.pause();
    client.sockets[0]!.pause();
    const since = performance.now();
    let written = 0;
    while (house.feed.followers() > followers + 1) {
      expect(performance.now() - since).toBeLessThan(40_000);
      written += (await write(50)).length;
      await until('the quick one has all', () => placesOf(quick.steps).length === written, 20_000);
    }
    expect(quick.code).toBeUndefined();

    slow.socket.resume();
    client.sockets[0]!.resume();
    await until('it is told', () => slow.code !== undefined);
    expect(slow.code).toBe(CLOSED_TOO_SLOW);
    await until('graphql-ws connects again by itself', () => client.sockets.length === 2);
    const before = placesOf(slow.steps);
    expect(before.length).toBeLessThan(written);
    const again = subscribe<LogStep>(socketClient(edge.url, admin.token), FOLLOW, {
      after: slow.steps.at(-1)!.cursor,
    });
    const after = [];
    while (before.length + after.length < written) after.push((await again.next()).node?.position ?? -1);
    expect([...before, ...after]).toEqual(placesOf(quick.steps));
    expect(origin.node).toBeNull();
  },
);

test('who reads slowly, but reads, is let be and misses nothing', { timeout: 90_000 }, async () => {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant();
  await allSealed(here.database.admin);
  const { house } = here.server;
  const edge = await listen({
    house,
    schema: openSchema(),
    host: '127.0.0.1',
    port: 0,
    trustedProxies: [],
    stuckMsMax: 1_000,
  });
  onTestFinished(() => edge.stop());
  const db = openDoor({ url: here.database.adminUrl });
  const reader = await follower(edge.url, admin.token);
  // It takes a little now and then, and much more is written than the system keeps.
  reader.socket.on('message', () => {
    if (isSlow && reader.steps.length % 20 === 0) reader.socket.pause();
  });
  let isSlow = true;
  const reading = setInterval(() => reader.socket.resume(), 50);
  onTestFinished(() => clearInterval(reading));
  let written = 0;
  while (written < 1_000)
    written += (await record(db, ...Array.from({ length: 50 }, () => ({ tenantId, details: BULKY })))).length;
  await until('it has read the half', () => placesOf(reader.steps).length > written / 2, 40_000);
  expect(placesOf(reader.steps).length).toBeLessThan(written);
  isSlow = false;
  await until('it has all', () => placesOf(reader.steps).length === written, 40_000);
  expect(reader.code).toBeUndefined();
});

/** graphql-ws as it comes, which connects again by itself unless a code forbids it; and the sockets it has opened. */
async function patient(url: string, token: string) {
  const sockets: WebSocket[] = [];
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    connectionParams: { authorization: `Bearer ${token}` },
    webSocketImpl: class extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        sockets.push(this);
      }
    },
  });
  onTestFinished(() => client.dispose());
  await subscribe(client, FOLLOW).next();
  return { sockets };
}
