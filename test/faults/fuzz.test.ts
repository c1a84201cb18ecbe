import { Buffer } from 'node:buffer';
import { request } from 'node:http';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { type Person, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const REQUESTS = 9_000;
const MESSAGES = 1_000;
const AT_ONCE = 32;
const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_123);
/** What no answer may hold: our sources, our statements, our parameters. */
const TELLTALE =
  /node_modules|\/src\/|\.ts:\d|at \w+ \(|select .* from|insert into|\$1|sqlstate|drizzle|postgres/i;

const OPERATIONS = [
  '{ me { id email } }',
  '{ auditLogs(first: 5, filter: { actions: [LOGIN], createdAt: { from: "2026-01-01T00:00:00Z" } }) { nodes { id } } }',
  'query Q($id: ID!) { user(id: $id) { fullName } node(id: $id) { id } }',
  'mutation M($input: UpdateUserInput!) { updateUser(input: $input) { user { id } } }',
  'mutation { login(input: { email: "a@b.example", password: "x" }) { expiresAt } }',
  'subscription { auditLogAppended { cursor } }',
  '{ failedLoginAttempts(ipAddress: "::1", hours: 3) { totalCount } }',
];
const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -0,
  2 ** 53,
  -1,
  1e308,
  0.1,
  '',
  'x',
  '\0',
  '\u{1F4A9}',
  '\uD800',
  [],
  [[[]]],
  {},
  { a: { b: [] } },
  '9'.repeat(400),
  'x'.repeat(5_000),
  '__proto__',
  '1e400',
  '0x1',
  '../../etc/passwd',
  "' or 1=1 --",
  '${7*7}',
  '%00',
];

test(
  `${REQUESTS + MESSAGES} bad inputs: no fault of ours, nobody dies, and no answer tells of our insides`,
  { timeout: 120_000 },
  async () => {
    const here = await world();
    const { admin } = await here.tenant();
    const chance = seeded(SEED);
    const bad: string[] = [];
    const look = (sent: string, status: number, answer: string) => {
      if (status >= 500 || answer.includes('INTERNAL') || TELLTALE.test(answer))
        bad.push(`${status} ${sent} => ${answer}`.slice(0, 600));
    };

    let left = REQUESTS;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (left-- > 0) {
          const { path, method, headers, body } = badRequest(chance, admin);
          const { status, answer } = await send(here.url + path, method, headers, body);
          look(`${method} ${path} ${body.subarray(0, 200).toString()}`, status, answer);
        }
      }),
    );
    for (let sent = 0; sent < MESSAGES;) sent += await badConversation(here, admin, chance, look);

    expect(bad).toEqual([]);
    expect((await admin.ask('{ me { id } }')).data.me.id).toBe(admin.id);
    expect(here.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  },
);

function badRequest(chance: () => number, { token }: Person) {
  const one = pick(chance);
  const query = broken(chance, one(OPERATIONS));
  const variables = {
    id: one(VALUES),
    input: { id: one(VALUES), fullName: one(VALUES), email: one(VALUES) },
  };
  const body = one<() => Buffer>([
    () => Buffer.from(JSON.stringify({ query, variables })),
    () => Buffer.from(JSON.stringify({ query: one(OPERATIONS), variables })),
    () => Buffer.from(JSON.stringify({ query, operationName: one(VALUES), extensions: one(VALUES) })),
    () => Buffer.from(JSON.stringify(one(VALUES))),
    () => Buffer.from(broken(chance, JSON.stringify({ query, variables }))),
    () =>
      Buffer.from(Array.from({ length: 1 + Math.floor(chance() * 200) }, () => Math.floor(chance() * 256))),
  ])();
  const type = one([
    'application/json',
    'application/json',
    'application/json; charset=utf-8',
    'text/plain',
    'application/json; charset=x',
    '',
  ]);
  const authorization = one([
    `Bearer ${token}`,
    `Bearer ${token}`,
    'Bearer x',
    `Bearer ${broken(chance, token)}`,
    'Basic YTpi',
    '',
  ]);
  const headers: Record<string, string> = {
    ...(type ? { 'content-type': type } : {}),
    ...(authorization ? { authorization: printable(authorization) } : {}),
    ...(chance() < 0.2 ? { 'x-request-id': printable(String(one(VALUES))).slice(0, 300) } : {}),
    ...(chance() < 0.2 ? { 'x-forwarded-for': printable(String(one(VALUES))).slice(0, 300) } : {}),
    ...(chance() < 0.2
      ? { accept: one(['*/*', 'text/html', 'application/graphql-response+json', 'x', ';;;']) }
      : {}),
  };
  const method = chance() < 0.85 ? 'POST' : one(['GET', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH']);
  const path =
    chance() < 0.9
      ? '/graphql'
      : one([
          `/graphql?query=${encodeURIComponent(query.toWellFormed())}`,
          '/graphql?variables=%7B',
          '/%ff',
          '/..%2f',
          '//',
          '/graphiql/x',
        ]);
  return { path, method, headers, body: method === 'POST' || method === 'PUT' ? body : Buffer.alloc(0) };
}

/** One connection that says what it likes until it is hung up on; resolves to how many messages it got rid of. */
async function badConversation(
  { url }: World,
  { token }: Person,
  chance: () => number,
  look: (sent: string, status: number, answer: string) => void,
): Promise<number> {
  const one = pick(chance);
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  await once(socket, 'open');
  socket.on('message', (data: Buffer) => look('a message', 200, data.toString()));
  const closed = once(socket, 'close');
  if (chance() < 0.8)
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }));
  let sent = 0;
  while (sent < 30 && socket.readyState === WebSocket.OPEN) {
    const query = broken(chance, one(OPERATIONS));
    const text = one<() => string>([
      () =>
        JSON.stringify({
          id: String(sent),
          type: 'subscribe',
          payload: { query, variables: { id: one(VALUES) } },
        }),
      () =>
        JSON.stringify({
          id: String(sent),
          type: 'subscribe',
          payload: { query: one(OPERATIONS), variables: { input: one(VALUES) } },
        }),
      () => JSON.stringify({ id: String(sent), type: 'subscribe', payload: { query, operationName: 'x' } }),
      () =>
        chance() < 0.1
          ? JSON.stringify({
              id: one(VALUES),
              type: one(['subscribe', 'next', 'x', 'complete']),
              payload: one(VALUES),
            })
          : JSON.stringify({ type: 'ping' }),
      () =>
        chance() < 0.1
          ? broken(chance, JSON.stringify({ type: 'ping' }))
          : JSON.stringify({ id: '0', type: 'complete' }),
    ])();
    socket.send(text);
    sent++;
    if (sent % 10 === 0) socket.ping();
  }
  if (socket.readyState === WebSocket.OPEN) {
    const pong = once(socket, 'pong');
    socket.ping();
    await Promise.race([pong, closed]);
  }
  socket.terminate();
  await until('it is over', () => socket.readyState === WebSocket.CLOSED);
  return sent;
}

/** The text with some of its characters gone, doubled, swapped or replaced. */
function broken(chance: () => number, text: string): string {
  const letters = Array.from(text);
  for (let times = Math.floor(chance() * 4); times > 0; times--) {
    const at = Math.floor(chance() * letters.length);
    const what = chance();
    if (what < 0.3) letters.splice(at, 1 + Math.floor(chance() * 5));
    else if (what < 0.6)
      letters.splice(
        at,
        0,
        pick(chance)(['{', '}', '(', '"', '\0', '$', '@', '...', '!', '\u202E', '#', '[']),
      );
    else if (what < 0.8) letters.splice(at, 0, ...letters.slice(at, at + 20));
    else letters[at] = String.fromCharCode(Math.floor(chance() * 0xffff));
  }
  return letters.join('');
}

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?');
}

function send(
  url: string,
  method: string,
  headers: Record<string, string>,
  body: Buffer,
): Promise<{ status: number; answer: string }> {
  return new Promise((resolve) => {
    const sent = request(url, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('close', () =>
        resolve({ status: response.statusCode!, answer: Buffer.concat(chunks).toString() }),
      );
    });
    sent.on('error', () => resolve({ status: 0, answer: '' }));
    sent.end(body);
  });
}

function pick(chance: () => number) {
  return <T>(choices: readonly T[]): T => choices[Math.floor(chance() * choices.length)]!;
}

/** mulberry32. */
function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
