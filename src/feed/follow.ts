/**
 * The log, live: an iterator over the records that fulfil a condition, in sealed order, from a cursor, for ever.
 *
 * A follower pulls. It knows the place it wants next, takes that record from the memory of the tail while it is there,
 * and a page from the database otherwise. Both answer the same question, so the way from catching up to live has no seam:
 * no record is missed and none comes twice, and a slow follower costs nothing but its own time.
 */
import type { Logger } from 'pino';
import { setTimeout as pause } from 'node:timers/promises';

import { type Condition, fulfils } from '../audit/filter.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import type { Database, ReadTx, Tenancy } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';
import { openTurns } from '../platform/turns.ts';
import { cursorAt, placeOf } from './cursor.ts';
import { eventsAt, headOf, type LogEvent, placeIn, placesFrom } from './order.ts';
import { pulled } from './pulled.ts';
import { type Channel, openTail, type Tail, type TailOptions } from './subscribers.ts';

export interface FollowOptions {
  /** Whose log; undefined for the whole platform's. */
  readonly tenantId: string | undefined;
  readonly condition: Condition;
  /** A cursor of this log: begins after it. Otherwise at what is sealed from now on. */
  readonly after?: string | null | undefined;
  /** How long a stream whose condition lets nothing through leaves its reader without a newer cursor. Default 10 s. */
  readonly beatMs?: number | undefined;
}

/** A record, or without one the news that the stream has come as far as the cursor. */
export interface Step {
  /** Good for the same log under any condition. Everything up to this step lies behind it. */
  readonly cursor: string;
  readonly row: AuditLogRow | null;
}

export interface Feed {
  /**
   * Follows the log. Throws CURSOR_MISMATCH for a cursor of another log; the first `next()` does so for one beyond its
   * end. The first quiet moment always gives a step, so the reader has a cursor soon. When the database cannot be read
   * for half a minute, `next()` rejects and the stream is over; the last cursor is good to begin again.
   */
  follow(options: FollowOptions): AsyncIterableIterator<Step, undefined>;
  /** How many streams there are. */
  followers(): number;
  /** Ends every stream. */
  stop(): Promise<void>;
}

const BEAT_MS = 10_000;
/** What a stalled reader may keep in memory, in records. */
const PAGE = 100;
const RETRY_MS = 30_000;
const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 1_000;

/** However many come back at once after an interruption, the mutations keep their connections. */
const READERS_MAX = 3;

interface House {
  readonly log: Logger;
  readonly tail: Tail;
  /** A read transaction, when it is its turn. */
  readonly read: Database['withReadTx'];
}

/** Opens the feed. It reads only while somebody follows. */
export function openFeed(options: TailOptions): Feed {
  const { db, log } = options;
  const tail = openTail(options);
  const inTurn = openTurns(READERS_MAX);
  const house: House = { log, tail, read: (...call) => inTurn(() => db.withReadTx(...call)) };
  const streams = new Set<AsyncIterableIterator<Step, undefined>>();
  let stopped = false;
  return {
    follow(options) {
      const start = typeof options.after === 'string' ? placeOf(options.tenantId, options.after) : undefined;
      const { step, end } = follower(house, options, start);
      const stream = pulled(step, () => {
        streams.delete(stream);
        end();
      });
      streams.add(stream);
      if (stopped) void stream.return!();
      return stream;
    },
    followers: () => streams.size,
    async stop() {
      stopped = true;
      await Promise.all([...streams].map((stream) => stream.return!()));
      await tail.stop();
    },
  };
}

function follower({ log, tail, read }: House, options: FollowOptions, start: bigint | undefined) {
  const { tenantId, condition, beatMs = BEAT_MS } = options;
  const tenancy: Tenancy = tenantId === undefined ? 'PLATFORM' : { tenantId };
  const over = new AbortController();
  let channel: Channel | undefined;
  /** The place to look at next. */
  let next = 0n;
  /** What was read from the database and not looked at yet, from `next` on. */
  let page: LogEvent[] = [];
  /** Everything before the channel began has been read. */
  let complete = false;
  /** Caught up, and not yet said so. */
  let arrived = false;
  /** The place the reader's last cursor names, and since when. */
  let told: bigint | undefined;
  let toldAt = performance.now();
  return { step, end };

  function end() {
    over.abort();
    channel?.leave();
  }

  async function step(): Promise<Step> {
    const live = channel ?? (await begin());
    for (;;) {
      over.signal.throwIfAborted();
      const event = page.shift() ?? live.at(next);
      const beatDue = performance.now() - toldAt >= beatMs;
      if (event) {
        next = placeIn(tenantId, event) + 1n;
        if (event.row && fulfils(event.row, condition)) return tell(event.row);
        if (beatDue) return tell(null);
      } else if (!complete || live.isPast(next)) {
        page = await persistently(tenancy, readPage);
        complete ||= page.length === 0;
        arrived = true;
      } else if (told !== next && (arrived || beatDue)) {
        return tell(null);
      } else {
        await more(live);
      }
    }
  }

  /** Joins first: what is sealed after the head was read comes through the channel or the database. */
  async function begin(): Promise<Channel> {
    channel = tail.join(tenantId);
    const head = await persistently('PLATFORM', (tx) => headOf(tx, tenantId));
    over.signal.throwIfAborted();
    if (start !== undefined && start > head.own) throw new Refusal('CURSOR_MISMATCH');
    next = start ?? head.own;
    tail.begin(head.pos);
    return channel;
  }

  function tell(row: AuditLogRow | null): Step {
    arrived &&= row !== null;
    told = next;
    toldAt = performance.now();
    return { cursor: cursorAt(tenantId, next), row };
  }

  async function readPage(tx: ReadTx): Promise<LogEvent[]> {
    return await eventsAt(tx, await placesFrom(tx, tenantId, next, PAGE));
  }

  /** Resolves when there is more, or the stream is over, or it is time to say how far it has come. */
  function more(live: Channel): Promise<void> {
    arrived = false;
    return new Promise((resolve) => {
      const timer =
        told === next ? undefined : setTimeout(wake, Math.max(toldAt + beatMs - performance.now(), 0));
      const callOff = live.onMore(wake);
      over.signal.addEventListener('abort', wake);
      function wake() {
        clearTimeout(timer);
        callOff();
        over.signal.removeEventListener('abort', wake);
        resolve();
      }
    });
  }

  async function persistently<T>(as: Tenancy, work: (tx: ReadTx) => Promise<T>): Promise<T> {
    const until = performance.now() + RETRY_MS;
    for (let wait = BACKOFF_MS; ; wait = Math.min(wait * 2, BACKOFF_MS_MAX)) {
      try {
        return await read(as, work);
      } catch (error) {
        if (over.signal.aborted || performance.now() > until) throw error;
        log.warn({ err: error }, 'A follower could not read the log; it is tried again.');
        await pause(wait, undefined, { signal: over.signal });
      }
    }
  }
}
