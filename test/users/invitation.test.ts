import { expect, test } from 'vitest';

import { asAdmin, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { linksTo, linkTo } from '../world/mailbox.ts';
import { PASSWORD, world } from '../world/server.ts';

const EMAIL = 'ida@people.example';
const USER = 'user { id email fullName role status emailVerified }';

test('an invited user sets name and password with the mailed link, once, and is signed in', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const branch = await admin.do('createBranch', { name: 'A', code: 'A' }, 'branch { id }');
  const branchIds = [branch.data.branch.id as string];

  const invited = await admin.do(
    'inviteUser',
    { email: ' Ida@People.example', role: 'BRANCH_MANAGER', branchIds },
    USER,
  );

  const { user } = invited.data;
  expect(user).toEqual({
    id: user.id,
    email: EMAIL,
    fullName: EMAIL,
    role: 'BRANCH_MANAGER',
    status: 'INVITED',
    emailVerified: false,
  });
  await expectRecord(here, admin, invited, {
    action: 'USER_INVITED',
    mutation: 'inviteUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: user.id,
    resourceName: EMAIL,
    severity: 'NOTICE',
    details: { branchIds },
    changes: [
      ['email', null, EMAIL],
      ['fullName', null, EMAIL],
      ['role', null, 'BRANCH_MANAGER'],
      ['status', null, 'INVITED'],
    ],
  });
  const { page, token } = await linkTo(here, EMAIL);
  expect(page).toBe('accept-invitation');

  const input = { token, password: PASSWORD, fullName: 'Ida Invited' };
  const accepted = await here.anybody.do(
    'acceptInvitation',
    input,
    'accessToken refreshToken user { id email tenantId fullName status emailVerified branches { id } }',
  );

  expect(accepted.data.user).toEqual({
    id: user.id,
    email: EMAIL,
    tenantId,
    fullName: 'Ida Invited',
    status: 'ACTIVE',
    emailVerified: true,
    branches: [{ id: branchIds[0] }],
  });
  const ida = { ...admin, id: user.id, email: EMAIL, token: accepted.data.accessToken };
  await expectRecord(here, admin, accepted, {
    action: 'INVITATION_ACCEPTED',
    mutation: 'acceptInvitation',
    by: { ...asUser(ida, 'BRANCH_MANAGER'), name: 'Ida Invited' },
    tenantId,
    resourceId: user.id,
    resourceName: 'Ida Invited',
    severity: 'NOTICE',
    changes: [
      ['emailVerifiedAt', null, expect.any(String)],
      ['fullName', EMAIL, 'Ida Invited'],
      ['status', 'INVITED', 'ACTIVE'],
      ['passwordHash', null, null, 'SECRET'],
    ],
  });
  expectRefused(await here.anybody.do('acceptInvitation', input), 'TOKEN_INVALID');
  expect((await here.signIn(EMAIL, PASSWORD)).data.user.id).toBe(user.id);
});

test('of two that accept an invitation at once, one is let in', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  await admin.do('inviteUser', { email: EMAIL });
  const { token } = await linkTo(here, EMAIL);

  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, at) =>
      here.anybody.do('acceptInvitation', { token, password: PASSWORD, fullName: `Ida ${at}` }),
    ),
  );

  const outcomes = answers
    .map(({ errors }) => (errors[0]?.extensions['reason'] as string | undefined) ?? 'DONE')
    .sort();
  expect(outcomes).toEqual(['DONE', ...Array.from({ length: 9 }, () => 'TOKEN_INVALID')]);
});

test('inviting again sends a new link and ends the one before; who has accepted is not invited again', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const first = await admin.do('inviteUser', { email: EMAIL, fullName: 'Ida' }, USER);

  const again = await admin.do('inviteUser', { email: EMAIL, role: 'AUDITOR' }, USER);

  expect(again.data.user).toMatchObject({ id: first.data.user.id, fullName: 'Ida', role: 'AUDITOR' });
  const [old, fresh] = await linksTo(here, EMAIL, 2);
  const accepting = { password: PASSWORD, fullName: 'Ida' };
  expectRefused(
    await here.anybody.do('acceptInvitation', { ...accepting, token: old!.token }),
    'TOKEN_INVALID',
  );
  const weak = { ...accepting, token: fresh!.token, password: 'short' };
  expect((await here.anybody.do('acceptInvitation', weak)).errors[0]?.extensions['reason']).toBe(
    'PASSWORD_POLICY',
  );
  expect((await here.anybody.do('acceptInvitation', { ...accepting, token: fresh!.token })).errors).toEqual(
    [],
  );
  expectRefused(await admin.do('inviteUser', { email: EMAIL }), 'EMAIL_TAKEN');
});

test('who is invited cannot sign in, be activated or reset a password; who was deleted cannot accept', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const { id } = (await admin.do('inviteUser', { email: EMAIL }, USER)).data.user as { id: string };
  const { token } = await linkTo(here, EMAIL);

  expectRefused(await here.signIn(EMAIL, PASSWORD), 'INVALID_CREDENTIALS');
  expectRefused(await admin.do('activateUser', { id }), 'INVITATION_PENDING');
  expectRefused(await admin.do('startPasswordReset', { id }), 'INVITATION_PENDING');
  // A link for another purpose does not let in, nor does this one serve another.
  expectRefused(await here.anybody.do('resetPassword', { token, newPassword: PASSWORD }), 'TOKEN_INVALID');
  expectRefused(await here.anybody.do('verifyEmail', { token }), 'TOKEN_INVALID');
  await admin.do('deleteUser', { id });
  expectRefused(
    await here.anybody.do('acceptInvitation', { token, password: PASSWORD, fullName: 'Ida' }),
    'USER_INACTIVE',
  );
});

test('an invitation takes a place of the subscription, gives no platform role, and no branch of others', async () => {
  const here = await world();
  const root = await here.root();
  const { id, admin } = await here.tenant();
  const elsewhere = await here.tenant('Other');
  const foreign = await elsewhere.admin.do('createBranch', { name: 'F', code: 'F' }, 'branch { id }');

  expectRefused(await admin.do('inviteUser', { email: EMAIL, role: 'SUPER_ADMIN' }), 'ROLE_NOT_GRANTABLE');
  expectRefused(await root.do('inviteUser', { email: EMAIL, role: 'SUPER_ADMIN' }), 'ROLE_NOT_GRANTABLE');
  expectRefused(
    await admin.do('inviteUser', { email: EMAIL, branchIds: [foreign.data.branch.id] }),
    'BRANCH_NOT_FOUND',
  );
  await root.do('updateTenantSubscription', { id, maxUsers: 1 });
  expectRefused(await admin.do('inviteUser', { email: EMAIL }), 'USER_LIMIT_REACHED');
});
