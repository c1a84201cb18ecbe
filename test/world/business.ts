import type { FreshDatabase } from './database.ts';

/** Every row of every table whose changes the log must tell of, by table: equal if and only if nothing changed. */
export async function businessRows({ admin }: FreshDatabase): Promise<Record<string, string[]>> {
  const tables = await admin<{ name: string }[]>`
    select tgrelid::regclass::text as name from pg_trigger where tgname = 'audited' order by 1`;
  const found: Record<string, string[]> = {};
  for (const { name } of tables) {
    const rows = await admin<{ row: string }[]>`select t::text as row from ${admin(name)} t order by 1`;
    found[name] = rows.map(({ row }) => row);
  }
  return found;
}
