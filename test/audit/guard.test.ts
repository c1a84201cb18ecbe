import { expect, test } from 'vitest';

import { type RawApplication, rawApplication } from '../world/application.ts';
import { businessRows } from '../world/business.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';
import { world } from '../world/server.ts';

/** Of drizzle/0001_guards.sql: a change without its record. */
const NO_RECORD = 'CUS01';
const NOT_ALLOWED = '42501';

/** A write of each audited table; `id` is any user's. */
const WRITES = {
  tenants: `insert into tenants (id, name, subdomain, status, tier, created_at, updated_at)
    values (gen_random_uuid(), 'Raw', 'raw', 'ACTIVE', 'FREE', now(), now())`,
  users: `insert into users (tenant_id, id, email, full_name, role, status, created_at, updated_at)
    select tenant_id, gen_random_uuid(), 'raw@example.com', 'Raw', role, 'ACTIVE', now(), now() from users limit 1`,
  sessions: `insert into sessions (tenant_id, id, user_id, created_at, last_used_at, expires_at)
    select tenant_id, gen_random_uuid(), id, now(), now(), now() from users limit 1`,
  refresh_tokens: `insert into refresh_tokens (tenant_id, hash, session_id, created_at, expires_at)
    select tenant_id, '\\x00', gen_random_uuid(), now(), now() from users limit 1`,
  mailed_tokens: `insert into mailed_tokens (tenant_id, hash, user_id, purpose, created_at, expires_at)
    select tenant_id, '\\x00', id, 'PASSWORD_RESET', now(), now() from users limit 1`,
  branches: `insert into branches (tenant_id, id, name, code, status, created_at, updated_at)
    select tenant_id, gen_random_uuid(), 'Raw', 'RAW', 'ACTIVE', now(), now() from users limit 1`,
  user_branch_access: `insert into user_branch_access (tenant_id, user_id, branch_id, granted_at)
    select tenant_id, id, gen_random_uuid(), now() from users limit 1`,
  tenant_settings: `insert into tenant_settings (tenant_id, updated_at) values (gen_random_uuid(), now())`,
  security_event_states: `insert into security_event_states (tenant_id, log_id, state, changed_by, changed_at)
    select tenant_id, gen_random_uuid(), 'RESOLVED', id, now() from users limit 1`,
  api_keys: `insert into api_keys (tenant_id, id, name, hash, hint, scopes, created_at)
    select tenant_id, gen_random_uuid(), 'Raw', '\\x00', 'raw', '[]', now() from users limit 1`,
  webhooks: `insert into webhooks (tenant_id, id, url, format, condition, secret, state, created_at, updated_at)
    select tenant_id, gen_random_uuid(), 'https://raw.example', 'NATIVE', '{}', '', 'ACTIVE', now(), now() from users limit 1`,
  legal_holds: `insert into legal_holds (tenant_id, id, reason, created_at)
    select tenant_id, gen_random_uuid(), 'Raw', now() from users limit 1`,
} as const;

/** What else the application may do to them, where it is not to set `created_at`. */
const CHANGES: Readonly<Record<string, string>> = {
  user_branch_access: 'delete from user_branch_access',
  tenant_settings: 'update tenant_settings set updated_at = now()',
  security_event_states: 'update security_event_states set changed_at = now()',
};
/** Kept by the sealer, the signer, the verifier and the detector, written by jobs, or forgotten by themselves: none is business. */
const OURS = [
  'audit_sealer',
  'audit_trees',
  'audit_tiles',
  'audit_verifications',
  'audit_hours',
  'audit_facets',
  'security_detectors',
  'throttle_counters',
  'audit_exports',
  'audit_export_parts',
  'audit_archives',
  'audit_retention',
  'webhook_cursors',
  'webhook_deliveries',
  'audit_event_keys',
];

/** What the application adds to, and can neither change nor remove. */
const NEVER_CHANGED = ['event_types'];

test('every table of the business is guarded', async () => {
  const { admin } = await freshDatabase();
  const written = await admin`
    select relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and not relispartition
      and (has_table_privilege('custos_app', oid, 'update') or has_table_privilege('custos_app', oid, 'delete'))`;
  const names = written.map(({ relname }) => relname as string).filter((name) => !OURS.includes(name));
  expect(names.sort()).toEqual(Object.keys(WRITES).sort());

  const guarded = await admin`
    select tgrelid::regclass::text as name from pg_trigger
    where tgname = 'audited' and tgdeferrable and tginitdeferred and tgenabled = 'O'`;
  expect(guarded.map(({ name }) => name as string).sort()).toEqual([...names, ...NEVER_CHANGED].sort());
});

test('raw SQL of the application that changes business without a record is refused at commit', async () => {
  const { database, raw } = await open();
  const before = await businessRows(database);

  for (const [table, insert] of Object.entries(WRITES)) {
    const change = CHANGES[table] ?? `update ${table} set created_at = now()`;
    for (const statement of [insert, change]) {
      const outcome = outcomeOf(raw.run('PLATFORM', (sql) => sql.unsafe(statement)));
      expect({ statement, outcome: await outcome }).toEqual({ statement, outcome: NO_RECORD });
    }
    const removal = change.startsWith('delete') ? `truncate ${table}` : `delete from ${table}`;
    expect(await outcomeOf(raw.run('PLATFORM', (sql) => sql.unsafe(removal)))).toBe(NOT_ALLOWED);
  }
  expect(await businessRows(database)).toEqual(before);
});

test('a record counts in its own transaction only, and only if it stays', async () => {
  const { database, raw } = await open();
  const before = await businessRows(database);
  const change = `update tenants set name = 'Raw'`;

  const earlier = raw
    .run('PLATFORM', (sql) => sql.unsafe(RECORD))
    .then(() => raw.run('PLATFORM', (sql) => sql.unsafe(change)));
  expect(await outcomeOf(earlier)).toBe(NO_RECORD);

  const withdrawn = raw.run('PLATFORM', async (sql) => {
    await sql.unsafe(change);
    await sql.unsafe(`savepoint here; ${RECORD}; rollback to here`);
  });
  expect(await outcomeOf(withdrawn)).toBe(NO_RECORD);

  const pretended = raw.run('PLATFORM', async (sql) => {
    await sql.unsafe(
      `${change}; select set_config('custos.record', tenant_id || '/' || id, true) from audit_logs limit 1`,
    );
  });
  expect(await outcomeOf(pretended)).toBe(NO_RECORD);

  const hidden = raw.run('PLATFORM', async (sql) => {
    await sql.unsafe(`${RECORD}; ${change}; select set_config('custos.record', '', true)`);
  });
  expect(await outcomeOf(hidden)).toBe(NO_RECORD);
  expect(await businessRows(database)).toEqual(before);

  const recorded = raw.run('PLATFORM', (sql) => sql.unsafe(`${RECORD}; ${change}`));
  expect(await outcomeOf(recorded)).toBe('committed');
});

test('the application can neither change nor remove what is on record, by the table or by a partition', async () => {
  const { database, raw } = await open();
  const rows = await database.admin`select id from audit_logs order by id`;

  for (const table of [
    ...(await partitions(database)),
    'audit_logs',
    'audit_changes',
    'audit_seals',
    'subject_keys',
  ]) {
    for (const statement of forbidden(table)) {
      expect({
        statement,
        outcome: await outcomeOf(raw.run('PLATFORM', (sql) => sql.unsafe(statement))),
      }).toEqual({
        statement,
        outcome: NOT_ALLOWED,
      });
    }
  }
  for (const partition of await partitions(database)) {
    const direct = raw.run('PLATFORM', (sql) => sql.unsafe(`select from ${partition}`));
    expect(await outcomeOf(direct)).toBe(NOT_ALLOWED);
  }
  expect(await database.admin`select id from audit_logs order by id`).toEqual(rows);
});

test('nor can the owner: triggers stop it, also on a partition', async () => {
  const { database } = await open();
  for (const table of [...(await partitions(database)), 'audit_logs', 'audit_changes', 'audit_seals']) {
    const [{ rows }] =
      (await database.admin`select exists (select from ${database.admin(table)}) as rows`) as [
        { rows: boolean },
      ];
    for (const statement of forbidden(table)) {
      // A row's trigger has nothing to stop where there is no row.
      const stopped = rows || statement.startsWith('truncate');
      const outcome = await outcomeOf(database.admin.unsafe(statement));
      expect({ statement, outcome }).toEqual({ statement, outcome: stopped ? NOT_ALLOWED : 'committed' });
    }
  }
});

test('the application owns nothing, and can neither alter, drop nor switch off what binds it', async () => {
  const { database, raw } = await open();
  const [owned] = await database.admin`
    select count(*)::int as objects from pg_class
    where relowner in (select oid from pg_roles where rolname in ('custos_app', 'raw_login'))`;
  expect(owned!.objects).toBe(0);

  for (const statement of [
    'drop table audit_logs',
    'drop trigger append_only on audit_logs',
    'drop function require_record() cascade',
    'drop policy tenant on users',
    'alter table audit_logs disable trigger all',
    'alter table users disable trigger audited',
    'alter table users disable row level security',
    'alter table audit_logs detach partition ' + (await partitions(database))[0],
    'alter function require_record() rename to nothing',
    'create or replace function require_record() returns trigger language plpgsql as $$ begin return null; end $$',
    'create trigger mine before insert on users execute function refuse_rewriting()',
    'create table mine (id int)',
    'create schema mine',
    `call create_audit_partitions('2020-01-01', '2020-01-01')`,
    'set session_replication_role = replica',
    'set role postgres',
    `alter role custos_app bypassrls`,
    `copy users to program 'true'`,
  ]) {
    const outcome = await outcomeOf(raw.run('PLATFORM', (sql) => sql.unsafe(statement)));
    expect({ statement, outcome }).toEqual({ statement, outcome: NOT_ALLOWED });
  }
});

const RECORD = `insert into audit_logs (tenant_id, id, created_at, operation_id, schema_version, actor, action, resource,
    status, severity, request_id, context, details, changes, leaf_hash)
  select tenant_id, (left(id::text, 19) || right(gen_random_uuid()::text, 17))::uuid, now(), gen_random_uuid(), 1,
    '{}', 'raw', 'TENANT', 'success', 0, 'raw', '{}', '{}', '[]', sha256('') from audit_logs order by id desc limit 1`;

/** A database in which a tenant registered, and the application's rights in it. */
async function open(): Promise<{ database: FreshDatabase; raw: RawApplication }> {
  const here = await world();
  const { admin } = await here.tenant();
  const { id } = await here.user(admin, 'MEMBER');
  const branch = await admin.do('createBranch', { name: 'A', code: 'A' }, 'branch { id }');
  await admin.do('setUserBranches', { id, branchIds: [branch.data.branch.id] });
  await admin.do('updateSettings', { organisation: { locale: 'de' } });
  await admin.do('changeUserRole', { id, role: 'AUDITOR' });
  const events = await admin.ask('{ securityEvents(first: 1) { nodes { id } } }');
  await admin.do('acknowledgeSecurityEvent', { id: events.data.securityEvents.nodes[0].id });
  const root = await here.root();
  await admin.do('createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] });
  await admin.do('createWebhook', { url: ALLOWED_TARGET });
  await root.do('placeLegalHold', { tenantId: admin.tenantId, reason: 'Trial' });
  return { database: here.database, raw: await rawApplication(here.database) };
}

function forbidden(table: string): string[] {
  return [`update ${table} set tenant_id = tenant_id`, `delete from ${table}`, `truncate ${table}`];
}

async function partitions({ admin }: FreshDatabase): Promise<string[]> {
  const rows = await admin`
    select inhrelid::regclass::text as name from pg_inherits 
    where inhparent in ('audit_logs'::regclass, 'audit_changes'::regclass) order by 1`;
  expect(rows.length).toBeGreaterThan(9);
  return rows.map(({ name }) => name as string);
}

/** `committed`, or the SQLSTATE it failed with. */
async function outcomeOf(work: PromiseLike<unknown>): Promise<string> {
  try {
    await work;
    return 'committed';
  } catch (error) {
    return (error as { code: string }).code;
  }
}
