import { expect, test } from 'vitest';

import { DETAILS_OF_ALL, detectionsOf, holdDetection, judged, peopleAtRisk } from '../world/detections.ts';
import { clientOf, RAISED } from '../world/live.ts';
import { PASSWORD } from '../world/server.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';

test('five wrong passwords for an account raise one event, live, whose evidence are the five records', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  const steps = subscribe<LiveStep>(clientOf(here, admin.token), RAISED, { minSeverity: 'ERROR' });
  await steps.next();
  for (let attempt = 1; attempt <= 5; attempt++) await fail(member.email);
  const [{ node }] = (await steps.until((step) => step.node !== null)).slice(-1) as [LiveStep];
  expect(node).toMatchObject({ action: 'ACCOUNT_BRUTE_FORCE_DETECTED', severity: 'ERROR' });

  const { data } = await admin.ask(
    `query ($id: ID!) { node(id: $id) { ... on SecurityEvent { ${DETAILS_OF_ALL} } } }`,
    {
      id: node.id,
    },
  );
  const failed = await admin.ask('{ failedLoginAttempts { nodes { id requestId } } }');
  const attempts = failed.data.failedLoginAttempts.nodes as { id: string; requestId: string }[];
  expect(attempts).toHaveLength(5);
  expect(data.node).toMatchObject({
    evidence: { totalCount: 5, nodes: attempts.map(({ id }) => ({ id })) },
    log: {
      status: 'SUCCESS',
      tenantId: admin.tenantId,
      resource: 'USER',
      resourceId: member.id,
      ipAddress: '192.0.2.1',
      userAgent: null,
      userId: null,
      actor: { type: 'SYSTEM', name: 'detection' },
      context: { transport: 'INTERNAL' },
      details: {
        attempts: 5,
        windowMinutes: 15,
        addresses: 1,
        email: member.email,
        evidence: attempts.map(({ id }) => id),
      },
    },
  });
  expect(attempts.map(({ requestId }) => requestId)).toContain(data.node.log.requestId);
});

test('below the threshold nothing is raised, and more attempts of the same attack raise no second event', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  for (let attempt = 1; attempt <= 4; attempt++) await fail(member.email);
  await judged(here);
  expect(await detectionsOf(admin)).toEqual([]);
  for (let attempt = 5; attempt <= 9; attempt++) await fail(member.email);
  await judged(here);
  expect(await detectionsOf(admin)).toMatchObject([{ action: 'ACCOUNT_BRUTE_FORCE_DETECTED' }]);
});

test('after the window an attack is another one, however late it is judged', async () => {
  const { here, admin, member, attack } = await peopleAtRisk();
  await judged(here);
  const held = await holdDetection(here);
  await attack(member, { attempts: 5, minutesAgo: 40 });
  await attack(member, { attempts: 5, minutesAgo: 30 });
  await attack(member, { attempts: 5, minutesAgo: 10 });
  await held.release();
  await judged(here);
  const [second, first, ...others] = await detectionsOf(admin);
  expect(others).toEqual([]);
  expect([first, second]).toMatchObject([
    { log: { details: { attempts: 5 } } },
    { log: { details: { attempts: 5 } } },
  ]);
});

test('attempts that lie further apart than the window are no attack', async () => {
  const { here, admin, member, attack } = await peopleAtRisk();
  for (const minutesAgo of [70, 50, 30, 10]) await attack(member, { attempts: 2, minutesAgo });
  await judged(here);
  expect(await detectionsOf(admin)).toEqual([]);
});

test('an account that does not exist is attacked too: of a tenant in its log, of none in the platform’s', async () => {
  const { here, admin, subdomain, fail } = await peopleAtRisk();
  const root = await here.root();
  for (let attempt = 1; attempt <= 5; attempt++) {
    await fail('nobody@example.com', undefined, subdomain);
    await fail('no.one@example.com');
  }
  await judged(here);
  expect(await detectionsOf(admin)).toMatchObject([
    { log: { tenantId: admin.tenantId, resourceId: null, details: { email: 'nobody@example.com' } } },
  ]);
  const [theirs] = (await detectionsOf(root)).filter(({ log }) => log.tenantId === null);
  expect(theirs).toMatchObject({ log: { resourceId: null, details: { email: 'no.one@example.com' } } });
});

test('many accounts tried from one address raise one event about the address; an IPv6 network counts as one', async () => {
  const { here, admin, subdomain, fail, set } = await peopleAtRisk();
  await set({ failedLoginsPerAddress: 6 });
  for (let attempt = 1; attempt <= 6; attempt++) {
    await fail(`someone-${attempt}@example.com`, '198.51.100.7', subdomain);
    await fail(`other-${attempt}@example.com`, `2001:db8::${attempt}`, subdomain);
    await fail(`third-${attempt}@example.com`, `203.0.113.${attempt}`, subdomain);
  }
  await judged(here);
  await fail('one-more@example.com', '198.51.100.7', subdomain);
  await fail('another@example.com', '2001:db8::ffff', subdomain);
  await judged(here);
  const found = (await detectionsOf(admin)).toSorted((one, two) =>
    one.log.resourceName.localeCompare(two.log.resourceName),
  );
  const common = { resource: 'TENANT', resourceId: admin.tenantId };
  expect(found).toMatchObject([
    {
      action: 'ADDRESS_BRUTE_FORCE_DETECTED',
      evidence: { totalCount: 6 },
      log: {
        ...common,
        resourceName: '198.51.100.7',
        ipAddress: '198.51.100.7',
        details: { attempts: 6, addresses: 1 },
      },
    },
    { log: { ...common, resourceName: '2001:db8::/64', details: { attempts: 6, addresses: 6 } } },
  ]);
});

test('a sign-in after many that failed is critical, each time; after few it is nothing', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  for (let attempt = 1; attempt <= 4; attempt++) await fail(admin.email);
  await here.signIn(admin.email, PASSWORD);
  for (let attempt = 1; attempt <= 5; attempt++) await fail(member.email);
  await here.signIn(member.email, PASSWORD);
  await here.signIn(member.email, PASSWORD);
  await judged(here);
  const found = await detectionsOf(admin);
  expect(found.map(({ action, severity }) => [action, severity])).toEqual([
    ['SUCCESS_AFTER_FAILURES_DETECTED', 'CRITICAL'],
    ['SUCCESS_AFTER_FAILURES_DETECTED', 'CRITICAL'],
    ['ACCOUNT_BRUTE_FORCE_DETECTED', 'ERROR'],
  ]);
  for (const { evidence } of found) expect(evidence.totalCount).toBe(5);
});

test('a tenant’s own thresholds hold for its attacks, and the platform’s for those on nobody’s accounts', async () => {
  const { here, admin, member, fail, set } = await peopleAtRisk();
  await set({ failedLoginsPerAccount: 3, failedLoginsWindowMinutes: 7 });
  for (let attempt = 1; attempt <= 3; attempt++) {
    await fail(member.email);
    await fail('nobody@example.com');
  }
  await judged(here);
  expect(await detectionsOf(await here.root())).toMatchObject([
    { log: { tenantId: admin.tenantId, details: { attempts: 3, windowMinutes: 7 } } },
  ]);
});

test('two servers raise each event once', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  const others = await Promise.all(Array.from({ length: 3 }, () => here.user(admin, 'MEMBER')));
  await here.another();
  for (let attempt = 1; attempt <= 6; attempt++) {
    for (const { email } of [member, ...others]) await fail(email, `192.0.2.${attempt}`);
  }
  await judged(here);
  const found = await detectionsOf(admin);
  expect(found).toHaveLength(4);
  expect(new Set(found.map(({ log }) => log.resourceId))).toEqual(
    new Set([member, ...others].map(({ id }) => id)),
  );
});

test('what was sealed while nobody judged is judged afterwards, and a batch that dies is judged again', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  const held = await holdDetection(here);
  for (let attempt = 1; attempt <= 5; attempt++) await fail(member.email);
  const raising = await held.releaseIntoWriting();
  expect(await detectionsOf(admin)).toEqual([]);
  await raising.kill();
  await judged(here);
  expect(await detectionsOf(admin)).toMatchObject([{ evidence: { totalCount: 5 } }]);
  expect(here.log.filter(({ msg }) => msg === 'Detection failed; it is tried again.')).not.toEqual([]);
});
