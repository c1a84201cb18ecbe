/**
 * Walks the logs of all tenants again and again and checks them against what was signed: what is new first, then from the
 * beginning. What is wrong becomes a CRITICAL security event, once. Every process runs one; a tenant is checked by whoever
 * holds the lock of its row in `audit_verifications`.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { asc, eq, lte, sql } from 'drizzle-orm';

import { checkpointOf } from '../audit/checkpoints.ts';
import { performAsSystem, type Recorder, type SystemAct } from '../audit/record.ts';
import { auditTrees, auditVerifications, PLATFORM_TENANT } from '../audit/tables.ts';
import { verifySpan } from '../audit/verify.ts';
import { LedgerFault } from '../ledger/walk.ts';
import { isoOf } from '../platform/ids.ts';

export interface Verifier {
  stop(): Promise<void>;
}

const RECORDS_A_STEP = 2_000;
/** A log is checked one step an interval, or more often while it is behind. */
const INTERVAL_MICROS = 30_000_000n;
/** Between two steps, as a multiple of what a step takes: checking costs a tenth of a processor at most. */
const REST = 9;
const IDLE_MS = 1_000;

/** Starts to verify. Errors are logged and tried again. */
export function openVerifier(recorder: Recorder): Verifier {
  const { db, services } = recorder;
  const stopping = new AbortController();
  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };

  async function run() {
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      let idle = true;
      try {
        // A look writes nothing, so an idle database stays idle.
        idle = !(await db.withReadTx('PLATFORM', isSomethingDue));
        if (!idle) await performAsSystem(recorder, 'verification', verifyNext);
      } catch (err) {
        services.log.error({ err }, 'Verifying the log failed; it is tried again.');
      }
      const restMs = idle ? IDLE_MS : REST * (performance.now() - startedAt);
      await pause(restMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  async function isSomethingDue(tx: Parameters<typeof checkpointOf>[0]): Promise<boolean> {
    const [row] = await tx.execute<{ due: boolean }>(sql`
      select exists (select from audit_verifications where due_at <= ${isoOf(services.clock.now())})
        or exists (select tenant_id from audit_trees except select tenant_id from audit_verifications) as due`);
    return row!.due;
  }
}

/** Checks the next records of the log whose turn it is. */
async function verifyNext(act: SystemAct<'verification'>): Promise<void> {
  const { tx, services } = act;
  const now = services.clock.now();
  await tx
    .insert(auditVerifications)
    .select(
      tx
        .select({
          tenantId: auditTrees.tenantId,
          verifiedTo: sql`0`.as('verified_to'),
          nextSeq: sql`0`.as('next_seq'),
          dueAt: sql`${isoOf(now)}::timestamptz`.as('due_at'),
          faultAt: sql`null::bigint`.as('fault_at'),
        })
        .from(auditTrees),
    )
    .onConflictDoNothing();
  const [walk] = await tx
    .select()
    .from(auditVerifications)
    .where(lte(auditVerifications.dueAt, isoOf(now)))
    .orderBy(asc(auditVerifications.dueAt))
    .limit(1)
    .for('update', { skipLocked: true });
  if (!walk) return;

  const { tenantId } = walk;
  const signed = (await checkpointOf(tx, tenantId))?.size ?? 0n;
  const isNew = walk.verifiedTo < signed || walk.faultAt !== null;
  const from = Number(isNew ? walk.verifiedTo : walk.nextSeq);
  const span = { tenantId, from, to: from + RECORDS_A_STEP, key: services.signer.key(tenantId) };
  const fault = await faultIn(act, span, walk.verifiedTo, signed);
  const to = BigInt(fault ? fault.position : Math.min(span.to, Number(signed)));
  const later = isoOf(now + INTERVAL_MICROS);
  await tx
    .update(auditVerifications)
    .set({
      ...(isNew ? { verifiedTo: to } : { nextSeq: to >= signed ? 0n : to }),
      ...(fault ? { verifiedTo: to } : {}),
      faultAt: fault ? to : null,
      dueAt: isNew && !fault && to < signed ? isoOf(now) : later,
    })
    .where(eq(auditVerifications.tenantId, tenantId));
  if (fault && walk.faultAt !== to) await report(act, tenantId, fault);
}

async function faultIn(
  { tx, services: { vault } }: SystemAct<'verification'>,
  span: Omit<Parameters<typeof verifySpan>[1], 'vault'>,
  verifiedTo: bigint,
  signed: bigint,
): Promise<LedgerFault | undefined> {
  if (verifiedTo > signed) {
    return new LedgerFault(
      'LOG_CUT',
      Number(signed),
      `The log had ${verifiedTo} records that were found unaltered, and has checkpoints for ${signed}.`,
    );
  }
  try {
    await verifySpan(tx, { ...span, vault });
    return undefined;
  } catch (cause) {
    if (cause instanceof LedgerFault) return cause;
    throw cause;
  }
}

async function report(
  act: SystemAct<'verification'>,
  tenantId: string,
  { reason, position, recordId, message }: LedgerFault,
): Promise<void> {
  act.services.log.fatal({ tenantId, reason, position, recordId }, message);
  await act.record({
    action: 'LEDGER_FAULT_DETECTED',
    tenantId,
    requestId: randomUUID(),
    ipAddress: null,
    resourceId: tenantId === PLATFORM_TENANT ? null : tenantId,
    resourceName: null,
    details: { reason, position, message, evidence: recordId === null ? [] : [recordId] },
    subjectHmac: null,
    personal: [],
  });
}
