/**
 * The sealer gives every committed record its place: `seq`, without gaps in its tenant, and `pos`, without gaps in all.
 * Writers only insert; neither do they wait for each other nor is there a counter among them. What is new is found as the
 * difference of two snapshots, so a transaction that stays open for long delays its own records and nobody else's.
 *
 * Every process runs a sealer. Whoever holds the lock of the one row of `audit_sealer` seals; that row, the seals, the sizes
 * and the numbers (audit/rollup.ts) change in one transaction, so a record is sealed exactly once whoever dies when.
 */
import { getTableColumns, sql } from 'drizzle-orm';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';

import type { Database, ReadTx, Tx } from '../platform/db.ts';
import { type EventBus, postgresBus } from '../platform/eventBus.ts';
import { type Clock, isoOf } from '../platform/ids.ts';
import { describe, spanned } from '../platform/tracing.ts';
import { countSealed } from './rollup.ts';
import { auditSealer } from './tables.ts';
import { type Found, NIL, type Place, recordsAfter } from './unsealed.ts';

/** Announced after each batch, with the next global position. */
export const SEALED_CHANNEL = 'custos_sealed';

export interface Sealer {
  progress(): Progress;
  /** Says that a record was committed just now: it is sealed within milliseconds instead of at the next look. */
  nudge(): void;
  /** Resolves when the batch under way is done. */
  stop(): Promise<void>;
}

/** How far sealing has come, as this process has seen it. */
export interface Progress {
  /** For how long there may have been a record without its place: at most the age of the oldest. Grows while nothing can be seen. */
  readonly lagMs: number;
  /** The next position in the whole log; undefined before the first look. */
  readonly pos: bigint | undefined;
}

export interface SealerOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Logger;
  /** Carries the news of each batch: the next global position. By default Postgres does. */
  readonly bus?: EventBus | undefined;
  /** Most records sealed in one transaction. */
  readonly batchMax?: number;
}

const BATCH_MAX = 5_000;
/** Between two looks, however often it is nudged: what comes in meanwhile shares a batch. */
const GAP_MS = 25;
/** Between two looks of the process that seals; the others look every 50 to 250 ms. */
const POLL_MS = 50;
const POLL_MS_SPREAD = 200;
/** Until the next look when another process was sealing: it may have begun before our record was there. */
const ELSEWHERE_MS_SPREAD = 20;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 1_000;
/** A sealer that is cut off with the lock in hand loses it after so long, and another takes over. */
const BOUNDED = sql`select set_config('idle_in_transaction_session_timeout', '1000', true)`;
/** A batch that cannot be done is tried at half the size, down to this part of it. */
const HALVINGS_MAX = 12;

/** Starts sealing. Errors are logged and tried again; nothing is lost by them. */
export function openSealer({
  db,
  clock,
  log,
  bus = postgresBus(db, SEALED_CHANNEL),
  batchMax = BATCH_MAX,
}: SealerOptions): Sealer {
  const stopping = new AbortController();
  let woken = new AbortController();
  let nudged = false;
  /** The position after our last batch: while nobody else moves it, sealing is ours. */
  let ours: bigint | undefined;
  /** When everything that could be seen was sealed, and how far that was. */
  let doneAt = performance.now();
  let pos: bigint | undefined;
  const running = run();
  return {
    progress: () => ({ lagMs: performance.now() - doneAt, pos }),
    nudge() {
      nudged = true;
      woken.abort();
    },
    async stop() {
      stopping.abort();
      woken.abort();
      await running;
    },
  };

  async function run() {
    for (let failures = 0; !stopping.signal.aborted;) {
      try {
        const free = await look(Math.ceil(batchMax / 2 ** Math.min(failures, HALVINGS_MAX)));
        failures = 0;
        await rest(GAP_MS, stopping.signal);
        woken = new AbortController();
        if (nudged || stopping.signal.aborted) continue;
        if (!free) await rest(Math.random() * ELSEWHERE_MS_SPREAD, woken.signal);
        else await rest(POLL_MS + (ours === undefined ? Math.random() * POLL_MS_SPREAD : 0), woken.signal);
      } catch (error) {
        log.error({ err: error }, 'Sealing the log failed; it is tried again.');
        await rest(Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MS_MAX), stopping.signal);
      }
    }
  }

  /** Seals what there is. False when another process is at it. */
  async function look(max: number): Promise<boolean> {
    const sure = nudged;
    nudged = false;
    const lookedAt = performance.now();
    // A look writes nothing, not even a lock, so an idle database stays idle and no transaction ids are used up.
    if (!sure && !(await db.withReadTx('PLATFORM', isWaiting))) {
      doneAt = lookedAt;
      return true;
    }
    for (;;) {
      const batch = await spanned('seal batch', {}, () => nextBatch(max));
      pos = batch?.pos ?? pos;
      if (batch && !batch.more) doneAt = lookedAt;
      if (batch?.sealed) ours = batch.pos;
      else if (batch?.pos !== ours) ours = undefined;
      if (batch?.foreign)
        log.warn('The database is a copy from another cluster: the whole log is looked through once.');
      if (!batch?.more || stopping.signal.aborted) return batch !== undefined;
    }
  }

  async function nextBatch(max: number): Promise<Batch | undefined> {
    const batch = await db.withTx('PLATFORM', (tx) => sealBatch(tx, bus, isoOf(clock.now()), max));
    if (batch?.sealed) bus.committed(String(batch.pos));
    describe({ 'custos.sealed': batch?.sealed ?? 0 });
    return batch;
  }

  async function isWaiting(tx: ReadTx): Promise<boolean> {
    const [[state], snapshot] = await Promise.all([stateIn(tx), snapshotOf(tx)]);
    pos = state!.pos;
    if (state!.pos !== ours) ours = undefined;
    if (state!.foreign || state!.target !== null) return true;
    return (await recordsAfter(tx, placeOf(state!, snapshot), 1)).length > 0;
  }
}

interface Batch {
  readonly sealed: number;
  /** The next position. */
  readonly pos: bigint;
  readonly more: boolean;
  /** The database turned out to be a copy. */
  readonly foreign: boolean;
}

/** Seals the next batch; undefined while another process does. */
async function sealBatch(
  tx: Tx,
  bus: Pick<EventBus, 'announce'>,
  now: string,
  max: number,
): Promise<Batch | undefined> {
  const [[state]] = await Promise.all([stateIn(tx).for('update', { skipLocked: true }), tx.execute(BOUNDED)]);
  if (!state) return undefined;
  // Taken with the lock in hand: an older snapshot could lie before `sealed`, and its records would be sealed again.
  const place = placeOf(state, await snapshotOf(tx));
  const records = await recordsAfter(tx, place, max);
  const last = records.at(-1);
  const unsealed = records.filter((record) => !record.is_sealed);
  const pos = state.pos + BigInt(unsealed.length);
  const more = records.length === max;

  if (!last && state.target === null && !state.foreign)
    return { sealed: 0, pos, more: false, foreign: false };
  if (unsealed.length > 0) {
    await append(tx, unsealed, state.pos, now);
    await countSealed(tx, unsealed);
  }
  await tx.update(auditSealer).set({
    pos,
    systemIdentifier: THIS_CLUSTER,
    ...(more
      ? { target: place.target, targetTx: place.tx === null ? null : last!.tx, targetId: last!.id }
      : { sealed: place.target, target: null, targetTx: null, targetId: null }),
  });
  if (unsealed.length > 0) await bus.announce(tx, String(pos));
  return { sealed: unsealed.length, pos, more, foreign: state.foreign };
}

const THIS_CLUSTER = sql<bigint>`(select system_identifier from pg_control_system())`;

function stateIn(tx: ReadTx) {
  const foreign = sql<boolean>`${auditSealer.systemIdentifier} <> ${THIS_CLUSTER}`;
  return tx.select({ ...getTableColumns(auditSealer), foreign }).from(auditSealer);
}

async function snapshotOf(tx: ReadTx): Promise<string> {
  const [row] = await tx.execute<{ snapshot: string }>(sql`select pg_current_snapshot() as snapshot`);
  return row!.snapshot;
}

type State = Awaited<ReturnType<typeof stateIn>>[number];

function placeOf({ sealed, target, targetTx, targetId, foreign }: State, snapshot: string): Place {
  // Transaction ids of another cluster say nothing here: no record's is compared until all have been looked up.
  if (foreign) return { sealed, target: snapshot, tx: null, id: NIL };
  if (target === null) return { sealed, target: snapshot, tx: '0', id: NIL };
  return { sealed, target, tx: targetTx, id: targetId! };
}

/** Appends the records, each tenant's in one run of positions, tenants in the order of their first record. */
async function append(tx: Tx, records: readonly Found[], pos: bigint, now: string): Promise<void> {
  const tenants = new Map<string, Found[]>();
  for (const record of records) {
    const own = tenants.get(record.tenant_id);
    if (own) own.push(record);
    else tenants.set(record.tenant_id, [record]);
  }
  let ahead = pos;
  const runs = [...tenants].map(([tenant_id, own]) => {
    const sorted = own.map(({ id }) => id).sort();
    const first_pos = String(ahead);
    ahead += BigInt(own.length);
    return {
      tenant_id,
      first_pos,
      count: own.length,
      min_id: sorted[0],
      max_id: sorted.at(-1),
      ids: own.map(({ id }) => id.replaceAll('-', '')).join(''),
      leaves: own.map(({ leaf }) => leaf).join(''),
    };
  });
  // One parameter whatever the number of tenants: each text of a statement is prepared for good.
  await tx.execute(sql`
    with run as (
      select * from json_to_recordset(${JSON.stringify(runs)}::json) as
        run (tenant_id uuid, first_pos bigint, count integer, min_id uuid, max_id uuid, ids text, leaves text)
    ), tree as (
      insert into audit_trees as tree (tenant_id, size) select tenant_id, count from run
      on conflict (tenant_id) do update set size = tree.size + excluded.size
      returning tree.tenant_id, tree.size
    )
    insert into audit_seals (tenant_id, first_seq, first_pos, count, min_id, max_id, ids, leaves, sealed_at)
    select tenant_id, size - count, first_pos, count, min_id, max_id, decode(ids, 'hex'), decode(leaves, 'hex'),
      ${now}::timestamptz
    from run join tree using (tenant_id)`);
}

/** Passes the time; the signal ends it early. */
async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => {});
}
