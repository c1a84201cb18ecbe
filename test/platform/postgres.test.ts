import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
// oxlint-disable-next-line no-restricted-imports -- the server itself is under test, below the door
import postgres from 'postgres';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startPostgres } from '../../src/platform/postgres.ts';

const log = pino({ level: 'silent' });
const root = process.getuid?.() === 0;

test('a first start gives a running database with an application role that owns nothing', async () => {
  const { server } = await started();

  const [me] = await ask(server.appUrl(), 'select * from pg_roles where rolname = current_user');
  expect(me).toMatchObject({ rolname: 'custos', rolsuper: false, rolcreatedb: false, rolbypassrls: false });
  const [database] = await ask(
    server.adminUrl(),
    `select current_database() as name, pg_get_userbyid(datdba) as owner, datlocale as locale
     from pg_database where datname = current_database()`,
  );
  expect(database).toEqual({ name: 'custos', owner: 'postgres', locale: 'C.UTF-8' });
  expect(await ask(server.adminUrl('postgres'), 'show data_checksums')).toEqual([{ data_checksums: 'on' }]);
  expect(await ask(server.adminUrl(), 'show timezone')).toEqual([{ TimeZone: 'UTC' }]);
});

test('nobody gets in without the password, and passwords are known by their hash only', async () => {
  const { server } = await started();
  const wrong = new URL(server.appUrl());
  wrong.password = 'wrong';
  const none = new URL(server.adminUrl());
  none.password = '';

  await expect(ask(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  await expect(ask(none.href, 'select 1')).rejects.toThrow(/password/i);
  const rules = await ask(server.adminUrl(), 'select distinct auth_method from pg_hba_file_rules');
  expect(rules).toEqual([{ auth_method: 'scram-sha-256' }]);
  const hashes = await ask(server.adminUrl(), 'select rolpassword from pg_authid where rolcanlogin');
  for (const { rolpassword } of hashes) expect(rolpassword).toMatch(/^SCRAM-SHA-256\$/);
});

test('the server is reached from this machine only, and its files by their owner only', async () => {
  const { server, dataDir } = await started();
  const port = Number(new URL(server.appUrl()).port);
  const folder = path.join(dataDir, 'postgres');
  const modeOf = async (...parts: string[]) => (await stat(path.join(folder, ...parts))).mode & 0o777;

  for (const address of ownAddresses()) await expect(reach(address, port)).rejects.toThrow('ECONNREFUSED');
  expect(await modeOf('data')).toBe(0o700);
  expect(await modeOf('passwords.json')).toBe(0o600);
  expect((await stat(dataDir)).mode & 0o007).toBe(0);
});

test('the environment of Custos does not reach the server', async () => {
  vi.stubEnv('CUSTOS_MASTER_KEY', 'canary');
  vi.stubEnv('PGPORT', '1');
  onTestFinished(() => void vi.unstubAllEnvs());
  const { server, dataDir } = await started();

  expect(await ask(server.adminUrl(), 'select 1 as one')).toEqual([{ one: 1 }]);
  const environment = await readFile(`/proc/${await serverPid(dataDir)}/environ`, 'utf8').catch(() => '');
  expect(environment).not.toContain('canary');
});

test('data and address outlive a restart, and a stop leaves no process behind', async () => {
  const { server, dataDir } = await started();
  await ask(server.adminUrl(), 'create table kept as select 42 as answer');
  const pid = await serverPid(dataDir);

  await Promise.all([server.stop(), server.stop()]);
  expect(isAlive(pid)).toBe(false);

  const again = await startIn(dataDir);
  expect(again.appUrl()).toBe(server.appUrl());
  expect(await ask(again.adminUrl(), 'select answer from kept')).toEqual([{ answer: 42 }]);
});

test('another port is taken when the last one is in use', async () => {
  const { server, dataDir } = await started();
  const port = Number(new URL(server.appUrl()).port);
  await server.stop();
  const squatter = createServer().listen(port, '127.0.0.1');
  await once(squatter, 'listening');
  onTestFinished(() => void squatter.close());

  const again = await startIn(dataDir);

  expect(Number(new URL(again.appUrl()).port)).not.toBe(port);
  expect(await ask(again.appUrl(), 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('a server that outlived its killed process is joined, and stopped in the end', async () => {
  const dataDir = await emptyFolder();
  const victim = await runIn(dataDir);
  const pid = await serverPid(dataDir);
  await victim.kill('SIGKILL');
  expect(isAlive(pid)).toBe(true);

  const server = await startIn(dataDir);
  expect(server.appUrl()).toBe(victim.appUrl);
  expect(await serverPid(dataDir)).toBe(pid);
  await server.stop();
  expect(isAlive(pid)).toBe(false);
});

test('a server killed together with its process recovers what was committed', async () => {
  const dataDir = await emptyFolder();
  const victim = await runIn(dataDir);
  await ask(victim.adminUrl, 'create table kept as select 42 as answer');
  await victim.kill('SIGKILL');
  process.kill(await serverPid(dataDir), 'SIGKILL');

  const server = await startIn(dataDir);

  expect(await ask(server.adminUrl(), 'select answer from kept')).toEqual([{ answer: 42 }]);
});

test('a process that got the number of a killed server is left alone', async () => {
  const { server, dataDir } = await started();
  await server.stop();
  const data = path.join(dataDir, 'postgres', 'data');
  const { uid, gid } = await stat(data);
  const stranger = spawn('sleep', ['60'], { uid, gid, stdio: 'ignore' });
  onTestFinished(() => void stranger.kill());
  const pidFile = path.join(data, 'postmaster.pid');
  const left = `${stranger.pid}\n${data}\n1\n1\n\n127.0.0.1\n  1 1\nready   \n`;
  await writeFile(pidFile, left, { mode: 0o600 });
  await chown(pidFile, uid, gid);

  const again = await startIn(dataDir);

  expect(await ask(again.appUrl(), 'select 1 as one')).toEqual([{ one: 1 }]);
  expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
});

test('processes that start together share one server, and the last one out stops it', async () => {
  const dataDir = await emptyFolder();
  const users = await Promise.all([runIn(dataDir), runIn(dataDir), runIn(dataDir)]);
  const [first, second, third] = users;
  const pid = await serverPid(dataDir);
  expect(new Set(users.map((user) => user.appUrl)).size).toBe(1);

  await first.leave();
  await second.kill('SIGKILL');
  expect(await ask(third.appUrl, 'select 1 as one')).toEqual([{ one: 1 }]);
  expect(await serverPid(dataDir)).toBe(pid);
  await third.leave();

  expect(isAlive(pid)).toBe(false);
});

test('two that leave at the same moment do not leave the server to each other', async () => {
  const { server, dataDir } = await started();
  const other = await startIn(dataDir);
  const pid = await serverPid(dataDir);

  await Promise.all([server.stop(), other.stop()]);

  expect(isAlive(pid)).toBe(false);
});

test('Ctrl-C in a terminal does not take the database from a process that drains', async () => {
  const user = await runIn(await emptyFolder());

  process.kill(-user.pid, 'SIGINT');

  expect(await ask(user.appUrl, 'select pg_sleep(0.2)')).toHaveLength(1);
  await user.leave();
});

test('a server that dies under a running process is started again at the same address', async () => {
  const { server, dataDir } = await started();
  const pid = await serverPid(dataDir);
  const address = server.appUrl();

  process.kill(pid, 'SIGKILL');

  await vi.waitFor(() => ask(address, 'select 1'), { timeout: 10_000 });
  expect(await serverPid(dataDir)).not.toBe(pid);
  await server.stop();
  await expect(ask(address, 'select 1')).rejects.toThrow('ECONNREFUSED');
});

test('what the server refuses is logged without the values it was about', async () => {
  const { server, dataDir } = await started();
  await ask(server.adminUrl(), 'create table people (email text primary key)');
  await ask(server.adminUrl(), "insert into people values ('canary@example.com')");
  await expect(ask(server.adminUrl(), "insert into people values ('canary@example.com')")).rejects.toThrow(
    'duplicate key',
  );

  const said = await readFile(path.join(dataDir, 'postgres', 'postgres.log'), 'utf8');
  expect(said).toContain('duplicate key');
  expect(said).not.toContain('canary');
});

test.runIf(root)('root runs it from a private folder without opening that folder to anybody', async () => {
  const home = await emptyFolder();
  await chmod(home, 0o700);
  const dataDir = path.join(home, 'project', '.custos');
  const server = await startIn(dataDir);
  const place = await realpath(path.join(dataDir, 'postgres'));
  onTestFinished(() => rm(place, { recursive: true }));

  expect(await ask(server.appUrl(), 'select 1 as one')).toEqual([{ one: 1 }]);
  expect(await ask(server.adminUrl(), 'show data_directory')).toEqual([{ data_directory: `${place}/data` }]);
  expect((await stat(home)).mode & 0o777).toBe(0o700);
  expect((await stat(path.dirname(place))).mode & 0o022).toBe(0);
  await server.stop();

  const again = await startIn(dataDir);
  expect(again.appUrl()).toBe(server.appUrl());
});

test('a link to a database that is gone is reported and not replaced by an empty one', async () => {
  const dataDir = await emptyFolder();
  await symlink('/nowhere/at/all', path.join(dataDir, 'postgres'));

  await expect(startPostgres({ dataDir, log })).rejects.toThrow(
    /^CUSTOS_DATA_DIR holds a link .* that is gone/,
  );
});

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-postgres-'));
  // As a folder of everyday use is: its parents can be walked through.
  await chmod(folder, 0o755);
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function startIn(dataDir: string) {
  const server = await startPostgres({ dataDir, log });
  onTestFinished(() => server.stop());
  return server;
}

async function started() {
  const dataDir = path.join(await emptyFolder(), '.custos');
  return { dataDir, server: await startIn(dataDir) };
}

/** Runs a process of its own, in a process group of its own, which uses the server. */
async function runIn(dataDir: string) {
  const script = path.join(import.meta.dirname, 'postgresRun.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir], {
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exit;
    // Whatever became of the process, its server goes.
    await (await startPostgres({ dataDir, log })).stop();
  });
  const [line] = await once(createInterface(child.stdout), 'line');
  const { adminUrl, appUrl } = JSON.parse(String(line));
  return {
    pid: child.pid ?? 0,
    adminUrl: String(adminUrl),
    appUrl: String(appUrl),
    kill: (signal: NodeJS.Signals) => (child.kill(signal), exit),
    leave: () => (child.stdin.end(), exit),
  };
}

async function ask(url: string, query: string) {
  const sql = postgres(url, { max: 1, onnotice: () => undefined, connect_timeout: 5 });
  try {
    return [...(await sql.unsafe(query))];
  } finally {
    await sql.end({ timeout: 1 });
  }
}

async function serverPid(dataDir: string): Promise<number> {
  return Number(
    (await readFile(path.join(dataDir, 'postgres', 'data', 'postmaster.pid'), 'utf8')).split('\n')[0],
  );
}

/** A dead process that nobody has reaped yet has no command any more. */
function isAlive(pid: number): boolean {
  return spawnSync('ps', ['-o', 'command=', '-p', String(pid)])
    .stdout.toString()
    .includes(' -D ');
}

const ownAddresses = () =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family }) => !internal && family === 'IPv4')
    .map(({ address }) => address);

async function reach(host: string, port: number): Promise<void> {
  const socket = connect({ host, port });
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
}
