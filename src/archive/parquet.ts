/**
 * Parquet files in parts: each is a row group, and what the end of the file says of it is kept beside it, so that a file can be
 * gone on with by another process. (https://parquet.apache.org/docs/file-format)
 */
import { deserialize, serialize } from 'node:v8';

import { ByteWriter, ParquetWriter } from 'hyparquet-writer';

/** What is in a column: texts, whole numbers, or moments as RFC 3339 has them. */
export type ColumnType = 'STRING' | 'INT64' | 'TIMESTAMP' | 'BYTES';
export type Columns = Readonly<Record<string, ColumnType>>;
export type Value = string | number | bigint | Uint8Array | null;
export type Row = Readonly<Record<string, Value>>;

const MAGIC_BYTES = 4;

type Schema = ConstructorParameters<typeof ParquetWriter>[0]['schema'];
type RowGroup = ParquetWriter['row_groups'][number];

/** A row group that begins at that place of the file, the first after `parquetHead`. */
export interface Part {
  readonly body: Buffer;
  readonly footer: Buffer;
}

export function parquetHead(): Buffer {
  return Buffer.from('PAR1');
}

export function parquetPart(columns: Columns, rows: readonly Row[], offset: number): Part {
  const { bytes, writer } = writerAt(columns, offset);
  // Nothing is flushed, so that nothing is waited for. No index at the end: it would have to be kept, too.
  void writer.write({
    columnData: Object.entries(columns).map(([name, type]) => ({
      name,
      data: rows.map((row) => stored(type, row[name] ?? null)),
      offsetIndex: false,
    })),
    rowGroupSize: rows.length,
  });
  return { body: Buffer.from(bytes.getBytes()), footer: serialize(writer.row_groups) };
}

/** The end of a file whose parts had those footers; `said` is text that goes with it, by name. */
export function parquetFoot(
  columns: Columns,
  footers: readonly Buffer[],
  offset: number,
  said: Readonly<Record<string, string>> = {},
): Buffer {
  const { bytes, writer } = writerAt(columns, offset);
  writer.row_groups = footers.flatMap((footer) => deserialize(footer) as RowGroup[]);
  writer.num_rows = writer.row_groups.reduce((sum, { num_rows }) => sum + num_rows, 0n);
  writer.kvMetadata = Object.entries(said).map(([key, value]) => ({ key, value }));
  void writer.finish();
  return Buffer.from(bytes.getBytes());
}

/** A writer that takes itself to be in the middle of a file. */
function writerAt(columns: Columns, offset: number) {
  const bytes = new ByteWriter();
  const writer = new ParquetWriter({ writer: bytes, schema: schemaOf(columns), createdBy: 'custos' });
  // It has begun a file; its beginning is another part's.
  bytes.index -= MAGIC_BYTES;
  bytes.offset = offset;
  return { bytes, writer };
}

function schemaOf(columns: Columns): Schema {
  const kinds: Record<ColumnType, Omit<Schema[number], 'name' | 'repetition_type'>> = {
    STRING: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
    BYTES: { type: 'BYTE_ARRAY' },
    INT64: { type: 'INT64' },
    TIMESTAMP: {
      type: 'INT64',
      logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MICROS' },
    },
  };
  const leaves = Object.entries(columns).map(([name, type]) => {
    return { name, repetition_type: 'OPTIONAL' as const, ...kinds[type] };
  });
  return [{ name: 'root', num_children: leaves.length }, ...leaves];
}

function stored(type: ColumnType, value: Value): unknown {
  if (value === null) return undefined;
  return type === 'INT64' || type === 'TIMESTAMP' ? BigInt(value as number) : value;
}
