/**
 * A month of a log as a Parquet file that proves itself: a row a position, from the first to the last that the month has anything of. A
 * record of the month is there as it is hashed, with its personal values as they are sealed; of a record of another month there is
 * only the hash. What is needed to get from there to a checkpoint is said at the end of the file.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { z } from 'zod';

import { monthOf } from '../audit/archived.ts';
import { checkpointOf } from '../audit/checkpoints.ts';
import { leafRecord } from '../audit/personal.ts';
import { sealedRecords } from '../audit/sealed.ts';
import { openTiles } from '../audit/trees.ts';
import { parseVerifierKey, printVerifierKey, type VerifierKey } from '../ledger/checkpoint.ts';
import { canonicalRecord, hashOfRecord } from '../ledger/leaf.ts';
import { completeSpans } from '../ledger/merkle.ts';
import { spanHashes } from '../ledger/tiles.ts';
import { LedgerFault, openWalk } from '../ledger/walk.ts';
import type { Database } from '../platform/db.ts';
import { type Columns, parquetFoot, parquetHead, parquetPart, type Row } from './parquet.ts';

const COLUMNS = {
  position: 'INT64',
  leafHash: 'BYTES',
  record: 'STRING',
  personal: 'BYTES',
} as const satisfies Columns;
const SAID = 'custos';
const PAGE = 1_000;
const DEADLINE_MS = 60_000;

const Hash = z.base64().transform((text) => Buffer.from(text, 'base64'));
const Said = z.object({
  format: z.literal('custos-archive@v1'),
  log: z.string(),
  verifierKey: z.string(),
  month: z.string(),
  from: z.int(),
  to: z.int(),
  /** The hashes of what is before and after, up to the checkpoint. */
  before: z.array(Hash),
  after: z.array(Hash),
  checkpoint: z.string(),
});

/** What is to be archived. */
export interface Month {
  readonly tenantId: string;
  /** Such as `2026-01`. */
  readonly month: string;
  readonly from: number;
  readonly to: number;
}

export interface WrittenMonth {
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly firstPosition: number | null;
  readonly lastPosition: number | null;
  readonly checkpoint: string;
}

/** Writes the file, a page at a time. Throws when a record of the month is not there, or no checkpoint covers them all. */
export async function writeMonth(
  db: Database,
  key: VerifierKey,
  { tenantId, month, from, to }: Month,
  path: string,
): Promise<WrittenMonth> {
  const file = await open(path, 'w');
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    let count = 0;
    const add = async (body: Buffer) => {
      hash.update(body);
      await file.write(body);
      bytes += body.length;
    };
    const footers: Buffer[] = [];
    const positions: number[] = [];
    await add(parquetHead());
    for (let at = from; at < to; at += PAGE) {
      const records = await reading(db, tenantId, (tx) =>
        sealedRecords(tx, tenantId, at, Math.min(at + PAGE, to)),
      );
      const rows = records.map(({ id, leaf, row }, index): Row => {
        const bare = { position: at + index, leafHash: leaf, record: null, personal: null };
        if (monthOf(id) !== month) return bare;
        if (!row) throw new LedgerFault('RECORD_MISSING', at + index, `The record ${id} is not there.`, id);
        const record = canonicalRecord(leafRecord(row));
        if (!hashOfRecord(record).equals(leaf))
          throw new LedgerFault('RECORD_ALTERED', at + index, `The record ${id} was altered.`, id);
        count++;
        positions[0] ??= at + index;
        positions[1] = at + index;
        return { ...bare, record, personal: row.pii };
      });
      const part = parquetPart(COLUMNS, rows, bytes);
      footers.push(part.footer);
      await add(part.body);
    }
    const { before, after, checkpoint } = await reading(db, tenantId, async (tx) => {
      const covering = await checkpointOf(tx, tenantId, BigInt(to));
      if (!covering) throw new Error(`No checkpoint covers the log of ${tenantId} up to ${to}.`);
      const hashes = async (first: number, end: number) =>
        (await spanHashes(completeSpans({ from: first, to: end }), openTiles(tx)(tenantId))).map((each) =>
          each.toString('base64'),
        );
      return {
        before: await hashes(0, from),
        after: await hashes(to, Number(covering.size)),
        checkpoint: covering.note,
      };
    });
    const said: z.input<typeof Said> = {
      format: 'custos-archive@v1',
      log: key.name,
      verifierKey: printVerifierKey(key),
      month,
      from,
      to,
      before,
      after,
      checkpoint,
    };
    await add(parquetFoot(COLUMNS, footers, bytes, { [SAID]: JSON.stringify(said) }));
    await file.sync();
    const [firstPosition = null, lastPosition = null] = positions;
    return { rows: count, bytes, sha256: hash.digest('hex'), firstPosition, lastPosition, checkpoint };
  } finally {
    await file.close();
  }
}

const reading: <T>(
  db: Database,
  tenantId: string,
  work: Parameters<typeof db.withReadTx<T>>[1],
) => Promise<T> = (db, tenantId, work) => db.withReadTx({ tenantId }, work, { deadlineMs: DEADLINE_MS });

/** What an archived month is said to be, once every record in it was checked. */
export interface CheckedMonth {
  readonly month: string;
  readonly log: string;
  readonly records: number;
  readonly key: VerifierKey;
}

/** Whether a file is an archived month. */
export async function isMonth(path: string): Promise<boolean> {
  return (await saidOf(path).catch(() => undefined)) !== undefined;
}

/** Checks an archived month with nothing at hand but the file and a key. Throws a LedgerFault for the first record that is wrong. */
export async function checkMonth(path: string, trusted?: VerifierKey): Promise<CheckedMonth> {
  const file = await asyncBufferFromFile(path);
  const said = await saidOf(path);
  if (!said) throw new Error(`${path} is not an archived month.`);
  const { from, to, before, after, month } = said;
  const key = trusted ?? parseVerifierKey(said.verifierKey);
  const walk = openWalk(key, from, before);
  let records = 0;
  for (let at = 0; at < to - from; at += PAGE) {
    const rows = await parquetReadObjects({
      file,
      rowStart: at,
      rowEnd: Math.min(at + PAGE, to - from),
      utf8: false,
    });
    for (const { position, leafHash, record } of rows as {
      position: bigint;
      leafHash: Uint8Array;
      record: unknown;
    }[]) {
      if (Number(position) !== walk.position)
        throw new LedgerFault(
          'ORDER_ALTERED',
          walk.position,
          `At ${walk.position} the file has ${position}.`,
        );
      const sealed = Buffer.from(leafHash);
      const text = typeof record === 'string' ? record : undefined;
      if (text !== undefined) records++;
      walk.record({ id: String(position), sealed, found: text === undefined ? sealed : hashOfRecord(text) });
    }
  }
  walk.close(said.checkpoint, after);
  return { month, log: said.log, records, key };
}

async function saidOf(path: string): Promise<z.output<typeof Said> | undefined> {
  const metadata = await parquetMetadataAsync(await asyncBufferFromFile(path));
  const text = metadata.key_value_metadata?.find(({ key }) => key === SAID)?.value;
  return text === undefined ? undefined : Said.parse(JSON.parse(text));
}
