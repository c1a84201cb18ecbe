import type { Logger } from 'pino';

import { type Clock, isoOf } from '../platform/ids.ts';

/** Throttled attempts that one limit may leave on record by themselves in an interval; the rest share records. */
const SINGLY_MAX = 20;
const INTERVAL_MS = 60_000;

/** Several attempts in one record. It tells of the last one; the times are those of the first and the last. */
export interface Together {
  readonly attempts: number;
  readonly firstAt: string;
  readonly lastAt: string;
}

/**
 * Throttled attempts past a number, held back to be recorded together: an attack must not fill the disk, and none is lost
 * silently. What is held is written once an interval and on `stop`; a process that is killed loses an interval at most.
 */
export interface HeldBack {
  /**
   * Whether an attempt is held back: of its limit's attempts too many were recorded in this interval. Then the last one's
   * `write` is called for all of the same limit that are `about` the same; a failure is logged and tried again.
   */
  holds(limit: string, about: string, write: (together: Together) => Promise<void>): boolean;
  stop(): Promise<void>;
}

export interface HeldBackOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Default 20. */
  readonly singlyMax?: number | undefined;
  /** Default 60,000. */
  readonly intervalMs?: number | undefined;
}

type Held = Together & { readonly write: (together: Together) => Promise<void> };

/** Nothing held back yet. */
export function openHeldBack(options: HeldBackOptions): HeldBack {
  const { clock, log, singlyMax = SINGLY_MAX, intervalMs = INTERVAL_MS } = options;
  let recorded = new Map<string, number>();
  const held = new Map<string, Held>();
  let writing = Promise.resolve();
  const timer = setInterval(flush, intervalMs).unref();
  return {
    holds(limit, about, write) {
      const singly = (recorded.get(limit) ?? 0) + 1;
      recorded.set(limit, singly);
      if (singly <= singlyMax) return false;
      const now = isoOf(clock.now());
      hold(`${limit} ${about}`, { attempts: 1, firstAt: now, lastAt: now, write });
      return true;
    },
    async stop() {
      clearInterval(timer);
      flush();
      await writing;
    },
  };

  function hold(key: string, more: Held) {
    const { attempts = 0, firstAt = more.firstAt } = held.get(key) ?? {};
    held.set(key, { ...more, attempts: attempts + more.attempts, firstAt });
  }

  function flush() {
    recorded = new Map();
    writing = writeAfter(writing);
  }

  async function writeAfter(before: Promise<void>) {
    await before;
    const batch = [...held];
    held.clear();
    for (const [key, { write, ...together }] of batch) {
      try {
        await write(together);
      } catch (err) {
        log.error({ err, ...together }, 'Throttled attempts could not be put on record; it is tried again.');
        const since = held.get(key);
        held.delete(key);
        hold(key, { write, ...together });
        if (since) hold(key, since);
      }
    }
  }
}
