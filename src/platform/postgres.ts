/**
 * The embedded PostgreSQL: a real server for a bare machine, run by Custos itself from `<dataDir>/postgres`.
 *
 * It belongs to all the Custos processes that use it. Whoever comes first starts it, whoever comes later joins it, and
 * the last one out stops it. A process is in while it holds a shared advisory lock on a connection of its own, so one
 * that is killed is out at once; the server it leaves behind is joined by the next start. A server that dies under a
 * running process is started again on the same port.
 *
 * It listens on 127.0.0.1 only and takes no connection without a password (scram-sha-256).
 */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import postgres from 'postgres';
import { openHome, type Home } from './postgresHome.ts';
import { HOST, launch, logOf, runningServer, shutDown } from './postgresServer.ts';
import { systemCode } from './systemError.ts';

/** A running server. Its addresses hold passwords: never log them. */
export type EmbeddedPostgres = {
  /** The superuser `postgres`, for migrations; the database is `custos` unless named. */
  readonly adminUrl: (database?: string) => string;
  /** The login role `custos`, which owns nothing; the database is `custos` unless named. */
  readonly appUrl: (database?: string) => string;
  /** Leaves the server; stops it when nobody else uses it. Takes less than a minute, whatever the server does. Repeated calls are one. */
  readonly stop: () => Promise<void>;
};

type EmbeddedOptions = {
  /** `CUSTOS_DATA_DIR`; made when missing. */
  readonly dataDir: string;
  readonly log: Logger;
  /** Wished for; another one is taken when it is in use. Unset: the port of the last start, at first a free one. */
  readonly port?: number;
};

/**
 * Starts or joins the server of a data folder: role `custos` and database `custos` exist, connections are accepted.
 * The first start takes about a second, later ones a tenth of that.
 */
export async function startPostgres({ dataDir, log, port }: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const home = await openHome(path.resolve(dataDir));
  let stopping: Promise<void> | undefined;
  let recovering: Promise<void> | undefined;
  let member = await join(home, log, onLost, port);
  log.info({ folder: home.folder, port: member.port }, 'the embedded database is ready');

  function onLost() {
    if (stopping) return;
    log.warn('the embedded database went away');
    recovering ??= recover().finally(() => (recovering = undefined));
  }

  async function recover() {
    for (;;) {
      if (stopping) return;
      try {
        await member.close();
        // Pools hold the old address: only the same port is of use to them.
        member = await join(home, log, onLost, member.port, true);
        log.info('the embedded database is back');
        return;
      } catch (err) {
        log.error({ err, file: logOf(home) }, 'the embedded database does not come back');
        await pause(RETRY_MS);
      }
    }
  }

  async function leave() {
    await recovering;
    if (await member.leave()) await shutDown(home, log);
    await member.close();
  }

  const url = (user: string, password: string, database = DATABASE) =>
    `postgres://${user}:${password}@127.0.0.1:${member.port}/${encodeURIComponent(database)}`;
  return {
    adminUrl: (database) => url('postgres', home.passwords.admin, database),
    appUrl: (database) => url(APP_ROLE, home.passwords.app, database),
    stop: () => (stopping ??= leave()),
  };
}

const DATABASE = 'custos';
const APP_ROLE = 'custos';
const POLL_MS = 20;
const RETRY_MS = 1000;
const ANSWER_MS = 15_000;
const portFileOf = (home: Home) => path.join(home.folder, 'port');

/** Starts the server unless it runs, and becomes one of its users. `only`: on the wished port or not at all. */
async function join(home: Home, log: Logger, onLost: () => void, wish?: number, only = false) {
  let deadline = Date.now() + ANSWER_MS;
  let port = wish ?? (await keptPort(home));
  for (;;) {
    const late = Date.now() > deadline;
    const server = await runningServer(home);
    if (server === undefined) {
      if (late) throw new Error(`The embedded database does not start: see ${logOf(home)}`);
      port ??= await freePort();
      if ((await launch(home, port, log)) !== 'port taken') continue;
      if (only) throw new Error(`The port of the embedded database, ${port}, is taken`);
      log.warn({ port }, 'the port of the embedded database is taken: taking another');
      port = undefined;
    } else if (server.status === 'ready') {
      try {
        const member = await enrol(home, server.port, onLost);
        await writeFile(portFileOf(home), String(server.port), { mode: 0o600 });
        return member;
      } catch (error) {
        if (!isAbsence(error)) throw error;
      }
    }
    // A server that is still starting may have a long log to replay: that is waited for.
    if (server && late && server.status !== 'starting') {
      log.warn({ process: server.pid }, 'the embedded database does not answer: stopping it');
      await shutDown(home, log);
      deadline = Date.now() + ANSWER_MS;
    }
    await pause(POLL_MS);
  }
}

async function keptPort(home: Home): Promise<number | undefined> {
  return Number(await readFile(portFileOf(home), 'utf8').catch(() => '')) || undefined;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, HOST);
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('No free port');
  return address.port;
}

/** Becomes a user of the server, and sees to the application's role and database. */
async function enrol(home: Home, port: number, onLost: () => void) {
  let enrolled = false;
  const sql = postgres({
    host: HOST,
    port,
    user: 'postgres',
    password: home.passwords.admin,
    database: 'postgres',
    max: 1,
    max_lifetime: null,
    connect_timeout: 5,
    fetch_types: false,
    prepare: false,
    onnotice: () => undefined,
    connection: { application_name: 'custos embedded' },
    onclose: () => {
      if (enrolled) onLost();
    },
  });
  const close = () => {
    enrolled = false;
    return sql.end({ timeout: 1 });
  };
  try {
    await answered(sql`select pg_advisory_lock_shared(${USERS_LOCK}::bigint)`);
    const [there] = await answered(sql`select from pg_database where datname = ${DATABASE}`);
    if (!there) await setUp(sql, home);
    enrolled = true;
  } catch (error) {
    await close();
    throw error;
  }
  return {
    port,
    close,
    /** Gives up the place. True: nobody else uses the server, and nobody can join it any more. */
    async leave(): Promise<boolean> {
      enrolled = false;
      try {
        await answered(sql`select pg_advisory_unlock_shared(${USERS_LOCK}::bigint)`);
        const rows = await answered(sql`select where pg_try_advisory_lock(${USERS_LOCK}::bigint)`);
        return rows.length === 1;
      } catch (error) {
        // It does not answer, so it serves nobody else either.
        if (isAbsence(error)) return true;
        throw error;
      }
    },
  };
}

/** Of several first users one makes role and database. The lock goes with the connection if this one dies over it. */
async function setUp(sql: postgres.Sql, home: Home): Promise<void> {
  await sql`select pg_advisory_lock(${SETUP_LOCK}::bigint)`;
  const [role] = await sql`select from pg_roles where rolname = ${APP_ROLE}`;
  // The password is base64url: it has no quotation marks.
  if (!role) await sql.unsafe(`create role ${APP_ROLE} login password '${home.passwords.app}'`);
  const [database] = await sql`select from pg_database where datname = ${DATABASE}`;
  if (!database) await sql.unsafe(`create database ${DATABASE}`);
  await sql`select pg_advisory_unlock(${SETUP_LOCK}::bigint)`;
}

/** The driver waits for ever for a server that has frozen. */
async function answered<T>(query: PromiseLike<T>): Promise<T> {
  const patience = new AbortController();
  const silence = pause(ANSWER_MS, undefined, { signal: patience.signal }).then(() => {
    throw Object.assign(new Error('The embedded database does not answer'), { code: 'CONNECT_TIMEOUT' });
  });
  try {
    return await Promise.race([query, silence]);
  } finally {
    silence.catch(() => undefined);
    patience.abort();
  }
}

const USERS_LOCK = '7310868735423902575';
const SETUP_LOCK = '7310868735423902576';

/** No server, or one that is just starting or going: worth another look. */
function isAbsence(error: unknown): boolean {
  const code = systemCode(error) ?? '';
  return /^(ECONN|CONNECT|EPIPE|57P0[123]$)/.test(code);
}
