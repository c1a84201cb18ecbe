/** `custos verify`: a file, or a database, against what was signed, with no server running. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { expect, test } from 'vitest';

import { verifyDatabase, verifyFile } from '../src/verify.ts';
import { dumped } from './world/dump.ts';
import { asOwner, idAt, signed, tamper, withRecords } from './world/ledger.ts';
import { build } from './world/process.ts';
import type { Person } from './world/server.ts';

const SILENT = pino({ level: 'silent' });

test('an export is checked with nothing but the key, the whole or a part; whatever is changed in it is named', async () => {
  const { here, admin, size } = await withRecords(40);
  const { verifierKey } = (await admin.ask('{ auditCheckpoint { verifierKey } }')).data.auditCheckpoint;
  const key = verifierKey as string;
  const whole = await exported(here.url, admin, '');
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-verify-'));
  const check = async (lines: readonly string[], by: string | null = key) => {
    const file = path.join(folder, 'log.ndjson');
    await writeFile(file, lines.map((line) => `${line}\n`).join(''));
    return await verifyFile(file, by ?? undefined);
  };

  expect((await check(whole)).join()).toContain(`${size} records, from 0 up to ${size},`);
  expect((await check(whole, null)).join()).toContain(key);
  for (const [from, to] of [
    [0, 0],
    [0, 1],
    [7, 31],
    [41, size],
    [size, size],
  ] as const) {
    const part = await exported(here.url, admin, `?from=${from}&to=${to}`);
    expect((await check(part)).join()).toContain(`${to - from} records, from ${from} up to ${to},`);
  }

  const headless = (await exported(here.url, admin, '?from=7&to=31')).map((line) =>
    line.replace(/"before":\[.*\]/, '"before":[]'),
  );
  await expect(check(headless)).rejects.toThrow(/A walk from 7 on needs the 3 hashes/);

  const at = whole.findIndex((line) => line.startsWith('{"position":17,'));
  const edited = (edit: (line: string) => string) => whole.map((line, n) => (n === at ? edit(line) : line));
  const replaced = edited((line) => {
    const changed = line.replace('"status":"success"', '"status":"failure"');
    const record = JSON.stringify((JSON.parse(changed) as { record: object }).record);
    const hash = createHash('sha256')
      .update(Buffer.from([0]))
      .update(record)
      .digest('base64');
    return changed.replace(/"leafHash":"[^"]*"/, `"leafHash":"${hash}"`);
  });
  const wrong: [string, readonly string[], RegExp][] = [
    [
      'a record altered',
      edited((line) => line.replace('user.updated', 'user.deleted')),
      /at 17 is not what was sealed/,
    ],
    ['a name altered', edited((line) => line.replace(/"Ann \d+"/, '"Eve"')), /personal values .* at 17/],
    ['a record left out', whole.filter((_, n) => n !== at), /At 17 the file has the record of 18/],
    ['a record emptied', edited((line) => line.replace(/,"record":.*$/, '}')), /at 17 is not there/],
    ['a record with its hash', replaced, /records \d+ to \d+ are not what the checkpoint/],
    ['the end cut off', whole.slice(0, -1), /breaks off before 42/],
    ['the beginning cut off', whole.slice(1), /Line 1 is not one of an exported log/],
    [
      'two lines swapped',
      whole.toSpliced(at, 2, whole[at + 1]!, whole[at]!),
      /At 17 the file has the record of 18/,
    ],
    ['something after the end', [...whole, whole[at]!], /comes after the end/],
    ['nothing', [], /empty/],
  ];
  for (const [what, lines, message] of wrong) await expect(check(lines), what).rejects.toThrow(message);
  const stranger = key.replace(/\+.*$/, '+1b3bd62c+AfLPG2pLFsvP2N2hOqM8Jb4Xy1tZlD8mS2kv3m1mQ0vV');
  await expect(check(whole, stranger)).rejects.toThrow(/verifier key/);
});

test('a database is checked without a server, and whatever was done to it is named', async () => {
  const { here, admin, sql, size } = await withRecords(30);
  const { note } = (await admin.ask('{ auditCheckpoint { note } }')).data.auditCheckpoint;
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-verify-'));
  const kept = path.join(folder, 'kept');
  await writeFile(kept, note as string);
  const id = await idAt(sql, admin, 9);
  // As long as a server runs, it seals and signs what is done here.
  await here.server.stop();
  const check = async (personal = true) => {
    const lines: string[] = [];
    const options = { checkpoints: [kept], personal };
    const outcome = await verifyDatabase({ settings: here.settings, log: SILENT }, options, (line) =>
      lines.push(line),
    ).then(
      () => 'right',
      (cause: Error) => cause.message,
    );
    return { outcome, wrong: lines.filter((line) => line.startsWith('WRONG')), lines };
  };
  const { outcome, lines } = await check();
  expect(outcome).toBe('right');
  expect(lines).toContain(`ok    custos.test/audit/${admin.tenantId}: ${size} records`);

  const own = `tenant_id = '${admin.tenantId}'`;
  const wrong: [string, string, RegExp][] = [
    [
      'a record altered',
      `update audit_logs set ip_address = '10.0.0.1' where id = '${id}'`,
      /RECORD_ALTERED .* at 9/,
    ],
    [
      'a record inserted',
      `insert into audit_logs select (jsonb_populate_record(log, jsonb_build_object('id', overlay(id::text placing translate(right(id::text, 1), '0123456789abcdef', '123456789abcdef0') from 36)))).* from audit_logs log where id = '${id}'`,
      /RECORD_INSERTED/,
    ],
    [
      'all after a checkpoint cut, its signature too',
      cutTo(own, 20),
      /LOG_CUT The log has \d+ records, and a checkpoint was signed for 32/,
    ],
    [
      'a whole log taken away',
      ['audit_logs', 'audit_seals', 'audit_trees', 'audit_checkpoints']
        .map((table) => `delete from ${table} where ${own}`)
        .join(';'),
      /of no log in this database/,
    ],
    [
      'the verifier key of another',
      `update audit_ledger set verifier_key = 'ledger+12345678+AAAA'`,
      /verifier key/,
    ],
  ];
  for (const [what, statements, message] of wrong) {
    const restore = await tamper(sql, statements);
    const found = await check();
    expect(`${what}: ${found.outcome} ${found.wrong.join()}`).toMatch(message);
    await restore();
  }
  expect((await check()).outcome).toBe('right');
  for (const [text, message] of [
    ['garbage', /of no log in this database: it begins "garbage"/],
    [(note as string).replaceAll('\n', '\r\n'), /of no log/],
    [(note as string).replace(/\n\d+\n/, '\n7\n'), /signature .* is wrong/],
  ] as const) {
    await writeFile(kept, text);
    expect((await check()).outcome).toMatch(message);
  }
  await writeFile(kept, note as string);

  await asOwner(sql, `delete from subject_keys where ${own}`);
  expect((await check()).outcome).toBe('right');
});

test('when a person’s key is destroyed their values are gone from the log, and every proof and export holds', async () => {
  const { here, admin, sql, size } = await withRecords(3);
  const email = 'gone@people.example';
  const [{ subdomain }] =
    (await sql`select subdomain from tenants where id = ${admin.tenantId}`) as unknown as [
      { subdomain: string },
    ];
  await here.signIn(email, 'wrong password', subdomain);
  await signed(admin, size + 1);
  const { verifierKey } = (await admin.ask('{ auditCheckpoint { verifierKey } }')).data.auditCheckpoint;
  const attempt = `{ auditLogs(first: 1, filter: { actions: [LOGIN_FAILED] }) { nodes { id details proof { file } } } }`;
  const told = async () => (await admin.ask(attempt)).data.auditLogs.nodes[0];
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-verify-'));
  const check = async (name: string, text: string) => {
    await writeFile(path.join(folder, name), text);
    return (await verifyFile(path.join(folder, name), verifierKey as string)).join();
  };
  const before = { told: await told(), lines: await exported(here.url, admin, '') };
  expect(before.told.details.email).toBe(email);
  expect(before.lines.join()).toContain(email);
  // In a dump it is encrypted.
  expect(await dumped(here)).not.toContain(email);

  await asOwner(sql, `delete from subject_keys where subject_id not in (select id from users)`);

  const after = { told: await told(), lines: await exported(here.url, admin, '') };
  expect(after.told.details.email ?? null).toBeNull();
  expect(after.lines.join()).not.toContain(email);
  const rows = await sql`select tenant_id as "tenantId", pii from audit_logs where id = ${after.told.id}`;
  const { db, services } = here.server.house;
  const records = rows as unknown as { tenantId: string; pii: Buffer }[];
  const keys = await db.withReadTx('PLATFORM', (tx) => services.vault.keys(tx, records));
  expect(services.vault.disclose(records[0]!, keys)).toEqual([]);

  for (const [name, { told: record, lines }] of Object.entries({ before, after })) {
    expect(await check(`${name}.tlog-proof`, record.proof.file)).toContain(`at ${size} is in`);
    expect(await check(`${name}.ndjson`, `${lines.join('\n')}\n`)).toContain(`${size + 1} records`);
  }
  expect((await admin.ask('{ verifyAuditLog { ok } }')).data.verifyAuditLog.ok).toBe(true);
});

test('the command says what it found by its exit code', async () => {
  await build();
  const { here, admin } = await withRecords(2);
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-verify-'));
  const file = path.join(folder, 'log.ndjson');
  const lines = await exported(here.url, admin, '');
  const run = async (...args: string[]) => {
    const cli = path.resolve(import.meta.dirname, '../dist/cli.js');
    const env = { ...process.env, DATABASE_URL: here.settings.databaseUrl, CUSTOS_DATA_DIR: here.dataDir };
    const child = spawn(process.execPath, [cli, 'verify', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const out = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { out: out[0], err: out[1], code: out[2][0] as number };
  };
  await writeFile(file, `${lines.join('\n')}\n`);
  expect(await run(file)).toMatchObject({
    code: 0,
    out: expect.stringContaining('4 records, from 0 up to 4,') as string,
  });
  await writeFile(file, `${lines.join('\n')}\n`.replace('user.updated', 'user.deleted'));
  expect(await run(file)).toMatchObject({
    code: 1,
    err: expect.stringContaining('is not what was sealed') as string,
  });
  expect(await run(path.join(folder, 'none'))).toMatchObject({ code: 1 });
  expect(await run(file, '--key', 'nonsense')).toMatchObject({
    code: 1,
    err: expect.stringContaining('verifier key') as string,
  });
  expect(await run()).toMatchObject({
    code: 2,
    err: expect.stringContaining('either a file or --database') as string,
  });
  await signed(admin, 4);
  expect(await run('--database')).toMatchObject({
    code: 0,
    out: expect.stringContaining('ok    custos.test/audit/') as string,
  });
});

/** The log as it was with so many records; who cuts it takes the checkpoints away too. */
function cutTo(own: string, size: number): string {
  return `delete from audit_checkpoints where ${own} and size > ${size};
    delete from audit_seals where ${own} and first_seq >= ${size};
    update audit_trees set size = (select max(first_seq + count) from audit_seals where ${own}) where ${own}`;
}

async function exported(url: string, { token, tenantId }: Person, query: string): Promise<string[]> {
  const answer = await fetch(`${url}/audit/${tenantId}/export.ndjson${query}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(answer.status).toBe(200);
  return (await answer.text()).trimEnd().split('\n');
}
