import { expect, test } from 'vitest';

import { asRoot, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { world } from '../world/server.ts';

const SUBSCRIPTION = 'tenant { subscription { tier maxUsers maxBranches startsAt endsAt } }';
const YEAR = { startsAt: '2026-01-01T00:00:00.000000Z', endsAt: '2027-01-01T00:00:00.000000Z' };

test('tier, limits and dates change together, to the microsecond, and each is on record before and after', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();

  const answer = await root.do(
    'updateTenantSubscription',
    {
      id,
      tier: 'ENTERPRISE',
      maxUsers: 25,
      maxBranches: 0,
      startsAt: '2026-01-02T03:04:05.123456+01:00',
      endsAt: '2026-01-02T02:04:05.123457Z',
    },
    SUBSCRIPTION,
  );

  const [startsAt, endsAt] = ['2026-01-02T02:04:05.123456Z', '2026-01-02T02:04:05.123457Z'];
  expect(answer.data.tenant.subscription).toEqual({
    tier: 'ENTERPRISE',
    maxUsers: 25,
    maxBranches: 0,
    startsAt,
    endsAt,
  });
  await expectRecord(here, root, answer, {
    action: 'TENANT_SUBSCRIPTION_CHANGED',
    mutation: 'updateTenantSubscription',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'NOTICE',
    changes: [
      ['tier', 'FREE', 'ENTERPRISE'],
      ['maxUsers', null, 25],
      ['maxBranches', null, 0],
      ['startsAt', null, startsAt],
      ['endsAt', null, endsAt],
    ],
  });
});

test('what is absent stays, and null lifts a limit or a date', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();
  const given = { tier: 'STARTER', maxUsers: 5, maxBranches: 2, ...YEAR };
  await root.do('updateTenantSubscription', { id, ...given });

  const kept = await root.do('updateTenantSubscription', { id, maxBranches: 3 }, SUBSCRIPTION);
  expect(kept.data.tenant.subscription).toEqual({ ...given, maxBranches: 3 });

  const lifted = await root.do(
    'updateTenantSubscription',
    { id, maxUsers: null, startsAt: null },
    SUBSCRIPTION,
  );
  expect(lifted.data.tenant.subscription).toEqual({
    ...given,
    maxUsers: null,
    maxBranches: 3,
    startsAt: null,
  });
  await expectRecord(here, root, lifted, {
    action: 'TENANT_SUBSCRIPTION_CHANGED',
    mutation: 'updateTenantSubscription',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'NOTICE',
    changes: [
      ['maxUsers', 5, null],
      ['startsAt', YEAR.startsAt, null],
    ],
  });
});

test('a subscription does not end before it begins, also when only one end is given', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();
  await root.do('updateTenantSubscription', { id, ...YEAR });

  for (const dates of [
    { startsAt: YEAR.endsAt, endsAt: YEAR.startsAt },
    { startsAt: YEAR.endsAt },
    { endsAt: YEAR.startsAt },
    { endsAt: '2025-12-31T23:59:59.999999Z' },
  ]) {
    const answer = await root.do('updateTenantSubscription', { id, ...dates });
    expectRefused(answer, 'INVALID_INPUT', { endsAt: 'must be after startsAt' });
    await expectRecord(here, root, answer, {
      action: 'TENANT_SUBSCRIPTION_CHANGED',
      mutation: 'updateTenantSubscription',
      by: asRoot(root),
      tenantId: id,
      resourceId: id,
      resourceName: 'Acme',
      severity: 'WARNING',
      failure: 'INVALID_INPUT',
      details: { input: { id, ...dates } },
    });
  }
});

test('a limit below nothing and no tier at all are refused, each by its name', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();

  const answer = await root.do('updateTenantSubscription', {
    id,
    tier: null,
    maxUsers: -1,
    maxBranches: -2_147_483_648,
  });

  expectRefused(answer, 'INVALID_INPUT', {
    tier: expect.any(String) as string,
    maxUsers: 'must be 0 or more',
    maxBranches: 'must be 0 or more',
  });
});

test('a date that is none never reaches the log: the document is refused', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();

  const answer = await root.do('updateTenantSubscription', { id, startsAt: '2026-02-30T00:00:00Z' });

  expect(answer.errors[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT' });
  const left = await root.ask(
    'query ($id: String) { auditLogs(filter: { requestId: $id }) { totalCount } }',
    {
      id: answer.requestId,
    },
  );
  expect(left.data.auditLogs.totalCount).toBe(0);
});
