import { getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';

import type { Tx } from './db.ts';

/**
 * Inserts rows by one statement with one parameter, whatever their number: within a tenth of COPY, which row-level security
 * does not let in. All rows name the columns the first one names. NUL characters are refused by Postgres.
 */
export async function insertAll<Table extends PgTable>(
  tx: Tx,
  table: Table,
  rows: readonly Table['$inferInsert'][],
): Promise<void> {
  const [first] = rows;
  if (!first) return;
  const { names, statement } = insertionOf(table, Object.keys(first));
  const written = rows.map((row: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(names.map(([key, name]) => [name, inJson(row[key])])),
  );
  await tx.execute(statement(JSON.stringify(written)));
}

/** How rows with certain columns are inserted. */
interface Insertion {
  /** What each column is called in a row, and in the table. */
  readonly names: readonly (readonly [string, string])[];
  readonly statement: (json: string) => SQL;
}

/** Drizzle would compose a statement with a part a column anew for each call. */
const insertions = new WeakMap<PgTable, Map<string, Insertion>>();

function insertionOf(table: PgTable, keys: readonly string[]): Insertion {
  const ofTable = insertions.get(table) ?? new Map<string, Insertion>();
  insertions.set(table, ofTable);
  const known = ofTable.get(keys.join());
  if (known) return known;
  const columns = getTableColumns(table);
  const names = keys.map((key) => [key, columns[key]!.name] as const);
  const list = names.map(([, name]) => `"${name}"`).join(', ');
  const quoted = `"${getTableName(table)}"`;
  const head = sql.raw(
    `insert into ${quoted} (${list}) select ${list} from json_populate_recordset(null::${quoted}, `,
  );
  const insertion = { names, statement: (json: string) => sql`${head}${json}::json)` };
  ofTable.set(keys.join(), insertion);
  return insertion;
}

function inJson(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return `\\x${value.toString('hex')}`;
  return typeof value === 'bigint' ? String(value) : value;
}
