import type { GraphQLResolveInfo } from 'graphql';
import { expect, test } from 'vitest';

import type { Context, Scope, UserActor } from '../../src/audit/act.ts';
import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { scopesOf } from '../../src/auth/roles.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditLogFilter, QueryResolvers } from '../../src/generated/types.ts';
import { isoOf } from '../../src/platform/ids.ts';
import * as auditLogs from '../../src/security/auditLogs.ts';
import * as events from '../../src/security/events.ts';
import { type RawApplication, rawApplication } from '../world/application.ts';
import type { FreshDatabase } from '../world/database.ts';
import { type Plan, plansOf } from '../world/plans.ts';
import { world, type World } from '../world/server.ts';

const RECORDS = 20_000;
const DAYS = 55;
const TENANTS = 8;
const id = (kind: number, n: number) => `${String(kind).padStart(8, '0')}-0000-7000-8000-${String(n).padStart(12, '0')}`;
const TENANT = id(1, 1);
const DAY_MICROS = 86_400_000_000n;

/** Each field of the filter, with a value that few records have and, where it matters, one that many have. */
const filters = (now: bigint): { readonly [Field in keyof Required<AuditLogFilter>]: readonly AuditLogFilter[] } => ({
  tenantId: [{ tenantId: TENANT }],
  userId: [{ userId: id(2, 7) }],
  actions: [
    { actions: ['TENANT_DELETED'] },
    { actions: ['LOGIN'] },
    { actions: ['LOGIN', 'TENANT_DELETED', 'USER_CREATED'] },
  ],
  categories: [{ categories: ['TENANT'] }, { categories: ['AUTH'] }],
  resources: [{ resources: ['TENANT'] }, { resources: ['USER'] }],
  resourceId: [{ resourceId: id(3, 7) }],
  statuses: [{ statuses: ['FAILURE', 'ERROR'] }, { statuses: ['ERROR'] }, { statuses: ['SUCCESS'] }],
  minSeverity: [{ minSeverity: 'INFO' }, { minSeverity: 'CRITICAL' }],
  ipAddress: [{ ipAddress: '10.0.0.7' }, { ipAddress: '10.0.0.7', statuses: ['FAILURE'] }],
  requestId: [{ requestId: 'request-77' }],
  createdAt: [
    { createdAt: { from: isoOf(now - 3n * DAY_MICROS) } },
    { createdAt: { from: isoOf(now - 50n * DAY_MICROS), to: isoOf(now - 49n * DAY_MICROS) } },
  ],
  and: [{ and: [{ userId: id(2, 7) }, { actions: ['LOGIN'] }] }],
  or: [{ or: [{ userId: id(2, 7) }, { resourceId: id(3, 7) }] }],
  not: [{ not: { statuses: ['SUCCESS'] } }],
});

test('as the application, every documented filter is served by an index, and in a tenant without sorting', async () => {
  const { here, raw } = await open();
  const now = here.server.house.services.clock.now();
  const asked: Record<string, (context: Context) => unknown> = {
    'failedLoginAttempts': (context) => ask(events.queries.failedLoginAttempts, {}, context),
    'failedLoginAttempts by address': (context) =>
      ask(events.queries.failedLoginAttempts, { ipAddress: '10.0.0.7' }, context),
    'failedLoginAttempts by e-mail': (context) =>
      ask(events.queries.failedLoginAttempts, { email: 'p7@example.com' }, context),
    'securityEvents': (context) => ask(events.queries.securityEvents, { days: 90 }, context),
    'no filter': (context) => ask(auditLogs.queries.auditLogs, {}, context),
    'one record': (context) => ask(auditLogs.queries.auditLog, { id: id(1, 1) }, context),
  };
  for (const filter of Object.values(filters(now)).flat()) {
    asked[JSON.stringify(filter)] = (context) => ask(auditLogs.queries.auditLogs, { filter }, context);
  }

  const report: string[] = [];
  for (const tenantId of [TENANT, PLATFORM_TENANT]) {
    for (const [name, question] of Object.entries(asked)) {
      const plans = await plansOf(raw, tenantId === PLATFORM_TENANT ? 'PLATFORM' : { tenantId }, (tx) =>
        Promise.resolve(question(contextOn(here, tenantId, tx))),
      );
      for (const plan of plans) report.push(`${tenantId === TENANT ? 'T' : 'P'} ${name}: ${summary(plan)}`);
    }
  }
  console.log(report.join('\n'));
  expect(1).toBe(1);
});

function summary({ nodes }: Plan): string {
  return [...new Set(nodes.map((n) => `${n['Node Type']}${n['Index Name'] ? ' ' + n['Index Name'] : ''}${n['Relation Name'] && n['Node Type'] === 'Seq Scan' ? ' ' + n['Relation Name'] : ''}`))].join(', ');
}

function ask(query: unknown, args: object, context: Context): unknown {
  const resolver = query as (root: object, args: object, context: Context, info: GraphQLResolveInfo) => unknown;
  return resolver({}, args, context, undefined as never);
}

/** A context whose reads are explained. Nobody acts; so it has nothing else. */
function contextOn(here: World, tenantId: string, tx: Scope['tx']): Context {
  const { services } = here.server.house;
  const role = tenantId === PLATFORM_TENANT ? 'SUPER_ADMIN' : 'TENANT_ADMIN';
  const actor: UserActor = {
    type: 'USER',
    id: id(2, 1),
    tenantId,
    role,
    email: 'p@example.com',
    name: 'P',
    sessionId: id(4, 1),
    scopes: scopesOf(role),
  };
  const scope = { actor, services, tx, now: services.clock.now() };
  return { actor, services, read: (query: (scope: unknown) => unknown) => query(scope) } as unknown as Context;
}

async function open(): Promise<{ here: World; raw: RawApplication }> {
  const here = await world();
  await fill(here.database);
  return { here, raw: await rawApplication(here.database) };
}

/** Records of eighty days: one tenant has most of them, few are failures, fewer security events. */
async function fill({ admin }: FreshDatabase): Promise<void> {
  const keys = JSON.stringify(Object.values(AUDIT_CATALOGUE).map(({ key, resource }) => ({ key, resource })));
  await admin`
    with facts as (select array_agg(value) as all from jsonb_array_elements(${keys}::text::jsonb)),
    made as (
      select n, now() - n * ${`${DAYS} days`}::interval / ${RECORDS}::int as at, n % 20 = 0 as failed,
        facts.all[case when n % 200 = 3 then 1 + (n / 200) % array_length(facts.all, 1) else 1 + n % 3 end] as fact
      from generate_series(1, ${RECORDS}::int) n, facts)
    insert into audit_logs (tenant_id, id, created_at, operation_id, schema_version, user_id, actor, action, resource,
      resource_id, status, failure, severity, security, ip_address, request_id, context, details, changes, subject_hmac, leaf_hash)
    select ('00000001-0000-7000-8000-' || lpad(case when n % 5 < 3 then '1' else (1 + n % ${TENANTS}::int)::text end, 12, '0'))::uuid,
      (left(audit_id_floor(at)::text, 24) || right(md5(n::text), 12))::uuid, at, gen_random_uuid(), 1,
      ('00000002-0000-7000-8000-' || lpad((n % 300)::text, 12, '0'))::uuid, '{"type": "USER"}',
      fact ->> 'key', fact ->> 'resource', ('00000003-0000-7000-8000-' || lpad((n % 3000)::text, 12, '0'))::uuid,
      case when failed then 'failure' else 'success' end, case when failed then 'SCOPE_MISSING' end,
      case when n % 500 = 0 then 4 when failed then 2 else 0 end, n % 40 = 0,
      ('10.0.' || n / 250 % 250 || '.' || n % 250)::inet, 'request-' || n, '{"transport": "HTTP"}', '{}', '[]',
      case when failed then sha256(convert_to((n % 1000)::text, 'UTF8')) end, sha256('')
    from made`;
  await admin`analyze audit_logs`;
}
