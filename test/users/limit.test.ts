import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { holdLog } from '../world/locks.ts';
import { world } from '../world/server.ts';

const NEW = { email: 'new@example.com', fullName: 'New', role: 'MEMBER' };

test('a subscription’s last place is given once, also when two take it at once; who is deleted gives it back', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  await root.do('updateTenantSubscription', { id: tenantId, maxUsers: 2 });
  const [one, two] = ['one', 'two'].map((name) => ({ ...NEW, email: `${name}@example.com` }));

  const log = await holdLog(here.database.admin);
  const first = admin.do('createUser', one, 'user { id }');
  await log.waiting(1);
  const second = admin.do('createUser', two);
  await log.waiting(2);
  await log.release();

  const { data } = await first;
  const answer = await second;
  expectRefused(answer, 'USER_LIMIT_REACHED');
  await expectRecord(here, root, answer, {
    action: 'USER_CREATED',
    mutation: 'createUser',
    by: asAdmin(admin),
    tenantId,
    severity: 'WARNING',
    failure: 'USER_LIMIT_REACHED',
    details: { email: two!.email, input: two! },
  });
  // Neither does the platform make more than were paid for.
  expectRefused(await root.do('createUser', { ...two, tenantId }), 'USER_LIMIT_REACHED');

  await admin.do('deleteUser', { id: data.user.id });
  expect((await admin.do('createUser', two)).errors).toEqual([]);
});

test('an activated user takes no place: a limit that was lowered shuts nobody out', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  await root.do('updateTenantSubscription', { id: tenantId, maxUsers: 1 });
  await admin.do('deactivateUser', { id: ann.id, reason: 'Away' });

  const answer = await admin.do('activateUser', { id: ann.id }, 'user { status }');

  expect(answer.data.user.status).toBe('ACTIVE');
  await expectRecord(here, root, answer, {
    action: 'USER_ACTIVATED',
    mutation: 'activateUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: ann.id,
    resourceName: 'A MEMBER',
    severity: 'NOTICE',
    changes: [
      ['status', 'INACTIVE', 'ACTIVE'],
      ['statusReason', 'Away', null],
    ],
  });
});
