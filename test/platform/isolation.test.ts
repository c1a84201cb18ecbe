import { expect, test } from 'vitest';

import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { rawApplication, type RawTenancy } from '../world/application.ts';
import { exported } from '../world/exports.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { ALLOWED_TARGET } from '../world/receiver.ts';
import { world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const REFUSED = '42501';
/** The tables whose rows are a tenant's own, and what says whose. */
const TENANT_COLUMN = { tenants: 'id' } as Readonly<Record<string, string>>;

/** Tables of the platform alone: no row of theirs belongs to a tenant. */
const OF_NOBODY = ['audit_sealer', 'audit_ledger', 'security_detectors', 'throttle_counters'];

test('every table has row-level security that binds its owner too, and a policy for each way to see it', async () => {
  const { admin } = await freshDatabase();
  const tables = await admin`
    select c.relname as name, c.relrowsecurity as enabled, c.relforcerowsecurity as forced, c.relispartition as partition,
      exists (select from pg_attribute where attrelid = c.oid and attname = 'tenant_id') as owned,
      array(select polname || ' ' || polcmd::text || ' ' || polpermissive::text
        from pg_policy where polrelid = c.oid order by 1) as policies,
      has_table_privilege('custos_app', c.oid, 'select, insert, update, delete, truncate') as usable
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')`;
  expect(tables.length).toBeGreaterThan(14);

  for (const { name, enabled, forced, partition, owned, policies, usable } of tables) {
    // A partition is reached through its table only: no policy lets anybody in, and nobody has a right on it.
    const ways = partition
      ? []
      : ['platform * true', ...(owned || name === 'tenants' ? ['tenant * true'] : [])];
    expect({ name, enabled, forced, policies, usable }).toEqual({
      name,
      enabled: true,
      forced: true,
      policies: ways,
      usable: !partition,
    });
  }
});

test('nothing else leads to the rows: no view, and no function that runs as its owner but those that make and drop months and destroy keys', async () => {
  const { admin } = await freshDatabase();
  const ways = await admin`
    select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm', 'f')
    union all select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef`;
  expect(ways.map(({ name }) => name as string)).toEqual([
    'keep_audit_partitions',
    'destroy_subject_keys',
    'drop_audit_month',
  ]);
});

test('who does not say whose rows they work on sees none and writes none', async () => {
  const { database, tables } = await open();
  const raw = await rawApplication(database);
  // Nothing said, nothing said after somebody else did, and nonsense.
  for (const prelude of [
    '',
    `select set_config('app.tenant', '', true), set_config('app.scope', '', true)`,
    `select set_config('app.scope', 'tenant', true)`,
    `select set_config('app.scope', 'PLATFORM', true)`,
  ]) {
    for (const table of tables) {
      const seen = await raw.run(undefined, async (sql) => {
        if (prelude) await sql.unsafe(prelude);
        return await sql.unsafe(`select * from ${table}`);
      });
      expect({ prelude, table, seen: seen.length }).toEqual({ prelude, table, seen: 0 });
    }
  }
  const written = raw.run(undefined, (sql) => sql`insert into audit_trees values (${PLATFORM_TENANT}, 0)`);
  await expect(written).rejects.toMatchObject({ code: REFUSED });
});

test('with the setting of one tenant nothing of another is visible in any table', async () => {
  const { database, tables, a, b } = await open();
  const raw = await rawApplication(database);
  const owners = async (tenancy: RawTenancy, table: string) => {
    const rows = await raw.run(tenancy, (sql) =>
      sql.unsafe(`select distinct ${TENANT_COLUMN[table] ?? 'tenant_id'}::text as owner from ${table}`),
    );
    return rows.map(({ owner }) => owner as string);
  };
  for (const table of tables.filter((name) => !OF_NOBODY.includes(name))) {
    expect({ table, owners: await owners({ tenantId: a }, table) }).toEqual({ table, owners: [a] });
    expect(await owners('PLATFORM', table)).toEqual(expect.arrayContaining([a, b]));
  }
  for (const table of OF_NOBODY)
    expect(await raw.run({ tenantId: a }, (sql) => sql.unsafe(`select * from ${table}`))).toHaveLength(0);
});

test('nor can anything be written for another, or handed over to another', async () => {
  const { database, a, b } = await open();
  const raw = await rawApplication(database);
  const insert = (table: string, columns: string) =>
    `insert into ${table} select (jsonb_populate_record(t, jsonb_build_object(${columns}))).* from ${table} t limit 1`;
  const attempts = [
    insert('tenants', `'id', '${b.replace(/.$/, '0')}', 'subdomain', 'raw'`),
    ...[
      'users',
      'sessions',
      'refresh_tokens',
      'mailed_tokens',
      'audit_logs',
      'subject_keys',
      'audit_trees',
      'branches',
      'user_branch_access',
      'tenant_settings',
      'security_event_states',
      'audit_hours',
      'audit_facets',
      'audit_changes',
      'audit_tiles',
      'audit_checkpoints',
      'audit_verifications',
      'audit_exports',
      'audit_export_parts',
      'legal_holds',
      'api_keys',
      'event_types',
      'audit_event_keys',
      'audit_archives',
      'audit_retention',
      'audit_reads',
      'webhooks',
      'webhook_cursors',
      'webhook_deliveries',
    ].map((table) => insert(table, `'tenant_id', '${b}'`)),
    insert('audit_seals', `'tenant_id', '${b}', 'first_seq', 999`),
    insert('audit_logs', `'tenant_id', '${PLATFORM_TENANT}'`),
    ...['users', 'sessions', 'refresh_tokens', 'mailed_tokens', 'branches', 'tenant_settings'].map(
      (table) => `update ${table} set tenant_id = '${b}'`,
    ),
    `update tenants set id = '${b.replace(/.$/, '0')}'`,
  ];
  for (const statement of attempts) {
    const outcome = await raw
      .run({ tenantId: a }, (sql) => sql.unsafe(statement))
      .then(
        () => 'committed',
        (error: { code: string }) => error.code,
      );
    expect({ statement, outcome }).toEqual({ statement, outcome: REFUSED });
  }
  // What is not seen is not changed, and nobody is told that it is there.
  const changed = await raw.run({ tenantId: a }, async (sql) => [
    (await sql`update users set full_name = 'Mine' where tenant_id = ${b}`).count,
    (await sql`update tenants set name = 'Mine' where id = ${b}`).count,
    (await sql`update audit_sealer set pos = 0`).count,
  ]);
  expect(changed).toEqual([0, 0, 0]);
});

/** A database in which two tenants each have rows in every table. */
async function open(): Promise<{ database: FreshDatabase; tables: string[]; a: string; b: string }> {
  const here = await world();
  const root = await here.root();
  const [a, b] = [await here.tenant('A'), await here.tenant('B')];
  for (const { id: tenantId, admin } of [a, b]) {
    const member = await here.user(admin, 'MEMBER');
    const branch = await admin.do('createBranch', { name: 'North', code: 'N' }, 'branch { id }');
    await admin.do('setUserBranches', { id: member.id, branchIds: [branch.data.branch.id] });
    await admin.do('updateSettings', { organisation: { locale: 'de' } });
    await admin.do('changeUserRole', { id: member.id, role: 'AUDITOR' });
    await exported(admin, { format: 'CSV' });
    await admin.do('createApiKey', { name: 'Key', scopes: ['AUDIT_READ'] });
    await admin.do('registerEventType', { name: 'a.a', schema: {} });
    await admin.do('recordAuditEvents', { events: [{ type: 'a.a', idempotencyKey: '1' }] });
    await admin.ask('{ auditLogs { totalCount } }');
    const hook = await admin.do('createWebhook', { url: ALLOWED_TARGET }, 'webhook { id }');
    await admin.do('testWebhook', { id: hook.data.webhook.id });
    await root.do('placeLegalHold', { tenantId, reason: 'Trial' });
    // As if somebody had acknowledged that event.
    await here.database.admin.begin(async (sql) => {
      await sql`set local session_replication_role = replica`;
      await sql`insert into security_event_states (tenant_id, log_id, state, changed_by, changed_at)
        select tenant_id, id, 'ACKNOWLEDGED', user_id, created_at from audit_logs
        where tenant_id = ${tenantId} and security limit 1`;
      // As if retention had been looked after.
      await sql`insert into audit_retention (tenant_id, last_run_at) values (${tenantId}, now())`;
      await sql`insert into audit_archives (tenant_id, month, file, bytes, sha256, manifest, rows, from_seq, to_seq, archived_at)
        values (${tenantId}, '2026-01', 'a', 0, '', '', 0, 0, 0, now())`;
      // As if there were enough records for one.
      await sql`insert into audit_tiles (tenant_id, level, index, hashes) values (${tenantId}, 1, 0, sha256('leaves'))`;
    });
  }
  const { admin } = here.database;
  const sealed = await here.database.admin`
    select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1`;
  await until('both have records that are sealed, signed and checked', async () => {
    const [row] = await admin`select count(*)::int as logs from audit_trees
      join audit_verifications using (tenant_id) where tenant_id in (select tenant_id from audit_checkpoints)`;
    return row!['logs'] === 3;
  });
  return { database: here.database, tables: sealed.map(({ name }) => name as string), a: a.id, b: b.id };
}
