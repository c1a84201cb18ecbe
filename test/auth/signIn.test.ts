import { expect, test } from 'vitest';

import { asAdmin, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { type Answer, type Person, PASSWORD, world } from '../world/server.ts';

const SIGNED_IN = 'accessToken refreshToken expiresAt user { id email role }';

test('login signs in, and the record names who, from which session', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const answer = await here.anybody.do(
    'login',
    { email: ` ${admin.email.toUpperCase()}`, password: PASSWORD },
    SIGNED_IN,
  );

  expect(answer.data.user).toEqual({ id: admin.id, email: admin.email, role: 'TENANT_ADMIN' });
  const again: Person = { ...admin, token: answer.data.accessToken as string };
  await expectRecord(here, admin, answer, {
    action: 'LOGIN',
    mutation: 'login',
    by: asAdmin(again),
    tenantId,
    resourceId: admin.id,
    resourceName: 'Admin of Acme',
    severity: 'INFO',
    details: { email: ` ${admin.email.toUpperCase()}` },
  });
  // It expires in 15 minutes and not later.
  const lifetime = Date.parse(answer.data.expiresAt as string) - Date.now();
  expect(Math.abs(lifetime - 900_000)).toBeLessThan(10_000);
});

test('a wrong password is on record against the account, by nobody, with the e-mail that was tried', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();

  const answer = await here.signIn(admin.email, 'not my password');

  expectRefused(answer, 'INVALID_CREDENTIALS');
  const row = await expectRecord(here, admin, answer, {
    action: 'LOGIN_FAILED',
    mutation: 'login',
    tenantId,
    resourceId: admin.id,
    resourceName: 'Admin of Acme',
    severity: 'WARNING',
    security: true,
    failure: 'INVALID_CREDENTIALS',
    details: { email: admin.email, input: { email: admin.email } },
  });
  expect(JSON.stringify(row)).not.toContain('not my password');
});

test('an account that does not exist is answered alike, and on record for the platform', async () => {
  const here = await world();
  const { admin } = await here.tenant();

  const unknown = await here.signIn('nobody@nowhere.example', PASSWORD);
  const wrong = await here.signIn(admin.email, 'not my password');

  const faceless = ({ errors }: Answer) =>
    errors.map(({ message, path, extensions: { code, reason } }) => ({ message, path, code, reason }));
  expect(faceless(unknown)).toEqual(faceless(wrong));
  expect(unknown.status).toBe(wrong.status);
  await expectRecord(here, await here.root(), unknown, {
    action: 'LOGIN_FAILED',
    mutation: 'login',
    tenantId: null,
    severity: 'WARNING',
    security: true,
    failure: 'INVALID_CREDENTIALS',
    details: { email: 'nobody@nowhere.example', input: { email: 'nobody@nowhere.example' } },
  });
});

test('an unknown account named with a tenant is on record in that tenant', async () => {
  const here = await world();
  const { id: tenantId, subdomain, admin } = await here.tenant();

  const answer = await here.signIn('nobody@nowhere.example', PASSWORD, subdomain);

  expectRefused(answer, 'INVALID_CREDENTIALS');
  await expectRecord(here, admin, answer, {
    action: 'LOGIN_FAILED',
    mutation: 'login',
    tenantId,
    severity: 'WARNING',
    security: true,
    failure: 'INVALID_CREDENTIALS',
    details: {
      email: 'nobody@nowhere.example',
      input: { email: 'nobody@nowhere.example', tenant: subdomain },
    },
  });
});

test('an e-mail that two tenants know needs the tenant, and nothing says so to a stranger', async () => {
  const here = await world();
  const one = await here.tenant('One');
  const { email } = one.admin;
  const input = {
    tenantName: 'Two',
    subdomain: `${one.subdomain}-2`,
    email,
    password: PASSWORD,
    fullName: 'Twin',
  };
  await here.anybody.do('register', input, 'user { id }');

  expectRefused(await here.signIn(email, PASSWORD), 'INVALID_CREDENTIALS');
  const named = await here.signIn(email, PASSWORD, one.subdomain);
  expect(named.data.user).toMatchObject({ email, tenantId: one.id });
});

test('nobody is locked out by an account that others make for their e-mail', async () => {
  const here = await world();
  const one = await here.tenant('One');
  const two = await here.tenant('Two');
  await two.admin.do(
    'createUser',
    { email: one.admin.email, fullName: 'Twin', role: 'MEMBER' },
    'user { id }',
  );

  expect((await here.signIn(one.admin.email, PASSWORD)).data.user.tenantId).toBe(one.id);
  const wrong = await here.signIn(one.admin.email, 'not my password');
  const left = await one.admin.ask(
    'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action resourceId } } }',
    { id: wrong.requestId },
  );
  expect(left.data.auditLogs.nodes).toEqual([{ action: 'LOGIN_FAILED', resourceId: one.admin.id }]);
});

test('the right password of somebody shut out says why; a wrong one says nothing', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  await admin.do('deactivateUser', { id: member.id, reason: 'left' }, 'user { id }');

  expectRefused(await here.signIn(member.email, 'not my password'), 'INVALID_CREDENTIALS');
  expectRefused(await here.signIn(member.email, PASSWORD), 'USER_INACTIVE');
});

test.each([
  ['nothing', ''],
  ['no address', 'me'],
  ['NUL', 'a\0b@example.com', 'INVALID_INPUT'],
  ['a lone surrogate', '\ud800@example.com'],
  ['ten thousand characters', `${'x'.repeat(10_000)}@example.com`],
  ['an emoji', '🙂@example.com'],
])(
  'an e-mail that is %s is refused on record, never an error of ours',
  async (_what, email, reason = 'INVALID_CREDENTIALS') => {
    const here = await world();

    const answer = await here.signIn(email, PASSWORD);

    expect(answer.errors[0]!.extensions).toMatchObject({ reason });
    const read = await (
      await here.root()
    ).ask(
      'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action status details } } }',
      { id: answer.requestId },
    );
    expect(read.data.auditLogs.nodes).toMatchObject([{ action: 'LOGIN_FAILED', status: 'FAILURE' }]);
  },
);

test('one request signs in once: by aliases and fragments too, and each attempt is on record', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const input = `{ email: "${admin.email}", password: "${PASSWORD}" }`;

  const answer = await here.anybody.ask(`
    mutation Twice { a: login(input: ${input}) { user { id } } ...More }
    fragment More on Mutation { ... { b: login(input: ${input}) { user { id } } } }`);

  expect(answer.data).toEqual({ a: null, b: null });
  expect(answer.errors.map(({ extensions }) => extensions['reason'])).toEqual([
    'ONE_SIGN_IN_A_REQUEST',
    'ONE_SIGN_IN_A_REQUEST',
  ]);
  const read = await (
    await here.root()
  ).ask(
    'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action failure { reason } details context { fieldPath } } } }',
    { id: answer.requestId },
  );
  const refused = (fieldPath: string) => ({
    action: 'LOGIN_FAILED',
    failure: { reason: 'ONE_SIGN_IN_A_REQUEST' },
    details: { email: admin.email, input: { email: admin.email } },
    context: { fieldPath },
  });
  expect(read.data.auditLogs.nodes).toEqual([refused('b'), refused('a')]);
});

test('logout ends the session at once, and is refused to nobody', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');

  const answer = await member.do('logout', undefined, 'success');

  expect(answer.data.success).toBe(true);
  const row = await expectRecord(here, admin, answer, {
    action: 'LOGOUT',
    mutation: 'logout',
    by: asUser(member, 'MEMBER'),
    tenantId,
    resourceId: JSON.parse(Buffer.from(member.token.split('.')[1]!, 'base64url').toString()).sid as string,
    severity: 'INFO',
    changes: [
      ['revokedAt', null, expect.any(String)],
      ['revokedBecause', null, 'LOGOUT'],
    ],
  });
  expect(row.action).toBe('auth.logout');
  const after = await member.ask('{ me { id } }');
  expect(after.errors[0]!.extensions).toMatchObject({ code: 'UNAUTHENTICATED', reason: 'SESSION_REVOKED' });
  expectRefused(
    await here.anybody.do('refreshToken', { refreshToken: member.refreshToken }),
    'SESSION_REVOKED',
  );

  const nobody = await here.anybody.do('logout', undefined, 'success');
  expectRefused(nobody, 'SIGN_IN_REQUIRED');
  await expectRecord(here, await here.root(), nobody, {
    action: 'LOGOUT',
    mutation: 'logout',
    tenantId: null,
    severity: 'WARNING',
    failure: 'SIGN_IN_REQUIRED',
  });
});

test('the answer of a sign-in is made for who has signed in, whoever else the request says it is', async () => {
  const here = await world();
  const { admin, id } = await here.tenant();
  const elsewhere = await here.tenant('Other');
  const operation = `mutation In($input: LoginInput!) { login(input: $input) { user { id tenant { id } } } }`;
  const input = { email: admin.email, password: PASSWORD };

  for (const somebody of [here.anybody, elsewhere.admin]) {
    const { data, errors } = await somebody.ask(operation, { input });
    expect({ errors, user: data.login.user }).toEqual({ errors: [], user: { id: admin.id, tenant: { id } } });
  }
  // What comes after it in the same request is done by who sent the request.
  const both = `mutation Both($input: LoginInput!) { login(input: $input) { user { id } }
    updateTenant(input: { id: "${id}", name: "Mine" }) { tenant { name } } }`;
  const { data, errors } = await elsewhere.admin.ask(both, { input });
  expect(data.updateTenant).toBeNull();
  expect(errors.map(({ extensions }) => extensions['reason'])).toEqual(['TENANT_NOT_FOUND']);
});
