import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { linksTo, linkTo } from '../world/mailbox.ts';
import { PASSWORD, world } from '../world/server.ts';

test('who registers is mailed a link, and it proves the e-mail once', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  expect((await admin.ask('{ me { emailVerified } }')).data.me.emailVerified).toBe(false);
  const { page, token } = await linkTo(here, admin.email);
  expect(page).toBe('verify-email');

  const answer = await here.anybody.do('verifyEmail', { token }, 'success');

  expect(answer.data.success).toBe(true);
  await expectRecord(here, admin, answer, {
    action: 'EMAIL_VERIFIED',
    mutation: 'verifyEmail',
    tenantId,
    resourceId: admin.id,
    resourceName: 'Admin of Acme',
    severity: 'INFO',
    changes: [['emailVerifiedAt', null, expect.any(String)]],
  });
  expect((await admin.ask('{ me { emailVerified } }')).data.me.emailVerified).toBe(true);
  const twice = await here.anybody.do('verifyEmail', { token });
  expectRefused(twice, 'TOKEN_INVALID');
});

test('resendVerification mails a new link and ends the one before; it is refused when the e-mail is proven', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const answer = await admin.do('resendVerification', undefined, 'success');

  const common = {
    action: 'EMAIL_VERIFICATION_REQUESTED',
    mutation: 'resendVerification',
    by: asAdmin(admin),
    tenantId,
    resourceId: admin.id,
    resourceName: 'Admin of Acme',
  } as const;
  await expectRecord(here, admin, answer, { ...common, severity: 'INFO' });
  const [old, fresh] = await linksTo(here, admin.email, 2);
  expectRefused(await here.anybody.do('verifyEmail', { token: old!.token }), 'TOKEN_INVALID');
  await here.anybody.do('verifyEmail', { token: fresh!.token }, 'success');
  const late = await admin.do('resendVerification', undefined);
  expectRefused(late, 'STATE_UNCHANGED');
  await expectRecord(here, admin, late, { ...common, severity: 'WARNING', failure: 'STATE_UNCHANGED' });
});

test('a link that has run out, or is of another kind, proves nothing', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const { token } = await linkTo(here, admin.email);
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update mailed_tokens set expires_at = now() - interval '1 second'`;
  });
  expectRefused(await here.anybody.do('verifyEmail', { token }), 'TOKEN_EXPIRED');
  await here.anybody.do('forgotPassword', { email: admin.email }, 'accepted');
  const reset = (await linksTo(here, admin.email, 2))[1]!;
  expect(reset.page).toBe('reset-password');
  expectRefused(await here.anybody.do('verifyEmail', { token: reset.token }), 'TOKEN_INVALID');
  expectRefused(await here.anybody.do('verifyEmail', { token: 'never sent' }), 'TOKEN_INVALID');
});

test('a password set by a mailed link proves the e-mail too', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  await here.anybody.do('forgotPassword', { email: admin.email }, 'accepted');
  const { token } = (await linksTo(here, admin.email, 2))[1]!;
  await here.anybody.do('resetPassword', { token, newPassword: PASSWORD }, 'success');
  const { user } = (
    await here.anybody.do('login', { email: admin.email, password: PASSWORD }, 'user { emailVerified }')
  ).data;
  expect(user.emailVerified).toBe(true);
});

test('a new e-mail is to be proven anew, and what was mailed to the old one proves nothing', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const { token: old } = await linkTo(here, admin.email);
  await here.anybody.do('forgotPassword', { email: admin.email }, 'accepted');
  const reset = (await linksTo(here, admin.email, 2))[1]!;

  const email = 'moved@people.example';
  const moved = await admin.do('updateUser', { id: admin.id, email }, 'user { email emailVerified }');

  expect(moved.data.user).toEqual({ email, emailVerified: false });
  expectRefused(await here.anybody.do('verifyEmail', { token: old }), 'TOKEN_INVALID');
  expectRefused(
    await here.anybody.do('resetPassword', { token: reset.token, newPassword: PASSWORD }),
    'TOKEN_INVALID',
  );
  await here.anybody.do('verifyEmail', { token: (await linkTo(here, email)).token }, 'success');
  expect((await admin.ask('{ me { emailVerified } }')).data.me.emailVerified).toBe(true);
});
