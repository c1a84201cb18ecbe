import { anything, assert, property, string } from 'fast-check';
import { expect, test } from 'vitest';

import { boundedChanges, boundedDetails, recordable, recordableText } from '../../src/audit/recordable.ts';
import { leafHash, type LeafRecord } from '../../src/ledger/leaf.ts';
import { freshDatabase } from '../world/database.ts';

const KIB = 1024;

test.each([
  ['NUL', 'a\0b', 'a\u2400b'],
  ['a lone surrogate', 'a\ud800b', 'a\ufffdb'],
  ['a whole pair', '😀', '😀'],
  ['a number that JSON does not have', Number.POSITIVE_INFINITY, 'Infinity'],
  ['no number', Number.NaN, 'NaN'],
  ['minus nothing', -0, -0],
  ['a big integer', 2n ** 63n, '9223372036854775808'],
  ['nothing', undefined, null],
  ['an absent key', { a: undefined, b: 1 }, { b: 1 }],
  ['a key with NUL', { 'a\0': 1 }, { 'a\u2400': 1 }],
  ['a key that is a trap', JSON.parse('{"__proto__": {"a": 1}}'), JSON.parse('{"__proto__": {"a": 1}}')],
])('%s is kept as the log can hold it', (_name, value, kept) => {
  expect(recordable(value)).toEqual(kept);
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test('what is too deep is cut, visibly, however deep it is', () => {
  let deep: unknown = 'bottom';
  for (let depth = 0; depth < 8_000; depth++) deep = { in: [deep] };
  expect(JSON.stringify(recordable(deep))).toContain('… (cut: deeper than 16)');
});

test('text that is too long is cut, visibly, and never through a character', () => {
  expect(recordableText('x'.repeat(10), 10)).toBe('x'.repeat(10));
  expect(recordableText('x'.repeat(11), 10)).toBe(`${'x'.repeat(10)}… (cut: 11 characters)`);
  expect(recordableText('😀'.repeat(3), 5)).toBe('😀😀\ufffd… (cut: 6 characters)');
});

test('details beyond 16 KiB are replaced by their size, in bytes', () => {
  const fits = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [at, 'x'.repeat(2_000)]));
  expect(boundedDetails(fits)).toEqual(fits);
  const wide = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [at, '€'.repeat(2_000)]));
  expect(boundedDetails(wide)).toEqual({
    cut: expect.stringMatching(/^details had 480\d\d bytes; 16384 are kept$/),
  });
});

test('changes beyond 16 KiB keep their paths, and what is personal stays so', () => {
  const changes = [
    ...Array.from({ length: 9 }, (_, at) => ({ path: `p${at}`, before: 'x'.repeat(2_000), after: 1 })),
    { path: 'email', sensitivity: 'PII' },
    { path: 'password', sensitivity: 'SECRET' },
  ] as const;
  const kept = boundedChanges(changes);
  expect(kept).toEqual([
    ...Array.from({ length: 9 }, (_, at) => ({ path: `p${at}`, before: '… (cut)', after: '… (cut)' })),
    { path: 'email', sensitivity: 'PII' },
    { path: 'password', sensitivity: 'SECRET' },
  ]);
  expect(boundedChanges(kept)).toEqual(kept);
});

test('whatever goes in, Postgres gives back what was stored, with the same hash', async () => {
  const { admin } = await freshDatabase();
  const values: Record<string, unknown>[] = [];
  assert(
    property(
      anything({ maxDepth: 5, withNullPrototype: true, withBigInt: true }),
      string({ unit: 'binary' }),
      (value, text) => {
        values.push(boundedDetails({ value, [text]: text }));
      },
    ),
    { numRuns: 500 },
  );
  const rows = await admin<{ stored: unknown }[]>`
    select value as stored from jsonb_array_elements(${admin.json(values as never)}) with ordinality as each(value, at)
    order by at`;
  expect(rows).toHaveLength(values.length);
  for (const [at, { stored }] of rows.entries()) {
    expect(leafOf(stored)).toBe(leafOf(values[at]));
    expect(Buffer.byteLength(JSON.stringify(stored))).toBeLessThanOrEqual(16 * KIB);
  }
});

function leafOf(details: unknown): string {
  return leafHash({ details, commitments: [], subjectHmac: null } as unknown as LeafRecord).toString('hex');
}
