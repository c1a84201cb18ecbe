/** The command line, as its users run it: processes of the built program. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { freshDatabase, type FreshDatabase } from './world/database.ts';
import { build, databaseServer, emptyDataDir, start } from './world/process.ts';
import { post } from './world/server.ts';
import { until } from './world/wait.ts';

beforeAll(build);

const PROGRAM = path.resolve(import.meta.dirname, '../dist/cli.js');
const EMAIL = 'second@custos.example';
const PASSWORD = 'a password that was typed';
/** The demo data takes some ten seconds on two processors of their own, and longer on busy ones. */
const SEED_MS = 120_000;

test('create-admin makes an administrator who can sign in, on record as the system’s deed', async () => {
  const { env, database } = await external();
  const admin = ['create-admin', '--email', 'Second@Custos.Example', '--name', 'Second One'];
  const made = await custos(env, [...admin, '--password-stdin'], `${PASSWORD}\n`);
  expect(made).toMatchObject({ code: 0, stdout: 'Made Second@Custos.Example.\n' });

  const { url } = await start(env).ready();
  const { data } = await signIn(url, EMAIL, PASSWORD);
  expect(data.login.user).toEqual({ role: 'SUPER_ADMIN', fullName: 'Second One' });
  const records = await database.admin`
    select action, status, actor, context from audit_logs where action = 'user.created'`;
  expect([...records]).toEqual([
    {
      action: 'user.created',
      status: 'success',
      actor: { type: 'SYSTEM', system: 'command' },
      context: { transport: 'INTERNAL' },
    },
  ]);
});

test('without a password it makes one up and prints it once; an e-mail that exists is refused, on record', async () => {
  const { env, database } = await external();
  const made = await custos(env, ['create-admin', '--email', EMAIL]);
  expect(made.code).toBe(0);
  const password = /^Made \S+ {3}(\S+) {3}\(shown only this once\)\n$/.exec(made.stdout)![1]!;
  const { url } = await start(env).ready();
  expect((await signIn(url, EMAIL, password)).errors).toEqual([]);

  const again = await custos(env, ['create-admin', '--email', EMAIL]);

  expect(again.code).toBe(1);
  expect(again.stdout).toBe('');
  expect(again.stderr).toContain(`custos: a super administrator with the e-mail ${EMAIL} exists already\n`);
  const [refused] = await database.admin`select failure from audit_logs where status = 'failure'`;
  expect(refused).toEqual({ failure: 'EMAIL_TAKEN' });
});

test('what cannot be an administrator is refused with what is wrong with it', async () => {
  const { env } = await external();
  const badEmail = await custos(env, ['create-admin', '--email', 'not an e-mail']);
  expect(badEmail.code).toBe(1);
  expect(badEmail.stderr).toContain('custos: email: must be an e-mail address\n');

  const badPassword = await custos(env, ['create-admin', '--email', EMAIL, '--password-stdin'], 'short');
  expect(badPassword.code).toBe(1);
  expect(badPassword.stderr).toMatch(/custos: password: .*8 characters/);
  expect(badPassword.stderr).not.toContain('short');
});

test('beside a server on the embedded database it joins, and leaves the database running', async () => {
  const env = { CUSTOS_DATA_DIR: await emptyDataDir(), CUSTOS_DEMO: 'false' };
  const { url } = await start(env).ready();
  const database = await databaseServer(env.CUSTOS_DATA_DIR);

  const made = await custos(env, ['create-admin', '--email', EMAIL, '--password-stdin'], PASSWORD);

  expect(made.code).toBe(0);
  expect(await databaseServer(env.CUSTOS_DATA_DIR)).toBe(database);
  expect((await signIn(url, EMAIL, PASSWORD)).errors).toEqual([]);
});

test('migrate says what it applied, then that there is nothing to do, and stops the database it has started', async () => {
  const env = { CUSTOS_DATA_DIR: await emptyDataDir() };
  const first = await custos(env, ['migrate']);
  expect(first.code).toBe(0);
  expect(first.stdout).toMatch(/^(Applied \d{4}_\w+\n)+$/);

  const second = await custos(env, ['migrate']);
  expect(second.code).toBe(0);
  expect(second.stdout).toBe('Nothing to migrate: the database has the schema of this version.\n');
  expect(await databaseServer(env.CUSTOS_DATA_DIR)).toBeUndefined();
});

test(
  'seed makes the demo data in an empty database, and refuses another time',
  { timeout: 2 * SEED_MS },
  async () => {
    const { env, database } = await external();
    const seeded = await custos(env, ['seed']);
    expect(seeded).toMatchObject({ code: 0 });
    const [, email, password] = /Sign in with (\S+),[^]*the password (\S+)\n$/.exec(seeded.stdout)!;
    expect(await database.admin`select from tenants`).toHaveLength(3);

    const again = await custos(env, ['seed']);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain(
      'custos: the database is not empty, it holds 3 tenants: seed an empty one\n',
    );

    const { url } = await start(env).ready();
    expect((await signIn(url, email!, password!)).errors).toEqual([]);
  },
);

test('serve is the server, and stops as it does', async () => {
  const { env } = await external();
  const served = launch(env, ['serve']);
  let said = '';
  served.stdout!.on('data', (text: string) => void (said += text));
  await until('it is ready', () => said.includes('Custos is ready'), 30_000);

  served.kill('SIGTERM');

  const [code] = (await once(served, 'exit')) as [number | null];
  expect(code).toBe(0);
});

test.each([
  [{}, ['frobnicate'], /unknown command 'frobnicate'/],
  [{}, ['create-admin'], /required option '--email <email>' not specified/],
  [{ PORT: 'eighty' }, ['migrate'], /^PORT must be a whole number from 0 to 65535, got "eighty"\n$/],
  [
    { DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/none' },
    ['migrate'],
    /^DATABASE_URL must lead to a PostgreSQL server that lets Custos in: /,
  ],
])('with %j, `custos %s` ends with code 2 and says what is wrong', async (env, args, line) => {
  const program = await custos({ CUSTOS_DATA_DIR: await emptyDataDir(), ...env }, args);

  expect(program.code).toBe(2);
  expect(program.stderr).toMatch(line);
  expect(program.stderr).not.toContain('secret');
});

test('the help names every command and ends with code 0', async () => {
  const program = await custos({}, ['--help']);

  expect(program.code).toBe(0);
  for (const name of ['serve', 'migrate', 'create-admin', 'seed', 'tail'])
    expect(program.stdout).toContain(name);
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
async function custos(env: Record<string, string>, args: readonly string[], stdin = ''): Promise<Ended> {
  const child = launch(env, args);
  const out = { stdout: '', stderr: '' };
  child.stdout!.on('data', (text: string) => void (out.stdout += text));
  child.stderr!.on('data', (text: string) => void (out.stderr += text));
  child.stdin!.end(stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...out };
}

/** It is killed when the test ends. */
function launch(env: Record<string, string>, args: readonly string[]): ChildProcess {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: tmpdir(),
    env: { PATH, HOME, PORT: '0', PASSWORD_COST: '10', ...env },
  });
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  // A command that fails early has closed its end.
  child.stdin.on('error', () => {});
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** An empty database of its own, reached by a login of its own. */
async function external(): Promise<{ env: Record<string, string>; database: FreshDatabase }> {
  const database = await freshDatabase();
  await database.admin.unsafe(
    `do $$ begin create role cli_login login password 'test';
     exception when duplicate_object or unique_violation then null; end $$`,
  );
  const login = Object.assign(new URL(database.adminUrl), { username: 'cli_login' });
  const env = {
    CUSTOS_DATA_DIR: await emptyDataDir(),
    DATABASE_URL: login.href,
    DATABASE_ADMIN_URL: database.adminUrl,
  };
  return { env, database };
}

function signIn(url: string, email: string, password: string) {
  const query = 'mutation ($input: LoginInput!) { login(input: $input) { user { role fullName } } }';
  return post(url, { query, variables: { input: { email, password } } });
}
