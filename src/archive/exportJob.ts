/**
 * Writes the files of exports: goes through the sealed log in steps, each of which adds a part to the file and says how far it has
 * come in one transaction. Whoever goes on after a death finds the two in step, and of two at work the second adds nothing.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { and, eq, lte } from 'drizzle-orm';
import { z } from 'zod';

import type { Services } from '../audit/act.ts';
import { checkpointOf } from '../audit/checkpoints.ts';
import { personalOf } from '../audit/query.ts';
import type { Recorder } from '../audit/record.ts';
import { type ShownRecord, shownRecord } from '../audit/shown.ts';
import { eventsAt, placesFrom } from '../feed/order.ts';
import { printVerifierKey } from '../ledger/checkpoint.ts';
import { manifestText } from '../ledger/manifest.ts';
import type { Database, Tx } from '../platform/db.ts';
import { isoOf } from '../platform/ids.ts';
import type { Job, Queue } from '../platform/jobs.ts';
import { exportKey, fileOf, footersOf, type NewPart, sealedPart } from './exportFile.ts';
import { FILE_FORMATS } from './fileFormats.ts';
import { type AuditExportRow, auditExportParts, auditExports } from './tables.ts';

/** Places looked at for one part, and in one transaction. A part also ends when it is this long. */
const PART_PLACES = 2_000n;
const PAGE = 250;
const PART_BYTES_MAX = 4 * 1024 * 1024;
const SIGNED_WITHIN_MS = 250;
const HOURLY = '7 * * * *';

interface ExportJob {
  readonly tenantId: string;
  readonly exportId: string;
}

export const EXPORTS: Queue<ExportJob> = {
  name: 'audit-export',
  data: z.object({ tenantId: z.string(), exportId: z.string() }),
};

const EXPIRY: Queue<object> = { name: 'audit-export-expiry', data: z.object({}) };

/** Writes files from now on, and deletes those whose time is over. */
export async function openExports({ db, services }: Pick<Recorder, 'db' | 'services'>): Promise<void> {
  const { jobs } = services;
  jobs.work(EXPORTS, (job) => write(db, services, job));
  jobs.work(EXPIRY, () => deleteExpired(db, services));
  await jobs.schedule(EXPIRY, HOURLY, {});
}

async function write(db: Database, services: Services, job: Job<ExportJob>): Promise<void> {
  const { tenantId, exportId } = job.data;
  const here = and(eq(auditExports.tenantId, tenantId), eq(auditExports.id, exportId));
  try {
    for (;;) {
      const [row] = await db.withReadTx({ tenantId }, (tx) => tx.select().from(auditExports).where(here));
      if (!row || row.state === 'DONE' || row.state === 'FAILED') return;
      if (job.signal.aborted) {
        // Another process, or this one when it has started again, goes on at once.
        return await db.withTx('PLATFORM', (tx) => services.jobs.enqueue(tx, EXPORTS, job.data));
      }
      if (row.nextSeq < row.endSeq) await writePart(db, services, row);
      // The signed head that covers the log comes within half a second of the seal.
      else if (!(await finish(db, services, row))) await pause(SIGNED_WITHIN_MS);
    }
  } catch (cause) {
    if (job.isLastAttempt) {
      const error = 'The file could not be written after several attempts; the server’s log says why.';
      await db.withTx({ tenantId }, (tx) =>
        tx
          .update(auditExports)
          .set({ state: 'FAILED', error, finishedAt: isoOf(services.clock.now()) })
          .where(here),
      );
    }
    throw cause;
  }
}

async function writePart(db: Database, services: Services, row: AuditExportRow): Promise<void> {
  const { endSeq } = row;
  const format = FILE_FORMATS[row.format];
  const { count } = await footersOf(db, row);
  const records: ShownRecord[] = [];
  let next = row.nextSeq;
  let weight = 0;
  const until = next + PART_PLACES < endSeq ? next + PART_PLACES : endSeq;
  while (next < until && weight < PART_BYTES_MAX) {
    const found = await recordsFrom(db, services, row, next, Number(until - next));
    next = found.next;
    records.push(...found.records);
    weight += found.records.reduce((sum, record) => sum + JSON.stringify(record).length, 0);
  }

  const head = count === 0 ? format.head() : Buffer.alloc(0);
  const part = records.length > 0 ? format.part(records, Number(row.bytes) + head.length) : undefined;
  const body = Buffer.concat([head, part?.body ?? Buffer.alloc(0)]);
  const add = await adding(services, row, { number: count, body, footer: part?.footer ?? null });
  await advance(db, row, {
    nextSeq: next,
    state: 'RUNNING',
    rows: row.rows + BigInt(records.length),
    bytes: row.bytes + BigInt(body.length),
    firstPosition: row.firstPosition ?? positionOf(records[0]),
    lastPosition: positionOf(records.at(-1)) ?? row.lastPosition,
    add,
  });
}

async function recordsFrom(
  db: Database,
  services: Services,
  { tenantId, condition }: AuditExportRow,
  from: bigint,
  atMost: number,
) {
  return await db.withReadTx({ tenantId }, async (tx) => {
    const places = await placesFrom(tx, tenantId, from, Math.min(PAGE, atMost));
    if (places.length === 0) throw new Error(`The sealed log of ${tenantId} ends before ${from}.`);
    const events = await eventsAt(tx, places, condition);
    const there = events.flatMap(({ seq, row }) => (row ? [{ seq, row }] : []));
    const personal = await personalOf(
      { tx, services },
      there.map(({ row }) => row),
    );
    const records = there.map(({ seq, row }, at) => shownRecord(row, seq, personal[at]!));
    return { records, next: places.at(-1)!.seq + 1n };
  });
}

/** Adds the end of the file and signs what it is; false while no signed head covers the log up to there. */
async function finish(db: Database, services: Services, row: AuditExportRow): Promise<boolean> {
  const { tenantId, rows, endSeq } = row;
  const covering = await db.withReadTx({ tenantId }, (tx) => checkpointOf(tx, tenantId, endSeq));
  if (endSeq > 0n && !covering) return false;
  const format = FILE_FORMATS[row.format];
  const { count, footers } = await footersOf(db, row);
  const head = count === 0 ? format.head() : Buffer.alloc(0);
  const ending = Buffer.concat([head, format.foot(footers, Number(row.bytes) + head.length)]);
  const bytes = row.bytes + BigInt(ending.length);
  const hash = createHash('sha256');
  for await (const part of fileOf(db, exportKey(services), row)) hash.update(part);
  const key = services.signer.key(tenantId);
  const manifest = manifestText({
    log: key.name,
    verifierKey: printVerifierKey(key),
    format: row.format,
    filter: row.filter,
    from: 0,
    to: Number(endSeq),
    rows: Number(rows),
    bytes: Number(bytes),
    sha256: hash.update(ending).digest('hex'),
    firstPosition: row.firstPosition === null ? null : Number(row.firstPosition),
    lastPosition: row.lastPosition === null ? null : Number(row.lastPosition),
    checkpoint: covering?.note ?? null,
  });
  const add = await adding(services, row, { number: count, body: ending, footer: null });
  await advance(db, row, {
    state: 'DONE',
    bytes,
    manifest: services.signer.signNote(tenantId, manifest),
    finishedAt: isoOf(services.clock.now()),
    add,
  });
  return true;
}

/** What adds the part to the file, made ready; undefined for an empty one. */
async function adding(services: Services, row: AuditExportRow, part: NewPart) {
  if (part.body.length === 0) return undefined;
  const sealed = await sealedPart(exportKey(services), row, part);
  return async (tx: Tx) => {
    await tx.insert(auditExportParts).values(sealed);
  };
}

type Advance = Partial<AuditExportRow> & {
  readonly add: ((tx: Tx) => Promise<void>) | undefined;
};

/** Says how far an export has come, unless somebody else has brought it further meanwhile. */
async function advance(db: Database, row: AuditExportRow, { add, ...changes }: Advance): Promise<void> {
  const { tenantId, id, nextSeq, state } = row;
  const here = and(eq(auditExports.tenantId, tenantId), eq(auditExports.id, id));
  const unmoved = and(here, eq(auditExports.nextSeq, nextSeq), eq(auditExports.state, state));
  await db.withTx({ tenantId }, async (tx) => {
    const moved = await tx
      .update(auditExports)
      .set(changes)
      .where(unmoved)
      .returning({ id: auditExports.id });
    if (moved.length > 0) await add?.(tx);
  });
}

async function deleteExpired(db: Database, { clock }: Services): Promise<void> {
  await db.withTx('PLATFORM', async (tx) => {
    const gone = await tx
      .delete(auditExports)
      .where(lte(auditExports.expiresAt, isoOf(clock.now())))
      .returning({ tenantId: auditExports.tenantId, id: auditExports.id });
    for (const { tenantId, id } of gone) {
      await tx
        .delete(auditExportParts)
        .where(and(eq(auditExportParts.tenantId, tenantId), eq(auditExportParts.exportId, id)));
    }
  });
}

function positionOf(record: ShownRecord | undefined): bigint | null {
  return record ? BigInt(record.position!) : null;
}
