import { and, desc, eq } from 'drizzle-orm';
import type { GraphQLResolveInfo } from 'graphql';
import { expect, test } from 'vitest';

import type { Context, Scope, UserActor } from '../../src/audit/act.ts';
import { ANY, having } from '../../src/audit/filter.ts';
import {
  differentIn,
  endOf,
  kindsIn,
  lastSeenIn,
  periodsIn,
  type Span,
  topIn,
} from '../../src/audit/statistics.ts';
import type { SystemAct } from '../../src/audit/record.ts';
import { auditLogs as auditLogRows } from '../../src/audit/tables.ts';
import { scopesOf } from '../../src/auth/roles.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditAction, AuditLogFilter } from '../../src/generated/types.ts';
import { idAt, isoOf } from '../../src/platform/ids.ts';
import * as auditLogs from '../../src/security/auditLogs.ts';
import { RULES } from '../../src/security/detections.ts';
import * as events from '../../src/security/events.ts';
import { effective } from '../../src/tenants/tables.ts';
import type { FreshDatabase } from '../world/database.ts';
import { type Plan, type PlanNode, plansOf } from '../world/plans.ts';
import { allSealed } from '../world/seal.ts';
import { world, type World } from '../world/server.ts';

/** A year of records; and fewer, of weeks, for what is counted. */
const YEAR = { records: 1_000_000, days: 365, isSealed: true };
const WEEKS = { records: 20_011, days: 55, isSealed: false };
/** What is looked at first are 35 days. */
const MONTHS_MAX = 3;
/** Numbers may be put in order. */
const SORTED_ROWS_MAX = 300;
const TENANTS = 7;
const id = (kind: number, n: number) =>
  `${String(kind).padStart(8, '0')}-0000-7000-8000-${String(n).padStart(12, '0')}`;
const TENANT = id(1, 1);
const DAY_MICROS = 86_400_000_000n;

/** A question, and the index that has to be among those that answer it; without one, any. */
type Question = readonly [ask: (context: Context) => unknown, index?: string | undefined];

/** Each field of the filter, alone: with a value that few records have and one that many have. */
function filters(now: bigint): {
  readonly [Field in keyof Required<AuditLogFilter>]: readonly (readonly [AuditLogFilter, string?])[];
} {
  const daysAgo = (days: bigint) => isoOf(now - days * DAY_MICROS);
  return {
    tenantId: [[{ tenantId: TENANT }]],
    userId: [[{ userId: id(2, 7) }, 'audit_logs_user']],
    actions: [
      [{ actions: ['TENANT_DELETED'] }, 'audit_logs_action'],
      [{ actions: ['LOGIN'] }],
      [{ actions: ['LOGIN', 'TENANT_DELETED', 'USER_CREATED'] }],
    ],
    categories: [[{ categories: ['TENANT'] }, 'audit_logs_action'], [{ categories: ['AUTH'] }]],
    resources: [[{ resources: ['TENANT'] }], [{ resources: ['USER'] }]],
    resourceId: [[{ resourceId: id(3, 7) }, 'audit_logs_resource']],
    statuses: [
      [{ statuses: ['FAILURE', 'ERROR'] }, 'audit_logs_failed'],
      [{ statuses: ['ERROR'] }, 'audit_logs_failed'],
      [{ statuses: ['SUCCESS'] }],
    ],
    minSeverity: [[{ minSeverity: 'CRITICAL' }], [{ minSeverity: 'INFO' }]],
    ipAddress: [
      [{ ipAddress: '10.0.0.20' }],
      [{ ipAddress: '10.0.0.20', statuses: ['FAILURE'] }, 'audit_logs_failed_ip'],
    ],
    ipRange: [[{ ipRange: '10.0.0.0/24' }], [{ ipRange: '10.0.0.0/8' }]],
    changedField: [[{ changedField: 'role' }, 'audit_changes_tenant_id_field_id_pk']],
    text: [[{ text: 'abc', createdAt: { from: daysAgo(30n) } }]],
    requestId: [[{ requestId: 'request-77' }, 'audit_logs_request']],
    createdAt: [
      [{ createdAt: { from: daysAgo(3n) } }],
      [{ createdAt: { from: daysAgo(50n), to: daysAgo(49n) } }],
    ],
    and: [[{ and: [{ userId: id(2, 7) }, { actions: ['LOGIN'] }] }, 'audit_logs_user']],
    or: [[{ or: [{ userId: id(2, 7) }, { resourceId: id(3, 7) }] }, 'audit_logs_resource']],
    not: [[{ not: { statuses: ['SUCCESS'] } }]],
  };
}

function questions(now: bigint): Record<string, Question> {
  const { failedLoginAttempts, securityEvents } = events.queries;
  const fields = Object.values(filters(now)).flat();
  return {
    failedLoginAttempts: [(context) => ask(failedLoginAttempts, { hours: 1200 }, context)],
    'failedLoginAttempts by address': [
      (context) => ask(failedLoginAttempts, { ipAddress: '10.0.0.20', hours: 1200 }, context),
      'audit_logs_failed_ip',
    ],
    'failedLoginAttempts by e-mail': [
      (context) => ask(failedLoginAttempts, { email: 'p7@example.com', hours: 1200 }, context),
      'audit_logs_subject',
    ],
    securityEvents: [(context) => ask(securityEvents, { days: 50 }, context), 'audit_logs_security'],
    'no filter': [(context) => ask(auditLogs.queries.auditLogs, {}, context)],
    'one record': [(context) => ask(auditLogs.queries.auditLog, { id: idAt(now) }, context)],
    ...Object.fromEntries(
      fields.map(([filter, index]): [string, Question] => [
        JSON.stringify(filter),
        [(context) => ask(auditLogs.queries.auditLogs, { filter }, context), index],
      ]),
    ),
  };
}

test('among a million records, every documented filter of a tenant is read in the order of an index, in the months it needs', async () => {
  const here = await world();
  await fill(here.database, YEAR);
  const { db } = here.server.house;
  const facts = await partitionFacts(here.database);
  expect(facts.filled.size).toBeGreaterThan(12);
  const [results, expected]: [object[], object[]] = [[], []];

  for (const [name, [question, index]] of Object.entries(questions(here.server.house.services.clock.now()))) {
    const plans = await plansOf(db, { tenantId: TENANT }, async (tx) => {
      await question(contextOn(here, tx));
    });
    expect(plans.length).toBeGreaterThan(0);
    const found = plans.flatMap((plan) => faultsOf(plan, facts, 0));
    const used = new Set(
      plans.flatMap(({ nodes }) => nodes.map((node) => facts.parentOf.get(node['Index Name'] ?? ''))),
    );
    const months = new Set(
      plans[0]!.nodes.flatMap(({ 'Relation Name': relation = '' }) =>
        facts.filled.has(relation) && relation.startsWith('audit_logs_') ? [relation] : [],
      ),
    );
    results.push({
      name,
      found,
      index: index !== undefined && !used.has(index) ? [...used] : index,
      months: months.size > MONTHS_MAX ? [...months] : 'few',
    });
    expected.push({ name, found: [], index, months: 'few' });
  }
  expect(results).toEqual(expected);
}, 180_000);

/** What the rules of detection look at is found by these indexes. */
const INDEX_OF_RULE: Partial<Record<AuditAction, readonly string[]>> = {
  ACCOUNT_BRUTE_FORCE_DETECTED: ['audit_logs_subject'],
  SUCCESS_AFTER_FAILURES_DETECTED: ['audit_logs_subject'],
  ADDRESS_BRUTE_FORCE_DETECTED: ['audit_logs_failed_ip', 'audit_logs_address'],
  PASSWORD_SPRAY_DETECTED: ['audit_logs_failed_ip', 'audit_logs_address'],
  NEW_ADDRESS_DETECTED: ['audit_logs_user'],
  NEW_DEVICE_DETECTED: ['audit_logs_user'],
  DORMANT_ACCOUNT_DETECTED: ['audit_logs_user'],
  IMPOSSIBLE_TRAVEL_DETECTED: ['audit_logs_user'],
  MASS_DELETION_DETECTED: ['audit_logs_user'],
  MASS_EXPORT_DETECTED: ['audit_logs_user'],
};

test('as the application, every rule of detection finds what it looks at by an index', async () => {
  const here = await world();
  await fill(here.database, { ...YEAR, records: 200_000 });
  const { db, services } = here.server.house;
  const facts = await partitionFacts(here.database);
  const settings = effective(TENANT, undefined);
  const places = { placeOf: () => ({ latitude: 0, longitude: 0 }) };
  const [results, expected]: [object[], object[]] = [[], []];
  for (const { action, find } of RULES) {
    const plans = await plansOf(db, 'PLATFORM', async (tx) => {
      const [row] = await tx
        .select()
        .from(auditLogRows)
        .where(and(eq(auditLogRows.tenantId, TENANT), eq(auditLogRows.userId, id(2, 7))))
        .orderBy(desc(auditLogRows.id))
        .limit(1);
      const judged = { ...row!, userAgent: 'Firefox', subjectHmac: Buffer.alloc(32) };
      await find(
        { tx, services: { ...services, places } } as unknown as SystemAct<'detection'>,
        judged,
        settings,
      );
    });
    // The first of them is how the test found its record.
    const own = plans.slice(1);
    const found = own.flatMap((plan) => faultsOf(plan, facts));
    const used = new Set(
      own.flatMap(({ nodes }) => nodes.map((node) => facts.parentOf.get(node['Index Name'] ?? ''))),
    );
    const wanted = INDEX_OF_RULE[action];
    const isFound = wanted === undefined || wanted.some((index) => used.has(index));
    results.push({ action, found, index: isFound ? 'served' : [...used] });
    expected.push({ action, found: [], index: 'served' });
  }
  expect(results).toEqual(expected);
}, 120_000);

/** Every way of counting. */
const COUNTS: Record<string, (scope: Scope, span: Span) => Promise<unknown>> = {
  kindsIn: (scope, span) => kindsIn(scope, [span]),
  byDay: (scope, span) => periodsIn(scope, span, 'day'),
  byHour: (scope, span) => periodsIn(scope, span, 'hour'),
  topActors: (scope, span) => topIn(scope, span, 'actor', 10),
  topAddresses: (scope, span) => topIn(scope, span, 'address', 10),
  topDevices: (scope, span) => topIn(scope, span, 'device', 10),
  activeUsers: (scope, span) => differentIn(scope, span, 'actor'),
  first: (scope, span) => endOf(scope, span, 'first'),
  last: (scope, span) => endOf(scope, span, 'last'),
  lastSeen: (scope, span) => lastSeenIn(scope, [span]),
};

test('as the application, numbers of a month are read from what is kept, and records of its edges only', async () => {
  const here = await world();
  await fill(here.database, WEEKS);
  await allSealed(here.database.admin);
  await here.database.admin`analyze audit_hours, audit_facets`;
  const { db } = here.server.house;
  const facts = await partitionFacts(here.database);
  const now = here.server.house.services.clock.now();
  const month = { from: now - 30n * DAY_MICROS, to: now - DAY_MICROS / 2n };
  const ofTenant = { ...month, tenantId: TENANT, condition: having('tenantId', TENANT) };
  const ofUser = {
    ...ofTenant,
    condition: { all: [ofTenant.condition, having('userId', id(2, 7))] },
  };
  const twoDays = (2 * WEEKS.records) / WEEKS.days;
  const readers = [
    { tenancy: { tenantId: TENANT }, span: ofTenant, recordsMax: twoDays / TENANTS },
    { tenancy: 'PLATFORM', span: { ...month, tenantId: undefined, condition: ANY }, recordsMax: twoDays },
    { tenancy: { tenantId: TENANT }, span: ofUser, recordsMax: 20 },
  ] as const;

  for (const { span, tenancy, recordsMax } of readers) {
    for (const [name, count] of Object.entries(COUNTS)) {
      const plans = await plansOf(db, tenancy, (tx) => count({ tx, now } as Scope, span));
      const found = plans.flatMap((plan) => [...faultsOf(plan, facts), ...unboundedIn(plan)]);
      const inOrder = ['first', 'last'].includes(name);
      const read = plans
        .map(({ nodes }) => recordsIn(nodes, facts))
        .filter((rows) => !inOrder && rows > recordsMax);
      expect({ name, tenancy, plans: plans.length, found, read }).toEqual({
        name,
        tenancy,
        plans: 1,
        found: [],
        read: [],
      });
    }
  }
});

/** The kept numbers that are read without a bound in time. */
function unboundedIn({ nodes }: Plan): string[] {
  return nodes.flatMap((node) => {
    const { 'Relation Name': relation = '', 'Index Cond': own, Plans: inputs = [] } = node;
    const condition = own ?? inputs.map((input) => input['Index Cond']).join(' ');
    const isBounded =
      !/^audit_(hours|facets)$/.test(relation) || /\((hour|day) >= .*\((hour|day) < /.test(condition);
    return isBounded ? [] : [`reads ${relation} where ${condition}`];
  });
}

/** How many records are expected to be read. */
function recordsIn(nodes: readonly PlanNode[], { filled }: PartitionFacts): number {
  const scans = nodes.filter((node) => filled.has(node['Relation Name'] ?? ''));
  return scans.reduce((sum, scan) => sum + scan['Plan Rows'], 0);
}

/** What a plan does that it must not: read a partition from end to end, or sort more than it may. */
function faultsOf({ nodes }: Plan, { filled }: PartitionFacts, sortedMax = SORTED_ROWS_MAX): string[] {
  return nodes.flatMap((node) => {
    const { 'Node Type': type, 'Relation Name': relation = '', Plans: inputs = [] } = node;
    if (type === 'Seq Scan' && filled.has(relation)) return [`reads all of ${relation}`];
    const sorted = inputs.reduce((sum, input) => sum + input['Plan Rows'], 0);
    return type.includes('Sort') && sorted > sortedMax ? [`sorts ${sorted} rows`] : [];
  });
}

interface PartitionFacts {
  /** The partitions that hold records. */
  readonly filled: ReadonlySet<string>;
  /** The index of the log that a partition's index is a part of. */
  readonly parentOf: ReadonlyMap<string, string>;
}

async function partitionFacts({ admin }: FreshDatabase): Promise<PartitionFacts> {
  const parts = await admin<{ part: string; whole: string; kind: string; rows: number }[]>`
    select part.relname as part, whole.relname as whole, part.relkind as kind, part.reltuples as rows
    from pg_inherits join pg_class part on part.oid = inhrelid join pg_class whole on whole.oid = inhparent`;
  return {
    filled: new Set(parts.filter(({ kind, rows }) => kind === 'r' && rows > 0).map(({ part }) => part)),
    parentOf: new Map(parts.filter(({ kind }) => kind === 'i').map(({ part, whole }) => [part, whole])),
  };
}

const NOTHING_SELECTED = { fieldNodes: [], fragments: {} } as unknown as GraphQLResolveInfo;

function ask(query: unknown, args: object, context: Context): unknown {
  const resolver = query as (
    root: object,
    args: object,
    context: Context,
    info: GraphQLResolveInfo,
  ) => unknown;
  return resolver({}, args, context, NOTHING_SELECTED);
}

/** A context whose reads are explained, for an administrator of the tenant. */
function contextOn(here: World, tx: Scope['tx']): Context {
  const { services } = here.server.house;
  const actor: UserActor = {
    type: 'USER',
    id: id(2, 1),
    tenantId: TENANT,
    role: 'TENANT_ADMIN',
    email: 'p@example.com',
    name: 'P',
    sessionId: id(4, 1),
    scopes: scopesOf('TENANT_ADMIN'),
  };
  const scope = { actor, services, tx, now: services.clock.now() };
  return {
    actor,
    services,
    read: (query: (scope: unknown) => unknown) => query(scope),
  } as unknown as Context;
}

/**
 * Records of the last days in seven tenants: most of three actions, few of them failures, fewer security events, some of changes.
 * Sealed ones are of a transaction before the sealer's first, so it leaves them alone; what it keeps of changes is written here.
 */
async function fill({ admin }: FreshDatabase, { records, days, isSealed }: typeof YEAR): Promise<void> {
  const { LOGIN, LOGIN_FAILED, LOGOUT, ...others } = AUDIT_CATALOGUE;
  const keys = JSON.stringify([LOGIN, LOGIN_FAILED, LOGOUT, ...Object.values(others)]);
  await admin`call create_audit_partitions((now() - ${`${days} days`}::interval)::date, now()::date)`;
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`
    with facts as (select array_agg(value) as all from jsonb_array_elements(${keys}::text::jsonb)),
    made as (
      select n, now() - n * ${`${days} days`}::interval / ${records}::int as at, n % 20 = 0 as failed,
        facts.all[case when n % 200 = 3 then 1 + (n / 200) % array_length(facts.all, 1) else 1 + n % 3 end] as fact
      from generate_series(1, ${records}::int) n, facts)
    insert into audit_logs (tenant_id, id, tx, created_at, operation_id, schema_version, user_id, actor, action, resource,
      resource_id, status, failure, severity, security, ip_address, request_id, context, details, changes, subject_hmac, leaf_hash)
    select ('00000001-0000-7000-8000-' || lpad((1 + n % ${TENANTS}::int)::text, 12, '0'))::uuid,
      (left(audit_id_floor(at)::text, 24) || right(md5(n::text), 12))::uuid,
      case when ${isSealed} then '2'::xid8 else pg_current_xact_id() end, at, gen_random_uuid(), 1,
      ('00000002-0000-7000-8000-' || lpad((n % 300)::text, 12, '0'))::uuid, '{"type": "USER"}',
      fact ->> 'key', fact ->> 'resource', ('00000003-0000-7000-8000-' || lpad((n % 3000)::text, 12, '0'))::uuid,
      case when failed then 'failure' else 'success' end, case when failed then 'SCOPE_MISSING' end,
      case when n % 500 = 0 then 4 when failed then 2 else 0 end, n % 40 = 0,
      ('10.0.' || n / 250 % 250 || '.' || n % 250)::inet, 'request-' || n, '{"transport": "HTTP"}', '{}',
      case when n % 300 = 7 then '[{"path": "role"}]'::jsonb else '[]' end,
      case when failed then sha256(convert_to((n % 1000)::text, 'UTF8')) end, sha256('')
    from made`;
    await sql`
      insert into audit_changes (tenant_id, field, id)
      select tenant_id, 'role', id from audit_logs where tx = '2' and changes <> '[]'`;
  });
  await admin`analyze audit_logs, audit_changes`;
}
