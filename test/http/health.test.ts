import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';

import { openLog } from '../../src/platform/log.ts';
import { startServer } from '../../src/server.ts';
import { startCluster } from '../world/cluster.ts';
import { world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const ALL_OK = { draining: 'ok', database: 'ok', migrations: 'ok', sealer: 'ok', clock: 'ok' };

test('a server that serves is alive and ready, and says no more than that', async () => {
  const { url, log } = await world();

  const alive = await ask(url, '/healthz');
  const ready = await ask(url, '/readyz');

  expect(alive).toEqual({ status: 200, body: { status: 'ok' }, cached: 'no-store' });
  expect(ready).toEqual({ status: 200, body: { status: 'ready', checks: ALL_OK }, cached: 'no-store' });
  // Asked for ever, and not worth a line each time.
  expect(log.filter(({ msg }) => msg === 'request')).toEqual([]);
});

test('a database with a migration that this build does not know is not ready, and says which check fails', async () => {
  const { url, database } = await world();
  await database.admin`insert into drizzle.__drizzle_migrations (hash, created_at) values ('later', 9999999999999)`;

  await until('it is not ready', async () => (await ask(url, '/readyz')).status === 503);

  const { body } = await ask(url, '/readyz');
  expect(body).toEqual({ status: 'not ready', checks: { ...ALL_OK, migrations: 'failing' } });
});

test('a server whose sealer is held up is not ready after ten seconds, and ready again when it goes on', async () => {
  const custos = await world();
  const { url, database } = custos;
  const held = await database.admin.reserve();
  await held`begin`;
  await held`select from audit_sealer for update`;
  await custos.tenant();

  expect((await ask(url, '/readyz')).status).toBe(200);
  await until('it is not ready', async () => (await ask(url, '/readyz')).status === 503, 15_000);
  expect((await ask(url, '/readyz')).body.checks).toEqual({ ...ALL_OK, sealer: 'failing' });

  await held`commit`;
  held.release();
  await until('it is ready again', async () => (await ask(url, '/readyz')).status === 200);
});

test(
  'without its database a server is alive and not ready; its errors stay inside',
  { timeout: 60_000 },
  async () => {
    const cluster = await startCluster();
    const { settings } = await world();
    const server = await startServer(
      { ...settings, databaseUrl: await loginOf(cluster.adminUrl), databaseAdminUrl: cluster.adminUrl },
      openLog({ level: 'silent' }),
    );
    onTestFinished(() => server.stop());
    expect((await ask(server.url, '/readyz')).status).toBe(200);

    await cluster.stop();

    await until('it is not ready', async () => (await ask(server.url, '/readyz')).status === 503, 10_000);
    expect((await ask(server.url, '/readyz')).body.checks).toMatchObject({
      database: 'failing',
      migrations: 'failing',
    });
    expect((await ask(server.url, '/healthz')).status).toBe(200);
  },
);

test('a server that drains is not ready for those that are still connected', async () => {
  const { url, server } = await world();
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  let answer = '';
  socket.setEncoding('utf8').on('data', (text: string) => void (answer += text));
  // A request that has begun keeps the connection.
  socket.write('GET /readyz HTTP/1.1\r\nhost: x\r\n');
  await ask(url, '/healthz');

  const stopped = server.stop();
  await until('it refuses new connections', async () => !(await fetch(`${url}/healthz`).catch(() => false)));
  socket.write('\r\n');
  await stopped;

  expect(answer).toMatch(/^HTTP\/1\.1 503 /);
});

async function ask(url: string, route: string) {
  const response = await fetch(url + route);
  const body = (await response.json()) as { status: string; checks?: Record<string, string> };
  return { status: response.status, body, cached: response.headers.get('cache-control') };
}

/** The application's login on a cluster of the test's own. */
async function loginOf(adminUrl: string): Promise<string> {
  // oxlint-disable-next-line no-restricted-imports -- a role of the cluster, which no door of the application makes
  const { default: postgres } = await import('postgres');
  const sql = postgres(adminUrl, { max: 1 });
  await sql`create role health_login login password 'test'`;
  await sql.end();
  return Object.assign(new URL(adminUrl), { username: 'health_login' }).href;
}
