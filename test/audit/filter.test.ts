import { assert, asyncProperty, sample } from 'fast-check';
import { expect, test } from 'vitest';

import { conditionOf, fulfils, having, inSql } from '../../src/audit/filter.ts';
import { auditLogs } from '../../src/audit/tables.ts';
import { waysOf } from '../../src/audit/ways.ts';
import type { AuditLogFilter } from '../../src/generated/types.ts';
import { openClock } from '../../src/platform/ids.ts';
import { Refusal } from '../../src/platform/refusal.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { isAskedFor, logFilters, logRows, writeLogRows } from '../world/logRows.ts';

const TENANTS = ['a', 'b', 'c'].map((letter) => `00000000-0000-4000-8000-00000000000${letter}`);

test('Postgres and this process give the same answer to every filter for every record, absent values included', async () => {
  const [rows] = sample(logRows(TENANTS, openClock().now(), { minLength: 300, maxLength: 300 }), 1);
  const { admin, adminUrl } = await freshDatabase();
  await writeLogRows(admin, rows!);
  const db = openDoor({ url: adminUrl });
  const stored = await db.withReadTx('PLATFORM', (tx) => tx.select().from(auditLogs));
  expect(stored).toHaveLength(300);
  const moments = rows!.slice(0, 20).map(({ micros }) => micros);
  const ofTenant = having('tenantId', TENANTS[0]!);
  let selective = 0;

  await assert(
    asyncProperty(
      logFilters(TENANTS, moments, { texts: true }).filter((filter) => refusalOf(filter) === undefined),
      async (filter) => {
        const condition = conditionOf(filter);
        const found = await db.withReadTx('PLATFORM', (tx) =>
          tx.select({ id: auditLogs.id }).from(auditLogs).where(inSql(condition)),
        );
        const inDatabase = found.map(({ id }) => id).sort();
        const inProcess = stored.filter((row) => fulfils(row, condition)).map(({ id }) => id);
        const meant = rows!.filter((row) => isAskedFor(row, filter)).map(({ id }) => id);
        expect(inDatabase).toEqual(meant.sort());
        expect(inProcess.sort()).toEqual(meant);
        const ways = { any: waysOf({ all: [ofTenant, condition] }) };
        const byWays = stored.filter((row) => fulfils(row, ways)).map(({ id }) => id);
        const own = rows!.filter(({ tenantId, id }) => tenantId === TENANTS[0] && meant.includes(id));
        expect(byWays.sort()).toEqual(own.map(({ id }) => id).sort());
        if (meant.length > 0 && meant.length < 300) selective++;
      },
    ),
    { numRuns: 400 },
  );
  expect(selective).toBeGreaterThan(100);
});

test('a filter may nest five deep', () => {
  const nested = (depth: number): AuditLogFilter => (depth === 1 ? {} : { not: nested(depth - 1) });
  expect(refusalOf(nested(5))).toBeUndefined();
  expect(refusalOf(nested(6))).toEqual({ filter: 'may nest 5 deep' });
  expect(refusalOf({ and: [{ or: [{ not: { and: [{ or: [{}] }] } }] }] })).toEqual({
    filter: 'may nest 5 deep',
  });
});

test.each<[string, (count: number) => AuditLogFilter]>([
  ['values', (count) => ({ resources: Array.from({ length: count }, () => 'USER' as const) })],
  ['empty filters', (count) => ({ or: Array.from({ length: count }, () => ({})) })],
  ['nested fields', (count) => ({ and: Array.from({ length: count }, () => ({ requestId: 'r' })) })],
])('a filter may hold a hundred %s', (_what, filter) => {
  expect(refusalOf(filter(100))).toBeUndefined();
  expect(refusalOf(filter(101))).toEqual({ filter: 'may hold 100 conditions' });
});

test.each([
  ['10.0.0.0/33'],
  ['10.0.0.0/8/8'],
  ['10.0.0'],
  ['::/129'],
  ['::ffff:0:0/8'],
  ['fe80::1%eth0'],
  ['10.0.0.0 - 10.0.0.9'],
  [''],
])('%s is no network, and who asks for it is told what is one', (ipRange) => {
  expect(refusalOf({ ipRange })).toEqual({
    ipRange: 'must be a network such as 10.0.0.0/8 or 2001:db8::/32, or one address',
  });
});

test('a text has 1 to 200 characters', () => {
  for (const text of ['x', 'x'.repeat(200), '\0']) expect(refusalOf({ text })).toBeUndefined();
  for (const text of ['', 'x'.repeat(201)])
    expect(refusalOf({ not: { text } })).toEqual({ text: 'must have from 1 to 200 characters' });
});

test('an empty list or text is a condition that no record fulfils, not an absent one', () => {
  const none: AuditLogFilter[] = [{ actions: [] }, { or: [] }, { tenantId: '' }, { requestId: '' }];
  const [row] = sample(logRows(TENANTS, openClock().now(), { minLength: 1, maxLength: 1 }), 1)[0]!;
  for (const filter of none) expect(fulfils(asStored(row!), conditionOf(filter))).toBe(false);
  const every: AuditLogFilter[] = [{}, { and: [] }, { not: { or: [] } }, { tenantId: null, createdAt: {} }];
  for (const filter of every) expect(fulfils(asStored(row!), conditionOf(filter))).toBe(true);
});

function asStored(row: object) {
  return { ...row } as Parameters<typeof fulfils>[0];
}

/** Why the filter is refused; undefined if it is not. */
function refusalOf(filter: AuditLogFilter): unknown {
  try {
    conditionOf(filter);
    return undefined;
  } catch (error) {
    return error instanceof Refusal ? error.fields : error;
  }
}
