/**
 * Looks after retention, once a night: what is older than it is to be kept goes to the archive, a month of a log at a time, and is
 * dropped, with a record in the same transaction. A run that was killed is gone on with by the next: a month that was archived
 * and not dropped is archived again.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { and, eq, isNull, sql } from 'drizzle-orm';
import { z } from 'zod';

import type { Services } from '../audit/act.ts';
import { performAsSystem, type Recorder, type SystemAct } from '../audit/record.ts';
import { auditArchives, auditRetention, auditSeals, PLATFORM_TENANT } from '../audit/tables.ts';
import { printVerifierKey } from '../ledger/checkpoint.ts';
import { manifestText } from '../ledger/manifest.ts';
import { uuidArray } from '../platform/columns.ts';
import type { Database } from '../platform/db.ts';
import { idAt, idFloor, isoOf, microsFrom } from '../platform/ids.ts';
import type { Job, Queue } from '../platform/jobs.ts';
import { tenantSettings } from '../tenants/tables.ts';
import { writeMonth } from './archiveFile.ts';
import { holdsOn, lockHolds } from './holds.ts';
import type { ArchiveStore } from './store.ts';

const NIGHTLY = { cron: '41 2 * * *', hour: 2, minute: 41 };
const DAY_MS = 86_400_000;
const DROP_MS = 300_000;

export const RETENTION: Queue<object> = { name: 'audit-retention', data: z.object({}) };

export interface RetentionOptions extends Pick<Recorder, 'db' | 'services' | 'recorded'> {
  readonly store: ArchiveStore;
}

/** Looks after retention from now on, whichever process is up. */
export async function openRetention(options: RetentionOptions): Promise<void> {
  const { jobs } = options.services;
  jobs.work(RETENTION, (job) => run(options, job));
  await jobs.schedule(RETENTION, NIGHTLY.cron, {});
}

/** When the next run begins, after that moment. */
export function nextRunAfter(now: Date): Date {
  const next = new Date(now);
  next.setUTCHours(NIGHTLY.hour, NIGHTLY.minute, 0, 0);
  return next > now ? next : new Date(next.getTime() + DAY_MS);
}

/** A month of the log that is over, such as `2026-01`, and the logs that have records in it. */
interface MonthOfAll {
  readonly month: string;
  readonly tenantIds: readonly string[];
}

async function run(options: RetentionOptions, job: Job<object>): Promise<void> {
  const { db, services } = options;
  const totals = { months: 0, rowsDropped: 0, held: 0 };
  for (const { month, tenantIds } of await monthsThatAreOver(db, services)) {
    if (job.signal.aborted) throw new Error('The process stops; the rest is looked after by the next.');
    const due = await logsDue(options, month, tenantIds);
    totals.held += due.held;
    for (const tenantId of due.logs) await archive(options, tenantId, month);
    if (due.logs.length === 0) continue;
    const dropped = await drop(options, month, due.logs);
    totals.held += dropped.held;
    totals.rowsDropped += dropped.rows;
    totals.months += dropped.logs;
  }
  await performAsSystem(options, 'retention', async (act) => {
    await act.tx.execute(sql`
      insert into ${auditRetention} (tenant_id, last_run_at)
      select id, ${isoOf(services.clock.now())}::timestamptz
      from (select id from tenants union select ${PLATFORM_TENANT}::uuid) as log (id) order by id
      on conflict (tenant_id) do update set last_run_at = excluded.last_run_at`);
    await act.record(finding(act, 'AUDIT_RETENTION_RUN', PLATFORM_TENANT, totals));
  });
}

/** The months before this one that hold anything, oldest first. */
async function monthsThatAreOver(db: Database, { clock }: Services): Promise<MonthOfAll[]> {
  const thisMonth = isoOf(clock.now()).slice(0, 7);
  return await db.withReadTx('PLATFORM', async (tx) => {
    const rows = await tx.execute<{ month: string }>(sql`
      select replace(right(relname, 7), '_', '-') as month from pg_inherits join pg_class on pg_class.oid = inhrelid
      where inhparent = 'audit_logs'::regclass order by 1`);
    const months: MonthOfAll[] = [];
    for (const { month } of rows.filter((row) => row.month < thisMonth)) {
      const [from, to] = boundsOf(month);
      const found = await tx.execute<{ tenant_id: string }>(sql`
        select distinct tenant_id from audit_logs where id >= ${idFloor(microsFrom(from))} and id < ${idFloor(microsFrom(to))}`);
      if (found.length > 0) months.push({ month, tenantIds: found.map((row) => row.tenant_id) });
    }
    return months;
  });
}

/** The first moments of a month and of the next. */
function boundsOf(month: string): readonly [string, string] {
  const first = new Date(`${month}-01T00:00:00Z`);
  const next = new Date(first);
  next.setUTCMonth(first.getUTCMonth() + 1);
  return [first.toISOString(), next.toISOString()];
}

/** The logs whose records of that month need not be kept any more; `held` counts those that only a hold keeps. */
async function logsDue(
  { db, services }: RetentionOptions,
  month: string,
  tenantIds: readonly string[],
): Promise<{ logs: string[]; held: number }> {
  const [from, to] = boundsOf(month);
  const age = (Number(services.clock.now() / 1000n) - Date.parse(to)) / DAY_MS;
  return await db.withReadTx('PLATFORM', async (tx) => {
    const said = await tx
      .select({ tenantId: tenantSettings.tenantId, days: tenantSettings.auditRetentionDays })
      .from(tenantSettings)
      .where(sql`${tenantSettings.tenantId} = any(${uuidArray(tenantIds)}::uuid[])`);
    const daysOf = new Map(said.map(({ tenantId, days }) => [tenantId, days]));
    const old = tenantIds.filter(
      (tenantId) => age >= (daysOf.get(tenantId) ?? services.retentionDays ?? Infinity),
    );
    const logs: string[] = [];
    for (const tenantId of old)
      if ((await holdsOn(tx, tenantId, { time: [from, to] })).length === 0) logs.push(tenantId);
    return { logs, held: old.length - logs.length };
  });
}

/** Writes a month of a log to the archive, unless it is there already and everything is dropped. */
async function archive(
  { db, services, store }: RetentionOptions,
  tenantId: string,
  month: string,
): Promise<void> {
  const [from, to] = (await spanOf(db, tenantId, month)).map(Number) as [number, number];
  const key = services.signer.key(tenantId);
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-archive-'));
  try {
    const local = path.join(folder, 'month.parquet');
    const written = await writeMonth(db, key, { tenantId, month, from, to }, local);
    const file = `${tenantId === PLATFORM_TENANT ? 'platform' : tenantId}/${month}.parquet`;
    const { rows, bytes, sha256, firstPosition, lastPosition, checkpoint } = written;
    const manifest = services.signer.signNote(
      tenantId,
      manifestText({
        log: key.name,
        verifierKey: printVerifierKey(key),
        format: 'ARCHIVE',
        filter: { month },
        from,
        to,
        rows,
        bytes,
        sha256,
        firstPosition,
        lastPosition,
        checkpoint,
      }),
    );
    await store.put(file, local);
    await store.putText(`${file}.manifest`, manifest);
    const row = {
      file,
      bytes: BigInt(bytes),
      sha256,
      manifest,
      rows: BigInt(rows),
      fromSeq: BigInt(from),
      toSeq: BigInt(to),
      archivedAt: isoOf(services.clock.now()),
    };
    await db.withTx({ tenantId }, (tx) =>
      tx
        .insert(auditArchives)
        .values({ tenantId, month, ...row })
        .onConflictDoUpdate({ target: [auditArchives.tenantId, auditArchives.month], set: row }),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The positions among which the records of a month are, the latter excluded. */
async function spanOf(db: Database, tenantId: string, month: string): Promise<readonly [bigint, bigint]> {
  const [first, next] = boundsOf(month).map((moment) => idFloor(microsFrom(moment)));
  return await db.withReadTx({ tenantId }, async (tx) => {
    const [span] = await tx
      .select({
        from: sql<string>`min(${auditSeals.firstSeq})`,
        to: sql<string>`max(${auditSeals.firstSeq} + ${auditSeals.count})`,
      })
      .from(auditSeals)
      .where(
        and(
          eq(auditSeals.tenantId, tenantId),
          sql`${auditSeals.maxId} >= ${first} and ${auditSeals.minId} < ${next}`,
        ),
      );
    return [BigInt(span!.from), BigInt(span!.to)];
  });
}

/** Drops a month of those logs, those that a hold was placed on meanwhile excepted, with a record each. */
async function drop(options: RetentionOptions, month: string, tenantIds: readonly string[]) {
  return await performAsSystem(
    options,
    'retention',
    async (act) => {
      const { tx, services } = act;
      const logs: string[] = [];
      // In the order of their ids: nobody waits crosswise.
      for (const tenantId of tenantIds.toSorted()) {
        await lockHolds(tx, tenantId);
        if ((await holdsOn(tx, tenantId, { time: boundsOf(month) })).length === 0) logs.push(tenantId);
      }
      let rows = 0;
      for (const tenantId of logs) {
        const here = and(eq(auditArchives.tenantId, tenantId), eq(auditArchives.month, month));
        const [archived] = await tx
          .select()
          .from(auditArchives)
          .where(and(here, isNull(auditArchives.droppedAt)));
        const { file, sha256, manifest: _, ...of } = archived!;
        const details = {
          month,
          rows: Number(of.rows),
          from: Number(of.fromSeq),
          to: Number(of.toSeq),
          file,
          sha256,
        };
        const recordId = await act.record(finding(act, 'AUDIT_LOG_DROPPED', tenantId, details));
        const droppedAt = isoOf(services.clock.now());
        await tx.update(auditArchives).set({ recordId, droppedAt }).where(here);
        rows += details.rows;
      }
      if (logs.length > 0)
        await tx.execute(
          sql`select drop_audit_month(${`${month}-01`}::date, ${uuidArray(logs)}::uuid[], ${rows}::bigint)`,
        );
      return { rows, logs: logs.length, held: tenantIds.length - logs.length };
    },
    { deadlineMs: DROP_MS },
  );
}

function finding(
  { services }: Pick<SystemAct<'retention'>, 'services'>,
  action: 'AUDIT_LOG_DROPPED' | 'AUDIT_RETENTION_RUN',
  tenantId: string,
  details: Readonly<Record<string, unknown>>,
) {
  return {
    action,
    tenantId,
    resourceId: tenantId === PLATFORM_TENANT ? null : tenantId,
    resourceName: null,
    subjectHmac: null,
    details,
    personal: [],
    requestId: idAt(services.clock.now()),
    ipAddress: null,
  };
}
