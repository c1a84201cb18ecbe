import { sql } from 'drizzle-orm';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';

import { openSealer, SEALED_CHANNEL, type Sealer } from '../../src/audit/seal.ts';
import { NIL, recordsAfter } from '../../src/audit/unsealed.ts';
import type { Database, ReadTx } from '../../src/platform/db.ts';
import { openClock } from '../../src/platform/ids.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { openProxy } from '../world/proxy.ts';
import { record, type Sealed, sealedRecords, writeRecords } from '../world/records.ts';
import { gate, until } from '../world/wait.ts';

const log = pino({ level: 'silent' });
const TENANTS = ['a', 'b', 'c'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const [A, B] = TENANTS as [string, string];
/** The issue of a sealer that is gone: without a bound of its own a silent one keeps the lock for six seconds. */
const TAKEOVER_MS_MAX = 3_000;

test('every committed record gets one place, without gaps, and a long transaction delays nobody else', async () => {
  const { admin, db, sealer } = await world();
  sealing(db);
  const held = gate();
  const entered = gate();
  const long = db.withTx(
    'PLATFORM',
    async (tx) => {
      const ids = await writeRecords(tx, [{ tenantId: A }, { tenantId: B }]);
      entered.open();
      await held.passed;
      return ids;
    },
    { deadlineMs: 60_000 },
  );
  await entered.passed;

  const written = await writers(db, 16, () => sealer.nudge());
  await until(
    'the others are sealed while one is open',
    async () => (await sealed(admin)) === written.flat().length,
  );
  held.open();
  const late = await long;
  await until('all is sealed', async () => (await sealed(admin)) === written.flat().length + late.length);

  const places = await sealedRecords(admin);
  expectNoGaps(places);
  expect(places.map(({ id }) => id).sort()).toEqual(await idsIn(admin));
  expect(places.slice(-2).map(({ id }) => id)).toEqual(late);
  // What one writer wrote for a tenant, one transaction after another, comes in that order.
  for (const [ids, tenantId] of written.flatMap((each) => TENANTS.map((tenant) => [each, tenant] as const))) {
    const own = places
      .filter((place) => place.tenantId === tenantId && ids.includes(place.id))
      .map(({ id }) => id);
    expect(own).toEqual(ids.filter((id) => own.includes(id)));
  }
});

test('within a batch each tenant has one run, in the order of transactions', async () => {
  const { admin, db } = await world();
  const first = gate();
  const begun = gate();
  // The first to begin is the last to commit: by id its records come last, by transaction first.
  const early = db.withTx('PLATFORM', async (tx) => {
    await tx.execute(sql`select pg_current_xact_id()`);
    begun.open();
    await first.passed;
    return await writeRecords(tx, [{ tenantId: A }, { tenantId: B }, { tenantId: A }]);
  });
  await begun.passed;
  const [b, a] = await record(db, { tenantId: B }, { tenantId: A });
  first.open();
  const [a1, b1, a2] = await early;

  await seal(db);
  expect((await sealedRecords(admin)).map(({ id, seal }) => [id, seal])).toEqual([
    [a1, 0],
    [a2, 0],
    [a, 0],
    [b1, 1],
    [b, 1],
  ]);
});

test('sealers of several processes double nothing and lose nothing', async () => {
  const { admin, url, db } = await world();
  const sealers = Array.from({ length: 3 }, () => sealing(openDoor({ url, max: 2 })));

  const written = await writers(db, 8, () => {
    for (const sealer of sealers) sealer.nudge();
  });
  await until('all is sealed', async () => (await sealed(admin)) >= written.flat().length);

  const places = await sealedRecords(admin);
  expectNoGaps(places);
  expect(places.map(({ id }) => id).sort()).toEqual(await idsIn(admin));
});

test('while one sealer is at it another leaves the log alone, and comes back', async () => {
  const { admin, url, db } = await world();
  await record(db, { tenantId: A });
  // Sealing stands still in front of its last step, with the lock in hand.
  const blocker = await admin.reserve();
  await blocker`begin`;
  await blocker`lock table audit_seals in exclusive mode`;
  const first = sealing(openDoor({ url, max: 2 }));
  await until('the first seals', async () => (await blocked(admin)).length === 1);
  const door = openDoor({ url, max: 2 });
  let attempts = 0;
  const second = sealing({ ...door, withTx: (tenancy, work) => (attempts++, door.withTx(tenancy, work)) });
  await until('the second has come more than once', () => attempts > 1);
  expect(await blocked(admin)).toHaveLength(1);
  await record(db, { tenantId: A });
  await blocker`commit`;
  blocker.release();

  await until('both records are sealed', async () => (await sealed(admin)) === 2);
  await Promise.all([first.stop(), second.stop()]);
  const places = await sealedRecords(admin);
  expect(new Set(places.map(({ id }) => id)).size).toBe(2);
  expectNoGaps(places);
});

test('a sealer that dies between batches or within one loses nothing', async () => {
  const { admin, url, db } = await world();
  const ids = await record(db, ...Array.from({ length: 100 }, (_, at) => ({ tenantId: TENANTS[at % 3]! })));
  const leaving = openSealer({ db, clock: openClock(), log, batchMax: 10 });
  await leaving.stop();
  expect(await sealed(admin)).toBe(10);

  const blocker = await admin.reserve();
  await blocker`begin`;
  await blocker`lock table audit_seals in exclusive mode`;
  sealing(openDoor({ url, max: 2 }), 10);
  await until('it seals', async () => (await blocked(admin)).length === 1);
  const [pid] = await blocked(admin);
  await admin`select pg_terminate_backend(${pid!})`;
  await until(
    'it is dead',
    async () => (await admin`select from pg_stat_activity where pid = ${pid!}`).length === 0,
  );
  await blocker`commit`;
  blocker.release();
  await until('all is sealed', async () => (await sealed(admin)) === ids.length);

  const places = await sealedRecords(admin);
  expectNoGaps(places);
  expect(places.map(({ id }) => id).sort()).toEqual(ids.sort());
});

test('a sealer that is cut off with the lock in hand is replaced within two seconds', async () => {
  const { admin, adminUrl, db } = await world();
  const proxy = await openProxy(adminUrl);
  onTestFinished(() => proxy.stop());
  const cut = openDoor({ url: proxy.url });
  sealing(cut);
  await record(db, { tenantId: A });
  await until('it has sealed', async () => (await sealed(admin)) === 1);
  const holder = await admin.reserve();
  await holder`begin`;
  await holder`lock table audit_hours in exclusive mode`;
  await record(db, { tenantId: A });
  await until('the sealer waits, its batch half done', async () => {
    const [row] = await holder`select count(*)::int as waiting from pg_locks where not granted`;
    return row!['waiting'] === 1;
  });

  proxy.freeze();
  await holder`rollback`;
  holder.release();
  const frozenAt = performance.now();
  sealing(db);
  await until('another has sealed', async () => (await sealed(admin)) === 2);

  expect(performance.now() - frozenAt).toBeLessThan(TAKEOVER_MS_MAX);
});

test('a large backlog is sealed in bounded batches, in order, and announced with the position', async () => {
  const { admin, db } = await world();
  for (let written = 0; written < 12_000; written += 3_000) {
    await record(db, ...Array.from({ length: 3_000 }, (_, at) => ({ tenantId: TENANTS[at % 2]! })));
  }
  const announced: number[] = [];
  const listening = gate();
  await db.listen(SEALED_CHANNEL, (payload) => announced.push(Number(payload)), listening.open);
  await listening.passed;

  await seal(db, 700);
  await until('the last is announced', () => announced.at(-1) === 12_000);
  expect(announced).toEqual(Array.from({ length: 18 }, (_, at) => Math.min((at + 1) * 700, 12_000)));
  const places = await sealedRecords(admin);
  expectNoGaps(places);
  for (const tenantId of [A, B]) {
    const [own] =
      await admin`select array_agg(id order by tx, id) as ids from audit_logs where tenant_id = ${tenantId}`;
    expect(places.filter((place) => place.tenantId === tenantId).map(({ id }) => id)).toEqual(own!.ids);
  }
  expect(await admin`select target, target_tx, target_id from audit_sealer`).toEqual([
    { target: null, target_tx: null, target_id: null },
  ]);
});

test('in a copy of a database the records that are not sealed are found, and the others not sealed again', async () => {
  const { admin, db } = await world();
  const before = await record(db, ...Array.from({ length: 25 }, () => ({ tenantId: A })));
  await seal(db);
  const unsealed = await record(
    db,
    ...Array.from({ length: 25 }, (_, at) => ({ tenantId: TENANTS[at % 2]! })),
  );
  // As after a restore: the snapshots are of another cluster, and halfway through a backlog of its own.
  await admin`update audit_sealer set system_identifier = 1, sealed = '900000000:900000000:', target = '900000009:900000009:',
    target_tx = '900000005', target_id = ${unsealed[3]!}`;

  await seal(db, 10);
  expect((await sealedRecords(admin)).map(({ id }) => id).slice(0, 25)).toEqual(before);
  expect((await sealedRecords(admin)).map(({ id }) => id).sort()).toEqual([...before, ...unsealed].sort());
  expectNoGaps(await sealedRecords(admin));
  const [now] = await admin`
    select system_identifier = (select system_identifier from pg_control_system()) as ours, target from audit_sealer`;
  expect(now).toEqual({ ours: true, target: null });
  const after = await record(db, { tenantId: A });
  await seal(db);
  expect((await sealedRecords(admin)).at(-1)!.id).toBe(after[0]);
});

test('a record of a copy is not sealed again when its transaction id comes round', async () => {
  const { admin, db } = await world();
  const [copied] = await record(db, { tenantId: A });
  const [{ ahead }] = (await admin`select pg_current_xact_id()::text::bigint + 20 as ahead`) as unknown as [
    { ahead: string },
  ];
  await admin`set session_replication_role = replica`;
  await admin`update audit_logs set tx = ${ahead}::text::xid8 where id = ${copied!}`;
  await admin`reset session_replication_role`;
  await admin`update audit_sealer set system_identifier = 1`;
  await seal(db);
  expect(await sealed(admin)).toBe(1);

  for (let burnt = 0; burnt < 30; burnt++) await admin`select pg_current_xact_id()`;
  const [next] = await record(db, { tenantId: A });
  await seal(db);
  expect((await sealedRecords(admin)).map(({ id }) => id)).toEqual([copied, next]);
  expectNoGaps(await sealedRecords(admin));
});

test('looking costs an idle database no transaction id', async () => {
  const { admin, db } = await world();
  await record(db, { tenantId: A });
  await seal(db);
  const xmax = async () =>
    (await admin`select pg_snapshot_xmax(pg_current_snapshot())::text as xid`)[0]!.xid as string;
  let looks = 0;
  sealing({ ...db, withReadTx: (tenancy, work) => (looks++, db.withReadTx(tenancy, work)) });
  // Autovacuum takes one now and then; ten looks that each took one would never leave a span without.
  await until('ten looks have taken none', async () => {
    const before = await xmax();
    const since = looks;
    await until('it has looked ten times', () => looks >= since + 10);
    return (await xmax()) === before;
  });
  expect(looks).toBeGreaterThanOrEqual(10);
});

test('a batch and a look read what they give, whatever the size of the backlog', async () => {
  const { admin, db } = await world();
  // Many tenants: to the planner the policy of one lets hardly anything through.
  const tenants = Array.from(
    { length: 100 },
    (_, at) => `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`,
  );
  for (let turn = 0; turn < 20; turn++)
    await record(db, ...Array.from({ length: 1_000 }, (_, at) => ({ tenantId: tenants[at % 100]! })));
  await admin`analyze audit_logs`;
  const transactions = (await admin`select distinct tx from audit_logs order by tx`).map(
    (row) => row.tx as string,
  );
  const [first, third, tenth] = [0, 2, 10].map((at) => transactions[at]!);
  const [now] = await admin`select pg_current_snapshot() as snapshot`;
  const begin = { sealed: `${first}:${first}:`, target: now!.snapshot as string, tx: '0', id: NIL };
  const places = [
    { place: begin, expected: transactions },
    {
      place: { ...begin, sealed: `${first}:${tenth}:${first},${third}` },
      expected: [first, third, ...transactions.slice(10)],
    },
    { place: { ...begin, tx: tenth! }, expected: transactions.slice(10) },
    { place: { ...begin, sealed: begin.target }, expected: [] },
    { place: { ...begin, tx: null }, expected: transactions },
  ];
  for (const limit of [1, 5_000]) {
    for (const { place, expected } of places) {
      const [given, read] = await db.withReadTx('PLATFORM', async (tx) => {
        const before = await recordsRead(tx);
        const records = await recordsAfter(tx, place, limit);
        return [records.map((each) => each.tx), (await recordsRead(tx)) - before];
      });
      expect(given).toEqual(expected.flatMap((tx) => Array(1_000).fill(tx)).slice(0, limit));
      // Both ranges are read as far as the batch goes.
      expect(read).toBeLessThanOrEqual(2 * limit);
    }
  }
});

/** How many records this session has read, since some time ago. */
async function recordsRead(tx: ReadTx): Promise<number> {
  const [row] = await tx.execute<{ read: string }>(sql`
    select sum(seq_tup_read + idx_tup_fetch) as read from pg_stat_xact_user_tables where relname like 'audit_logs%'`);
  return Number(row!.read);
}

interface World extends FreshDatabase {
  readonly url: string;
  readonly db: Database;
  /** Nudges every sealer of the test. */
  readonly sealer: Pick<Sealer, 'nudge'>;
}

const sealers = new Set<Sealer>();

async function world(): Promise<World> {
  const fresh = await freshDatabase();
  const nudge = () => sealers.forEach((sealer) => sealer.nudge());
  return { ...fresh, url: fresh.adminUrl, db: openDoor({ url: fresh.adminUrl, max: 20 }), sealer: { nudge } };
}

/** Seals until the test ends. */
function sealing(db: Database, batchMax?: number): Sealer {
  const sealer = openSealer({ db, clock: openClock(), log, ...(batchMax ? { batchMax } : {}) });
  sealers.add(sealer);
  onTestFinished(async () => {
    sealers.delete(sealer);
    await sealer.stop();
  });
  return sealer;
}

/** Seals all there is, once. */
async function seal(db: Database, batchMax?: number): Promise<void> {
  const one = sealing(db, batchMax);
  await until('nothing is left', async () => {
    const [left] = await db.withReadTx('PLATFORM', (tx) =>
      tx.execute<{ count: string; sealed: string }>(
        sql`select (select count(*) from audit_logs) as count, (select pos from audit_sealer) as sealed`,
      ),
    );
    return left!.count === left!.sealed;
  });
  await one.stop();
}

/** Each writes 25 transactions of one to three records one after another, some of them rolled back; gives each one's ids. */
async function writers(db: Database, count: number, wrote: () => void): Promise<string[][]> {
  const rollback = new Error('rolled back on purpose');
  return await Promise.all(
    Array.from({ length: count }, async () => {
      const committed: string[] = [];
      for (let turn = 0; turn < 25; turn++) {
        const one = () => ({ tenantId: TENANTS[Math.floor(Math.random() * TENANTS.length)]! });
        const written = await db
          .withTx('PLATFORM', async (tx) => {
            await tx.execute(sql`select pg_current_xact_id(), pg_sleep(random() * 0.01)`);
            const ids = await writeRecords(tx, [one(), one(), one()].slice(0, 1 + (turn % 3)));
            await tx.execute(sql`select pg_sleep(random() * 0.01)`);
            if (Math.random() < 0.05) throw rollback;
            return ids;
          })
          .catch((error: unknown) => {
            if (error !== rollback) throw error;
            return [];
          });
        wrote();
        committed.push(...written);
      }
      return committed;
    }),
  );
}

async function sealed(admin: FreshDatabase['admin']): Promise<number> {
  const [row] = await admin`select coalesce(sum(count), 0)::int as sealed from audit_seals`;
  return row!.sealed as number;
}

async function idsIn(admin: FreshDatabase['admin']): Promise<string[]> {
  return (await admin`select id from audit_logs order by id`).map((row) => row.id as string);
}

async function blocked(admin: FreshDatabase['admin']): Promise<number[]> {
  const rows = await admin`
    select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  return rows.map((row) => row.pid as number);
}

/** The places of these records, and of each tenant's, follow each other from 0. */
function expectNoGaps(places: readonly Sealed[]): void {
  expect(places.map(({ pos }) => pos)).toEqual(places.map((_, at) => at));
  for (const tenantId of TENANTS) {
    const own = places.filter((place) => place.tenantId === tenantId);
    expect(own.map(({ seq }) => seq)).toEqual(own.map((_, at) => at));
  }
}
