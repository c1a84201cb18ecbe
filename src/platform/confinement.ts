import { type SQL, sql } from 'drizzle-orm';

import type { Database, ReadTx } from './db.ts';
import { SettingsError } from './settings.ts';

/** Minor releases before these have faults that this storage would meet. */
const LEAST_VERSIONS: Readonly<Record<number, number>> = { 15: 14, 16: 10, 17: 6 };
const LEAST_MAJOR = 15;

interface Facts extends Record<string, unknown> {
  readonly version: number;
  readonly login: string;
  /** Is, acts as or may become a role that row-level security does not bind. */
  readonly unbound: boolean;
  /** Is or may become the owner of the tables. */
  readonly owner: boolean;
}

/**
 * Refuses a server that is too old, and a login that row-level security or the rights on the log do not bind: a superuser, a
 * role with BYPASSRLS, and in production the owner of the tables. Membership counts: SET ROLE is one statement.
 */
export async function assertConfined(db: Database, { production }: { production: boolean }): Promise<void> {
  await db.withReadTx('PLATFORM', (tx) =>
    assertBound(tx, production, sql`session_user`, sql`rolname = current_user or `),
  );
}

/** As far as it can be known before there is a table: the same of that login, asked by whoever migrates. */
export async function assertConfinable(
  db: Pick<ReadTx, 'execute'>,
  login: string,
  { production }: { production: boolean },
): Promise<void> {
  await assertBound(db, production, sql`${login}::name`);
}

async function assertBound(
  db: Pick<ReadTx, 'execute'>,
  production: boolean,
  login: SQL,
  orIs: SQL = sql``,
): Promise<void> {
  const [facts] = await db.execute<Facts>(sql`
    select current_setting('server_version_num')::int as version, ${login} as login,
      bool_or(rolsuper or rolbypassrls) as unbound,
      bool_or(oid = (select relowner from pg_class where pg_class.oid = to_regclass('audit_logs'))) as owner
    from pg_roles where ${orIs}pg_has_role(${login}, oid, 'member')`);
  const fault = faultOf(facts!, production);
  if (fault) throw new SettingsError(`DATABASE_URL must ${fault}`);
}

function faultOf({ version, login, unbound, owner }: Facts, production: boolean): string | undefined {
  const [major, minor] = [Math.floor(version / 10_000), version % 10_000];
  if (major < LEAST_MAJOR || minor < (LEAST_VERSIONS[major] ?? 0)) {
    return `lead to PostgreSQL >= 15.14, 16.10, 17.6 or 18, got ${major}.${minor}`;
  }
  const remedy = 'make a login of its own and put this one into DATABASE_ADMIN_URL';
  if (unbound) {
    return (
      `log in as a role that row-level security binds, but "${login}" is a superuser or has BYPASSRLS, ` +
      `or may become such a role: ${remedy}`
    );
  }
  if (owner && production)
    return `not log in as the owner of the tables, but "${login}" is or may become it: ${remedy}`;
  return undefined;
}
