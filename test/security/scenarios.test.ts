/** Detections as a security team would tell them. The attacks on one account are in detections.test.ts. */
import { expect, test } from 'vitest';

import { type Detection, detectionsOf, judged, peopleAtRisk } from '../world/detections.ts';
import { cityDatabase } from '../world/geoip.ts';
import type { Person, World } from '../world/server.ts';

const [AT_HOME, ELSEWHERE] = ['192.0.2.10', '198.51.100.20'];
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
const NEXT_FIREFOX = FIREFOX.replaceAll('140.0', '141.0');
const PHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile/15E148 Safari/604.1';

/** What was detected of that kind, newest first. */
async function found(here: World, reader: Person, action: string): Promise<Detection[]> {
  await judged(here);
  return (await detectionsOf(reader, 'INFO')).filter((each) => each.action === action);
}

test('somebody tries one password on ten accounts: each account sees one failure, the tenant one spray', async () => {
  const { here, admin, subdomain, fail } = await peopleAtRisk();
  for (let victim = 1; victim <= 9; victim++)
    await fail(`victim-${victim}@example.com`, ELSEWHERE, subdomain);
  for (let again = 1; again <= 3; again++) await fail('victim-1@example.com', ELSEWHERE, subdomain);
  expect(await found(here, admin, 'PASSWORD_SPRAY_DETECTED')).toEqual([]);
  await fail('victim-10@example.com', ELSEWHERE, subdomain);
  await fail('victim-11@example.com', ELSEWHERE, subdomain);
  const [spray, ...others] = await found(here, admin, 'PASSWORD_SPRAY_DETECTED');
  expect(others).toEqual([]);
  expect(spray).toMatchObject({
    severity: 'ERROR',
    log: {
      resourceId: admin.tenantId,
      resourceName: ELSEWHERE,
      details: { addresses: 1, windowMinutes: 15 },
    },
  });
  const { accounts, attempts } = spray!.log.details as { accounts: number; attempts: number };
  expect([accounts, accounts + 3]).toEqual([expect.toBeOneOf([10, 11]), attempts]);
  expect(spray!.evidence.totalCount).toBe(attempts);
});

test('a user who always signs in from one place does so from another: once, and not when they first appear', async () => {
  const { here, admin, member, signIn } = await peopleAtRisk();
  await signIn(member, AT_HOME);
  await signIn(member, AT_HOME);
  const first = await found(here, admin, 'NEW_ADDRESS_DETECTED');
  // Their account was made from the machine of the test.
  expect(first).toMatchObject([{ log: { resourceId: member.id, ipAddress: AT_HOME } }]);
  await signIn(member, ELSEWHERE);
  await signIn(member, ELSEWHERE);
  await signIn(member, AT_HOME);
  const [event, ...others] = await found(here, admin, 'NEW_ADDRESS_DETECTED');
  expect(others).toEqual(first);
  expect(event).toMatchObject({
    severity: 'NOTICE',
    evidence: { totalCount: 1 },
    log: {
      resourceId: member.id,
      resourceName: 'A MEMBER',
      ipAddress: ELSEWHERE,
      details: { familiarDays: 90 },
    },
  });
});

test('a user takes up another device; a newer version of the same is no other', async () => {
  const { here, admin, member, signIn } = await peopleAtRisk();
  await signIn(member, AT_HOME, FIREFOX);
  const before = await found(here, admin, 'NEW_DEVICE_DETECTED');
  await signIn(member, AT_HOME, NEXT_FIREFOX);
  expect(await found(here, admin, 'NEW_DEVICE_DETECTED')).toEqual(before);
  await signIn(member, AT_HOME, PHONE);
  const [event, ...others] = await found(here, admin, 'NEW_DEVICE_DETECTED');
  expect(others).toEqual(before);
  expect(event).toMatchObject({ log: { resourceId: member.id, details: { userAgent: PHONE } } });
});

test('an account that was left alone for forty days wakes up', async () => {
  const { here, admin, member, signIn, longAgo, set } = await peopleAtRisk();
  await set({ dormantDays: 30 });
  await longAgo(member, 40);
  await signIn(member, AT_HOME);
  await signIn(member, AT_HOME);
  const [event, ...others] = await found(here, admin, 'DORMANT_ACCOUNT_DETECTED');
  expect(others).toEqual([]);
  expect(event).toMatchObject({
    severity: 'WARNING',
    evidence: { totalCount: 2 },
    log: { resourceId: member.id, details: { dormantDays: 40 } },
  });
});

test('somebody signs in in Zürich and, an instant later, in Sydney; from Winterthur it would have been nothing', async () => {
  const GEOIP_DATABASE = await cityDatabase({
    '192.0.2.0': [47.37, 8.54],
    '203.0.113.0': [47.5, 8.72],
    '198.51.100.0': [-33.87, 151.21],
  });
  const { here, admin, member, signIn } = await peopleAtRisk({ GEOIP_DATABASE });
  await signIn(member, AT_HOME);
  await signIn(member, '203.0.113.9');
  await signIn(member, '10.0.0.1');
  await signIn(member, AT_HOME);
  expect(await found(here, admin, 'IMPOSSIBLE_TRAVEL_DETECTED')).toEqual([]);
  await signIn(member, ELSEWHERE);
  const [event, ...others] = await found(here, admin, 'IMPOSSIBLE_TRAVEL_DETECTED');
  expect(others).toEqual([]);
  expect(event).toMatchObject({
    severity: 'ERROR',
    evidence: { totalCount: 2 },
    log: { ipAddress: ELSEWHERE, details: { fromAddress: AT_HOME, minutes: 0 } },
  });
  expect(Math.abs(event!.log.details.kilometres - 16_550)).toBeLessThan(60);
});

test('somebody is made an administrator, and by whom; to become an auditor is no escalation', async () => {
  const { here, admin, member } = await peopleAtRisk();
  await admin.do('changeUserRole', { id: member.id, role: 'AUDITOR' });
  expect(await found(here, admin, 'ROLE_ESCALATION_DETECTED')).toEqual([]);
  await admin.do('changeUserRole', { id: member.id, role: 'TENANT_ADMIN' });
  expect(await found(here, admin, 'ROLE_ESCALATION_DETECTED')).toMatchObject([
    {
      severity: 'ERROR',
      log: {
        resourceId: member.id,
        resourceName: 'A MEMBER',
        details: { from: 'AUDITOR', to: 'TENANT_ADMIN', byUserId: admin.id },
      },
    },
  ]);
});

test('somebody deletes users and branches in a row: the third is too many where a tenant has said so', async () => {
  const { here, admin, set } = await peopleAtRisk();
  await set({ bulkDeletions: 3 });
  const branch = async (code: string) =>
    (await admin.do('createBranch', { name: code, code }, 'branch { id }')).data.branch.id as string;
  const leaver = await here.user(admin, 'MEMBER');
  await admin.do('deleteUser', { id: leaver.id });
  await admin.do('deleteBranch', { id: await branch('ONE') });
  expect(await found(here, admin, 'MASS_DELETION_DETECTED')).toEqual([]);
  for (const code of ['TWO', 'THREE']) await admin.do('deleteBranch', { id: await branch(code) });
  const [event, ...others] = await found(here, admin, 'MASS_DELETION_DETECTED');
  expect(others).toEqual([]);
  expect(event).toMatchObject({
    severity: 'ERROR',
    log: { resourceId: admin.id, details: { windowMinutes: 60 } },
  });
  expect(event!.log.details.records).toBeGreaterThanOrEqual(3);
});

test('somebody carries the log away, one file after the other', async () => {
  const { here, admin, set } = await peopleAtRisk();
  await set({ bulkExports: 2 });
  await admin.do('createAuditExport', { format: 'CSV' });
  expect(await found(here, admin, 'MASS_EXPORT_DETECTED')).toEqual([]);
  await admin.do('createAuditExport', { format: 'NDJSON' });
  expect(await found(here, admin, 'MASS_EXPORT_DETECTED')).toMatchObject([
    { severity: 'ERROR', log: { resourceId: admin.id, details: { records: 2 } } },
  ]);
});

test('a file that is no such database keeps the server from starting, and is named', async () => {
  const started = peopleAtRisk({ GEOIP_DATABASE: '/nowhere/city.mmdb' });
  await expect(started).rejects.toThrow(/GEOIP_DATABASE must be the path of a city database/);
});
