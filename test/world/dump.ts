import { expect } from 'vitest';

import type { World } from './server.ts';

/** Every row of every table, of every schema of ours, as text: what a dump would hold. */
export async function dumped({ database: { admin } }: World): Promise<string> {
  const tables = await admin<{ name: string }[]>`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
    where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`;
  expect(tables.length).toBeGreaterThan(8);
  const texts: string[] = [];
  for (const { name } of tables) {
    const [row] = await admin.unsafe(
      `select coalesce(string_agg(t::text, e'\\n'), '') as text from ${name} t`,
    );
    texts.push(row!['text'] as string);
  }
  return texts.join('\n');
}
