import { expect, test } from 'vitest';

import { asUser, expectRecord } from '../world/auditRecord.ts';
import { type Answer, PASSWORD, post, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const WRONG = 'not my password';
const BEHIND_A_PROXY = { TRUSTED_PROXIES: '127.0.0.1' };
const WRONG_ANSWER = 'INVALID_CREDENTIALS';
const THROTTLED = 'TOO_MANY_ATTEMPTS';

/** A sign-in from an address, as a trusted proxy would hand it on. */
async function signIn(
  { url }: Pick<World, 'url'>,
  ip: string,
  email: string,
  password = WRONG,
  tenant?: string,
): Promise<Answer> {
  return await post(
    url,
    {
      query: `mutation Do($input: LoginInput!) { login(input: $input) { accessToken refreshToken user { id } receipts { id action } } }`,
      variables: { input: { email, password, tenant } },
    },
    { 'x-forwarded-for': ip },
  );
}

const reasonOf = ({ errors }: Answer) => errors[0]?.extensions['reason'];

async function fail(here: Pick<World, 'url'>, times: number, ip: string, email: string): Promise<void> {
  for (let time = 0; time < times; time++) {
    expect(reasonOf(await signIn(here, ip, email))).toBe(WRONG_ANSWER);
  }
}

/** An answer without what differs from request to request. */
function faceless({ status, data, errors }: Answer) {
  return {
    status,
    data,
    errors: errors.map(({ message, path, extensions }) => ({
      message,
      path,
      extensions: { ...extensions, requestId: undefined },
    })),
  };
}

test('five failures for an account from an address: then the right password is refused there too, for 15 minutes', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  const { id: tenantId, admin } = await here.tenant();
  await fail(here, 5, '192.0.2.1', admin.email);

  const answer = await signIn(here, '192.0.2.1', admin.email, PASSWORD);

  expect(faceless(answer)).toEqual({
    status: 200,
    data: { login: null },
    errors: [
      {
        message: 'Too many attempts have failed: try again later.',
        path: ['login'],
        extensions: { code: 'RATE_LIMITED', reason: THROTTLED, retryAfterSeconds: 900 },
      },
    ],
  });
  const read = await admin.ask(
    'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action status security: severity tenantId resourceId ipAddress details failure { reason } actor { type } } } }',
    { id: answer.requestId },
  );
  expect(read.data.auditLogs.nodes).toEqual([
    {
      action: 'LOGIN_FAILED',
      status: 'FAILURE',
      security: 'WARNING',
      tenantId,
      resourceId: admin.id,
      ipAddress: '192.0.2.1',
      details: { email: admin.email, input: { email: admin.email } },
      failure: { reason: THROTTLED },
      actor: { type: 'ANONYMOUS' },
    },
  ]);
  expect((await signIn(here, '192.0.2.2', admin.email, PASSWORD)).data.login.user.id).toBe(admin.id);
});

test.each([
  ['another IPv4 address', '192.0.2.1', '192.0.2.2', WRONG_ANSWER],
  ['the same /64', '2001:db8::1', '2001:db8::ffff:1', THROTTLED],
  ['another /64', '2001:db8::1', '2001:db8:0:1::1', WRONG_ANSWER],
  ['the same address, IPv4-mapped', '192.0.2.1', '::ffff:192.0.2.1', THROTTLED],
  ['an address behind a forged one', '192.0.2.1', '198.51.100.7, 192.0.2.1', THROTTLED],
])('after five failures, %s is answered accordingly', async (_what, first, second, reason) => {
  const here = await world(BEHIND_A_PROXY, {});
  await fail(here, 5, first, 'somebody@nowhere.example');

  expect(reasonOf(await signIn(here, second, 'somebody@nowhere.example'))).toBe(reason);
});

test.each([
  ['another spelling of the e-mail', (email: string) => [email.toUpperCase()]],
  ['the tenant that is meant', (email: string, subdomain: string) => [email, subdomain]],
  ['a tenant that there is not', (email: string) => [email, 'no-such-tenant']],
])('%s gives no further attempts', async (_what, typed) => {
  const here = await world(BEHIND_A_PROXY, {});
  const { admin, subdomain } = await here.tenant();
  await fail(here, 5, '192.0.2.1', admin.email);

  const [email, tenant] = typed(admin.email, subdomain);
  expect(reasonOf(await signIn(here, '192.0.2.1', email!, WRONG, tenant))).toBe(THROTTLED);
});

test('rotating forwarding headers without a trusted proxy gives no further attempts', async () => {
  const here = await world({}, {});
  for (let time = 0; time < 5; time++) {
    expect(reasonOf(await signIn(here, `192.0.2.${time}`, 'a@nowhere.example'))).toBe(WRONG_ANSWER);
  }
  expect(reasonOf(await signIn(here, '192.0.2.77', 'a@nowhere.example'))).toBe(THROTTLED);
});

test('of a hundred attempts at once no more than five get to a password', async () => {
  const here = await world({}, {});
  const { admin } = await here.tenant();

  const answers = await Promise.all(Array.from({ length: 100 }, () => here.signIn(admin.email, WRONG)));

  const reasons = answers.map(reasonOf);
  expect(reasons.filter((reason) => reason === WRONG_ANSWER)).toHaveLength(5);
  expect(reasons.filter((reason) => reason === THROTTLED)).toHaveLength(95);
});

test('a known and an unknown account are answered alike, attempt by attempt, and so is a locked one', async () => {
  const here = await world({ ...BEHIND_A_PROXY }, { limits: { account: { points: 3, duration: 3600 } } });
  const { admin } = await here.tenant();

  for (let time = 0; time < 7; time++) {
    for (const ip of ['192.0.2.1', '2001:db8::1']) {
      const known = await signIn(here, ip, admin.email);
      const unknown = await signIn(here, ip, 'nobody@nowhere.example');
      expect(faceless(known)).toEqual(faceless(unknown));
    }
  }
});

test('success makes good for earlier failures at that address; a refresh does not', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  const { admin } = await here.tenant();
  const signedIn = await signIn(here, '192.0.2.1', admin.email, PASSWORD);
  await fail(here, 4, '192.0.2.1', admin.email);
  const { refreshToken } = signedIn.data.login;
  await here.anybody.do('refreshToken', { refreshToken }, 'accessToken');
  expect(reasonOf(await signIn(here, '192.0.2.1', admin.email))).toBe(WRONG_ANSWER);
  expect(reasonOf(await signIn(here, '192.0.2.1', admin.email))).toBe(THROTTLED);

  await fail(here, 4, '192.0.2.2', admin.email);
  expect((await signIn(here, '192.0.2.2', admin.email, PASSWORD)).errors).toEqual([]);
  await fail(here, 5, '192.0.2.2', admin.email);
});

test('who makes an account of their own for an e-mail does not make good for guesses at the other', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  const victim = await here.tenant();
  const input = {
    tenantName: 'Twin',
    subdomain: 'twin-of-mine',
    email: victim.admin.email,
    password: 'attackers own',
    fullName: 'T',
  };
  expect((await here.anybody.do('register', input, 'user { id }')).errors).toEqual([]);
  await fail(here, 4, '192.0.2.1', victim.admin.email);

  const own = await signIn(here, '192.0.2.1', victim.admin.email, 'attackers own', 'twin-of-mine');
  expect(own.errors).toEqual([]);

  await fail(here, 1, '192.0.2.1', victim.admin.email);
  expect(reasonOf(await signIn(here, '192.0.2.1', victim.admin.email))).toBe(THROTTLED);
});

test('an address that tries many accounts is refused for all of them', async () => {
  const here = await world(BEHIND_A_PROXY, { limits: { address: { points: 8, duration: 900 } } });
  for (let at = 0; at < 8; at++) await fail(here, 1, '192.0.2.1', `victim-${at}@nowhere.example`);

  const refused = await signIn(here, '192.0.2.1', 'victim-9@nowhere.example');
  expect(reasonOf(refused)).toBe(THROTTLED);
  expect(reasonOf(await signIn(here, '192.0.2.2', 'victim-9@nowhere.example'))).toBe(WRONG_ANSWER);
});

test('a hundred addresses at one account have to wait longer and longer; its owner signs in from a known one', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  const { admin } = await here.tenant();
  expect((await signIn(here, '203.0.113.7', admin.email, PASSWORD)).errors).toEqual([]);

  const answers = [];
  for (let host = 1; host <= 100; host++) answers.push(await signIn(here, `192.0.2.${host}`, admin.email));
  const reasons = answers.map(reasonOf);
  const seen = reasons.filter((reason) => reason === WRONG_ANSWER).length;
  expect(reasons.slice(0, 20)).toEqual(Array(20).fill(WRONG_ANSWER));
  // Beyond it one a second, then one in two, in four: the hundred take no longer than a few seconds.
  expect(seen).toBeLessThan(26);
  expect(reasonOf(await signIn(here, '192.0.2.200', admin.email, PASSWORD))).toBe(THROTTLED);

  expect((await signIn(here, '203.0.113.7', admin.email, PASSWORD)).data.login.user.id).toBe(admin.id);
  await fail(here, 5, '203.0.113.7', admin.email);
  expect(reasonOf(await signIn(here, '203.0.113.7', admin.email))).toBe(THROTTLED);
});

test('the wait between attempts at one account doubles', async () => {
  const here = await world(BEHIND_A_PROXY, { limits: { account: { points: 1, duration: 3600 } } });
  let host = 0;
  const attempt = () => signIn(here, `192.0.2.${++host}`, 'a@nowhere.example');
  expect(reasonOf(await attempt())).toBe(WRONG_ANSWER);

  for (const seconds of [1, 2]) {
    await until('the next attempt is let through', async () => reasonOf(await attempt()) === WRONG_ANSWER);
    expect((await attempt()).errors[0]!.extensions['retryAfterSeconds']).toBe(seconds);
  }
});

test('all addresses together may fail so often a second', async () => {
  const here = await world(BEHIND_A_PROXY, { limits: { everywhere: { points: 10, duration: 60 } } });

  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, host) => signIn(here, `192.0.2.${host}`, `a${host}@nowhere.example`)),
  );
  expect(answers.map(reasonOf).filter((reason) => reason === WRONG_ANSWER)).toHaveLength(10);
});

test('a block ends by itself', async () => {
  const here = await world(BEHIND_A_PROXY, {
    limits: { pair: { points: 2, duration: 900, blockDuration: 1 } },
  });
  const { admin } = await here.tenant();
  await fail(here, 2, '192.0.2.1', admin.email);
  const blocked = await signIn(here, '192.0.2.1', admin.email, PASSWORD);
  expect(blocked.errors[0]!.extensions).toMatchObject({ reason: THROTTLED, retryAfterSeconds: 1 });

  await until('the block has ended', async () => {
    return (await signIn(here, '192.0.2.1', admin.email, PASSWORD)).errors.length === 0;
  });
});

test('two servers on one database count together', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  const there = await here.another();
  await fail(here, 3, '192.0.2.1', 'a@nowhere.example');
  await fail(there, 2, '192.0.2.1', 'a@nowhere.example');

  expect(reasonOf(await signIn(here, '192.0.2.1', 'a@nowhere.example'))).toBe(THROTTLED);
  expect(reasonOf(await signIn(there, '192.0.2.1', 'a@nowhere.example'))).toBe(THROTTLED);
});

test('a password that the queue has no room for is BUSY on record, and no failure', async () => {
  const here = await world({}, {});
  const { admin } = await here.tenant();
  const { passwords } = here.server.house.services;
  const slow = `$2b$15$${'.'.repeat(53)}`;
  const queue = Array.from({ length: 257 }, () => passwords.verify(WRONG, slow).catch(() => false));

  for (let time = 0; time < 6; time++) {
    const answer = await here.signIn(admin.email, PASSWORD);
    expect(answer.errors[0]!.extensions).toMatchObject({
      code: 'RATE_LIMITED',
      reason: 'BUSY',
      retryAfterSeconds: 5,
    });
  }
  const read = await admin.ask('{ failedLoginAttempts { nodes { failure { reason } } } }');
  expect(read.data.failedLoginAttempts.nodes).toEqual(
    Array.from({ length: 6 }, () => ({ failure: { reason: 'BUSY' } })),
  );
  await here.stop();
  await Promise.all(queue);
});

test('without its table each process counts for itself', async () => {
  const here = await world(BEHIND_A_PROXY, {});
  await here.database.admin`revoke all on throttle_counters from custos_app`;
  const { admin } = await here.tenant();

  await fail(here, 5, '192.0.2.1', admin.email);
  expect(reasonOf(await signIn(here, '192.0.2.1', admin.email, PASSWORD))).toBe(THROTTLED);
  expect((await signIn(here, '192.0.2.2', admin.email, PASSWORD)).errors).toEqual([]);
});

test('changePassword is no way to guess a password', async () => {
  const here = await world({}, {});
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  const guess = (currentPassword: string) =>
    member.do('changePassword', { currentPassword, newPassword: 'a new battery' }, 'user { id }');
  for (let time = 0; time < 5; time++) expect(reasonOf(await guess(WRONG))).toBe(WRONG_ANSWER);

  const answer = await guess(PASSWORD);

  await expectRecord(here, admin, answer, {
    action: 'PASSWORD_CHANGED',
    mutation: 'changePassword',
    by: asUser(member, 'MEMBER'),
    tenantId,
    severity: 'WARNING',
    failure: THROTTLED,
  });
});
