/**
 * A log as a file that proves itself: NDJSON, a line a record with the hash it was sealed with, and the checkpoints where they
 * fall. ledger/exportFile.ts reads it, and says what the lines are.
 */
import type { Database } from '../platform/db.ts';
import type { ExportedRecord, ExportHeader, ExportLine } from '../ledger/exportFile.ts';
import { printVerifierKey } from '../ledger/checkpoint.ts';
import { canonicalRecord } from '../ledger/leaf.ts';
import { completeSpans } from '../ledger/merkle.ts';
import { spanHashes } from '../ledger/tiles.ts';
import { checkpointNotes, checkpointOf } from './checkpoints.ts';
import { leafRecord, type PersonalVault } from './personal.ts';
import { sealedRecords } from './sealed.ts';
import type { Signer } from './signer.ts';
import { openTiles } from './trees.ts';

const PAGE = 500;

export interface ExportOptions {
  readonly db: Database;
  readonly vault: PersonalVault;
  readonly signer: Signer;
  readonly tenantId: string;
  /** The first position. */
  readonly from: number;
  /** The first position that is not in it any more; at most the size of the newest checkpoint. */
  readonly to: number;
}

/** The lines of the file, with their line breaks. Reads a page at a time: what is sealed does not change meanwhile. */
export async function* exportedLines({ db, vault, signer, tenantId, from, to }: ExportOptions) {
  const key = signer.key(tenantId);
  const hashes = (first: number, end: number) =>
    db.withReadTx({ tenantId }, async (tx) => {
      const spans = completeSpans({ from: first, to: end });
      return (await spanHashes(spans, openTiles(tx)(tenantId))).map(base64);
    });

  yield line({
    format: 'custos-audit-log@v1',
    log: key.name,
    verifierKey: printVerifierKey(key),
    from,
    before: await hashes(0, from),
  });
  for (let at = from; at < to; at += PAGE) {
    const end = Math.min(at + PAGE, to);
    yield await db.withReadTx({ tenantId }, async (tx) => {
      const records = await sealedRecords(tx, tenantId, at, end);
      const notes = await checkpointNotes(tx, tenantId, at, end);
      const keys = await vault.keys(
        tx,
        records.flatMap(({ row }) => row ?? []),
      );
      const lines = records.map(({ leaf, row }, index) => {
        const position = at + index;
        const leafHash = base64(leaf);
        const note = notes.get(position + 1);
        const checkpoint = note === undefined ? '' : line({ checkpoint: note });
        if (!row) return line({ position, leafHash }) + checkpoint;
        const record = JSON.parse(canonicalRecord(leafRecord(row))) as ExportedRecord;
        return line({ position, leafHash, record, personal: vault.disclose(row, keys) }) + checkpoint;
      });
      return lines.join('');
    });
  }
  const covering = await db.withReadTx({ tenantId }, (tx) => checkpointOf(tx, tenantId, BigInt(to)));
  yield line({ end: covering!.note, after: await hashes(to, Number(covering!.size)) });
}

function line(value: ExportHeader | ExportLine): string {
  return `${JSON.stringify(value)}\n`;
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64');
}
