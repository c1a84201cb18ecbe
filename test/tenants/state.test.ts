import { expect, test } from 'vitest';

import { asRoot, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { PASSWORD, world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';

test('deactivateTenant shuts a tenant out from the next request on, and the record says why', async () => {
  const here = await world();
  const root = await here.root();
  const { id, subdomain, admin } = await here.tenant();

  const input = { id, reason: 'Unpaid since May' };
  const answer = await root.do('deactivateTenant', input, 'tenant { status statusReason }');

  expect(answer.data.tenant).toEqual({ status: 'INACTIVE', statusReason: 'Unpaid since May' });
  await expectRecord(here, root, answer, {
    action: 'TENANT_DEACTIVATED',
    mutation: 'deactivateTenant',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'WARNING',
    security: true,
    details: { reason: 'Unpaid since May' },
    changes: [
      ['status', 'ACTIVE', 'INACTIVE'],
      ['statusReason', null, 'Unpaid since May'],
    ],
  });
  expect((await admin.ask('{ me { id } }')).errors[0]?.extensions).toMatchObject({
    code: 'UNAUTHENTICATED',
    reason: 'TENANT_INACTIVE',
  });
  expectRefused(await here.signIn(admin.email, PASSWORD, subdomain), 'TENANT_INACTIVE');
});

test('activateTenant lets it in again, and the reason it was shut out for is gone', async () => {
  const here = await world();
  const root = await here.root();
  const { id, admin } = await here.tenant();
  await root.do('deactivateTenant', { id, reason: 'Unpaid' });

  const answer = await root.do('activateTenant', { id }, 'tenant { status statusReason }');

  expect(answer.data.tenant).toEqual({ status: 'ACTIVE', statusReason: null });
  await expectRecord(here, root, answer, {
    action: 'TENANT_ACTIVATED',
    mutation: 'activateTenant',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'NOTICE',
    changes: [
      ['status', 'INACTIVE', 'ACTIVE'],
      ['statusReason', 'Unpaid', null],
    ],
  });
  expect((await admin.ask('{ me { id } }')).data.me.id).toBe(admin.id);
});

test('deleteTenant keeps the row and the log, and nothing shows the tenant any more', async () => {
  const here = await world();
  const root = await here.root();
  const { id, subdomain, admin } = await here.tenant();
  const auditor = await here.user(admin, 'AUDITOR');

  const answer = await root.do('deleteTenant', { id }, 'tenant { id name }');

  expect(answer.data.tenant).toEqual({ id, name: 'Acme' });
  const [row] = await here.database.admin`select deleted_at from tenants where id = ${id}`;
  expect(row!.deleted_at).not.toBeNull();
  await expectRecord(here, root, answer, {
    action: 'TENANT_DELETED',
    mutation: 'deleteTenant',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'WARNING',
    security: true,
    changes: [['deletedAt', null, expect.stringMatching(/^\d{4}-.*\.\d{6}Z$/)]],
  });

  const seen = await root.ask(
    `query ($id: ID!, $user: ID!, $name: String) {
      tenant(id: $id) { id } node(id: $id) { id } tenants(search: $name) { totalCount nodes { id } }
      user(id: $user) { id } users(tenantId: $id) { totalCount nodes { id } } person: node(id: $user) { id }
      auditLogs(filter: { tenantId: $id }) { totalCount nodes { tenant { id } user { id } tenantId } }
    }`,
    { id, user: auditor.id, name: subdomain },
  );
  expect(seen.errors).toEqual([]);
  expect(seen.data).toMatchObject({ tenant: null, node: null, tenants: { totalCount: 0, nodes: [] } });
  expect(seen.data).toMatchObject({ user: null, person: null, users: { totalCount: 0, nodes: [] } });
  expect(seen.data.auditLogs.totalCount).toBeGreaterThan(3);
  for (const { tenant, user, tenantId } of seen.data.auditLogs.nodes) {
    expect([tenant, user?.id === root.id || user === null, tenantId]).toEqual([null, true, id]);
  }
  for (const person of [admin, auditor]) {
    expect((await person.ask('{ me { id } }')).errors[0]?.extensions.reason).toBe('TENANT_INACTIVE');
  }
});

test('the subdomain of a deleted tenant and the e-mails of its people may be used again', async () => {
  const here = await world();
  const root = await here.root();
  const { id, subdomain, admin } = await here.tenant();
  await root.do('deleteTenant', { id });

  const input = { tenantName: 'Acme', subdomain, email: admin.email, password: PASSWORD, fullName: 'Ann' };
  const again = await here.anybody.do('register', input, 'user { id tenant { subdomain } }');

  expect(again.data.user.tenant).toEqual({ subdomain });
  // Also without naming the tenant: the account of the deleted one does not make the e-mail ambiguous.
  expect((await here.signIn(admin.email, PASSWORD)).data.user.id).toBe(again.data.user.id);
});

test('what a tenant is already, and one that is not there, are refused on record', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();
  const off = (await here.tenant('Off')).id;
  const gone = (await here.tenant('Gone')).id;
  await root.do('deactivateTenant', { id: off, reason: 'Unpaid' });
  await root.do('deleteTenant', { id: gone });

  const refused = [
    ['activateTenant', 'TENANT_ACTIVATED', { id }, 'Acme', 'STATE_UNCHANGED'],
    ['deactivateTenant', 'TENANT_DEACTIVATED', { id: off, reason: 'Again' }, 'Off', 'STATE_UNCHANGED'],
    ['deactivateTenant', 'TENANT_DEACTIVATED', { id, reason: ' ' }, 'Acme', 'INVALID_INPUT'],
    ['activateTenant', 'TENANT_ACTIVATED', { id: gone }, null, 'TENANT_NOT_FOUND'],
    ['deactivateTenant', 'TENANT_DEACTIVATED', { id: NOBODY, reason: 'x' }, null, 'TENANT_NOT_FOUND'],
    ['deleteTenant', 'TENANT_DELETED', { id: gone }, null, 'TENANT_NOT_FOUND'],
    ['updateTenant', 'TENANT_UPDATED', { id: gone, name: 'Here' }, null, 'TENANT_NOT_FOUND'],
  ] as const;
  for (const [mutation, action, input, resourceName, failure] of refused) {
    const answer = await root.do(mutation, input);
    expectRefused(answer, failure, failure === 'INVALID_INPUT' ? { reason: 'must not be empty' } : undefined);
    await expectRecord(here, root, answer, {
      action,
      mutation,
      by: asRoot(root),
      tenantId: resourceName === null ? null : input.id,
      resourceId: input.id,
      resourceName,
      severity: 'WARNING',
      security: ['TENANT_DEACTIVATED', 'TENANT_DELETED'].includes(action),
      failure,
      details: { input },
    });
  }
});
