/** An export whose process is killed in the middle is gone on with by the next, and is the same file as if nothing had happened. */
import { createHash } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';

import { openManifest } from '../../src/ledger/manifest.ts';
import { build, start } from '../world/process.ts';
import { ask, seeded } from '../world/seeded.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

const RECORDS = 40_000;
const KILLS = 2;
const TAKEN_UP_MS = 90_000;

test('kill -9 in the middle of an export loses and doubles nothing', { timeout: 300_000 }, async () => {
  const { env, admin } = await seeded(RECORDS);
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
