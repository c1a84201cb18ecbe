/**
 * How `custos tail` shows records. Recorded values are strangers' words, and some of them are written for the terminal of
 * whoever reads the log: no control character of theirs is printed, in neither form.
 */
import { styleText } from 'node:util';

import type { RecordFragment } from '@custos/client/operations';
import stringWidth from 'string-width';

type Style = Parameters<typeof styleText>[0];
type Row = Record<(typeof COLUMNS)[number]['title'], string>;

/** In columns of a terminal; without a width: to the end of the line. What is cut can be had by `--format ndjson`. */
const COLUMNS = [
  { title: 'TIME', width: 24 },
  { title: 'SEVERITY', width: 8 },
  { title: 'STATUS', width: 7 },
  { title: 'ACTION', width: 32 },
  { title: 'ACTOR', width: 32 },
  { title: 'RESOURCE', width: 40 },
  { title: 'ADDRESS', width: undefined },
] as const;
const GAP = '  ';
const STYLES: Readonly<Record<string, Style>> = {
  NOTICE: 'cyan',
  WARNING: 'yellow',
  FAILURE: 'yellow',
  ERROR: 'red',
  CRITICAL: ['bold', 'red'],
};
/** Controls, also those of eight bits; what turns the writing direction or cannot be seen; line ends of Unicode. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
const graphemes = new Intl.Segmenter();

/** The titles of the table. */
export function tableHead(): string {
  return COLUMNS.map(({ title, width }) => fitted(title, width)).join(GAP);
}

/** One line of the table. */
export function tableRow(record: RecordFragment, { colours }: { readonly colours: boolean }): string {
  const { createdAt, severity, status, action, actor, resource, resourceName, resourceId, ipAddress } =
    record;
  const row: Row = {
    TIME: new Date(createdAt).toISOString(),
    SEVERITY: severity,
    STATUS: status,
    ACTION: action,
    ACTOR: actor.email ?? actor.name ?? actor.id ?? actor.type,
    RESOURCE: `${resource} ${resourceName ?? resourceId ?? ''}`,
    ADDRESS: ipAddress ?? '',
  };
  return COLUMNS.map(({ title, width }) => {
    const cell = fitted(printable(row[title]), width);
    const style = title === 'SEVERITY' || title === 'STATUS' ? STYLES[row[title]] : undefined;
    return colours && style ? styleText(style, cell, { validateStream: false }) : cell;
  })
    .join(GAP)
    .trimEnd();
}

/** One line of JSON, as `/feed/events?format=ndjson` has them. */
export function jsonLine(cursor: string, record: RecordFragment): string {
  return printable(JSON.stringify({ cursor, record }));
}

/** Escapes as JSON has them: in a JSON text they do not change what it says. */
function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

function fitted(text: string, width: number | undefined): string {
  if (width === undefined) return text;
  let [shown, taken] = [text, stringWidth(text)];
  if (taken > width) {
    [shown, taken] = ['', 1];
    for (const { segment } of graphemes.segment(text)) {
      const next = taken + stringWidth(segment);
      if (next > width) break;
      [shown, taken] = [shown + segment, next];
    }
    shown += '…';
  }
  return shown + ' '.repeat(width - taken);
}
