/**
 * Room for records: the log's monthly partitions, made ahead, and a clock that puts each record into its own. A record's id
 * is its time, so a clock that is wrong puts it where no month is, or where nobody looks for it.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { sql } from 'drizzle-orm';
import type { Logger } from 'pino';

import type { Database } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';
import { SettingsError } from '../platform/settings.ts';

const HOUR_MS = 3_600_000;
const RETRY_MS = 60_000;
/** How far the clock of this machine may be from the database's. */
const SKEW_MS_MAX = 24 * HOUR_MS;

export interface Months {
  /** Resolves when a record can be written. Rejects with CLOCK_OFF while the clocks are more than a day apart. */
  ready(): Promise<void>;
  /** Whether the clocks agree, by what is known of the database's. */
  agree(): boolean;
  stop(): Promise<void>;
}

export interface MonthsOptions {
  readonly db: Database;
  readonly log: Logger;
  /** Between two looks. */
  readonly intervalMs?: number;
}

/**
 * Makes the months around today, now and every hour: no insert lacks one, however long the process has run or slept.
 * Rejects with a SettingsError when the clocks are more than a day apart.
 */
export async function openMonths({ db, log, intervalMs = HOUR_MS }: MonthsOptions): Promise<Months> {
  let seen = await look(db);
  if (!agree()) throw new SettingsError(disagreement());
  const stopping = new AbortController();
  const running = run();
  return {
    agree,
    async ready() {
      if (agree()) return;
      // The machine may have slept, or both clocks have been set: only the database can tell.
      seen = await look(db).catch((cause: unknown) => {
        throw new Refusal('LOG_NOT_WRITTEN', { cause });
      });
      if (agree()) return;
      log.error(disagreement());
      throw new Refusal('CLOCK_OFF');
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };

  async function run() {
    for (let restMs = intervalMs; ;) {
      await pause(restMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      try {
        seen = await look(db);
        restMs = intervalMs;
      } catch (err) {
        log.error({ err }, 'Making the next months of the log failed; it is tried again in a minute.');
        restMs = RETRY_MS;
      }
    }
  }

  /** The database's clock, as it must have gone on since it was looked at. */
  function databaseMs(): number {
    return seen.databaseMs + performance.now() - seen.at;
  }

  function agree(): boolean {
    return Math.abs(Date.now() - databaseMs()) <= SKEW_MS_MAX;
  }

  function disagreement(): string {
    const [ours, theirs] = [Date.now(), databaseMs()].map((ms) => new Date(ms).toISOString());
    return `The clock of this machine must be within a day of the database's, but it says ${ours}, and the database's ${theirs}: set it right`;
  }
}

interface Seen {
  readonly databaseMs: number;
  /** By `performance.now()`. */
  readonly at: number;
}

/** Makes the months that are missing by the database's clock, and reads it. */
function look(db: Database): Promise<Seen> {
  return db.withTx('PLATFORM', async (tx) => {
    await tx.execute(sql`call keep_audit_partitions()`);
    const [row] = await tx.execute<{ ms: number }>(
      sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
    );
    return { databaseMs: row!.ms, at: performance.now() };
  });
}
