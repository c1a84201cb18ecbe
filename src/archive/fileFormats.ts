import { type ShownRecord } from '../audit/shown.ts';
import type { AuditExportFormat } from '../generated/types.ts';
import { microsFrom } from '../platform/ids.ts';
import { csvHead, csvLines } from './csv.ts';
import { COLUMNS } from './flatRecord.ts';
import { type Columns, parquetFoot, parquetHead, parquetPart, type Row } from './parquet.ts';

/** How a file is written in parts, one after the other, by whichever process. */
export interface FileFormat {
  readonly extension: string;
  readonly mediaType: string;
  head(): Buffer;
  /** The next part, and what `foot` is to be told of it. `offset` is how long the file is so far. */
  part(
    records: readonly ShownRecord[],
    offset: number,
  ): { readonly body: Buffer; readonly footer: Buffer | null };
  foot(footers: readonly Buffer[], offset: number): Buffer;
}

const NOTHING = Buffer.alloc(0);
const TYPES: Columns = Object.fromEntries(
  Object.keys(COLUMNS).map((name) => [
    name,
    name === 'position' ? 'INT64' : name === 'createdAt' ? 'TIMESTAMP' : 'STRING',
  ]),
);

export const FILE_FORMATS: Readonly<Record<AuditExportFormat, FileFormat>> = {
  CSV: {
    extension: 'csv',
    mediaType: 'text/csv; charset=utf-8; header=present',
    head: csvHead,
    part: (records) => ({ body: csvLines(records), footer: null }),
    foot: () => NOTHING,
  },
  NDJSON: {
    extension: 'ndjson',
    mediaType: 'application/x-ndjson',
    head: () => NOTHING,
    part: (records) => ({
      body: Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join('')),
      footer: null,
    }),
    foot: () => NOTHING,
  },
  PARQUET: {
    extension: 'parquet',
    mediaType: 'application/vnd.apache.parquet',
    head: parquetHead,
    part: (records, offset) => parquetPart(TYPES, records.map(rowOf), offset),
    foot: (footers, offset) => parquetFoot(TYPES, footers, offset),
  },
};

function rowOf(record: ShownRecord): Row {
  const cells = Object.entries(COLUMNS).map(([name, cell]) => [name, cell(record)] as const);
  return { ...Object.fromEntries(cells), createdAt: microsFrom(record.createdAt) };
}
