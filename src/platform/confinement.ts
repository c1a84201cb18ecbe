import { sql } from 'drizzle-orm';

import type { Database } from './db.ts';
import { SettingsError } from './settings.ts';

/** Minor releases before these have faults that this storage would meet. */
const LEAST_VERSIONS: Readonly<Record<number, number>> = { 15: 14, 16: 10, 17: 6 };
const LEAST_MAJOR = 15;

interface Facts extends Record<string, unknown> {
  readonly version: number;
  readonly login: string;
  readonly superuser: boolean;
  readonly bypassrls: boolean;
  readonly owner: boolean;
}

/**
 * Refuses a server that is too old, and a login that row-level security or the rights on the log do not bind: a superuser, a
 * role with BYPASSRLS, and in production the owner of the tables.
 */
export async function assertConfined(db: Database, { production }: { production: boolean }): Promise<void> {
  const [facts] = await db.withReadTx('PLATFORM', (tx) =>
    tx.execute<Facts>(sql`
      select current_setting('server_version_num')::int as version, session_user as login,
        rolsuper as superuser, rolbypassrls as bypassrls,
        exists (select from pg_class where relname = 'audit_logs' and relowner = pg_roles.oid) as owner
      from pg_roles where rolname = session_user`),
  );
  const fault = faultOf(facts!, production);
  if (fault) throw new SettingsError(`DATABASE_URL must ${fault}`);
}

function faultOf(
  { version, login, superuser, bypassrls, owner }: Facts,
  production: boolean,
): string | undefined {
  const [major, minor] = [Math.floor(version / 10_000), version % 10_000];
  if (major < LEAST_MAJOR || minor < (LEAST_VERSIONS[major] ?? 0)) {
    return `lead to PostgreSQL >= 15.14, 16.10, 17.6 or 18, got ${major}.${minor}`;
  }
  const remedy = 'make a login of its own and put this one into DATABASE_ADMIN_URL';
  if (superuser || bypassrls) {
    return `log in as a role that row-level security binds, but "${login}" is a superuser or has BYPASSRLS: ${remedy}`;
  }
  if (owner && production) return `not log in as the owner of the tables, but "${login}" is: ${remedy}`;
  return undefined;
}
