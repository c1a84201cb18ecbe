/** An export whose process is killed in the middle is gone on with by the next, and is the same file as if nothing had happened. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';

import { openManifest } from '../../src/ledger/manifest.ts';
import { freshDatabase } from '../world/database.ts';
import { build, emptyDataDir, start } from '../world/process.ts';
import { PASSWORD, post } from '../world/server.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

const CLI = path.resolve(import.meta.dirname, '../../dist/cli.js');
const ADMIN = 'root@custos.example';
const RECORDS = 40_000;
const KILLS = 2;
const TAKEN_UP_MS = 90_000;

test('kill -9 in the middle of an export loses and doubles nothing', { timeout: 300_000 }, async () => {
  const { env, admin } = await seeded();
  const [{ tenantId }] = (await admin`
    select tenant_id as "tenantId" from audit_trees order by size desc limit 1`) as [{ tenantId: string }];
  let program = start(env);
  const ordered = await ask(
    (await program.ready()).url,
    `mutation { createAuditExport(input: { tenantId: "${tenantId}", format: NDJSON }) { auditExport { id } } }`,
  );
  const { id } = ordered.createAuditExport.auditExport as { id: string };
  const state = async () =>
    (await admin`select state, next_seq::int as next from audit_exports where id = ${id}`)[0] as {
      state: string;
      next: number;
    };
  for (let kill = 1; kill <= KILLS; kill++) {
    const before = (await state()).next;
    await until('it has come further', async () => (await state()).next > before, TAKEN_UP_MS);
    program.signal('SIGKILL');
    await program.ended();
    expect((await state()).state).toBe('RUNNING');
    program = start(env);
    await program.ready();
  }
  const { url } = await program.ready();
  await until('it is done', async () => (await state()).state === 'DONE', TAKEN_UP_MS);

  const { auditExport } = await ask(url, `{ auditExport(id: "${id}") { manifest downloadUrl } }`);
  const { pathname, search } = new URL(auditExport.downloadUrl as string);
  const file = Buffer.from(await (await fetch(new URL(pathname + search, url))).arrayBuffer());
  const manifest = openManifest(auditExport.manifest as string);
  expect(createHash('sha256').update(file).digest('hex')).toBe(manifest.sha256);
  const lines = file.toString().trimEnd().split('\n');
  const positions = lines.map((line) => (JSON.parse(line) as { position: number }).position);
  expect(positions).toEqual(Array.from({ length: manifest.to }, (_, position) => position));
  expect(manifest.rows).toBe(manifest.to);
});

async function seeded() {
  const { admin, adminUrl } = await freshDatabase();
  await admin.unsafe(`do $$ begin create role export_login login password 'login';
    exception when duplicate_object then null; end $$`);
  const url = new URL(adminUrl);
  url.username = 'export_login';
  url.password = 'login';
  const env = {
    CUSTOS_DATA_DIR: await emptyDataDir(),
    DATABASE_URL: url.href,
    DATABASE_ADMIN_URL: adminUrl,
    BOOTSTRAP_ADMIN_EMAIL: ADMIN,
    BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
  };
  const { PATH = '', HOME = '' } = process.env;
  await promisify(execFile)(process.execPath, [CLI, 'seed', '--records', String(RECORDS)], {
    env: { PATH, HOME, PASSWORD_COST: '10', ...env },
  });
  return { env, admin };
}

// oxlint-disable-next-line typescript/no-explicit-any -- what a test looks into, in the shape it has asked for
async function ask(url: string, query: string): Promise<any> {
  const login = `mutation { login(input: { email: "${ADMIN}", password: "${PASSWORD}" }) { accessToken } }`;
  const { data } = await post(url, { query: login });
  const authorization = `Bearer ${data.login.accessToken as string}`;
  const answer = await post(url, { query }, { authorization });
  if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
  return answer.data;
}
