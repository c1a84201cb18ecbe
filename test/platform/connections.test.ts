/** The door while the server crashes and the network swallows, cuts and holds: what was acknowledged is there, and only that. */
import { sql } from 'drizzle-orm';
import { integer, pgTable } from 'drizzle-orm/pg-core';
import { expect, onTestFinished, test } from 'vitest';

import { type Database, TransactionLost } from '../../src/platform/db.ts';
import { startCluster } from '../world/cluster.ts';
import type { FreshDatabase } from '../world/database.ts';
import { openDoor, openWorld } from '../world/door.ts';
import { openProxy, type Proxy } from '../world/proxy.ts';
import { until } from '../world/wait.ts';

const WRITERS = 16;
const RESTARTS = 4;
/** As it goes over the wire; `read committed` goes before. */
const COMMIT = 'commit\0';
const notes = pgTable('notes', { id: integer('id').primaryKey() });
const SCHEMA = `
  create table notes (id int primary key);
  grant select, insert on notes to custos_app`;

/** Writes one row and answers by its being there when the answer to COMMIT is lost. */
const write = (db: Database, id: number) =>
  db.withTx('PLATFORM', (tx) => tx.insert(notes).values({ id }), {
    committed: async (tx) => (await tx.$count(notes, sql`id = ${id}`)) > 0,
  });

const codeOf = (error: unknown) => (error instanceof TransactionLost ? error.code : String(error));

async function behindProxy(options: { readonly deadlineMs?: number; readonly max?: number } = {}) {
  const { adminUrl, admin } = await openWorld(SCHEMA);
  const proxy: Proxy = await openProxy(adminUrl);
  onTestFinished(() => proxy.stop());
  const db = openDoor({ url: proxy.url, ...options });
  await write(db, 0);
  const ids = async () =>
    (await admin`select id from notes where id > 0 order by id`).map((row) => Number(row.id));
  return { db, proxy, admin, ids };
}

test(`${WRITERS} writers through ${RESTARTS} crashes of the server: nothing acknowledged is lost, nothing called lost is there, none hangs, and writing goes on within a second`, async () => {
  const uncaught: unknown[] = [];
  const note = (reason: unknown) => void uncaught.push(reason);
  process.on('uncaughtException', note).on('unhandledRejection', note);
  onTestFinished(() => void process.off('uncaughtException', note).off('unhandledRejection', note));
  const cluster = await startCluster();
  onTestFinished(() => cluster.stop());
  const { db, admin } = await openWorld(SCHEMA, { on: cluster.adminUrl });

  const outcomes = new Map<number, string>();
  const recoveries: number[] = [];
  let started = 0;
  const over = new AbortController();
  let upAt = performance.now();
  const writers = Array.from({ length: WRITERS }, async () => {
    let recoveredFrom = upAt;
    while (!over.signal.aborted) {
      const id = ++started;
      const outcome = await write(db, id).then(() => 'COMMITTED', codeOf);
      outcomes.set(id, outcome);
      if (outcome === 'COMMITTED' && recoveredFrom !== upAt) {
        recoveredFrom = upAt;
        recoveries.push(performance.now() - upAt);
      }
    }
  });
  for (let restart = 0; restart < RESTARTS; restart++) {
    const enough = outcomes.size + 20 * WRITERS;
    await until('the writers are at work', () => outcomes.size > enough, 15_000);
    await cluster.restart('immediate');
    upAt = performance.now();
    const all = (restart + 1) * WRITERS;
    await until('every writer writes again', () => recoveries.length >= all, 10_000);
  }
  over.abort();
  await Promise.all(writers);

  const there = new Set((await admin`select id from notes`).map((row) => Number(row.id)));
  const withOutcome = (wanted: string) =>
    [...outcomes].filter(([, outcome]) => outcome === wanted).map(([id]) => id);
  const p95 = recoveries.toSorted((a, b) => a - b)[Math.floor(recoveries.length * 0.95)]!;
  expect(uncaught).toEqual([]);
  expect(outcomes.size).toBe(started);
  expect(withOutcome('COMMITTED').filter((id) => !there.has(id))).toEqual([]);
  expect(withOutcome('TX_LOST').filter((id) => there.has(id))).toEqual([]);
  expect(withOutcome('POOL_TIMEOUT').filter((id) => there.has(id))).toEqual([]);
  expect(['COMMITTED', 'TX_LOST', 'POOL_TIMEOUT', 'COMMIT_UNKNOWN']).toEqual(
    expect.arrayContaining([...new Set(outcomes.values())]),
  );
  expect(p95).toBeLessThan(1_000);
}, 90_000);

test('a network that swallows everything costs one deadline, and the pool is whole again once it heals', async () => {
  const { db, proxy, ids } = await behindProxy({ deadlineMs: 1_000, max: 4 });
  await Promise.all([1, 2, 3, 4].map((id) => write(db, id)));
  proxy.freeze();
  // The first round loses the open connections, the second cannot open any.
  for (const round of [
    [5, 6, 7, 8, 9, 10],
    [11, 12, 13, 14],
  ]) {
    const startedAt = performance.now();
    const answers = await Promise.all(round.map((id) => write(db, id).then(() => 'COMMITTED', codeOf)));
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(answers.filter((answer) => answer !== 'TX_DEADLINE' && answer !== 'POOL_TIMEOUT')).toEqual([]);
  }

  proxy.heal();
  const healedAt = performance.now();
  await until('a write succeeds', () =>
    write(db, 20).then(
      () => true,
      () => false,
    ),
  );
  await Promise.all([21, 22, 23, 24].map((id) => write(db, id)));
  expect(performance.now() - healedAt).toBeLessThan(2_000);
  expect(await ids()).toEqual([1, 2, 3, 4, 20, 21, 22, 23, 24]);
});

test('connections that died in silence while idle cost one deadline between them, not one each', async () => {
  const { db, proxy } = await behindProxy({ deadlineMs: 500, max: 4 });
  await Promise.all(
    [1, 2, 3, 4].map((id) =>
      db.withTx('PLATFORM', (tx) => tx.execute(sql`select pg_sleep(0.05), ${id}::int`)),
    ),
  );
  proxy.freeze();
  proxy.heal();
  await expect(write(db, 5)).rejects.toMatchObject({ code: 'TX_DEADLINE' });
  for (const id of [6, 7, 8, 9]) await write(db, id);
});

test('a commit whose answer was lost is a success when it happened', async () => {
  const { db, proxy, ids } = await behindProxy();
  const cut = proxy.cutAfter(COMMIT);
  expect(await write(db, 1)).toBeDefined();
  await cut;
  expect(await ids()).toEqual([1]);
});

test('a commit that never arrived is lost, and may be tried again', async () => {
  const { db, proxy, ids } = await behindProxy();
  const cut = proxy.cutBefore(COMMIT);
  await expect(write(db, 1)).rejects.toMatchObject({ code: 'TX_LOST' });
  await cut;
  await write(db, 1);
  expect(await ids()).toEqual([1]);
});

test('a commit whose answer was lost is unknown when nobody can be asked', async () => {
  const { db, proxy, ids } = await behindProxy();
  const cut = proxy.cutAfter(COMMIT);
  const write = db.withTx('PLATFORM', (tx) => tx.insert(notes).values({ id: 1 }));
  await expect(write).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' });
  await cut;
  expect(await ids()).toEqual([1]);
});

/** Makes every commit wait; resolves `begun` when one does, until `release`. */
async function holdCommits(admin: FreshDatabase['admin']) {
  await admin.unsafe(`
    create function wait_for_it() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(7); return null; end $$;
    create constraint trigger slow_commit after insert on notes deferrable initially deferred
      for each row execute function wait_for_it()`);
  const holder = await admin.reserve();
  await holder`select pg_advisory_lock(7)`;
  const waiting = () => admin`select from pg_locks where locktype = 'advisory' and not granted`;
  return {
    begun: () => until('a commit waits', async () => (await waiting()).length > 0),
    async release() {
      await holder`select pg_advisory_unlock(7)`;
      holder.release();
    },
  };
}

test('a commit that is still under way is not taken for one that failed', async () => {
  const { db, proxy, admin, ids } = await behindProxy();
  const commits = await holdCommits(admin);
  const writing = write(db, 1);
  await commits.begun();
  proxy.cutAll();
  // By now an impatient client would have asked whether the row is there, and been told no.
  const looks = () => admin`select from pg_stat_activity
    where query like '%pg_stat_activity where pid = $1%' and application_name = 'custos'`;
  await until('the client looks for the old backend', async () => (await looks()).length > 0);
  await commits.release();
  await writing;
  expect(await ids()).toEqual([1]);
});

test('a commit cut off by the deadline is unknown when nobody can be reached, and that is said in time', async () => {
  const { db, proxy, admin } = await behindProxy({ deadlineMs: 500 });
  const commits = await holdCommits(admin);
  const startedAt = performance.now();
  const writing = write(db, 1).then(() => 'COMMITTED', codeOf);
  await commits.begun();
  proxy.freeze();
  expect(await writing).toBe('COMMIT_UNKNOWN');
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  await commits.release();
});

test('a listening connection that fell silent is replaced within ten seconds', async () => {
  const { db, proxy, admin } = await behindProxy();
  const heard: string[] = [];
  let listening = 0;
  await db.listen(
    'c',
    (payload) => heard.push(payload),
    () => listening++,
  );
  await until('it listens', () => listening === 1);
  proxy.freeze();
  proxy.heal();
  await until('it listens again', () => listening === 2, 10_000);
  await admin.notify('c', 'after');
  await until('it hears again', () => heard.length > 0);
  expect(heard).toEqual(['after']);
});
