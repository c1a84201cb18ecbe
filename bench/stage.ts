/** What is measured stands on databases of one embedded server with its usual settings: one with a seeded log, others as needed. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import postgres from 'postgres';

import { openLog } from '../src/platform/log.ts';
import { startPostgres } from '../src/platform/postgres.ts';
import { post } from './client.ts';
import { type Seeded, start } from './processes.ts';

const FACTS = 'seeded.json';
const DAYS = 365;
/** Of the log that is seeded. */
export const SEEDED = 'custos';
/** Of the super administrator of every database. */
const SUPER = { email: 'admin@custos.local', password: 'not used elsewhere' };

/** The seeded log. */
export interface SeededLog extends Seeded {
  /** The moment of its newest record. */
  readonly until: string;
}

/** What the parts of the benchmark work on. */
export interface Stage {
  /** Minutes, not hours. */
  readonly quick: boolean;
  readonly postgresVersion: string;
  /** The log with so many records; made when first asked for, unless the folder holds it already. */
  seeded(): Promise<SeededLog>;
  /** Makes an empty database; the one of that name is dropped. */
  emptyDatabase(name: string): Promise<void>;
  /** The environment of a process that works on a database. */
  env(database: string): Record<string, string>;
  /** The address of a database, as the application logs in. */
  appUrl(database: string): string;
  /** Its owner, on one connection that is closed afterwards. */
  asOwner<T>(database: string, work: (sql: postgres.Sql) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export interface StageOptions {
  readonly quick: boolean;
  readonly records: number;
  /** The folder of the data, made when missing and kept. Without it, one that is removed again. */
  readonly folder: string | undefined;
}

/** Starts the database server. */
export async function openStage({ quick, records, folder: kept }: StageOptions): Promise<Stage> {
  const folder =
    kept === undefined ? await mkdtemp(path.join(tmpdir(), 'custos-bench-')) : path.resolve(kept);
  await mkdir(folder, { recursive: true });
  // The database has a user of its own.
  await chmod(folder, 0o755);
  const embedded = await startPostgres({ dataDir: folder, log: openLog({ level: 'error' }) });
  let seeding: Promise<SeededLog> | undefined;

  const stage: Stage = {
    quick,
    postgresVersion: await versionAt(embedded.adminUrl()),
    seeded: () => (seeding ??= seed(stage, path.join(folder, FACTS), records)),
    emptyDatabase: (name) =>
      stage.asOwner('postgres', async (sql) => {
        await sql`drop database if exists ${sql(name)} with (force)`;
        await sql`create database ${sql(name)}`;
      }),
    env: (database) => ({
      PORT: '0',
      DATABASE_URL: embedded.appUrl(database),
      DATABASE_ADMIN_URL: embedded.adminUrl(database),
      CUSTOS_DATA_DIR: folder,
      CUSTOS_DEMO: 'false',
      BOOTSTRAP_ADMIN_EMAIL: SUPER.email,
      BOOTSTRAP_ADMIN_PASSWORD: SUPER.password,
      PASSWORD_COST: '10',
      LOG_LEVEL: 'error',
    }),
    appUrl: (database) => embedded.appUrl(database),
    async asOwner(database, work) {
      const sql = postgres(embedded.adminUrl(database), { max: 1, onnotice: () => {} });
      try {
        return await work(sql);
      } finally {
        await sql.end();
      }
    },
    async stop() {
      await embedded.stop();
      if (kept === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
  return stage;
}

async function versionAt(url: string): Promise<string> {
  const sql = postgres(url, { max: 1 });
  const [row] = await sql`show server_version`;
  await sql.end();
  return String(row!['server_version']);
}

async function seed(stage: Stage, file: string, records: number): Promise<SeededLog> {
  const found = await readFile(file, 'utf8').catch(() => undefined);
  if (found !== undefined) {
    const seeded = JSON.parse(found) as SeededLog;
    if (seeded.records !== records)
      throw new Error(
        `The folder holds ${seeded.records} records, ${records} were asked for: see --records.`,
      );
    return seeded;
  }
  console.error(`Seeding ${records} records.`);
  await stage.emptyDatabase(SEEDED);
  const until = lastMidnight();
  const { stop, ...made } = await start('seed', stage.env(SEEDED), { records, days: DAYS, until });
  await stop();
  await stage.asOwner(SEEDED, (sql) => sql`vacuum analyze`);
  const seeded = { ...made, records, until };
  await writeFile(file, JSON.stringify(seeded));
  return seeded;
}

/** Where a log that is seeded now ends. */
export function lastMidnight(): string {
  return new Date(new Date().setUTCHours(0, 0, 0, 0)).toISOString();
}

/** A new tenant of a server. */
export interface Target {
  readonly url: string;
  /** Of the tenant's administrator. */
  readonly token: string;
  readonly tenantId: string;
  readonly credentials: { readonly email: string; readonly password: string };
  /** One for each client, so that none waits for the row of another. */
  readonly userIds: readonly string[];
}

/** Makes a tenant with an administrator and so many users. Its name is new in a folder that is kept. */
export async function furnish(url: string, users = 0): Promise<Target> {
  const name = `bench-${Date.now().toString(36)}`;
  const credentials = { email: `admin@${name}.example`, password: 'correct horse battery' };
  const { register } = await post<{ register: { accessToken: string; user: { tenantId: string } } }>(
    url,
    undefined,
    {
      query: `mutation Register($input: RegisterInput!) { register(input: $input) { accessToken user { tenantId } } }`,
      variables: { input: { tenantName: name, subdomain: name, fullName: 'Ada Admin', ...credentials } },
    },
  );
  const userIds = [];
  for (let at = 0; at < users; at++) {
    const { createUser } = await post<{ createUser: { user: { id: string } } }>(url, register.accessToken, {
      query: `mutation { createUser(input: { email: "user${at}@${name}.example", fullName: "User ${at}" }) { user { id } } }`,
    });
    userIds.push(createUser.user.id);
  }
  return { url, token: register.accessToken, tenantId: register.user.tenantId, credentials, userIds };
}

/** A token of the administrator of the largest tenant, and that tenant. */
export async function signInAtLargest(
  stage: Stage,
  url: string,
): Promise<{ token: string; tenantId: string }> {
  const { emails, password } = await stage.seeded();
  const { accessToken, user } = await signIn(url, { email: emails[0]!, password });
  return { token: accessToken, tenantId: user.tenantId! };
}

/** A token of the super administrator. */
export async function signInAsSuper(url: string): Promise<string> {
  return (await signIn(url, SUPER)).accessToken;
}

async function signIn(url: string, input: { email: string; password: string }) {
  const { login } = await post<{ login: { accessToken: string; user: { tenantId: string | null } } }>(
    url,
    undefined,
    {
      query:
        'mutation SignIn($input: LoginInput!) { login(input: $input) { accessToken user { tenantId } } }',
      variables: { input },
    },
  );
  return login;
}
