/** What is measured: Custos as it is, and Custos without a log, on databases of one embedded server with its usual settings. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import postgres from 'postgres';

import { openSchema } from '../src/graphql/schema.ts';
import { listen } from '../src/http/listen.ts';
import { openLog } from '../src/platform/log.ts';
import { startPostgres } from '../src/platform/postgres.ts';
import { readSettings } from '../src/platform/settings.ts';
import { startServer } from '../src/server.ts';
import { post } from './client.ts';
import { withoutRecord } from './unaudited.ts';

const CLIENTS = 16;

/** A server with a tenant in it. */
export interface Target {
  readonly url: string;
  /** Of the tenant's administrator. */
  readonly token: string;
  readonly tenantId: string;
  /** One for each client, so that none waits for the row of another. */
  readonly userIds: readonly string[];
}

export interface Served {
  readonly audited: Target;
  readonly unaudited: Target;
  /** The database of the audited one, as the application logs in. */
  readonly databaseUrl: string;
  readonly postgres: string;
}

/** Serves both until the parent process says stop. */
export async function serve(): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-bench-'));
  await chmod(folder, 0o755);
  const log = openLog({ level: 'error' });
  const embedded = await startPostgres({ dataDir: folder, log });
  const admin = postgres(embedded.adminUrl(), { max: 1 });
  await admin`create database unaudited`;
  const [version] = await admin`show server_version`;

  const open = (database: string) =>
    startServer(
      readSettings({
        PORT: '0',
        DATABASE_URL: embedded.appUrl(database),
        DATABASE_ADMIN_URL: embedded.adminUrl(database),
        CUSTOS_DATA_DIR: folder,
        BOOTSTRAP_ADMIN_PASSWORD: 'not used here',
        PASSWORD_COST: '10',
        LOG_LEVEL: 'error',
      }),
      log,
    );
  const audited = await open('custos');
  const plain = await open('unaudited');
  const unaudited = await listen({
    house: plain.house,
    schema: withoutRecord(openSchema(), plain.house),
    host: '127.0.0.1',
    port: 0,
    trustedProxies: [],
  });
  const targets = { audited: await furnish(audited.url), unaudited: await furnish(unaudited.url) };
  // From here on a change of this database needs no record.
  const owner = postgres(embedded.adminUrl('unaudited'), { max: 1 });
  await owner`alter table users disable trigger audited`;
  await owner.end();
  await admin.end();

  const served: Served = {
    ...targets,
    databaseUrl: embedded.appUrl('custos'),
    postgres: String(version!['server_version']),
  };
  process.send!(served);
  process.once('message', () => {
    void (async () => {
      await unaudited.stop();
      await plain.stop();
      await audited.stop();
      await embedded.stop();
      await rm(folder, { recursive: true, force: true });
      process.exit(0);
    })();
  });
}

async function furnish(url: string): Promise<Target> {
  const { register } = await post<{ register: { accessToken: string; user: { tenantId: string } } }>(
    url,
    undefined,
    {
      query: `mutation { register(input: { tenantName: "Bench", subdomain: "bench", email: "admin@bench.example",
      password: "correct horse battery", fullName: "Ada Admin" }) { accessToken user { tenantId } } }`,
    },
  );
  const userIds = [];
  for (let at = 0; at < CLIENTS; at++) {
    const { createUser } = await post<{ createUser: { user: { id: string } } }>(url, register.accessToken, {
      query: `mutation { createUser(input: { email: "user${at}@bench.example", fullName: "User ${at}" }) { user { id } } }`,
    });
    userIds.push(createUser.user.id);
  }
  return { url, token: register.accessToken, tenantId: register.user.tenantId, userIds };
}
