import { array, assert, asyncProperty, constantFrom, integer } from 'fast-check';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';

import { ANY, type Condition } from '../../src/audit/filter.ts';
import { openSealer } from '../../src/audit/seal.ts';
import { type Feed, type FollowOptions, openFeed, type Step } from '../../src/feed/follow.ts';
import { encodeCursor } from '../../src/platform/cursor.ts';
import type { Database } from '../../src/platform/db.ts';
import { openClock } from '../../src/platform/ids.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { record, type RecordFacts, sealedRecords } from '../world/records.ts';
import { until } from '../world/wait.ts';

const log = pino({ level: 'silent' });
const A = '00000000-0000-4000-8000-00000000000a';
const B = '00000000-0000-4000-8000-00000000000b';
const FAILED: Condition = { column: 'action', in: ['auth.login_failed'] };

test('a follower from a cursor gets what is there and what is written meanwhile, each once and in order', async () => {
  const { admin, write, follow, feed } = await world();
  const origins = await Promise.all(
    [undefined, A].map(async (tenantId) => (await cursorNow(feed, tenantId)).cursor),
  );
  await write(1_300, (at) => ({ tenantId: at % 3 ? A : B }));
  const writing = Promise.all(Array.from({ length: 8 }, () => writeOften(write, 30)));
  const [all, own] = [follow({ after: origins[0] }), follow({ tenantId: A, after: origins[1] })];
  const reading = Promise.all([rows(all, 1_300 + 8 * 30 * 2), rows(own, 866 + 8 * 30)]);
  await writing;

  const [platform, tenant] = await reading;
  const places = await sealedRecords(admin);
  expect(platform).toEqual(places.map(({ id }) => id));
  expect(tenant).toEqual(places.filter(({ tenantId }) => tenantId === A).map(({ id }) => id));
});

test('who comes and goes while the log grows sees no gap and nothing twice', async () => {
  const { admin, write, feed } = await world();
  const seen: { tenantId: string | undefined; after: number; ids: string[] }[] = [];
  const guests = Array.from({ length: 12 }, async (_, guest) => {
    const tenantId = [A, B, undefined][guest % 3];
    for (let visit = 0; visit < 6; visit++) {
      const stream = feed.follow({ tenantId, condition: ANY });
      const { value: first } = await stream.next();
      const ids = first!.row ? [first!.row.id] : [];
      const after = placeOf(first!) - ids.length;
      ids.push(...(await rows(stream, 3 + (guest % 5))));
      await stream.return!();
      seen.push({ tenantId, after, ids });
    }
  });
  const writers = Array.from({ length: 3 }, async () => {
    while (seen.length < 72) await write(2, (at) => ({ tenantId: at ? A : B }));
  });
  await Promise.all([...guests, ...writers]);

  const places = await sealedRecords(admin);
  expect(seen).toHaveLength(72);
  for (const { tenantId, after, ids } of seen) {
    const own = places.filter((place) => tenantId === undefined || place.tenantId === tenantId);
    expect(ids).toEqual(own.slice(after, after + ids.length).map(({ id }) => id));
  }
});

test('wherever a stream was cut, its last cursor continues it', async () => {
  const { write, follow, feed } = await world();
  const origins = new Map<string | undefined, string>();
  for (const tenantId of [undefined, A]) origins.set(tenantId, (await cursorNow(feed, tenantId)).cursor);
  await write(90, (at) => ({ tenantId: at % 3 ? A : B }));
  await write(30, () => ({ tenantId: A }));
  const whole = new Map<string | undefined, string[]>();
  whole.set(undefined, await rows(follow({ after: origins.get(undefined) }), 120));
  whole.set(A, await rows(follow({ tenantId: A, after: origins.get(A) }), 90));

  await assert(
    asyncProperty(
      constantFrom(undefined, A),
      array(integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
      async (tenantId, cuts) => {
        const wanted = whole.get(tenantId)!;
        const got: string[] = [];
        let after = origins.get(tenantId)!;
        for (const cut of cuts) {
          const stream = follow({ tenantId, after });
          const until = Math.min(got.length + cut, wanted.length);
          while (got.length < until) {
            const { value } = await stream.next();
            after = value!.cursor;
            if (value!.row) got.push(value!.row.id);
          }
          await stream.return!();
        }
        expect(got).toEqual(wanted.slice(0, got.length));
      },
    ),
    { numRuns: 30 },
  );
});

test('a tenant gets its own records only, and a cursor that says nothing of the others', async () => {
  const { write, follow } = await world();
  const stream = follow({ tenantId: A });
  expect((await stream.next()).value).toMatchObject({ row: null });
  await write(50, () => ({ tenantId: B }));
  const [mine] = await write(1, () => ({ tenantId: A }));

  const { value } = await stream.next();
  expect(value!.row).toMatchObject({ id: mine, tenantId: A });
  expect(placeOf(value!)).toBe(1);
});

test('a condition holds back records, and the cursor advances all the same', async () => {
  const { write, follow } = await world();
  const stream = follow({ tenantId: A, condition: FAILED, beatMs: 20 });
  const first = await stream.next();
  expect([first.value!.row, placeOf(first.value!)]).toEqual([null, 0]);
  // While nothing moves there is nothing to say: the next step comes when the log has grown, not after 20 ms.
  const second = stream.next();
  await write(30, () => ({ tenantId: B }));
  await write(3, () => ({ tenantId: A }));
  expect((await second).value!.row).toBe(null);
  let beat = (await second).value!;
  while (placeOf(beat) < 3) beat = (await stream.next()).value!;

  const [failed] = await write(1, () => ({ tenantId: A, action: 'auth.login_failed' }));
  expect((await stream.next()).value!.row!.id).toBe(failed);
  const again = follow({ tenantId: A, after: beat.cursor });
  expect((await again.next()).value!.row!.id).toBe(failed);
});

test('a reader of the past learns how far it came, even if nothing fulfils the condition', async () => {
  const { write, follow, feed } = await world();
  const { cursor } = await cursorNow(feed, A);
  await write(450, () => ({ tenantId: A }));
  const { value } = await follow({ tenantId: A, condition: FAILED, after: cursor }).next();
  expect([value!.row, placeOf(value!)]).toEqual([null, 450]);
});

test('a slow follower whose place has fallen out of memory misses nothing', async () => {
  const { admin, write, follow } = await world();
  const [slow, quick] = [follow({ tenantId: A }), follow({ tenantId: A })];
  await Promise.all([slow.next(), quick.next()]);
  const ids = await write(1, () => ({ tenantId: A }));
  expect((await slow.next()).value!.row!.id).toBe(ids[0]);
  // More than the tail keeps, all of it past the slow one's place.
  for (let burst = 0; burst < 3; burst++) ids.push(...(await write(900, () => ({ tenantId: A }))));
  const quickly = await rows(quick, ids.length);

  const places = (await sealedRecords(admin)).map(({ id }) => id);
  expect(quickly).toEqual(places);
  expect(await rows(slow, ids.length - 1)).toEqual(places.slice(1));
  const [last] = await write(1, () => ({ tenantId: A }));
  expect((await slow.next()).value!.row!.id).toBe(last);
});

test('leaving settles what was asked for, whether the log is quiet or the database does not answer', async () => {
  const { admin, write, follow } = await world();
  const quiet = follow({ tenantId: A });
  await quiet.next();
  const pending = [quiet.next(), quiet.next()];
  expect(await quiet.return!()).toEqual({ done: true, value: undefined });
  expect(await Promise.all(pending)).toEqual([
    { done: true, value: undefined },
    { done: true, value: undefined },
  ]);
  expect(await quiet.next()).toEqual({ done: true, value: undefined });

  await write(1, () => ({ tenantId: A }));
  await admin.begin(async (blocker) => {
    await blocker`lock table audit_seals, audit_sealer in access exclusive mode`;
    const stuck = follow({ tenantId: A });
    const next = stuck.next();
    await until('it waits for the database', async () => {
      const [row] = await blocker`select count(*)::int as waiting from pg_locks where not granted`;
      return row!.waiting > 0;
    });
    await stuck.return!();
    expect(await next).toEqual({ done: true, value: undefined });
  });
});

test('stopping ends every stream', async () => {
  const { follow, feed } = await world();
  const stream = follow({});
  await stream.next();
  const pending = stream.next();
  await feed.stop();
  expect([await pending, await follow({}).next()].map(({ done }) => done)).toEqual([true, true]);
});

test('a cursor that is not of this log is refused', async () => {
  const { write, follow, feed } = await world();
  await write(3, () => ({ tenantId: A }));
  const { cursor: ofA } = await cursorNow(feed, A);
  const { cursor: ofAll } = await cursorNow(feed, undefined);
  const refused = expect.objectContaining({ reason: 'CURSOR_MISMATCH' });
  const forged = [['-1'], ['01'], ['1.5'], ['9'.repeat(30)], ['1', '1'], []].map((value) =>
    encodeCursor('feed', A, value),
  );
  const wrong = [
    ...forged,
    encodeCursor('feed', A, [1]),
    encodeCursor('log', A, ['1']),
    ofAll,
    '',
    'x',
    ofA.slice(1),
  ];

  for (const after of wrong) expect(() => follow({ tenantId: A, after })).toThrow(refused);
  for (const tenantId of [B, undefined]) expect(() => follow({ tenantId, after: ofA })).toThrow(refused);
  await expect(follow({ tenantId: A, after: encodeCursor('feed', A, ['4']) }).next()).rejects.toEqual(
    refused,
  );
  expect((await follow({ tenantId: A, after: ofA }).next()).value).toEqual({ cursor: ofA, row: null });
});

test('a follower survives the loss of every connection', async () => {
  const { admin, url, write } = await world();
  const db = openDoor({ url, applicationName: 'feed' });
  const feed = feeding(db);
  const stream = feed.follow({ tenantId: undefined, condition: ANY });
  await stream.next();
  const reading = rows(stream, 200);
  for (let turn = 0; turn < 4; turn++) {
    await write(25, () => ({ tenantId: A }));
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'feed'`;
    await write(25, () => ({ tenantId: B }));
  }
  expect(await reading).toEqual((await sealedRecords(admin)).map(({ id }) => id));
});

test('a follower that loses its connection while it catches up reads again', async () => {
  const { admin, write, follow, feed } = await world();
  const { cursor } = await cursorNow(feed, A);
  const ids = await write(30, () => ({ tenantId: A }));
  const reading = await admin.begin(async (blocker) => {
    await blocker`lock table audit_logs in access exclusive mode`;
    const rowsOfA = rows(follow({ tenantId: A, after: cursor }), 30);
    const reader = async () => {
      const [row] = await admin`
        select pid from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%unnest%'`;
      return row?.pid as number | undefined;
    };
    await until('it reads', async () => (await reader()) !== undefined);
    await admin`select pg_terminate_backend(${(await reader())!})`;
    return { rowsOfA };
  });
  expect(await reading.rowsOfA).toEqual(ids);
});

test('nothing is read while nobody follows', async () => {
  const { url, write } = await world();
  const db = openDoor({ url });
  let reads = 0;
  const feed = feeding({ ...db, withReadTx: (tenancy, work) => (reads++, db.withReadTx(tenancy, work)) });
  const stream = feed.follow({ tenantId: A, condition: ANY });
  await stream.next();
  await stream.return!();
  await write(1, () => ({ tenantId: A }));

  const before = reads;
  for (let turn = 0; turn < 5; turn++) await write(1, () => ({ tenantId: A }));
  expect(reads).toBe(before);
  expect((await feed.follow({ tenantId: A, condition: ANY }).next()).value).toMatchObject({ row: null });
});

interface World extends FreshDatabase {
  readonly url: string;
  readonly feed: Feed;
  readonly follow: (options: Partial<FollowOptions>) => AsyncIterableIterator<Step, undefined>;
  /** Writes records in one transaction and resolves with their ids when they are sealed. */
  readonly write: (count: number, one: (at: number) => RecordFacts) => Promise<string[]>;
}

async function world(): Promise<World> {
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl, max: 14 });
  const sealer = openSealer({ db, clock: openClock(), log });
  onTestFinished(() => sealer.stop());
  const feed = feeding(db);
  return {
    ...fresh,
    url: fresh.adminUrl,
    feed,
    follow: (options) => feed.follow({ tenantId: undefined, condition: ANY, ...options }),
    async write(count, one) {
      const ids = await record(db, ...Array.from({ length: count }, (_, at) => one(at)));
      sealer.nudge();
      await until('they are sealed', async () => {
        const hex = ids.at(-1)!.replaceAll('-', '');
        return (
          (await fresh.admin`select from audit_seals where position(decode(${hex}, 'hex') in ids) > 0`)
            .length > 0
        );
      });
      return ids;
    },
  };
}

/** A feed that is stopped when the test ends. */
function feeding(db: Database): Feed {
  const feed = openFeed({ db, log });
  onTestFinished(() => feed.stop());
  return feed;
}

/** Transactions of one record of A and one of B each, one after another. */
async function writeOften(write: World['write'], times: number): Promise<void> {
  for (let turn = 0; turn < times; turn++) await write(2, (at) => ({ tenantId: at ? A : B }));
}

/** The first step of a stream that begins at the end of the log. */
async function cursorNow(feed: Feed, tenantId: string | undefined): Promise<Step> {
  const stream = feed.follow({ tenantId, condition: ANY });
  const { value } = await stream.next();
  await stream.return!();
  return value!;
}

/** The ids of the next records, whatever comes between them. */
async function rows(stream: AsyncIterableIterator<Step, undefined>, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const { value, done } = await stream.next();
    if (done) throw new Error(`The stream ended after ${ids.length} of ${count} records.`);
    if (value.row) ids.push(value.row.id);
  }
  return ids;
}

/** How many records lie behind a step: what its cursor holds, besides its tag. */
function placeOf(step: Step): number {
  const [, place] = JSON.parse(Buffer.from(step.cursor, 'base64url').toString()) as [string, string];
  return Number(place);
}
