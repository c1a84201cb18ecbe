/**
 * Looking for a text in what records say in clear: action key, reason of a failure, name of the object, request id, user agent, and
 * the texts (not names and numbers) in details and in the values of changes. Personal values are sealed, so nothing finds them.
 *
 * Postgres folds letters as the locale of the database says, JavaScript as Unicode does. So that both give one answer, both
 * case forms of a letter stand in a regular expression that they read alike.
 */
import { type SQL, sql } from 'drizzle-orm';

import { auditLogs, type AuditLogRow } from './tables.ts';

const COLUMNS = ['action', 'failure', 'resourceName', 'requestId', 'userAgent'] as const;

/** Whether a record contains the text, in SQL. No index serves it: it belongs beside a condition that bounds what is read. */
export function containing(text: string): SQL {
  const pattern = patternOf(text);
  const matches = `@ like_regex ${JSON.stringify(pattern)}`;
  const columns = sql.join(
    COLUMNS.map((column) => sql`${auditLogs[column]}`),
    sql`, `,
  );
  const inDetails = `$.** ? (${matches})`;
  const inChanges = `$[*] ? (exists (@.before.** ? (${matches})) || exists (@.after.** ? (${matches})))`;
  return sql`(concat_ws(E'\\n', ${columns}) collate "C" ~ ${pattern}
    or jsonb_path_exists(${auditLogs.details}, ${inDetails}::jsonpath)
    or jsonb_path_exists(${auditLogs.changes}, ${inChanges}::jsonpath))`;
}

/** The same of a record at hand. */
export function contains(row: AuditLogRow, text: string): boolean {
  const pattern = new RegExp(patternOf(text), 'u');
  const columns = COLUMNS.flatMap((column) => row[column] ?? []).join('\n');
  const values = row.changes.flatMap(({ before, after }) => [before, after]);
  return pattern.test(columns) || textsIn([row.details, values]).some((each) => pattern.test(each));
}

function patternOf(text: string): string {
  return Array.from(text, (character) => {
    const forms = [character, character.toLowerCase(), character.toUpperCase()];
    const cases = new Set(forms.filter((form) => Array.from(form).length === 1));
    if (cases.size > 1) return `[${[...cases].join('')}]`;
    return character.replace(/[\^$\\.*+?()[\]{}|]/, '\\$&');
  }).join('');
}

function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}
