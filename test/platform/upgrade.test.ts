/** Migrations of a database that holds records already. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

import { idAt, openClock } from '../../src/platform/ids.ts';
import { freshDatabase } from '../world/database.ts';
import { INSERT_RAW, rawRecord } from '../world/rawRecord.ts';

const DRIZZLE = path.resolve(import.meta.dirname, '../../drizzle');
const TENANT = '00000000-0000-4000-8000-00000000000a';

test('what was sealed before its leaves and changed fields were kept gets them from its records', async () => {
  const { admin } = await freshDatabase({ from: '' });
  const apply = (name: string) =>
    admin.begin(async (tx) => {
      for (const statement of readFileSync(path.join(DRIZZLE, `${name}.sql`), 'utf8').split(
        '--> statement-breakpoint',
      ))
        await tx.unsafe(statement);
    });
  for (const name of ['0000_tables', '0001_guards', '0002_business', '0003_business_guards'])
    await apply(name);
  await admin`call create_audit_partitions(now()::date, now()::date)`;
  const clock = openClock();
  const ids = Array.from({ length: 5 }, () => idAt(clock.now()));
  const rows = ids.map((id) => rawRecord({ tenantId: TENANT, id, changes: [{ path: 'role' }] }));
  await admin.unsafe(`${INSERT_RAW} $1::text::json)`, [JSON.stringify(rows)]);
  for (const [firstSeq, own] of [
    [0, ids.slice(0, 2)],
    [2, ids.slice(2)],
  ] as const) {
    const packed = own.join('').replaceAll('-', '');
    await admin`
      insert into audit_seals (tenant_id, first_seq, first_pos, count, min_id, max_id, ids, sealed_at)
      values (${TENANT}, ${firstSeq}, ${firstSeq}, ${own.length}, ${own[0]!}, ${own.at(-1)!}, decode(${packed}, 'hex'), now())`;
  }

  for (const name of [
    '0004_ledger',
    '0005_ledger_guards',
    '0006_months_ahead',
    '0007_changes',
    '0008_changes_guards',
  ])
    await apply(name);

  const seals = await admin`select encode(leaves, 'hex') as leaves from audit_seals order by first_seq`;
  expect(seals.map(({ leaves }) => leaves as string).join('')).toBe(
    rows.map(({ leaf_hash: leaf }) => (leaf as string).slice(2)).join(''),
  );
  const changes =
    await admin`select id from audit_changes where tenant_id = ${TENANT} and field = 'role' order by id`;
  expect(changes.map(({ id }) => id as string)).toEqual(ids);
  await expect(admin`update audit_changes set field = field`).rejects.toThrow('append-only');
  await expect(admin`update audit_seals set leaves = leaves`).rejects.toThrow('append-only');
});
