/** What used to be checked by hand before each release, one test a check. */
import { expect, test } from 'vitest';

import type { AuditAction } from '../../src/generated/types.ts';
import { linksTo } from '../world/mailbox.ts';
import { type Answer, PASSWORD, type Person, type World, world } from '../world/server.ts';

const NEXT = 'another battery staple';
const BROWSER = 'Mozilla/5.0 (a browser)';

async function scene() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const [root, { id: tenantId, admin }] = [await here.root(), await here.tenant()];
  return { here, root, tenantId, admin };
}

/** The record of a call, as the log shows it. */
async function recordOf(reader: Person, { requestId }: Answer) {
  const { data } = await reader.ask(
    `query ($id: String!) { auditLogs(filter: { requestId: $id }) { nodes {
      action status failure { reason } userId resourceId details changes { path before after }
      ipAddress userAgent requestId } } }`,
    { id: requestId },
  );
  expect(data.auditLogs.nodes).toHaveLength(1);
  return data.auditLogs.nodes[0];
}

/** Requires that the call was done and is on record as that. */
async function expectDone(reader: Person, answer: Answer, action: AuditAction, more: object = {}) {
  expect(answer.errors).toEqual([]);
  expect(await recordOf(reader, answer)).toMatchObject({ action, status: 'SUCCESS', failure: null, ...more });
}

const changed = (path: string, before: unknown, after: unknown) => ({
  changes: expect.arrayContaining([{ path, before, after }]) as unknown,
});

function fail({ anybody }: World, email: string, headers: Record<string, string> = {}) {
  const operation = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';
  return anybody.ask(operation, { input: { email, password: 'wrong password' } }, headers);
}

test('1. login', async () => {
  const { here, admin } = await scene();
  const answer = await here.signIn(admin.email, PASSWORD);
  await expectDone(admin, answer, 'LOGIN', { userId: admin.id, resourceId: admin.id });
});

test('2. login with a wrong password', async () => {
  const { here, admin } = await scene();
  const answer = await fail(here, admin.email);
  expect(answer.errors[0]!.extensions).toMatchObject({
    code: 'UNAUTHENTICATED',
    reason: 'INVALID_CREDENTIALS',
  });
  expect(await recordOf(admin, answer)).toMatchObject({
    action: 'LOGIN_FAILED',
    status: 'FAILURE',
    failure: { reason: 'INVALID_CREDENTIALS' },
    userId: null,
    resourceId: admin.id,
    details: { email: admin.email },
  });
});

test('3. logout', async () => {
  const { here, admin } = await scene();
  const member = await here.user(admin, 'MEMBER');
  await expectDone(admin, await member.do('logout', undefined), 'LOGOUT', { userId: member.id });
  expect((await member.ask('{ me { id } }')).errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');
});

test('4. password reset', async () => {
  const { here, admin } = await scene();
  const member = await here.user(admin, 'MEMBER');
  const asked = await here.anybody.do('forgotPassword', { email: member.email });
  await expectDone(admin, asked, 'PASSWORD_RESET_REQUEST', { resourceId: member.id });
  const { token } = (await linksTo(here, member.email, 2)).at(-1)!;
  const reset = await here.anybody.do('resetPassword', { token, newPassword: NEXT });
  await expectDone(admin, reset, 'PASSWORD_RESET', { resourceId: member.id });
  expect((await here.signIn(member.email, NEXT)).errors).toEqual([]);
  expect((await here.signIn(member.email, PASSWORD)).errors).toHaveLength(1);
});

test('5. address and agent are captured', async () => {
  const { admin } = await scene();
  const answer = await admin.ask(
    'mutation ($input: UpdateUserInput!) { updateUser(input: $input) { receipts { id } } }',
    { input: { id: admin.id, phone: '+44 20 7946 0001' } },
    { 'x-forwarded-for': '203.0.113.7', 'user-agent': BROWSER },
  );
  expect(await recordOf(admin, answer)).toMatchObject({ ipAddress: '203.0.113.7', userAgent: BROWSER });
});

test('6. tenant create', async () => {
  const { root } = await scene();
  const answer = await root.do('createTenant', { name: 'Globex', subdomain: 'globex' }, 'tenant { id }');
  await expectDone(root, answer, 'TENANT_CREATED', {
    userId: root.id,
    resourceId: answer.data.tenant.id,
    ...changed('name', null, 'Globex'),
  });
});

test('7. tenant update', async () => {
  const { admin, tenantId: id } = await scene();
  const answer = await admin.do('updateTenant', { id, name: 'Acme & Co' });
  await expectDone(admin, answer, 'TENANT_UPDATED', changed('name', 'Acme', 'Acme & Co'));
});

test('8. tenant tier', async () => {
  const { root, tenantId: id } = await scene();
  const answer = await root.do('updateTenantSubscription', { id, tier: 'ENTERPRISE' });
  await expectDone(root, answer, 'TENANT_SUBSCRIPTION_CHANGED', changed('tier', 'FREE', 'ENTERPRISE'));
});

test('9. tenant deactivate, with a reason', async () => {
  const { root, admin, tenantId: id } = await scene();
  const answer = await root.do('deactivateTenant', { id, reason: 'Unpaid' });
  await expectDone(root, answer, 'TENANT_DEACTIVATED', {
    details: { reason: 'Unpaid' },
    ...changed('status', 'ACTIVE', 'INACTIVE'),
  });
  expect((await admin.ask('{ me { id } }')).errors[0]!.extensions['reason']).toBe('TENANT_INACTIVE');
});

test('10. tenant delete', async () => {
  const { root, tenantId: id } = await scene();
  const answer = await root.do('deleteTenant', { id });
  await expectDone(root, answer, 'TENANT_DELETED', { resourceId: id });
  const read = await root.ask('query ($id: ID!) { tenant(id: $id) { id } }', { id });
  expect(read.data.tenant).toBeNull();
});

test('11. user create', async () => {
  const { admin } = await scene();
  const input = { email: 'ann@acme.example', fullName: 'Ann', role: 'AUDITOR' };
  const answer = await admin.do('createUser', input, 'user { id }');
  await expectDone(admin, answer, 'USER_CREATED', {
    userId: admin.id,
    resourceId: answer.data.user.id,
    ...changed('role', null, 'AUDITOR'),
  });
});

test('12. user update', async () => {
  const { here, admin } = await scene();
  const { id } = await here.user(admin, 'MEMBER');
  const answer = await admin.do('updateUser', { id, fullName: 'Ann Lee' });
  await expectDone(admin, answer, 'USER_UPDATED', {
    resourceId: id,
    ...changed('fullName', 'A MEMBER', 'Ann Lee'),
  });
});

test('13. user role', async () => {
  const { here, admin } = await scene();
  const { id } = await here.user(admin, 'MEMBER');
  const answer = await admin.do('changeUserRole', { id, role: 'AUDITOR' });
  await expectDone(admin, answer, 'USER_ROLE_CHANGED', changed('role', 'MEMBER', 'AUDITOR'));
});

test('14. user delete', async () => {
  const { here, admin } = await scene();
  const { id, email } = await here.user(admin, 'MEMBER');
  await expectDone(admin, await admin.do('deleteUser', { id }), 'USER_DELETED', { resourceId: id });
  expect((await here.signIn(email, PASSWORD)).errors[0]!.extensions['reason']).toBe('INVALID_CREDENTIALS');
});

test('15. activity of a user over 30 days', async () => {
  const { here, admin } = await scene();
  const member = await here.user(admin, 'MEMBER');
  for (const phone of ['1', '2']) await member.do('updateUser', { id: member.id, phone });
  const { data } = await admin.ask(
    `query ($id: ID!) { userActivity(userId: $id) { from to totalCount counts { action status count }
      addresses { ipAddress count } recent { nodes { action } } } }`,
    { id: member.id },
  );
  const { from, to, recent, ...rest } = data.userActivity;
  expect(Math.round((Date.parse(to as string) - Date.parse(from as string)) / 86_400_000)).toBe(30);
  expect(rest).toEqual({
    totalCount: 3,
    counts: [
      { action: 'USER_UPDATED', status: 'SUCCESS', count: 2 },
      { action: 'LOGIN', status: 'SUCCESS', count: 1 },
    ],
    addresses: [{ ipAddress: '127.0.0.1', count: 3 }],
  });
  expect(actionsOf(recent.nodes)).toEqual(['USER_UPDATED', 'USER_UPDATED', 'LOGIN']);
});

test('16. filter by action', async () => {
  const { here, admin } = await scene();
  await here.signIn(admin.email, PASSWORD);
  await fail(here, admin.email);
  const { data } = await admin.ask(
    '{ auditLogs(filter: { actions: [LOGIN, LOGIN_FAILED] }) { nodes { action } } }',
  );
  expect(actionsOf(data.auditLogs.nodes)).toEqual(['LOGIN_FAILED', 'LOGIN']);
});

test('17. filter by a range of dates', async () => {
  const { admin, tenantId } = await scene();
  const moments: string[] = [];
  for (const name of ['One', 'Two', 'Three']) {
    const { requestId } = await admin.do('updateTenant', { id: tenantId, name });
    const read = await admin.ask(
      'query ($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { createdAt } } }',
      { id: requestId },
    );
    moments.push(read.data.auditLogs.nodes[0].createdAt as string);
  }
  const [from, , to] = moments;
  const { data } = await admin.ask(
    'query ($range: DateTimeRange!) { auditLogs(filter: { createdAt: $range }) { nodes { createdAt } } }',
    { range: { from, to } },
  );
  // The first moment is inside, the last is not.
  const found = (data.auditLogs.nodes as { createdAt: string }[]).map(({ createdAt }) => createdAt);
  expect(found).toEqual([moments[1], moments[0]]);
});

test('18. pagination', async () => {
  const { admin } = await scene();
  for (const phone of ['1', '2', '3', '4', '5']) await admin.do('updateUser', { id: admin.id, phone });
  const page = `query ($after: String) { auditLogs(filter: { actions: [USER_UPDATED] }, first: 2, after: $after) {
    nodes { id } pageInfo { hasNextPage endCursor } } }`;
  const seen: string[] = [];
  const sizes: number[] = [];
  let after: string | undefined;
  do {
    const { data } = await admin.ask(page, { after });
    const { nodes, pageInfo } = data.auditLogs;
    seen.push(...(nodes as { id: string }[]).map(({ id }) => id));
    sizes.push(nodes.length as number);
    after = pageInfo.hasNextPage ? (pageInfo.endCursor as string) : undefined;
  } while (after !== undefined);
  expect(sizes).toEqual([2, 2, 1]);
  expect(seen).toEqual([...new Set(seen)].toSorted().toReversed());
});

test('19. the total is accurate', async () => {
  const { admin } = await scene();
  for (const phone of ['1', '2', '3']) await admin.do('updateUser', { id: admin.id, phone });
  const { data } = await admin.ask(
    '{ auditLogs(filter: { actions: [USER_UPDATED] }, first: 1) { totalCount nodes { id } } }',
  );
  expect([data.auditLogs.totalCount, data.auditLogs.nodes.length]).toEqual([3, 1]);
});

test('20. failed logins are found', async () => {
  const { here, admin } = await scene();
  const member = await here.user(admin, 'MEMBER');
  await fail(here, member.email);
  await fail(here, admin.email);
  await fail(here, member.email);
  const operation = `query ($email: String) { failedLoginAttempts(email: $email) { totalCount nodes { resourceId } } }`;
  expect((await admin.ask(operation)).data.failedLoginAttempts.totalCount).toBe(3);
  const { data } = await admin.ask(operation, { email: member.email });
  expect(data.failedLoginAttempts).toEqual({
    totalCount: 2,
    nodes: [{ resourceId: member.id }, { resourceId: member.id }],
  });
});

test('21. an address is tracked', async () => {
  const { here, admin } = await scene();
  const from = '198.51.100.23';
  for (const address of [from, '198.51.100.24', from])
    await fail(here, admin.email, { 'x-forwarded-for': address });
  const { data } = await admin.ask(
    `query ($from: IP!) { auditLogs(filter: { ipAddress: $from }) { nodes { ipAddress } }
      failedLoginAttempts(ipAddress: $from) { totalCount } }`,
    { from },
  );
  expect(data).toEqual({
    auditLogs: { nodes: [{ ipAddress: from }, { ipAddress: from }] },
    failedLoginAttempts: { totalCount: 2 },
  });
});

test('22. security events', async () => {
  const { here, admin } = await scene();
  const { id } = await here.user(admin, 'MEMBER');
  await fail(here, admin.email);
  await admin.do('changeUserRole', { id, role: 'AUDITOR' });
  await admin.do('updateUser', { id, phone: '1' });
  const { data } = await admin.ask('{ securityEvents { nodes { action severity state } } }');
  expect(data.securityEvents.nodes).toEqual([
    { action: 'USER_ROLE_CHANGED', severity: 'WARNING', state: 'OPEN' },
    { action: 'LOGIN_FAILED', severity: 'WARNING', state: 'OPEN' },
  ]);
});

test('23. the request id is equal in header, record and log line', async () => {
  const { here, admin } = await scene();
  const answer = await here.signIn(admin.email, 'wrong password');
  expect(answer.requestId).not.toBe('');
  expect(answer.headers.get('x-request-id')).toBe(answer.requestId);
  expect(answer.errors[0]!.extensions['requestId']).toBe(answer.requestId);
  expect(await recordOf(admin, answer)).toMatchObject({ requestId: answer.requestId });
  const lines = here.log.filter(({ requestId }) => requestId === answer.requestId);
  expect(lines.some(({ msg }) => msg === 'request')).toBe(true);
});

function actionsOf(nodes: readonly { readonly action: AuditAction }[]): AuditAction[] {
  return nodes.map(({ action }) => action);
}
