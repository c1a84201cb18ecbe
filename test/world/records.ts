import { sql } from 'drizzle-orm';
import type postgres from 'postgres';

import type { Database, Tx } from '../../src/platform/db.ts';
import { idAt, openClock } from '../../src/platform/ids.ts';
import { INSERT_RAW, rawRecord } from './rawRecord.ts';

const clock = openClock();

/** What of a record a test cares about. */
export interface RecordFacts {
  readonly tenantId: string;
  /** The key, `auth.login` unless told. */
  readonly action?: string;
  /** A new one of this moment unless told. */
  readonly id?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Writes raw records in that transaction and returns their ids. Nothing of them is meaningful but what is told. */
export async function writeRecords(tx: Tx, records: readonly RecordFacts[]): Promise<string[]> {
  const ids = records.map(({ id }) => id ?? idAt(clock.now()));
  const written = records.map(({ tenantId, action = 'auth.login', details = {} }, at) =>
    rawRecord({ tenantId, id: ids[at]!, action, details, actor: { type: 'SYSTEM' } }),
  );
  await tx.execute(sql`${sql.raw(INSERT_RAW)} ${JSON.stringify(written)}::text::json)`);
  return ids;
}

/** Writes raw records in one platform transaction. */
export function record(db: Database, ...records: readonly RecordFacts[]): Promise<string[]> {
  return db.withTx('PLATFORM', (tx) => writeRecords(tx, records), { deadlineMs: 30_000 });
}

/** A record's place in the sealed order. */
export interface Sealed {
  readonly tenantId: string;
  readonly id: string;
  readonly seq: number;
  readonly pos: number;
  /** Which of the seals holds it, counted from 0. */
  readonly seal: number;
}

/** Every place that is given, by position. */
export async function sealedRecords(admin: postgres.Sql): Promise<Sealed[]> {
  const seals = await admin`
    select tenant_id, first_seq, first_pos, count, encode(ids, 'hex') as ids from audit_seals order by first_pos, first_seq`;
  return seals.flatMap(({ tenant_id, first_seq, first_pos, ids }, seal) =>
    ((ids as string).match(/.{32}/g) ?? []).map((hex, at) => ({
      tenantId: tenant_id as string,
      id: hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
      seq: Number(first_seq) + at,
      pos: Number(first_pos) + at,
      seal,
    })),
  );
}
