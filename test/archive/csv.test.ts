import { expect, test } from 'vitest';

import { safe } from '../../src/archive/csv.ts';

/** https://owasp.org/www-community/attacks/CSV_Injection, and what spreadsheets skip or take for the signs it names. */
const FORMULAS = [
  '=1+1',
  '+1+1',
  '-1+1|',
  '@SUM(A1)',
  '\t=1+1',
  '\r=1+1',
  '\n=1+1',
  '\tplain',
  '＝1+1',
  '＋1',
  '－1',
  '＠SUM',
  ' =1+1',
  '\u00a0=1+1',
  '\ufeff=1+1',
  '\u200b=1+1',
  'harmless\n=1+1',
  'harmless\r\n@SUM(A1)',
  "=cmd|'/c calc'!A0",
  '=HYPERLINK("http://evil.example","x")',
  '=WEBSERVICE("http://evil.example")',
  '=DDE("cmd";"/c calc";"x")',
];
const PLAIN = [
  '',
  'a=b',
  'ann@example.com',
  '1-1',
  "'",
  '{"a":"=1"}',
  '{\n',
  'Zürich',
  '2026-01-01T00:00:00Z',
];

test.each(FORMULAS)('%j is text to a spreadsheet', (cell) => {
  expect(safe(cell)).toBe(`'${cell}`);
});

test.each(PLAIN)('%j stays as it is', (cell) => {
  expect(safe(cell)).toBe(cell);
});

test('numbers stay numbers', () => {
  expect([safe(-5), safe(null)]).toEqual([-5, null]);
});
