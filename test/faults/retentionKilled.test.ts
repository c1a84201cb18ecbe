/** A process that looks after retention is killed in the middle: the next goes on, and nothing is lost or dropped twice. */
import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';

import { verifyFile } from '../../src/verify.ts';
import { build, start } from '../world/process.ts';
import { ask, CLI, seeded } from '../world/seeded.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

const RECORDS = 30_000;
const KILLS = 2;
const TAKEN_UP_MS = 120_000;

test('kill -9 in the middle of a retention run loses and doubles nothing', { timeout: 400_000 }, async () => {
  const { env, admin } = await seeded(RECORDS);
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-kept-'));
  const settings = { ...env, AUDIT_ARCHIVE: folder, AUDIT_LOG_RETENTION_DAYS: '30' };
  const counts = async () => {
    const [row] = await admin`
      select (select count(*)::int from audit_logs) as here, (select pos::int from audit_sealer) as sealed,
        (select count(*)::int from audit_archives) as archived,
        (select coalesce(sum(rows), 0)::int from audit_archives where dropped_at is not null) as dropped,
        (select count(*)::int from audit_logs where action = 'audit.retention_run') as runs`;
    return row as Record<'here' | 'sealed' | 'archived' | 'dropped' | 'runs', number>;
  };
  let program = start(settings);
  await program.ready();
  await admin`insert into pgboss.job (name, data, retry_limit, retry_delay, expire_in, keep_until)
    values ('audit-retention', '{}', 5, 1, interval '30 seconds', now() + interval '1 day')`;
  for (let kill = 1; kill <= KILLS; kill++) {
    const before = (await counts()).archived;
    await until('more is archived', async () => (await counts()).archived > before, TAKEN_UP_MS);
    program.signal('SIGKILL');
    await program.ended();
    expect((await counts()).runs).toBe(0);
    program = start(settings);
    await program.ready();
  }
  await until('the run is over', async () => (await counts()).runs === 1, TAKEN_UP_MS);
  await until('all is sealed', async () => {
    const { here, dropped, sealed } = await counts();
    return here + dropped === sealed;
  });
  expect((await counts()).dropped).toBeGreaterThan(1_000);

  // Every month that was dropped lies in the archive, once, and proves itself.
  const archives =
    await admin`select file, rows::int as rows, dropped_at is not null as dropped from audit_archives`;
  for (const { file, rows, dropped } of archives) {
    expect(dropped).toBe(true);
    const said = await verifyFile(path.join(folder, `${file as string}.manifest`), undefined);
    expect(said[0]).toContain(`${rows as number} records are those of`);
  }
  const { url } = await program.ready();
  const tenants =
    await admin`select distinct tenant_id as id from audit_archives where tenant_id in (select id from tenants)`;
  for (const { id } of tenants.slice(0, 3)) {
    const { verifyAuditLog } = await ask(url, `{ verifyAuditLog(tenantId: "${id as string}") { ok } }`);
    expect(verifyAuditLog.ok).toBe(true);
  }
  program.signal('SIGTERM');
  await program.ended();
  const { PATH = '', HOME = '' } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, 'verify', '--database'], {
    env: { PATH, HOME, ...env },
  });
  expect(stdout).not.toContain('WRONG');
});
