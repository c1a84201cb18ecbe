import { expect, test } from 'vitest';
import * as fc from 'fast-check';

import { decodeCursor, encodeCursor } from '../../src/platform/cursor.ts';

const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0); // JSON knows no -0
const value = fc.array(fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), number), { maxLength: 4 });
const ID = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f';

test('a cursor gives back what it was made of, to its own list', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), value, (kind, binding, parts) => {
      const cursor = encodeCursor(kind, binding, parts);
      expect(cursor).toMatch(/^[A-Za-z0-9_-]{1,512}$/);
      expect(decodeCursor(kind, binding, cursor)).toEqual(parts);
    }),
  );
});

test('a cursor is worth nothing to another kind of list or another filter', () => {
  const cursor = encodeCursor('auditLogs', 'filter-a', [ID]);
  expect(decodeCursor('auditLogs', 'filter-b', cursor)).toBeUndefined();
  expect(decodeCursor('users', 'filter-a', cursor)).toBeUndefined();
  expect(decodeCursor('auditLogsf', 'ilter-a', cursor)).toBeUndefined();
});

test('no text whatever breaks the reading of a cursor', () => {
  const json = fc.json().map((text) => Buffer.from(text).toString('base64url'));
  const cursors = fc.oneof(fc.string({ unit: 'binary', maxLength: 600 }), fc.base64String(), json);
  fc.assert(
    fc.property(cursors, (cursor) => {
      expect(decodeCursor('auditLogs', '', cursor)).toBeUndefined();
    }),
    { numRuns: 1000 },
  );
});

test('a cursor has one spelling: a changed, added or missing character makes it void', () => {
  const cursor = encodeCursor('auditLogs', '', [ID, 1]);
  for (let i = 0; i < cursor.length; i++) {
    for (const other of ['A', 'B', '_', '=', ' ', '\0', 'é']) {
      const changed = cursor.slice(0, i) + other + cursor.slice(i + 1);
      // Within the id another letter is another, well-formed value: what it may show is the database's question.
      const decoded = changed === cursor ? undefined : decodeCursor('auditLogs', '', changed);
      expect(decoded === undefined || decoded.length === 2).toBe(true);
      expect(decodeCursor('auditLogs', '', cursor.slice(0, i) + other + cursor.slice(i))).not.toEqual([
        ID,
        1,
      ]);
    }
    expect(decodeCursor('auditLogs', '', cursor.slice(0, i))).toBeUndefined();
  }
  for (const text of [
    `${cursor}=`,
    `${cursor}==`,
    ` ${cursor}`,
    `${cursor}\n`,
    cursor.replaceAll('_', '/'),
  ]) {
    expect(text === cursor || decodeCursor('auditLogs', '', text) === undefined).toBe(true);
  }
});

test.each([
  ['nested', [['x']]],
  ['an object', [{ x: 1 }]],
  ['null', [null]],
  ['a boolean', [true]],
])('a cursor made by hand with %s inside is void', (_, inside) => {
  expect(decodeCursor('k', 'b', madeByHand(inside))).toBeUndefined();
});

/** A cursor of kind k and binding b whose maker knows the format, but not its rules. */
function madeByHand(inside: unknown[]): string {
  const tag: unknown = JSON.parse(Buffer.from(encodeCursor('k', 'b', []), 'base64url').toString())[0];
  return Buffer.from(JSON.stringify([tag, ...inside])).toString('base64url');
}

test('a cursor that could not be read again is not made', () => {
  expect(() => encodeCursor('users', '', ['x'.repeat(500)])).toThrow('512 are allowed');
  expect(() => encodeCursor('users', '', [Number.NaN])).toThrow('finite');
  expect(() => encodeCursor('users', '', [Number.POSITIVE_INFINITY])).toThrow('finite');
  expect(decodeCursor('users', '', 'A'.repeat(10_000_000))).toBeUndefined();
  expect(decodeCursor('k', 'b', madeByHand(['x'.repeat(300)]))).toEqual(['x'.repeat(300)]);
  expect(decodeCursor('k', 'b', madeByHand(['x'.repeat(500)]))).toBeUndefined();
});
