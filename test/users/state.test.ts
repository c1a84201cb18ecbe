import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { PASSWORD, world } from '../world/server.ts';

test('changeUserRole counts from the next request on, and the record says from what to what', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  expect((await ann.ask('{ auditLogs { totalCount } }')).errors[0]?.extensions.code).toBe('FORBIDDEN');

  const answer = await admin.do('changeUserRole', { id: ann.id, role: 'AUDITOR' }, 'user { role }');

  expect(answer.data.user.role).toBe('AUDITOR');
  await expectRecord(here, admin, answer, {
    action: 'USER_ROLE_CHANGED',
    mutation: 'changeUserRole',
    by: asAdmin(admin),
    tenantId,
    resourceId: ann.id,
    resourceName: 'A MEMBER',
    severity: 'WARNING',
    security: true,
    changes: [['role', 'MEMBER', 'AUDITOR']],
  });
  expect((await ann.ask('{ auditLogs { totalCount } }')).errors).toEqual([]);
});

test('deactivateUser ends every session and says why; activateUser lets the user in again', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  const record = { by: asAdmin(admin), tenantId, resourceId: ann.id, resourceName: 'A MEMBER' } as const;

  const input = { id: ann.id, reason: 'Left the company' };
  const out = await admin.do('deactivateUser', input, 'user { status statusReason }');
  expect(out.data.user).toEqual({ status: 'INACTIVE', statusReason: input.reason });
  await expectRecord(here, admin, out, {
    ...record,
    action: 'USER_DEACTIVATED',
    mutation: 'deactivateUser',
    severity: 'WARNING',
    details: { reason: input.reason },
    changes: [
      ['status', 'ACTIVE', 'INACTIVE'],
      ['statusReason', null, input.reason],
    ],
  });
  expect((await ann.ask('{ me { id } }')).errors[0]?.extensions.code).toBe('UNAUTHENTICATED');
  expectRefused(await here.signIn(ann.email, PASSWORD), 'USER_INACTIVE');

  const back = await admin.do('activateUser', { id: ann.id }, 'user { status statusReason }');
  expect(back.data.user).toEqual({ status: 'ACTIVE', statusReason: null });
  await expectRecord(here, admin, back, {
    ...record,
    action: 'USER_ACTIVATED',
    mutation: 'activateUser',
    severity: 'NOTICE',
    changes: [
      ['status', 'INACTIVE', 'ACTIVE'],
      ['statusReason', input.reason, null],
    ],
  });
  // The sessions that were ended stay so.
  expect((await ann.ask('{ me { id } }')).errors[0]?.extensions.reason).toBe('SESSION_REVOKED');
  expect((await here.signIn(ann.email, PASSWORD)).data.user.id).toBe(ann.id);
});

test('deleteUser keeps the row, shows the user nowhere, and frees the e-mail', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');

  const answer = await admin.do('deleteUser', { id: ann.id }, 'user { id fullName tenant { id } }');

  expect(answer.data.user).toEqual({ id: ann.id, fullName: 'A MEMBER', tenant: { id: tenantId } });
  await expectRecord(here, admin, answer, {
    action: 'USER_DELETED',
    mutation: 'deleteUser',
    by: asAdmin(admin),
    tenantId,
    resourceId: ann.id,
    resourceName: 'A MEMBER',
    severity: 'WARNING',
    changes: [['deletedAt', null, expect.stringMatching(/^\d{4}-.*\.\d{6}Z$/)]],
  });
  const [row] = await here.database.admin`select email, deleted_at from users where id = ${ann.id}`;
  expect(row).toEqual({ email: ann.email, deleted_at: expect.any(Date) as Date });
  expectRefused(await here.signIn(ann.email, PASSWORD), 'INVALID_CREDENTIALS');
  for (const reader of [root, admin]) {
    const seen = await reader.ask(
      `query ($id: ID!, $tenant: ID!) {
        user(id: $id) { id } node(id: $id) { id } users(tenantId: $tenant) { totalCount nodes { id } }
        auditLogs(filter: { userId: $id }) { nodes { userId user { id } } }
      }`,
      { id: ann.id, tenant: tenantId },
    );
    const { user, node, users, auditLogs } = seen.data;
    expect({ user, node, users }).toEqual({
      user: null,
      node: null,
      users: { totalCount: 1, nodes: [{ id: admin.id }] },
    });
    expect(auditLogs.nodes[0]).toEqual({ userId: ann.id, user: null });
  }
  const again = { email: ann.email, fullName: 'Another', role: 'MEMBER' };
  expect((await admin.do('createUser', again, 'user { id }')).data.user.id).not.toBe(ann.id);
});
