/** Custos as its users run it: the built program, in a process and a process group of its own. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';

import { until } from './wait.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const PROGRAM = path.join(ROOT, 'dist/main.js');
const READY_MS = 90_000;
const STOP_MS = 30_000;
/** Longer than the program takes two signals for one. */
const BETWEEN_SIGNALS_MS = 700;

/** Credentials as the program prints them. */
export interface Announced {
  readonly url: string;
  readonly administrator: { readonly email: string; readonly password: string } | undefined;
  readonly demo: { readonly emails: readonly string[]; readonly password: string } | undefined;
  /** From the start of the process, in milliseconds. */
  readonly readyMs: number;
}

export interface Program {
  readonly pid: number;
  /** What it has written so far. */
  readonly out: { stdout: string; stderr: string };
  /** Resolves when it has said that it is ready; throws with what it said instead. */
  ready(): Promise<Announced>;
  /** A signal to the process, or as a terminal does to its whole group. */
  signal(name: NodeJS.Signals, to?: 'process' | 'group'): void;
  /** Two of them, far enough from each other to count as two. */
  signalTwice(name: NodeJS.Signals): Promise<void>;
  /** Resolves with the exit code; with the signal that ended it where there is none. */
  ended(): Promise<number | NodeJS.Signals>;
}

/** Builds the program. Once a test file is enough. */
export async function build(): Promise<void> {
  const compiler = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  for (const project of ['client', 'src'])
    await promisify(execFile)(process.execPath, [compiler, '--project', project], { cwd: ROOT });
}

/** An empty data folder, which goes when the test ends, its database server first. */
export async function emptyDataDir(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-process-'));
  // As a folder of everyday use is, and not as mkdtemp makes it: its parents can be walked through.
  await chmod(folder, 0o755);
  const dataDir = path.join(folder, '.custos');
  onTestFinished(async () => {
    const pid = await databaseServer(dataDir);
    if (pid !== undefined) {
      process.kill(pid, 'SIGQUIT');
      await until('the database server is gone', async () => (await databaseServer(dataDir)) === undefined);
    }
    const place = await realpath(path.join(dataDir, 'postgres')).catch(() => folder);
    await rm(place, { recursive: true, force: true });
    await rm(folder, { recursive: true, force: true });
  });
  return dataDir;
}

/** Starts the program with that environment, and nothing else of ours but what finds programs. It is killed when the test ends. */
export function start(env: Record<string, string>): Program {
  const startedAt = performance.now();
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [PROGRAM], {
    cwd: tmpdir(),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH, HOME, PORT: '0', PASSWORD_COST: '10', ...env },
  });
  const out = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (out.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (out.stderr += text));
  const exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  let readyAt: number | undefined;
  child.stdout.on('data', () => {
    if (/GraphQL {4}http\S+/.test(out.stdout)) readyAt ??= performance.now();
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exit;
  });
  return {
    pid: child.pid!,
    out,
    async ready() {
      const isOver = () => child.exitCode !== null || child.signalCode !== null;
      await until('the program is ready', () => readyAt !== undefined || isOver(), READY_MS);
      if (readyAt === undefined) throw new Error(`It ended instead: ${out.stdout}${out.stderr}`);
      return { ...announcedIn(out.stdout), readyMs: readyAt - startedAt };
    },
    signal(name, to = 'process') {
      process.kill(to === 'group' ? -child.pid! : child.pid!, name);
    },
    async signalTwice(name) {
      process.kill(child.pid!, name);
      await pause(BETWEEN_SIGNALS_MS);
      process.kill(child.pid!, name);
    },
    async ended() {
      await until('the program ends', () => child.exitCode !== null || child.signalCode !== null, STOP_MS);
      const [code, signal] = await exit;
      return code ?? signal!;
    },
  };
}

function announcedIn(stdout: string): Omit<Announced, 'readyMs'> {
  const url = /GraphQL {4}(http\S+)\/graphql/.exec(stdout)![1]!;
  const administrator = /Sign in with {7}(\S+) {3}(\S+)/.exec(stdout);
  const demo = /or, in a tenant {4}(.+)\n\s+with the password (\S+)/.exec(stdout);
  return {
    url,
    administrator: administrator ? { email: administrator[1]!, password: administrator[2]! } : undefined,
    demo: demo ? { emails: demo[1]!.split(', '), password: demo[2]! } : undefined,
  };
}

/** The process of a data folder's database server, while it runs. */
export async function databaseServer(dataDir: string): Promise<number | undefined> {
  const file = path.join(dataDir, 'postgres/data/postmaster.pid');
  const pid = Number((await readFile(file, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid) return undefined;
  // A dead process that nobody has reaped yet has no command any more.
  const { stdout } = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({
    stdout: '',
  }));
  return stdout.includes(' -D ') ? pid : undefined;
}
