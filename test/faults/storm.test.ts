import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { startCluster } from '../world/cluster.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { build, type Program, start } from '../world/process.ts';
import { openProxy } from '../world/proxy.ts';
import { sealedRecords } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { PASSWORD, post } from '../world/server.ts';
import { type LiveStep, socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

/** `STORM_SECONDS=60 npm test -- faults/storm` is the whole of it; the short form has its share of every fault. */
const SECONDS = Number(process.env['STORM_SECONDS'] ?? 15);
const share = (inAMinute: number) => Math.max(1, Math.round((inAMinute * SECONDS) / 60));
const FAULTS = { sockets: share(100), listeners: share(20), processes: share(5), restarts: share(3) };

const WRITERS = 6;
const FOLLOWERS = 6;
const ADMIN = 'root@custos.example';
const RETRY_MS = 50;
const FOLLOW = `subscription Follow($after: String) { auditLogAppended(after: $after) { cursor node { id actor { name } } } }`;

test(
  'through kills of sockets, listeners, processes and the database nobody misses a record or gets it twice, and nothing answered is lost',
  { timeout: (SECONDS + 180) * 1_000 },
  async () => {
    const stage = await open();
    const { admin, tenantId, processes, token, rootToken } = stage;
    const followers = await Promise.all(
      Array.from({ length: FOLLOWERS }, (_, at) => follow(processes, at % 3 === 0 ? rootToken : token, at)),
    );
    await Promise.all(followers.map(({ begun }) => begun));
    await allSealed(admin);
    const first = (await sealedRecords(admin)).length;

    const over = new AbortController();
    const writers = Array.from({ length: WRITERS }, (_, at) => write(stage, at, over.signal));
    const storm = await raise(stage, followers);
    over.abort();
    const told = (await Promise.all(writers)).flat().toSorted((one, other) => one.at - other.at);
    await allSealed(admin);
    const places = await sealedRecords(admin);
    const own = places.filter((place) => place.tenantId === tenantId);
    for (const each of followers) {
      const whole = each.at % 3 === 0 ? places : own;
      await until(`follower ${each.at} has all`, () => each.ids.at(-1) === whole.at(-1)!.id, 60_000).catch(
        () => {},
      );
      // Some records were written while they began; from its first one on each has all there are.
      expect(each.ids).toEqual(
        whole.slice(whole.findIndex(({ id }) => id === each.ids[0])).map(({ id }) => id),
      );
      expect(whole.findIndex(({ id }) => id === each.ids[0])).toBeLessThanOrEqual(first);
      each.stop();
    }

    // Every record has its seal, once, and there is no gap in either order.
    const records =
      await admin`select id, action, status, resource_id, request_id from audit_logs order by id`;
    expect(places.map(({ id }) => id).sort()).toEqual(records.map(({ id }) => id as string));
    expect(places.map(({ pos }) => pos)).toEqual(places.map((_, at) => at));
    expect(own.map(({ seq }) => seq)).toEqual(own.map((_, at) => at));
    // Every mutation answered as done, and every refusal, has its record.
    const ids = new Set(records.map(({ id }) => id as string));
    const requests = new Set(records.map((row) => row['request_id'] as string));
    const done = told.filter(({ outcome }) => outcome === 'DONE');
    const refused = told.filter(({ outcome }) => outcome === 'REFUSED');
    expect(
      done.filter(({ receipts }) => !receipts.every((id) => ids.has(id)) || receipts.length === 0),
    ).toEqual([]);
    expect(refused.filter(({ requestId }) => !requests.has(requestId))).toEqual([]);
    // No change without its record and no record without its change, whether or not the answer arrived.
    const branches = (await admin`select id, name from branches`) as unknown as {
      id: string;
      name: string;
    }[];
    const made = records.filter(({ action, status }) => action === 'branch.created' && status === 'success');
    expect(made.map((row) => row['resource_id'] as string).sort()).toEqual(
      branches.map(({ id }) => id).sort(),
    );
    expect(new Set(branches.map(({ name }) => name)).size).toBe(branches.length);
    const tried = new Set(told.map(({ name }) => name));
    expect(branches.filter(({ name }) => !tried.has(name))).toEqual([]);
    const renamed = records.filter(({ action, status }) => action === 'user.updated' && status === 'success');
    const answered = new Set(done.flatMap(({ receipts }) => receipts));
    const unknown = told.filter(({ outcome }) => outcome === 'UNKNOWN').length;
    expect(renamed.filter(({ id }) => !answered.has(id as string)).length).toBeLessThanOrEqual(unknown);
    for (const { out } of stage.started)
      expect(out.stdout + out.stderr).not.toMatch(/nothing caught this error/);

    const recoveries = storm.restartedAt.map((since) => done.find(({ at }) => at > since)!.at - since);
    console.log(
      `${SECONDS} s: ${storm.sockets} socket, ${FAULTS.listeners} listener and ${FAULTS.processes} process kills, ${FAULTS.restarts} restarts; ` +
        `${done.length} mutations done, ${refused.length} refused, ${unknown} without an answer of theirs; ` +
        `${places.length} records, each sealed once; ${FOLLOWERS} followers over ${followers.reduce((sum, each) => sum + each.connections, 0)} connections, ` +
        `${followers.reduce((sum, each) => sum + each.ids.length, 0)} events; first mutation ${recoveries.map(Math.round).join(', ')} ms after the database was back; a mutation took p50 ${quantile(done, 0.5)}, p99 ${quantile(done, 0.99)}, one without an answer at most ${quantile(told, 1)} ms`,
    );
    expect(done.length).toBeGreaterThan(SECONDS);
  },
);

type Stage = Awaited<ReturnType<typeof open>>;

/** Two processes on a database server of their own, each behind a role of its own: so it shows which of them seals. */
async function open() {
  const cluster = await startCluster();
  onTestFinished(() => cluster.stop());
  const { adminUrl, admin } = await freshDatabase({ on: cluster.adminUrl, from: '' });
  const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-storm-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const processes: { role: string; url: string; program: Program; restart(): Promise<void> }[] = [];
  const started: Program[] = [];
  for (const role of ['storm_a', 'storm_b']) {
    await admin.unsafe(`create role ${role} login password 'test'`);
    const databaseUrl = new URL(adminUrl);
    databaseUrl.username = role;
    const env = {
      CUSTOS_DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: adminUrl,
      BOOTSTRAP_ADMIN_EMAIL: ADMIN,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      TRUSTED_PROXIES: '127.0.0.0/8',
      LOG_LEVEL: 'warn',
    };
    const begin = (port: string) => {
      const program = start({ ...env, PORT: port });
      started.push(program);
      return program;
    };
    const one = {
      role,
      program: begin('0'),
      url: '',
      /** As a supervisor does: until it runs. */
      async restart() {
        for (;;) {
          one.program = begin(new URL(one.url).port);
          if (await one.program.ready().catch(() => undefined)) return;
        }
      },
    };
    one.url = (await one.program.ready()).url;
    processes.push(one);
  }
  const { data } = await post(processes[0]!.url, { query: REGISTER });
  const { accessToken: token, user } = data.register as { accessToken: string; user: { tenantId: string } };
  const userIds: string[] = [];
  for (let at = 0; at < WRITERS; at++) {
    const query = `mutation { createUser(input: { email: "user${at}@storm.example", fullName: "User" }) { user { id } } }`;
    const created = await post(processes[0]!.url, { query }, { authorization: `Bearer ${token}` });
    userIds.push(created.data.createUser.user.id as string);
  }
  const root = await post(processes[0]!.url, {
    query: `mutation { login(input: { email: "${ADMIN}", password: "${PASSWORD}" }) { accessToken } }`,
  });
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update tenants set max_branches = 1000000`;
  });
  const rootToken = root.data.login.accessToken as string;
  return { cluster, admin, tenantId: user.tenantId, userIds, processes, started, token, rootToken };
}

const REGISTER = `mutation { register(input: { tenantName: "Storm", subdomain: "storm", email: "admin@storm.example",
  password: "${PASSWORD}", fullName: "Ada Admin" }) { accessToken user { tenantId } } }`;

interface Told {
  readonly name: string;
  readonly outcome: 'DONE' | 'REFUSED' | 'UNKNOWN';
  readonly receipts: readonly string[];
  readonly requestId: string;
  /** When the answer came, and how long it took. */
  readonly at: number;
  readonly ms: number;
}

/** Changes one thing after another, now at one process and now at the other; every tenth time with a code that is taken. */
async function write(
  { processes, token, userIds }: Stage,
  writer: number,
  over: AbortSignal,
): Promise<Told[]> {
  const told: Told[] = [];
  for (let turn = 0; !over.aborted; turn++) {
    const { url } = processes[Math.floor((writer + turn) / 2) % 2]!;
    const name = `change ${writer}/${turn}`;
    const code = turn % 10 === 8 ? `W${writer}-0` : `W${writer}-${turn}`;
    const change =
      turn % 2 === 0
        ? `createBranch(input: { name: "${name}", code: "${code}" })`
        : `updateUser(input: { id: "${userIds[writer]}", fullName: "${name}" })`;
    const query = `mutation { done: ${change} { receipts { id } } }`;
    const since = performance.now();
    const answer = await post(url, { query }, { authorization: `Bearer ${token}` }).catch(() => undefined);
    const at = performance.now();
    const receipts = (answer?.data?.done?.receipts ?? []) as { id: string }[];
    const outcome = outcomeOf(answer);
    told.push({
      name,
      outcome,
      receipts: receipts.map(({ id }) => id),
      requestId: answer?.requestId ?? '',
      at,
      ms: at - since,
    });
    if (outcome === 'UNKNOWN') await pause(RETRY_MS);
  }
  return told;
}

function outcomeOf(answer: Awaited<ReturnType<typeof post>> | undefined): Told['outcome'] {
  if (answer?.data?.done) return 'DONE';
  return answer?.errors[0]?.extensions['code'] === 'CONFLICT' ? 'REFUSED' : 'UNKNOWN';
}

/** Follows the log at either process in turns, and whatever happens goes on from its last cursor. */
async function follow(processes: Stage['processes'], token: string, at: number) {
  const proxies = await Promise.all(processes.map(({ url }) => openProxy(url)));
  onTestFinished(async () => {
    it.stop();
    await running;
    await Promise.all(proxies.map((proxy) => proxy.stop()));
  });
  const stopped = new AbortController();
  let client: ReturnType<typeof socketClient> | undefined;
  let begin: () => void = () => {};
  const it = {
    at,
    ids: [] as string[],
    connections: 0,
    isConnected: false,
    begun: new Promise<void>((resolve) => (begin = resolve)),
    cut: () => proxies.forEach((proxy) => proxy.cutAll()),
    stop() {
      stopped.abort();
      client?.terminate();
    },
  };
  const running = run();
  return it;

  async function run() {
    let after: string | undefined;
    while (!stopped.signal.aborted) {
      client = socketClient(proxies[(at + it.connections++) % 2]!.url, token);
      const steps = subscribe<LiveStep>(client, FOLLOW, { after });
      try {
        for (;;) {
          const { cursor, node } = await steps.next();
          it.isConnected = true;
          after = cursor;
          if (node) it.ids.push(node.id as string);
          begin();
        }
      } catch (cause) {
        it.isConnected = false;
        const [refusal] = Array.isArray(cause) ? (cause as { extensions: { code: string } }[]) : [];
        if (refusal && !PASSING.includes(refusal.extensions.code)) throw cause;
        await pause(RETRY_MS);
      } finally {
        client.terminate();
      }
    }
  }
}

const PASSING = ['INTERNAL_SERVER_ERROR', 'RATE_LIMITED'];

/** Every kind of fault at its own pace, all at once. Returns when the time is over and everything runs again. */
async function raise(stage: Stage, followers: readonly Awaited<ReturnType<typeof follow>>[]) {
  const { cluster, admin, processes } = stage;
  let sockets = 0;
  const restartedAt: number[] = [];
  const spread = async (times: number, fault: () => Promise<void>) => {
    for (let time = 0; time < times; time++) {
      await pause(((SECONDS * 1_000) / (times + 1)) * (0.75 + Math.random() / 2));
      await fault();
    }
  };
  await Promise.all([
    pause(SECONDS * 1_000),
    spread(FAULTS.sockets, async () => {
      const connected = followers.filter(({ isConnected }) => isConnected);
      const one = connected[Math.floor(Math.random() * connected.length)];
      if (one) sockets++;
      one?.cut();
    }),
    spread(FAULTS.listeners, () => persistently(() => killListener(admin))),
    spread(FAULTS.processes, async () => {
      const role = await persistently(() => sealing(admin));
      const one = processes.find((each) => each.role === role)!;
      one.program.signal('SIGKILL');
      await one.program.ended();
      await one.restart();
    }),
    spread(FAULTS.restarts, async () => {
      await cluster.restart('immediate');
      restartedAt.push(performance.now());
    }),
  ]);
  return { sockets, restartedAt };
}

/** Ends the backend one of the processes listens with. */
async function killListener(admin: FreshDatabase['admin']): Promise<void> {
  await until('somebody listens', async () => {
    const killed = await admin`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and query in ('listen "custos_sealed"', 'select 1') and state = 'idle'
      order by random() limit 1`;
    return killed.length > 0;
  });
}

/** The role of the process that is sealing a batch just now. */
async function sealing(admin: FreshDatabase['admin']): Promise<string> {
  let role: string | undefined;
  await until(
    'somebody seals',
    async () => {
      const [row] = await admin`
        select usename from pg_locks join pg_stat_activity using (pid)
        where relation = 'audit_sealer'::regclass and mode = 'RowShareLock' and usename like 'storm_%' limit 1`;
      role = row?.['usename'] as string | undefined;
      return role !== undefined;
    },
    10_000,
  );
  return role!;
}

function quantile(told: readonly Told[], at: number): number {
  const sorted = told.map(({ ms }) => ms).toSorted((one, other) => one - other);
  return Math.round(sorted[Math.min(Math.floor(sorted.length * at), sorted.length - 1)]!);
}

/** The database may be restarting. */
async function persistently<T>(work: () => Promise<T>): Promise<T> {
  for (let left = 100; ; left--) {
    try {
      return await work();
    } catch (cause) {
      if (left === 0) throw cause;
      await pause(RETRY_MS);
    }
  }
}
