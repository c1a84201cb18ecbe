import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

import { sessionOf } from '../world/auditRecord.ts';
import { holdLog } from '../world/locks.ts';
import { type Answer, PASSWORD, type Person, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const PAIR = 'accessToken refreshToken user { id }';
const NEXT = 'another horse battery';
const AT_ONCE = 50;
const FORBIDDEN = 4403;
const LIVE = 'subscription { live: auditLogAppended { cursor } }';

async function scene() {
  const here = await world();
  const { admin } = await here.tenant();
  const user = await here.user(admin, 'AUDITOR');
  const { admin: sql } = here.database;
  return {
    here,
    admin,
    user,
    refresh: (refreshToken: string) => here.anybody.do('refreshToken', { refreshToken }, PAIR),
    session: async (person: Person) => {
      const [row] = await sql`
        select s.revoked_because,
          (select count(*)::int from refresh_tokens r where r.session_id = s.id and r.used_at is null) as unused
        from sessions s where s.id = ${sessionOf(person)}`;
      return row!;
    },
    /** How many records there are of each outcome of that action. */
    records: (action: string) =>
      sql`select status, failure, count(*)::int from audit_logs where action = ${action} group by 1, 2 order by 3`,
  };
}

function outcomes(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { data, errors } of answers) {
    const outcome = data === null ? String(errors[0]?.extensions['reason']) : 'served';
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

test('of fifty that come with one refresh token one is served, and it is worth nothing: the session ends', async () => {
  const { here, user, refresh, session, records } = await scene();
  const live = socketClient(here.url, user.token);
  onTestFinished(() => live.dispose());
  const stream = subscribe(live, LIVE);
  await stream.next();

  // The first has the token's row and waits for the log; the second waits for the row.
  const log = await holdLog(here.database.admin);
  const underway = [refresh(user.refreshToken), refresh(user.refreshToken)];
  await log.waiting(2);
  while (underway.length < AT_ONCE) underway.push(refresh(user.refreshToken));
  await log.release();
  const answers = await Promise.all(underway);

  expect(outcomes(answers)).toEqual({ served: 1, TOKEN_REUSED: 1, SESSION_REVOKED: 48 });
  expect(await records('auth.token_reuse_detected')).toMatchObject([{ status: 'failure', count: 1 }]);
  expect(await session(user)).toMatchObject({ revoked_because: 'TOKEN_REUSE' });
  const { data } = answers.find(({ data }) => data !== null)!;
  for (const token of [user.token, data.accessToken as string]) {
    const after = await here.anybody.ask('{ me { id } }', {}, { authorization: `Bearer ${token}` });
    expect(after.errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');
  }
  expect(outcomes([await refresh(data.refreshToken as string)])).toEqual({ SESSION_REVOKED: 1 });
  expect(await stream.ended).toMatchObject({ code: FORBIDDEN });
});

test('fifty at once, and nobody held back: still one', async () => {
  const { user, refresh, session } = await scene();
  const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => refresh(user.refreshToken)));
  expect(outcomes(answers)).toEqual({ served: 1, TOKEN_REUSED: 1, SESSION_REVOKED: 48 });
  expect(await session(user)).toMatchObject({ revoked_because: 'TOKEN_REUSE' });
});

test('a used token and its heir at once: whoever is first, no token of the session is good afterwards', async () => {
  for (const first of ['used', 'heir'] as const) {
    const { here, user, refresh, session } = await scene();
    const heir = (await refresh(user.refreshToken)).data.refreshToken as string;
    const [one, two] = first === 'used' ? [user.refreshToken, heir] : [heir, user.refreshToken];

    const log = await holdLog(here.database.admin);
    const early = refresh(one);
    await log.waiting(1);
    const late = refresh(two);
    await log.waiting(2);
    await log.release();
    const answers = await Promise.all([early, late]);

    expect([first, outcomes(answers)]).toEqual([
      first,
      first === 'used' ? { TOKEN_REUSED: 1, SESSION_REVOKED: 1 } : { served: 1, TOKEN_REUSED: 1 },
    ]);
    expect(await session(user)).toMatchObject({ revoked_because: 'TOKEN_REUSE' });
    const served = answers.find(({ data }) => data !== null);
    const left = served ? [served.data.refreshToken as string] : [];
    for (const token of [...left, heir, user.refreshToken])
      expect(outcomes([await refresh(token)])).toEqual({ SESSION_REVOKED: 1 });
  }
});

test.each([
  ['logs out', (user: Person) => user.do('logout', undefined, 'success'), 'LOGOUT'],
  [
    'is shut out',
    (user: Person, admin: Person) =>
      admin.do('deactivateUser', { id: user.id, reason: 'left' }, 'user { id }'),
    'USER_DEACTIVATED',
  ],
  [
    'is deleted',
    (user: Person, admin: Person) => admin.do('deleteUser', { id: user.id }, 'user { id }'),
    'USER_DELETED',
  ],
])('a refresh that overtakes a user who %s is worth nothing', async (_, leave, because) => {
  const { here, admin, user, refresh, session } = await scene();
  const log = await holdLog(here.database.admin);
  const refreshing = refresh(user.refreshToken);
  await log.waiting(1);
  const leaving = leave(user, admin);
  await log.waiting(2);
  await log.release();

  const [refreshed, left] = await Promise.all([refreshing, leaving]);
  expect([refreshed.errors, left.errors]).toEqual([[], []]);
  expect(await session(user)).toMatchObject({ revoked_because: because });
  const authorization = `Bearer ${refreshed.data.accessToken as string}`;
  const after = await here.anybody.ask('{ me { id } }', {}, { authorization });
  expect(after.errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');
});

test('a new password ends a session that is being prolonged elsewhere', async () => {
  const { here, user, refresh, session } = await scene();
  const elsewhere = (await here.signIn(user.email, PASSWORD)).data;
  const log = await holdLog(here.database.admin);
  const refreshing = refresh(elsewhere.refreshToken as string);
  await log.waiting(1);
  const changing = user.do('changePassword', { currentPassword: PASSWORD, newPassword: NEXT }, 'user { id }');
  await log.waiting(2);
  await log.release();

  expect(outcomes(await Promise.all([refreshing, changing]))).toEqual({ served: 2 });
  expect(await session({ ...user, token: elsewhere.accessToken as string })).toMatchObject({
    revoked_because: 'PASSWORD_CHANGE',
  });
  expect(await session(user)).toMatchObject({ revoked_because: null });
});

test('of fifty that come with one reset link one sets its password, and no other password was ever set', async () => {
  const { here, user, records } = await scene();
  await here.anybody.do('forgotPassword', { email: user.email }, 'accepted');
  const token = await mailedToken(here.dataDir, user.email);
  const passwords = Array.from({ length: AT_ONCE }, (_, i) => `${NEXT} ${i}`);

  const answers = await Promise.all(
    passwords.map((newPassword) => here.anybody.do('resetPassword', { token, newPassword }, 'success')),
  );

  expect(outcomes(answers)).toEqual({ served: 1, TOKEN_INVALID: AT_ONCE - 1 });
  expect(await records('auth.password_reset')).toMatchObject([
    { status: 'success', count: 1 },
    { status: 'failure', failure: 'TOKEN_INVALID', count: AT_ONCE - 1 },
  ]);
  const winner = passwords[answers.findIndex(({ data }) => data !== null)]!;
  expect(outcomes([await here.signIn(user.email, winner)])).toEqual({ served: 1 });
  expect(outcomes([await here.signIn(user.email, PASSWORD)])).toEqual({ INVALID_CREDENTIALS: 1 });
  expect(outcomes([await user.ask('{ me { id } }')])).toEqual({ SESSION_REVOKED: 1 });
});

test('of two links of one user that are used at once, one sets a password', async () => {
  const { here, user } = await scene();
  const tokens: string[] = [];
  for (const nth of [1, 2]) {
    await here.anybody.do('forgotPassword', { email: user.email }, 'accepted');
    tokens.push(await mailedToken(here.dataDir, user.email, nth));
  }
  const log = await holdLog(here.database.admin);
  const uses = tokens.map((token, i) =>
    here.anybody.do('resetPassword', { token, newPassword: `${NEXT} ${i}` }, 'success'),
  );
  await log.waiting(2);
  await log.release();

  expect(outcomes(await Promise.all(uses))).toEqual({ served: 1, TOKEN_INVALID: 1 });
});

/** The token of the nth mail to an address that holds a link to set a password. */
async function mailedToken(dataDir: string, to: string, nth = 1): Promise<string> {
  const folder = path.join(dataDir, 'mail');
  const tokens = () =>
    readdirSync(folder)
      .filter((file) => file.endsWith('.eml'))
      .sort()
      .map((file) => readFileSync(path.join(folder, file), 'utf8').replaceAll('=\r\n', ''))
      .filter((mail) => mail.includes(`To: ${to}`) && mail.includes('Subject: Set a new password'))
      .map((mail) => /token=(?:3D)?([\w-]{43})/.exec(mail)![1]!);
  await until(`mail ${nth} is there`, () => tokens().length >= nth);
  return tokens()[nth - 1]!;
}
