import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { freshDatabase } from '../world/database.ts';
import { build, start } from '../world/process.ts';
import { LOGIN_ROLE, PASSWORD, post } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { gate } from '../world/wait.ts';

beforeAll(build);

const ADMIN = 'root@custos.example';
const FAILURES = 1_000;
/** Refused without a password being hashed, each on record: a thousand real ones would take a minute. */
const FAILURES_A_REQUEST = 25;
const CUTS = 12;

interface Step {
  readonly cursor: string;
  readonly node: { readonly email: string; readonly log: { readonly position: number } } | null;
}

const FOLLOW = `subscription Follow($after: String) {
  loginFailed(after: $after) { cursor node { email log { position } } } }`;

test(
  'a subscriber at one process gets the failed logins made at another, and after each cut goes on where it was',
  { timeout: 180_000 },
  async () => {
    const { adminUrl, admin } = await freshDatabase();
    await admin.unsafe(LOGIN_ROLE);
    const databaseUrl = new URL(adminUrl);
    databaseUrl.username = 'world_login';
    const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-two-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    // The same keys, or a token of one would be nobody's at the other.
    const env = {
      CUSTOS_DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: adminUrl,
      BOOTSTRAP_ADMIN_EMAIL: ADMIN,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      PASSWORD_COST: '10',
      PORT: '0',
    };
    const here = await start(env).ready();
    const there = await start(env).ready();
    const signedIn = await post(there.url, { query: signIn(PASSWORD) });
    const token = signedIn.data.login.accessToken as string;

    const seen: NonNullable<Step['node']>[] = [];
    const begun = gate();
    let after: string | null = null;
    /** Follows until that many have been seen in all, then cuts the connection without a word. */
    const followTo = async (count: number) => {
      const client = socketClient(here.url, token);
      const events = subscribe<Step>(client, FOLLOW, { after });
      while (seen.length < count) {
        const { cursor, node } = await events.next();
        after = cursor;
        if (node) seen.push(node);
        begun.open();
      }
      client.terminate();
    };
    const following = (async () => {
      for (let cut = 1; cut <= CUTS; cut++) await followTo(Math.ceil(((FAILURES + 1) * cut) / CUTS));
    })();

    // The first step says where the stream begins; what is made from then on is to be seen.
    await begun.passed;
    const wrong = await post(there.url, { query: signIn('not my password') });
    expect(wrong.errors).toHaveLength(1);
    for (let made = 0; made < FAILURES; made += FAILURES_A_REQUEST) await failAt(there.url, made);
    await following;

    const emails = Array.from({ length: FAILURES }, (_, at) => `attempt-${at}@nowhere.example`);
    expect(seen.map(({ email }) => email)).toEqual([ADMIN, ...emails]);
    const positions = seen.map(({ log }) => log.position);
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(new Set(positions).size).toBe(FAILURES + 1);
  },
);

function signIn(password: string): string {
  return `mutation { login(input: { email: "${ADMIN}", password: "${password}" }) { accessToken } }`;
}

/** So many refused sign-ins in one request, on record in their order. */
async function failAt(url: string, from: number): Promise<void> {
  const attempts = Array.from(
    { length: FAILURES_A_REQUEST },
    (_, at) =>
      `a${at}: login(input: { email: "attempt-${from + at}@nowhere.example", password: "x" }) { expiresAt }`,
  );
  const { errors } = await post(url, { query: `mutation Fail { ${attempts.join('\n')} }` });
  expect(errors).toHaveLength(FAILURES_A_REQUEST);
}
