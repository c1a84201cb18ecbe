/** `custos tail` as its users run it: a process of the built program, a real server, a real kill. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';

import { sessionOf } from './world/auditRecord.ts';
import { build } from './world/process.ts';
import { openProxy } from './world/proxy.ts';
import { PASSWORD, type Person, post, world, type World } from './world/server.ts';
import { launch, launched, type Printed, PROGRAM, recordsIn, type Tail } from './world/tailing.ts';
import { until } from './world/wait.ts';

beforeAll(build);

const HEAD = /^TIME +SEVERITY +STATUS +ACTION +ACTOR +RESOURCE +ADDRESS$/m;

test('filters let through what they all name together, all of it and nothing else', async () => {
  const { here, admin, member } = await acme();
  await here.signIn(member.email, 'a wrong password');
  await member.do('createUser', { email: 'a@b.example', fullName: 'A', role: 'MEMBER' });
  await until('it is sealed', async () => (await unsealed(here)) === 0);
  const all = await read(here, admin, [], await count(here, admin));
  const passing: [string[], (record: Printed['record']) => boolean][] = [
    [['--action', 'LOGIN', '--action', 'LOGIN_FAILED'], ({ action }) => /^LOGIN(_FAILED)?$/.test(action)],
    [
      ['--status', 'FAILURE', '--filter', '{"not":{"actions":["LOGIN_FAILED"]}}'],
      ({ status, action }) => status === 'FAILURE' && action !== 'LOGIN_FAILED',
    ],
    [['--user', member.id, '--address', '127.0.0.1'], ({ actor }) => actor.id === member.id],
  ];

  for (const [args, passes] of passing) {
    const expected = all.filter(({ record }) => passes(record));
    expect(expected.length, String(args)).toBeGreaterThan(0);
    expect(expected.length, String(args)).toBeLessThan(all.length);
    expect(await read(here, admin, args, expected.length), String(args)).toEqual(expected);
  }
});

test(
  'killed again and again while the server restarts, it has printed every record, in order, each once but for the last before a kill',
  {
    timeout: 120_000,
  },
  async () => {
    const { here, admin, act } = await acme();
    const cursorFile = path.join(folder(), 'cursor');
    const args = [...tokenless(here), '--email', admin.email, '--cursor-file', cursorFile];
    const runs: Tail[] = [];
    const run = async () => {
      const tail = launch({ CUSTOS_PASSWORD: PASSWORD }, args);
      runs.push(tail);
      return tail;
    };
    const printed = () => runs.flatMap(({ out }) => recordsIn(out.stdout));
    const first = await run();
    await until('it listens', () => exists(cursorFile), 15_000);
    const listening = await count(here, admin);

    const KILLS = 5;
    let current = first;
    for (let kill = 0; kill < KILLS; kill++) {
      const before = current;
      const acting = act(20);
      await until('some are printed', () => recordsIn(before.out.stdout).length >= 3 + kill, 20_000);
      before.child.kill('SIGKILL');
      await acting;
      await before.closed;
      current = await run();
    }
    await until('it listens again', () => recordsIn(current.out.stdout).length > 0, 20_000);
    await here.server.stop();
    Object.assign(here.settings, { port: Number(new URL(here.url).port) });
    await here.another();
    await act(5);
    const total = await count(here, admin);
    await until('all are printed', () => printed().at(-1)?.record.position === total - 1, 30_000);
    current.child.kill('SIGINT');

    expect(await current.ended()).toBe(130);
    const positions = printed().map(({ record }) => record.position);
    const twice = positions.filter((position, at) => position === positions[at - 1]);
    expect(twice.length).toBeLessThanOrEqual(KILLS);
    // The record of its own sign-in may have been sealed before it listened, or after.
    const from = positions[0]!;
    expect(from).toBeLessThanOrEqual(listening);
    const once = positions.filter((position, at) => position !== positions[at - 1]);
    expect(once).toEqual(Array.from({ length: total - from }, (_, at) => from + at));
    expect(readFileSync(cursorFile, 'utf8')).toBe(`${printed().at(-1)!.cursor}\n`);
  },
);

test('killed while nobody takes what it prints, it loses nothing', { timeout: 60_000 }, async () => {
  const { here, admin, act } = await acme();
  // More than a pipe holds.
  await Promise.all(Array.from({ length: 20 }, () => act(30)));
  const cursorFile = path.join(folder(), 'cursor');
  const args = ['--from-beginning', '--cursor-file', cursorFile];
  const stuck = launch({ CUSTOS_TOKEN: admin.token }, [...tokenless(here), ...args]);
  stuck.child.stdout!.pause();
  let [kept, unchanged] = ['', 0];
  await until(
    'it waits for its reader',
    () => {
      const now = exists(cursorFile) ? readFileSync(cursorFile, 'utf8') : '';
      [kept, unchanged] = [now, now !== '' && now === kept ? unchanged + 1 : 0];
      return unchanged > 50;
    },
    20_000,
  );
  stuck.child.kill('SIGKILL');
  stuck.child.stdout!.resume();
  await stuck.closed;

  const taken = recordsIn(stuck.out.stdout);
  expect(`${taken.at(-1)!.cursor}\n`).toBe(kept);
  const total = await count(here, admin);
  expect(taken.length).toBeLessThan(total);
  const rest = await read(here, admin, args, total - taken.length, []);
  const positions = [...taken, ...rest].map(({ record }) => record.position);
  expect(positions).toEqual(Array.from({ length: total }, (_, at) => at));
});

test('with no cursor it begins with what comes; --after goes on from a cursor, the cursor file counts more', async () => {
  const { here, admin, act } = await acme();
  const live = launch({ CUSTOS_TOKEN: admin.token }, [...tokenless(here), '--format', 'table']);
  await until('it listens', () => HEAD.test(live.out.stdout), 15_000);
  await act(1);
  await until('it prints', () => live.out.stdout.includes('PASSWORD_RESET_REQUEST'));
  expect(live.out.stdout.trimEnd().split('\n')).toHaveLength(2);

  const all = await read(here, admin, [], await count(here, admin));
  const rest = await read(here, admin, ['--after', all[1]!.cursor], all.length - 2, []);
  expect(rest).toEqual(all.slice(2));
  const file = path.join(folder(), 'cursor');
  writeFileSync(file, `${all[2]!.cursor}\n`);
  const args = ['--after', all[0]!.cursor, '--cursor-file', file];
  expect(await read(here, admin, args, all.length - 3, [])).toEqual(all.slice(3));

  writeFileSync(file, '');
  const empty = launch({ CUSTOS_TOKEN: admin.token }, [...tokenless(here), ...args]);
  expect(await empty.ended()).toBe(1);
  expect(empty.out).toEqual({
    stdout: '',
    stderr: expect.stringContaining('holds no cursor: remove it to begin anew') as string,
  });
});

test('a recorded user agent with terminal controls reaches the output as escapes', async () => {
  const { here, admin } = await acme();
  const body = JSON.stringify({
    query: `mutation { login(input: { email: "${admin.email}", password: "wrong" }) { expiresAt } }`,
  });
  const call = request(`${here.url}/graphql`, {
    method: 'POST',
    // The one-byte form of ESC [, which passes as a header.
    headers: { 'content-type': 'application/json', 'user-agent': '\u009b2Jevil' },
  }).end(body);
  const [answer] = (await once(call, 'response')) as [NodeJS.ReadableStream];
  answer.resume();
  await until('it is sealed', async () => (await unsealed(here)) === 0);

  const tail = launch({ CUSTOS_TOKEN: admin.token }, [
    ...tokenless(here),
    '--from-beginning',
    '--action',
    'LOGIN_FAILED',
  ]);
  await until('it is printed', () => tail.out.stdout.includes('evil'), 15_000);

  expect(tail.out.stdout).not.toContain('\u009b');
  expect(recordsIn(tail.out.stdout)[0]!.record.userAgent).toContain('\u009b2Jevil');
});

test('lost connections are told once an outage, and it goes on', { timeout: 60_000 }, async () => {
  const { here, admin, act } = await acme();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const filter = ['--action', 'PASSWORD_RESET_REQUEST', '--format=table'];
  const args = ['--url', new URL('/graphql', proxy.url).href, '--email', admin.email, ...filter];
  const tail = launch({ CUSTOS_PASSWORD: PASSWORD }, args);
  await until('it listens', () => HEAD.test(tail.out.stdout), 15_000);
  const told = () => tail.out.stderr.split('\n').filter(Boolean);
  const rows = () => tail.out.stdout.match(/PASSWORD_RESET_REQUEST/g)?.length ?? 0;
  for (let outage = 1; outage <= 2; outage++) {
    proxy.cutAll();
    await until('it is told', () => told().length >= outage);
    await act(1);
    await until('it goes on', () => rows() === outage);
    expect(told()).toHaveLength(outage);
  }
  expect(told()[0]).toMatch(/^custos: the connection is lost and will be tried again: \S/);

  await here.server.stop();
  let attempts = 0;
  const nobody = createServer((socket) => {
    attempts++;
    socket.destroy();
  });
  onTestFinished(() => void nobody.close());
  nobody.listen(Number(new URL(here.url).port), '127.0.0.1');
  await until('it has tried in vain', () => attempts >= 3, 15_000);
  tail.child.kill('SIGTERM');
  expect(await tail.ended()).toBe(143);
  expect(told()).toHaveLength(3);
});

test('a session that is ended is begun again with the password; with a token alone it is the end', async () => {
  const { here, admin, act } = await acme();
  const auditor = await here.user(admin, 'AUDITOR');
  const table = [...tokenless(here), '--format', 'table'];
  const stdin = `${PASSWORD}\n`;
  const signedIn = launch({}, [...table, '--email', auditor.email, '--password-stdin'], { stdin });
  const token = launch({ CUSTOS_TOKEN: auditor.token }, table);
  for (const { out } of [signedIn, token]) await until('it listens', () => HEAD.test(out.stdout), 15_000);
  const { data } = await auditor.ask('{ sessions { id } }');
  const sessions = (data.sessions as { id: string }[]).map(({ id }) => id);
  const own = sessionOf(auditor);

  for (const id of [...sessions.filter((id) => id !== own), own])
    await auditor.do('revokeSession', { sessionId: id });

  expect(await token.ended()).toBe(1);
  expect(token.out.stderr).toMatch(/^custos: CUSTOS_TOKEN is not taken: .*\n$/);
  // Its own end and its new beginning are on record, and nothing between is missing.
  await until('the other is back', () => /SESSION_REVOKED[^]*LOGIN /.test(signedIn.out.stdout), 15_000);
  await act(1);
  await until('it goes on', () => signedIn.out.stdout.includes('PASSWORD_RESET_REQUEST'), 15_000);
  expect(signedIn.out.stderr).toBe('');
});

test('nobody reading any more is no failure', async () => {
  const { here, admin, act } = await acme();
  await act(30);
  const tail = launch({ CUSTOS_TOKEN: admin.token }, [...tokenless(here), '--from-beginning']);
  tail.child.stdout!.once('data', () => tail.child.stdout!.destroy());
  await once(tail.child.stdout!, 'close');
  const left = performance.now();
  await act(1);

  expect(await tail.ended()).toBe(0);
  // What comes in after the end keeps nothing going.
  expect(performance.now() - left).toBeLessThan(10_000);
  expect(tail.out.stderr).toBe('');
});

test.skipIf(process.platform !== 'linux')(
  'on a terminal it prints a table in colours, and without them with NO_COLOR',
  async () => {
    const { here, admin } = await acme();
    await here.signIn(admin.email, 'a wrong password');
    await until('it is sealed', async () => (await unsealed(here)) === 0);
    const args = [...tokenless(here), '--from-beginning', '--action', 'LOGIN_FAILED'];
    const shown = async (env: Record<string, string>) => {
      const command = [process.execPath, PROGRAM, 'tail', ...args].join(' ');
      const terminal = launched('script', ['-qec', command, '/dev/null'], {
        CUSTOS_TOKEN: admin.token,
        TERM: 'xterm-256color',
        ...env,
      });
      await until('it is shown', () => terminal.out.stdout.includes('LOGIN_FAILED'), 15_000);
      return terminal.out.stdout.replaceAll('\r\n', '\n');
    };

    const coloured = await shown({});
    expect(coloured).toMatch(HEAD);
    expect(coloured).toContain('\u001b[33mWARNING');
    expect(await shown({ NO_COLOR: '1' })).not.toContain('\u001b');
  },
);

test(
  'what keeps it from beginning is said, with code 2 for the command line and the environment, else 1',
  { timeout: 60_000 },
  async () => {
    const { here, admin, member } = await acme();
    const url = tokenless(here);
    const password = { CUSTOS_PASSWORD: 'a wrong password' };
    const token = { CUSTOS_TOKEN: admin.token };
    const cases: [Record<string, string>, string[], number, RegExp][] = [
      [{}, url, 2, /^CUSTOS_TOKEN must be an access token, unless --email says who is to sign in\n$/],
      [{}, [...url, '--email', admin.email], 2, /^CUSTOS_PASSWORD must be the password of --email/],
      [password, [...url, '--email', admin.email], 1, /^custos: .*password.*\n$/],
      [{ CUSTOS_TOKEN: 'no token' }, url, 1, /^custos: CUSTOS_TOKEN is not taken: .*\n$/],
      [{ CUSTOS_TOKEN: member.token }, url, 1, /^custos: Your role does not allow this\.\n$/],
      [token, [...url, '--after', 'no cursor'], 1, /^custos: .*cursor.*\n$/],
      [token, [...url, '--address', 'no address'], 1, /^custos: .*no address.*\n$/],
      [token, ['--url', `${here.url}/nowhere`], 1, /^custos: There is nothing at \/nowhere/],
      [
        token,
        ['--url', 'http://127.0.0.1:2/graphql'],
        1,
        /^custos: http:\/\/127.0.0.1:2\/graphql: .*ECONNREFUSED/,
      ],
      [{ ...token, CUSTOS_URL: 'ftp://host' }, [], 2, /must be an http or https address/],
      [token, [...url, '--action', 'SIGN_IN'], 2, /'SIGN_IN' is invalid. Allowed choices are LOGIN, /],
    ];
    for (const [env, args, code, line] of cases) {
      const tail = launch(env, args);
      expect(await tail.ended(), String(args)).toBe(code);
      expect(tail.out.stderr, String(args)).toMatch(line);
      expect(tail.out.stdout).toBe('');
    }
  },
);

/** What a tail prints up to its `expected`th record. */
async function read(here: World, by: Person, args: string[], expected: number, from = ['--from-beginning']) {
  const tail = launch({ CUSTOS_TOKEN: by.token }, [...tokenless(here), ...from, ...args]);
  await until(
    `${String(args)} printed ${expected}: ${tail.out.stderr}`,
    () => recordsIn(tail.out.stdout).length >= expected,
    15_000,
  );
  tail.child.kill('SIGINT');
  expect(await tail.ended()).toBe(130);
  return recordsIn(tail.out.stdout);
}

function tokenless(here: World): string[] {
  return ['--url', `${here.url}/graphql`];
}

async function acme() {
  const here = await world();
  const { admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  await until('what happened before is sealed', async () => (await unsealed(here)) === 0);
  const query = `mutation { forgotPassword(input: { email: "${member.email}" }) { accepted } }`;
  return {
    here,
    admin,
    member,
    /** Leaves as many records, one after the other. */
    act: async (times: number) => {
      for (let done = 0; done < times; done++) await post(here.url, { query });
      await until('they are sealed', async () => (await unsealed(here)) === 0);
    },
  };
}

async function unsealed({ database }: World): Promise<number> {
  const [log] = await database.admin`
    select (select count(*) from audit_logs)::int - (select sum(count) from audit_seals)::int as left`;
  return log!['left'] as number;
}

/** How many records the log of a person's tenant has. */
async function count({ database }: World, { tenantId }: Person): Promise<number> {
  const [log] = await database.admin`select count(*)::int from audit_logs where tenant_id = ${tenantId}`;
  return log!['count'] as number;
}

function folder(): string {
  const made = mkdtempSync(path.join(tmpdir(), 'custos-tail-'));
  onTestFinished(() => rmSync(made, { recursive: true }));
  return made;
}

function exists(file: string): boolean {
  try {
    return readFileSync(file).length > 0;
  } catch {
    return false;
  }
}
