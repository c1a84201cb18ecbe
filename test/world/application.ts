import postgres from 'postgres';
import { onTestFinished } from 'vitest';

import type { FreshDatabase } from './database.ts';

/** The tables, triggers and functions of the template are there; so is this login, for the cluster's life. */
const LOGIN_ROLE = `do $$ begin
  create role raw_login login password 'test' in role custos_app;
exception when duplicate_object or unique_violation then null; end $$`;

/** Whose rows a raw transaction says it works on; undefined: it says nothing. */
export type RawTenancy = { readonly tenantId: string } | 'PLATFORM' | undefined;

/** The application's rights without the application: raw SQL, as somebody would send it who has its password. */
export interface RawApplication {
  /** Runs statements in one transaction as custos_app. Rejects with a postgres.js error, whose `code` is the SQLSTATE. */
  run<T>(tenancy: RawTenancy, work: (sql: postgres.TransactionSql) => Promise<T>): Promise<T>;
}

/** Logs in as the application does. Closed when the test ends. */
export async function rawApplication({ admin, adminUrl }: FreshDatabase): Promise<RawApplication> {
  await admin.unsafe(LOGIN_ROLE);
  const url = new URL(adminUrl);
  url.username = 'raw_login';
  const sql = postgres(url.href, { max: 1, connection: { role: 'custos_app' }, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  return {
    run: (tenancy, work) =>
      sql.begin(async (tx) => {
        if (tenancy !== undefined) {
          const tenantId = tenancy === 'PLATFORM' ? '' : tenancy.tenantId;
          await tx`select set_config('app.tenant', ${tenantId}, true),
            set_config('app.scope', ${tenantId === '' ? 'platform' : 'tenant'}, true)`;
        }
        return await work(tx);
      }) as Promise<never>,
  };
}
