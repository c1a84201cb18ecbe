/**
 * Delivers the sealed log to webhooks: each gets its records in order, one after the other, at least once. Every process delivers;
 * a webhook is leased to one at a time, and who dies loses it half a minute later. A message that was answered but not noted is
 * sent again under the same id.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { and, eq, isNull, lt, sql } from 'drizzle-orm';
import { z } from 'zod';

import { personalOf } from '../audit/query.ts';
import { performAsSystem, type Recorder } from '../audit/record.ts';
import { rendered } from '../audit/formats.ts';
import { SEALED_CHANNEL } from '../audit/seal.ts';
import { shownRecord } from '../audit/shown.ts';
import { auditTrees } from '../audit/tables.ts';
import { eventsAt, placesFrom } from '../feed/order.ts';
import { type EventBus, postgresBus } from '../platform/eventBus.ts';
import { idAt, isoOf, microsFrom } from '../platform/ids.ts';
import type { Queue } from '../platform/jobs.ts';
import { type Attempt, type Message, send } from './message.ts';
import {
  type WebhookCursor,
  webhookCursors,
  webhookDeliveries,
  type WebhookRow,
  webhooks,
} from './tables.ts';

/** How many webhooks a process delivers to at a time. */
const PARALLEL = 16;
const BATCH = 20;
const POLL_MS = 1_000;
const GAP_MS = 50;
const LEASE_MICROS = 30_000_000n;
const SECOND_MICROS = 1_000_000n;
/** The first retry; each further one waits twice as long, up to an hour, less up to half of it by chance. */
const RETRY_SECONDS = 1;
const RETRY_SECONDS_MAX = 3_600;
/** A webhook that has failed for so long is paused. */
const FAILING_MICROS_MAX = 24n * 3_600n * SECOND_MICROS;
const GONE = 410;
const DELIVERIES_KEPT_MICROS = 30n * 24n * 3_600n * SECOND_MICROS;

const EXPIRY: Queue<object> = { name: 'webhook-delivery-expiry', data: z.object({}) };
const DAILY = '23 3 * * *';

/** Starts delivering. An error is logged and tried again: no record is passed over. */
export async function openDeliverer(
  recorder: Recorder,
  bus: EventBus = postgresBus(recorder.db, SEALED_CHANNEL),
): Promise<{ stop(): Promise<void> }> {
  const { db, services } = recorder;
  const { clock, log, jobs } = services;
  const stopping = new AbortController();
  let woken = new AbortController();
  const active = new Set<Promise<void>>();
  const unlisten = await bus.listen(wake, wake);
  jobs.work(EXPIRY, deleteExpired);
  await jobs.schedule(EXPIRY, DAILY, {});
  const running = run();
  return {
    async stop() {
      stopping.abort();
      wake();
      await running;
      await Promise.all(active);
      await unlisten();
    },
  };

  function wake() {
    woken.abort();
  }

  async function run() {
    while (!stopping.signal.aborted) {
      woken = new AbortController();
      try {
        for (const cursor of await leased(PARALLEL - active.size)) begin(cursor);
      } catch (err) {
        log.error({ err }, 'webhooks could not be looked after; it is tried again');
      }
      await pause(POLL_MS, undefined, { signal: woken.signal }).catch(() => {});
      await pause(GAP_MS, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  function begin(cursor: WebhookCursor) {
    const work = deliver(cursor)
      .catch((err: unknown) => log.error({ err, webhookId: cursor.webhookId }, 'delivering failed'))
      .finally(() => {
        active.delete(work);
        wake();
      });
    active.add(work);
  }

  /** Takes the webhooks that have something to deliver by now and nobody who does. */
  async function leased(limit: number): Promise<WebhookCursor[]> {
    if (limit <= 0) return [];
    const now = isoOf(clock.now());
    const free = sql`(${webhookCursors.leasedUntil} is null or ${webhookCursors.leasedUntil} <= ${now})`;
    const due = db.withReadTx('PLATFORM', (tx) =>
      tx
        .select({ tenantId: webhookCursors.tenantId, webhookId: webhookCursors.webhookId })
        .from(webhookCursors)
        .innerJoin(
          webhooks,
          and(eq(webhooks.tenantId, webhookCursors.tenantId), eq(webhooks.id, webhookCursors.webhookId)),
        )
        .innerJoin(auditTrees, eq(auditTrees.tenantId, webhookCursors.tenantId))
        .where(
          and(
            eq(webhooks.state, 'ACTIVE'),
            isNull(webhooks.deletedAt),
            sql`${webhookCursors.nextAttemptAt} <= ${now}`,
            lt(webhookCursors.nextSeq, auditTrees.size),
            free,
          ),
        )
        .orderBy(webhookCursors.nextAttemptAt)
        .limit(limit),
    );
    const taken: WebhookCursor[] = [];
    // A look writes nothing, so an idle database stays idle.
    for (const { tenantId, webhookId } of await due) {
      const lease = { lease: randomUUID(), leasedUntil: isoOf(clock.now() + LEASE_MICROS) };
      const here = and(eq(webhookCursors.tenantId, tenantId), eq(webhookCursors.webhookId, webhookId));
      const rows = await db.withTx({ tenantId }, (tx) =>
        tx.update(webhookCursors).set(lease).where(and(here, free)).returning(),
      );
      taken.push(...rows);
    }
    return taken;
  }

  async function deliver(cursor: WebhookCursor): Promise<void> {
    for (;;) {
      const batch = await nextBatch(cursor);
      if (!batch || stopping.signal.aborted) return await release(cursor);
      for (const message of batch.messages) {
        if (stopping.signal.aborted) return await release(cursor);
        const attempt = await send(services, batch.webhook, message);
        if (!attempt.ok) return await failed(cursor, batch.webhook, attempt);
        if (!(await advance(cursor, message.position! + 1n, attempt))) return;
        cursor = { ...cursor, attempts: 0, failingSince: null };
      }
      if (!(await advance(cursor, batch.next))) return;
      cursor = { ...cursor, nextSeq: batch.next };
    }
  }

  /** The next records, as they are sent. Undefined at the end of the log, or when the webhook is not to be delivered to any more. */
  async function nextBatch(cursor: WebhookCursor) {
    const { tenantId, webhookId } = cursor;
    return await db.withReadTx({ tenantId }, async (tx) => {
      const [webhook] = await tx
        .select()
        .from(webhooks)
        .where(and(eq(webhooks.tenantId, tenantId), eq(webhooks.id, webhookId)));
      if (!webhook || webhook.state !== 'ACTIVE' || webhook.deletedAt !== null) return undefined;
      const places = await placesFrom(tx, tenantId, cursor.nextSeq, BATCH);
      if (places.length === 0) return undefined;
      const events = await eventsAt(tx, places, webhook.condition);
      const wanted = events.flatMap(({ seq, row }) => (row ? [{ seq, row }] : []));
      const personal = await personalOf(
        { tx, services },
        wanted.map(({ row }) => row),
      );
      const messages = wanted.map(({ seq, row }, at): Message => ({
        messageId: row.id,
        recordId: row.id,
        position: seq,
        attempt: at === 0 ? cursor.attempts + 1 : 1,
        body: rendered(shownRecord(row, seq, personal[at]!), webhook.format),
      }));
      return { webhook, messages, next: places.at(-1)!.seq + 1n };
    });
  }

  /** Notes how far it has come, as long as the lease is ours. */
  async function advance(cursor: WebhookCursor, nextSeq: bigint, attempt?: Attempt): Promise<boolean> {
    const now = clock.now();
    const delivered = attempt && { attempts: 0, failingSince: null, deliveredAt: isoOf(now) };
    const leasedUntil = isoOf(now + LEASE_MICROS);
    return await note(cursor, { nextSeq, leasedUntil, ...delivered }, attempt);
  }

  async function release(cursor: WebhookCursor): Promise<void> {
    await note(cursor, { lease: null, leasedUntil: null });
  }

  async function note(
    { tenantId, webhookId, lease }: WebhookCursor,
    changes: Partial<WebhookCursor>,
    attempt?: Attempt,
  ): Promise<boolean> {
    const ours = and(
      eq(webhookCursors.tenantId, tenantId),
      eq(webhookCursors.webhookId, webhookId),
      eq(webhookCursors.lease, lease!),
    );
    return await db.withTx({ tenantId }, async (tx) => {
      const noted = await tx
        .update(webhookCursors)
        .set(changes)
        .where(ours)
        .returning({ id: webhookCursors.webhookId });
      if (attempt) await tx.insert(webhookDeliveries).values(attempt.delivery);
      return noted.length > 0;
    });
  }

  async function failed(cursor: WebhookCursor, webhook: WebhookRow, attempt: Attempt): Promise<void> {
    const { response, delivery } = attempt;
    const now = clock.now();
    const failingSince = cursor.failingSince ?? isoOf(now);
    const attempts = delivery.attempt;
    const doubled = Math.min(RETRY_SECONDS * 2 ** Math.min(attempts - 1, 20), RETRY_SECONDS_MAX);
    const asked = Math.min(response?.retryAfterSeconds ?? 0, RETRY_SECONDS_MAX);
    const waitMicros = Math.max(asked * 1e6, doubled * randomInt(500_000, 1_000_001));
    const nextAttemptAt = isoOf(now + BigInt(Math.round(waitMicros)));
    const retry = { attempts, failingSince, nextAttemptAt, lease: null, leasedUntil: null };
    if (!(await note(cursor, retry, attempt))) return;
    if (response?.status === GONE) return await pauseIt(webhook, 'the receiver answered 410 Gone');
    if (now - microsFrom(failingSince) >= FAILING_MICROS_MAX)
      await pauseIt(
        webhook,
        `every attempt has failed for 24 hours, last with ${delivery.status ?? delivery.error}`,
      );
  }

  /** Stops delivering until somebody resumes it, on record. */
  async function pauseIt({ tenantId, id, url }: WebhookRow, pausedBecause: string): Promise<void> {
    await performAsSystem(recorder, 'delivery', async (act) => {
      const paused = await act.tx
        .update(webhooks)
        .set({ state: 'PAUSED', pausedBecause, updatedAt: isoOf(clock.now()) })
        .where(and(eq(webhooks.tenantId, tenantId), eq(webhooks.id, id), eq(webhooks.state, 'ACTIVE')))
        .returning({ id: webhooks.id });
      if (paused.length === 0) return;
      await act.record({
        action: 'WEBHOOK_PAUSED',
        tenantId,
        resourceId: id,
        resourceName: url,
        subjectHmac: null,
        details: { reason: pausedBecause },
        personal: [],
        requestId: idAt(clock.now()),
        ipAddress: null,
      });
    });
  }

  async function deleteExpired(): Promise<void> {
    const before = isoOf(clock.now() - DELIVERIES_KEPT_MICROS);
    await db.withTx('PLATFORM', (tx) =>
      tx.delete(webhookDeliveries).where(lt(webhookDeliveries.attemptedAt, before)),
    );
  }
}
