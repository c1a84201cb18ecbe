/**
 * The tail: one a process reads every new seal once, and keeps the latest records in memory for those who follow. It
 * pushes to nobody: a follower asks its channel for the place it wants, and is told when there is more. So there is no
 * queue to grow behind a slow one; what has fallen out of memory is read from the database.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';

import { SEALED_CHANNEL } from '../audit/seal.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import type { Database } from '../platform/db.ts';
import { type EventBus, postgresBus } from '../platform/eventBus.ts';
import { apart } from '../platform/tracing.ts';
import { eventsAt, type LogEvent, placeIn, placesFrom } from './order.ts';

/** The part of the log that belongs to one tenant, or all of it, as far as it is in memory. */
export interface Channel {
  /** The record at that place, while it is in memory. */
  at(place: bigint): LogEvent | undefined;
  /** Whether that place has been passed: what `at` does not have any more is in the database. */
  isPast(place: bigint): boolean;
  /** Calls `wake` once, when there is more; gives the way to call it off. */
  onMore(wake: () => void): () => void;
  leave(): void;
}

export interface Tail {
  /** The channel of that tenant, or of the platform. From now on nothing new escapes it, once the tail has begun. */
  join(tenantId: string | undefined): Channel;
  /** Begins to read at that position, unless the tail is reading. It ends when everybody has left. */
  begin(pos: bigint): void;
  stop(): Promise<void>;
}

const RING_RECORDS = 2_000;
const RING_BYTES = 16 * 1024 * 1024;
const PAGE = 200;
/** What a lost notification may cost. */
const POLL_MS = 1_000;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 1_000;
/** A record without its free parts, about. */
const RECORD_BYTES = 1_000;

interface Following {
  /** One after another; the last is at `next - 1`. */
  readonly records: LogEvent[];
  /** Undefined before the first record. */
  next: bigint | undefined;
  followers: number;
  readonly wakes: Set<() => void>;
}

export interface TailOptions {
  readonly db: Database;
  readonly log: Logger;
  /** Tells when there is something new. By default Postgres does. */
  readonly bus?: EventBus | undefined;
}

export function openTail({ db, log, bus = postgresBus(db, SEALED_CHANNEL) }: TailOptions): Tail {
  /** By tenant; undefined is the platform. */
  const followed = new Map<string | undefined, Following>();
  const ring: { readonly event: LogEvent; readonly bytes: number }[] = [];
  let ringBytes = 0;
  const stopping = new AbortController();
  let woken = new AbortController();
  let listening: Promise<() => Promise<void>> | undefined;
  let running: Promise<void> | undefined;
  return {
    join(tenantId) {
      const following = followed.get(tenantId) ?? {
        records: [],
        next: undefined,
        followers: 0,
        wakes: new Set(),
      };
      followed.set(tenantId, following);
      following.followers++;
      return channelOf(tenantId, following);
    },
    begin(pos) {
      listening ??= apart(() => bus.listen(wake, wake));
      running ??= apart(() => run(pos));
    },
    async stop() {
      stopping.abort();
      wake();
      await running;
      await (
        await listening
      )?.();
    },
  };

  function channelOf(tenantId: string | undefined, following: Following): Channel {
    const { records, wakes } = following;
    return {
      at: (place) => (following.next === undefined ? undefined : records.at(indexOf(following, place))),
      isPast: (place) => following.next !== undefined && place < following.next,
      onMore(wake) {
        wakes.add(wake);
        return () => wakes.delete(wake);
      },
      leave() {
        if (--following.followers > 0) return;
        followed.delete(tenantId);
        if (followed.size === 0) wake();
      },
    };
  }

  function wake() {
    woken.abort();
  }

  async function run(from: bigint) {
    let failures = 0;
    for (let next = from; followed.size > 0 && !stopping.signal.aborted;) {
      woken = new AbortController();
      try {
        const { places, events, to } = await read(next);
        failures = 0;
        publish(events, to);
        next = places.length > 0 ? places.at(-1)!.pos + 1n : next;
        if (places.length === 0) await rest(POLL_MS, woken.signal);
      } catch (error) {
        log.error({ err: error }, 'Reading the sealed log failed; it is tried again.');
        await rest(Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MS_MAX), stopping.signal);
      }
    }
    ring.length = ringBytes = 0;
    running = undefined;
  }

  function read(from: bigint) {
    return db.withReadTx('PLATFORM', async (tx) => {
      const places = await placesFrom(tx, undefined, from, PAGE);
      // Who joins from here on begins by reading the database, which has these already.
      const to = new Map(followed);
      const wanted = to.has(undefined) ? places : places.filter(({ tenantId }) => to.has(tenantId));
      return { places, events: await eventsAt(tx, wanted), to };
    });
  }

  function publish(events: readonly LogEvent[], to: ReadonlyMap<string | undefined, Following>) {
    const woke = new Set<() => void>();
    for (const event of events) {
      for (const tenantId of [event.tenantId, undefined]) {
        const following = to.get(tenantId);
        if (!following) continue;
        const place = placeIn(tenantId, event);
        if (place !== following.next) following.records.length = 0;
        following.records.push(event);
        following.next = place + 1n;
        for (const each of following.wakes) woke.add(each);
        following.wakes.clear();
      }
      const bytes = bytesOf(event.row);
      ring.push({ event, bytes });
      ringBytes += bytes;
    }
    while (ring.length > RING_RECORDS || ringBytes > RING_BYTES) forget(ring.shift()!);
    for (const each of woke) each();
  }

  function forget({ event, bytes }: (typeof ring)[number]) {
    ringBytes -= bytes;
    for (const tenantId of [event.tenantId, undefined]) {
      const records = followed.get(tenantId)?.records;
      if (records?.[0] === event) records.shift();
    }
  }
}

/** Negative indexes would count from the end. */
function indexOf({ records, next }: Following, place: bigint): number {
  const index = Number(place - next!) + records.length;
  return index < 0 ? records.length : index;
}

function bytesOf(row: AuditLogRow | undefined): number {
  if (!row) return RECORD_BYTES;
  const free = JSON.stringify([row.details, row.changes, row.context]).length;
  return RECORD_BYTES + free + (row.pii?.length ?? 0) + (row.userAgent?.length ?? 0);
}

async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => {});
}
