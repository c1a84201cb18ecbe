/** Background work: enqueued with the change it belongs to, done by somebody, and told of. */
import { expect, test } from 'vitest';
import { z } from 'zod';

import { openJobs, type Queue } from '../../src/platform/jobs.ts';
import { openDatabase } from '../../src/platform/db.ts';
import { openLog } from '../../src/platform/log.ts';
import { freshDatabase } from '../world/database.ts';
import { world } from '../world/server.ts';
import { gate, until } from '../world/wait.ts';
import { onTestFinished } from 'vitest';

const QUEUE: Queue<{ n: number }> = { name: 'audit-export', data: z.object({ n: z.number() }) };

async function open() {
  const database = await freshDatabase();
  const db = openDatabase({ url: database.adminUrl });
  const lines: string[] = [];
  const log = openLog({ level: 'debug', to: { write: (line: string) => void lines.push(line) } });
  const start = async () => await openJobs({ db, log });
  const jobs = await start();
  onTestFinished(async () => {
    await jobs.stop();
    await db.stop();
  });
  return { database, db, jobs, start, lines };
}

test('a job is done if and only if the transaction it was enqueued in commits', async () => {
  const { db, jobs } = await open();
  const done: number[] = [];
  jobs.work(QUEUE, async ({ data }) => void done.push(data.n));
  await expect(
    db.withTx('PLATFORM', async (tx) => {
      await jobs.enqueue(tx, QUEUE, { n: 1 });
      throw new Error('No.');
    }),
  ).rejects.toThrow('No.');
  await db.withTx('PLATFORM', (tx) => jobs.enqueue(tx, QUEUE, { n: 2 }));
  jobs.nudge(QUEUE);
  await until('the second is done', () => done.length > 0);
  expect(done).toEqual([2]);
  await until('it is told as done', async () => {
    const health = await db.withReadTx('PLATFORM', (tx) => jobs.health(tx));
    const ours = health.find(({ queue }) => queue === QUEUE.name);
    return ours?.completed === 1 && ours.active === 0 && ours.waiting === 0;
  });
});

test('a job that throws is tried again, and what it threw is in the log', async () => {
  const { database, db, jobs, lines } = await open();
  let attempts = 0;
  jobs.work(QUEUE, async () => {
    attempts++;
    if (attempts === 1) throw new Error('Not yet.');
  });
  await db.withTx('PLATFORM', (tx) => jobs.enqueue(tx, QUEUE, { n: 1 }));
  jobs.nudge(QUEUE);
  await until('it has failed', async () => {
    const rows =
      await database.admin`select state, start_after > now() as later from pgboss.job where name = ${QUEUE.name}`;
    return rows[0]?.['state'] === 'retry' && rows[0]['later'] === true;
  });
  expect(lines.join()).toContain('Not yet.');
  await database.admin`update pgboss.job set start_after = now() - interval '1 second' where name = ${QUEUE.name}`;
  jobs.nudge(QUEUE);
  await until('it is done', () => attempts === 2);
});

test('what a process that was killed had begun is taken up by another, and what is being done is left alone', async () => {
  const { database, db, jobs } = await open();
  const held = gate();
  const begun: number[] = [];
  jobs.work(QUEUE, async ({ data }) => {
    begun.push(data.n);
    if (data.n === 2) await held.passed;
  });
  const sql = database.admin;
  // As a process leaves it that was killed in the middle, a minute ago.
  await sql`insert into pgboss.job (name, data, state, started_on, expire_in, retry_limit)
    values (${QUEUE.name}, '{"n": 1}', 'active', now() - interval '1 minute', interval '30 seconds', 5)`;
  await db.withTx('PLATFORM', (tx) => jobs.enqueue(tx, QUEUE, { n: 2 }));
  jobs.nudge(QUEUE);
  await until('the second is being done', () => begun.length === 1);
  await until(
    'it says that it is',
    async () => {
      const [row] = await sql`select started_on > created_on + interval '4 seconds' as said from pgboss.job
        where name = ${QUEUE.name} and data->>'n' = '2'`;
      return row!['said'] === true;
    },
    10_000,
  );
  held.open();
  await until('the first is taken up', () => begun.includes(1), 30_000);
  expect(begun).toEqual([2, 1]);
});

test('who sees all tenants is told of the queues, and nobody else', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const root = await here.root();
  const ask = '{ auditHealth { jobs { queue waiting active failed completed waitingSince } } }';
  expect((await admin.ask(ask)).data.auditHealth.jobs).toBe(null);
  const { data } = await root.ask(ask);
  const queues = (data.auditHealth.jobs as { queue: string }[]).map(({ queue }) => queue);
  expect(queues).toEqual(expect.arrayContaining(['audit-export', 'audit-export-expiry', 'audit-retention']));
});
