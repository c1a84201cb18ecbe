/** Every action there is, done once and refused once through the API, and what is on record of it. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';

import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditAction, ErrorReason } from '../../src/generated/types.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';
import { makersOn, setStage, type Stage } from '../world/matrixStage.ts';
import { type Answer, PASSWORD, type Person } from '../world/server.ts';
import { asOwner } from '../world/ledger.ts';
import { until } from '../world/wait.ts';

const PROOFS_MS_MAX = 60_000;
const FAILURES_A_DETECTION = 3;

/** A call, and what is on record of it besides its action. */
interface Call {
  readonly by: Pick<Person, 'ask' | 'do'> & { readonly id?: string };
  readonly mutation: string;
  readonly input?: object;
  readonly selection?: string;
  /** The row it is about; a function where the call makes it. */
  readonly about?: string | ((payload: Answer['data']) => string);
  /** Whose log tells of it: the first tenant's unless told; a function where the call makes it. */
  readonly log?: string | null | ((payload: Answer['data']) => string);
  /** Who acted, where it is not the caller; null is nobody. */
  readonly actor?: string | null;
  readonly reason?: ErrorReason;
}

interface Proof {
  /** Absent where the action says that something failed. */
  readonly done?: () => Promise<Call> | Call;
  /** Absent where nothing can fail. */
  readonly refused?: () => Promise<Call> | Call;
}

/** A new action does not compile without its proof: a call, a detection below, or a scenario of test/security/scenarios.test.ts. */
type Proofs = { readonly [A in AuditAction]: Proof | 'DETECTION' | 'SCENARIO' };

function proofsOf(stage: Stage): Proofs {
  const { here, root, home, stranger, near } = stage;
  const { admin } = home;
  const make = makersOn(stage);
  const nobody = here.anybody;
  const missing = randomUUID();
  const email = () => `${randomUUID()}@people.example`;
  const by = (who: Person, mutation: string, input: object, about?: Call['about']): Call => ({
    by: who,
    mutation,
    input,
    ...(about ? { about } : {}),
  });
  const not = (reason: ErrorReason, who: Call['by'], mutation: string, input?: object): Call => ({
    by: who,
    mutation,
    ...(input ? { input } : {}),
    ...(who.id === undefined ? { log: null, actor: null } : {}),
    reason,
  });
  const onUser = (mutation: string, user: () => Promise<string>, more: object = {}): Proof => ({
    done: async () => {
      const id = await user();
      return by(admin, mutation, { id, ...more }, id);
    },
    refused: () => ({
      ...not('USER_NOT_FOUND', admin, mutation, { id: missing, ...more }),
      about: missing,
    }),
  });
  const onBranch = (mutation: string, branch: () => Promise<string>, more: object = {}): Proof => ({
    done: async () => {
      const id = await branch();
      return by(admin, mutation, { id, ...more }, id);
    },
    refused: () => ({
      ...not('BRANCH_NOT_FOUND', admin, mutation, { id: missing, ...more }),
      about: missing,
    }),
  });
  const onTenant = (mutation: string, tenant: () => Promise<string>, more: object = {}): Proof => ({
    done: async () => {
      const id = await tenant();
      return { ...by(root, mutation, { id, ...more }, id), log: id };
    },
    refused: () => ({
      ...not('SCOPE_MISSING', stranger, mutation, { id: home.id, ...more }),
      about: home.id,
    }),
  });
  const onEvent = (mutation: string): Proof => ({
    done: async () => ({
      ...by(admin, mutation, { id: await make.newEvent(), note: 'Seen' }),
      selection: 'securityEvent { id }',
      about: ({ securityEvent }) => securityEvent.id as string,
    }),
    refused: () => ({ ...not('SECURITY_EVENT_NOT_FOUND', admin, mutation, { id: missing }), about: missing }),
  });

  const onWebhook = (mutation: string, more: object = {}): Proof => ({
    done: async () => {
      const id = await make.newWebhook();
      return by(admin, mutation, { id, ...more }, id);
    },
    refused: () => ({
      ...not('WEBHOOK_NOT_FOUND', admin, mutation, { id: missing, ...more }),
      about: missing,
    }),
  });

  return {
    LOGIN: {
      done: async () => {
        const person = await make.newPerson();
        const input = { email: person.email, password: PASSWORD };
        return { by: nobody, mutation: 'login', input, about: person.id, actor: person.id };
      },
    },
    LOGIN_FAILED: {
      refused: async () => {
        const person = await make.newPerson();
        const input = { email: person.email, password: 'wrong password' };
        return { ...not('INVALID_CREDENTIALS', nobody, 'login', input), about: person.id, log: home.id };
      },
    },
    LOGOUT: {
      done: async () => {
        const person = await make.newPerson();
        return { by: person, mutation: 'logout', about: sessionOf(person) };
      },
      refused: () => not('SIGN_IN_REQUIRED', nobody, 'logout'),
    },
    PASSWORD_RESET_REQUEST: onUser('startPasswordReset', make.newUser),
    PASSWORD_RESET: {
      done: async () => {
        const id = await make.newUser();
        const input = { token: await make.mailedToken(id, 'PASSWORD_RESET'), newPassword: PASSWORD };
        return { by: nobody, mutation: 'resetPassword', input, about: id, actor: null };
      },
      refused: () => not('TOKEN_INVALID', nobody, 'resetPassword', { token: 'x', newPassword: PASSWORD }),
    },
    PASSWORD_CHANGED: {
      done: async () => {
        const person = await make.newPerson();
        const input = { currentPassword: PASSWORD, newPassword: 'another battery staple' };
        return by(person, 'changePassword', input, person.id);
      },
      refused: () =>
        not('INVALID_CREDENTIALS', stranger, 'changePassword', {
          currentPassword: 'wrong password',
          newPassword: 'another battery staple',
        }),
    },
    EMAIL_VERIFICATION_REQUESTED: {
      done: async () => {
        const person = await make.newPerson();
        return { by: person, mutation: 'resendVerification', about: person.id };
      },
      refused: () => not('SIGN_IN_REQUIRED', nobody, 'resendVerification'),
    },
    EMAIL_VERIFIED: {
      done: async () => {
        const id = await make.newUser();
        const input = { token: await make.mailedToken(id, 'EMAIL_VERIFICATION') };
        return { by: nobody, mutation: 'verifyEmail', input, about: id, actor: null };
      },
      refused: () => not('TOKEN_INVALID', nobody, 'verifyEmail', { token: 'x' }),
    },
    INVITATION_ACCEPTED: {
      done: async () => {
        const id = await make.invitedUser();
        const token = await make.mailedToken(id, 'INVITATION');
        const input = { token, password: PASSWORD, fullName: 'New' };
        return { by: nobody, mutation: 'acceptInvitation', input, about: id, actor: id };
      },
      refused: () =>
        not('TOKEN_INVALID', nobody, 'acceptInvitation', { token: 'x', password: PASSWORD, fullName: 'New' }),
    },
    SESSION_REVOKED: {
      done: async () => {
        const person = await make.newPerson();
        const sessionId = await make.anotherSession(person);
        return by(person, 'revokeSession', { sessionId }, sessionId);
      },
      refused: () => not('SESSION_NOT_FOUND', stranger, 'revokeSession', { sessionId: missing }),
    },
    ACCOUNT_UNLOCKED: onUser('unlockAccount', make.newUser),
    TOKEN_REFRESHED: {
      done: async () => {
        const person = await make.newPerson();
        const input = { refreshToken: person.refreshToken };
        return { by: nobody, mutation: 'refreshToken', input, about: sessionOf(person), actor: person.id };
      },
      refused: () => not('TOKEN_INVALID', nobody, 'refreshToken', { refreshToken: 'x' }),
    },
    TOKEN_REUSE_DETECTED: {
      refused: async () => {
        const person = await make.newPerson();
        const input = { refreshToken: person.refreshToken };
        await nobody.do('refreshToken', input);
        return {
          ...not('TOKEN_REUSED', nobody, 'refreshToken', input),
          about: sessionOf(person),
          log: home.id,
        };
      },
    },

    TENANT_CREATED: {
      done: () => ({
        ...by(root, 'createTenant', { name: 'New', subdomain: make.uniqueName() }),
        selection: 'tenant { id }',
        about: ({ tenant }) => tenant.id as string,
        log: ({ tenant }) => tenant.id as string,
      }),
      refused: () => ({
        ...not('SUBDOMAIN_TAKEN', root, 'createTenant', { name: 'New', subdomain: home.subdomain }),
        log: null,
      }),
    },
    TENANT_UPDATED: onTenant('updateTenant', make.newTenant, { name: 'Renamed' }),
    TENANT_DELETED: onTenant('deleteTenant', make.newTenant),
    TENANT_ACTIVATED: onTenant('activateTenant', make.closedTenant),
    TENANT_DEACTIVATED: onTenant('deactivateTenant', make.newTenant, { reason: 'Unpaid' }),
    TENANT_SUBSCRIPTION_CHANGED: onTenant('updateTenantSubscription', make.newTenant, { tier: 'ENTERPRISE' }),

    USER_CREATED: {
      done: () => ({
        ...by(admin, 'createUser', { email: email(), fullName: 'New' }),
        selection: 'user { id }',
        about: ({ user }) => user.id as string,
      }),
      refused: () => not('EMAIL_TAKEN', admin, 'createUser', { email: stranger.email, fullName: 'New' }),
    },
    USER_UPDATED: onUser('updateUser', make.newUser, { fullName: 'Renamed' }),
    USER_DELETED: onUser('deleteUser', make.newUser),
    USER_ACTIVATED: onUser('activateUser', make.sleepingUser),
    USER_DEACTIVATED: onUser('deactivateUser', make.newUser, { reason: 'Left' }),
    USER_ROLE_CHANGED: onUser('changeUserRole', make.newUser, { role: 'AUDITOR' }),
    USER_INVITED: {
      done: () => ({
        ...by(admin, 'inviteUser', { email: email() }),
        selection: 'user { id }',
        about: ({ user }) => user.id as string,
      }),
      refused: () => ({
        ...not('EMAIL_TAKEN', admin, 'inviteUser', { email: stranger.email }),
        about: stranger.id,
      }),
    },
    USER_BRANCHES_CHANGED: onUser('setUserBranches', make.newUser, { branchIds: [near] }),

    BRANCH_CREATED: {
      done: () => ({
        ...by(admin, 'createBranch', { name: 'New', code: make.uniqueCode() }),
        selection: 'branch { id }',
        about: ({ branch }) => branch.id as string,
      }),
      refused: () => not('INVALID_INPUT', admin, 'createBranch', { name: '', code: make.uniqueCode() }),
    },
    BRANCH_UPDATED: onBranch('updateBranch', make.newBranch, { name: 'Renamed' }),
    BRANCH_DELETED: onBranch('deleteBranch', make.newBranch),
    BRANCH_ACTIVATED: onBranch('activateBranch', make.closedBranch),
    BRANCH_DEACTIVATED: onBranch('deactivateBranch', make.newBranch),

    SETTINGS_UPDATED: {
      done: () => {
        const security = {
          failedLoginsPerAccount: FAILURES_A_DETECTION,
          failedLoginsPerAddress: FAILURES_A_DETECTION,
        };
        return by(admin, 'updateSettings', { security }, home.id);
      },
      refused: () =>
        not('SCOPE_MISSING', stranger, 'updateSettings', { organisation: { displayName: 'Mine' } }),
    },

    ACCOUNT_BRUTE_FORCE_DETECTED: 'DETECTION',
    ADDRESS_BRUTE_FORCE_DETECTED: 'DETECTION',
    SUCCESS_AFTER_FAILURES_DETECTED: 'DETECTION',
    LEDGER_FAULT_DETECTED: 'DETECTION',
    PASSWORD_SPRAY_DETECTED: 'SCENARIO',
    NEW_ADDRESS_DETECTED: 'SCENARIO',
    NEW_DEVICE_DETECTED: 'SCENARIO',
    DORMANT_ACCOUNT_DETECTED: 'SCENARIO',
    IMPOSSIBLE_TRAVEL_DETECTED: 'SCENARIO',
    ROLE_ESCALATION_DETECTED: 'SCENARIO',
    MASS_DELETION_DETECTED: 'SCENARIO',
    MASS_EXPORT_DETECTED: 'SCENARIO',
    SECURITY_EVENT_ACKNOWLEDGED: onEvent('acknowledgeSecurityEvent'),
    SECURITY_EVENT_RESOLVED: onEvent('resolveSecurityEvent'),
    AUDIT_EXPORT_CREATED: {
      done: () => ({
        ...by(admin, 'createAuditExport', { format: 'CSV' }),
        selection: 'auditExport { id }',
        about: ({ auditExport }) => auditExport.id as string,
      }),
      refused: () => not('SCOPE_MISSING', stranger, 'createAuditExport', { format: 'CSV' }),
    },
    API_KEY_CREATED: {
      done: () => ({
        ...by(admin, 'createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] }),
        selection: 'apiKey { id }',
        about: ({ apiKey }) => apiKey.id as string,
      }),
      refused: () => not('INVALID_INPUT', admin, 'createApiKey', { name: 'Key', scopes: ['USERS_WRITE'] }),
    },
    API_KEY_REVOKED: {
      done: async () => {
        const id = await make.newKey();
        return by(admin, 'revokeApiKey', { id }, id);
      },
      refused: () => ({
        ...not('API_KEY_NOT_FOUND', admin, 'revokeApiKey', { id: missing }),
        about: missing,
      }),
    },
    EVENT_TYPE_REGISTERED: {
      done: () => ({
        ...by(admin, 'registerEventType', { name: 'shop.returned', schema: {} }),
        selection: 'eventType { id }',
        about: ({ eventType }) => eventType.id as string,
      }),
      refused: () => not('INVALID_INPUT', admin, 'registerEventType', { name: 'Sold', schema: {} }),
    },
    AUDIT_EVENTS_RECORDED: {
      done: async () => ({
        ...by(root, 'recordAuditEvents', { tenantId: home.id, events: await make.knownEvents() }),
      }),
      refused: () =>
        not('INVALID_INPUT', admin, 'recordAuditEvents', {
          events: [{ type: 'no.such', idempotencyKey: '1' }],
        }),
    },
    EXTERNAL_EVENT: 'SCENARIO',
    WEBHOOK_CREATED: {
      done: () => ({
        ...by(admin, 'createWebhook', { url: ALLOWED_TARGET }),
        selection: 'webhook { id }',
        about: ({ webhook }) => webhook.id as string,
      }),
      refused: () => not('INVALID_INPUT', admin, 'createWebhook', { url: 'https://10.0.0.1/' }),
    },
    WEBHOOK_UPDATED: onWebhook('updateWebhook', { description: 'Ours' }),
    WEBHOOK_DELETED: onWebhook('deleteWebhook'),
    WEBHOOK_RESUMED: onWebhook('resumeWebhook'),
    WEBHOOK_REPLAYED: onWebhook('replayWebhook', { fromPosition: 0 }),
    WEBHOOK_TESTED: onWebhook('testWebhook'),
    WEBHOOK_PAUSED: 'SCENARIO',
    AUDIT_RETENTION_CHANGED: {
      done: () => by(root, 'setAuditRetention', { tenantId: home.id, days: 365 }, home.id),
      refused: () => not('SCOPE_MISSING', admin, 'setAuditRetention', { days: 365 }),
    },
    AUDIT_LOG_DROPPED: 'SCENARIO',
    AUDIT_RETENTION_RUN: 'SCENARIO',
    AUDIT_READS_SEALED: 'SCENARIO',
    LEGAL_HOLD_PLACED: {
      done: () => ({
        ...by(root, 'placeLegalHold', { tenantId: home.id, userId: stranger.id, reason: 'Trial' }),
        selection: 'legalHold { id }',
        about: ({ legalHold }) => legalHold.id as string,
      }),
      refused: () => not('SCOPE_MISSING', admin, 'placeLegalHold', { reason: 'Trial' }),
    },
    LEGAL_HOLD_RELEASED: {
      done: async () => {
        const id = await make.newHold();
        return by(root, 'releaseLegalHold', { id, reason: 'Over' }, id);
      },
      refused: () => ({
        ...not('LEGAL_HOLD_NOT_FOUND', root, 'releaseLegalHold', { id: missing, reason: 'Over' }),
        about: missing,
        log: null,
      }),
    },
    SUBJECT_ERASED: {
      done: async () => {
        const userId = await make.newUser();
        return by(admin, 'eraseSubject', { userId, reason: 'Asked for' }, userId);
      },
      refused: () => not('USER_NOT_FOUND', admin, 'eraseSubject', { userId: missing, reason: 'Asked for' }),
    },
  };
}

test(
  'every action is on record when it is done, and when it is refused',
  { timeout: PROOFS_MS_MAX },
  async () => {
    const stage = await setStage();
    const proofs = Object.entries(proofsOf(stage)) as [AuditAction, Proof | 'DETECTION' | 'SCENARIO'][];
    expect(proofs.map(([action]) => action).toSorted()).toEqual(Object.keys(AUDIT_CATALOGUE).toSorted());
    for (const [action, proof] of proofs) {
      if (typeof proof === 'string') continue;
      const calls = [await proof.done?.(), await proof.refused?.()].filter((call) => call !== undefined);
      expect(calls.length, action).toBeGreaterThan(0);
      for (const call of calls) {
        const { left, expected } = await performed(stage, action, call);
        expect(left).toEqual(expected);
      }
    }
  },
);

test('every detection is on record when it is due, by the system and with its evidence', async () => {
  const stage = await setStage();
  const { here, root, home, stranger } = stage;
  const security = {
    failedLoginsPerAccount: FAILURES_A_DETECTION,
    failedLoginsPerAddress: FAILURES_A_DETECTION,
  };
  expect((await home.admin.do('updateSettings', { security })).errors).toEqual([]);
  for (let times = 0; times < FAILURES_A_DETECTION; times++)
    await here.signIn(stranger.email, 'wrong password');
  expect((await here.signIn(stranger.email, PASSWORD)).errors).toEqual([]);

  const about: Partial<Record<AuditAction, string>> = {
    ACCOUNT_BRUTE_FORCE_DETECTED: stranger.id,
    ADDRESS_BRUTE_FORCE_DETECTED: home.id,
    SUCCESS_AFTER_FAILURES_DETECTED: stranger.id,
    LEDGER_FAULT_DETECTED: home.id,
  };
  await asOwner(
    here.database.admin,
    `update audit_logs set user_agent = 'other' where id = (
       select id from audit_logs where tenant_id = '${home.id}' order by id limit 1);
     update audit_verifications set due_at = '2000-01-01', verified_to = 0`,
  );
  const due = Object.entries(proofsOf(stage)).flatMap(([action, proof]) =>
    proof === 'DETECTION' ? [action] : [],
  );
  expect(due.toSorted()).toEqual(Object.keys(about).toSorted());
  for (const action of due) {
    const operation = `query ($tenantId: ID!) { auditLogs(filter: { tenantId: $tenantId, actions: [${action}] }) {
      nodes { action status actor { type } resourceId details } } }`;
    let found: Answer['data'][] = [];
    await until(`${action} is on record`, async () => {
      const { data } = await root.ask(operation, { tenantId: home.id });
      found = data.auditLogs.nodes as Answer['data'][];
      return found.length > 0;
    });
    const [{ details, ...record }] = found;
    expect(record).toEqual({
      action,
      status: 'SUCCESS',
      actor: { type: 'SYSTEM' },
      resourceId: about[action as AuditAction],
    });
    const records = action === 'LEDGER_FAULT_DETECTED' ? 1 : FAILURES_A_DETECTION;
    expect(details.evidence.length).toBeGreaterThanOrEqual(records);
  }
});

async function performed({ root, home }: Stage, action: AuditAction, call: Call) {
  const { by, mutation, input, selection, about, log = home.id, reason } = call;
  const answer = await by.do(mutation, input, selection);
  const made = (value: string | null | ((payload: Answer['data']) => string)) =>
    typeof value === 'function' ? value(answer.data) : value;
  const { data } = await root.ask(
    `query ($id: String!) { auditLogs(filter: { requestId: $id }) { nodes {
      id action status failure { reason } userId tenantId resource resourceId } } }`,
    { id: answer.requestId },
  );
  const [record, ...more] = data.auditLogs.nodes as Answer['data'][];
  const { id, ...left } = record ?? {};
  return {
    left: { ...left, more, reason: answer.errors[0]?.extensions['reason'], receipts: answer.data?.receipts },
    expected: {
      action,
      status: reason ? 'FAILURE' : 'SUCCESS',
      failure: reason ? { reason } : null,
      userId: call.actor === undefined ? (by.id ?? null) : call.actor,
      tenantId: made(log),
      resource: AUDIT_CATALOGUE[action].resource,
      resourceId: about === undefined ? left.resourceId : made(about),
      more: [],
      reason,
      receipts: reason ? undefined : [{ id, action }],
    },
  };
}
