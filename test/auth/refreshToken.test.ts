import { expect, test } from 'vitest';

import { asUser, expectRecord, expectRefused, sessionOf } from '../world/auditRecord.ts';
import { type Person, world } from '../world/server.ts';

const PAIR = 'accessToken refreshToken user { id }';

async function scene() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  const refresh = (refreshToken: string) => here.anybody.do('refreshToken', { refreshToken }, PAIR);
  return { here, tenantId, admin, member, refresh };
}

test('a refresh token gives the next pair of the same session, on record', async () => {
  const { here, tenantId, admin, member, refresh } = await scene();

  const answer = await refresh(member.refreshToken);

  const next: Person = { ...member, token: answer.data.accessToken as string };
  expect(sessionOf(next)).toBe(sessionOf(member));
  expect(answer.data.refreshToken).not.toBe(member.refreshToken);
  await expectRecord(here, admin, answer, {
    action: 'TOKEN_REFRESHED',
    mutation: 'refreshToken',
    by: asUser(next, 'MEMBER'),
    tenantId,
    resourceId: sessionOf(member),
    severity: 'INFO',
  });
});

test('a used refresh token ends its whole session, as a critical security event', async () => {
  const { here, tenantId, admin, member, refresh } = await scene();
  const second = await refresh(member.refreshToken);

  const reuse = await refresh(member.refreshToken);

  expectRefused(reuse, 'TOKEN_REUSED');
  await expectRecord(here, admin, reuse, {
    action: 'TOKEN_REUSE_DETECTED',
    mutation: 'refreshToken',
    tenantId,
    resourceId: sessionOf(member),
    severity: 'CRITICAL',
    security: true,
    failure: 'TOKEN_REUSED',
    details: { userId: member.id, firstUsedAt: expect.any(String) as string },
    changes: [
      ['revokedAt', null, expect.any(String)],
      ['revokedBecause', null, 'TOKEN_REUSE'],
    ],
  });
  // Both who copied it and whom it was copied from are out, on the next request.
  member.token = second.data.accessToken as string;
  expect((await member.ask('{ me { id } }')).errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');
  expectRefused(await refresh(second.data.refreshToken as string), 'SESSION_REVOKED');
});

test('of twenty that come with one refresh token at once, one is served', async () => {
  const { member, refresh } = await scene();

  const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(member.refreshToken)));

  expect(answers.filter(({ data }) => data !== null)).toHaveLength(1);
  const reasons = answers.flatMap(({ errors }) => errors.map(({ extensions }) => extensions['reason']));
  expect(reasons.filter((reason) => reason === 'TOKEN_REUSED')).toHaveLength(1);
  expect(reasons.filter((reason) => reason === 'SESSION_REVOKED')).toHaveLength(18);
});

test('what is no refresh token is refused on record', async () => {
  const { here, member, refresh } = await scene();

  for (const token of ['', 'x', member.token, '\0']) {
    const answer = await refresh(token);
    expectRefused(answer, 'TOKEN_INVALID');
    await expectRecord(here, await here.root(), answer, {
      action: 'TOKEN_REFRESHED',
      mutation: 'refreshToken',
      tenantId: null,
      severity: 'WARNING',
      failure: 'TOKEN_INVALID',
    });
  }
});

test('rights follow the database, not the token: role, user and tenant count from the next request on', async () => {
  const { here, tenantId, admin, member, refresh } = await scene();
  const reads = () => member.ask('{ auditLogs(first: 1) { nodes { id } } }');
  const reasonOf = async () => (await reads()).errors[0]?.extensions['reason'];
  const root = await here.root();

  expect(await reasonOf()).toBe('SCOPE_MISSING');
  await admin.do('changeUserRole', { id: member.id, role: 'AUDITOR' }, 'user { id }');
  expect(await reasonOf()).toBeUndefined();

  await root.do('deactivateTenant', { id: tenantId, reason: 'unpaid' }, 'tenant { id }');
  expect(await reasonOf()).toBe('TENANT_INACTIVE');
  expectRefused(await refresh(member.refreshToken), 'TENANT_INACTIVE');
  await root.do('activateTenant', { id: tenantId }, 'tenant { id }');
  expect(await reasonOf()).toBeUndefined();

  await admin.do('deactivateUser', { id: member.id, reason: 'left' }, 'user { id }');
  expect(await reasonOf()).toBe('SESSION_REVOKED');
});
