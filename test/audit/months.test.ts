import { expect, onTestFinished, test, vi } from 'vitest';

import { openMonths } from '../../src/audit/months.ts';
import { idAt } from '../../src/platform/ids.ts';
import { openLog } from '../../src/platform/log.ts';
import { SettingsError } from '../../src/platform/settings.ts';
import { rawApplication } from '../world/application.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { INSERT_RAW, rawRecord } from '../world/rawRecord.ts';
import { world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const DAY_MS = 86_400_000;
const TENANT = '00000000-0000-4000-8000-00000000000a';

test('the months from two back to three ahead are there, and a start after a long rest makes those it lacks', async () => {
  const here = await world();
  const expected = monthsAround();
  expect(await monthsOf(here.database)).toEqual(expected);
  await drop(here.database, expected.slice(1));

  const awake = await here.another();

  expect(await monthsOf(here.database)).toEqual(expected);
  expect(awake.url).not.toBe(here.url);
  await here.tenant();
});

test('a process that runs for months makes the next ones as the application, which has no say in which', async () => {
  const database = await freshDatabase();
  const expected = monthsAround();
  const months = await openMonths({
    db: openDoor({ url: database.adminUrl }),
    log: openLog({ level: 'silent' }),
    intervalMs: 20,
  });
  onTestFinished(() => months.stop());

  await drop(database, expected.slice(-2));
  await until(
    'the months are there again',
    async () => (await monthsOf(database)).length === expected.length,
  );

  const raw = await rawApplication(database);
  const made = raw.run('PLATFORM', (sql) => sql`call create_audit_partitions('2020-01-01', '2020-01-01')`);
  await expect(made).rejects.toMatchObject({ code: '42501' });
});

test('a month is bound and guarded as the log is, whichever way it was made', async () => {
  const { admin } = await freshDatabase();
  await admin`call create_audit_partitions('2020-01-01', '2020-01-01')`;
  const factsOf = async (name: string) => {
    const [facts] = await admin`
      select (select count(*)::int from pg_index where indrelid = table_.oid) as indexes,
        (select array_agg(pg_get_constraintdef(oid) order by conname) from pg_constraint
          where conrelid = table_.oid and contype = 'c') as checks,
        (select array_agg(format('%s %s %s', tgname, tgtype, tgenabled) order by tgname) from pg_trigger
          where tgrelid = table_.oid) as triggers,
        (select array_agg(format('%s %s', attname, attnotnull) order by attnum) from pg_attribute
          where attrelid = table_.oid and attnum > 0) as columns,
        relrowsecurity, relforcerowsecurity, reloptions
      from pg_class as table_ where oid = ${name}::regclass`;
    return facts;
  };
  const whole = await factsOf('audit_logs');
  expect(whole).toMatchObject({ relforcerowsecurity: true });
  expect(await factsOf('audit_logs_2020_01')).toEqual(whole);
  const [attached] = await admin`
    select count(*)::int as indexes from pg_inherits join pg_index on indexrelid = inhrelid
    where indrelid = 'audit_logs_2020_01'::regclass`;
  expect(attached!['indexes']).toBe(whole!['indexes']);
});

test('making a month waits for no writer, and no writer for it', async () => {
  const { admin } = await freshDatabase();
  const insert = (sql: typeof admin) =>
    sql.unsafe(`${INSERT_RAW} $1::text::json)`, [
      JSON.stringify([rawRecord({ tenantId: TENANT, id: idAt(BigInt(Date.now()) * 1000n) })]),
    ]);
  const [writer, maker] = [await admin.reserve(), await admin.reserve()];
  for (const each of [writer, maker]) await each`set statement_timeout = '5s'`;
  await writer`begin`;
  await insert(writer);
  await maker`begin`;
  await maker`call create_audit_partitions('2020-01-01', '2020-03-01')`;
  await insert(writer);
  await writer`commit`;
  await insert(writer);
  await maker`commit`;
  const [row] = await maker`select count(*)::int as records from audit_logs`;
  expect(row).toEqual({ records: 3 });
  for (const each of [writer, maker]) each.release();
});

test('two processes that miss the same month make it once', async () => {
  const database = await freshDatabase();
  await drop(database, monthsAround());
  const [one, other] = [openDoor({ url: database.adminUrl }), openDoor({ url: database.adminUrl })];
  const log = openLog({ level: 'silent' });
  const opened = await Promise.all([one, other, one, other].map((db) => openMonths({ db, log })));
  for (const each of opened) await each.stop();
  expect(await monthsOf(database)).toEqual(monthsAround());
});

test('a clock more than a day from the database’s starts no server, and the message names both', async () => {
  const here = await world();
  for (const offMs of [-DAY_MS - 60_000, DAY_MS + 60_000]) {
    const clock = shifted(offMs);
    const start = here.another();
    await expect(start).rejects.toThrow(SettingsError);
    await expect(start).rejects.toThrow(
      /clock of this machine must be within a day .* it says 20.*Z.* database's 20.*Z/,
    );
    clock.mockRestore();
  }
  await expect(here.another()).resolves.toBeDefined();
});

test('while the clock is off nothing is changed or recorded, and it goes on when it is set right', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const rename = () => admin.do('updateTenant', { id: admin.tenantId, name: 'Renamed' }, 'tenant { name }');
  const count = async () =>
    (await here.database.admin`select count(*)::int as n from audit_logs`)[0]!['n'] as number;
  const before = await count();

  const clock = shifted(2 * DAY_MS);
  const refused = await rename();
  const ready = await fetch(`${here.url}/readyz`);
  const records = await count();
  clock.mockRestore();

  expect(refused.errors[0]!.extensions).toMatchObject({ code: 'AUDIT_UNAVAILABLE', reason: 'CLOCK_OFF' });
  expect(records).toBe(before);
  expect({ status: ready.status, body: await ready.json() }).toMatchObject({
    status: 503,
    body: { checks: { clock: 'failing' } },
  });
  expect((await rename()).data.tenant.name).toBe('Renamed');
});

function shifted(ms: number) {
  const now = Date.now.bind(Date);
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + ms);
  onTestFinished(() => clock.mockRestore());
  return clock;
}

function monthsAround(): string[] {
  const now = new Date();
  return [-2, -1, 0, 1, 2, 3].map((offset) => {
    const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + offset, 1)).toISOString();
    return `audit_logs_${month.slice(0, 4)}_${month.slice(5, 7)}`;
  });
}

async function monthsOf({ admin }: FreshDatabase): Promise<string[]> {
  const rows = await admin`
    select inhrelid::regclass::text as name from pg_inherits where inhparent = 'audit_logs'::regclass order by 1`;
  return rows.map(({ name }) => name as string);
}

async function drop({ admin }: FreshDatabase, months: readonly string[]): Promise<void> {
  for (const month of months) await admin.unsafe(`drop table ${month}`);
}
