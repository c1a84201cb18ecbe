import { eq, sql } from 'drizzle-orm';
import { integer, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import { inspect } from 'node:util';
import { expect, test } from 'vitest';

import { DatabaseError, openDatabase, postgresErrorOf, type Tx } from '../../src/platform/db.ts';
import { openDoor, openWorld } from '../world/door.ts';
import { gate, until } from '../world/wait.ts';

const A = { tenantId: '00000000-0000-4000-8000-00000000000a' };
const B = { tenantId: '00000000-0000-4000-8000-00000000000b' };

const notes = pgTable('notes', {
  id: integer('id'),
  tenantId: uuid('tenant_id').default(sql`nullif(current_setting('app.tenant'), '')::uuid`),
  body: text('body'),
});

const SCHEMA = `
  create table notes (id int constraint notes_key primary key,
    tenant_id uuid default nullif(current_setting('app.tenant'), '')::uuid, body text);
  alter table notes enable row level security;
  create policy tenancy on notes using (
    tenant_id = nullif(current_setting('app.tenant', true), '')::uuid or current_setting('app.scope', true) = 'platform');
  create table accounts (id uuid, email text unique, password text check (length(password) > 100), age int);
  grant select, insert, update on notes, accounts to custos_app`;

const write = (tx: Tx, id: number, body = 'x') => tx.insert(notes).values({ id, body });
const idsOf = async (admin: { unsafe(text: string): PromiseLike<readonly unknown[]> }) =>
  (await admin.unsafe('select id from notes order by id')).map((row) => (row as { id: number }).id);

test('what the work did is committed when the promise resolves, and its result is the result', async () => {
  const { db, admin } = await openWorld(SCHEMA);
  const result = await db.withTx(A, async (tx) => {
    await write(tx, 1);
    return 'done';
  });
  expect(result).toBe('done');
  expect(await admin`select id, tenant_id from notes`).toEqual([{ id: 1, tenant_id: A.tenantId }]);
});

test('what the work threw is what the caller gets, and nothing of the work stays', async () => {
  const { db, admin } = await openWorld(SCHEMA);
  const reason = new Error('no');
  const failing = db.withTx(A, async (tx) => {
    await write(tx, 1);
    throw reason;
  });
  await expect(failing).rejects.toBe(reason);
  expect(await idsOf(admin)).toEqual([]);
});

test('a transaction touches the rows of its tenant, and those of all for the platform', async () => {
  const { db } = await openWorld(SCHEMA);
  await db.withTx(A, (tx) => write(tx, 1));
  await db.withTx(B, (tx) => write(tx, 2));
  const seenBy = (tenancy: Parameters<typeof db.withReadTx>[0]) =>
    db.withReadTx(tenancy, async (tx) => (await tx.select().from(notes)).map(({ id }) => id));
  expect(await Promise.all([A, B, 'PLATFORM' as const].map(seenBy))).toEqual([[1], [2], [1, 2]]);
});

test('between transactions a session belongs to no tenant and cannot write', async () => {
  const { db, admin } = await openWorld(SCHEMA, { max: 1 });
  const between = await db.withTx(A, async (tx) => {
    await write(tx, 1);
    await tx.execute(sql`commit`);
    const settings = await tx.execute(
      sql`select current_setting('app.tenant') as tenant, current_setting('app.scope') as scope`,
    );
    const attempt = await tx
      .execute(sql`insert into accounts (email) values ('stray')`)
      .catch(postgresErrorOf);
    return { settings: [...settings], attempt };
  });
  expect(between).toEqual({
    settings: [{ tenant: '', scope: '' }],
    attempt: expect.objectContaining({ sqlstate: '25006' }),
  });
  expect(await admin`select from accounts`).toHaveLength(0);
});

test('a tenancy that is no UUID never reaches the database', async () => {
  const { db } = await openWorld(SCHEMA);
  const tenancy = { tenantId: "', true); drop table notes; --" };
  await expect(db.withTx(tenancy, async () => 1)).rejects.toThrow('a UUID');
});

test('sessions act as the application role, in UTC', async () => {
  const { db } = await openWorld(SCHEMA, { applicationName: 'custos-test' });
  const facts = sql`select current_user::text as role, current_setting('TimeZone') as zone,
    current_setting('application_name') as name`;
  expect(await db.withReadTx('PLATFORM', (tx) => tx.execute(facts))).toEqual([
    { role: 'custos_app', zone: 'UTC', name: 'custos-test' },
  ]);
});

test('a read transaction cannot write, and sees one moment throughout', async () => {
  const { db } = await openWorld(SCHEMA);
  const attempt = db.withReadTx('PLATFORM', (tx) => tx.execute(sql`insert into notes values (1, null, 'x')`));
  await expect(attempt).rejects.toMatchObject({ sqlstate: '25006' });

  const counts = await db.withReadTx('PLATFORM', async (tx) => {
    const before = await tx.$count(notes);
    await db.withTx(A, (other) => write(other, 1));
    return [before, await tx.$count(notes)];
  });
  expect(counts).toEqual([0, 0]);
});

test('an error the work swallows still undoes the transaction, and the caller learns of it', async () => {
  const { db, admin } = await openWorld(SCHEMA);
  const swallowing = db.withTx(A, async (tx) => {
    await write(tx, 1);
    await write(tx, 1).catch(() => {});
    return 'fine';
  });
  await expect(swallowing).rejects.toMatchObject({ sqlstate: '23505', constraint: 'notes_key' });
  expect(await idsOf(admin)).toEqual([]);
});

test('a statement with parameters is prepared once a connection', async () => {
  const { db } = await openWorld(SCHEMA, { max: 1 });
  const prepared = () =>
    db.withReadTx(A, async (tx) => {
      await tx.select().from(notes).where(eq(notes.id, 1));
      return await tx.execute(
        sql`select from pg_prepared_statements where statement like '%"notes"."id" = $1'`,
      );
    });
  await prepared();
  expect(await prepared()).toHaveLength(1);
});

test('a text never holds two statements', async () => {
  const { db } = await openWorld(SCHEMA);
  const two = db.withTx('PLATFORM', (tx) => tx.execute(sql`select 1; select 2`));
  await expect(two).rejects.toMatchObject({ sqlstate: '42601' });
});

test('a value with no column type to convert it is refused before it is sent, and harms nobody', async () => {
  const { db } = await openWorld(SCHEMA, { max: 1 });
  for (const value of [new Date(), { a: 1 }]) {
    const attempt = db.withTx(A, (tx) => tx.execute(sql`select ${value}`));
    await expect(attempt).rejects.toThrow('Parameter $1 must be');
  }
  expect(
    await db.withTx(A, (tx) =>
      tx.execute(sql`select ${'true'}::boolean as t, ${false} as f, ${'\\x00'}::bytea as b`),
    ),
  ).toEqual([{ t: true, f: false, b: Buffer.from([0]) }]);
});

test.each([
  ['a unique key', "insert into accounts (email) values ('hunter2')", '23505'],
  ['a check', 'insert into accounts (password) values ($1)', '23514'],
  ['a type', 'insert into accounts (id) values ($1)', '22P02'],
  ['a range', 'insert into accounts (age) values ($1)', '22P02'],
])(
  'an error over %s shows no value: not in its message, its stack, its cause or its hidden properties',
  async (_, insert, sqlstate) => {
    const { db, admin } = await openWorld(SCHEMA);
    await admin`insert into accounts (email) values ('hunter2')`;
    const [before = '', after] = insert.split('$1');
    const statement =
      after === undefined
        ? sql`insert into accounts (email) values (${'hunter2'})`
        : sql`${sql.raw(before)}${'hunter2'}${sql.raw(after)}`;

    let inside: unknown;
    const error: unknown = await db
      .withTx('PLATFORM', async (tx) => {
        try {
          await tx.execute(statement);
        } catch (cause) {
          inside = postgresErrorOf(cause);
          throw new Error('wrapped', { cause });
        }
      })
      .catch((thrown: unknown) => thrown);

    expect(inside).toMatchObject({ sqlstate });
    expect(postgresErrorOf(error)).toMatchObject({ sqlstate });
    expect(error).toMatchObject({ message: 'wrapped', cause: expect.any(DatabaseError) });
    expect(inspect([error, inside], { depth: 20, showHidden: true, getters: true })).not.toContain('hunter2');
    const bare: unknown = await db
      .withTx('PLATFORM', (tx) => tx.execute(statement))
      .catch((thrown: unknown) => thrown);
    expect(bare).toMatchObject({ sqlstate, name: 'DatabaseError' });
    expect(inspect(bare, { depth: 20, showHidden: true, getters: true })).not.toContain('hunter2');
  },
);

test('a handle that outlives its transaction rejects and reaches nothing', async () => {
  const { db, admin } = await openWorld(SCHEMA, { max: 1 });
  let kept: Tx | undefined;
  await db.withTx(A, async (tx) => void (kept = tx));
  await db.withTx(B, async (tx) => {
    await write(tx, 2);
    await expect(write(kept!, 1)).rejects.toMatchObject({ cause: { code: 'TX_FINISHED' } });
  });
  expect(await idsOf(admin)).toEqual([2]);
});

test('work that goes on after its connection died reaches no other transaction', async () => {
  const { db, admin } = await openWorld(SCHEMA, { max: 1 });
  const [started, resumed] = [gate<number>(), gate()];
  let late: Promise<unknown> | undefined;
  const first = db.withTx(A, async (tx) => {
    const [row] = await tx.execute(sql`select pg_backend_pid() as pid`);
    started.open(Number(row!.pid));
    await resumed.passed;
    late = write(tx, 1, 'written by A').execute();
    await late;
  });
  const reason = first.catch((error: unknown) => error);
  await admin`select pg_terminate_backend(${await started.passed})`;
  expect(await reason).toMatchObject({ code: 'TX_LOST' });

  const second = db.withTx(B, async (tx) => {
    await write(tx, 2, 'written by B');
    resumed.open();
    await until('the late statement is under way', () => late !== undefined);
    await expect(late).rejects.toMatchObject({ cause: { code: 'TX_LOST' } });
    throw new Error('B wants a rollback');
  });
  await expect(second).rejects.toThrow('B wants a rollback');
  expect(await idsOf(admin)).toEqual([]);
});

test('a 300 ms stall with 1,000 operations queued loses nothing, mixes no tenants and leaves no session in a transaction', async () => {
  const { db, admin } = await openWorld(SCHEMA, { max: 10 });
  const acknowledged = new Set<number>();
  const stalls = Array.from({ length: 10 }, () =>
    db.withTx(A, (tx) => tx.execute(sql`select pg_sleep(0.3)`)),
  );
  const operations = Array.from({ length: 1_000 }, async (_, id) => {
    await db.withTx(id % 2 === 0 ? A : B, (tx) => write(tx, id, id % 2 === 0 ? A.tenantId : B.tenantId));
    acknowledged.add(id);
  });
  await Promise.all([...stalls, ...operations]);

  expect(acknowledged.size).toBe(1_000);
  expect(new Set(await idsOf(admin))).toEqual(acknowledged);
  expect(await admin`select from notes where tenant_id::text is distinct from body`).toHaveLength(0);
  expect(
    await admin`select from pg_stat_activity
    where datname = current_database() and application_name = 'custos' and state like 'idle in%'`,
  ).toHaveLength(0);
});

test('a transaction past its deadline is cut off, commits nothing, and its connection is replaced', async () => {
  const { db, admin } = await openWorld(SCHEMA, { max: 1, deadlineMs: 300 });
  const startedAt = performance.now();
  const slow = db.withTx(A, async (tx) => {
    await write(tx, 1);
    await tx.execute(sql`select pg_sleep(30)`);
  });
  await expect(slow).rejects.toMatchObject({ code: 'TX_DEADLINE' });
  expect(performance.now() - startedAt).toBeLessThan(1_300);
  await db.withTx(A, (tx) => write(tx, 2));
  expect(await idsOf(admin)).toEqual([2]);
});

test('work that never ends is cut off at the deadline too', async () => {
  const { db } = await openWorld(SCHEMA, { max: 1, deadlineMs: 200 });
  await expect(db.withTx(A, () => new Promise(() => {}))).rejects.toMatchObject({ code: 'TX_DEADLINE' });
});

test('a deadline of its own moves the limits of the server along, for that transaction alone', async () => {
  const { db } = await openWorld(SCHEMA, { max: 1, deadlineMs: 2_000 });
  const limits = sql`select current_setting('statement_timeout') as statement,
    current_setting('idle_in_transaction_session_timeout') as idle`;
  expect(await db.withTx(A, (tx) => tx.execute(limits), { deadlineMs: 60_000 })).toEqual([
    { statement: '61s', idle: '61s' },
  ]);
  expect(await db.withTx(A, (tx) => tx.execute(limits))).toEqual([{ statement: '3s', idle: '3s' }]);
});

test('who waits for a connection too long is told that nothing was begun', async () => {
  const { db } = await openWorld(SCHEMA, { max: 1, acquireMs: 50 });
  const [begun, over] = [gate(), gate()];
  const holder = db.withTx(A, async () => {
    begun.open();
    await over.passed;
  });
  await begun.passed;
  await expect(db.withTx(A, (tx) => write(tx, 1))).rejects.toMatchObject({ code: 'POOL_TIMEOUT' });
  over.open();
  await holder;
});

test('a server that refuses us for good says so at once, with its own words', async () => {
  const { adminUrl } = await openWorld(SCHEMA);
  const db = openDoor({ url: adminUrl, role: 'nobody_knows' });
  await expect(db.withTx(A, (tx) => write(tx, 1))).rejects.toMatchObject({
    sqlstate: '22023',
    message: expect.stringContaining('nobody_knows'),
  });
});

test('listeners hear, hear again after a reconnect, and are told of it so that they can catch up', async () => {
  const { db, admin } = await openWorld(SCHEMA);
  const heard: string[] = [];
  let listening = 0;
  const stopListening = await db.listen(
    'A channel',
    (payload) => heard.push(payload),
    () => listening++,
  );
  const backends = () => admin`select pid from pg_stat_activity where query = 'listen "A channel"'
    and datname = current_database()`;
  await until('it listens', () => listening === 1);
  await admin.notify('A channel', 'one');
  await until('the first is heard', () => heard.length === 1);

  await admin`select pg_terminate_backend(${(await backends())[0]!.pid})`;
  await until('it listens again', () => listening === 2);
  await admin.notify('A channel', 'two');
  await until('the second is heard', () => heard.length === 2);
  expect(heard).toEqual(['one', 'two']);

  await stopListening();
  await admin.notify('A channel', 'three');
  expect(heard).toEqual(['one', 'two']);
});

test('stopping lets running transactions end, refuses new ones, and leaves nothing open', async () => {
  const { adminUrl, admin } = await openWorld(SCHEMA);
  const open = () =>
    process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap' || name === 'Timeout').length;
  const before = open();
  const db = openDatabase({ url: adminUrl, max: 2 });
  const [begun, over] = [gate(), gate()];
  await db.withTx(A, (tx) => write(tx, 1));
  await db.listen(
    'c',
    () => {},
    () => {},
  );
  const running = db.withTx(A, async (tx) => {
    begun.open();
    await over.passed;
    await write(tx, 2);
  });
  await begun.passed;

  const stopped = db.stop();
  await expect(db.withTx(A, (tx) => write(tx, 3))).rejects.toMatchObject({ code: 'DB_STOPPED' });
  over.open();
  await Promise.all([running, stopped, db.stop()]);
  expect(await idsOf(admin)).toEqual([1, 2]);
  await until('everything is closed', () => open() <= before);
});

test('stopping does not wait for transactions that do not end', async () => {
  const { adminUrl } = await openWorld(SCHEMA);
  const db = openDatabase({ url: adminUrl });
  const begun = gate();
  const endless = db.withTx(A, async () => {
    begun.open();
    await new Promise(() => {});
  });
  const reason = endless.catch((error: unknown) => error);
  await begun.passed;
  const startedAt = performance.now();
  await db.stop();
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  expect(await reason).toMatchObject({ code: 'TX_LOST' });
});
