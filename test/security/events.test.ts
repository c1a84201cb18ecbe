import { expect, test } from 'vitest';

import { idAt, openClock } from '../../src/platform/ids.ts';
import { type LogRow, writeLogRows } from '../world/logRows.ts';
import { PASSWORD, type Person, type World, world } from '../world/server.ts';

const HOUR = 3_600_000_000n;

test('failed logins are found by address, by e-mail in any case, and by how long ago they were', async () => {
  const { here, tenant, admin } = await people();
  const known = (await admin.ask('{ me { email } }')).data.me.email as string;
  await failLogin(here, known.toUpperCase(), '192.0.2.1', tenant.subdomain);
  await failLogin(here, ' Nobody@Example.COM ', '192.0.2.2', tenant.subdomain);
  await failLogin(here, 'nobody@example.com', '2001:DB8::0:2', tenant.subdomain);
  const old = openClock().now() - 30n * HOUR;
  await writeLogRows(here.database.admin, [loginFailed(tenant.id, old, '192.0.2.1')]);
  const found = (given: object) => failedLogins(admin, given);

  const [third, second, first] = await found({});
  expect(await found({ hours: 1 })).toEqual([third, second, first]);
  expect([first, second, third]).toMatchObject([
    { ipAddress: '192.0.2.1', details: { email: known.toUpperCase() }, resourceId: admin.id },
    { ipAddress: '192.0.2.2', details: { email: ' Nobody@Example.COM ' }, resourceId: null },
    { ipAddress: '2001:db8::2', details: { email: 'nobody@example.com' }, resourceId: null },
  ]);
  expect(await found({ email: 'NOBODY@example.com' })).toEqual([third, second]);
  expect(await found({ email: known })).toEqual([first]);
  expect(await found({ email: 'nobody@example.co' })).toEqual([]);
  expect(await found({ email: '' })).toEqual([]);
  expect(await found({ ipAddress: '2001:db8:0::2' })).toEqual([third]);
  expect(await found({ ipAddress: '::ffff:192.0.2.2', email: 'nobody@example.com' })).toEqual([second]);
  expect(await found({ hours: 29 })).toHaveLength(3);
  expect(await found({ hours: 31 })).toHaveLength(4);
  expect(await found({ hours: 31, ipAddress: '192.0.2.1' })).toHaveLength(2);
  // A page goes on where it ended although the span moves with the clock.
  const page = await admin.ask('{ failedLoginAttempts(first: 1) { totalCount pageInfo { endCursor } } }');
  const { totalCount, pageInfo } = page.data.failedLoginAttempts;
  expect(totalCount).toBe(3);
  expect(await found({ after: pageInfo.endCursor, first: 1 })).toEqual([second]);
});

test('members see the failed logins and the events of their own account only, whatever they ask for', async () => {
  const { here, tenant, admin, member, auditor, manager } = await people();
  for (const { email } of [admin, member, member]) await failLogin(here, email, '192.0.2.1');
  await failLogin(here, 'nobody@example.com', '192.0.2.1', tenant.subdomain);
  await admin.do('changeUserRole', { id: auditor.id, role: 'MEMBER' });
  await admin.do('changeUserRole', { id: auditor.id, role: 'AUDITOR' });

  expect(await failedLogins(auditor, {})).toHaveLength(4);
  const own = await failedLogins(member, {});
  expect(own.map(({ resourceId }) => resourceId)).toEqual([member.id, member.id]);
  expect(await failedLogins(member, { email: admin.email })).toEqual([]);
  expect(await securityEvents(auditor, {})).toHaveLength(6);
  expect((await securityEvents(member, {})).map(({ action }) => action)).toEqual([
    'LOGIN_FAILED',
    'LOGIN_FAILED',
  ]);
  expect(await securityEvents(member, { filter: { actions: ['USER_ROLE_CHANGED'] } })).toEqual([]);
  const count = await member.ask(
    '{ securityEvents { totalCount } failedLoginAttempts { countUpTo { value } } }',
  );
  expect(count.data).toEqual({
    securityEvents: { totalCount: 2 },
    failedLoginAttempts: { countUpTo: { value: 2 } },
  });

  const lists = ['failedLoginAttempts { totalCount }', 'securityEvents { totalCount }'];
  for (const list of lists) {
    expect((await manager.ask(`{ ${list} }`)).errors[0]!.extensions).toMatchObject({
      reason: 'SCOPE_MISSING',
    });
    expect((await here.anybody.ask(`{ ${list} }`)).errors[0]!.extensions).toMatchObject({
      reason: 'SIGN_IN_REQUIRED',
    });
  }
});

test('security events are the records that are marked so, found by action, severity, person, address and age', async () => {
  const { here, tenant, admin, member, auditor } = await people();
  await failLogin(here, member.email, '192.0.2.9');
  await admin.do('changeUserRole', { id: member.id, role: 'AUDITOR' });
  await auditor.do('updateTenant', { id: tenant.id, name: 'Refused' });
  await admin.do('updateTenant', { id: tenant.id, name: 'No event' });
  const { refreshToken } = (await here.signIn(admin.email, PASSWORD)).data;
  await here.anybody.do('refreshToken', { refreshToken });
  await here.anybody.do('refreshToken', { refreshToken });
  const old = openClock().now() - 10n * 24n * HOUR;
  await writeLogRows(here.database.admin, [loginFailed(tenant.id, old, '192.0.2.9')]);
  const actions = async (given: object) => (await securityEvents(admin, given)).map(({ action }) => action);

  const all = ['TOKEN_REUSE_DETECTED', 'TENANT_UPDATED', 'USER_ROLE_CHANGED', 'LOGIN_FAILED'];
  expect(await actions({})).toEqual(all);
  expect(await actions({ filter: { minSeverity: 'CRITICAL' } })).toEqual(all.slice(0, 1));
  expect(await actions({ filter: { actions: ['LOGIN_FAILED', 'TENANT_UPDATED'] } })).toEqual([
    all[1],
    all[3],
  ]);
  expect(await actions({ filter: { userId: auditor.id } })).toEqual(['TENANT_UPDATED']);
  expect(await actions({ filter: { ipAddress: '192.0.2.9' } })).toEqual(['LOGIN_FAILED']);
  expect(await actions({ filter: { tenantId: member.id } })).toEqual([]);
  expect(await actions({ filter: { tenantId: tenant.id } })).toEqual(all);
  expect(await actions({ days: 9 })).toEqual(all);
  expect(await actions({ days: 11 })).toEqual([...all, 'LOGIN_FAILED']);
  const events = await securityEvents(admin, { first: 2 });
  for (const { id, action, severity, occurredAt, log } of events) {
    // The id is the record's, as a UUIDv8.
    const recordId = `${id.slice(0, 14)}7${id.slice(15)}`;
    expect(id[14]).toBe('8');
    expect(log).toEqual({ id: recordId, action, severity, createdAt: occurredAt });
  }
});

test.each([
  ['failedLoginAttempts', 'hours', [0, 8_761]],
  ['securityEvents', 'days', [0, 366]],
])('%s takes no %s beyond its bounds', async (list, field, bounds) => {
  const { admin } = await people();
  for (const bound of bounds) {
    const { errors } = await admin.ask(`{ ${list}(${field}: ${bound}) { totalCount } }`);
    expect(errors[0]!.extensions).toMatchObject({
      code: 'BAD_USER_INPUT',
      fields: { [field]: `must be from 1 to ${bounds[1]! - 1}` },
    });
  }
});

async function failedLogins(reader: Person, given: object) {
  const { data, errors } = await reader.ask(
    `query List($ipAddress: IP, $email: String, $hours: Int, $first: Int, $after: String) {
      list: failedLoginAttempts(ipAddress: $ipAddress, email: $email, hours: $hours, first: $first, after: $after) {
        nodes { id ipAddress details resourceId }
      }
    }`,
    given,
  );
  expect(errors).toEqual([]);
  return data.list.nodes as { id: string; ipAddress: string; details: object; resourceId: string | null }[];
}

async function securityEvents(reader: Person, given: object) {
  const { data, errors } = await reader.ask(
    `query List($filter: SecurityEventFilter, $days: Int, $first: Int) {
      list: securityEvents(filter: $filter, days: $days, first: $first) {
        nodes { id action severity occurredAt log { id action severity createdAt } }
      }
    }`,
    given,
  );
  expect(errors).toEqual([]);
  return data.list.nodes as {
    id: string;
    action: string;
    severity: string;
    occurredAt: string;
    log: object;
  }[];
}

/** A refused sign-in that comes from that address. */
async function failLogin(
  { anybody }: World,
  email: string,
  ipAddress: string,
  tenant?: string,
): Promise<void> {
  const { errors } = await anybody.ask(
    'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }',
    { input: { email, password: 'wrong password', tenant } },
    { 'x-forwarded-for': ipAddress },
  );
  expect(errors[0]!.extensions['reason']).toBe('INVALID_CREDENTIALS');
}

function loginFailed(tenantId: string, micros: bigint, ipAddress: string): LogRow {
  const facts = {
    action: 'LOGIN_FAILED',
    status: 'FAILURE',
    severity: 2,
    security: true,
    requestId: 'r',
  } as const;
  return { ...facts, tenantId, id: idAt(micros), micros, userId: null, resourceId: null, ipAddress };
}

async function people() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  const tenant = await here.tenant();
  const { admin } = tenant;
  const member = await here.user(admin, 'MEMBER');
  const auditor = await here.user(admin, 'AUDITOR');
  return { here, tenant, admin, member, auditor, manager: await here.user(admin, 'BRANCH_MANAGER') };
}
