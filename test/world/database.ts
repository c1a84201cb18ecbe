import { randomBytes } from 'node:crypto';
import postgres from 'postgres';
import { inject, onTestFinished } from 'vitest';

/** A database of one test, and its superuser's way into it: what it does is in no transaction of ours. */
export interface FreshDatabase {
  /** The superuser's address. */
  readonly adminUrl: string;
  readonly admin: postgres.Sql;
}

/**
 * Creates a database and drops it when the test ends, whoever is still connected. It is a clone of the run's template when
 * there is one. `on`: another server than the run's, by its superuser's address; `from`: another template, '' for none.
 */
export async function freshDatabase({
  on = inject('adminUrl'),
  from = inject('template'),
} = {}): Promise<FreshDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdmin(on, (sql) => sql.unsafe(`create database ${name} template ${from || 'template0'}`));
  const adminUrl = withDatabase(on, name);
  const admin = postgres(adminUrl, { max: 2, onnotice: () => {} });
  onTestFinished(async () => {
    await admin.end({ timeout: 1 });
    await asAdmin(on, (sql) => sql.unsafe(`drop database ${name} with (force)`));
  });
  return { adminUrl, admin };
}

async function asAdmin(url: string, work: (sql: postgres.Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function withDatabase(url: string, name: string): string {
  const address = new URL(url);
  address.pathname = `/${name}`;
  return address.href;
}
