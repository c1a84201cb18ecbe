import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

import { type Command, seedLog } from '../src/commands.ts';
import { microsFrom } from '../src/platform/ids.ts';
import { openLog } from '../src/platform/log.ts';
import { readSettings } from '../src/platform/settings.ts';
import { startServer } from '../src/server.ts';
import { verifyDatabase } from '../src/verify.ts';
import { type FreshDatabase, freshDatabase } from './world/database.ts';
import { LOGIN_ROLE, post } from './world/server.ts';

const SIZE = { records: 5_000, days: 60, until: microsFrom('2026-03-01T00:00:00Z') };

test('a log of any length is what it would be had it happened: in its place, counted, signed and true', async () => {
  const { command, admin } = await open();
  const seen: number[] = [];

  const made = await seedLog(command, SIZE, ({ written }) => seen.push(written));

  const [{ records, sealed, judged, unplaced, first, last } = {} as never] = await admin`
    select count(*)::int as records, (select pos from audit_sealer)::int as sealed,
      (select min(pos)::int from security_detectors) as judged,
      (select count(*)::int from audit_trees tree where size <> (
        select count(*) from audit_logs where audit_logs.tenant_id = tree.tenant_id)) as unplaced,
      min(created_at) as first, max(created_at) as last
    from audit_logs`;
  expect({ records, sealed, judged, unplaced }).toEqual({
    records: 5_000,
    sealed: 5_000,
    judged: 5_000,
    unplaced: 0,
  });
  expect(first as Date).toEqual(new Date('2025-12-31T00:00:00.001Z'));
  expect((last as Date) < new Date('2026-03-01')).toBe(true);
  expect(made).toMatchObject({ tenants: 3, records: 5_000 });
  expect(seen.at(-1)).toBe(5_000);

  const [numbers] = await admin`
    with counted as (select action, status, count(*) from audit_logs group by 1, 2),
      kept as (select action, status, sum(count) as count from audit_hours group by 1, 2)
    select (select count(*)::int from counted full join kept using (action, status, count)
      where counted is null or kept is null) as wrong, (select count(*)::int from counted) as kinds`;
  expect(numbers).toMatchObject({ wrong: 0 });
  expect(numbers!['kinds']).toBeGreaterThan(13);

  const said: string[] = [];
  await verifyDatabase(command, { key: undefined, checkpoints: [], personal: true }, (line) =>
    said.push(line),
  );
  expect(said.at(-1)).toMatch(/^ok .* 5000 records/);

  await expect(seedLog(command, SIZE)).rejects.toThrow('the database is not empty, it holds 3 tenants');
});

test('its administrators sign in, and read it by name', async () => {
  const { command, admin } = await open();
  const { emails, password } = await seedLog(command, SIZE);
  const server = await startServer({ ...command.settings, port: 0 }, command.log);
  onTestFinished(() => server.stop());
  const login = `mutation { login(input: { email: "${emails[0]}", password: "${password}" }) { accessToken } }`;
  const { accessToken } = (await post(server.url, { query: login })).data.login;

  const query = `{ auditLogs(first: 500, filter: { actions: [USER_UPDATED, LOGIN_FAILED] }) {
    totalCount nodes { actor { name email } resourceName details changes { path redaction } } } }`;
  const { data, errors } = await post(server.url, { query }, { authorization: `Bearer ${accessToken}` });

  expect(errors).toEqual([]);
  const { nodes, totalCount } = data.auditLogs;
  expect(nodes).toHaveLength(Math.min(totalCount, 500));
  const named = (nodes as { actor: object; resourceName: string; details: { email?: string } }[]).map(
    ({ actor, resourceName, details }) => ({ ...actor, resourceName, attempted: details.email }),
  );
  expect(named).toContainEqual(
    expect.objectContaining({
      name: expect.any(String),
      email: expect.stringContaining('@'),
      resourceName: expect.any(String),
    }),
  );
  expect(named).toContainEqual(
    expect.objectContaining({ name: null, attempted: expect.stringContaining('@') }),
  );
  const [largest] = await admin`
    select count(*) / 5000.0 as share from audit_logs group by tenant_id order by 1 desc limit 1`;
  expect(Number(largest!['share'])).toBeGreaterThan(0.3);
});

test('the same size makes the same log', async () => {
  const [one, other] = [await open(), await open()];
  await seedLog(one.command, SIZE);
  await seedLog(other.command, SIZE);
  const clear = ({ admin }: FreshDatabase) => admin`
    select md5(string_agg(concat_ws(' ', tenant_id, id, created_at, operation_id, user_id, actor, action, resource_id, status,
      failure, host(ip_address), request_id, details, changes), '' order by id)) as all from audit_logs`;
  expect(await clear(one)).toEqual(await clear(other));
});

test('one that was called off says so, and nothing is made beside what it left', async () => {
  const { command } = await open();
  const called = new AbortController();
  const making = seedLog({ ...command, signal: called.signal }, SIZE, ({ written }) => {
    if (written > 0) called.abort(new Error('called off'));
  });
  await expect(making).rejects.toThrow('called off');
  await expect(seedLog(command, SIZE)).rejects.toThrow('a part of a log whose making was called off');
});

async function open(): Promise<FreshDatabase & { readonly command: Command }> {
  const database = await freshDatabase();
  await database.admin.unsafe(LOGIN_ROLE);
  const databaseUrl = new URL(database.adminUrl);
  databaseUrl.username = 'world_login';
  const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-log-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const settings = {
    ...readSettings({
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: database.adminUrl,
      CUSTOS_DATA_DIR: dataDir,
    }),
    passwordCost: 4,
  };
  const log = openLog({ level: 'silent' });
  return { ...database, command: { settings, log, signal: new AbortController().signal } };
}
