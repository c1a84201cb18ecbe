import { expect, test } from 'vitest';

import { asAdmin, asRoot, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';

test('createTenant makes a tenant, and the record names all its fields', async () => {
  const here = await world();
  const root = await here.root();

  const input = { name: ' Nordwind ', subdomain: 'NordWind', tier: 'STARTER' };
  const answer = await root.do('createTenant', input, `tenant { ${TENANT} }`);

  const { tenant } = answer.data;
  expect(tenant).toEqual({
    id: tenant.id,
    name: 'Nordwind',
    subdomain: 'nordwind',
    status: 'ACTIVE',
    statusReason: null,
    subscription: { tier: 'STARTER', maxUsers: null, maxBranches: null, startsAt: null, endsAt: null },
  });
  await expectRecord(here, root, answer, {
    action: 'TENANT_CREATED',
    mutation: 'createTenant',
    by: asRoot(root),
    tenantId: tenant.id,
    resourceId: tenant.id,
    resourceName: 'Nordwind',
    severity: 'NOTICE',
    changes: [
      ['name', null, 'Nordwind'],
      ['subdomain', null, 'nordwind'],
      ['status', null, 'ACTIVE'],
      ['tier', null, 'STARTER'],
    ],
  });
});

const TENANT = `id name subdomain status statusReason
  subscription { tier maxUsers maxBranches startsAt endsAt }`;

test('createTenant refuses what cannot be a tenant, naming each field, and the record holds the input', async () => {
  const here = await world();
  const root = await here.root();

  const input = { name: ' ', subdomain: '-x-', tier: 'FREE' };
  const answer = await root.do('createTenant', input);

  expectRefused(answer, 'INVALID_INPUT', {
    name: 'must not be empty',
    subdomain: 'must have 3 to 63 of a-z, 0-9 and inner hyphens',
  });
  await expectRecord(here, root, answer, {
    action: 'TENANT_CREATED',
    mutation: 'createTenant',
    by: asRoot(root),
    tenantId: null,
    severity: 'WARNING',
    failure: 'INVALID_INPUT',
    details: { input },
  });
});

test('a subdomain belongs to one tenant, also when two take it at once', async () => {
  const here = await world();
  const root = await here.root();

  const answers = await Promise.all(
    ['One', 'Two'].map((name) => root.do('createTenant', { name, subdomain: 'only-one' }, 'tenant { id }')),
  );

  const [refused] = answers.filter(({ data }) => data === null);
  const [done] = answers.filter(({ data }) => data !== null);
  expect(done).toBeDefined();
  expectRefused(refused!, 'SUBDOMAIN_TAKEN');
  await expectRecord(here, root, refused!, {
    action: 'TENANT_CREATED',
    mutation: 'createTenant',
    by: asRoot(root),
    tenantId: null,
    severity: 'WARNING',
    failure: 'SUBDOMAIN_TAKEN',
    details: {
      input: { name: refused === answers[0] ? 'One' : 'Two', subdomain: 'only-one', tier: 'FREE' },
    },
  });
});

test('updateTenant changes what is given and nothing else, for its administrator', async () => {
  const here = await world();
  const { id, subdomain, admin } = await here.tenant();

  const answer = await admin.do('updateTenant', { id, name: 'Acme & Co' }, 'tenant { name subdomain }');

  expect(answer.data.tenant).toEqual({ name: 'Acme & Co', subdomain });
  await expectRecord(here, admin, answer, {
    action: 'TENANT_UPDATED',
    mutation: 'updateTenant',
    by: asAdmin(admin),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme & Co',
    severity: 'INFO',
    changes: [['name', 'Acme', 'Acme & Co']],
  });
});

test('an update that changes nothing is on record without changes', async () => {
  const here = await world();
  const { id, subdomain, admin } = await here.tenant();

  for (const input of [{ id }, { id, name: 'Acme', subdomain }]) {
    const answer = await admin.do('updateTenant', input);
    await expectRecord(here, admin, answer, {
      action: 'TENANT_UPDATED',
      mutation: 'updateTenant',
      by: asAdmin(admin),
      tenantId: id,
      resourceId: id,
      resourceName: 'Acme',
      severity: 'INFO',
    });
  }
});

test('updateTenant refuses null for what a tenant must have, and a subdomain that is taken', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  const other = await here.tenant('Other');
  const record = {
    action: 'TENANT_UPDATED',
    mutation: 'updateTenant',
    by: asAdmin(admin),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'WARNING',
  } as const;

  const emptied = await admin.do('updateTenant', { id, name: null });
  expectRefused(emptied, 'INVALID_INPUT', { name: expect.any(String) as string });
  const details = { input: { id, name: null } };
  await expectRecord(here, admin, emptied, { ...record, failure: 'INVALID_INPUT', details });

  const taken = await admin.do('updateTenant', { id, subdomain: other.subdomain });
  expectRefused(taken, 'SUBDOMAIN_TAKEN');
  await expectRecord(here, admin, taken, {
    ...record,
    failure: 'SUBDOMAIN_TAKEN',
    details: { input: { id, subdomain: other.subdomain } },
  });
});

test('a tenant of others and one that never was are refused alike', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const other = await here.tenant('Other');

  for (const id of [other.id, NOBODY, 'not an id']) {
    const answer = await admin.do('updateTenant', { id, name: 'Mine' });
    expectRefused(answer, 'TENANT_NOT_FOUND');
    await expectRecord(here, admin, answer, {
      action: 'TENANT_UPDATED',
      mutation: 'updateTenant',
      by: asAdmin(admin),
      tenantId: admin.tenantId,
      resourceId: id === 'not an id' ? null : id,
      severity: 'WARNING',
      failure: 'TENANT_NOT_FOUND',
      details: { input: { id, name: 'Mine' } },
    });
  }
});

test('what only the platform may do with a tenant is refused to its administrator, as a security event', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  const refused = {
    createTenant: ['TENANT_CREATED', { name: 'Mine', subdomain: 'mine', tier: 'FREE' }],
    updateTenantSubscription: ['TENANT_SUBSCRIPTION_CHANGED', { id, tier: 'ENTERPRISE' }],
    activateTenant: ['TENANT_ACTIVATED', { id }],
    deactivateTenant: ['TENANT_DEACTIVATED', { id, reason: 'Because' }],
    deleteTenant: ['TENANT_DELETED', { id }],
  } as const;

  for (const [mutation, [action, input]] of Object.entries(refused)) {
    const answer = await admin.do(mutation, input);
    expectRefused(answer, 'SCOPE_MISSING');
    await expectRecord(here, admin, answer, {
      action,
      mutation,
      by: asAdmin(admin),
      tenantId: id,
      resourceId: 'id' in input ? id : null,
      severity: 'WARNING',
      security: true,
      failure: 'SCOPE_MISSING',
      details: { input },
    });
  }
});
