import type { Connection } from './connections.ts';
import { DatabaseError, TransactionLost } from './databaseErrors.ts';

/** At most `max` connections, handed to one user at a time, first come first served. */
export interface ConnectionPool {
  /**
   * A connection for the caller alone, opened if need be; hand it back with `release`. Rejects with POOL_TIMEOUT after
   * `ms`, with DB_STOPPED, or with the DatabaseError by which the server refuses us for good. `urgent` goes ahead of the queue.
   */
  acquire(ms: number, urgent?: boolean): Promise<Connection>;
  release(connection: Connection): void;
  /** Cuts the idle connections that have not been used since that time (of `performance.now()`): they may be as dead as another one. */
  distrustIdle(since: number): void;
  usage(): PoolUsage;
  /** Refuses new users, gives those there are two seconds, then cuts them. Repeated calls are one. */
  stop(): Promise<void>;
}

/** How many connections are open, how many of them in use, and how many callers wait for one. */
export interface PoolUsage {
  readonly open: number;
  readonly busy: number;
  readonly waiting: number;
}

interface PoolOptions {
  readonly max: number;
  /** Opens a connection; `attempt` counts from 0, `onClosed` is to be called when it has died. */
  readonly open: (attempt: number, onClosed: (connection: Connection) => void) => Promise<Connection>;
}

interface Waiter {
  readonly take: (connection: Connection) => void;
  readonly refuse: (error: unknown) => void;
}

const BACKOFF_MS = 25;
/** One probe in this time while the server is away: what bounds how late its return is noticed. */
const BACKOFF_MS_MAX = 400;
/** Statements are prepared a connection and never forgotten, so none lives for ever. Up to a half more, at random. */
const LIFETIME_MS = 30 * 60_000;
const STOP_MS = 2_000;

export function openPool({ max, open }: PoolOptions): ConnectionPool {
  /** Every open connection, with the time it retires. */
  const retirements = new Map<Connection, number>();
  /** The unused ones, with the time they were last used; the latest is last. */
  const idle = new Map<Connection, number>();
  const waiters: Waiter[] = [];
  let opening = 0;
  let attempts = 0;
  let failures = 0;
  let lastFailure = 'all connections are in use';
  let retry: NodeJS.Timeout | undefined;
  let stopping: Promise<void> | undefined;
  let drained: (() => void) | undefined;

  return {
    async acquire(ms, urgent = false) {
      if (stopping) throw new TransactionLost('DB_STOPPED');
      const ready = [...idle.keys()].pop();
      if (ready) {
        idle.delete(ready);
        return ready;
      }
      return await new Promise<Connection>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiters.splice(waiters.indexOf(waiter), 1);
          reject(new TransactionLost('POOL_TIMEOUT', lastFailure));
        }, ms);
        const settled =
          <T>(settle: (value: T) => void) =>
          (value: T) => {
            clearTimeout(timer);
            settle(value);
          };
        const waiter: Waiter = { take: settled(resolve), refuse: settled(reject) };
        if (urgent) waiters.unshift(waiter);
        else waiters.push(waiter);
        grow();
      });
    },

    release(connection) {
      connection.onDeath = undefined;
      offer(connection);
    },

    distrustIdle(since) {
      for (const [connection, usedAt] of idle) if (usedAt < since) connection.destroy();
    },

    usage: () => ({
      open: retirements.size,
      busy: retirements.size - idle.size,
      waiting: waiters.length,
    }),

    stop: () => (stopping ??= stop()),
  };

  function offer(connection: Connection) {
    if (!connection.alive) return;
    if (stopping || performance.now() > retirements.get(connection)!) {
      void connection.end();
      return;
    }
    const waiter = waiters.shift();
    if (waiter) waiter.take(connection);
    else idle.set(connection, performance.now());
  }

  /** Opens what is waited for, all at once in good times, and one at a time while the server is away. */
  function grow() {
    while (mayOpen()) {
      opening++;
      void add();
    }
  }

  function mayOpen() {
    const wanted = failures === 0 ? waiters.length : Math.min(waiters.length, 1);
    return !stopping && !retry && opening < wanted && retirements.size + opening < max;
  }

  async function add() {
    try {
      const connection = await open(attempts++, forget);
      failures = 0;
      retirements.set(connection, performance.now() + LIFETIME_MS * (1 + Math.random() / 2));
      // Died in between: `forget` was called before there was anything to forget.
      if (!connection.alive) retirements.delete(connection);
      offer(connection);
    } catch (error) {
      failures++;
      if (error instanceof TransactionLost) lastFailure = error.why ?? error.code;
      if (error instanceof DatabaseError) for (const waiter of waiters.splice(0)) waiter.refuse(error);
      retry ??= setTimeout(
        () => {
          retry = undefined;
          grow();
        },
        Math.min(BACKOFF_MS * 2 ** (failures - 1), BACKOFF_MS_MAX),
      );
    } finally {
      opening--;
    }
    grow();
    settle();
  }

  function forget(connection: Connection) {
    retirements.delete(connection);
    idle.delete(connection);
    grow();
    settle();
  }

  function settle() {
    if (retirements.size + opening === 0) drained?.();
  }

  async function stop() {
    for (const waiter of waiters.splice(0)) waiter.refuse(new TransactionLost('DB_STOPPED'));
    const empty = new Promise<void>((resolve) => (drained = resolve));
    for (const connection of idle.keys()) void connection.end();
    const timer = setTimeout(() => {
      for (const connection of retirements.keys()) connection.destroy();
    }, STOP_MS);
    settle();
    await empty;
    clearTimeout(timer);
    clearTimeout(retry);
  }
}
