import { expect, onTestFinished, test } from 'vitest';

import { openProxy } from '../world/proxy.ts';
import { APPENDED, clientOf, FAILED, livePeople, RAISED } from '../world/live.ts';
import type { Person } from '../world/server.ts';
import { type LiveStep, subscribe, subscribeThrough } from '../world/socket.ts';

test('a failed login, a security event and every record arrive with all their fields', async () => {
  const { admin, own, fail, listen } = await livePeople();
  const [failed, raised, appended] = [
    await listen(admin, FAILED),
    await listen(admin, RAISED),
    await listen(admin, APPENDED),
  ];
  await fail(own.email.toUpperCase());

  const node = await failed.next();
  const { id, createdAt } = node.log;
  expect(node).toEqual({
    email: own.email.toUpperCase(),
    ipAddress: '127.0.0.1',
    reason: 'INVALID_CREDENTIALS',
    occurredAt: createdAt,
    log: {
      id,
      createdAt,
      action: 'LOGIN_FAILED',
      position: expect.any(Number) as number,
      resourceId: own.id,
      failure: { reason: 'INVALID_CREDENTIALS' },
    },
  });
  expect(await raised.next()).toEqual({
    id: `${id.slice(0, 14)}8${id.slice(15)}`,
    action: 'LOGIN_FAILED',
    severity: 'WARNING',
    occurredAt: createdAt,
    log: { id, createdAt, position: node.log.position },
  });
  expect(await appended.next()).toMatchObject({
    id,
    action: 'LOGIN_FAILED',
    user: null,
    actor: { name: null },
  });
  await admin.do('updateTenant', { id: admin.tenantId, name: 'Renamed' });
  expect(await appended.next()).toMatchObject({
    action: 'TENANT_UPDATED',
    position: Number(node.log.position) + 1,
    user: { email: admin.email },
    actor: { name: 'Admin of Acme' },
  });
  // Who acted is shown as it is now, also where an earlier event has shown it already.
  await admin.do('updateUser', { id: admin.id, email: 'moved@example.com' });
  expect(await appended.next()).toMatchObject({ user: { email: 'moved@example.com' } });
});

test('a filter lets through what it asks for, and nothing else', async () => {
  const { here, admin, own, fail, listen, mark } = await livePeople();
  const [byEmail, byAddress, elsewhere] = [
    await listen(admin, FAILED, { filter: { email: own.email.toUpperCase() } }),
    await listen(admin, FAILED, { filter: { ipAddress: '192.0.2.7' } }),
    await listen(admin, FAILED, { filter: { tenantId: own.id } }),
  ];
  const grave = await listen(admin, RAISED, { minSeverity: 'CRITICAL' });
  const renamed = await listen(admin, APPENDED, {
    filter: { not: { actions: ['LOGIN_FAILED'] }, userId: admin.id },
  });
  await fail(admin.email);
  await fail(own.email);
  await fail(admin.email, '192.0.2.7');
  await admin.do('updateTenant', { id: admin.tenantId, name: 'Renamed' });
  const { refreshToken } = own;
  for (let twice = 0; twice < 2; twice++) await here.anybody.do('refreshToken', { refreshToken });

  expect(await byEmail.next()).toMatchObject({ email: own.email });
  expect(await byAddress.next()).toMatchObject({ email: admin.email, ipAddress: '192.0.2.7' });
  expect(await grave.next()).toMatchObject({ action: 'TOKEN_REUSE_DETECTED', severity: 'CRITICAL' });
  expect(await renamed.next()).toMatchObject({ action: 'TENANT_UPDATED' });
  const last = await mark(admin);
  for (const stream of [byEmail, byAddress, elsewhere, grave, renamed]) {
    expect(await stream.restUpTo(last)).toEqual([]);
  }
});

test('no event of another tenant arrives, whatever is asked for; super administrators see all', async () => {
  const { here, admin, own, foreign, fail, listen, mark } = await livePeople();
  const root = await here.root();
  const mine = [await listen(admin, FAILED), await listen(admin, APPENDED), await listen(admin, RAISED)];
  const asked = [
    await listen(admin, FAILED, { filter: { tenantId: foreign.tenantId } }),
    await listen(admin, APPENDED, { filter: { tenantId: foreign.tenantId } }),
    await listen(admin, APPENDED, { filter: { or: [{ userId: foreign.id }, { resourceId: foreign.id }] } }),
  ];
  const all = await listen(root, FAILED);
  for (const { email } of [foreign, foreign, own]) await fail(email);
  await foreign.do('updateTenant', { id: foreign.tenantId, name: 'Secret' });
  await fail(own.email);

  const last = await mark(admin);
  for (const stream of mine) {
    const rest = await stream.restUpTo(last);
    const events = rest.map(({ node }) => node.log ?? node).filter(({ position }) => position < last);
    expect(events.map(({ id }) => id)).toEqual(await failedAt(admin));
  }
  for (const stream of asked) expect(await stream.restUpTo(last)).toEqual([]);
  const emails = [];
  for (let at = 0; at < 4; at++) emails.push((await all.next()).email);
  expect(emails).toEqual([foreign.email, foreign.email, own.email, own.email]);
});

test('members and nobody in particular may not follow, nor branch managers what is for security', async () => {
  const { here, admin } = await livePeople();
  const member = await here.user(admin, 'MEMBER');
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  for (const query of [FAILED, APPENDED, RAISED]) {
    const refusalFor = async (token: string | undefined) => {
      const { ended } = subscribe(clientOf(here, token), query);
      return (await ended) as object;
    };
    expect(await refusalFor(member.token)).toMatchObject([
      { extensions: { code: 'FORBIDDEN', reason: 'SCOPE_MISSING' } },
    ]);
    expect(await refusalFor(undefined)).toMatchObject([{ extensions: { reason: 'SIGN_IN_REQUIRED' } }]);
  }
  for (const query of [FAILED, RAISED]) {
    const { ended } = subscribe(clientOf(here, manager.token), query);
    expect(await ended).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
  }
});

test('a cursor of a page, of another tenant or of nothing is a bad cursor, also for a subscription', async () => {
  const { here, admin, foreign, listen } = await livePeople();
  const { data } = await admin.ask('{ auditLogs { pageInfo { endCursor } } }');
  const { origin: theirs } = await listen(foreign, APPENDED);
  const { origin: ofAll } = await listen(await here.root(), APPENDED);
  for (const after of [data.auditLogs.pageInfo.endCursor as string, theirs, ofAll, '', 'x']) {
    const { ended } = subscribe(clientOf(here, admin.token), APPENDED, { after });
    expect(await ended).toMatchObject([{ extensions: { code: 'BAD_CURSOR', reason: 'CURSOR_MISMATCH' } }]);
  }
});

test('a stream that nothing passes still advances: from its last beat on nothing comes again', async () => {
  const { here, admin, fail, listen } = await livePeople();
  const quiet = await listen(admin, FAILED, { filter: { email: 'nobody@example.com' } });
  await fail(admin.email);
  const { cursor, node } = await quiet.step();
  expect(node).toBeNull();
  expect(cursor).not.toBe(quiet.origin);
  await admin.do('updateTenant', { id: admin.tenantId, name: 'Renamed' });

  const fromOrigin = subscribe<LiveStep>(clientOf(here, admin.token), APPENDED, { after: quiet.origin });
  const fromBeat = subscribe<LiveStep>(clientOf(here, admin.token), APPENDED, { after: cursor });
  // It may arrive before the change is sealed, and says so first.
  const first = async (steps: typeof fromBeat) =>
    (await steps.until(({ node }) => node !== null)).at(-1)!.node;
  expect(await first(fromOrigin)).toMatchObject({ action: 'LOGIN_FAILED' });
  expect(await first(fromBeat)).toMatchObject({ action: 'TENANT_UPDATED' });
});

test('through ten cuts of the connection, 200 events arrive once each and in order', async () => {
  const { here, admin, own, foreign, fail, listen } = await livePeople();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const { origin } = await listen(admin, FAILED);
  const streams = [FAILED, APPENDED].map((query) =>
    subscribeThrough(
      proxy.url,
      admin.token,
      query,
      { after: origin },
      (nodes) => nodes.filter(isSignIn).length === 200,
    ),
  );
  const cuts = Array.from({ length: 10 }, (_, at) => at * 20 + Math.floor(Math.random() * 20));
  for (let at = 0; at < 100; at++) {
    await Promise.all([
      fail(own.email),
      fail(foreign.email),
      fail('nobody@example.com', undefined, own.subdomain),
    ]);
    for (const cut of cuts) if (Math.floor(cut / 2) === at) proxy.cutAll();
  }

  const [failed, appended] = await Promise.all(streams);
  const order = await failedAt(admin);
  expect(failed!.nodes.map((node) => node.log.id)).toEqual(order);
  // So many are an attack, and to say so is a record too.
  const signIns = appended!.nodes.filter(isSignIn);
  expect(signIns.map((node) => node.id)).toEqual(order);
  expect(new Set(appended!.nodes.map((node) => node.id)).size).toBe(appended!.nodes.length);
  expect(order).toHaveLength(200);
  expect(failed!.connections).toBeGreaterThan(3);
});

/** The others are what a detection made of them. */
function isSignIn({ action = 'LOGIN_FAILED' }: LiveStep['node']): boolean {
  return action === 'LOGIN_FAILED';
}

/** The failed logins that a reader sees, in sealed order. */
async function failedAt(reader: Person): Promise<string[]> {
  const { data } = await reader.ask('{ failedLoginAttempts(first: 500) { nodes { id position } } }');
  const nodes = data.failedLoginAttempts.nodes as { id: string; position: number }[];
  return nodes.toSorted((one, two) => one.position - two.position).map(({ id }) => id);
}
