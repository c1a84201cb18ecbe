/** Checks everything there is, as somebody who trusts neither the server nor who runs the database. */
import { sql } from 'drizzle-orm';

import { openCheckpoint, parseVerifierKey, type VerifierKey } from '../ledger/checkpoint.ts';
import { LedgerFault } from '../ledger/walk.ts';
import type { Database, ReadTx } from '../platform/db.ts';
import { checkpointOf } from './checkpoints.ts';
import type { PersonalVault } from './personal.ts';
import { logName } from './signer.ts';
import { auditLedger, auditSealer } from './tables.ts';
import { sizeOfTree } from './trees.ts';
import { NIL, recordsAfter } from './unsealed.ts';
import { verifySpan, verifyUnsigned } from './verify.ts';

const RECORDS_A_STEP = 2_000;
const DEADLINE_MS = 60_000;

export interface WholeOptions {
  readonly db: Database;
  /** What the checkpoints must be signed with; by default the key that the database itself names. */
  readonly key?: VerifierKey | undefined;
  /** Notes that were kept elsewhere: the log must still be what they say. */
  readonly kept?: readonly string[];
  /** Given, personal values are checked too, as far as their keys exist. */
  readonly vault?: PersonalVault | undefined;
}

/** A log that was checked, and what is wrong with it. */
export interface CheckedLog {
  readonly name: string;
  readonly records: number;
  /** How many of them no checkpoint covers: those of the last half second, unless checkpoints were removed. */
  readonly unsigned: number;
  readonly fault: LedgerFault | undefined;
}

/** Checks every log, one after the other, then what belongs to none. Rejects for a kept note of a log that is not there. */
export async function* verifyAll({ db, key, kept = [], vault }: WholeOptions): AsyncGenerator<CheckedLog> {
  const { ledger, tenantIds } = await reading(db, async (tx) => ({
    ledger: (await tx.select().from(auditLedger))[0],
    tenantIds: await logsIn(tx),
  }));
  if (!ledger) throw new Error('The database has no ledger yet: no server has begun it.');
  const { publicKey } = key ?? parseVerifierKey(ledger.verifierKey);
  const names = tenantIds.map((tenantId) => logName(ledger.name, tenantId));
  const isOf = (name: string) => (note: string) => note.startsWith(`${name}\n`);
  const stray = kept.find((note) => !names.some((name) => isOf(name)(note)));
  if (stray !== undefined)
    throw new Error(
      `A kept checkpoint is of no log in this database: it begins ${JSON.stringify(stray.slice(0, 80))}.`,
    );
  for (const [at, tenantId] of tenantIds.entries()) {
    const name = names[at]!;
    const log = { tenantId, key: { name, publicKey }, vault, kept: kept.filter(isOf(name)) };
    yield await found(name, () => verifyLog(db, log));
  }
  yield await found(`${ledger.name}, all logs together`, () => verifyOrder(db));
}

type Counts = Pick<CheckedLog, 'records' | 'unsigned'>;

async function found(name: string, check: () => Promise<Counts>): Promise<CheckedLog> {
  try {
    return { name, ...(await check()), fault: undefined };
  } catch (cause) {
    if (!(cause instanceof LedgerFault)) throw cause;
    return { name, records: cause.position, unsigned: 0, fault: cause };
  }
}

function reading<T>(db: Database, work: (tx: ReadTx) => Promise<T>): Promise<T> {
  return db.withReadTx('PLATFORM', work, { deadlineMs: DEADLINE_MS });
}

/** Every tenant that has anything of a log, whatever was taken away of it. */
async function logsIn(tx: ReadTx): Promise<string[]> {
  const rows = await tx.execute<{ tenant_id: string }>(sql`
    select tenant_id from audit_trees union select tenant_id from audit_seals
    union select tenant_id from audit_checkpoints union select tenant_id from audit_logs order by tenant_id`);
  return rows.map((row) => row.tenant_id);
}

interface LogOptions {
  readonly tenantId: string;
  readonly key: VerifierKey;
  readonly vault: PersonalVault | undefined;
  readonly kept: readonly string[];
}

/** Checks one log: against its own checkpoints, what they do not cover yet, and against those that were kept. */
async function verifyLog(db: Database, { kept, ...log }: LogOptions): Promise<Counts> {
  const { tenantId } = log;
  const { size, sealed, signed } = await reading(db, async (tx) => ({
    size: await sizeOfTree(tx, tenantId),
    sealed: await sealedSize(tx, tenantId),
    signed: Number((await checkpointOf(tx, tenantId))?.size ?? 0),
  }));
  if (size !== sealed) {
    const message = `The order of the log has ${sealed} records, and its tree ${size}.`;
    throw new LedgerFault('ORDER_ALTERED', Math.min(size, sealed), message);
  }
  await inSteps(0, signed, (from, to) => reading(db, (tx) => verifySpan(tx, { ...log, from, to })));
  await inSteps(signed, size, (from, to) => reading(db, (tx) => verifyUnsigned(tx, { ...log, from, to })));
  for (const note of kept) {
    const head = { note, size: openCheckpoint(note, log.key).size };
    await inSteps(0, head.size, (from, to) =>
      reading(db, (tx) => verifySpan(tx, { ...log, from, to, kept: head })),
    );
  }
  return { records: size, unsigned: Math.max(size - signed, 0) };
}

/** At least once: what is shorter than it should be has no records to walk. */
async function inSteps(
  from: number,
  to: number,
  step: (from: number, to: number) => Promise<unknown>,
): Promise<void> {
  for (let at = from; at === from || at < to; at += RECORDS_A_STEP)
    await step(at, Math.min(at + RECORDS_A_STEP, to));
}

async function sealedSize(tx: ReadTx, tenantId: string): Promise<number> {
  const [row] = await tx.execute<{ size: string }>(sql`
    select coalesce(max(first_seq + count), 0) as size from audit_seals where tenant_id = ${tenantId}`);
  return Number(row!.size);
}

/** Checks that no log is missing, and no record that should be in one. Returns how many records are sealed. */
async function verifyOrder(db: Database): Promise<Counts> {
  const state = await db.withReadTx('PLATFORM', async (tx) => {
    const [sealer] = await tx.select().from(auditSealer);
    const [sum] = await tx.execute<{ next: string; count: string; here: boolean }>(sql`
      select coalesce(max(first_pos + count), 0) as next, coalesce(sum(count), 0) as count,
        (select system_identifier from pg_control_system()) = ${sealer!.systemIdentifier} as here from audit_seals`);
    return {
      pos: sealer!.pos,
      sealed: sealer!.sealed,
      next: BigInt(sum!.next),
      count: BigInt(sum!.count),
      here: sum!.here,
    };
  });
  if (state.count !== state.pos || state.next !== state.pos) {
    throw new LedgerFault(
      'LOG_CUT',
      Number(state.count),
      `${state.pos} records were sealed, and ${state.count} have a place.`,
    );
  }
  // The transaction ids of a copy say nothing here: its sealer has yet to look through all records.
  if (state.here) await verifyNoneInserted(db, state.sealed);
  return { records: Number(state.count), unsigned: 0 };
}

/** Every record whose transaction was seen when the last batch was sealed is sealed; none is of a transaction to come. */
async function verifyNoneInserted(db: Database, sealed: string): Promise<void> {
  for (let id = NIL; ;) {
    const records = await db.withReadTx('PLATFORM', (tx) =>
      recordsAfter(tx, { sealed, target: sealed, tx: null, id }, RECORDS_A_STEP),
    );
    for (const record of records.filter(({ is_sealed: isSealed }) => !isSealed)) {
      const [row] = await db.withReadTx('PLATFORM', (tx) =>
        tx.execute<{ seen: boolean }>(
          sql`select pg_visible_in_snapshot(${record.tx}::xid8, ${sealed}::pg_snapshot)
            or ${record.tx}::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) as seen`,
        ),
      );
      if (row!.seen) {
        const message = `The record ${record.id} of ${record.tenant_id} was never sealed, though all of its time is.`;
        throw new LedgerFault('RECORD_INSERTED', 0, message, record.id);
      }
    }
    if (records.length < RECORDS_A_STEP) return;
    id = records.at(-1)!.id;
  }
}
