import { stripVTControlCharacters } from 'node:util';

import type { RecordFragment } from '@custos/client/operations';
import stringWidth from 'string-width';
import { expect, test } from 'vitest';

import { AUDIT_CATALOGUE } from '../src/generated/catalogue.ts';
import { jsonLine, tableHead, tableRow } from '../src/tailFormat.ts';

const RECORD: RecordFragment = {
  id: '0198c8a0-0000-7000-8000-000000000001',
  position: 7,
  createdAt: '2026-01-02T03:04:05.678901Z',
  action: 'USER_UPDATED',
  category: 'USER',
  severity: 'NOTICE',
  status: 'SUCCESS',
  failure: null,
  actor: { type: 'USER', id: 'u1', email: 'anna@acme.example', name: 'Anna', role: 'TENANT_ADMIN' },
  tenantId: 't1',
  resource: 'USER',
  resourceId: 'u2',
  resourceName: 'Ben',
  details: {},
  changes: [],
  ipAddress: '192.0.2.1',
  userAgent: 'curl',
  requestId: 'r1',
};
/** Clears the screen, sets the title, reverses the text, and more, by seven bits and by eight. */
const NASTY = '\u001b[2J\u001b]0;owned\u0007\r\n\u009b31m\u202Egnp.exe\u2028\u007f\u200b\u{e0041}';
// oxlint-disable-next-line no-control-regex -- they are what must not be there
const DANGEROUS = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u{e0000}-\u{e007f}]/u;
const plain = { colours: false };

test('a row has its values under their titles', () => {
  const shown = [tableHead(), tableRow(RECORD, plain)].map((line) => line.replaceAll(/ {2,}/g, ' | '));

  expect(shown).toEqual([
    'TIME | SEVERITY | STATUS | ACTION | ACTOR | RESOURCE | ADDRESS',
    '2026-01-02T03:04:05.678Z | NOTICE | SUCCESS | USER_UPDATED | anna@acme.example | USER Ben | 192.0.2.1',
  ]);
});

test('columns begin where their titles do, whatever is in them', () => {
  const names = [
    'Ben',
    'ベンジャミン・フランクリン'.repeat(4),
    '👩‍👩‍👧‍👦'.repeat(40),
    'e\u0301'.repeat(50),
    NASTY,
    '',
  ];
  const at = tableHead().indexOf('ADDRESS');
  for (const action of Object.keys(AUDIT_CATALOGUE) as (keyof typeof AUDIT_CATALOGUE)[]) {
    for (const name of names) {
      const row = tableRow(
        { ...RECORD, action, resourceName: name, actor: { ...RECORD.actor, email: name } },
        plain,
      );
      expect(stringWidth(row.slice(0, -'192.0.2.1'.length))).toBe(at);
      expect(row).toContain(action);
    }
  }
});

test('nobody who was recorded writes on the terminal: controls are shown as escapes in both forms', () => {
  const record: RecordFragment = {
    ...RECORD,
    actor: { ...RECORD.actor, email: NASTY },
    resourceName: NASTY,
    userAgent: NASTY,
    ipAddress: NASTY,
    details: { email: NASTY },
  };
  const row = tableRow(record, plain);
  const line = jsonLine('c1', record);

  expect(row).not.toMatch(DANGEROUS);
  expect(row).toContain('\\u001b[2J');
  expect(line).not.toMatch(DANGEROUS);
  expect(JSON.parse(line)).toEqual({ cursor: 'c1', record });
});

test('what is not recorded, or erased, leaves its place empty or to the next best', () => {
  const nobody = { type: 'ANONYMOUS', id: null, email: null, name: null, role: null } as const;
  const erased = { ...RECORD.actor, email: null, name: null };
  const row = (record: Partial<RecordFragment>) => tableRow({ ...RECORD, ...record }, plain);

  expect(row({ actor: nobody })).toContain(' ANONYMOUS ');
  expect(row({ actor: erased })).toContain(' u1 ');
  expect(row({ resourceName: null })).toContain(' USER u2 ');
  expect(row({ resourceName: null, resourceId: null, ipAddress: null })).toMatch(/ USER$/);
});

test('colours say how grave it is and how it ended, and change nothing else', () => {
  const grave: RecordFragment = { ...RECORD, severity: 'CRITICAL', status: 'FAILURE' };
  const coloured = tableRow(grave, { colours: true });

  expect(coloured).not.toBe(tableRow(grave, plain));
  expect(stripVTControlCharacters(coloured)).toBe(tableRow(grave, plain));
});
