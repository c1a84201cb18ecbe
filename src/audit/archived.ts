/** What retention has dropped of a log: a month counts only by the record that tells of it. */
import { and, eq, isNotNull, sql } from 'drizzle-orm';

import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { ReadTx } from '../platform/db.ts';
import { isoOf, microsOf } from '../platform/ids.ts';
import { auditArchives, auditLogs } from './tables.ts';

/** The month of a record, such as `2026-01`, by its id. */
export function monthOf(recordId: string): string {
  return isoOf(microsOf(recordId)).slice(0, 'YYYY-MM'.length);
}

/** The months of a log that were dropped, on record. */
export async function droppedMonths(tx: ReadTx, tenantId: string): Promise<ReadonlySet<string>> {
  const rows = await tx
    .select({ month: auditArchives.month })
    .from(auditArchives)
    .innerJoin(
      auditLogs,
      and(
        eq(auditLogs.tenantId, auditArchives.tenantId),
        eq(auditLogs.id, auditArchives.recordId),
        eq(auditLogs.action, AUDIT_CATALOGUE.AUDIT_LOG_DROPPED.key),
        sql`${auditLogs.details} ->> 'month' = ${auditArchives.month}`,
      ),
    )
    .where(eq(auditArchives.tenantId, tenantId));
  return new Set(rows.map(({ month }) => month));
}

/** Up to which position records have been dropped; some before it may be there. */
export async function droppedUpTo(tx: ReadTx, tenantId: string): Promise<bigint> {
  const [row] = await tx
    .select({ to: sql<string>`coalesce(max(${auditArchives.toSeq}), 0)` })
    .from(auditArchives)
    .where(and(eq(auditArchives.tenantId, tenantId), isNotNull(auditArchives.droppedAt)));
  return BigInt(row!.to);
}
