/**
 * Notices between processes that there is something new: they only cut latency, whoever listens looks by itself as well. Postgres
 * carries them as NOTIFY; beyond some fifty processes NATS does (EVENT_BUS_URL), so that the database need not wake them all.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { connect, type NatsConnection, type NodeConnectionOptions } from '@nats-io/transport-node';
import { sql } from 'drizzle-orm';
import type { Logger } from 'pino';

import type { Database, Tx } from './db.ts';
import { apart } from './tracing.ts';

export interface EventBus {
  /** Tells all who listen, in all processes, once the transaction has committed; `committed` is to be called then. */
  announce(tx: Tx, notice: string): Promise<void>;
  committed(notice: string): void;
  /** Calls `onNotice` for each from the next `onListening` on; see Database.listen. Resolves at once, with the way to stop. */
  listen(onNotice: (notice: string) => void, onListening: () => void): Promise<() => Promise<void>>;
  stop(): Promise<void>;
}

/** Notices through Postgres: they are sent by the commit itself. */
export function postgresBus(db: Database, channel: string): EventBus {
  return {
    announce: async (tx, notice) => void (await tx.execute(sql`select pg_notify(${channel}, ${notice})`)),
    committed() {},
    listen: (onNotice, onListening) => db.listen(channel, onNotice, onListening),
    async stop() {},
  };
}

/** Between two attempts to reach the server. */
const RECONNECT_MS = 500;
const CONNECT_MS = 2_000;
/** A silent connection is replaced after two of these. */
const PING_MS = 5_000;

export interface NatsOptions {
  /** `nats://` or `tls://`, with user and password or a token in it where the server asks for them. */
  readonly url: string;
  readonly db: Database;
  readonly channel: string;
  readonly log: Logger;
}

interface Listener {
  readonly onNotice: (notice: string) => void;
  readonly onListening: () => void;
}

/** Notices through NATS. While it cannot be reached there are none; it is tried for ever, and told in the log. */
export async function natsBus({ url, db, channel, log }: NatsOptions): Promise<EventBus> {
  const subject = await subjectOf(db, channel);
  const listeners = new Set<Listener>();
  const stopping = new AbortController();
  let connection: NatsConnection | undefined;
  const running = apart(run);

  async function run() {
    for (let told = false; !stopping.signal.aborted;) {
      try {
        return await follow(await connect(optionsOf(url)));
      } catch (err) {
        // Of the first attempts one is told; a connection that is lost later comes back by itself.
        if (!told)
          log.warn({ err }, 'The event bus cannot be reached: processes look by themselves until it can.');
        told = true;
        await pause(RECONNECT_MS, undefined, { signal: stopping.signal }).catch(() => {});
      }
    }
  }

  async function follow(opened: NatsConnection) {
    if (stopping.signal.aborted) return await opened.close();
    connection = opened;
    opened.subscribe(subject, {
      callback: (fault, message) => {
        if (!fault) for (const { onNotice } of listeners) onNotice(message.string());
      },
    });
    tellListening();
    for await (const { type } of opened.status()) {
      if (type === 'disconnect')
        log.warn('The event bus is lost: processes look by themselves until it is back.');
      if (type !== 'reconnect') continue;
      log.info('The event bus is back.');
      tellListening();
    }
  }

  function tellListening() {
    for (const { onListening } of listeners) onListening();
  }

  return {
    async announce() {},
    committed(notice) {
      if (connection && !connection.isClosed()) connection.publish(subject, notice);
    },
    async listen(onNotice, onListening) {
      const listener = { onNotice, onListening };
      listeners.add(listener);
      if (connection) queueMicrotask(onListening);
      return async () => void listeners.delete(listener);
    },
    async stop() {
      stopping.abort();
      await connection?.close();
      await running;
    },
  };
}

function optionsOf(url: string): NodeConnectionOptions {
  const { protocol, host, username, password } = new URL(url);
  const user = decodeURIComponent(username);
  return {
    servers: host,
    name: 'custos',
    ...(protocol === 'tls:' ? { tls: {} } : {}),
    ...(password ? { user, pass: decodeURIComponent(password) } : user ? { token: user } : {}),
    timeout: CONNECT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_MS,
    pingInterval: PING_MS,
  };
}

/** One for each database, so that several may share a NATS. */
async function subjectOf(db: Database, channel: string): Promise<string> {
  const [row] = await db.withReadTx('PLATFORM', (tx) =>
    tx.execute<{ name: string }>(sql`
      select system_identifier || '.' || (select oid from pg_database where datname = current_database()) as name
      from pg_control_system()`),
  );
  return `${channel}.${row!.name}`;
}
