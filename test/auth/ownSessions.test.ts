import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused, sessionOf } from '../world/auditRecord.ts';
import { type Person, PASSWORD, type World, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';

const SESSIONS = '{ sessions { id current ipAddress userAgent createdAt lastUsedAt expiresAt } }';

async function again(here: World, person: Person, userAgent: string): Promise<Person> {
  const operation = `mutation In($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }`;
  const input = { email: person.email, password: PASSWORD };
  const { data } = await here.anybody.ask(operation, { input }, { 'user-agent': userAgent });
  const { accessToken: token, refreshToken } = data.login as { accessToken: string; refreshToken: string };
  const signedIn: Person = {
    ...person,
    token,
    refreshToken,
    ask: (asked, variables, headers) =>
      here.anybody.ask(asked, variables, { authorization: `Bearer ${token}`, ...headers }),
  };
  return signedIn;
}

test("one's open sessions are listed, the newest first, with where and what they began with", async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const phone = await again(here, admin, 'Phone');
  await here.tenant('Other');

  const { sessions } = (await admin.ask(SESSIONS)).data;

  expect(sessions).toMatchObject([
    { id: sessionOf(phone), current: false, userAgent: 'Phone', ipAddress: '127.0.0.1' },
    { id: sessionOf(admin), current: true, userAgent: 'node' },
  ]);
  for (const { createdAt, lastUsedAt, expiresAt } of sessions) {
    expect(lastUsedAt).toBe(createdAt);
    expect(Date.parse(expiresAt as string) - Date.parse(createdAt as string)).toBe(30 * 86_400_000);
  }
  const node = `{ node(id: "${sessionOf(phone)}") { ... on Session { userAgent } } }`;
  expect((await admin.ask(node)).data.node).toEqual({ userAgent: 'Phone' });
});

test('a refresh is a use, and a session whose refresh token has run out is not listed', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const phone = await again(here, admin, 'Phone');
  await here.anybody.do('refreshToken', { refreshToken: phone.refreshToken }, 'expiresAt');

  const listed = (await admin.ask(SESSIONS)).data.sessions as { lastUsedAt: string; createdAt: string }[];
  expect(listed[0]!.lastUsedAt > listed[0]!.createdAt).toBe(true);

  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update refresh_tokens set expires_at = now() where session_id = ${sessionOf(phone)}`;
  });
  expect((await admin.ask(SESSIONS)).data.sessions).toMatchObject([{ id: sessionOf(admin) }]);
});

test('revokeSession ends one session on every transport from the next request on', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const phone = await again(here, admin, 'Phone');
  const live = subscribe(socketClient(here.url, phone.token), 'subscription { auditLogAppended { cursor } }');
  await live.next();

  const answer = await admin.do('revokeSession', { sessionId: sessionOf(phone) }, 'session { id userAgent }');

  expect(answer.data.session).toEqual({ id: sessionOf(phone), userAgent: 'Phone' });
  await expectRecord(here, admin, answer, {
    action: 'SESSION_REVOKED',
    mutation: 'revokeSession',
    by: asAdmin(admin),
    tenantId,
    resourceId: sessionOf(phone),
    severity: 'NOTICE',
    changes: [
      ['revokedAt', null, expect.any(String)],
      ['revokedBecause', null, 'REVOKED'],
    ],
  });
  expect((await phone.ask('{ me { id } }')).errors[0]?.extensions['reason']).toBe('SESSION_REVOKED');
  expectRefused(
    await here.anybody.do('refreshToken', { refreshToken: phone.refreshToken }),
    'SESSION_REVOKED',
  );
  expect(await live.ended).toMatchObject({ code: 4403 });
  expect((await admin.ask('{ me { id } }')).data.me.id).toBe(admin.id);
});

test("what is over, is somebody else's or never was is one and the same: not found", async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const mel = await here.user(admin, 'MEMBER');
  const phone = await again(here, admin, 'Phone');
  await admin.do('revokeSession', { sessionId: sessionOf(phone) });

  const refused = await Promise.all(
    [sessionOf(phone), sessionOf(mel), '01890000-0000-7000-8000-000000000000', 'not an id'].map((sessionId) =>
      admin.do('revokeSession', { sessionId }),
    ),
  );

  for (const answer of refused) expectRefused(answer, 'SESSION_NOT_FOUND');
  expect((await mel.ask('{ me { id } }')).data.me.id).toBe(mel.id);
  expect((await admin.ask(`{ node(id: "${sessionOf(mel)}") { id } }`)).data.node).toBeNull();
});

test('revokeOtherSessions ends all but the one it is asked through, and the record names them', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const [phone, tablet] = [await again(here, admin, 'Phone'), await again(here, admin, 'Tablet')];
  const mel = await here.user(admin, 'MEMBER');

  const answer = await admin.do('revokeOtherSessions', undefined, 'count');

  expect(answer.data.count).toBe(2);
  const row = await expectRecord(here, admin, answer, {
    action: 'SESSION_REVOKED',
    mutation: 'revokeOtherSessions',
    by: asAdmin(admin),
    tenantId,
    severity: 'NOTICE',
    details: { userId: admin.id, sessionIds: expect.any(Array) },
  });
  expect((row.details as { sessionIds: string[] }).sessionIds.sort()).toEqual(
    [sessionOf(phone), sessionOf(tablet)].sort(),
  );
  for (const gone of [phone, tablet])
    expect((await gone.ask('{ me { id } }')).errors[0]?.extensions['reason']).toBe('SESSION_REVOKED');
  expect((await mel.ask('{ me { id } }')).data.me.id).toBe(mel.id);
  expect((await admin.do('revokeOtherSessions', undefined, 'count')).data.count).toBe(0);
});
