import { Column, getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';

/** Columns of a table as a statement names them, and the rows its answers are. */
export interface Selection<Row> {
  /** After `select`; the table stands in the statement under its own name. */
  readonly columns: SQL;
  /** The same, but for one that is read from another table in the statement. */
  columnsWith(key: keyof Row, other: Column): SQL;
  rowsOf(answers: readonly Readonly<Record<string, unknown>>[]): Row[];
}

/**
 * Selects some columns of a table. For statements that are sent often: Drizzle composes the list and the way back to rows anew
 * for each, which costs more than all else it does; here both are made once.
 */
export function selectionOf<Table extends PgTable, Key extends keyof Table['$inferSelect'] & string>(
  table: Table,
  keys: readonly Key[],
): Selection<Pick<Table['$inferSelect'], Key>> {
  const columns = getTableColumns(table);
  const parts = keys.map((key) => {
    const column: Column = columns[key]!;
    const isAsItCame = column.mapFromDriverValue === Column.prototype.mapFromDriverValue;
    return { key, name: column.name, decoder: isAsItCame ? undefined : column };
  });
  const listed = (other?: readonly [Key, Column]) =>
    sql.raw(parts.map(({ key }) => nameOf(key === other?.[0] ? other[1] : columns[key]!)).join(', '));
  return {
    columns: listed(),
    columnsWith: (key, other) => listed([key, other]),
    rowsOf: (answers) =>
      answers.map((answer) => {
        const row: Record<string, unknown> = {};
        for (const { key, name, decoder } of parts) {
          const value = answer[name];
          row[key] = value === null || !decoder ? value : decoder.mapFromDriverValue(value);
        }
        return row as Pick<Table['$inferSelect'], Key>;
      }),
  };
}

function nameOf({ table, name }: Column): string {
  return `"${getTableName(table)}"."${name}"`;
}
