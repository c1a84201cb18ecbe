/**
 * Who may do what: a row for every root field of the schema. The columns are SUPER_ADMIN, TENANT_ADMIN, BRANCH_MANAGER,
 * AUDITOR, MEMBER and nobody in particular. A letter says how far a role reaches:
 * A all tenants, T its own, B the branches it has access to (and who has access to them), S itself, P whoever asks,
 * . answered and shown nothing, ? told that there is no such thing, - refused.
 */
import type { AuditResource, ErrorReason } from '../../src/generated/types.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { type Kind, type makersOn, type Principal } from '../world/matrixStage.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';
import { PASSWORD } from '../world/server.ts';

/** What is asked of a query. */
export interface Look {
  readonly cells: string;
  /** What it may show. */
  readonly kind?: Kind;
  /** The arguments: of a list, or of a question about one thing, which then is asked about each. */
  readonly args: string | ((id: string) => string);
  readonly selection: string;
}

/** What is asked of a mutation. */
export interface Aim {
  readonly cells: string;
  /** What it is aimed at, where the mutation has several rows. */
  readonly at?: string;
  readonly input?: (
    make: ReturnType<typeof makersOn>,
    who: Principal,
  ) => Promise<object | undefined> | object;
  /** Why it is refused to those who may not see what it is aimed at. */
  readonly hidden?: ErrorReason;
  /** Whose log tells of it: the first tenant's unless told. */
  readonly log?: 'HOME' | 'OWN' | 'NEW';
  /** Whether it spends the session or the account of who does it. */
  readonly spends?: boolean;
}

const one = (argument: string) => (id: string) => `(${argument}: "${id}")`;
const of = (resource: AuditResource) => (id: string) => `(resource: ${resource}, id: "${id}")`;
const since = (resource: AuditResource) => (id: string) =>
  `(resource: ${resource}, id: "${id}", from: "2000-01-01T00:00:00Z")`;

//                                  SA TA BM AU ME AN
export const QUERIES: Record<string, readonly Look[]> = {
  me: [{ cells: 'S S S S S -', kind: 'users', args: '', selection: '{ id }' }],
  sessions: [{ cells: 'S S S S S -', kind: 'sessions', args: '', selection: '{ id }' }],
  node: [
    { cells: 'A T B T S -', kind: 'users', args: one('id'), selection: '{ id }' },
    { cells: 'A T T T T -', kind: 'tenants', args: one('id'), selection: '{ id }' },
    { cells: 'A T B T B -', kind: 'branches', args: one('id'), selection: '{ id }' },
    { cells: 'A T B T . -', kind: 'records', args: one('id'), selection: '{ id }' },
    { cells: 'A T . T S -', kind: 'events', args: one('id'), selection: '{ id }' },
    { cells: 'S S S S S -', kind: 'sessions', args: one('id'), selection: '{ id }' },
  ],
  tenant: [{ cells: 'A T T T T -', kind: 'tenants', args: one('id'), selection: '{ id }' }],
  tenants: [
    { cells: 'A - - - - -', kind: 'tenants', args: '(first: 100)', selection: '{ totalCount nodes { id } }' },
  ],
  settings: [
    { cells: 'A T T T T -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' },
    { cells: '. T T T T -', kind: 'tenants', args: '', selection: '{ tenantId }' },
  ],
  user: [{ cells: 'A T B T S -', kind: 'users', args: one('id'), selection: '{ id }' }],
  users: [
    { cells: 'A T B T S -', kind: 'users', args: '(first: 100)', selection: '{ totalCount nodes { id } }' },
  ],
  branch: [{ cells: 'A T B T B -', kind: 'branches', args: one('id'), selection: '{ id }' }],
  branches: [
    {
      cells: 'A T B T B -',
      kind: 'branches',
      args: '(first: 100)',
      selection: '{ totalCount nodes { id } }',
    },
  ],
  auditLog: [
    { cells: 'A T B T - -', kind: 'records', args: one('id'), selection: '{ id }' },
    { cells: 'A T B T - -', kind: 'failures', args: one('id'), selection: '{ id }' },
  ],
  auditLogs: [
    { cells: 'A T B T - -', kind: 'records', args: '(first: 100)', selection: '{ totalCount nodes { id } }' },
    {
      cells: 'A T B T - -',
      kind: 'failures',
      args: '(first: 100)',
      selection: '{ totalCount nodes { id } }',
    },
  ],
  auditFeed: [
    {
      cells: 'A T B T - -',
      kind: 'records',
      args: '(first: 500)',
      selection: '{ nodes { id } edges { node { id } } }',
    },
    { cells: 'A T B T - -', kind: 'failures', args: '(first: 500)', selection: '{ nodes { id } }' },
  ],
  userActivity: [{ cells: 'A T B T S -', kind: 'users', args: one('userId'), selection: '{ userId }' }],
  tenantActivity: [
    { cells: 'A T T T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' },
    {
      cells: 'T T B T - -',
      kind: 'records',
      args: '',
      selection: '{ totalCount recent(first: 100) { nodes { id } } }',
    },
  ],
  auditStatistics: [
    { cells: 'A T T T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' },
  ],
  resourceHistory: [
    { cells: 'A T B T - -', kind: 'users', args: of('USER'), selection: '{ nodes { id } }' },
    { cells: 'A T B T - -', kind: 'branches', args: of('BRANCH'), selection: '{ nodes { id } }' },
    { cells: 'A T . T - -', kind: 'tenants', args: of('TENANT'), selection: '{ nodes { id } }' },
  ],
  resourceAt: [
    { cells: 'A T B T - -', kind: 'users', args: of('USER'), selection: '{ id }' },
    { cells: 'A T B T - -', kind: 'branches', args: of('BRANCH'), selection: '{ id }' },
    { cells: 'A T . T - -', kind: 'tenants', args: of('TENANT'), selection: '{ id }' },
  ],
  resourceDiff: [
    { cells: 'A T B T - -', kind: 'users', args: since('USER'), selection: '{ path }' },
    { cells: 'A T B T - -', kind: 'branches', args: since('BRANCH'), selection: '{ path }' },
    { cells: 'A T . T - -', kind: 'tenants', args: since('TENANT'), selection: '{ path }' },
  ],
  auditCheckpoint: [
    { cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' },
  ],
  auditConsistencyProof: [
    {
      cells: 'A T - T - -',
      kind: 'tenants',
      args: (id) => `(tenantId: "${id}", from: 0, to: 1)`,
      selection: '{ tenantId }',
    },
  ],
  verifyAuditLog: [
    { cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId ok }' },
  ],
  auditHealth: [{ cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  auditExport: [{ cells: 'A T - T - -', kind: 'exports', args: one('id'), selection: '{ id }' }],
  auditExports: [{ cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  apiKeys: [{ cells: 'A T - - - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  eventTypes: [{ cells: 'A T - - - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  webhook: [{ cells: 'A T - - - -', kind: 'webhooks', args: one('id'), selection: '{ id }' }],
  webhooks: [{ cells: 'A T - - - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  auditReads: [{ cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  auditRetention: [
    { cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' },
  ],
  legalHolds: [{ cells: 'A T - T - -', kind: 'tenants', args: one('tenantId'), selection: '{ tenantId }' }],
  auditActionCatalog: [{ cells: 'P P P P P -', args: '', selection: '{ action }' }],
  failedLoginAttempts: [
    {
      cells: 'A T - T S -',
      kind: 'failures',
      args: '(first: 100)',
      selection: '{ totalCount nodes { id } }',
    },
  ],
  securityEvents: [
    {
      cells: 'A T - T S -',
      kind: 'failures',
      args: '(first: 100)',
      selection: '{ totalCount nodes { log { id } } }',
    },
  ],
};

/** What they deliver: of failed sign-ins, or of one thing that exists. */
export const SUBSCRIPTIONS: Record<
  string,
  { readonly cells: string; readonly selection: string; readonly toOne?: Kind }
> = {
  auditLogAppended: { cells: 'A T B T - -', selection: '{ cursor node { id } }' },
  loginFailed: { cells: 'A T - T - -', selection: '{ cursor node { log { id } } }' },
  securityEventRaised: { cells: 'A T - T - -', selection: '{ cursor node { log { id } } }' },
  auditExportProgressed: { cells: 'A T - T - -', selection: '{ id }', toOne: 'exports' },
};

const USER = { hidden: 'USER_NOT_FOUND' } as const;
const TENANT = { hidden: 'TENANT_NOT_FOUND' } as const;
const BRANCH = { hidden: 'BRANCH_NOT_FOUND' } as const;
const WEBHOOK = { hidden: 'WEBHOOK_NOT_FOUND' } as const;
const OF_ADMINS = 'A T - - - -';
const OF_THE_PLATFORM = 'A - - - - -';
const OF_ALL = 'P P P P P P';
const OF_ONESELF = 'S S S S S -';
const email = () => `${crypto.randomUUID()}@people.example`;

//                                  SA TA BM AU ME AN
export const MUTATIONS: Record<string, readonly Aim[]> = {
  login: [
    {
      cells: OF_ALL,
      input: async (make) => ({ email: (await make.newPerson()).email, password: PASSWORD }),
    },
  ],
  refreshToken: [
    {
      cells: OF_ALL,
      input: async (make) => ({ refreshToken: (await make.newPerson()).refreshToken }),
    },
  ],
  register: [
    {
      cells: OF_ALL,
      log: 'NEW',
      input: (make) => ({
        tenantName: 'New',
        subdomain: make.uniqueName(),
        email: email(),
        password: PASSWORD,
        fullName: 'New',
      }),
    },
  ],
  forgotPassword: [{ cells: OF_ALL, input: async (make) => ({ email: (await make.newPerson()).email }) }],
  resetPassword: [
    {
      cells: OF_ALL,
      input: async (make) => ({
        token: await make.mailedToken(await make.newUser(), 'PASSWORD_RESET'),
        newPassword: PASSWORD,
      }),
    },
  ],
  verifyEmail: [
    {
      cells: OF_ALL,
      input: async (make) => ({
        token: await make.mailedToken(await make.newUser(), 'EMAIL_VERIFICATION'),
      }),
    },
  ],
  acceptInvitation: [
    {
      cells: OF_ALL,
      input: async (make) => ({
        token: await make.mailedToken(await make.invitedUser(), 'INVITATION'),
        password: PASSWORD,
        fullName: 'Accepted',
      }),
    },
  ],
  logout: [{ cells: OF_ONESELF, log: 'OWN', spends: true }],
  changePassword: [
    {
      cells: OF_ONESELF,
      log: 'OWN',
      spends: true,
      input: () => ({ currentPassword: PASSWORD, newPassword: 'another battery staple' }),
    },
  ],
  resendVerification: [{ cells: OF_ONESELF, log: 'OWN', spends: true }],
  revokeSession: [
    {
      at: 'one of their own',
      cells: OF_ONESELF,
      log: 'OWN',
      spends: true,
      input: async (make, { person }) => ({
        sessionId: await make.anotherSession(person ?? (await make.newPerson())),
      }),
    },
    {
      at: "somebody else's",
      cells: '? ? ? ? ? -',
      hidden: 'SESSION_NOT_FOUND',
      input: async (make) => ({ sessionId: sessionOf(await make.newPerson()) }),
    },
  ],
  revokeOtherSessions: [{ cells: OF_ONESELF, log: 'OWN', spends: true }],

  createTenant: [
    {
      cells: OF_THE_PLATFORM,
      log: 'NEW',
      input: (make) => ({ name: 'New', subdomain: make.uniqueName() }),
    },
  ],
  updateTenant: [
    { cells: OF_ADMINS, ...TENANT, input: (make) => ({ id: make.tenantId, name: make.uniqueName() }) },
  ],
  updateTenantSubscription: [
    { cells: OF_THE_PLATFORM, ...TENANT, input: (make) => ({ id: make.tenantId, tier: 'ENTERPRISE' }) },
  ],
  activateTenant: [
    { cells: OF_THE_PLATFORM, log: 'NEW', input: async (make) => ({ id: await make.closedTenant() }) },
  ],
  deactivateTenant: [
    {
      cells: OF_THE_PLATFORM,
      log: 'NEW',
      input: async (make) => ({ id: await make.newTenant(), reason: 'Unpaid' }),
    },
  ],
  deleteTenant: [
    { cells: OF_THE_PLATFORM, log: 'NEW', input: async (make) => ({ id: await make.newTenant() }) },
  ],
  updateSettings: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: (make) => ({ tenantId: make.tenantId, organisation: { displayName: make.uniqueName() } }),
    },
  ],

  createUser: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: (make) => ({ tenantId: make.tenantId, email: email(), fullName: 'New', role: 'MEMBER' }),
    },
  ],
  inviteUser: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: (make) => ({ tenantId: make.tenantId, email: email(), role: 'MEMBER' }),
    },
  ],
  updateUser: [
    {
      at: 'somebody else',
      cells: OF_ADMINS,
      ...USER,
      input: async (make) => ({ id: await make.newUser(), fullName: 'Renamed' }),
    },
    {
      at: 'themselves',
      cells: 'S S - - S -',
      log: 'OWN',
      spends: true,
      input: (make, { person }) => ({ id: person?.id ?? make.tenantId, fullName: 'Renamed' }),
    },
  ],
  changeUserRole: [
    { cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.newUser(), role: 'AUDITOR' }) },
  ],
  activateUser: [{ cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.sleepingUser() }) }],
  deactivateUser: [
    { cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.newUser(), reason: 'Left' }) },
  ],
  deleteUser: [{ cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.newUser() }) }],
  setUserBranches: [
    {
      cells: OF_ADMINS,
      ...USER,
      input: async (make) => ({ id: await make.newUser(), branchIds: [await make.newBranch()] }),
    },
  ],
  startPasswordReset: [{ cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.newUser() }) }],
  revokeUserSessions: [
    { cells: OF_ADMINS, ...USER, input: async (make) => ({ id: (await make.newPerson()).id }) },
  ],
  unlockAccount: [{ cells: OF_ADMINS, ...USER, input: async (make) => ({ id: await make.newUser() }) }],

  createBranch: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: (make) => ({ tenantId: make.tenantId, name: 'New', code: make.uniqueCode() }),
    },
  ],
  updateBranch: [
    {
      at: 'one they have access to, if any',
      cells: 'A T B - - -',
      ...BRANCH,
      input: (make) => ({ id: make.near, name: make.uniqueName() }),
    },
    {
      at: 'one they have no access to',
      cells: 'A T ? - - -',
      ...BRANCH,
      input: async (make) => ({ id: await make.newBranch(), name: 'Renamed' }),
    },
  ],
  activateBranch: [
    { cells: OF_ADMINS, ...BRANCH, input: async (make) => ({ id: await make.closedBranch() }) },
  ],
  deactivateBranch: [
    { cells: OF_ADMINS, ...BRANCH, input: async (make) => ({ id: await make.newBranch(), reason: 'Sold' }) },
  ],
  deleteBranch: [{ cells: OF_ADMINS, ...BRANCH, input: async (make) => ({ id: await make.newBranch() }) }],

  createAuditExport: [
    {
      cells: 'A T - T - -',
      ...TENANT,
      input: ({ tenantId }) => ({ tenantId, format: 'CSV' }),
    },
  ],
  createApiKey: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: ({ tenantId }) => ({ tenantId, name: 'Key', scopes: ['EVENTS_WRITE'] }),
    },
  ],
  revokeApiKey: [
    {
      cells: OF_ADMINS,
      hidden: 'API_KEY_NOT_FOUND',
      input: async (make) => ({ id: await make.newKey() }),
    },
  ],
  registerEventType: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: (make) => ({
        tenantId: make.tenantId,
        name: `made.${make.uniqueName().replaceAll('-', '_')}`,
        schema: {},
      }),
    },
  ],
  recordAuditEvents: [
    {
      cells: OF_ADMINS,
      ...TENANT,
      input: async (make) => ({ tenantId: make.tenantId, events: await make.knownEvents() }),
    },
  ],
  createWebhook: [
    { cells: OF_ADMINS, ...TENANT, input: ({ tenantId }) => ({ tenantId, url: ALLOWED_TARGET }) },
  ],
  updateWebhook: [
    {
      cells: OF_ADMINS,
      ...WEBHOOK,
      input: async (make) => ({ id: await make.newWebhook(), description: 'x' }),
    },
  ],
  deleteWebhook: [{ cells: OF_ADMINS, ...WEBHOOK, input: async (make) => ({ id: await make.newWebhook() }) }],
  resumeWebhook: [{ cells: OF_ADMINS, ...WEBHOOK, input: async (make) => ({ id: await make.newWebhook() }) }],
  replayWebhook: [
    {
      cells: OF_ADMINS,
      ...WEBHOOK,
      input: async (make) => ({ id: await make.newWebhook(), fromPosition: 0 }),
    },
  ],
  testWebhook: [{ cells: OF_ADMINS, ...WEBHOOK, input: async (make) => ({ id: await make.newWebhook() }) }],
  setAuditRetention: [{ cells: OF_THE_PLATFORM, input: ({ tenantId }) => ({ tenantId, days: 365 }) }],
  placeLegalHold: [
    {
      cells: OF_THE_PLATFORM,
      input: async (make) => ({ tenantId: make.tenantId, userId: await make.newUser(), reason: 'Trial' }),
    },
  ],
  releaseLegalHold: [
    { cells: OF_THE_PLATFORM, input: async (make) => ({ id: await make.newHold(), reason: 'Over' }) },
  ],
  eraseSubject: [
    {
      cells: OF_ADMINS,
      ...USER,
      input: async (make) => ({ userId: await make.newUser(), reason: 'Asked for' }),
    },
  ],
  acknowledgeSecurityEvent: [
    {
      cells: OF_ADMINS,
      hidden: 'SECURITY_EVENT_NOT_FOUND',
      input: async (make) => ({ id: await make.newEvent() }),
    },
  ],
  resolveSecurityEvent: [
    {
      cells: OF_ADMINS,
      hidden: 'SECURITY_EVENT_NOT_FOUND',
      input: async (make) => ({ id: await make.newEvent() }),
    },
  ],
};
