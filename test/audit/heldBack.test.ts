import { expect, test } from 'vitest';

import { openHeldBack, type Together } from '../../src/audit/heldBack.ts';
import { openClock } from '../../src/platform/ids.ts';
import { openLog } from '../../src/platform/log.ts';
import { world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const WRONG = 'not my password';

test('past so many an interval, throttled attempts share a record an account, and each is counted', async () => {
  const here = await world(
    {},
    { limits: { address: { points: 1, duration: 900 } }, singlyMax: 2, intervalMs: 3_600_000 },
  );
  const { id: tenantId, admin } = await here.tenant();
  const before = new Date().toISOString();
  for (let time = 0; time < 7; time++) await here.signIn(`nobody-${time}@nowhere.example`, WRONG);
  const last = await here.signIn('nobody@nowhere.example', WRONG);
  // The administrator is known at this address, so it is the account's own limit that is reached.
  for (let time = 0; time < 5 + 2 + 3; time++) await here.signIn(admin.email, WRONG);

  await here.stop();

  const left = await here.database.admin`
    select tenant_id, resource_id, request_id, host(ip_address) as ip, failure, details from audit_logs
    where action = 'auth.login_failed' order by id`;
  const reasons = left.map(({ failure }) => failure as string);
  expect(reasons.filter((reason) => reason === 'INVALID_CREDENTIALS')).toHaveLength(1 + 5);
  expect(reasons.filter((reason) => reason === 'TOO_MANY_ATTEMPTS')).toHaveLength(2 + 2 + 2);
  const [strangers, admins] = left.filter(({ details }) => details.attempts);
  expect(strangers).toMatchObject({
    resource_id: null,
    request_id: last.requestId,
    ip: '127.0.0.1',
    failure: 'TOO_MANY_ATTEMPTS',
    details: { attempts: 5 },
  });
  expect(admins).toMatchObject({ tenant_id: tenantId, resource_id: admin.id, details: { attempts: 3 } });
  const { firstAt, lastAt } = strangers!['details'] as Together;
  expect([lastAt, firstAt, before]).toEqual([lastAt, firstAt, before].sort().toReversed());
});

test('nothing is lost by a failure to write', async () => {
  const written: Together[] = [];
  let failing = true;
  const heldBack = openHeldBack({
    clock: openClock(),
    log: openLog({ level: 'silent' }),
    singlyMax: 0,
    intervalMs: 10,
  });
  const write = async (together: Together) => {
    if (failing) throw new Error('no database');
    written.push(together);
  };
  for (let time = 0; time < 3; time++) expect(heldBack.holds('address:a', 'b', write)).toBe(true);
  failing = false;
  await until('they are written', () => written.length > 0);
  expect(written).toMatchObject([{ attempts: 3 }]);
  await heldBack.stop();
});
