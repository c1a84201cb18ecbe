import { expect, test } from 'vitest';

import { asAdmin, asRoot, expectRecord, expectRefused, sessionOf } from '../world/auditRecord.ts';
import { linksTo } from '../world/mailbox.ts';
import { PASSWORD, world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';

test('revokeUserSessions ends all sessions of a user, and the record stands in their tenant', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const mel = await here.user(admin, 'MEMBER');

  const answer = await root.do('revokeUserSessions', { id: mel.id }, 'count user { id }');

  expect(answer.data).toMatchObject({ count: 1, user: { id: mel.id } });
  await expectRecord(here, admin, answer, {
    action: 'SESSION_REVOKED',
    mutation: 'revokeUserSessions',
    by: asRoot(root),
    tenantId,
    severity: 'NOTICE',
    details: { userId: mel.id, sessionIds: [sessionOf(mel)] },
  });
  expect((await mel.ask('{ me { id } }')).errors[0]?.extensions['reason']).toBe('SESSION_REVOKED');
  expect((await here.signIn(mel.email, PASSWORD)).data.user.id).toBe(mel.id);
  const elsewhere = await here.tenant('Other');
  for (const id of [mel.id, NOBODY, 'not an id'])
    expectRefused(await elsewhere.admin.do('revokeUserSessions', { id }), 'USER_NOT_FOUND');
});

test('startPasswordReset mails the user a link; the administrator never sees it, and the old password holds until then', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const mel = await here.user(admin, 'MEMBER');

  const answer = await admin.do('startPasswordReset', { id: mel.id }, 'user { id }');

  await expectRecord(here, admin, answer, {
    action: 'PASSWORD_RESET_REQUEST',
    mutation: 'startPasswordReset',
    by: asAdmin(admin),
    tenantId,
    resourceId: mel.id,
    resourceName: 'A MEMBER',
    severity: 'NOTICE',
  });
  const reset = (await linksTo(here, mel.email, 2))[1]!;
  expect((await here.signIn(mel.email, PASSWORD)).errors).toEqual([]);
  await here.anybody.do(
    'resetPassword',
    { token: reset.token, newPassword: 'another horse battery' },
    'success',
  );
  expectRefused(await here.signIn(mel.email, PASSWORD), 'INVALID_CREDENTIALS');
  await admin.do('deactivateUser', { id: mel.id, reason: 'Left' });
  expectRefused(await admin.do('startPasswordReset', { id: mel.id }), 'USER_INACTIVE');
});
