/**
 * The one door to the database. Every statement of the application runs inside `withTx` or `withReadTx`: in one transaction,
 * with its tenancy set for row-level security, under a deadline, on a connection nobody else uses meanwhile.
 *
 * What a caller can rely on: the work runs at most once; when the promise resolves, it is committed; when it rejects with
 * anything but COMMIT_UNKNOWN, nothing is; it settles within the deadline and one second; no error carries a value.
 *
 * Between transactions a session can do nothing: it is read-only by default, and its tenancy is empty.
 */
import { sql } from 'drizzle-orm';
import { setTimeout as pause } from 'node:timers/promises';

import { openPool, type PoolUsage } from './connectionPool.ts';
import { openConnection } from './connections.ts';
import { TransactionLost, withoutParameters } from './databaseErrors.ts';
import { openNotifications } from './notifications.ts';
import { spannedWithin } from './tracing.ts';
import { beginTransaction, type Tx } from './transactions.ts';

export {
  DatabaseError,
  isUnstorableText,
  postgresErrorOf,
  TransactionLost,
  withoutParameters,
} from './databaseErrors.ts';
export type { Tx } from './transactions.ts';

/** Whose rows a transaction may touch: one tenant's, or all (`app.tenant` and `app.scope` in the policies). */
export type Tenancy = { readonly tenantId: string } | 'PLATFORM';

/** Drizzle without the verbs that write; the transaction is read-only, so `execute` cannot write either. */
export type ReadTx = Pick<
  Tx,
  'select' | 'selectDistinct' | 'selectDistinctOn' | 'with' | '$with' | '$count' | 'execute'
>;

export interface TxOptions {
  /** From the call to the answer, waiting for a connection included. Default: the database's. */
  readonly deadlineMs?: number | undefined;
  /** Asked on a fresh connection when the answer to COMMIT was lost and the old backend is gone: did it commit? */
  readonly committed?: ((tx: ReadTx) => Promise<boolean>) | undefined;
}

export interface Database {
  /**
   * One READ COMMITTED transaction that may write. Rejects with what `work` threw (rolled back), a DatabaseError, or a
   * TransactionLost. `work` is not waited for once the transaction is lost; its handle then rejects.
   */
  withTx<T>(tenancy: Tenancy, work: (tx: Tx) => Promise<T>, options?: TxOptions): Promise<T>;
  /** One REPEATABLE READ, READ ONLY transaction: all its queries see the same moment. Rejects as `withTx`. */
  withReadTx<T>(
    tenancy: Tenancy,
    work: (tx: ReadTx) => Promise<T>,
    options?: Pick<TxOptions, 'deadlineMs'>,
  ): Promise<T>;
  /**
   * Calls `onNotify` for each notification from the next `onListening` on, which comes at first and after every
   * reconnect: notifications in between are lost, so catch up then, and poll besides. A silent connection is found
   * within 10 s. Resolves at once, connected or not, with the way to stop listening.
   */
  listen(
    channel: string,
    onNotify: (payload: string) => void,
    onListening: () => void,
  ): Promise<() => Promise<void>>;
  /** How its connections are used just now, but for the one that listens. */
  usage(): PoolUsage;
  /** Refuses new work, lets running transactions end for two seconds, cuts the rest. Leaves no handle open. */
  stop(): Promise<void>;
}

export interface DatabaseOptions {
  readonly url: string;
  /** Role the sessions act as; the login role must be a member. Empty: the login role itself. Default `custos_app`. */
  readonly role?: string | undefined;
  /** Most connections, besides one for listening. Default 10. */
  readonly max?: number | undefined;
  /** Default 5000. */
  readonly deadlineMs?: number | undefined;
  /** Longest wait for a connection, within the deadline. Default 3000. */
  readonly acquireMs?: number | undefined;
  /** As pg_stat_activity shows us. Default `custos`. */
  readonly applicationName?: string | undefined;
}

const DEADLINE_MS = 5_000;
const ACQUIRE_MS = 3_000;
const CONNECT_MS = 1_500;
const CONNECTIONS_MAX = 10;
/** The server gives up on what the client has cut off, but never before it. */
const SERVER_GRACE_MS = 1_000;
/** Past the deadline, to find out whether a commit happened. */
const SETTLE_MS = 800;
const POLL_MS = 10;
const POLL_MS_MAX = 100;
/** What spans say of a transaction, in the words of OpenTelemetry's conventions where it has any. */
const READ_ONLY = { 'db.system.name': 'postgresql', 'custos.transaction': 'read only' };
const READ_WRITE = { ...READ_ONLY, 'custos.transaction': 'read write' };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Opens the door. Connects when first used. */
export function openDatabase(options: DatabaseOptions): Database {
  const { url, max = CONNECTIONS_MAX, deadlineMs = DEADLINE_MS, acquireMs = ACQUIRE_MS } = options;
  const role = 'role' in options ? options.role : 'custos_app';
  const session = {
    ...(role ? { role } : {}),
    application_name: options.applicationName ?? 'custos',
    default_transaction_read_only: 'on',
    statement_timeout: String(deadlineMs + SERVER_GRACE_MS),
    idle_in_transaction_session_timeout: String(deadlineMs + SERVER_GRACE_MS),
    // A client that has vanished in the middle of a statement is found out by nothing else.
    tcp_keepalives_idle: '5',
    tcp_keepalives_interval: '2',
    tcp_keepalives_count: '3',
    // By default Postgres takes every disk for a turning one, and reads a table whole where an index would do.
    random_page_cost: '1.1',
    TimeZone: 'UTC',
    DateStyle: 'ISO',
  };
  const connect = { url, session, connectMs: CONNECT_MS };
  const pool = openPool({
    max,
    open: (attempt, onClosed) => openConnection({ ...connect, attempt, onClosed }),
  });
  const notifications = openNotifications((attempt, onNotify) =>
    openConnection({ ...connect, attempt, onNotify }),
  );

  async function begin(mode: string, tenancy: Tenancy, limitMs: number, urgent = false) {
    const opening = openingOf(mode, tenancy, limitMs === deadlineMs ? undefined : limitMs + SERVER_GRACE_MS);
    const calledAt = performance.now();
    const connection = await pool.acquire(Math.min(acquireMs, limitMs), urgent);
    return beginTransaction({
      connection,
      opening,
      deadlineAt: calledAt + limitMs,
      // What swallowed one connection has swallowed those that lay idle beside it.
      onDeadline: () => pool.distrustIdle(calledAt),
      giveBack: () => pool.release(connection),
    });
  }

  async function read<T>(
    tenancy: Tenancy,
    work: (tx: ReadTx) => Promise<T>,
    limitMs: number,
    urgent?: boolean,
  ): Promise<T> {
    const transaction = await begin('repeatable read read only', tenancy, limitMs, urgent);
    try {
      return await transaction.run(work);
    } catch (error) {
      throw withoutParameters(error);
    } finally {
      transaction.leave();
    }
  }

  async function write<T>(
    tenancy: Tenancy,
    work: (tx: Tx) => Promise<T>,
    { deadlineMs: limitMs = deadlineMs, committed }: TxOptions = {},
  ): Promise<T> {
    const until = performance.now() + limitMs + SETTLE_MS;
    const transaction = await begin('read committed read write', tenancy, limitMs);
    let result;
    try {
      result = await transaction.run(work);
    } catch (error) {
      await transaction.rollback();
      throw withoutParameters(error);
    }
    if (await transaction.commit()) return result;
    const happened = await settle(tenancy, transaction.pid, until, committed);
    if (happened) return result;
    throw new TransactionLost(happened === undefined ? 'COMMIT_UNKNOWN' : 'TX_LOST');
  }

  /** Whether a commit happened whose answer was lost; undefined when that cannot be found out in time. */
  async function settle(tenancy: Tenancy, pid: number, until: number, committed: TxOptions['committed']) {
    if (!committed) return undefined;
    const ask = <T>(work: (tx: ReadTx) => Promise<T>) => read(tenancy, work, until - performance.now(), true);
    for (let wait = POLL_MS; performance.now() < until; wait = Math.min(wait * 2, POLL_MS_MAX)) {
      try {
        // Two transactions: the second must see what the old backend did before the first saw it gone.
        if (await ask((tx) => isGone(tx, pid))) return await ask(committed);
      } catch (error) {
        if (!(error instanceof TransactionLost) || error.code === 'DB_STOPPED') return undefined;
      }
      await pause(wait);
    }
    return undefined;
  }

  return {
    withTx: (tenancy, work, tuning) =>
      spannedWithin('transaction', READ_WRITE, () => write(tenancy, work, tuning)),
    withReadTx: (tenancy, work, { deadlineMs: limitMs = deadlineMs } = {}) =>
      spannedWithin('transaction', READ_ONLY, () => read(tenancy, work, limitMs)),
    listen: (channel, onNotify, onListening) => notifications.listen(channel, onNotify, onListening),
    usage: () => pool.usage(),
    async stop() {
      await Promise.all([pool.stop(), notifications.stop()]);
    },
  };
}

/** One round trip: the transaction, its tenancy, and who carries it. A second time limit is for that transaction alone. */
function openingOf(mode: string, tenancy: Tenancy, serverMs: number | undefined): string {
  const tenant = tenancy === 'PLATFORM' ? '' : tenancy.tenantId;
  // It becomes part of the text, so nothing but a UUID may pass.
  if (tenancy !== 'PLATFORM' && !UUID.test(tenant)) {
    throw new TypeError(
      `A tenancy is 'PLATFORM' or {tenantId: <a UUID>}, but got ${JSON.stringify(tenancy)}.`,
    );
  }
  const settings = {
    'app.tenant': tenant,
    'app.scope': tenancy === 'PLATFORM' ? 'platform' : 'tenant',
    ...(serverMs === undefined
      ? {}
      : {
          statement_timeout: Math.ceil(serverMs),
          idle_in_transaction_session_timeout: Math.ceil(serverMs),
        }),
  };
  const calls = Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', true)`);
  return `begin isolation level ${mode}; select ${calls.join(', ')}, pg_backend_pid() as pid`;
}

async function isGone(tx: ReadTx, pid: number): Promise<boolean> {
  return (await tx.execute(sql`select from pg_stat_activity where pid = ${pid}`)).length === 0;
}
