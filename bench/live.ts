import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import postgres from 'postgres';
import { WebSocket } from 'ws';

import { idAt, openClock } from '../src/platform/ids.ts';
import { metric, post } from './client.ts';
import { type Table, times } from './figures.ts';
import { start } from './processes.ts';
import type { Stage } from './stage.ts';

const DATABASE = 'live';
const TENANTS = 100;
const SUBSCRIBERS_EACH = 10;
const EVENTS_A_SECOND = 500;
const BATCH_MS = 20;
/** Of one address at most fifty. */
const SOCKETS_AN_ADDRESS = 40;
const WARM_UP_MS = 2_000;
const DRAIN_MS = 20_000;
const FOLLOW = `subscription { auditLogAppended { cursor node { id action createdAt position actor { type name } resourceName } } }`;
/** What a new record does not share with the one it is made like. */
const OWN_COLUMNS = ['id', 'created_at', 'operation_id', 'tx'];

/** Subscribers of many tenants at one process, which gets the records of others: they are written straight to the database. */
export async function liveCost(stage: Stage): Promise<Table[]> {
  await stage.emptyDatabase(DATABASE);
  const { url, stop } = await start('serve', {
    ...stage.env(DATABASE),
    // That the records written here are copies of others, the server would notice.
    LOG_LEVEL: 'silent',
  });
  const sql = postgres(stage.appUrl(DATABASE), {
    max: 1,
    connection: { role: 'custos_app', 'app.tenant': '', 'app.scope': 'platform' },
  });
  const sockets: WebSocket[] = [];
  const seconds = stage.quick ? 5 : 20;
  try {
    const tenants = await register(url);
    const write = await writer(
      sql,
      tenants.map(({ userId }) => userId),
    );
    const committedAt = new Map<string, number>();
    const delays: number[] = [];
    let isMeasured = false;
    const onRecord = (id: string) => {
      const at = committedAt.get(id);
      if (at !== undefined) delays.push(performance.now() - at);
    };
    const before = await metric(url, 'process_resident_memory_bytes');
    for (const { token } of tenants) {
      const more = Array.from({ length: SUBSCRIBERS_EACH }, (_, at) =>
        subscriber(url, token, addressOf(sockets.length + at), onRecord),
      );
      sockets.push(...(await Promise.all(more)));
    }
    const after = await metric(url, 'process_resident_memory_bytes');

    let made = 0;
    const begin = performance.now();
    let measuredAt = begin;
    for (let now = begin; now - begin < WARM_UP_MS + seconds * 1_000; now = performance.now()) {
      if (!isMeasured && now - begin > WARM_UP_MS) {
        isMeasured = true;
        // Reading the delay begins it anew.
        await metric(url, 'nodejs_eventloop_lag_p99_seconds');
        measuredAt = performance.now();
      }
      const ids = await write(Math.round((EVENTS_A_SECOND * (now - begin)) / 1_000) - made);
      const at = performance.now();
      made += ids.length;
      if (isMeasured) for (const id of ids) committedAt.set(id, at);
      await pause(BATCH_MS);
    }
    const elapsed = (performance.now() - measuredAt) / 1_000;
    const loopDelay = await metric(url, 'nodejs_eventloop_lag_p99_seconds');
    const expected = committedAt.size * SUBSCRIBERS_EACH;
    for (const since = performance.now(); delays.length < expected && performance.now() - since < DRAIN_MS;)
      await pause(BATCH_MS);
    if (delays.length !== expected) throw new Error(`${delays.length} of ${expected} deliveries arrived.`);
    const memory = (after - before) / 1_024 / sockets.length;
    const rate = expected / elapsed;
    return [
      {
        title: `${sockets.length} subscribers of ${TENANTS} tenants, ${EVENTS_A_SECOND} events a second`,
        figures: [
          { label: 'from the commit to the parsed message', sides: [times('Custos', delays)] },
          { label: 'deliveries', sides: [{ name: 'Custos', unit: '/s', p50: rate }] },
          { label: 'memory a subscriber', sides: [{ name: 'Custos', unit: 'KiB', p50: memory }] },
          { label: 'event-loop delay, p99', sides: [{ name: 'Custos', unit: 'ms', p50: loopDelay * 1_000 }] },
        ],
      },
    ];
  } finally {
    for (const socket of sockets) socket.terminate();
    await sql.end();
    await stop();
  }
}

/** As many tenants: the token of an administrator, and a user who is nobody's business but a record's. */
async function register(url: string): Promise<{ token: string; userId: string }[]> {
  const tenants = [];
  for (let at = 0; at < TENANTS; at++) {
    const { register } = await post<{ register: { accessToken: string } }>(url, undefined, {
      query: `mutation { register(input: { tenantName: "Live ${at}", subdomain: "live-${at}", email: "admin@live${at}.example",
        password: "correct horse battery", fullName: "Ada Admin" }) { accessToken } }`,
    });
    const { createUser } = await post<{ createUser: { user: { id: string } } }>(url, register.accessToken, {
      query: `mutation { createUser(input: { email: "user@live${at}.example", fullName: "User" }) { user { id } } }`,
    });
    tenants.push({ token: register.accessToken, userId: createUser.user.id });
  }
  return tenants;
}

/** Writes so many records, of one tenant after another: each like the one of its user's making, personal values included. */
async function writer(sql: postgres.Sql, userIds: readonly string[]) {
  const clock = openClock();
  const columns = await sql<{ name: string }[]>`
    select quote_ident(column_name) as name from information_schema.columns
    where table_name = 'audit_logs' and is_generated = 'NEVER' and not column_name = any(${OWN_COLUMNS})`;
  const shared = columns.map(({ name }) => name);
  const like = await sql<{ tenant_id: string; id: string }[]>`
    select tenant_id, id from audit_logs where action = 'user.created' and resource_id = any(${userIds}::uuid[]) order by id`;
  const insert = `insert into audit_logs (id, created_at, operation_id, ${shared.join(', ')})
    select made.id, clock_timestamp(), gen_random_uuid(), ${shared.map((name) => `one.${name}`).join(', ')}
    from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as made (tenant, one, id)
    join audit_logs as one on one.tenant_id = made.tenant and one.id = made.one`;
  let turn = 0;
  return async (count: number): Promise<string[]> => {
    const chosen = Array.from({ length: count }, () => like[turn++ % like.length]!);
    const ids = chosen.map(() => idAt(clock.now()));
    await sql.unsafe(insert, [chosen.map((each) => each.tenant_id), chosen.map((each) => each.id), ids]);
    return ids;
  };
}

/** On a bare socket: a client's library would be measured too. Resolves when it follows. */
async function subscriber(
  url: string,
  token: string,
  localAddress: string,
  onRecord: (id: string) => void,
): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    localAddress,
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }));
  await once(socket, 'message');
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: FOLLOW } }));
  await once(socket, 'message');
  socket.on('message', (data: Buffer) => {
    const { payload } = JSON.parse(data.toString()) as {
      payload?: { data: { auditLogAppended: { node: { id: string } | null } } };
    };
    const id = payload?.data.auditLogAppended.node?.id;
    if (id !== undefined) onRecord(id);
  });
  return socket;
}

function addressOf(socket: number): string {
  return `127.0.1.${1 + Math.floor(socket / SOCKETS_AN_ADDRESS)}`;
}
