/**
 * Work that outlives its request: queues of pg-boss in the database itself, so that a job is enqueued in the transaction of the
 * change it belongs to, and is done if and only if that commits. Whoever does a job says every few seconds that it still does;
 * one that falls silent, because its process was killed, is given to another after half a minute. So a job may run more than
 * once, even twice at a time, and each must leave what it does in transactions that hold whoever comes second.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { type SQL, sql } from 'drizzle-orm';
import PgBoss from 'pg-boss';
import type { Logger } from 'pino';
import type { z } from 'zod';

import type { Database, ReadTx, Tx } from './db.ts';

/** The schema and the queues are made by a migration: the application itself may make no tables. */
const SCHEMA = 'pgboss';
const POLL_MS = 2_000;
/** Each queue has `expireInSeconds: 30` (drizzle/0010_jobs.sql). */
const HEARTBEAT_MS = 5_000;
const MAINTENANCE_SECONDS = 10;
const SCRIPT = /^\s*BEGIN;([\s\S]*)COMMIT;\s*$/;

/** A queue, and what its jobs are given. */
export interface Queue<Data> {
  readonly name: string;
  readonly data: z.ZodType<Data>;
}

/** A job, as it is done. */
export interface Job<Data> {
  readonly data: Data;
  /** Whether it is given up when it fails once more. */
  readonly isLastAttempt: boolean;
  /** The process stops: what is left is done by the next, from where this one came to. */
  readonly signal: AbortSignal;
}

/** How many jobs of a queue are in which state, in the last twelve hours. */
export interface QueueHealth {
  readonly queue: string;
  readonly waiting: number;
  readonly active: number;
  /** Given up after several attempts. */
  readonly failed: number;
  readonly completed: number;
  /** Since when the oldest one waits that could be done. */
  readonly waitingSince: string | null;
}

export interface Jobs {
  /** Adds a job in that transaction. */
  enqueue<Data extends object>(tx: Tx, queue: Queue<Data>, data: Data): Promise<void>;
  /** Does the jobs of a queue from now on, one at a time; one that throws is tried again later. */
  work<Data>(queue: Queue<Data>, handle: (job: Job<Data>) => Promise<void>): void;
  /** Enqueues a job now and then, whatever number of processes asks for it; `cron` in UTC. */
  schedule<Data extends object>(queue: Queue<Data>, cron: string, data: Data): Promise<void>;
  /** Looks into the queue at once, rather than within two seconds. */
  nudge(queue: { readonly name: string }): void;
  health(tx: ReadTx): Promise<QueueHealth[]>;
  /** Waits for the jobs that are being done to come to a point where they can be left. */
  stop(): Promise<void>;
}

/** Opens the queues. Rejects when the database has none, or those of another version of pg-boss. */
export async function openJobs({ db, log }: { db: Database; log: Logger }): Promise<Jobs> {
  const boss = new PgBoss({
    schema: SCHEMA,
    migrate: false,
    maintenanceIntervalSeconds: MAINTENANCE_SECONDS,
    db: { executeSql: (text, values) => db.withTx('PLATFORM', (tx) => executed(tx, text, values)) },
  });
  boss.on('error', (err) => log.error({ err }, 'keeping the jobs failed; it is tried again'));
  await boss.start();
  const stopping = new AbortController();
  const running: Promise<void>[] = [];
  const waking = new Map<string, () => void>();

  return {
    async enqueue(tx, { name }, data) {
      await boss.send(name, data, { db: { executeSql: (text, values) => executed(tx, text, values) } });
    },
    work(queue, handle) {
      running.push(workOn(queue, handle));
    },
    schedule: (queue, cron, data) => boss.schedule(queue.name, cron, data),
    nudge: (queue) => waking.get(queue.name)?.(),
    health: healthOf,
    async stop() {
      stopping.abort();
      for (const wake of waking.values()) wake();
      await Promise.all(running);
      await boss.stop({ graceful: false });
    },
  };

  async function workOn<Data>(queue: Queue<Data>, handle: (job: Job<Data>) => Promise<void>) {
    while (!stopping.signal.aborted) {
      const resting = new AbortController();
      waking.set(queue.name, () => resting.abort());
      const [job] = await fetched(queue.name);
      if (job) await done(queue, job, handle);
      else await pause(POLL_MS, undefined, { signal: resting.signal }).catch(() => {});
    }
  }

  async function fetched(name: string) {
    // What fails here, pg-boss keeps to itself; the next look says more.
    return (await boss.fetch<object>(name, { includeMetadata: true })) ?? [];
  }

  async function done<Data>(
    queue: Queue<Data>,
    { id, data, retryCount, retryLimit }: PgBoss.JobWithMetadata,
    handle: (job: Job<Data>) => Promise<void>,
  ) {
    const beating = setInterval(() => {
      db.withTx('PLATFORM', (tx) => beat(tx, queue.name, id)).catch((err: unknown) =>
        log.warn({ err, queue: queue.name, job: id }, 'a job could not say that it is being done'),
      );
    }, HEARTBEAT_MS);
    try {
      const isLastAttempt = retryCount >= retryLimit;
      await handle({ data: queue.data.parse(data), isLastAttempt, signal: stopping.signal });
      await boss.complete(queue.name, id);
    } catch (err) {
      log.error({ err, queue: queue.name, job: id }, 'a job failed');
      // Neither can be said to the database: then the silence will tell.
      await boss.fail(queue.name, id, { message: String(err) }).catch(() => {});
    } finally {
      clearInterval(beating);
    }
  }
}

/** pg-boss counts from when a job was begun: saying that it still is begins it anew. */
async function beat(tx: Tx, name: string, id: string): Promise<void> {
  await tx.execute(
    sql`update pgboss.job set started_on = now() where name = ${name} and id = ${id} and state = 'active'`,
  );
}

async function healthOf(tx: ReadTx): Promise<QueueHealth[]> {
  const rows = await tx.execute<{ [Key in keyof QueueHealth]: QueueHealth[Key] }>(sql`
    select queue.name as queue,
      count(job.id) filter (where state < 'active')::int as waiting,
      count(job.id) filter (where state = 'active')::int as active,
      count(job.id) filter (where state = 'failed')::int as failed,
      count(job.id) filter (where state = 'completed')::int as completed,
      to_char(min(start_after) filter (where state < 'active' and start_after <= now()) at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "waitingSince"
    from pgboss.queue left join pgboss.job on job.name = queue.name
    where queue.name not like '\\_\\_%'
    group by queue.name order by queue.name`);
  return [...rows];
}

/** Runs a statement of pg-boss, or a script that is a transaction of its own, in this one. */
async function executed(tx: Tx, text: string, values: readonly unknown[] = []): Promise<{ rows: object[] }> {
  const [, script] = SCRIPT.exec(text) ?? [];
  const statements = script === undefined ? [text] : script.split(';').filter((each) => each.trim() !== '');
  let rows: object[] = [];
  for (const statement of statements) rows = [...(await tx.execute(withValues(statement, values)))];
  return { rows };
}

/** A statement that counts its parameters, `$1`, as Drizzle has it. */
function withValues(text: string, values: readonly unknown[]): SQL {
  const parts = text.split(/\$(\d+)/).map((part, at) => {
    return at % 2 === 0 ? sql.raw(part) : sql`${encoded(values[Number(part) - 1])}`;
  });
  return sql.join(parts);
}

function encoded(value: unknown): string | number | boolean | null {
  if (value === undefined || value === null) return null;
  if (value instanceof Date) return value.toISOString();
  // pg-boss gives lists of job ids only.
  if (Array.isArray(value)) return `{${value.join()}}`;
  return typeof value === 'object' ? JSON.stringify(value) : (value as string | number | boolean);
}
