/**
 * Brings a database to the schema this program was built with: the role the application runs as, the migrations of
 * drizzle/, and the log's first months (audit/months.ts makes the next). Safe to run from many processes at once and at every start.
 */
import { sql as orm } from 'drizzle-orm';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { drizzle } from 'drizzle-orm/postgres-js';
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import postgres, { type Sql } from 'postgres';
import { z } from 'zod';

import type { ReadTx } from './db.ts';

/** The role the application is, whoever it logs in as: not the owner, confined by row-level security. */
const APPLICATION_ROLE = 'custos_app';

const MIGRATIONS = fileURLToPath(new URL('../../drizzle', import.meta.url));
/** Any fixed number: what the processes that migrate wait for each other on. */
const MIGRATION_LOCK = 4_811_230_417;

export interface MigrateOptions {
  /** Connects as the owner of the schema. */
  readonly adminUrl: string;
  /** The login the application connects with; it is made a member of the application's role. */
  readonly appUser: string;
  /** A day from which on there are months for records too: of a log that begins in the past. */
  readonly since?: Date | undefined;
  /** Looks at the database before anything is changed in it; what it throws ends the migration. */
  readonly before?: ((db: Pick<ReadTx, 'execute'>) => Promise<void>) | undefined;
}

/** Migrates, and names what it applied. Rejects when the database holds migrations this program does not know, or altered ones. */
export async function migrate({ adminUrl, appUser, since, before }: MigrateOptions): Promise<string[]> {
  const sql = postgres(adminUrl, { max: 1, onnotice: () => {}, connect_timeout: 10 });
  const db = drizzle(sql);
  try {
    await sql`select pg_advisory_lock(${MIGRATION_LOCK})`;
    await before?.(db);
    await makeRole(sql, appUser);
    const [there] = await sql`select to_regclass('drizzle.__drizzle_migrations') is not null as yes`;
    const earlier = there!.yes ? await appliedMigrations(db) : [];
    await applyMigrations(db, { migrationsFolder: MIGRATIONS });
    await assertKnownMigrations(db);
    await sql`grant usage on schema drizzle to ${sql(APPLICATION_ROLE)}`;
    await sql`grant select on drizzle.__drizzle_migrations to ${sql(APPLICATION_ROLE)}`;
    await sql`call keep_audit_partitions()`;
    if (since) await sql`call create_audit_partitions(${since.toISOString()}::date, current_date)`;
    return migrationNames().slice(earlier.length);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function makeRole(sql: Sql, appUser: string): Promise<void> {
  const [role] = await sql`select from pg_roles where rolname = ${APPLICATION_ROLE}`;
  // Roles belong to the cluster: another database of it may make the same one at the same time.
  if (!role) await ignoring(['42710', '23505'], sql`create role ${sql(APPLICATION_ROLE)} nologin`);
  const [member] = await sql`select pg_has_role(${appUser}, ${APPLICATION_ROLE}, 'member') as yes`;
  if (!member!.yes) await sql`grant ${sql(APPLICATION_ROLE)} to ${sql(appUser)}`;
}

async function ignoring(sqlstates: readonly string[], query: PromiseLike<unknown>): Promise<void> {
  try {
    await query;
  } catch (error) {
    if (!(error instanceof postgres.PostgresError && sqlstates.includes(error.code))) throw error;
  }
}

/** Whether the database has the migrations of this program, and no others. */
export async function hasKnownMigrations(tx: Pick<ReadTx, 'execute'>): Promise<boolean> {
  const applied = await appliedMigrations(tx);
  const known = knownMigrations();
  return applied.length === known.length && applied.every((hash, at) => hash === known[at]);
}

/** Rejects for a database of another version. Drizzle neither looks at migrations it has applied again nor at those it does not know. */
export async function assertKnownMigrations(db: Pick<ReadTx, 'execute'>): Promise<void> {
  if (await hasKnownMigrations(db)) return;
  throw new Error(
    `The database has ${(await appliedMigrations(db)).length} migrations applied, and they are not the ` +
      `${knownMigrations().length} of this program: start the version that migrated it, or a later one.`,
  );
}

async function appliedMigrations(tx: Pick<ReadTx, 'execute'>): Promise<string[]> {
  const rows = await tx.execute<{ hash: string }>(
    orm`select hash from drizzle.__drizzle_migrations order by created_at`,
  );
  return rows.map(({ hash }) => hash);
}

let known: readonly string[] | undefined;

/** The hashes of drizzle/, which do not change while the program runs. */
function knownMigrations(): readonly string[] {
  return (known ??= readMigrationFiles({ migrationsFolder: MIGRATIONS }).map(({ hash }) => hash));
}

const JOURNAL = z.object({ entries: z.array(z.object({ tag: z.string() })) });

function migrationNames(): string[] {
  const journal: unknown = JSON.parse(readFileSync(`${MIGRATIONS}/meta/_journal.json`, 'utf8'));
  return JOURNAL.parse(journal).entries.map(({ tag }) => tag);
}
