import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { openKeys } from '../src/platform/keys.ts';
import { readSettings } from '../src/platform/settings.ts';
import { freshDatabase } from './world/database.ts';
import { type Announced, build, databaseServer, emptyDataDir, start } from './world/process.ts';
import { type Answer, post } from './world/server.ts';
import { until } from './world/wait.ts';

beforeAll(build);

const NO_DEMO = { CUSTOS_DEMO: 'false' };
/** The demo data takes some ten seconds on two processors of their own, and longer on busy ones. */
const FIRST_START_MS = 120_000;

test(
  'two processes that start at once on an empty folder both serve, and make the demo data once',
  { timeout: 2 * FIRST_START_MS },
  async () => {
    const CUSTOS_DATA_DIR = await emptyDataDir();
    const programs = [start({ CUSTOS_DATA_DIR }), start({ CUSTOS_DATA_DIR })];
    const announced = await Promise.all(programs.map((program) => program.ready()));

    const [first, ...others] = announced.filter(({ administrator }) => administrator !== undefined);
    expect(others).toEqual([]);
    expect(announced.filter(({ demo }) => demo !== undefined)).toEqual([first]);
    for (const { url } of announced) {
      const { data } = await ask(
        url,
        await tokenOf(first!),
        '{ tenants { totalCount } users { totalCount } }',
      );
      expect(data).toEqual({ tenants: { totalCount: 3 }, users: { totalCount: 29 } });
    }

    const history = await ask(
      first!.url,
      await tokenOf(first!),
      `{ all: auditLogs(first: 1) { totalCount }
         oldest: auditLogs(last: 1) { nodes { createdAt } }
         newest: auditLogs(first: 500) { nodes { position createdAt } }
         failed: failedLoginAttempts(hours: 720, first: 1) { totalCount }
         events: securityEvents(days: 30, first: 500) { nodes { action } } }`,
    );
    const { all, oldest, newest, failed, events } = history.data;
    expect(all.totalCount).toBeGreaterThan(4_500);
    expect(all.totalCount).toBeLessThan(5_500);
    const days = (Date.now() - Date.parse(oldest.nodes[0].createdAt)) / 86_400_000;
    expect(days).toBeGreaterThan(29);
    expect(days).toBeLessThan(32);
    expect(failed.totalCount).toBeGreaterThan(200);
    const actions = events.nodes.map(({ action }: { action: string }) => action);
    expect(new Set(actions)).toContain('USER_ROLE_CHANGED');
    expect(actions).toContain('TOKEN_REUSE_DETECTED');
    // What is older than our own sign-ins has been sealed long ago.
    const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
    const older = newest.nodes.filter(({ createdAt }: { createdAt: string }) => createdAt < hourAgo);
    expect(older.filter(({ position }: { position: number | null }) => position === null)).toEqual([]);
    for (const email of first!.demo!.emails) {
      const { data } = await signIn(first!.url, email, first!.demo!.password);
      expect(data.login.user.role).toBe('TENANT_ADMIN');
    }

    const [one, another] = programs;
    one!.signal('SIGTERM');
    expect(await one!.ended()).toBe(0);
    expect((await ask(announced[1]!.url, undefined, '{ __typename }')).status).toBe(200);
    another!.signal('SIGINT', 'group');
    expect(await another!.ended()).toBe(0);
    expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();
  },
);

test('the first start prints credentials that work; a later one finds the data and prints none', async () => {
  const env = { ...NO_DEMO, CUSTOS_DATA_DIR: await emptyDataDir() };
  const first = start(env);
  const announced = await first.ready();
  const { data } = await ask(announced.url, await tokenOf(announced), '{ me { id email role } }');
  expect(data.me).toMatchObject({ email: 'admin@custos.local', role: 'SUPER_ADMIN' });
  first.signal('SIGTERM');
  expect(await first.ended()).toBe(0);

  const second = start(env);
  const { administrator, demo, url, readyMs } = await second.ready();

  expect({ administrator, demo }).toEqual({ administrator: undefined, demo: undefined });
  expect(second.out.stdout).not.toContain(announced.administrator!.password);
  // Half a second on a machine with nothing else to do.
  expect(readyMs).toBeLessThan(5_000 * 3);
  const again = await ask(
    url,
    await tokenOf({ ...announced, url }),
    '{ me { id } auditLogs { totalCount } }',
  );
  expect(again.data).toEqual({ me: { id: data.me.id }, auditLogs: { totalCount: 3 } });
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s stops it with code 0, and its database server with it',
  async (name) => {
    const CUSTOS_DATA_DIR = await emptyDataDir();
    const program = start({ ...NO_DEMO, CUSTOS_DATA_DIR });
    await program.ready();
    expect(await databaseServer(CUSTOS_DATA_DIR)).toBeDefined();

    program.signal(name, 'group');

    expect(await program.ended()).toBe(0);
    expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();
    expect(program.out.stderr).toBe('');
  },
);

test('a first start that is interrupted loses nothing: the next one takes it up and prints the credentials', async () => {
  const CUSTOS_DATA_DIR = await emptyDataDir();
  const interrupted = start({ CUSTOS_DATA_DIR });
  await until(
    'it makes the demo data',
    () => interrupted.out.stdout.includes('making the demo data'),
    20_000,
  );
  interrupted.signal('SIGINT', 'group');
  expect(await interrupted.ended()).toBe(0);
  expect(interrupted.out.stdout).not.toContain('Custos is ready');
  expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();

  const next = await start({ ...NO_DEMO, CUSTOS_DATA_DIR }).ready();

  expect((await ask(next.url, await tokenOf(next), '{ me { role } }')).data.me.role).toBe('SUPER_ADMIN');
});

test('a second Ctrl-C does not wait for a client that stalls', async () => {
  const program = start({ ...NO_DEMO, CUSTOS_DATA_DIR: await emptyDataDir() });
  const { url } = await program.ready();
  const stalled = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void stalled.destroy());
  await once(stalled, 'connect');
  stalled.on('error', () => {});
  stalled.write(
    'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{',
  );
  await ask(url, undefined, '{ __typename }');

  await program.signalTwice('SIGINT');

  expect(await program.ended()).toBe(130);
});

test('an error that nothing catches is logged and ends it in order, with code 1', async () => {
  const CUSTOS_DATA_DIR = await emptyDataDir();
  const bug = "process.on('SIGUSR2', () => { throw new Error('planted'); })";
  const program = start({
    ...NO_DEMO,
    CUSTOS_DATA_DIR,
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(bug)}`,
  });
  await program.ready();

  program.signal('SIGUSR2');

  expect(await program.ended()).toBe(1);
  expect(program.out.stdout).toMatch(/"level":"fatal".*planted/);
  expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();
});

test('after kill -9 the next start joins the database server that was left, with all that was committed', async () => {
  const env = { ...NO_DEMO, CUSTOS_DATA_DIR: await emptyDataDir() };
  const killed = start(env);
  const announced = await killed.ready();
  const created = await ask(
    announced.url,
    await tokenOf(announced),
    'mutation { createTenant(input: { name: "Kept", subdomain: "kept" }) { tenant { id } receipts { id } } }',
  );
  const { tenant, receipts } = created.data.createTenant;
  killed.signal('SIGKILL');
  expect(await killed.ended()).toBe('SIGKILL');
  const left = await databaseServer(env.CUSTOS_DATA_DIR);
  expect(left).toBeDefined();

  const program = start(env);
  const { url } = await program.ready();

  expect(await databaseServer(env.CUSTOS_DATA_DIR)).toBe(left);
  const kept = await ask(
    url,
    await tokenOf({ ...announced, url }),
    `{ tenant(id: "${tenant.id}") { name } auditLog(id: "${receipts[0].id}") { action position } }`,
  );
  expect(kept.data).toEqual({
    tenant: { name: 'Kept' },
    auditLog: { action: 'TENANT_CREATED', position: expect.any(Number) },
  });
  program.signal('SIGTERM');
  expect(await program.ended()).toBe(0);
  expect(await databaseServer(env.CUSTOS_DATA_DIR)).toBeUndefined();
});

test('after kill -9 of it and its database server the next start recovers', async () => {
  const env = { ...NO_DEMO, CUSTOS_DATA_DIR: await emptyDataDir() };
  const killed = start(env);
  const announced = await killed.ready();
  await tokenOf(announced);
  killed.signal('SIGKILL');
  await killed.ended();
  process.kill((await databaseServer(env.CUSTOS_DATA_DIR))!, 'SIGKILL');

  const { url } = await start(env).ready();

  const { data } = await ask(url, await tokenOf({ ...announced, url }), '{ auditLogs { totalCount } }');
  expect(data.auditLogs.totalCount).toBe(3);
});

test.each([
  [{ PORT: 'eighty' }, /^PORT must be a whole number from 0 to 65535, got "eighty"\n$/],
  [{ DATABASE_URL: 'mysql://db' }, /^DATABASE_URL must be a postgres:\/\/ or postgresql:\/\/ URL\n$/],
  [{ TRUSTED_PROXIES: '10.0.0' }, /^TRUSTED_PROXIES must be a comma-separated list of IP ranges [^\n]+\n$/],
  [{ PASSWORD_COST: '3', LOG_LEVEL: 'loud' }, /^LOG_LEVEL must [^\n]+; PASSWORD_COST must [^\n]+\n$/],
  [
    { NODE_ENV: 'production' },
    /^PUBLIC_URL must [^\n]+JWT_PRIVATE_KEY must [^\n]+CUSTOS_MASTER_KEY must [^\n]+\n$/,
  ],
  [{ JWT_PRIVATE_KEY: 'not a key' }, /^JWT_PRIVATE_KEY must be a P-256 private key [^\n]+\n$/],
  [{ CUSTOS_DATA_DIR: '/dev/null/data' }, /^CUSTOS_DATA_DIR must be [^\n]+\n$/],
  [
    { DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/none' },
    /^DATABASE_URL must lead to a PostgreSQL server that lets Custos in: [^\n]*ECONNREFUSED[^\n]*\n$/,
  ],
])('with %j it ends with code 2 and one line that names the variable', async (env, line) => {
  const program = start({ CUSTOS_DATA_DIR: await emptyDataDir(), ...env });

  expect(await program.ended()).toBe(2);
  expect(program.out.stderr).toMatch(line);
  expect(program.out.stderr).not.toContain('secret');
});

test('a port in use ends it with code 2 and one line, before it has made anything to tell', async () => {
  const squatter = createServer().listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  onTestFinished(() => void squatter.close());
  const address = squatter.address() as { port: number };
  const CUSTOS_DATA_DIR = await emptyDataDir();

  const refused = start({ CUSTOS_DATA_DIR, PORT: String(address.port) });
  expect(await refused.ended()).toBe(2);
  expect(refused.out.stderr).toBe(`PORT must be a free port, but ${address.port} on 127.0.0.1 is in use\n`);
  expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();

  expect((await start({ ...NO_DEMO, CUSTOS_DATA_DIR }).ready()).administrator).toBeDefined();
});

test('with DATABASE_URL it uses that server and makes no demo data', async () => {
  const database = await freshDatabase();
  const CUSTOS_DATA_DIR = await emptyDataDir();
  await database.admin.unsafe(
    `do $$ begin create role process_login login password 'test';
     exception when duplicate_object or unique_violation then null; end $$`,
  );
  const login = new URL(database.adminUrl);
  login.username = 'process_login';

  const program = start({
    CUSTOS_DATA_DIR,
    DATABASE_URL: login.href,
    DATABASE_ADMIN_URL: database.adminUrl,
    BOOTSTRAP_ADMIN_PASSWORD: 'given and therefore known',
  });
  const { url, administrator, demo } = await program.ready();

  expect({ administrator, demo }).toEqual({ administrator: undefined, demo: undefined });
  expect(await databaseServer(CUSTOS_DATA_DIR)).toBeUndefined();
  const { data } = await signIn(url, 'admin@custos.local', 'given and therefore known');
  expect(data.login.user.role).toBe('SUPER_ADMIN');
  expect(await database.admin`select from tenants`).toHaveLength(0);
  program.signal('SIGTERM');
  expect(await program.ended()).toBe(0);
});

test('three processes that start at once on an empty database all serve, and each migration is applied once', async () => {
  const { admin, adminUrl } = await freshDatabase({ from: '' });
  await admin.unsafe(
    `do $$ begin create role process_login login password 'test';
     exception when duplicate_object or unique_violation then null; end $$`,
  );
  const env = {
    CUSTOS_DATA_DIR: await emptyDataDir(),
    DATABASE_URL: Object.assign(new URL(adminUrl), { username: 'process_login' }).href,
    DATABASE_ADMIN_URL: adminUrl,
  };

  const announced = await Promise.all([start(env), start(env), start(env)].map((each) => each.ready()));

  const [first, ...others] = announced.filter(({ administrator }) => administrator !== undefined);
  expect(others).toEqual([]);
  for (const { url } of announced) {
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    const { data } = await ask(url, await tokenOf({ ...first!, url }), '{ me { role } }');
    expect(data.me.role).toBe('SUPER_ADMIN');
  }
  const applied = await admin`select hash from drizzle.__drizzle_migrations`;
  const { entries } = JSON.parse(
    await readFile(new URL('../drizzle/meta/_journal.json', import.meta.url), 'utf8'),
  ) as { entries: unknown[] };
  expect(new Set(applied.map(({ hash }) => hash as string)).size).toBe(applied.length);
  expect(applied).toHaveLength(entries.length);
});

test('in production a master key that is too short, and the owner of the tables as the application, are refused', async () => {
  const { admin, adminUrl } = await freshDatabase();
  const keys = await openKeys({ ...readSettings({}), dataDir: await emptyDataDir() });
  const env = {
    NODE_ENV: 'production',
    PUBLIC_URL: 'http://custos.test',
    CUSTOS_DATA_DIR: await emptyDataDir(),
    JWT_PRIVATE_KEY: keys.jwt.export({ type: 'pkcs8', format: 'pem' }).toString(),
    LEDGER_PRIVATE_KEY: keys.ledger.export({ type: 'pkcs8', format: 'pem' }).toString(),
    CUSTOS_MASTER_KEY: keys.master.toString('base64'),
    DATABASE_ADMIN_URL: adminUrl,
  };
  const owner = `process_owner_${randomBytes(4).toString('hex')}`;
  await admin.unsafe(`create role ${owner} login password 'test'; alter table audit_logs owner to ${owner}`);
  onTestFinished(async () => {
    await admin.unsafe(`reassign owned by ${owner} to postgres; drop owned by ${owner}; drop role ${owner}`);
  });
  const DATABASE_URL = Object.assign(new URL(adminUrl), { username: owner }).href;

  const short = start({ ...env, DATABASE_URL, CUSTOS_MASTER_KEY: randomBytes(31).toString('base64') });
  expect(await short.ended()).toBe(2);
  expect(short.out.stderr).toMatch(
    /^CUSTOS_MASTER_KEY must be 32 bytes in base64 [^\n]+: it has 31 bytes\n$/,
  );
  const owning = start({ ...env, DATABASE_URL });
  expect(await owning.ended()).toBe(2);
  expect(owning.out.stderr).toMatch(
    /^DATABASE_URL must not log in as the owner of the tables, but [^\n]+\n$/,
  );
});

test('a superuser as DATABASE_URL is refused with a line that says what to do, before anything is made', async () => {
  const { admin, adminUrl } = await freshDatabase({ from: '' });
  const program = start({ CUSTOS_DATA_DIR: await emptyDataDir(), DATABASE_URL: adminUrl });

  expect(await program.ended()).toBe(2);
  expect(program.out.stderr).toMatch(
    /^DATABASE_URL must log in as a role that row-level security binds, but "postgres" is a superuser[^\n]+DATABASE_ADMIN_URL\n$/,
  );
  const made = await admin`
    select nspname from pg_namespace where nspname = 'drizzle'
    union all select relname from pg_class where relname = 'audit_logs'`;
  expect([...made]).toEqual([]);
});

test('a login that the server does not know, or that may not migrate, is named with its variable', async () => {
  const database = await freshDatabase();
  await database.admin.unsafe(
    `do $$ begin create role process_stranger login password 'test';
     exception when duplicate_object or unique_violation then null; end $$`,
  );
  const stranger = new URL(database.adminUrl);
  stranger.username = 'process_stranger';
  const wrong = new URL(stranger);
  wrong.password = 'wrong';
  const CUSTOS_DATA_DIR = await emptyDataDir();

  const unknown = start({ CUSTOS_DATA_DIR, DATABASE_URL: wrong.href, DATABASE_ADMIN_URL: database.adminUrl });
  expect(await unknown.ended()).toBe(2);
  expect(unknown.out.stderr).toMatch(
    /^DATABASE_URL must lead to [^\n]+ password authentication failed [^\n]+\n$/,
  );
  const powerless = start({ CUSTOS_DATA_DIR, DATABASE_URL: stranger.href });
  expect(await powerless.ended()).toBe(2);
  expect(powerless.out.stderr).toMatch(/^DATABASE_ADMIN_URL must log in as a role that may [^\n]+\n$/);
});

async function tokenOf({ url, administrator }: Pick<Announced, 'url' | 'administrator'>): Promise<string> {
  const { data } = await signIn(url, administrator!.email, administrator!.password);
  return data.login.accessToken as string;
}

function signIn(url: string, email: string, password: string): Promise<Answer> {
  const query =
    'mutation In($input: LoginInput!) { login(input: $input) { accessToken user { role } receipts { id } } }';
  return post(url, { query, variables: { input: { email, password } } });
}

function ask(url: string, token: string | undefined, query: string): Promise<Answer> {
  return post(url, { query }, token === undefined ? {} : { authorization: `Bearer ${token}` });
}
