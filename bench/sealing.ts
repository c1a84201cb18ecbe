import { setTimeout as pause } from 'node:timers/promises';

import { SEALED_CHANNEL } from '../src/audit/seal.ts';
import { sql } from 'drizzle-orm';

import { type Database, openDatabase } from '../src/platform/db.ts';
import { idAt, openClock } from '../src/platform/ids.ts';
import { INSERT_RAW, rawRecord } from '../test/world/rawRecord.ts';
import type { Served } from './served.ts';
import { median, quantile } from './statistics.ts';

const CLOCK = openClock();
const TICK_MS = 10;
const SETTLE_MS = 10_000;

/** Records committed at a rate, and how long each then waited for its place. */
export interface Sealing {
  readonly wantedPerSecond: number;
  readonly committedPerSecond: number;
  /** From the answer to the commit until a process hears that the record is sealed. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the last commit until everything was sealed. */
  readonly restMs: number;
}

/**
 * Writes records as they are, without mutations, which are slower than sealing is; the server seals them, with their numbers,
 * and signs. `transactionsPerSecond` is how they come: each transaction is a commit.
 */
export async function sealingLag(
  { databaseUrl, audited: { tenantId } }: Served,
  {
    perSecond,
    transactionsPerSecond,
    seconds,
  }: { perSecond: number; transactionsPerSecond: number; seconds: number },
): Promise<Sealing> {
  const db = openDatabase({ url: databaseUrl, max: 8 });
  const heard: { readonly at: number; readonly pos: bigint }[] = [];
  const ended = await db.listen(
    SEALED_CHANNEL,
    (pos) => heard.push({ at: performance.now(), pos: BigInt(pos) }),
    () => {},
  );
  try {
    await pause(200);
    const from = await sealedTo(db);
    const committedAt = new Map<string, number>();
    const writing: Promise<void>[] = [];
    const each = Math.round(perSecond / transactionsPerSecond);
    const batches = Array.from({ length: transactionsPerSecond * seconds }, () => batchOf(tenantId, each));
    const begin = performance.now();
    for (let due = 0; performance.now() - begin < seconds * 1_000; await pause(TICK_MS)) {
      const owed = Math.floor(((performance.now() - begin) / 1_000) * transactionsPerSecond) - due;
      due += owed;
      for (const batch of batches.splice(0, owed)) writing.push(write(db, batch, committedAt));
      await Promise.all(writing.splice(0));
    }
    const last = performance.now();
    const to = from + BigInt(committedAt.size);
    while ((heard.at(-1)?.pos ?? 0n) < to && performance.now() - last < SETTLE_MS) await pause(TICK_MS);
    const lags = await lagsOf(db, from, committedAt, heard);
    return {
      wantedPerSecond: perSecond,
      committedPerSecond: (committedAt.size / (last - begin)) * 1_000,
      p50Ms: median(lags),
      p99Ms: quantile(lags, 0.99),
      restMs: Math.max(heard.at(-1)!.at - last, 0),
    };
  } finally {
    await ended();
    await db.stop();
  }
}

interface Batch {
  readonly ids: readonly string[];
  /** The rows, as JSON: making them is not what is measured. */
  readonly rows: string;
}

function batchOf(tenantId: string, count: number): Batch {
  const ids = Array.from({ length: count }, () => idAt(CLOCK.now()));
  return { ids, rows: JSON.stringify(ids.map((id) => rawRecord({ tenantId, id }))) };
}

async function write(db: Database, { ids, rows }: Batch, committedAt: Map<string, number>): Promise<void> {
  await db.withTx('PLATFORM', (tx) => tx.execute(sql`${sql.raw(INSERT_RAW)} ${rows}::text::json)`));
  const now = performance.now();
  for (const id of ids) committedAt.set(id, now);
}

async function sealedTo(db: Database): Promise<bigint> {
  const [row] = await db.withReadTx('PLATFORM', (tx) =>
    tx.execute<{ pos: string }>('select pos from audit_sealer'),
  );
  return BigInt(row!.pos);
}

async function lagsOf(
  db: Database,
  from: bigint,
  committedAt: ReadonlyMap<string, number>,
  heard: readonly { readonly at: number; readonly pos: bigint }[],
): Promise<number[]> {
  const places = await db.withReadTx(
    'PLATFORM',
    (tx) =>
      tx.execute<{ id: string; pos: string }>(
        `select encode(substring(ids from place * 16 + 1 for 16), 'hex')::uuid as id, first_pos + place as pos
         from audit_seals cross join lateral generate_series(0, count - 1) as place
         where first_pos >= ${from} order by pos`,
      ),
    { deadlineMs: 60_000 },
  );
  let at = 0;
  return places.flatMap(({ id, pos }) => {
    while (at < heard.length - 1 && heard[at]!.pos <= BigInt(pos)) at++;
    const committed = committedAt.get(id);
    return committed === undefined ? [] : [Math.max(heard[at]!.at - committed, 0)];
  });
}
