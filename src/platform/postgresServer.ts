import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { BARE_ENVIRONMENT } from './postgresBinaries.ts';
import type { Home } from './postgresHome.ts';
import { systemCode } from './systemError.ts';

/** What a server writes about itself into its `postmaster.pid`. */
type Server = { readonly pid: number; readonly port: number; readonly status: string };

/** It listens here and nowhere else. */
export const HOST = '127.0.0.1';

/** Where the server's own log lies. */
export const logOf = (home: Home): string => path.join(home.folder, 'postgres.log');

const run = promisify(execFile);
const POLL_MS = 20;
const STOP_MS = 20_000;
const QUIT_MS = 6000;

/** Runs the server until it accepts connections; `beaten`: another process has started it. */
export async function launch(
  home: Home,
  port: number,
  log: Logger,
): Promise<'ready' | 'beaten' | 'port taken'> {
  const output = await openServerLog(home);
  const { size: before } = await output.stat();
  const settings = Object.entries({ ...SETTINGS, port }).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(home.server, ['-D', home.data, ...settings], {
    ...home.as,
    cwd: '/',
    // Its own session: Ctrl-C in a terminal reaches Custos alone, which drains first and then stops the server.
    detached: true,
    stdio: ['ignore', output.fd, output.fd],
    env: { ...BARE_ENVIRONMENT, ...(await foreignPid(home)) },
  });
  child.unref();
  const ended = once(child, 'exit');
  ended.catch(() => undefined);
  await output.close();

  while (child.exitCode === null && child.signalCode === null) {
    const server = await readPidFile(home);
    if (server?.pid === child.pid && server?.status === 'ready') {
      log.debug({ process: child.pid, port }, 'the embedded database runs');
      return 'ready';
    }
    await pause(POLL_MS);
  }
  await ended;
  const said = (await readFile(logOf(home))).subarray(before).toString();
  if (/could not (create any TCP\/IP sockets|bind)/.test(said)) return 'port taken';
  // The memory block belongs to a killed server whose last children are still on their way out.
  if (/lock file .* already exists|pre-existing shared memory block/.test(said)) return 'beaten';
  throw new Error(`The embedded database does not start: ${said.match(/FATAL: .*/g)?.join('; ') ?? said}`);
}

async function openServerLog(home: Home): Promise<FileHandle> {
  const size = await stat(logOf(home)).then(
    (found) => found.size,
    () => 0,
  );
  return open(logOf(home), size > MAX_LOG_BYTES ? 'w' : 'a', 0o600);
}

/**
 * The process number a crash left in postmaster.pid may be another process's today, in a container most of all. The
 * server refuses to start while that one lives, unless told (as pg_ctl does) that it is an ancestor of its own.
 */
async function foreignPid(home: Home): Promise<{ PG_GRANDPARENT_PID?: string }> {
  const left = await readPidFile(home);
  const foreign = left !== undefined && exists(left.pid) && !(await isServer(home, left.pid));
  return foreign ? { PG_GRANDPARENT_PID: String(left.pid) } : {};
}

const MAX_LOG_BYTES = 10_000_000;
const SETTINGS = {
  listen_addresses: HOST,
  // No socket files: their path is limited to 107 bytes, and the data folder may be deep.
  unix_socket_directories: '',
  max_connections: 100,
  max_wal_size: '2GB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  // Statements and details hold personal values: of an error the log keeps the sentence only.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
};

/** Stops the server: open transactions are rolled back; what resists is ended harder. */
export async function shutDown(home: Home, log: Logger): Promise<void> {
  const server = await runningServer(home);
  if (!server) return;
  for (const [signal, patienceMs] of [
    ['SIGINT', STOP_MS],
    ['SIGQUIT', QUIT_MS],
    ['SIGKILL', QUIT_MS],
  ] as const) {
    if (signal !== 'SIGINT') log.warn({ process: server.pid, signal }, 'the embedded database does not stop');
    try {
      process.kill(server.pid, signal);
    } catch (error) {
      if (systemCode(error) === 'ESRCH') return;
      throw error;
    }
    for (const deadline = Date.now() + patienceMs; Date.now() < deadline; await pause(POLL_MS)) {
      if (!(await isServer(home, server.pid))) return;
    }
  }
  throw new Error(`The embedded database (process ${server.pid}) could not be stopped`);
}

/** The live server of this cluster, whoever has started it. */
export async function runningServer(home: Home): Promise<Server | undefined> {
  const server = await readPidFile(home);
  return server && (await isServer(home, server.pid)) ? server : undefined;
}

/** https://www.postgresql.org/docs/18/storage-file-layout.html: pid, folder, start, port, socket, address, memory, status. */
async function readPidFile(home: Home): Promise<Server | undefined> {
  const text = await readFile(path.join(home.data, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = text.split('\n');
  const pid = Math.abs(Number(lines[0]));
  return pid > 1 ? { pid, port: Number(lines[3]), status: lines[7]?.trim() ?? '' } : undefined;
}

/** Whether a process is the server of this cluster: not one that got its number later, not a dead one nobody has reaped. */
async function isServer(home: Home, pid: number): Promise<boolean> {
  if (!exists(pid)) return false;
  const command =
    process.platform === 'linux'
      ? readFile(`/proc/${pid}/cmdline`, 'utf8')
      : run('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).then(({ stdout }) => stdout);
  return (await command.catch(() => '')).replaceAll('\0', ' ').includes(`-D ${home.data} `);
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}
