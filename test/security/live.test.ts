import { expect, onTestFinished, test } from 'vitest';

import { openProxy } from '../world/proxy.ts';
import { type Person, type World, world } from '../world/server.ts';
import { type LiveStep, socketClient, subscribe, subscribeThrough } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const FAILED = `subscription ($filter: LoginFailedFilter, $after: String) { live: loginFailed(filter: $filter, after: $after) {
  cursor node { email ipAddress reason occurredAt log { id action position createdAt resourceId failure { reason } } } } }`;
const APPENDED = `subscription ($filter: AuditLogFilter, $after: String) { live: auditLogAppended(filter: $filter, after: $after) {
  cursor node { id action position tenantId actor { name } user { email } } } }`;
const RAISED = `subscription ($minSeverity: Severity, $after: String) { live: securityEventRaised(minSeverity: $minSeverity, after: $after) {
  cursor node { id action severity occurredAt log { id position createdAt } } } }`;

test('a failed login, a security event and every record arrive with all their fields', async () => {
  const { admin, own, fail, listen } = await people();
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
    id,
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
});

test('a filter lets through what it asks for, and nothing else', async () => {
  const { here, admin, own, fail, listen, mark } = await people();
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
  const { here, admin, own, foreign, fail, listen, mark } = await people();
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

test('members, branch managers and nobody in particular may not follow', async () => {
  const { here, admin } = await people();
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
    expect(await refusalFor(manager.token)).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
    expect(await refusalFor(undefined)).toMatchObject([{ extensions: { reason: 'SIGN_IN_REQUIRED' } }]);
  }
});

test('a cursor of a page, of another tenant or of nothing is a bad cursor, also for a subscription', async () => {
  const { here, admin, foreign, listen } = await people();
  const { data } = await admin.ask('{ auditLogs { pageInfo { endCursor } } }');
  const { origin: theirs } = await listen(foreign, APPENDED);
  const { origin: ofAll } = await listen(await here.root(), APPENDED);
  for (const after of [data.auditLogs.pageInfo.endCursor as string, theirs, ofAll, '', 'x']) {
    const { ended } = subscribe(clientOf(here, admin.token), APPENDED, { after });
    expect(await ended).toMatchObject([{ extensions: { code: 'BAD_CURSOR', reason: 'CURSOR_MISMATCH' } }]);
  }
});

test('a stream that nothing passes still advances: from its last beat on nothing comes again', async () => {
  const { here, admin, fail, listen } = await people();
  const quiet = await listen(admin, FAILED, { filter: { email: 'nobody@example.com' } });
  await fail(admin.email);
  const { cursor, node } = await quiet.step();
  expect(node).toBeNull();
  expect(cursor).not.toBe(quiet.origin);
  await admin.do('updateTenant', { id: admin.tenantId, name: 'Renamed' });

  const fromOrigin = subscribe<LiveStep>(clientOf(here, admin.token), APPENDED, { after: quiet.origin });
  const fromBeat = subscribe<LiveStep>(clientOf(here, admin.token), APPENDED, { after: cursor });
  expect((await fromOrigin.next()).node).toMatchObject({ action: 'LOGIN_FAILED' });
  expect((await fromBeat.next()).node).toMatchObject({ action: 'TENANT_UPDATED' });
});

test('through ten cuts of the connection, 200 events arrive once each and in order', async () => {
  const { here, admin, own, foreign, fail, listen } = await people();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const { origin } = await listen(admin, FAILED);
  const streams = [FAILED, APPENDED].map((query) =>
    subscribeThrough(proxy.url, admin.token, query, { after: origin }, (nodes) => nodes.length === 200),
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
  expect(appended!.nodes.map((node) => node.id)).toEqual(order);
  expect(order).toHaveLength(200);
  expect(failed!.connections).toBeGreaterThan(3);
});

/** The failed logins that a reader sees, in sealed order. */
async function failedAt(reader: Person): Promise<string[]> {
  const { data } = await reader.ask('{ failedLoginAttempts(first: 500) { nodes { id position } } }');
  const nodes = data.failedLoginAttempts.nodes as { id: string; position: number }[];
  return nodes.toSorted((one, two) => one.position - two.position).map(({ id }) => id);
}

/** The wait for a beat is the server's choice; a test has not the time. */
function beatEvery({ server: { house } }: World, beatMs: number): void {
  const { feed } = house;
  Object.assign(house, {
    feed: { ...feed, follow: (options: object) => feed.follow({ ...options, beatMs } as never) },
  });
}

function clientOf(here: World, token: string | undefined) {
  const client = socketClient(here.url, token);
  onTestFinished(() => client.dispose());
  return client;
}

async function people() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  beatEvery(here, 20);
  const { admin, subdomain } = await here.tenant();
  const { admin: foreign } = await here.tenant('Globex');
  const user = await here.user(admin, 'MEMBER');
  return {
    here,
    admin,
    foreign,
    own: { ...user, subdomain },
    fail: async (email: string, from = '127.0.0.1', tenant?: string) => {
      const operation = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';
      const input = { email, password: 'wrong password', tenant };
      const { errors } = await here.anybody.ask(operation, { input }, { 'x-forwarded-for': from });
      expect(errors[0]!.extensions['reason']).toBe('INVALID_CREDENTIALS');
    },
    /** Resolves when the stream has begun: what happens from now on is in it. */
    listen: async (reader: Person, query: string, variables: Record<string, unknown> = {}) => {
      await until('what happened before is sealed', async () => {
        const [log] = await here.database.admin`
          select (select count(*) from audit_logs) = (select sum(count) from audit_seals) as sealed`;
        return log!['sealed'] === true;
      });
      const steps = subscribe<LiveStep>(clientOf(here, reader.token), query, variables);
      const { cursor: origin, node } = await steps.next();
      expect(node).toBeNull();
      return {
        origin,
        step: () => steps.next(),
        /** The next event. */
        async next() {
          const { node } = (await steps.until((step) => step.node !== null)).at(-1)!;
          return node;
        },
        /** The events that are left up to that position, when the stream has come past it. */
        restUpTo: async (position: number) =>
          (await steps.until(({ cursor }) => placeIn(cursor) > position)).filter(
            (step) => step.node !== null,
          ),
      };
    },
    /** Writes a record of an action of its own, and returns its position. */
    mark: async (reader: Person): Promise<number> => {
      const { data } = await here.anybody.do('forgotPassword', { email: reader.email });
      let position: number | null = null;
      await until('the mark is sealed', async () => {
        const answer = await reader.ask(
          'query ($id: ID!) { auditLog(id: $id) { position } }',
          data.receipts[0],
        );
        position = answer.data.auditLog.position as number | null;
        return position !== null;
      });
      return position!;
    },
  };
}

/** To a client a cursor is opaque; here it says how far a quiet stream has come. */
function placeIn(cursor: string): number {
  return Number((JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[])[1]);
}
