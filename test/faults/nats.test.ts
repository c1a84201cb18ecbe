/** Several servers of one database, told of new records by a real NATS server: Debian's nats-server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';

import { freePort } from '../world/cluster.ts';
import { allSealed } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';
import { type LiveStep, socketClient, subscribe } from '../world/socket.ts';
import { median } from '../../bench/statistics.ts';
import { until } from '../world/wait.ts';

const PROGRAM = '/usr/sbin/nats-server';
const isHere = existsSync(PROGRAM);
if (!isHere) console.log(`Skipped: there is no ${PROGRAM}; it is in Debian's package nats-server.`);
const FOLLOW = 'subscription ($after: String) { auditLogAppended(after: $after) { cursor node { id } } }';
/** Processes look by themselves once a second: whoever is told hears of a record long before, on the average. */
const UNTOLD_MS = 300;

test.runIf(isHere)(
  'what is written at one server is heard at two others at once, with credentials, and not by those of another database',
  async () => {
    const { url } = await nats(['--user', 'custos', '--pass', 's3cret/x']);
    const env = { EVENT_BUS_URL: url.replace('//', `//custos:${encodeURIComponent('s3cret/x')}@`) };
    const here = await world(env);
    const others = [await here.another(), await here.another()];
    const { admin } = await here.tenant();
    const heard = await Promise.all(others.map(({ url: at }) => followed(here, at, admin)));
    const waits: number[] = [];
    for (let at = 0; at < 15; at++) {
      const { id } = await renamed(admin, at);
      const answeredAt = performance.now();
      await until('it is heard', async () => heard.every((ids) => ids.includes(id)));
      waits.push(performance.now() - answeredAt);
    }
    expect(median(waits)).toBeLessThan(UNTOLD_MS);
    // Postgres carries none any more.
    const notices: string[] = [];
    await here.server.house.db.listen(
      'custos_sealed',
      (pos) => notices.push(pos),
      () => {},
    );
    const { id: last } = await renamed(admin, 99);
    await until('that is heard too', async () => heard.every((ids) => ids.includes(last)));
    expect(notices).toEqual([]);
    expect(JSON.stringify(here.log)).not.toContain('s3cret');
  },
);

test.runIf(isHere)(
  'while NATS is killed and comes back nothing is lost and nothing comes twice',
  async () => {
    const server = await nats([]);
    const here = await world({ EVENT_BUS_URL: server.url });
    const other = await here.another();
    const { admin } = await here.tenant();
    const heard = await followed(here, other.url, admin);
    const written: string[] = [];
    const write = async (count: number) => {
      for (let at = 0; at < count; at++) written.push((await renamed(admin, written.length)).id);
    };
    await write(10);
    server.process.kill('SIGKILL');
    await once(server.process, 'exit');
    await write(10);
    await until('all is heard without it', async () => heard.length === written.length);
    await server.again();
    await until('it is back', async () => lines(here, 'The event bus is back.') > 0);
    await write(10);
    await until('all is heard', async () => heard.length === written.length);
    expect(heard).toEqual(written);
    expect(lines(here, 'The event bus is lost')).toBeGreaterThan(0);
  },
);

test.runIf(isHere)(
  'a server starts and works while NATS cannot be reached, uses it once it can, and stops',
  async () => {
    const port = await freePort();
    const here = await world({ EVENT_BUS_URL: `nats://127.0.0.1:${port}` });
    const { admin } = await here.tenant();
    const heard = await followed(here, here.url, admin);
    const { id } = await renamed(admin, 1);
    await until('it is heard', async () => heard.includes(id));
    expect(lines(here, 'The event bus cannot be reached')).toBe(1);
    await here.stop();
  },
);

async function renamed(admin: Person, at: number): Promise<{ id: string }> {
  const { data, errors } = await admin.do('updateUser', { id: admin.id, fullName: `Ann ${at}` });
  expect(errors).toEqual([]);
  return data.receipts[0] as { id: string };
}

/** The ids of the records that come from now on. */
async function followed({ database }: World, url: string, { token }: Person): Promise<string[]> {
  await allSealed(database.admin);
  const client = socketClient(url, token);
  onTestFinished(() => client.dispose());
  const steps = subscribe<LiveStep>(client, FOLLOW);
  const ids: string[] = [];
  await steps.next();
  void (async () => {
    for (;;) {
      const { node } = await steps.next();
      if (node) ids.push(node.id as string);
    }
  })().catch(() => {});
  return ids;
}

function lines({ log }: World, text: string): number {
  return log.filter(({ msg }) => typeof msg === 'string' && msg.startsWith(text)).length;
}

async function nats(options: readonly string[]) {
  const port = await freePort();
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(PROGRAM, ['--addr', '127.0.0.1', '--port', String(port), ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let said = '';
    child.stderr.on('data', (text: Buffer) => (said += text.toString()));
    await until('NATS is ready', async () => said.includes('Server is ready'));
    return child;
  };
  return { url: `nats://127.0.0.1:${port}`, process: await start(), again: start };
}
