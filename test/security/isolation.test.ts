/** Two tenants: nothing that can be asked shows anything of the other. Every root field of the schema has a row here. */
import type { GraphQLObjectType } from 'graphql';
import { expect, test } from 'vitest';

import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import type { AuditResource } from '../../src/generated/types.ts';
import { madeUp, type Target, twoTenants } from '../world/canaries.ts';
import { livePeople } from '../world/live.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';
import { introspected, selectionOf, selectionsOf } from '../world/selection.ts';
import type { Answer } from '../world/server.ts';

/** What is asked of each query, as its arguments. */
const QUERIES: Record<string, (target: Target) => readonly string[]> = {
  // First: what these people ask for later is in the list of what they asked for.
  auditReads: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  me: () => [''],
  sessions: () => [''],
  node: ({ tenantId, userId, recordId, branchId, sessionId, eventId }) =>
    [tenantId, userId, recordId, branchId, sessionId, eventId].map((id) => `(id: "${id}")`),
  tenant: ({ tenantId }) => [`(id: "${tenantId}")`],
  tenants: ({ subdomain }) => ['', `(search: "${subdomain}")`],
  branch: ({ branchId }) => [`(id: "${branchId}")`],
  branches: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`, '(search: "canary", first: 100)'],
  settings: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  user: ({ userId }) => [`(id: "${userId}")`],
  users: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`, '(role: TENANT_ADMIN, first: 20)'],
  auditLog: ({ recordId }) => [`(id: "${recordId}")`],
  auditLogs: ({ tenantId, userId, ipAddress, requestId }) => [
    '',
    '(first: 20)',
    '(last: 20, orderBy: { direction: ASC })',
    `(filter: { tenantId: "${tenantId}" })`,
    `(filter: { or: [{ tenantId: "${tenantId}" }, { userId: "${userId}" }, { resourceId: "${userId}" }, {}] })`,
    `(filter: { not: { not: { or: [{ requestId: "${requestId}" }, { ipAddress: "${ipAddress}" }] } } })`,
  ],
  auditFeed: ({ tenantId, userId }) => [
    '',
    '(first: 20)',
    `(filter: { tenantId: "${tenantId}" })`,
    `(filter: { or: [{ userId: "${userId}" }, {}] })`,
  ],
  resourceHistory: ({ userId }) => [`(resource: USER, id: "${userId}", first: 5)`],
  resourceAt: (target) => objectsOf(target).map((object) => `(${object}, at: "2100-01-01T00:00:00Z")`),
  resourceDiff: ({ userId }) => [`(resource: USER, id: "${userId}", from: "2000-01-01T00:00:00Z")`],
  auditCheckpoint: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`, '(size: 1)'],
  auditConsistencyProof: ({ tenantId }) => ['(from: 0, to: 1)', `(tenantId: "${tenantId}", from: 0, to: 1)`],
  verifyAuditLog: ({ tenantId }) => ['(to: 1)', `(tenantId: "${tenantId}", to: 1)`],
  auditHealth: ({ tenantId }) => [`(tenantId: "${tenantId}")`],
  auditExport: ({ exportId }) => [`(id: "${exportId}")`],
  auditExports: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  apiKeys: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  eventTypes: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  webhook: ({ webhookId }) => [`(id: "${webhookId}")`],
  webhooks: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  auditRetention: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  legalHolds: ({ tenantId }) => ['', `(tenantId: "${tenantId}")`],
  auditActionCatalog: () => [''],
  userActivity: ({ userId }) => [`(userId: "${userId}")`],
  tenantActivity: ({ tenantId }) => [`(tenantId: "${tenantId}")`],
  auditStatistics: ({ tenantId }) => [`(tenantId: "${tenantId}")`],
  failedLoginAttempts: ({ email, ipAddress }) => ['', `(email: "${email}")`, `(ipAddress: "${ipAddress}")`],
  securityEvents: ({ tenantId, userId }) => [
    '(first: 5)',
    `(first: 5, filter: { tenantId: "${tenantId}" })`,
    `(first: 5, filter: { userId: "${userId}" })`,
  ],
};

/** One object of each kind that there is. */
function objectsOf({
  userId,
  tenantId,
  branchId,
  sessionId,
  eventId,
  exportId,
  holdId,
  webhookId,
  apiKeyId,
  eventTypeId,
}: Target): string[] {
  const objects: Readonly<Record<AuditResource, string>> = {
    USER: userId,
    TENANT: tenantId,
    SETTINGS: tenantId,
    BRANCH: branchId,
    SESSION: sessionId,
    SECURITY_EVENT: eventId,
    AUDIT_EXPORT: exportId,
    LEGAL_HOLD: holdId,
    WEBHOOK: webhookId,
    API_KEY: apiKeyId,
    EVENT_TYPE: eventTypeId,
    EVENT: eventId,
  };
  return Object.entries(objects).map(([resource, id]) => `resource: ${resource}, id: "${id}"`);
}

const SUBSCRIPTIONS: Record<string, (target: Target) => readonly string[]> = {
  loginFailed: ({ tenantId, email }) => [
    '',
    `(filter: { tenantId: "${tenantId}" })`,
    `(filter: { email: "${email}" })`,
  ],
  auditLogAppended: ({ tenantId, userId }) => [
    '',
    `(filter: { tenantId: "${tenantId}" })`,
    `(filter: { or: [{ userId: "${userId}" }, { resourceId: "${userId}" }, {}] })`,
  ],
  securityEventRaised: () => ['', '(minSeverity: INFO)'],
  // Of one thing: the matrix tries it with that of the other tenant.
  auditExportProgressed: () => [],
};

/** How each mutation is aimed at somebody; or why it cannot be. */
const MUTATIONS: Record<string, string | ((target: Target) => object)> = {
  login: ({ email, subdomain }) => ({ email, password: 'wrong password', tenant: subdomain }),
  forgotPassword: ({ email }) => ({ email }),
  refreshToken: 'whoever holds the token is its owner',
  resetPassword: 'whoever holds the token is its owner',
  changePassword: 'is about oneself',
  logout: 'is about oneself',
  verifyEmail: 'whoever holds the token is its owner',
  acceptInvitation: 'whoever holds the token is its owner',
  resendVerification: 'is about oneself',
  revokeOtherSessions: 'is about oneself',
  revokeSession: ({ sessionId }) => ({ sessionId }),
  register: 'addresses are for all tenants: a subdomain that is taken is refused to everybody',
  createTenant: ({ subdomain }) => ({ name: 'Mine', subdomain: `${subdomain}-2` }),
  updateTenant: ({ tenantId: id }) => ({ id, name: 'Mine' }),
  updateTenantSubscription: ({ tenantId: id }) => ({ id, tier: 'ENTERPRISE' }),
  activateTenant: ({ tenantId: id }) => ({ id }),
  deactivateTenant: ({ tenantId: id }) => ({ id, reason: 'Competition' }),
  deleteTenant: ({ tenantId: id }) => ({ id }),
  createUser: ({ tenantId }) => ({
    tenantId,
    email: 'mole@example.com',
    fullName: 'Mole',
    role: 'TENANT_ADMIN',
  }),
  updateUser: ({ userId: id }) => ({ id, fullName: 'Mine' }),
  changeUserRole: ({ userId: id }) => ({ id, role: 'AUDITOR' }),
  activateUser: ({ userId: id }) => ({ id }),
  deactivateUser: ({ userId: id }) => ({ id, reason: 'Competition' }),
  deleteUser: ({ userId: id }) => ({ id }),
  inviteUser: ({ tenantId, branchId }) => ({ tenantId, email: 'mole@example.com', branchIds: [branchId] }),
  setUserBranches: ({ userId: id, branchId }) => ({ id, branchIds: [branchId] }),
  startPasswordReset: ({ userId: id }) => ({ id }),
  revokeUserSessions: ({ userId: id }) => ({ id }),
  unlockAccount: ({ userId: id }) => ({ id }),
  createBranch: ({ tenantId }) => ({ tenantId, name: 'Mine', code: 'MINE' }),
  updateBranch: ({ branchId: id }) => ({ id, name: 'Mine' }),
  activateBranch: ({ branchId: id }) => ({ id }),
  deactivateBranch: ({ branchId: id }) => ({ id, reason: 'Competition' }),
  deleteBranch: ({ branchId: id }) => ({ id }),
  updateSettings: ({ tenantId }) => ({ tenantId, organisation: { displayName: 'Mine' } }),
  acknowledgeSecurityEvent: ({ eventId: id }) => ({ id }),
  resolveSecurityEvent: ({ eventId: id }) => ({ id }),
  createAuditExport: ({ tenantId }) => ({ tenantId, format: 'CSV' }),
  createApiKey: ({ tenantId }) => ({ tenantId, name: 'Mine', scopes: ['AUDIT_READ'] }),
  revokeApiKey: ({ apiKeyId: id }) => ({ id }),
  registerEventType: ({ tenantId }) => ({ tenantId, name: 'mine.now', schema: {} }),
  recordAuditEvents: ({ tenantId }) => ({ tenantId, events: [{ type: 'mine.now', idempotencyKey: '1' }] }),
  createWebhook: ({ tenantId }) => ({ tenantId, url: ALLOWED_TARGET }),
  updateWebhook: ({ webhookId: id }) => ({ id, url: ALLOWED_TARGET }),
  deleteWebhook: ({ webhookId: id }) => ({ id }),
  resumeWebhook: ({ webhookId: id }) => ({ id }),
  replayWebhook: ({ webhookId: id }) => ({ id, fromPosition: 0 }),
  testWebhook: ({ webhookId: id }) => ({ id }),
  setAuditRetention: ({ tenantId }) => ({ tenantId, days: 30 }),
  placeLegalHold: ({ tenantId }) => ({ tenantId, reason: 'Competition' }),
  releaseLegalHold: ({ holdId: id }) => ({ id, reason: 'Competition' }),
  eraseSubject: ({ userId }) => ({ userId, reason: 'Competition' }),
};
/** Those in whose log the other tenant shall see that somebody knocked. */
const KNOCKS = ['login', 'forgotPassword'];

test('every root field has a row', async () => {
  const { here } = await livePeople();
  const schema = await introspected(here.anybody);
  const namesOf = (type: GraphQLObjectType | null | undefined) => Object.keys(type!.getFields()).toSorted();
  expect(Object.keys(QUERIES).toSorted()).toEqual(namesOf(schema.getQueryType()));
  expect(Object.keys(MUTATIONS).toSorted()).toEqual(namesOf(schema.getMutationType()));
  expect(Object.keys(SUBSCRIPTIONS).toSorted()).toEqual(namesOf(schema.getSubscriptionType()));
});

test('no query, whoever of a tenant asks and for what, shows anything of the other, and asks who is nobody', async () => {
  const { here, schema, insiders, foreign, target, canaries } = await twoTenants();
  for (const [field, askingFor] of Object.entries(QUERIES)) {
    const selections = selectionsOf(schema, schema.getQueryType()!.getFields()[field]!.type, 4);
    const operationsOn = (whom: Target) =>
      askingFor(whom).flatMap((given) => selections.map((selection) => `{ ${field}${given} ${selection} }`));
    const [operations, missing] = [operationsOn(target), operationsOn(madeUp())];
    for (const [at, operation] of operations.entries()) {
      for (const person of insiders) {
        const answer = await person.ask(operation);
        expect(shownOf(canaries, answer)).toEqual([]);
        expect(withoutIds(await person.ask(missing[at]!))).toEqual(withoutIds(answer));
      }
      const [refusal] = (await here.anybody.ask(operation)).errors;
      expect([field, refusal?.extensions['reason']]).toEqual([field, 'SIGN_IN_REQUIRED']);
    }
    // The same to the other tenant: it is there to be seen.
    const seen = await Promise.all(
      operations.map(async (each) => shownOf(canaries, await foreign.ask(each))),
    );
    const seesNothing = ['tenants', 'auditActionCatalog'].includes(field);
    expect([field, seen.flat().length > 0]).toEqual([field, !seesNothing]);
  }
});

test('a cursor of the other tenant is a bad cursor, in every list', async () => {
  const { schema, insiders, foreign, target } = await twoTenants();
  const lists = Object.values(schema.getQueryType()!.getFields()).filter(({ args }) =>
    args.some(({ name }) => name === 'after'),
  );
  const shared = lists.map(({ name }) => name).filter((name) => name !== 'tenants');
  expect(shared.length).toBeGreaterThan(3);
  for (const list of shared) {
    const [cursor, field] =
      list === 'auditFeed' ? ['nextCursor', 'hasMore'] : ['pageInfo { endCursor }', 'totalCount'];
    const given = list === 'resourceHistory' ? `resource: USER, id: "${target.userId}", ` : '';
    const { data } = await foreign.ask(`{ ${list}(${given}first: 5) { ${cursor} } }`);
    const after = (data[list].nextCursor ?? data[list].pageInfo.endCursor) as string;
    const { data: own, errors } = await insiders[0]!.ask(
      `{ ${list}(${given}after: "${after}") { ${field} } }`,
    );
    expect([list, own, errors[0]?.extensions['code']]).toEqual([list, null, 'BAD_CURSOR']);
  }
});

test('no mutation reaches into the other tenant, nor tells whether what it is aimed at exists', async () => {
  const { here, insiders, tenantId, target, canaries, foreignRows, logOf } = await twoTenants();
  const before = await foreignRows();
  for (const [mutation, aim] of Object.entries(MUTATIONS)) {
    if (typeof aim === 'string' || KNOCKS.includes(mutation)) continue;
    for (const person of [...insiders, here.anybody]) {
      const answer = await person.do(mutation, aim(target));
      const toNobody = await person.do(mutation, aim(madeUp()));
      expect([mutation, answer.data]).toEqual([mutation, null]);
      expect(withoutIds(answer)).toBe(withoutIds(toNobody));
      expect(shownOf(canaries, answer)).toEqual([]);
      expect(await logOf(answer)).toBe(person === here.anybody ? PLATFORM_TENANT : tenantId);
    }
  }
  expect(await foreignRows()).toEqual(before);
});

test.each(KNOCKS)(
  '%s tells nobody whether an account exists, and only its tenant sees that somebody knocked',
  async (knock) => {
    const { here, insiders, foreign, target, canaries, logOf } = await twoTenants();
    const aim = MUTATIONS[knock] as (target: Target) => object;
    for (const person of [...insiders, here.anybody]) {
      const answer = await person.do(knock, aim(target));
      const toNobody = await person.do(knock, aim(madeUp()));
      expect(withoutIds(answer)).toBe(withoutIds(toNobody));
      expect(shownOf(canaries, answer)).toEqual([]);
      expect(await logOf(answer)).toBe(foreign.tenantId);
    }
  },
);

test('an e-mail that the other tenant has is free for a user of this one', async () => {
  const { insiders, target } = await twoTenants();
  const input = { email: target.email, fullName: 'Namesake', role: 'MEMBER' };
  expect((await insiders[0]!.do('createUser', input, 'user { email }')).data.user).toEqual({
    email: target.email,
  });
});

test('no subscription, whatever it asks for, delivers anything of the other tenant', async () => {
  const { people, schema, insiders, foreign, target, canaries } = await twoTenants();
  const [admin] = insiders;
  const streams = [];
  for (const [field, askingFor] of Object.entries(SUBSCRIPTIONS)) {
    const selection = selectionOf(schema, schema.getSubscriptionType()!.getFields()[field]!.type, 5);
    for (const given of askingFor(target))
      streams.push(await people.listen(admin!, `subscription { live: ${field}${given} ${selection} }`));
  }
  await people.fail(foreign.email);
  await foreign.do('changeUserRole', { id: target.userId, role: 'AUDITOR' });
  await people.fail(admin!.email);
  const last = await people.mark(admin!);
  for (const stream of streams) {
    const events = await stream.restUpTo(last);
    expect(canaries.filter((canary) => JSON.stringify(events).includes(canary))).toEqual([]);
  }
});

/** The canaries that an answer shows. */
function shownOf(canaries: readonly string[], { data, errors }: Answer): string[] {
  const text = JSON.stringify({ data, errors });
  return canaries.filter((canary) => text.includes(canary));
}

/** An answer without what differs in each: the ids of the request and of its records, and cursors, bound to their filter. */
function withoutIds({ status, data, errors }: Answer): string {
  const changing =
    /(?<="receipts":\[\{"id":")[^"]*|(?<="(?:requestId|cursor|startCursor|endCursor)":")[^"]*/g;
  return JSON.stringify({ status, data, errors }).replaceAll(changing, '');
}
