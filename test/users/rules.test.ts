import { expect, test } from 'vitest';

import type { AuditAction, ErrorReason } from '../../src/generated/types.ts';
import { asAdmin, asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { world } from '../world/server.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const NEW = { email: 'new@example.com', fullName: 'New', role: 'MEMBER' };

/** Every change of a user, with an input for it. */
const changesOf = (id: string) =>
  [
    ['updateUser', 'USER_UPDATED', { id, fullName: 'Changed' }],
    ['changeUserRole', 'USER_ROLE_CHANGED', { id, role: 'AUDITOR' }],
    ['activateUser', 'USER_ACTIVATED', { id }],
    ['deactivateUser', 'USER_DEACTIVATED', { id, reason: 'Because' }],
    ['deleteUser', 'USER_DELETED', { id }],
  ] as const;

test('a user of others and one that never was are refused alike, and the record stays at home', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const other = await here.tenant('Other');
  const gone = await here.user(admin, 'MEMBER');
  await admin.do('deleteUser', { id: gone.id });

  for (const id of [other.admin.id, root.id, gone.id, NOBODY, 'not an id']) {
    for (const [mutation, action, input] of changesOf(id)) {
      const answer = await admin.do(mutation, input);
      expectRefused(answer, 'USER_NOT_FOUND');
      await expectRecord(here, admin, answer, {
        action,
        mutation,
        by: asAdmin(admin),
        tenantId,
        resourceId: id === 'not an id' ? null : id,
        severity: 'WARNING',
        security: action === 'USER_ROLE_CHANGED',
        failure: 'USER_NOT_FOUND',
        details: { input },
      });
    }
  }
});

test('what a user is already is refused', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  const out = await here.user(admin, 'AUDITOR');
  await admin.do('deactivateUser', { id: out.id, reason: 'Left' });

  const refused = [
    ['changeUserRole', 'USER_ROLE_CHANGED', { id: ann.id, role: 'MEMBER' }, 'STATE_UNCHANGED'],
    ['activateUser', 'USER_ACTIVATED', { id: ann.id }, 'STATE_UNCHANGED'],
    ['deactivateUser', 'USER_DEACTIVATED', { id: out.id, reason: 'Again' }, 'STATE_UNCHANGED'],
    ['deactivateUser', 'USER_DEACTIVATED', { id: ann.id, reason: 'x'.repeat(501) }, 'INVALID_INPUT'],
  ] as const;
  for (const [mutation, action, input, failure] of refused) {
    const answer = await admin.do(mutation, input);
    expect(answer.errors[0]?.extensions.reason).toBe(failure);
    await expectRecord(here, admin, answer, {
      action,
      mutation,
      by: asAdmin(admin),
      tenantId,
      resourceId: input.id,
      resourceName: input.id === ann.id ? 'A MEMBER' : 'A AUDITOR',
      severity: 'WARNING',
      security: action === 'USER_ROLE_CHANGED',
      failure,
      details: { input },
    });
  }
});

test('an administrator of a tenant makes nobody a super administrator, and no super administrator becomes less', async () => {
  const here = await world();
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  const peer = await here.user(root, 'SUPER_ADMIN');

  const created = await admin.do('createUser', { ...NEW, role: 'SUPER_ADMIN' });
  const raised = await admin.do('changeUserRole', { id: ann.id, role: 'SUPER_ADMIN' });
  const raisedByRoot = await root.do('changeUserRole', { id: ann.id, role: 'SUPER_ADMIN' });
  const lowered = await root.do('changeUserRole', { id: peer.id, role: 'MEMBER' });

  for (const answer of [created, raised, raisedByRoot, lowered]) expectRefused(answer, 'ROLE_NOT_GRANTABLE');
  await expectRecord(here, admin, raised, {
    action: 'USER_ROLE_CHANGED',
    mutation: 'changeUserRole',
    by: asAdmin(admin),
    tenantId,
    resourceId: ann.id,
    resourceName: 'A MEMBER',
    severity: 'WARNING',
    security: true,
    failure: 'ROLE_NOT_GRANTABLE',
    details: { input: { id: ann.id, role: 'SUPER_ADMIN' } },
  });
});

test('a user is made where its maker may: at home, or by the platform where it says', async () => {
  const here = await world();
  const root = await here.root();
  const { admin, id } = await here.tenant();
  const other = await here.tenant('Other');
  const gone = await here.tenant('Gone');
  await root.do('deleteTenant', { id: gone.id });

  expect(
    (await admin.do('createUser', { ...NEW, tenantId: id }, 'user { tenantId }')).data.user.tenantId,
  ).toBe(id);
  for (const tenantId of [other.id, NOBODY, 'not an id']) {
    expectRefused(await admin.do('createUser', { ...NEW, tenantId }), 'TENANT_NOT_FOUND');
  }
  expectRefused(await root.do('createUser', { ...NEW, tenantId: gone.id }), 'TENANT_NOT_FOUND');
  expectRefused(await root.do('createUser', NEW), 'INVALID_INPUT', {
    tenantId: 'must name the tenant',
  });
  expectRefused(await root.do('createUser', { ...NEW, role: 'SUPER_ADMIN', tenantId: id }), 'INVALID_INPUT', {
    tenantId: 'must be absent: a super administrator belongs to no tenant',
  });
});

test('a member changes only itself, and learns nothing of others from the refusal', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  const elsewhere = await here.tenant('Other');

  for (const id of [admin.id, elsewhere.admin.id, NOBODY, 'not an id']) {
    const answer = await ann.do('updateUser', { id, fullName: 'Mine' });
    expectRefused(answer, 'SCOPE_MISSING');
    await expectRecord(here, admin, answer, {
      action: 'USER_UPDATED',
      mutation: 'updateUser',
      by: asUser(ann, 'MEMBER'),
      tenantId,
      resourceId: id === 'not an id' ? null : id,
      severity: 'WARNING',
      security: true,
      failure: 'SCOPE_MISSING',
      details: { input: { id, fullName: 'Mine' } },
    });
  }
  expect(
    (await ann.do('updateUser', { id: ann.id, fullName: 'Ann' }, 'user { fullName }')).data.user,
  ).toEqual({
    fullName: 'Ann',
  });
});

test.each(['MEMBER', 'AUDITOR', 'BRANCH_MANAGER'] as const)(
  'a %s changes no other user and makes none, and every attempt is a security event',
  async (role) => {
    const here = await world();
    const { id: tenantId, admin } = await here.tenant();
    const person = await here.user(admin, role);
    const victim = await here.user(admin, 'MEMBER');
    const attempts: (readonly [string, AuditAction, Record<string, unknown>])[] = [
      ['createUser', 'USER_CREATED', NEW],
      ...changesOf(victim.id),
      // Not even itself, but for a member's own profile.
      ...changesOf(person.id).slice(role === 'MEMBER' ? 1 : 0),
    ];

    for (const [mutation, action, input] of attempts) {
      const answer = await person.do(mutation, input);
      expectRefused(answer, 'SCOPE_MISSING' satisfies ErrorReason);
      await expectRecord(here, admin, answer, {
        action,
        mutation,
        by: asUser(person, role),
        tenantId,
        resourceId: (input.id as string | undefined) ?? null,
        severity: 'WARNING',
        security: true,
        failure: 'SCOPE_MISSING',
        details: { input, ...(input.email === undefined ? {} : { email: input.email }) },
      });
    }
    const rows = await here.database.admin`
      select id, full_name, role, status from users where tenant_id = ${tenantId} order by id`;
    expect(rows.map(({ id, ...rest }) => [id, Object.values(rest)])).toEqual([
      [admin.id, ['Admin of Acme', 'TENANT_ADMIN', 'ACTIVE']],
      [person.id, [`A ${role}`, role, 'ACTIVE']],
      [victim.id, ['A MEMBER', 'MEMBER', 'ACTIVE']],
    ]);
  },
);

test('nobody in particular changes nothing, and the attempt is on the platform’s record', async () => {
  const here = await world();
  const root = await here.root();
  const { admin } = await here.tenant();

  for (const [mutation, action, input] of changesOf(admin.id)) {
    const answer = await here.anybody.do(mutation, input);
    expectRefused(answer, 'SIGN_IN_REQUIRED');
    await expectRecord(here, root, answer, {
      action,
      mutation,
      tenantId: null,
      resourceId: admin.id,
      severity: 'WARNING',
      security: action === 'USER_ROLE_CHANGED',
      failure: 'SIGN_IN_REQUIRED',
      details: { input: action === 'USER_UPDATED' ? { id: admin.id } : input },
    });
  }
});
