/** Retention over the API. */
import { and, asc, eq, isNull, sql } from 'drizzle-orm';
import { z } from 'zod';

import type { Deed, Fields, Services } from '../audit/act.ts';
import {
  type AuditArchiveRow,
  auditArchives,
  auditLogs,
  auditRetention as lastRun,
} from '../audit/tables.ts';
import type {
  AuditArchive,
  AuditArchiveResolvers,
  AuditRetention,
  AuditRetentionResolvers,
  QueryResolvers,
} from '../generated/types.ts';
import type { ReadTx } from '../platform/db.ts';
import { isoOf } from '../platform/ids.ts';
import { checkedInput } from '../platform/input.ts';
import { logNamed, namedLog, SETTINGS, tenantSettings } from '../tenants/tables.ts';
import { nextRunAfter } from './retentionJob.ts';
import { type LegalHoldRow, legalHolds } from './tables.ts';

const DAYS = 'must be a whole number from 30 to 36,500';
const change = z.object({ days: z.int(DAYS).min(30, DAYS).max(36_500, DAYS).nullish() });

/** What is known of the retention of a log. */
export interface Retention {
  readonly tenantId: string;
  readonly days: number | null;
  readonly lastRunAt: string | null;
  readonly nextRunAt: string;
  readonly rowsDropped: bigint;
  readonly oldestEntryAt: string | null;
  readonly legalHolds: readonly LegalHoldRow[];
  readonly archives: readonly AuditArchiveRow[];
}

const setAuditRetention: Deed<'setAuditRetention'> = async (act, input) => {
  const { tx, now, services } = act;
  const { days = null } = checkedInput(change, input);
  const tenantId = await logNamed(act, input.tenantId);
  const updatedAt = isoOf(now);
  const here = eq(tenantSettings.tenantId, tenantId);
  await tx.insert(tenantSettings).values({ tenantId, updatedAt }).onConflictDoNothing();
  const [before] = await tx.select().from(tenantSettings).where(here).for('update');
  act.about(SETTINGS, before!);
  const [after] = await tx
    .update(tenantSettings)
    .set({ auditRetentionDays: days, updatedAt })
    .where(here)
    .returning();
  const auditRetention = await retentionOf(tx, services, tenantId);
  return act.done({ auditRetention }, { of: SETTINGS, before, after });
};

export const deeds = { setAuditRetention };

export const queries = {
  auditRetention: async (_root, { tenantId }, context) =>
    await context.read(async (scope) =>
      retentionOf(scope.tx, scope.services, await logNamed(scope, tenantId)),
    ),
} satisfies Partial<QueryResolvers>;

export const types = {
  AuditRetention: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
  } satisfies Fields<AuditRetention, Retention, AuditRetentionResolvers>,
  AuditArchive: {} satisfies Fields<AuditArchive, AuditArchiveRow, AuditArchiveResolvers>,
};

async function retentionOf(
  tx: ReadTx,
  { clock, retentionDays }: Pick<Services, 'clock' | 'retentionDays'>,
  tenantId: string,
): Promise<Retention> {
  const [settings] = await tx
    .select({ days: tenantSettings.auditRetentionDays })
    .from(tenantSettings)
    .where(eq(tenantSettings.tenantId, tenantId));
  const [last] = await tx.select().from(lastRun).where(eq(lastRun.tenantId, tenantId));
  const archives = await tx
    .select()
    .from(auditArchives)
    .where(eq(auditArchives.tenantId, tenantId))
    .orderBy(asc(auditArchives.month));
  const [oldest] = await tx
    .select({ createdAt: auditLogs.createdAt })
    .from(auditLogs)
    .where(eq(auditLogs.tenantId, tenantId))
    .orderBy(asc(auditLogs.id))
    .limit(1);
  const holds = await tx
    .select()
    .from(legalHolds)
    .where(and(eq(legalHolds.tenantId, tenantId), isNull(legalHolds.releasedAt)))
    .orderBy(sql`${legalHolds.id} desc`);
  const now = new Date(Number(clock.now() / 1000n));
  return {
    tenantId,
    days: settings?.days ?? retentionDays ?? null,
    lastRunAt: last?.lastRunAt ?? null,
    nextRunAt: nextRunAfter(now).toISOString(),
    rowsDropped: archives.reduce((sum, { rows, droppedAt }) => sum + (droppedAt === null ? 0n : rows), 0n),
    oldestEntryAt: oldest?.createdAt ?? null,
    legalHolds: holds,
    archives,
  };
}
