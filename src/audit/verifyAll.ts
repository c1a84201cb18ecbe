/** Checks everything there is, as somebody who trusts neither the server nor who runs the database. */
import { asc, sql } from 'drizzle-orm';

import { openCheckpoint, parseVerifierKey, type VerifierKey } from '../ledger/checkpoint.ts';
import { LedgerFault } from '../ledger/walk.ts';
import type { Database, ReadTx } from '../platform/db.ts';
import { checkpointOf } from './checkpoints.ts';
import type { PersonalVault } from './personal.ts';
import { logName } from './signer.ts';
import { auditLedger, auditSealer, auditTrees } from './tables.ts';
import { openTiles, rootAt, sizeOfTree } from './trees.ts';
import { NIL, recordsAfter } from './unsealed.ts';
import { verifySpan } from './verify.ts';

const RECORDS_A_STEP = 2_000;

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
  readonly fault: LedgerFault | undefined;
}

/** Checks every log, one after the other, then what belongs to none. */
export async function* verifyAll({ db, key, kept = [], vault }: WholeOptions): AsyncGenerator<CheckedLog> {
  const { ledger, tenantIds } = await db.withReadTx('PLATFORM', async (tx) => ({
    ledger: (await tx.select().from(auditLedger))[0],
    tenantIds: (await tx.select().from(auditTrees).orderBy(asc(auditTrees.tenantId))).map(
      ({ tenantId }) => tenantId,
    ),
  }));
  if (!ledger) throw new Error('The database has no ledger yet: no server has begun it.');
  const { publicKey } = key ?? parseVerifierKey(ledger.verifierKey);
  for (const tenantId of tenantIds) {
    const name = logName(ledger.name, tenantId);
    const own = kept.filter((note) => note.startsWith(`${name}\n`));
    yield await found(name, () => verifyLog(db, { tenantId, key: { name, publicKey }, vault, kept: own }));
  }
  yield await found(`${ledger.name}, all logs together`, () => verifyOrder(db));
}

async function found(name: string, check: () => Promise<number>): Promise<CheckedLog> {
  try {
    return { name, records: await check(), fault: undefined };
  } catch (cause) {
    if (!(cause instanceof LedgerFault)) throw cause;
    return { name, records: cause.position, fault: cause };
  }
}

interface LogOptions {
  readonly tenantId: string;
  readonly key: VerifierKey;
  readonly vault: PersonalVault | undefined;
  readonly kept: readonly string[];
}

/** Checks one log to its newest checkpoint, and returns how many records that covers. */
async function verifyLog(db: Database, { tenantId, key, vault, kept }: LogOptions): Promise<number> {
  const read = <T>(work: (tx: ReadTx) => Promise<T>) =>
    db.withReadTx('PLATFORM', work, { deadlineMs: 60_000 });
  const end = await read(async (tx) => Number((await checkpointOf(tx, tenantId))?.size ?? 0));
  // Once more where there is nothing to walk: the tree may be shorter than its checkpoint.
  for (let from = 0; from < Math.max(end, 1); from += RECORDS_A_STEP) {
    await read((tx) =>
      verifySpan(tx, { tenantId, from, to: Math.min(from + RECORDS_A_STEP, end), key, vault }),
    );
  }
  for (const note of kept) await read((tx) => verifyKept(tx, tenantId, key, note));
  return end;
}

async function verifyKept(tx: ReadTx, tenantId: string, key: VerifierKey, note: string): Promise<void> {
  const { size, root } = openCheckpoint(note, key);
  const now = await sizeOfTree(tx, tenantId);
  if (now < size)
    throw new LedgerFault(
      'LOG_CUT',
      now,
      `The log has ${now} records, and the checkpoint that was kept is of ${size}.`,
    );
  if (!root.equals(await rootAt(openTiles(tx)(tenantId), size)))
    throw new LedgerFault(
      'RECORDS_REPLACED',
      0,
      `The log is not the one that the kept checkpoint of ${size} was signed for.`,
    );
}

/** Checks that no log is missing, and no record that should be in one. Returns how many records are sealed. */
async function verifyOrder(db: Database): Promise<number> {
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
  return Number(state.count);
}

/** Every record whose transaction was seen when the last batch was sealed is sealed. */
async function verifyNoneInserted(db: Database, sealed: string): Promise<void> {
  for (let id = NIL; ;) {
    const records = await db.withReadTx('PLATFORM', (tx) =>
      recordsAfter(tx, { sealed, target: sealed, tx: null, id }, RECORDS_A_STEP),
    );
    for (const record of records.filter(({ is_sealed: isSealed }) => !isSealed)) {
      const [row] = await db.withReadTx('PLATFORM', (tx) =>
        tx.execute<{ seen: boolean }>(
          sql`select pg_visible_in_snapshot(${record.tx}::xid8, ${sealed}::pg_snapshot) as seen`,
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
