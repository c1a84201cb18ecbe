import { expect, test } from 'vitest';

import type { InputOf, Mutations } from '../../src/audit/act.ts';
import { MUTATIONS } from '../../src/generated/catalogue.ts';
import { tokenHash } from '../../src/platform/crypto.ts';
import { expectRefused, sessionOf } from '../world/auditRecord.ts';
import { businessRows } from '../world/business.ts';
import { PASSWORD, type Person, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';

/** SECURITY.md R3. */
const ANSWER_MS_MAX = 2_000;

const FAULTS = {
  'INSERT is revoked': [
    'revoke insert on audit_logs from custos_app',
    'grant insert on audit_logs to custos_app',
  ],
  'the table is gone': [
    'alter table audit_logs rename to audit_logs_away',
    'alter table audit_logs_away rename to audit_logs',
  ],
} as const;

test.each(Object.entries(FAULTS))(
  'while the log cannot be written because %s, every mutation fails and changes nothing; then all work again',
  async (_name, [fault, repair]) => {
    const here = await world();
    const calls = await callsOf(here);
    const reader = await here.root();
    const before = await businessRows(here.database);
    await here.database.admin.unsafe(fault);

    for (const [mutation, { by, input }] of Object.entries(calls)) {
      const begun = performance.now();
      const answer = await by.do(mutation, input);
      expect({ mutation, ms: performance.now() - begun }).toEqual({
        mutation,
        ms: expect.toSatisfy((ms: number) => ms < ANSWER_MS_MAX) as number,
      });
      expectRefused(answer, 'LOG_NOT_WRITTEN');
    }
    expect(await businessRows(here.database)).toEqual(before);
    const read = await reader.ask('{ me { id } users { totalCount } tenants { totalCount } }');
    expect(read.errors).toEqual([]);

    await here.database.admin.unsafe(repair);
    for (const [mutation, { by, input }] of Object.entries(calls)) {
      const answer = await by.do(mutation, input);
      expect({ mutation, errors: answer.errors, receipts: answer.data?.receipts.length }).toEqual({
        mutation,
        errors: [],
        receipts: mutation === 'register' ? 2 : 1,
      });
    }
    // And the sealer goes on, too.
    await until('all records are sealed', async () => {
      const [row] = await here.database.admin`
        select (select pos from audit_sealer) = (select count(*) from audit_logs) as sealed`;
      return row!.sealed as boolean;
    });
  },
);

test('a refusal that cannot be put on record is not told either', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();
  await here.database.admin`revoke insert on audit_logs from custos_app`;

  expectRefused(await admin.do('deleteTenant', { id }), 'LOG_NOT_WRITTEN');
  expectRefused(await here.signIn(admin.email, 'wrong password'), 'LOG_NOT_WRITTEN');
  expectRefused(await here.anybody.do('updateTenant', { id }), 'LOG_NOT_WRITTEN');
});

/** A call that succeeds, for each mutation there is: a new one does not compile without. */
type Calls = { [M in Mutations]: { by: Pick<Person, 'do'>; input: InputOf<M> } };

async function callsOf(here: World): Promise<Calls> {
  const root = await here.root();
  const { id: tenantId, admin } = await here.tenant();
  const [off, gone] = [await here.tenant('Off'), await here.tenant('Gone')];
  await root.do('deactivateTenant', { id: off.id, reason: 'Unpaid' });
  const [ann, bob, cid, dan] = [
    await here.user(admin, 'MEMBER'),
    await here.user(admin, 'MEMBER'),
    await here.user(admin, 'MEMBER'),
    await here.user(admin, 'MEMBER'),
  ];
  await admin.do('deactivateUser', { id: cid.id, reason: 'Away' });
  const invited = await admin.do('inviteUser', { email: 'eve@example.com', role: 'MEMBER' }, 'user { id }');
  const place = async (code: string) =>
    (await admin.do('createBranch', { name: code, code }, 'branch { id }')).data.branch.id as string;
  const [open, closed] = [await place('OPEN'), await place('CLOSED')];
  await admin.do('deactivateBranch', { id: closed });
  const elsewhere = await here.signIn(dan.email, PASSWORD);
  const sessionId = sessionOf({ ...dan, token: elsewhere.data.accessToken as string });
  await ann.do('deleteTenant', { id: tenantId });
  const events = await admin.ask('{ securityEvents(first: 1) { nodes { id } } }');
  const event = { id: events.data.securityEvents.nodes[0].id as string };
  const token = 'a-token-from-a-mail';
  const mailed = [
    ['PASSWORD_RESET', dan.id],
    ['EMAIL_VERIFICATION', bob.id],
    ['INVITATION', invited.data.user.id as string],
  ] as const;
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    for (const [purpose, userId] of mailed)
      await sql`insert into mailed_tokens (tenant_id, hash, user_id, purpose, created_at, expires_at)
        values (${tenantId}, ${tokenHash(token + purpose)}, ${userId}, ${purpose}, now(), now() + interval '1 hour')`;
  });
  const held = await root.do('placeLegalHold', { tenantId: gone.id, reason: 'Trial' }, 'legalHold { id }');
  const leaver = await here.user(admin, 'MEMBER');
  const newHook = async () => {
    const { data } = await admin.do(
      'createWebhook',
      { url: ALLOWED_TARGET, format: 'NATIVE' },
      'webhook { id }',
    );
    return data.webhook.id as string;
  };
  const hook = await newHook();
  const key = await admin.do('createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] }, 'apiKey { id }');
  await admin.do('registerEventType', { name: 'a.a', schema: {} });
  const person = { email: 'new@example.com', fullName: 'New' };
  const calls: Calls = {
    createApiKey: { by: admin, input: { name: 'Key', scopes: ['AUDIT_READ'] } },
    revokeApiKey: { by: admin, input: { id: key.data.apiKey.id as string } },
    registerEventType: { by: admin, input: { name: 'a.b', schema: {} } },
    recordAuditEvents: { by: admin, input: { events: [{ type: 'a.a', idempotencyKey: 'one' }] } },
    createWebhook: { by: admin, input: { url: ALLOWED_TARGET, format: 'NATIVE' } },
    updateWebhook: { by: admin, input: { id: hook, description: 'Other' } },
    deleteWebhook: { by: admin, input: { id: await newHook() } },
    resumeWebhook: { by: admin, input: { id: hook } },
    replayWebhook: { by: admin, input: { id: hook, from: '2020-01-01T00:00:00Z' } },
    testWebhook: { by: admin, input: { id: hook } },
    setAuditRetention: { by: root, input: { tenantId, days: 365 } },
    placeLegalHold: { by: root, input: { tenantId, userId: admin.id, reason: 'Trial' } },
    releaseLegalHold: { by: root, input: { id: held.data.legalHold.id as string, reason: 'Over' } },
    eraseSubject: { by: admin, input: { userId: leaver.id, reason: 'Asked for' } },
    createAuditExport: { by: admin, input: { format: 'CSV' } },
    login: { by: here.anybody, input: { email: ann.email, password: PASSWORD } },
    refreshToken: { by: here.anybody, input: { refreshToken: admin.refreshToken } },
    register: {
      by: here.anybody,
      input: { ...person, tenantName: 'New', subdomain: 'new', password: PASSWORD },
    },
    forgotPassword: { by: here.anybody, input: { email: ann.email } },
    revokeSession: { by: dan, input: { sessionId } },
    revokeOtherSessions: { by: dan, input: undefined },
    resendVerification: { by: dan, input: undefined },
    resetPassword: {
      by: here.anybody,
      input: { token: `${token}PASSWORD_RESET`, newPassword: 'another password' },
    },
    verifyEmail: { by: here.anybody, input: { token: `${token}EMAIL_VERIFICATION` } },
    acceptInvitation: {
      by: here.anybody,
      input: { token: `${token}INVITATION`, password: PASSWORD, fullName: 'Eve' },
    },
    changePassword: { by: ann, input: { currentPassword: PASSWORD, newPassword: 'another password' } },
    logout: { by: ann, input: undefined },
    createTenant: { by: root, input: { name: 'Newer', subdomain: 'newer' } },
    updateTenant: { by: admin, input: { id: tenantId, name: 'Acme & Co' } },
    updateTenantSubscription: { by: root, input: { id: tenantId, maxUsers: 100 } },
    activateTenant: { by: root, input: { id: off.id } },
    deactivateTenant: { by: root, input: { id: gone.id, reason: 'Unpaid' } },
    deleteTenant: { by: root, input: { id: gone.id } },
    createUser: { by: admin, input: { ...person, role: 'MEMBER' } },
    updateSettings: { by: admin, input: { organisation: { displayName: 'Acme' } } },
    createBranch: { by: admin, input: { name: 'New', code: 'NEW' } },
    updateBranch: { by: admin, input: { id: open, name: 'Newer' } },
    activateBranch: { by: admin, input: { id: closed } },
    setUserBranches: { by: admin, input: { id: bob.id, branchIds: [open] } },
    deactivateBranch: { by: admin, input: { id: open } },
    deleteBranch: { by: admin, input: { id: open } },
    acknowledgeSecurityEvent: { by: admin, input: event },
    resolveSecurityEvent: { by: admin, input: event },
    inviteUser: { by: admin, input: { email: 'fay@example.com', role: 'MEMBER' } },
    startPasswordReset: { by: admin, input: { id: bob.id } },
    revokeUserSessions: { by: admin, input: { id: bob.id } },
    unlockAccount: { by: admin, input: { id: bob.id } },
    updateUser: { by: admin, input: { id: bob.id, fullName: 'Bob' } },
    changeUserRole: { by: admin, input: { id: bob.id, role: 'AUDITOR' } },
    activateUser: { by: admin, input: { id: cid.id } },
    deactivateUser: { by: admin, input: { id: bob.id, reason: 'Left' } },
    deleteUser: { by: admin, input: { id: bob.id } },
  };
  expect(Object.keys(calls).sort()).toEqual(Object.keys(MUTATIONS).sort());
  return calls;
}
