/** Exports over the API: ordered, followed, fetched and proven. */
import { createHash } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { expect, test } from 'vitest';

import { parseVerifierKey } from '../../src/ledger/checkpoint.ts';
import { openManifest } from '../../src/ledger/manifest.ts';
import { verifyFile } from '../../src/verify.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { download, type Exported, exported } from '../world/exports.ts';
import { allSigned } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';
import { clientOf } from '../world/live.ts';
import { subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const RECORD = `id position createdAt schemaVersion action actionKey category severity status tenantId resource resourceId
  resourceName details changes { path before after redaction } ipAddress userAgent requestId
  actor { type id email name role }`;

async function stage() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant('Acme');
  const bob = await here.user(admin, 'MEMBER');
  await admin.do('updateUser', { id: bob.id, fullName: '=HYPERLINK("http://evil.example")' });
  await here.signIn(bob.email, 'wrong password');
  await here.tenant('Globex');
  await allSigned(here.database.admin);
  return { here, admin, bob, tenantId };
}

async function fileOf(here: World, made: Exported) {
  const response = await download(here.url, made);
  expect(response.status).toBe(200);
  const bytes = Buffer.from(await response.arrayBuffer());
  return { bytes, headers: response.headers, sha256: createHash('sha256').update(bytes).digest('hex') };
}

async function logOf(admin: Person) {
  const { data } = await admin.ask(
    `{ auditLogs(first: 500, orderBy: { direction: ASC }) { nodes { ${RECORD} } } }`,
  );
  return (data.auditLogs.nodes as { id: string; position: number }[]).toSorted(
    (one, other) => one.position - other.position,
  );
}

test('NDJSON holds the log as the API shows it, in sealed order, and a manifest that proves the file', async () => {
  const { here, admin, tenantId } = await stage();
  const log = await logOf(admin);
  const made = await exported(admin, { format: 'NDJSON' });
  const { bytes, headers, sha256 } = await fileOf(here, made);

  const records = bytes
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(records).toMatchObject(log);
  expect(made).toMatchObject({ rows: log.length, bytes: bytes.length, progress: 1, error: null });
  expect(headers.get('content-type')).toBe('application/x-ndjson');
  expect(headers.get('content-disposition')).toMatch(/^attachment; filename="audit-log-.*\.ndjson"$/);

  const { data } = await admin.ask('{ auditCheckpoint { verifierKey origin } }');
  const key = parseVerifierKey(data.auditCheckpoint.verifierKey as string);
  const manifest = openManifest(made.manifest, key);
  expect(manifest).toMatchObject({
    log: data.auditCheckpoint.origin,
    format: 'NDJSON',
    filter: null,
    rows: log.length,
    bytes: bytes.length,
    sha256,
    firstPosition: 0,
    lastPosition: log.length - 1,
    to: log.length,
  });
  expect(manifest.log).toContain(tenantId);
  const file = path.join(await mkdtemp(path.join(tmpdir(), 'custos-export-')), 'log.ndjson');
  await writeFile(file, bytes);
  await writeFile(`${file}.manifest`, made.manifest);
  const keyText = data.auditCheckpoint.verifierKey as string;
  expect((await verifyFile(`${file}.manifest`, keyText)).join()).toContain(
    `holds ${log.length} of the records`,
  );
  await writeFile(file, bytes.subarray(0, -1));
  await expect(verifyFile(`${file}.manifest`, keyText)).rejects.toThrow('SHA-256');
  expect(() => openManifest(made.manifest.replace(`"rows":${log.length}`, '"rows":1'), key)).toThrow(
    'signature',
  );
});

test('CSV and Parquet hold the same, and no cell of the CSV is a formula', async () => {
  const { here, admin } = await stage();
  const log = await logOf(admin);
  const csv = await exported(admin, { format: 'CSV' });
  await allSigned(here.database.admin);
  const parquet = await exported(admin, { format: 'PARQUET' });
  const text = (await fileOf(here, csv)).bytes.toString();
  const lines = text.trimEnd().split('\r\n');
  // The export of the CSV is the last record of the Parquet file.
  expect([lines.length - 1, parquet.rows]).toEqual([log.length, log.length + 1]);
  expect(lines[0]).toMatch(/^id,position,createdAt,action,/);
  expect(text).toContain(`'=HYPERLINK`);
  expect(text).not.toMatch(/(^|,)"?=HYPERLINK/m);

  const { buffer, byteOffset, byteLength } = (await fileOf(here, parquet)).bytes;
  const rows = await parquetReadObjects({ file: buffer.slice(byteOffset, byteOffset + byteLength) });
  expect(rows.slice(0, log.length).map(({ id, position }) => [id, Number(position)])).toEqual(
    log.map(({ id, position }) => [id, position]),
  );
  expect(rows[0]!['createdAt']).toBeInstanceOf(Date);
});

test('a filter says what goes in, and an empty file is one, too', async () => {
  const { here, admin, bob } = await stage();
  const failed = await exported(admin, { format: 'NDJSON', filter: { actions: ['LOGIN_FAILED'] } });
  const { bytes } = await fileOf(here, failed);
  expect(JSON.parse(bytes.toString())).toMatchObject({ action: 'LOGIN_FAILED', resourceId: bob.id });
  expect(openManifest(failed.manifest)).toMatchObject({ rows: 1, filter: { actions: ['LOGIN_FAILED'] } });

  const none = await exported(admin, { format: 'PARQUET', filter: { actions: ['TENANT_DELETED'] } });
  const { buffer, byteOffset, byteLength } = (await fileOf(here, none)).bytes;
  expect(await parquetReadObjects({ file: buffer.slice(byteOffset, byteOffset + byteLength) })).toEqual([]);
  expect(openManifest(none.manifest)).toMatchObject({ rows: 0, firstPosition: null, lastPosition: null });
});

test('the order is on record, with the filter as personal data', async () => {
  const { admin } = await stage();
  const { id } = await exported(admin, { format: 'CSV', filter: { text: 'bob' } });
  const { data } = await admin.ask(
    `{ auditLogs(filter: { actions: [AUDIT_EXPORT_CREATED] }) { nodes { resourceId changes { path after } } } }`,
  );
  expect(data.auditLogs.nodes).toEqual([
    {
      resourceId: id,
      changes: [
        { path: 'format', after: 'CSV' },
        { path: 'filter', after: { text: 'bob' } },
      ],
    },
  ]);
});

test('a link is good for the session it was given to, and for nothing else', async () => {
  const { here, admin } = await stage();
  const auditor = await here.user(admin, 'AUDITOR');
  const made = await exported(auditor, { format: 'CSV' });
  const other = await exported(admin, { format: 'CSV' });
  const swapped = made.downloadUrl.replace(made.id, other.id);
  const forged = `${made.downloadUrl.slice(0, -2)}AA`;
  const statuses = async (...urls: string[]) =>
    await Promise.all(urls.map(async (downloadUrl) => (await download(here.url, { downloadUrl })).status));
  expect(await statuses(made.downloadUrl, swapped, forged, made.downloadUrl.replace(/\?.*/, ''))).toEqual([
    200, 404, 404, 404,
  ]);

  await admin.do('changeUserRole', { id: auditor.id, role: 'MEMBER' });
  expect(await statuses(made.downloadUrl)).toEqual([403]);
  await admin.do('changeUserRole', { id: auditor.id, role: 'AUDITOR' });
  expect(await statuses(made.downloadUrl)).toEqual([200]);
  await auditor.do('logout', undefined);
  expect(await statuses(made.downloadUrl)).toEqual([401]);
  expect(sessionOf(auditor)).toBeTruthy();
});

test('progress is followed to its end', async () => {
  const { here, admin } = await stage();
  const { data } = await admin.do('createAuditExport', { format: 'CSV' }, 'auditExport { id }');
  const operation = `subscription { live: auditExportProgressed(id: "${data.auditExport.id}") { state progress rows } }`;
  const steps = subscribe<{ state: string; progress: number; rows: number }>(
    clientOf(here, admin.token),
    operation,
  );
  const seen = await steps.until(({ state }) => state === 'DONE');
  expect(seen.at(-1)).toMatchObject({ state: 'DONE', progress: 1 });
});

test('what has expired is not there, and is deleted within the hour', async () => {
  const { here, admin } = await stage();
  const made = await exported(admin, { format: 'CSV' });
  const sql = here.database.admin;
  await sql.begin(async (tx) => {
    await tx`select set_config('app.scope', 'platform', true)`;
    await tx`update audit_exports set expires_at = now() - interval '1 minute'`;
  });
  expect((await download(here.url, made)).status).toBe(404);
  const { data } = await admin.ask(`{ auditExport(id: "${made.id}") { id } auditExports { id } }`);
  expect(data).toEqual({ auditExport: null, auditExports: [] });

  await sql`insert into pgboss.job (name, data) values ('audit-export-expiry', '{}')`;
  await until('it is deleted', async () => {
    const [row] = await sql`select count(*)::int as rows from audit_export_parts`;
    return row!['rows'] === 0;
  });
  expect(await sql`select id from audit_exports`).toHaveLength(0);
});

test('bad orders are refused and leave no export', async () => {
  const { here, admin, tenantId } = await stage();
  const root = await here.root();
  const deep = { and: [{ and: [{ and: [{ and: [{ and: [{}] }] }] }] }] };
  expect((await admin.do('createAuditExport', { format: 'CSV', filter: deep })).errors[0]).toMatchObject({
    extensions: { reason: 'INVALID_INPUT' },
  });
  expect((await root.do('createAuditExport', { format: 'CSV', tenantId: 'nobody' })).errors[0]).toMatchObject(
    {
      extensions: { reason: 'TENANT_NOT_FOUND' },
    },
  );
  expect(await here.database.admin`select id from audit_exports`).toHaveLength(0);
  expect(await exported(root, { format: 'CSV', tenantId })).toMatchObject({ state: 'DONE' });
  expect(await exported(root, { format: 'CSV' })).toMatchObject({ state: 'DONE' });
});
