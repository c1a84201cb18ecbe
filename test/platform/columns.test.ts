import { asc, sql } from 'drizzle-orm';
import { integer, pgTable, uuid } from 'drizzle-orm/pg-core';
import { expect, test } from 'vitest';

import {
  bigint,
  bytea,
  inet,
  jsonb,
  pgSnapshot,
  timestamptz,
  uuidArray,
  xid8,
} from '../../src/platform/columns.ts';
import { openWorld } from '../world/door.ts';

const things = pgTable('things', {
  id: integer('id'),
  json: jsonb<unknown>()('json'),
  at: timestamptz('at'),
  big: bigint('big'),
  bytes: bytea('bytes'),
  ip: inet('ip'),
  tx: xid8('tx'),
  snapshot: pgSnapshot('snapshot'),
  uuid: uuid('uuid'),
});
type Thing = typeof things.$inferInsert;

const COLUMNS = `
  create table things (id int, json jsonb, at timestamptz, big bigint, bytes bytea, ip inet, tx xid8,
    snapshot pg_snapshot, uuid uuid);
  grant all on things to custos_app`;

async function roundTrip(values: readonly Omit<Thing, 'id'>[]) {
  const { db } = await openWorld(COLUMNS);
  return await db.withTx('PLATFORM', async (tx) => {
    for (const [id, value] of values.entries()) await tx.insert(things).values({ ...value, id });
    return await tx.select().from(things).orderBy(asc(things.id));
  });
}

test('a JSON value comes back as it was, also a string that looks like JSON', async () => {
  const values = [
    '0.1',
    '{"x":1}',
    'null',
    '',
    'plain',
    0.1,
    true,
    [1, '2', null],
    { a: { b: ['"'] } },
    'é\u2028',
  ];
  const rows = await roundTrip(values.map((json) => ({ json })));
  expect(rows.map((row) => row.json)).toEqual(values);
});

test('a time keeps its microseconds and is UTC, whatever offset it came with', async () => {
  const rows = await roundTrip(
    [
      '2026-01-02T03:04:05.123456Z',
      '2026-01-02T03:04:05Z',
      '2026-01-02T01:04:05.1+05:30',
      '0001-01-01T00:00:00Z',
    ].map((at) => ({ at })),
  );
  expect(rows.map((row) => row.at)).toEqual([
    '2026-01-02T03:04:05.123456Z',
    '2026-01-02T03:04:05.000000Z',
    '2026-01-01T19:34:05.100000Z',
    '0001-01-01T00:00:00.000000Z',
  ]);
});

test('a time no ISO string can name is an error, not another time', async () => {
  await expect(roundTrip([{ at: 'infinity' }])).rejects.toThrow('in the years 0001 to 9999');
});

test('64-bit integers are exact', async () => {
  const values = [9_223_372_036_854_775_807n, -9_223_372_036_854_775_808n, 0n];
  const rows = await roundTrip(values.map((big) => ({ big })));
  expect(rows.map((row) => row.big)).toEqual(values);
});

test('bytes are bytes, also those that spell a bytea literal', async () => {
  const values = [Buffer.from([0, 255, 92, 120]), Buffer.from('\\xdead'), Buffer.alloc(0)];
  const rows = await roundTrip(values.map((bytes) => ({ bytes })));
  expect(rows.map((row) => row.bytes)).toEqual(values);
});

test('addresses, transaction ids and snapshots are the strings Postgres writes', async () => {
  const [row] = await roundTrip([{ ip: '2001:db8::1', tx: '18446744073709551615', snapshot: '10:20:11,15' }]);
  expect(row).toMatchObject({ ip: '2001:db8::1', tx: '18446744073709551615', snapshot: '10:20:11,15' });
});

test('null is SQL null in every column', async () => {
  const { db } = await openWorld(COLUMNS);
  const rows = await db.withTx('PLATFORM', async (tx) => {
    await tx
      .insert(things)
      .values({ id: 1, json: null, at: null, big: null, bytes: null, ip: null, tx: null });
    return await tx.execute(sql`select json is null and at is null and big is null and bytes is null and ip is null
      and tx is null as empty from things`);
  });
  expect(rows).toEqual([{ empty: true }]);
});

test('many ids are one parameter, and nothing but ids', async () => {
  const ids = ['00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b'];
  const { db } = await openWorld(COLUMNS);
  const found = await db.withTx('PLATFORM', async (tx) => {
    for (const [id, each] of ids.entries()) await tx.insert(things).values({ id, uuid: each });
    return await tx
      .select({ id: things.id })
      .from(things)
      .where(sql`uuid = any(${uuidArray(ids)}::uuid[])`);
  });
  expect(found).toHaveLength(2);
  expect(() => uuidArray(['{}'])).toThrow('takes UUIDs');
});
