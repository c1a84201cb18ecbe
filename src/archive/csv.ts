/** CSV (RFC 4180) that a spreadsheet can open without running anything of it. */
import { stringify } from 'csv-stringify/sync';

import type { ShownRecord } from '../audit/shown.ts';
import { COLUMNS } from './flatRecord.ts';

/**
 * What a spreadsheet may take for a formula (https://owasp.org/www-community/attacks/CSV_Injection): one of these signs, of either
 * width, at the beginning or behind what it skips; and a tab or a line break at the beginning. In a cell of several lines each line
 * counts, since a reader that takes line breaks for rows makes cells of them.
 */
const FORMULA = /^[\t\r\n]|(?:^|[\r\n])[\s\p{Cf}]*[=+\-@＝＋－＠]/u;

/** The line of names. */
export function csvHead(): Buffer {
  return written([Object.keys(COLUMNS)]);
}

export function csvLines(records: readonly ShownRecord[]): Buffer {
  return written(records.map((record) => Object.values(COLUMNS).map((cell) => safe(cell(record)))));
}

/** The cell with a `'` in front, which makes a spreadsheet take it for text. */
export function safe(cell: string | number | null): string | number | null {
  return typeof cell === 'string' && FORMULA.test(cell) ? `'${cell}` : cell;
}

function written(rows: readonly (readonly (string | number | null)[])[]): Buffer {
  return Buffer.from(stringify(rows as (string | number | null)[][], { record_delimiter: '\r\n' }));
}
