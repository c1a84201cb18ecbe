/** The people, places and records that the authorisation matrix asks about: two tenants and the platform. */
import { randomUUID } from 'node:crypto';

import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import type { MailedPurpose } from '../../src/auth/tables.ts';
import { tokenHash } from '../../src/platform/crypto.ts';
import { sessionOf } from './auditRecord.ts';
import { exportDone } from './exports.ts';
import { ALLOWED_TARGET } from './receiver.ts';
import { allSigned } from './seal.ts';
import { type Answer, PASSWORD, type Person, type World, world } from './server.ts';

/** The columns of the matrix, and the admin of the other tenant. */
export const PRINCIPALS = [
  'SUPER_ADMIN',
  'TENANT_ADMIN',
  'BRANCH_MANAGER',
  'AUDITOR',
  'MEMBER',
  'ANONYMOUS',
  'FOREIGN_ADMIN',
] as const;
export type PrincipalName = (typeof PRINCIPALS)[number];

/** Somebody who asks. */
export interface Principal {
  readonly name: PrincipalName;
  /** Undefined: nobody is signed in. */
  readonly person: Person | undefined;
  /** The tenant they belong to. */
  readonly tenantId: string;
}

/** Something that may be seen or not. */
export interface Thing {
  readonly label: string;
  readonly id: string;
  readonly tenantId: string;
  /** Whether it belongs to the branch that the manager and the member have access to. */
  readonly near?: boolean;
  /** The user it is about. */
  readonly of?: string;
}

export type Kind =
  | 'users'
  | 'tenants'
  | 'branches'
  | 'sessions'
  | 'records'
  | 'failures'
  | 'events'
  | 'exports'
  | 'webhooks';
export type Stage = Awaited<ReturnType<typeof setStage>>;

/** A tenant with a user of each role and two branches, one of them with a manager and a member; and another tenant. */
export async function setStage(...given: Parameters<typeof world>) {
  const here = await world(...given);
  const root = await here.root();
  const [home, abroad] = [await here.tenant('Home'), await here.tenant('Abroad')];
  const { admin } = home;
  const [auditor, manager, member, stranger, foreigner] = await Promise.all([
    here.user(admin, 'AUDITOR'),
    here.user(admin, 'BRANCH_MANAGER'),
    here.user(admin, 'MEMBER'),
    here.user(admin, 'MEMBER'),
    here.user(abroad.admin, 'MEMBER'),
  ]);
  const place = async (by: Person, name: string) => {
    const { data } = made(await by.do('createBranch', { name, code: uniqueCode() }, 'branch { id }'));
    return { id: data.branch.id as string, record: data.receipts[0].id as string };
  };
  const [near, far, theirs] = [
    await place(admin, 'Near'),
    await place(admin, 'Far'),
    await place(abroad.admin, 'Theirs'),
  ];
  for (const { id } of [manager, member])
    made(await admin.do('setUserBranches', { id, branchIds: [near.id] }));
  made(await admin.do('setUserBranches', { id: stranger.id, branchIds: [far.id] }));

  const changed = async (by: Person, { id }: Person) => {
    const { data } = made(await by.do('updateUser', { id, phone: '+44 20 7946 0001' }));
    return data.receipts[0].id as string;
  };
  const failed = async ({ email }: Person) => {
    const { requestId } = await here.signIn(email, 'wrong password');
    return await recordOf(here, requestId);
  };
  const events = async (failures: readonly Thing[]): Promise<Thing[]> => {
    const { data } = made(await root.ask('{ securityEvents(first: 50) { nodes { id log { id } } } }'));
    const nodes = data.securityEvents.nodes as { id: string; log: { id: string } }[];
    return failures.map((thing) => ({ ...thing, id: nodes.find(({ log }) => log.id === thing.id)!.id }));
  };
  const exported = async (by: Person) => {
    const { data } = made(await by.do('createAuditExport', { format: 'NDJSON' }, 'auditExport { id }'));
    await exportDone(by, data.auditExport.id as string);
    return data.auditExport.id as string;
  };
  const held = async (tenantId: string | null, { id: userId }: Person) => {
    made(await root.do('placeLegalHold', { tenantId, userId, reason: 'Trial' }));
  };
  for (const by of [admin, abroad.admin]) {
    made(await by.ask('{ auditLogs { totalCount } }'));
    made(await by.do('createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] }));
    made(await by.do('registerEventType', { name: 'shop.sold', schema: {} }));
  }
  await Promise.all([held(home.id, stranger), held(abroad.id, foreigner), held(null, root)]);
  const [ours, others] = [{ tenantId: home.id }, { tenantId: abroad.id }];
  const people = [
    { label: 'root', person: root, tenantId: PLATFORM_TENANT },
    { label: 'admin', person: admin, ...ours },
    { label: 'auditor', person: auditor, ...ours },
    { label: 'manager', person: manager, ...ours, near: true },
    { label: 'member', person: member, ...ours, near: true },
    { label: 'stranger', person: stranger, ...ours },
    { label: 'foreign admin', person: abroad.admin, ...others },
    { label: 'foreigner', person: foreigner, ...others },
  ];
  const failures = [
    { label: 'member', id: await failed(member), ...ours, near: true, of: member.id },
    { label: 'stranger', id: await failed(stranger), ...ours, of: stranger.id },
    { label: 'foreigner', id: await failed(foreigner), ...others, of: foreigner.id },
  ];
  const things: Record<Kind, readonly Thing[]> = {
    users: people.map(({ person: { id }, ...rest }) => ({ ...rest, id, of: id })),
    sessions: people.map(({ person, ...rest }) => ({ ...rest, id: sessionOf(person), of: person.id })),
    tenants: [
      { label: 'home', id: home.id, tenantId: home.id },
      { label: 'abroad', id: abroad.id, tenantId: abroad.id },
    ],
    branches: [
      { label: 'near', id: near.id, ...ours, near: true },
      { label: 'far', id: far.id, ...ours },
      { label: 'theirs', id: theirs.id, ...others },
    ],
    records: [
      { label: 'of the branch near', id: near.record, ...ours, near: true },
      { label: 'of the branch far', id: far.record, ...ours },
      { label: 'of their branch', id: theirs.record, ...others },
      { label: 'about the member', id: await changed(admin, member), ...ours, near: true },
      { label: 'about the stranger', id: await changed(admin, stranger), ...ours },
      { label: 'about the foreigner', id: await changed(abroad.admin, foreigner), ...others },
      { label: 'of the platform', id: await changed(root, root), tenantId: PLATFORM_TENANT },
    ],
    failures,
    events: await events(failures),
    webhooks: [
      { label: 'home', id: await hooked(admin), ...ours },
      { label: 'abroad', id: await hooked(abroad.admin), ...others },
      { label: 'of the platform', id: await hooked(root), tenantId: PLATFORM_TENANT },
    ],
    exports: [
      { label: 'home', id: await exported(admin), ...ours },
      { label: 'abroad', id: await exported(abroad.admin), ...others },
      { label: 'of the platform', id: await exported(root), tenantId: PLATFORM_TENANT },
    ],
  };
  // What is read in sealed order shows what is sealed, and what is proven what is signed.
  await allSigned(here.database.admin);
  const person: Record<PrincipalName, Person | undefined> = {
    SUPER_ADMIN: root,
    TENANT_ADMIN: admin,
    BRANCH_MANAGER: manager,
    AUDITOR: auditor,
    MEMBER: member,
    ANONYMOUS: undefined,
    FOREIGN_ADMIN: abroad.admin,
  };
  return {
    here,
    root,
    home,
    abroad,
    member,
    stranger,
    foreigner,
    near: near.id,
    far: far.id,
    things,
    principals: PRINCIPALS.map((name): Principal => ({
      name,
      person: person[name],
      tenantId: person[name]?.tenantId ?? PLATFORM_TENANT,
    })),
  };
}

/** Makes what a case may spend, in the first tenant: each call makes a new one. */
export function makersOn({ here, root, home: { id: tenantId, admin }, near, stranger }: Stage) {
  const newUser = async () => {
    const email = `${randomUUID()}@people.example`;
    const { data } = made(await admin.do('createUser', { email, fullName: 'New' }, 'user { id }'));
    return data.user.id as string;
  };
  const newBranch = async () => {
    const input = { name: 'New', code: uniqueCode() };
    return made(await admin.do('createBranch', input, 'branch { id }')).data.branch.id as string;
  };
  const newTenant = async () => {
    const { data } = made(
      await root.do('createTenant', { name: 'New', subdomain: uniqueName() }, 'tenant { id }'),
    );
    return data.tenant.id as string;
  };
  return {
    tenantId,
    near,
    newUser,
    newBranch,
    newTenant,
    newPerson: () => here.user(admin, 'MEMBER'),
    sleepingUser: async () => {
      const id = await newUser();
      made(await admin.do('deactivateUser', { id, reason: 'Away' }));
      return id;
    },
    closedBranch: async () => {
      const id = await newBranch();
      made(await admin.do('deactivateBranch', { id }));
      return id;
    },
    closedTenant: async () => {
      const id = await newTenant();
      made(await root.do('deactivateTenant', { id, reason: 'Unpaid' }));
      return id;
    },
    async invitedUser() {
      const { data } = made(
        await admin.do('inviteUser', { email: `${randomUUID()}@people.example` }, 'user { id }'),
      );
      return data.user.id as string;
    },
    /** A security event: a refusal for want of a right is one. */
    async newEvent() {
      const { requestId } = await stranger.do('deleteTenant', { id: tenantId });
      const record = await recordOf(here, requestId);
      const { data } = made(
        await root.ask('{ securityEvents(first: 50, days: 1) { nodes { id log { id } } } }'),
      );
      const nodes = data.securityEvents.nodes as { id: string; log: { id: string } }[];
      return nodes.find(({ log }) => log.id === record)!.id;
    },
    newWebhook: () => hooked(admin),
    async newKey() {
      const input = { name: 'Key', scopes: ['AUDIT_READ'] };
      return made(await admin.do('createApiKey', input, 'apiKey { id }')).data.apiKey.id as string;
    },
    /** An event that is on record: to record it again leaves the record of the batch, and no other. */
    async knownEvents() {
      const type = uniqueName().replaceAll('-', '_').replace('_', '.e');
      made(await admin.do('registerEventType', { name: type, schema: {} }));
      const events = [{ type, idempotencyKey: randomUUID() }];
      made(await admin.do('recordAuditEvents', { events }));
      return events;
    },
    /** A hold that stops nothing but the erasure of the stranger. */
    async newHold() {
      const input = { tenantId, userId: stranger.id, reason: 'Trial' };
      return made(await root.do('placeLegalHold', input, 'legalHold { id }')).data.legalHold.id as string;
    },
    /** The token of a link as if it had been mailed to a user. */
    async mailedToken(userId: string, purpose: MailedPurpose) {
      const token = randomUUID();
      await here.database.admin.begin(async (sql) => {
        await sql`set local session_replication_role = replica`;
        await sql`insert into mailed_tokens (tenant_id, hash, user_id, purpose, created_at, expires_at)
          values (${tenantId}, ${tokenHash(token)}, ${userId}, ${purpose}, now(), now() + interval '1 hour')`;
      });
      return token;
    },
    /** Another session of somebody, begun elsewhere. */
    async anotherSession(person: Person) {
      const { data } = made(await here.signIn(person.email, PASSWORD));
      return sessionOf({ ...stranger, token: data.accessToken as string });
    },
    uniqueName,
    uniqueCode,
  };
}

/** Somebody else in the same role, with a session that may be spent. */
export async function understudy({ here, root, home, abroad }: Stage, who: Principal): Promise<Principal> {
  if (!who.person) return who;
  const role = who.name === 'FOREIGN_ADMIN' ? 'TENANT_ADMIN' : who.name;
  const by = { SUPER_ADMIN: root, FOREIGN_ADMIN: abroad.admin }[who.name as string] ?? home.admin;
  return { ...who, person: await here.user(by, role) };
}

/** The one record of a request. */
export async function recordOf({ database }: World, requestId: string): Promise<string> {
  const rows = await database.admin`select id from audit_logs where request_id = ${requestId}`;
  if (rows.length !== 1) throw new Error(`The request left ${rows.length} records instead of one.`);
  return rows[0]!['id'] as string;
}

/** A new webhook, to where nobody listens. */
async function hooked(by: Person): Promise<string> {
  const { data } = made(await by.do('createWebhook', { url: ALLOWED_TARGET }, 'webhook { id }'));
  return data.webhook.id as string;
}

/** The answer, if it is one. */
function made(answer: Answer): Answer {
  if (answer.errors.length > 0) throw new Error(`Not made: ${JSON.stringify(answer.errors)}`);
  return answer;
}

const uniqueName = () => `m-${randomUUID().slice(0, 18)}`;
const uniqueCode = () => uniqueName().toUpperCase();
