import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { freshDatabase } from '../world/database.ts';
import { build, start } from '../world/process.ts';
import { LOGIN_ROLE, PASSWORD, post } from '../world/server.ts';
import { until } from '../world/wait.ts';
import { type LiveStep, socketClient, subscribe } from '../world/socket.ts';

beforeAll(build);

const ADMIN = 'root@custos.example';
const SHIFTED = 'The clock is shifted.';
const HOUR_MS = 3_600_000;
/** Of each process, before and after the clocks are changed. */
const CHANGES = 20;
const FOLLOW = `subscription ($after: String) { auditLogAppended(after: $after, filter: { actions: [TENANT_CREATED] }) {
  cursor node { id position createdAt } } }`;

test(
  'with clocks an hour behind and an hour ahead the order is that of the changes, and cursors hold at every process',
  { timeout: 180_000 },
  async () => {
    const { adminUrl, admin } = await freshDatabase();
    await admin.unsafe(LOGIN_ROLE);
    const databaseUrl = new URL(adminUrl);
    databaseUrl.username = 'world_login';
    const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-clocks-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const env = {
      CUSTOS_DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: adminUrl,
      BOOTSTRAP_ADMIN_EMAIL: ADMIN,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      LOG_LEVEL: 'warn',
    };
    const begin = async (shifts: readonly [number, number]) => {
      const program = start({ ...env, NODE_OPTIONS: `--import=${shifting(shifts)}` });
      return { program, url: (await program.ready()).url, token: '' };
    };
    const straight = await begin([0, 0]);
    const behind = await begin([-HOUR_MS, -HOUR_MS]);
    const ahead = await begin([0, HOUR_MS]);
    const setBack = await begin([0, -HOUR_MS]);
    const processes = [straight, behind, ahead, setBack];
    const signInAll = async () => {
      for (const each of processes) each.token = await signIn(each.url);
    };
    await signInAll();
    const token = straight.token;
    const steps = subscribe<LiveStep>(socketClient(straight.url, token), FOLLOW);
    const { cursor: origin } = await steps.next();
    const made: string[] = [];
    const change = async () => {
      for (let turn = 0; turn < CHANGES; turn++)
        for (const each of processes) made.push(await create(each, made.length));
    };
    await change();
    for (const { program } of processes) program.signal('SIGUSR2');
    await until('all clocks have been shifted', () =>
      processes.every(({ program }) => program.out.stderr.includes(SHIFTED)),
    );
    // A token of before is an hour older now where the clock is ahead, and holds where it was set back.
    expect(await reasonAt(ahead.url, token)).toBe('TOKEN_EXPIRED');
    expect(await reasonAt(setBack.url, token)).toBeUndefined();
    await signInAll();
    await change();

    const seen: LiveStep[] = [];
    while (seen.length < made.length) {
      const step = await steps.next();
      if (step.node) seen.push(step);
    }
    expect(seen.map(({ node }) => node.id as string)).toEqual(made);
    const created = seen.map(({ node }) => Date.parse(node.createdAt as string));
    expect(Math.max(...created) - Math.min(...created)).toBeGreaterThan(1.9 * HOUR_MS);

    // From a cursor of before the change, and from one of after it, the rest is the same at every process.
    for (const { url, token } of processes) {
      for (const from of [-1, CHANGES, made.length - CHANGES]) {
        const after = from < 0 ? origin : seen[from]!.cursor;
        const again = subscribe<LiveStep>(socketClient(url, token), FOLLOW, { after });
        const rest: string[] = [];
        while (rest.length < made.length - 1 - from) {
          const { node } = await again.next();
          if (node) rest.push(node.id as string);
        }
        again.stop();
        expect(rest).toEqual(made.slice(from + 1));
      }
      expect((await pagesAt(url, token)).sort()).toEqual([...made].sort());
    }
  },
);

interface Process {
  readonly url: string;
  token: string;
}

/** A module that shifts the clock of its process from the start, and from the signal on. */
function shifting([first, then]: readonly [number, number]): string {
  const program = `const now = Date.now; let shift = ${first}; Date.now = () => now() + shift;
    process.on('SIGUSR2', () => { shift = ${then}; process.stderr.write('${SHIFTED}'); });`;
  return `data:text/javascript,${encodeURIComponent(program)}`;
}

async function signIn(url: string): Promise<string> {
  const query = `mutation { login(input: { email: "${ADMIN}", password: "${PASSWORD}" }) { accessToken } }`;
  const { data, errors } = await post(url, { query });
  expect(errors).toEqual([]);
  return data.login.accessToken as string;
}

/** The id of the record. */
async function create({ url, token }: Process, at: number): Promise<string> {
  const query = `mutation { createTenant(input: { name: "Tenant ${at}", subdomain: "tenant-${at}" }) { receipts { id } } }`;
  const { data, errors } = await post(url, { query }, { authorization: `Bearer ${token}` });
  expect(errors).toEqual([]);
  return data.createTenant.receipts[0].id as string;
}

async function reasonAt(url: string, token: string): Promise<unknown> {
  const { errors } = await post(url, { query: '{ me { id } }' }, { authorization: `Bearer ${token}` });
  return errors[0]?.extensions['reason'];
}

/** The tenants' records, page by page. */
async function pagesAt(url: string, token: string): Promise<string[]> {
  const ids: string[] = [];
  for (let after: string | null = null; ;) {
    const query = `query ($after: String) { auditLogs(first: 7, after: $after, filter: { actions: [TENANT_CREATED] }) {
      nodes { id } pageInfo { hasNextPage endCursor } } }`;
    const { data } = await post(url, { query, variables: { after } }, { authorization: `Bearer ${token}` });
    const { nodes, pageInfo } = data.auditLogs as {
      nodes: { id: string }[];
      pageInfo: { hasNextPage: boolean; endCursor: string };
    };
    ids.push(...nodes.map(({ id }) => id));
    if (!pageInfo.hasNextPage) return ids;
    after = pageInfo.endCursor;
  }
}
