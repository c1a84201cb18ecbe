/** A database full of made-up records, and processes over it that can be killed. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import { freshDatabase } from './database.ts';
import { emptyDataDir } from './process.ts';
import { PASSWORD, post } from './server.ts';

export const CLI = path.resolve(import.meta.dirname, '../../dist/cli.js');
const ADMIN = 'root@custos.example';

/** What a program needs to run on it. The build must have been made. */
export async function seeded(records: number) {
  const { admin, adminUrl } = await freshDatabase();
  await admin.unsafe(`do $$ begin create role seeded_login login password 'login';
    exception when duplicate_object then null; end $$`);
  const url = new URL(adminUrl);
  url.username = 'seeded_login';
  url.password = 'login';
  const env = {
    CUSTOS_DATA_DIR: await emptyDataDir(),
    DATABASE_URL: url.href,
    DATABASE_ADMIN_URL: adminUrl,
    BOOTSTRAP_ADMIN_EMAIL: ADMIN,
    BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
  };
  const { PATH = '', HOME = '' } = process.env;
  await promisify(execFile)(process.execPath, [CLI, 'seed', '--records', String(records)], {
    env: { PATH, HOME, PASSWORD_COST: '10', ...env },
  });
  return { env, admin };
}

/** Asks as the super administrator, signed in anew. */
// oxlint-disable-next-line typescript/no-explicit-any -- what a test looks into, in the shape it has asked for
export async function ask(url: string, query: string): Promise<any> {
  const login = `mutation { login(input: { email: "${ADMIN}", password: "${PASSWORD}" }) { accessToken } }`;
  const { data } = await post(url, { query: login });
  const authorization = `Bearer ${data.login.accessToken as string}`;
  const answer = await post(url, { query }, { authorization });
  if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
  return answer.data;
}
