/** `custos export` as its users run it: a process of the built program, against a real server. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';

import { verifyFile } from '../src/verify.ts';
import { build } from './world/process.ts';
import { allSigned } from './world/seal.ts';
import { PASSWORD, type Person, type World, world } from './world/server.ts';
import { launched, PROGRAM } from './world/tailing.ts';

beforeAll(build);

async function stage() {
  const here = await world();
  const { admin } = await here.tenant('Acme');
  await here.signIn(admin.email, 'wrong password');
  await allSigned(here.database.admin);
  const folder = mkdtempSync(path.join(tmpdir(), 'custos-export-'));
  return { here, admin, folder, file: path.join(folder, 'log.out') };
}

async function exported(here: World, { email }: Person, file: string, args: readonly string[]) {
  const all = ['export', file, '--url', `${here.url}/graphql`, '--email', email, ...args];
  const run = launched(process.execPath, [PROGRAM, ...all], { CUSTOS_PASSWORD: PASSWORD });
  return { code: await run.ended(), stderr: () => run.out.stderr };
}

test.each(['csv', 'ndjson', 'parquet'])(
  'a log is a %s file with its manifest, both checked',
  async (format) => {
    const { here, admin, folder, file } = await stage();
    const { code, stderr } = await exported(here, admin, file, ['--format', format]);
    expect([code, stderr()]).toEqual([
      0,
      expect.stringMatching(/100 %, \d+ records\ncustos: .* holds \d+ records/),
    ]);
    expect(readdirSync(folder).toSorted()).toEqual(['log.out', 'log.out.manifest']);
    expect((await verifyFile(`${file}.manifest`, undefined))[0]).toContain(`${file} holds`);
  },
);

test('filters are those of custos tail', async () => {
  const { here, admin, file } = await stage();
  const { code } = await exported(here, admin, file, ['--format', 'ndjson', '--status', 'FAILURE']);
  expect(code).toBe(0);
  const records = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { action: string });
  expect(records.map(({ action }) => action)).toEqual(['LOGIN_FAILED']);
});

test('what cannot be is said in a sentence, and leaves no file', async () => {
  const { here, admin, folder, file } = await stage();
  const member = await here.user(admin, 'MEMBER');
  const refused = await exported(here, member, file, ['--format', 'csv']);
  expect([refused.code, refused.stderr()]).toEqual([1, 'custos: Your role does not allow this.\n']);
  const wrong = await exported(here, admin, file, ['--format', 'xls']);
  expect(wrong.code).not.toBe(0);
  expect(wrong.stderr()).toContain('Allowed choices are csv, ndjson, parquet.');
  expect(readdirSync(folder)).toEqual([]);
});
