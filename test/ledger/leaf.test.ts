import { createHash } from 'node:crypto';
import { assert, constantFrom, json, pre, property, uint8Array } from 'fast-check';
import { expect, test } from 'vitest';

import { auditLogs } from '../../src/audit/tables.ts';
import { canonicalRecord, leafHash, type LeafRecord } from '../../src/ledger/leaf.ts';

const RECORD: LeafRecord = {
  tenantId: '01890000-0000-7000-8000-000000000001',
  id: '01890000-0000-7000-8000-000000000002',
  createdAt: '2026-01-02T03:04:05.123456Z',
  operationId: '01890000-0000-7000-8000-000000000003',
  schemaVersion: 1,
  userId: '01890000-0000-7000-8000-000000000004',
  actor: { type: 'USER', role: 'TENANT_ADMIN', sessionId: '01890000-0000-7000-8000-000000000005' },
  action: 'tenant.updated',
  resource: 'TENANT',
  resourceId: '01890000-0000-7000-8000-000000000001',
  resourceName: 'Äcme',
  status: 'success',
  failure: null,
  severity: 0,
  security: false,
  ipAddress: '192.0.2.1',
  userAgent: 'curl/8',
  requestId: 'request-1',
  context: { transport: 'HTTP', fieldPath: 'updateTenant' },
  details: { reason: 'why', at: [1, 2.5, null] },
  changes: [{ path: 'name', before: 'Acme', after: 'Äcme' }],
  subjectHmac: Buffer.of(1, 2, 3),
  commitments: [{ subjectId: '01890000-0000-7000-8000-000000000004', hash: 'ab'.repeat(32) }],
};

test('the canonical bytes of the first format are these, for ever', () => {
  expect(canonicalRecord(RECORD)).toBe(
    '{"action":"tenant.updated","actor":{"role":"TENANT_ADMIN","sessionId":"01890000-0000-7000-8000-000000000005",' +
      '"type":"USER"},"changes":[{"after":"Äcme","before":"Acme","path":"name"}],"commitments":[{"hash":"' +
      `${'ab'.repeat(32)}","subjectId":"01890000-0000-7000-8000-000000000004"}],"context":{"fieldPath":"updateTenant",` +
      '"transport":"HTTP"},"createdAt":"2026-01-02T03:04:05.123456Z","details":{"at":[1,2.5,null],"reason":"why"},' +
      '"failure":null,"id":"01890000-0000-7000-8000-000000000002","ipAddress":"192.0.2.1","operationId":' +
      '"01890000-0000-7000-8000-000000000003","requestId":"request-1","resource":"TENANT","resourceId":' +
      '"01890000-0000-7000-8000-000000000001","resourceName":"Äcme","schemaVersion":1,"security":false,"severity":0,' +
      '"status":"success","subjectHmac":"010203","tenantId":"01890000-0000-7000-8000-000000000001","userAgent":"curl/8",' +
      '"userId":"01890000-0000-7000-8000-000000000004"}',
  );
});

test('the leaf hash is SHA-256 of a zero byte and the canonical bytes (RFC 6962, 2.1)', () => {
  const expected = createHash('sha256').update('\0').update(canonicalRecord(RECORD), 'utf8').digest();
  expect(leafHash(RECORD)).toEqual(expected);
});

test('every column of the log is under the hash but those that say nothing of the call', () => {
  // `tx` is the database's, `pii` is committed to, and a hash is not under itself.
  const columns = Object.keys(auditLogs).filter((name) => name !== 'enableRLS');
  const hashed = columns.filter((name) => !['tx', 'pii', 'leafHash'].includes(name));
  expect([...hashed, 'commitments'].sort()).toEqual(Object.keys(RECORD).sort());
});

test('whatever changes in whichever column changes the hash', () => {
  const columns = constantFrom(...(Object.keys(RECORD) as (keyof LeafRecord)[]));
  const hashes = property(columns, json(), uint8Array({ minLength: 4 }), (column, text, bytes) => {
    const changed = {
      ...RECORD,
      [column]: JSON.parse(text) as unknown,
      ...(column === 'subjectHmac' ? { subjectHmac: Buffer.from(bytes) } : {}),
      ...(column === 'commitments' ? { commitments: [{ subjectId: text, hash: '' }] } : {}),
    };
    pre(JSON.stringify(changed[column]) !== JSON.stringify(RECORD[column]));
    expect(leafHash(changed)).not.toEqual(leafHash(RECORD));
  });
  assert(hashes, { numRuns: 500 });
});

test('the bytes are the same in whatever order the keys came, and after a way through JSON', () => {
  const bytes = property(json({ maxDepth: 4 }), (text) => {
    const details: unknown = JSON.parse(text);
    const reordered = { ...RECORD, details: reversed(details), actor: reversed(RECORD.actor) };
    expect(canonicalRecord(reordered)).toBe(canonicalRecord({ ...RECORD, details }));
  });
  assert(bytes, { numRuns: 500 });
});

test('numbers and strings are written as RFC 8785 has them', () => {
  // From the RFC: 3.2.2.2 (escapes), 3.2.2.3 (numbers), 3.2.3 (keys sorted by UTF-16 code units).
  const details = {
    numbers: JSON.parse('[333333333.33333329, 1E30, 4.50, 2e-3, 1e-27, -0, 9007199254740993]') as unknown,
    string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/',
    '\u20ac': 1,
    '\r': 2,
    '\ufb33': 3,
    '1': 4,
    '\ud83d\ude00': 5,
    '\u0080': 6,
    '\u00f6': 7,
  };
  expect(canonicalRecord({ ...RECORD, details })).toContain(
    '"details":{"\\r":2,"1":4,"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,9007199254740992],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/","\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
  );
});

/** The same value with the keys of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, reversed(each)] as const);
  return Object.fromEntries(entries.toReversed());
}
