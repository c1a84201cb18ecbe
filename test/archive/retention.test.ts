/** What is older than it is to be kept: archived, dropped, and proven all the same. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { expect, test } from 'vitest';

import { verifyFile } from '../../src/verify.ts';
import { printVerifierKey } from '../../src/ledger/checkpoint.ts';
import { bucket } from '../world/bucket.ts';
import { beginToLookAfter, lookedAfter, recordedBefore } from '../world/past.ts';
import { allSigned } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';

const RETENTION = `tenantId days lastRunAt nextRunAt rowsDropped oldestEntryAt legalHolds { id }
  archives { month file rows bytes sha256 manifest archivedAt droppedAt }`;

async function stage(env: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-kept-'));
  const here = await world({ AUDIT_ARCHIVE: folder, ...env });
  const root = await here.root();
  const [old, other] = [await here.tenant('Old'), await here.tenant('Other')];
  const bob = await here.user(old.admin, 'MEMBER');
  await recordedBefore(here, old.id, { records: 30, about: { id: bob.id, name: 'Bob Barker' } });
  await recordedBefore(here, other.id, { records: 5 });
  const keep = async (tenantId: string | null, days: number | null) => {
    const { errors } = await root.do('setAuditRetention', { tenantId, days });
    expect(errors).toEqual([]);
  };
  return { here, root, old, other, bob, folder, keep };
}

async function retentionOf(person: Person) {
  const { data, errors } = await person.ask(`{ auditRetention { ${RETENTION} } }`);
  expect(errors).toEqual([]);
  return data.auditRetention;
}

const pastRecords = async ({ database }: World, tenantId: string) => {
  const [row] = await database.admin`
    select count(*)::int as records from audit_logs where tenant_id = ${tenantId} and request_id like 'past-%'`;
  return row!['records'] as number;
};

async function assertVerified(here: World, person: Person) {
  await allSigned(here.database.admin);
  const { data, errors } = await person.ask('{ verifyAuditLog { ok fault { reason } } }');
  expect([errors, data.verifyAuditLog]).toEqual([[], { ok: true, fault: null }]);
}

test('a month that is old enough is archived and dropped; what others keep stays, and every log verifies', async () => {
  const { here, root, old, other, folder, keep } = await stage();
  await keep(old.id, 30);
  await lookedAfter(here);
  expect([await pastRecords(here, old.id), await pastRecords(here, other.id)]).toEqual([0, 5]);
  const said = await retentionOf(old.admin);
  expect(said).toMatchObject({ days: 30, lastRunAt: expect.any(String), legalHolds: [] });
  expect([Number(said.rowsDropped), said.archives.length]).toEqual([30, 1]);
  expect(said.archives[0].droppedAt).not.toBe(null);
  expect(Date.parse(said.nextRunAt)).toBeGreaterThan(Date.now());
  expect(said.oldestEntryAt.slice(0, 7)).not.toBe(said.archives[0].month);
  expect(await retentionOf(other.admin)).toMatchObject({ days: null, archives: [] });
  await assertVerified(here, old.admin);
  await assertVerified(here, other.admin);

  // On record, of the log and of the platform.
  const dropped = await old.admin.ask(
    '{ auditLogs(filter: { actions: [AUDIT_LOG_DROPPED] }) { nodes { details } } }',
  );
  const { month, file, sha256 } = said.archives[0];
  expect(dropped.data.auditLogs.nodes).toMatchObject([{ details: { month, file, sha256, rows: 30 } }]);
  const runs = await root.ask(
    '{ auditLogs(filter: { actions: [AUDIT_RETENTION_RUN] }) { nodes { details } } }',
  );
  expect(runs.data.auditLogs.nodes).toMatchObject([{ details: { months: 1, rowsDropped: 30, held: 0 } }]);

  // The file proves itself, with nothing else at hand.
  const parquet = path.join(folder, file);
  const key = printVerifierKey(here.server.house.services.signer.key(old.id));
  expect(await readFile(`${parquet}.manifest`, 'utf8')).toBe(said.archives[0].manifest);
  for (const name of [parquet, `${parquet}.manifest`])
    expect((await verifyFile(name, key))[0]).toContain(`30 records are those of ${key.split('+')[0]}`);
  const altered = await readFile(parquet);
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(parquet), utf8: false });
  const month7 = rows.filter(({ record }) => record !== null)[7] as { leafHash: Uint8Array };
  altered[altered.indexOf(month7.leafHash)]! ^= 1;
  await writeFile(parquet, altered);
  await expect(verifyFile(parquet, key)).rejects.toThrow('is not what was sealed');
  await expect(verifyFile(`${parquet}.manifest`, key)).rejects.toThrow('is not the file');
});

test('meanwhile everybody reads and writes', async () => {
  const { here, old, other, keep } = await stage();
  await recordedBefore(here, other.id, { records: 2_000 });
  await keep(old.id, 30);
  const run = lookedAfter(here);
  const over = new AbortController();
  void run.finally(() => over.abort());
  let times = 0;
  for (; !over.signal.aborted; times++) {
    const answers = await Promise.all([
      other.admin.do('updateSettings', { organisation: { displayName: `Other ${times}` } }),
      other.admin.ask('{ auditLogs(first: 50, orderBy: { direction: ASC }) { totalCount nodes { id } } }'),
      old.admin.ask('{ auditLogs(first: 50, orderBy: { direction: ASC }) { totalCount nodes { id } } }'),
    ]);
    expect(answers.flatMap(({ errors }) => errors)).toEqual([]);
  }
  await run;
  expect(times).toBeGreaterThan(2);
  expect([await pastRecords(here, old.id), await pastRecords(here, other.id)]).toEqual([0, 2_005]);
  await assertVerified(here, other.admin);
});

test('a hold on the log, on a time in it or on a person of it stops the dropping until it is released', async () => {
  const { here, root, old, bob, keep } = await stage();
  await keep(old.id, 30);
  const hold = async (input: object) =>
    (await root.do('placeLegalHold', { tenantId: old.id, reason: 'Trial', ...input }, 'legalHold { id }'))
      .data.legalHold.id as string;
  const release = (id: string) => root.do('releaseLegalHold', { id, reason: 'Over' });
  for (const input of [{}, { from: '2020-01-01T00:00:00Z' }, { userId: bob.id }]) {
    const id = await hold(input);
    await lookedAfter(here);
    expect([input, await pastRecords(here, old.id)]).toEqual([input, 30]);
    expect((await retentionOf(old.admin)).legalHolds).toEqual([{ id }]);
    await release(id);
  }
  // A time that does not meet the month holds nothing of it.
  await hold({ to: '2020-01-01T00:00:00Z' });
  await lookedAfter(here);
  expect(await pastRecords(here, old.id)).toBe(0);
});

test('what was said for nobody in particular holds for all; without anything, logs are kept for ever', async () => {
  const { here, old, other } = await stage({ AUDIT_LOG_RETENTION_DAYS: '30' });
  await lookedAfter(here);
  expect([await pastRecords(here, old.id), await pastRecords(here, other.id)]).toEqual([0, 0]);
  expect((await retentionOf(other.admin)).days).toBe(30);
  const kept = await stage();
  await lookedAfter(kept.here);
  expect(await pastRecords(kept.here, kept.old.id)).toBe(30);
});

test('an archive in an S3-compatible store is the same', async () => {
  const store = await bucket('custos-archive');
  const { here, old, keep } = await stage(store.env);
  await keep(old.id, 30);
  await lookedAfter(here);
  expect(await pastRecords(here, old.id)).toBe(0);
  const { archives } = await retentionOf(old.admin);
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-fetched-'));
  for (const name of ['month.parquet', 'month.parquet.manifest']) {
    const there = name.replace('month.parquet', archives[0].file);
    await writeFile(path.join(folder, name), await store.read(there));
  }
  expect((await verifyFile(path.join(folder, 'month.parquet.manifest'), undefined))[0]).toContain(
    '30 records',
  );
});

test('while the archive cannot be written nothing is dropped', async () => {
  const { here, old, keep } = await stage({
    AUDIT_ARCHIVE: 'http://127.0.0.1:9/bucket',
    AUDIT_ARCHIVE_ACCESS_KEY_ID: 'a',
    AUDIT_ARCHIVE_SECRET_ACCESS_KEY: 'b',
  });
  await keep(old.id, 30);
  await beginToLookAfter(here);
  await expect
    .poll(
      () => here.log.filter(({ msg, queue }) => msg === 'a job failed' && queue === 'audit-retention').length,
      {
        timeout: 20_000,
      },
    )
    .toBeGreaterThan(0);
  expect(await pastRecords(here, old.id)).toBe(30);
});

test('a cursor from before what was dropped is refused, with the oldest that leads on', async () => {
  const { here, old, keep } = await stage();
  const { data } = await old.admin.ask('{ auditFeed(first: 3, from: BEGINNING) { nextCursor } }');
  const after = data.auditFeed.nextCursor as string;
  await keep(old.id, 30);
  await lookedAfter(here);
  const ask = (cursor: string) =>
    old.admin.ask('query ($after: String) { auditFeed(first: 3, after: $after) { nodes { id } } }', {
      after: cursor,
    });
  const { code, reason, fields } = (await ask(after)).errors[0]!.extensions as {
    code: string;
    reason: string;
    fields: { after: string };
  };
  expect([code, reason]).toEqual(['CURSOR_EXPIRED', 'CURSOR_TOO_OLD']);
  expect((await ask(fields.after.replace('the oldest is ', ''))).errors).toEqual([]);
});

test('the numbers of a log are those of what is there', async () => {
  const { here, old, keep } = await stage();
  const count = async () => {
    const { data } = await old.admin.ask('{ auditLogs(filter: { actions: [USER_UPDATED] }) { totalCount } }');
    return data.auditLogs.totalCount as number;
  };
  expect(await count()).toBe(30);
  await keep(old.id, 30);
  await lookedAfter(here);
  expect(await count()).toBe(0);
  const [row] = await here.database.admin`
    select coalesce(sum(count), 0)::int as records from audit_hours where tenant_id = ${old.id} and action = 'user.updated'`;
  expect(row!['records']).toBe(0);
});

test('the application drops no month that is not over, not archived or without its record', async () => {
  const { here, old } = await stage();
  const { db } = here.server.house;
  const drop = (month: string) =>
    db.withTx('PLATFORM', async (tx) => {
      const { sql } = await import('drizzle-orm');
      await tx.execute(sql`select drop_audit_month(${month}::date, array[${old.id}]::uuid[], 30)`);
    });
  const [row] = await here.database.admin`select to_char(now(), 'YYYY-MM-01') as now,
    to_char(now() - interval '3 months', 'YYYY-MM-01') as past`;
  await expect(drop(row!['now'] as string)).rejects.toMatchObject({ sqlstate: '42501' });
  await expect(drop(row!['past'] as string)).rejects.toMatchObject({ sqlstate: 'CUS01' });
  expect(await pastRecords(here, old.id)).toBe(30);
});

test('fewer than 30 days are refused', async () => {
  const { root, old } = await stage();
  const { errors } = await root.do('setAuditRetention', { tenantId: old.id, days: 29 });
  expect(errors[0]!.extensions['fields']).toEqual({ days: 'must be a whole number from 30 to 36,500' });
});
