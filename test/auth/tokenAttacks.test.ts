import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { openClock } from '../../src/platform/ids.ts';
import { openKeys } from '../../src/platform/keys.ts';
import { expectRecord, expectRefused, sessionOf } from '../world/auditRecord.ts';
import { type Person, post, type World, world } from '../world/server.ts';

const HOUR = 3_600;
const FORBIDDEN = 4403;
const TOO_BIG = 1009;
/** Larger than any header Node reads. */
const EIGHT_MB = 8_000_000;

interface Claims extends Record<string, unknown> {
  readonly sub: string;
  readonly sid: string;
  readonly iat: number;
  readonly exp: number;
}

/** Makes tokens out of a good one: of our key, unless told. */
async function openForge(here: World, { token }: Person) {
  const { jwt: ours } = await openKeys(here.settings);
  const [header, claims] = token.split('.').slice(0, 2).map(decoded) as [object, Claims];
  const signed = (head: string, payload: string, key: KeyObject = ours) => {
    const text = [head, payload].map((part) => Buffer.from(part).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  };
  return {
    claims,
    signed,
    header: JSON.stringify(header),
    forged: (head: object = {}, payload: object | string = {}, key?: KeyObject) =>
      signed(
        JSON.stringify({ ...header, ...head }),
        typeof payload === 'string' ? payload : JSON.stringify({ ...claims, ...payload }),
        key,
      ),
    byHmac: (alg: string, bits: string) => {
      const text = [{ ...header, alg }, claims]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.');
      const secret = createPublicKey(ours).export({ type: 'spki', format: 'pem' });
      return `${text}.${createHmac(bits, secret).update(text).digest('base64url')}`;
    },
  };
}

function decoded(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString());
}

/** Every token that must not be taken for one of ours, by what is wrong with it. */
function attacks(
  { forged, signed, byHmac, claims, header }: Awaited<ReturnType<typeof openForge>>,
  good: Person,
  other: Person,
): Record<string, string> {
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const { iat, exp } = claims;
  const [head, payload, signature] = good.token.split('.') as [string, string, string];
  const unsigned = (alg: string) => `${forged({ alg }).split('.').slice(0, 2).join('.')}.`;
  const text = JSON.stringify(claims);
  return {
    'alg none': unsigned('none'),
    'alg nOnE': unsigned('nOnE'),
    'alg none with a signature': forged({ alg: 'none' }),
    'HS256 with our public key as the secret': byHmac('HS256', 'sha256'),
    HS384: byHmac('HS384', 'sha384'),
    'an HMAC called ES256': byHmac('ES256', 'sha256'),
    'a key brought along': forged({ jwk: createPublicKey(stranger).export({ format: 'jwk' }) }, {}, stranger),
    'a key to be fetched': forged({ jku: 'https://attacker.example/jwks.json' }, {}, stranger),
    "a stranger's key under our kid": forged({}, {}, stranger),
    'a foreign kid': forged({ kid: 'foreign' }, {}, stranger),
    'a kid that is a path': forged({ kid: '../../../../dev/null' }),
    'a kid that is SQL': forged({ kid: "' union select 'secret' --" }),
    'no signature': `${head}.${payload}.`,
    'two segments': `${head}.${payload}`,
    'five segments': `${good.token}.e30.e30`,
    'a changed payload': `${head}.${encoded({ ...claims, sub: other.id })}.${signature}`,
    'a padded signature': `${good.token}=`,
    'a flipped unused bit': `${good.token.slice(0, -1)}${twinOf(good.token.at(-1)!)}`,
    'exp as text': forged({}, { exp: String(exp) }),
    'no exp': forged({}, { exp: undefined }),
    'exp 1e300': forged({}, text.replace(`"exp":${exp}`, '"exp":1e300')),
    'exp beyond the longest life': forged({}, { exp: iat + 901 }),
    'nbf in the future': forged({}, { nbf: iat + HOUR }),
    'iat a day ahead': forged({}, { iat: iat + 24 * HOUR, exp: iat + 24 * HOUR + 900 }),
    'another audience': forged({}, { aud: 'https://example.com' }),
    'another issuer': forged({}, { iss: 'https://example.com' }),
    crit: forged({ crit: ['exp'] }),
    'b64 false': forged({ crit: ['b64'], b64: false }),
    'no typ': forged({ typ: undefined }),
    'typ JWT': forged({ typ: 'JWT' }),
    'a __proto__ key': forged({}, `${text.slice(0, -1)},"__proto__":{"role":"SUPER_ADMIN"}}`),
    'a __proto__ key in the header': signed(`${header.slice(0, -1)},"__proto__":{"a":1}}`, text),
    'two users': forged({}, text.replace('"sub"', `"sub":"${other.id}","sub"`)),
    'a role of its own': forged({}, { role: 'SUPER_ADMIN' }),
    'a payload that is text': forged({}, '"admin"'),
    'a refresh token': good.refreshToken,
    'more than 4 KiB': forged({}, { note: 'x'.repeat(4_096) }),
    'more than 4 KiB of white space': forged({}, text + ' '.repeat(4_096)),
    'a number': '42',
    'dots alone': '..',
    "somebody else's session": forged({}, { sub: other.id }),
    'a session that never was': forged({}, { sid: other.id }),
    'expired, and of a stranger': forged({}, { iat: iat - HOUR, exp: iat - HOUR + 900 }, stranger),
    'expired, and of another audience': forged({}, { iat: iat - HOUR, exp: iat - HOUR + 900, aud: 'x' }),
    'expired, and living too long': forged({}, { iat: iat - 24 * HOUR, exp: iat - HOUR }),
  };
}

function encoded(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

/** The other digit of base64url that stands for the same bits at the end of a signature of 64 bytes. */
function twinOf(digit: string): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return digits[digits.indexOf(digit) ^ 1]!;
}

async function scene() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  return { here, tenantId, admin, member, forge: await openForge(here, member) };
}

/** What the server says to a token in the header: nothing that differs from call to call. */
async function overHttp({ url }: Pick<World, 'url'>, authorization: string) {
  const { status, data, errors, headers } = await post(url, { query: '{ me { id } }' }, { authorization });
  const said = errors.map(({ message, path, extensions }) => {
    const same: Record<string, unknown> = { ...extensions, requestId: '' };
    return { message, path, extensions: same };
  });
  return { status, data, said, headers: [...headers.keys()].toSorted() };
}

/** How a connection that was begun with that ends: the code it is closed with, or `ack`. */
async function overWebSocket({ url }: Pick<World, 'url'>, authorization: unknown): Promise<number | 'ack'> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  await once(socket, 'open');
  const answered = Promise.race([
    once(socket, 'message').then(() => 'ack' as const),
    once(socket, 'close').then(([code]) => code as number),
  ]);
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }));
  const answer = await answered;
  socket.terminate();
  return answer;
}

test('the forge makes good tokens, so that what is refused is refused for its one fault', async () => {
  const { here, member, forge } = await scene();
  expect((await overHttp(here, `Bearer ${forge.forged()}`)).data).toEqual({ me: { id: member.id } });
  expect(await overWebSocket(here, `Bearer ${forge.forged()}`)).toBe('ack');
});

test('every forged token gets the same answer over HTTP, and no connection over WebSocket', async () => {
  const { here, admin, member, forge } = await scene();
  const table = attacks(forge, member, admin);
  const answers: Record<string, unknown> = {};
  const alike: Record<string, unknown> = {};
  const refused = await overHttp(here, 'Bearer x.y.z');
  expect(refused.said).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED', reason: 'TOKEN_INVALID' } }]);

  for (const [fault, token] of Object.entries(table)) {
    const authorization = `Bearer ${token}`;
    answers[fault] = [await overHttp(here, authorization), await overWebSocket(here, authorization)];
    alike[fault] = [refused, FORBIDDEN];
  }

  expect(answers).toEqual(alike);
  expect(Object.keys(table).length).toBeGreaterThanOrEqual(40);
  // None of them was written into a line of the log.
  const lines = JSON.stringify(here.log);
  expect(Object.entries(table).filter(([, token]) => token.length > 20 && lines.includes(token))).toEqual([]);
});

test('an expired token is called so if it was ours and good, and opens no connection', async () => {
  const { here, forge } = await scene();
  const { iat } = forge.claims;
  const authorization = `Bearer ${forge.forged({}, { iat: iat - HOUR, exp: iat - HOUR + 900 })}`;
  const { said } = await overHttp(here, authorization);
  expect(said).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED', reason: 'TOKEN_EXPIRED' } }]);
  expect(await overWebSocket(here, authorization)).toBe(FORBIDDEN);
});

test.each([
  ['nothing after the scheme', 'Bearer '],
  ['another scheme', 'Basic YWRtaW46YWRtaW4='],
  ['two tokens', 'Bearer a.b.c d.e.f'],
  ['a token without a scheme', 'a.b.c'],
])('%s signs nobody in, and opens no connection', async (_, authorization) => {
  const here = await world();
  expect((await overHttp(here, authorization)).said).toMatchObject([
    { extensions: { code: 'UNAUTHENTICATED' } },
  ]);
  expect(await overWebSocket(here, authorization)).toBe(FORBIDDEN);
});

test('what is no text opens no connection', async () => {
  const { here, member } = await scene();
  for (const odd of ['', 42, true, null, {}, [`Bearer ${member.token}`], { toString: member.token }])
    expect([odd, await overWebSocket(here, odd)]).toEqual([odd, FORBIDDEN]);
});

test('8 MB of token are refused by the transports, and the next request is served', async () => {
  const { here, member, forge } = await scene();
  const token = forge.forged({}, { note: 'x'.repeat(EIGHT_MB) });
  expect(await statusOfHeader(here, `Bearer ${token}`)).toBe(431);
  expect(await overWebSocket(here, `Bearer ${token}`)).toBe(TOO_BIG);
  expect((await member.ask('{ me { id } }')).data).toEqual({ me: { id: member.id } });
});

/** Node's own client, because fetch does not wait for an answer while it still sends. */
async function statusOfHeader({ url }: World, authorization: string): Promise<number | undefined> {
  const call = request(`${url}/graphql?query={__typename}`, { headers: { authorization } });
  // The server hangs up as soon as it has read enough, while we are still writing.
  call.on('error', () => {});
  const [response] = (await once(call.end(), 'response')) as [{ statusCode: number }];
  return response.statusCode;
}

test('a mutation with a forged token changes nothing, and is on record as nobody’s', async () => {
  const { here, admin, member, forge } = await scene();
  const answer = await here.anybody.ask(
    'mutation Do { logout { success } }',
    {},
    { authorization: `Bearer ${forge.forged({}, { sub: admin.id })}` },
  );

  expectRefused({ ...answer, data: answer.data.logout }, 'TOKEN_INVALID');
  await expectRecord(here, await here.root(), answer, {
    action: 'LOGOUT',
    mutation: 'logout',
    tenantId: null,
    severity: 'WARNING',
    failure: 'TOKEN_INVALID',
  });
  const [session] = await here.database
    .admin`select revoked_at from sessions where id = ${sessionOf(member)}`;
  expect(session).toEqual({ revoked_at: null });
});

test('clocks that stray by an hour prolong no token', async () => {
  const { here, member } = await scene();
  const reasonAt = async (server: World['server'], hours: number) => {
    const { clock } = server.house.services;
    Object.assign(clock, openClock({ wallMillis: () => Date.now() + hours * HOUR * 1000 }));
    const { said } = await overHttp(server, `Bearer ${member.token}`);
    return said[0]?.extensions['reason'];
  };
  const other = await here.another();

  // Of a process that lags behind, the token comes from the future; of one that is ahead, it is over.
  expect(await reasonAt(other, -1)).toBe('TOKEN_INVALID');
  expect(await reasonAt(other, 1)).toBe('TOKEN_EXPIRED');
  expect(await reasonAt(other, 0)).toBeUndefined();
});
