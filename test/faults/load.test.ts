import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { freshDatabase } from '../world/database.ts';
import { build, start } from '../world/process.ts';
import { type Answer, LOGIN_ROLE, PASSWORD, post } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';

beforeAll(build);

/** `LOAD_SECONDS=60 npm test -- faults/load` is the whole of it, 600 the soak; the short form finds what breaks at once. */
const SECONDS = Number(process.env['LOAD_SECONDS'] ?? 8);
const CLIENTS = 200;
const SUBSCRIBERS = 30;
const USERS = 40;
const SAMPLES = 60;
/** What a client may be told under load; everything else is an error of ours. */
const STATED_LIMITS = ['RATE_LIMITED'];

const OPERATIONS = {
  page: `query Page($user: ID!) { auditLogs(first: 20, filter: { userId: $user }) { nodes { id action actor { name } } } }`,
  events: '{ securityEvents(first: 10) { nodes { id severity } } me { fullName } }',
  people: '{ users(first: 20) { nodes { email branches { name } } } settings { organisation { locale } } }',
  update: `mutation Update($user: ID!, $text: String!) {
    updateUser(input: { id: $user, fullName: $text }) { user { id } } }`,
  login: `mutation In($email: String!) { login(input: { email: $email, password: "${PASSWORD}" }) { expiresAt } }`,
  wrong: `mutation In($email: String!) { login(input: { email: $email, password: "wrong" }) { expiresAt } }`,
} as const;
type Kind = keyof typeof OPERATIONS;
/** Of every twenty operations. */
const MIX: readonly (readonly [Kind, number])[] = [
  ['page', 7],
  ['events', 2],
  ['people', 3],
  ['update', 5],
  ['login', 1],
  ['wrong', 2],
];
const TURN = MIX.flatMap(([kind, times]) => Array.from({ length: times }, () => kind));

test(
  `${CLIENTS} clients at once meet no error but stated limits, and what was answered is what is on record`,
  { timeout: (SECONDS + 120) * 1_000 },
  async () => {
    const { adminUrl, admin } = await freshDatabase();
    await admin.unsafe(LOGIN_ROLE);
    const databaseUrl = new URL(adminUrl);
    databaseUrl.username = 'world_login';
    const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-load-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const program = start({
      CUSTOS_DATA_DIR: dataDir,
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: adminUrl,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      // Each client is behind a proxy of ours, so each has an address of its own.
      TRUSTED_PROXIES: '127.0.0.0/8',
      LOG_LEVEL: 'warn',
    });
    const { url } = await program.ready();
    const { token, userIds, email } = await furnish(url);
    const [{ records: before }] = (await admin`select count(*)::int as records from audit_logs`) as [
      { records: number },
    ];
    const live = Array.from({ length: SUBSCRIBERS }, () =>
      subscribe<{ cursor: string }>(socketClient(url, token), 'subscription { auditLogAppended { cursor } }'),
    );
    await Promise.all(live.map((each) => each.next()));
    const memoryBefore = await metric(url, 'process_resident_memory_bytes');

    const told = new Map<string, number>();
    const begun = performance.now();
    const until = begun + SECONDS * 1_000;
    const heap: (readonly [minutes: number, mebibytes: number])[] = [];
    const sampling = (async () => {
      while (performance.now() < until) {
        const used = await metric(url, 'nodejs_heap_size_used_bytes');
        heap.push([(performance.now() - begun) / 60_000, used / 2 ** 20]);
        await pause((SECONDS * 1_000) / SAMPLES);
      }
    })();
    const tell = (what: string) => told.set(what, (told.get(what) ?? 0) + 1);
    await Promise.all(
      Array.from({ length: CLIENTS }, async (_, client) => {
        const address = `203.0.113.${client + 1}`;
        for (let turn = client; performance.now() < until; turn += 7) {
          const kind = TURN[turn % TURN.length]!;
          const signsIn = kind === 'login' || kind === 'wrong';
          const variables = {
            user: userIds[(client + turn) % userIds.length],
            text: `Load ${client}/${turn}`,
            email: kind === 'login' ? email : `nobody-${turn % 997}@load.example`,
          };
          const headers = {
            'x-forwarded-for': address,
            ...(signsIn ? {} : { authorization: `Bearer ${token}` }),
          };
          tell(outcomeOf(kind, await post(url, { query: OPERATIONS[kind], variables }, headers)));
        }
      }),
    );

    await sampling;
    const unstated = [...told.keys()].filter((what) => !isStated(what));
    expect(unstated).toEqual([]);
    const count = (...kinds: string[]) => kinds.reduce((sum, kind) => sum + (told.get(kind) ?? 0), 0);
    const lagSeconds = await metric(url, 'nodejs_eventloop_lag_p99_seconds');
    const memory = await metric(url, 'process_resident_memory_bytes');
    for (const each of live) each.stop();
    // A stop writes what was held back.
    program.signal('SIGTERM');
    expect(await program.ended()).toBe(0);

    const counted = await admin`
      select action, status, sum(coalesce((details ->> 'attempts')::int, 1))::int as calls
      from audit_logs where action in ('auth.login', 'auth.login_failed', 'user.updated') group by 1, 2`;
    const records = Object.fromEntries(
      counted.map(({ action, status, calls }) => [`${action} ${status}`, calls as number]),
    );
    expect(records).toEqual({
      'user.updated success': count('update OK'),
      // One is the administrator's own, before the clients came.
      'auth.login success': count('login OK') + 1,
      'auth.login_failed failure': count('wrong UNAUTHENTICATED', 'wrong RATE_LIMITED', 'login RATE_LIMITED'),
    });
    const total = [...told.values()].reduce((sum, each) => sum + each, 0);
    expect(total).toBeGreaterThan(CLIENTS);
    console.log(
      `${SECONDS} s, ${CLIENTS} clients, ${SUBSCRIBERS} subscribers: ${Math.round(total / SECONDS)} operations/s, ` +
        `event-loop delay p99 ${Math.round(lagSeconds * 1_000)} ms, memory ${mib(memoryBefore)} to ${mib(memory)} MiB, heap ${slopeOf(heap.slice(SAMPLES / 2)).toFixed(1)} MiB/min, ` +
        `${before} records before; ${JSON.stringify(Object.fromEntries(told))}`,
    );
  },
);

/** Of the second half, by least squares: how much more there is each minute. */
function slopeOf(points: readonly (readonly [number, number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const above = points.reduce((sum, [px, py]) => sum + (px - x) * (py - y), 0);
  return above / points.reduce((sum, [px]) => sum + (px - x) ** 2, 0);
}

function outcomeOf(kind: Kind, { errors, status }: Answer): string {
  return `${kind} ${errors.length === 0 ? 'OK' : ((errors[0]!.extensions['code'] as string | undefined) ?? status)}`;
}

function isStated(what: string): boolean {
  const [kind, code] = what.split(' ') as [Kind, string];
  return code === 'OK' || STATED_LIMITS.includes(code) || (kind === 'wrong' && code === 'UNAUTHENTICATED');
}

async function furnish(url: string) {
  const email = 'admin@load.example';
  const registration = `mutation { register(input: { tenantName: "Load", subdomain: "load", email: "${email}",
    password: "${PASSWORD}", fullName: "Ada Admin" }) { accessToken } }`;
  const { data } = await post(url, { query: registration });
  const token = data.register.accessToken as string;
  const headers = { authorization: `Bearer ${token}` };
  const userIds: string[] = [];
  for (let at = 0; at < USERS; at++) {
    const query = `mutation { createUser(input: { email: "user${at}@load.example", fullName: "User" }) { user { id } } }`;
    userIds.push((await post(url, { query }, headers)).data.createUser.user.id as string);
  }
  const query = OPERATIONS.login;
  await post(url, { query, variables: { email } });
  return { token, userIds, email };
}

/** A number of /metrics. */
async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)![1]);
}

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
