import { setTimeout as pause } from 'node:timers/promises';

import type { Connection } from './connections.ts';

/** Listening to channels on one connection of its own, which is replaced when it dies or falls silent. */
export interface Notifications {
  /** See `Database.listen`. */
  listen(
    channel: string,
    onNotify: (payload: string) => void,
    onListening: () => void,
  ): Promise<() => Promise<void>>;
  stop(): Promise<void>;
}

interface Listener {
  readonly channel: string;
  readonly onNotify: (payload: string) => void;
  readonly onListening: () => void;
}

/** A silent connection shows no error: it is asked this often, and has this long to answer. */
const HEARTBEAT_MS = 5_000;
const ANSWER_MS = 3_000;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 1_000;

export function openNotifications(
  open: (attempt: number, onNotify: (channel: string, payload: string) => void) => Promise<Connection>,
): Notifications {
  const listeners = new Set<Listener>();
  const stopped = new AbortController();
  let connection: Connection | undefined;
  let running: Promise<void> | undefined;

  return {
    async listen(channel, onNotify, onListening) {
      const listener: Listener = { channel, onNotify, onListening };
      listeners.add(listener);
      // A connection that cannot be told in time is replaced, and the new one is told all channels.
      if (connection) void begin(connection, [listener]).catch(() => connection?.destroy());
      running ??= run();
      return async () => {
        listeners.delete(listener);
        const others = [...listeners].some((each) => each.channel === channel);
        if (!others && connection) await within(connection, `unlisten ${quoted(channel)}`).catch(() => {});
      };
    },
    async stop() {
      stopped.abort();
      const ended = connection?.end();
      await running;
      await ended;
    },
  };

  async function run() {
    for (let failures = 0; !stopped.signal.aborted; failures++) {
      try {
        const opened = await open(failures, notify);
        connection = opened;
        stopped.signal.throwIfAborted();
        await begin(opened, [...listeners]);
        failures = -1;
        await untilSilent(opened);
      } catch {
        // The reason does not matter: callers poll, and onListening tells them of the next connection.
      }
      connection?.destroy();
      connection = undefined;
      const backoff = Math.min(BACKOFF_MS * 2 ** Math.max(failures, 0), BACKOFF_MS_MAX);
      await pause(backoff, undefined, { signal: stopped.signal }).catch(() => {});
    }
  }

  async function begin(on: Connection, those: readonly Listener[]) {
    for (const channel of new Set(those.map((listener) => listener.channel))) {
      await within(on, `listen ${quoted(channel)}`);
    }
    for (const listener of those) if (listeners.has(listener)) queueMicrotask(() => listener.onListening());
  }

  /** Resolves when the connection has died, rejects when it does not answer. */
  async function untilSilent(on: Connection) {
    const over = new AbortController();
    const end = () => over.abort();
    on.onDeath = end;
    stopped.signal.addEventListener('abort', end);
    while (on.alive && !stopped.signal.aborted) {
      await pause(HEARTBEAT_MS, undefined, { signal: over.signal }).catch(() => {});
      if (on.alive && !stopped.signal.aborted) await within(on, 'select 1');
    }
    stopped.signal.removeEventListener('abort', end);
  }

  function notify(channel: string, payload: string) {
    for (const listener of listeners) {
      // Out of the driver's stack: it would take a listener's fault for one of the connection.
      if (listener.channel === channel) queueMicrotask(() => listener.onNotify(payload));
    }
  }
}

/** Sends a statement and cuts the connection when the answer takes too long. */
async function within(connection: Connection, text: string): Promise<void> {
  const timer = setTimeout(() => connection.destroy(), ANSWER_MS);
  try {
    await connection.query(text);
  } finally {
    clearTimeout(timer);
  }
}

function quoted(channel: string): string {
  return `"${channel.replaceAll('"', '""')}"`;
}
