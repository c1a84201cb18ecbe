import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';

import { expectRefused } from '../world/auditRecord.ts';
import { PASSWORD, world } from '../world/server.ts';

function applicant(extra: object = {}) {
  const subdomain = `t-${randomUUID().slice(0, 8)}`;
  return {
    tenantName: 'Acme',
    subdomain,
    email: `eve@${subdomain}.example`,
    password: PASSWORD,
    fullName: 'Eve Adams',
    ...extra,
  };
}

const WHOLE = `nodes { id action status resource resourceId resourceName tenantId userId requestId
  actor { type id email name role } changes { path before after redaction } }`;

test('register leaves two records under one request and one operation: the tenant, and its first administrator', async () => {
  const here = await world();
  const input = applicant();

  const answer = await here.anybody.do(
    'register',
    input,
    'accessToken user { id tenantId role tenant { name subdomain } }',
  );

  const { user, receipts } = answer.data;
  expect(user).toMatchObject({ role: 'TENANT_ADMIN', tenant: { name: 'Acme', subdomain: input.subdomain } });
  const read = await (
    await here.root()
  ).ask(
    `query Left($id: String!) { auditLogs(filter: { requestId: $id }, orderBy: { direction: ASC }) { ${WHOLE} } }`,
    { id: answer.requestId },
  );
  const actor = { type: 'USER', id: user.id, email: input.email, name: 'Eve Adams', role: 'TENANT_ADMIN' };
  const common = {
    status: 'SUCCESS',
    tenantId: user.tenantId,
    userId: user.id,
    requestId: answer.requestId,
    actor,
  };
  const change = (path: string, after: unknown) => ({ path, before: null, after, redaction: null });
  expect(read.data.auditLogs.nodes).toEqual([
    {
      id: receipts[0].id,
      action: 'TENANT_CREATED',
      resource: 'TENANT',
      resourceId: user.tenantId,
      resourceName: 'Acme',
      changes: [
        change('name', 'Acme'),
        change('subdomain', input.subdomain),
        change('status', 'ACTIVE'),
        change('tier', 'FREE'),
      ],
      ...common,
    },
    {
      id: receipts[1].id,
      action: 'USER_CREATED',
      resource: 'USER',
      resourceId: user.id,
      resourceName: 'Eve Adams',
      changes: [
        change('email', input.email),
        change('fullName', 'Eve Adams'),
        change('role', 'TENANT_ADMIN'),
        change('status', 'ACTIVE'),
        { path: 'passwordHash', before: null, after: null, redaction: 'SECRET' },
      ],
      ...common,
    },
  ]);
  const rows = await here.database
    .admin`select distinct operation_id from audit_logs where request_id = ${answer.requestId}`;
  expect(rows).toHaveLength(1);
});

test('what cannot be registered is refused with every fault, and leaves one record and no tenant', async () => {
  const here = await world();
  const taken = applicant();
  await here.anybody.do('register', taken, 'user { id }');
  const before = await here.database.admin`select count(*)::int as n from tenants`;

  const faulty = await here.anybody.do(
    'register',
    applicant({ tenantName: ' ', subdomain: 'A_', email: 'me' }),
    'user { id }',
  );
  expectRefused(faulty, 'INVALID_INPUT', {
    tenantName: 'must not be empty',
    subdomain: 'must have 3 to 63 of a-z, 0-9 and inner hyphens',
    email: 'must be an e-mail address',
  });
  const second = await here.anybody.do('register', applicant({ subdomain: taken.subdomain }), 'user { id }');
  expectRefused(second, 'SUBDOMAIN_TAKEN');

  expect(await here.database.admin`select count(*)::int as n from tenants`).toEqual(before);
  for (const { requestId } of [faulty, second]) {
    const rows = await here.database
      .admin`select action, status from audit_logs where request_id = ${requestId}`;
    expect(rows).toEqual([{ action: 'tenant.created', status: 'failure' }]);
  }
});

test.each([
  ['of 7 characters', 'ä'.repeat(7), 'A password has at least 8 characters.'],
  ['of 129 characters', 'ä'.repeat(129), 'A password has at most 128 characters and 512 bytes.'],
  ['that everybody takes', 'ILoveYou', 'This password is among the most common ones.'],
])('a password %s is refused, and the field says why', async (_, password, why) => {
  const here = await world();
  const answer = await here.anybody.do('register', applicant({ password }), 'user { id }');
  expectRefused(answer, 'PASSWORD_POLICY', { password: why });
});

test.each([8, 128])('a password of %i characters is taken', async (length) => {
  const here = await world();
  const answer = await here.anybody.do(
    'register',
    applicant({ password: 'ä'.repeat(length) }),
    'user { id }',
  );
  expect(answer.errors).toEqual([]);
});

test('nothing secret is kept: not in the log, not in what is logged', async () => {
  const here = await world();
  const secret = `canary-${randomUUID()}`;
  const input = applicant({ password: secret });
  const registered = await here.anybody.do('register', input, 'accessToken refreshToken user { id }');
  await here.signIn(input.email, `${secret}-wrong`);
  await here.signIn(input.email, secret);
  const { accessToken, refreshToken } = registered.data;
  await here.anybody.do('refreshToken', { refreshToken }, 'expiresAt');
  await here.anybody.do('resetPassword', { token: `${secret}-token`, newPassword: secret }, 'success');

  const tables = await here.database.admin`
    select (select coalesce(json_agg(a)::text, '') from audit_logs a) || (select json_agg(u)::text from users u)
      || (select json_agg(t)::text from refresh_tokens t) || (select json_agg(s)::text from sessions s) as text`;
  const kept = `${tables[0]!['text']}${JSON.stringify(here.log)}`;
  for (const canary of [secret, accessToken as string, refreshToken as string])
    expect(kept).not.toContain(canary);
  // And people are not in the clear part of the log.
  const clear = await here.database.admin`select json_agg(a)::text as text from audit_logs a`;
  for (const personal of [input.email, input.fullName]) expect(clear[0]!['text']).not.toContain(personal);
});
