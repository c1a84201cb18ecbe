import { and, asc, count, desc, gt, lt, type SQL } from 'drizzle-orm';
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core';

import { type Page, type PageArguments, pageOf } from '../platform/page.ts';
import type { Context } from './act.ts';

/**
 * A page of a table, newest first. `kind` and `binding` name the list: its filter and what the reader is confined to;
 * `wanted` is the same in SQL.
 */
export function pageOfTable<Table extends PgTable & { id: PgColumn }>(
  context: Context,
  table: Table,
  wanted: SQL | undefined,
  list: { readonly kind: string; readonly binding: readonly unknown[] },
  page: PageArguments,
): Promise<Page<Table['$inferSelect'] & { readonly id: string }>> {
  const countAll = () =>
    context.read(async ({ tx }) => {
      const [row] = await tx.select({ value: count() }).from<PgTable>(table).where(wanted);
      return row!.value;
    });
  return pageOf(
    { kind: list.kind, binding: JSON.stringify(list.binding), descending: true, count: countAll },
    page,
    ({ limit, descending, beyond, short }) =>
      context.read(async ({ tx }) => {
        const [past, before] = descending ? [lt, gt] : [gt, lt];
        const rows = await tx
          .select()
          .from<PgTable>(table)
          .where(
            and(
              wanted,
              beyond ? past(table.id, beyond) : undefined,
              short ? before(table.id, short) : undefined,
            ),
          )
          .orderBy(descending ? desc(table.id) : asc(table.id))
          .limit(limit);
        return rows as (Table['$inferSelect'] & { readonly id: string })[];
      }),
  );
}
