/** Webhooks over the API. */
import { and, asc, desc, eq, gte, inArray, isNull } from 'drizzle-orm';
import { z } from 'zod';

import { type Act, type Batch, confinedTo, type Deed, type Fields, type Mutations } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { conditionOf, having } from '../audit/filter.ts';
import { auditSeals } from '../audit/tables.ts';
import { endOf } from '../feed/order.ts';
import type { QueryResolvers, Webhook, WebhookResolvers } from '../generated/types.ts';
import type { ReadTx } from '../platform/db.ts';
import { asUuid, idAt, idFloor, isoOf, microsFrom } from '../platform/ids.ts';
import { checkedInput, line } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';
import { newSecret, sealedSecret, send } from './message.ts';
import {
  type WebhookCursor,
  webhookCursors,
  webhookDeliveries,
  type WebhookDeliveryRow,
  type WebhookRow,
  webhooks,
} from './tables.ts';

const DELIVERIES_MAX = 100;
const WEBHOOKS_MAX = 100;
const TEST_MESSAGE = JSON.stringify({ type: 'webhook.test', message: 'Custos reaches this address.' });

const described = z.object({ description: line(200).nullish() });

const WEBHOOK = entity<WebhookRow>()({
  resource: 'WEBHOOK',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    url: 'TRACK',
    description: 'TRACK',
    format: 'TRACK',
    // Its text may name somebody.
    filter: 'PII',
    condition: 'OMIT',
    secret: 'SECRET',
    state: 'TRACK',
    pausedBecause: 'OMIT',
    createdBy: 'OMIT',
    createdAt: 'OMIT',
    updatedAt: 'OMIT',
    deletedAt: 'TRACK',
  },
  id: ({ id }) => id,
  tenantId: ({ tenantId }) => tenantId,
  label: ({ url }) => url,
  subject: ({ id, createdBy }) => createdBy ?? id,
});

const createWebhook: Deed<'createWebhook'> = {
  async prepare({ services: { targets } }, input) {
    await refuseFaultyTarget(targets, input.url);
    return async (act) => {
      const { tx, actor, now, services } = act;
      const { description = null } = checkedInput(described, input);
      const tenantId = await logNamed(act, input.tenantId);
      await assertPlaceFor(tx, tenantId);
      const id = idAt(now);
      const secret = newSecret();
      const [webhook] = await tx
        .insert(webhooks)
        .values({
          tenantId,
          id,
          url: input.url,
          description,
          format: input.format,
          filter: input.filter ?? null,
          condition: { all: [having('tenantId', tenantId), conditionOf(input.filter)] },
          secret: sealedSecret(services, id, secret),
          state: 'ACTIVE',
          createdBy: actor.type === 'USER' ? actor.id : null,
          createdAt: isoOf(now),
          updatedAt: isoOf(now),
        })
        .returning();
      await tx.insert(webhookCursors).values({
        tenantId,
        webhookId: id,
        nextSeq: await endOf(tx, tenantId),
        attempts: 0,
        nextAttemptAt: isoOf(now),
      });
      return act.done({ webhook: webhook!, secret }, { of: WEBHOOK, after: webhook! });
    };
  },
};

const updateWebhook: Deed<'updateWebhook'> = {
  async prepare({ services: { targets } }, input) {
    if (typeof input.url === 'string') await refuseFaultyTarget(targets, input.url);
    return async (act) => {
      const before = await webhookToChange(act, input.id);
      const { description } = checkedInput(described, input);
      const { tenantId } = before;
      const condition = { all: [having('tenantId', tenantId), conditionOf(input.filter)] };
      const after = await change(act, before, {
        ...(input.url ? { url: input.url } : {}),
        ...(description === undefined ? {} : { description }),
        ...(input.format ? { format: input.format } : {}),
        ...(input.filter === undefined ? {} : { filter: input.filter, condition }),
      });
      await move(act, before, {});
      return act.done({ webhook: after }, { of: WEBHOOK, before, after });
    };
  },
};

const deleteWebhook: Deed<'deleteWebhook'> = async (act, { id }) => {
  const before = await webhookToChange(act, id);
  const after = await change(act, before, { deletedAt: isoOf(act.now) });
  await move(act, before, {});
  return act.done({ webhook: after }, { of: WEBHOOK, before, after });
};

const resumeWebhook: Deed<'resumeWebhook'> = async (act, { id }) => {
  const before = await webhookToChange(act, id);
  const after = await change(act, before, { state: 'ACTIVE', pausedBecause: null });
  await move(act, before, {});
  return act.done({ webhook: after }, { of: WEBHOOK, before, after });
};

const replayWebhook: Deed<'replayWebhook'> = async (act, { id, from, fromPosition }) => {
  const webhook = await webhookToChange(act, id);
  const given = [from, fromPosition].filter((each) => each !== null && each !== undefined);
  refuseUnlessEmpty(given.length === 1 ? {} : { from: 'must be given, or `fromPosition`, and not both' });
  const nextSeq = from ? await positionAt(act.tx, webhook.tenantId, from) : fromPosition!;
  const end = await endOf(act.tx, webhook.tenantId);
  refuseUnlessEmpty(
    nextSeq < 0n || nextSeq > end ? { fromPosition: `must be from 0 to ${end}, the end of the log` } : {},
  );
  await move(act, webhook, { nextSeq });
  return act.done(
    { webhook },
    { of: WEBHOOK, before: webhook, after: webhook, details: { fromPosition: Number(nextSeq) } },
  );
};

const testWebhook: Deed<'testWebhook'> = {
  async prepare({ services, actor, read, now }, { id }) {
    const found = await read(({ tx }) => webhookNamed(tx, confinedTo(actor), id));
    const message = {
      messageId: `test_${idAt(now)}`,
      recordId: null,
      position: null,
      attempt: 1,
      body: TEST_MESSAGE,
    };
    const attempt = found && (await send(services, found, message));
    return async (act) => {
      const webhook = await webhookToChange(act, id);
      const { delivery } = attempt!;
      await act.tx.insert(webhookDeliveries).values(delivery);
      const details = { status: delivery.status, error: delivery.error };
      return act.done({ webhook, delivery }, { of: WEBHOOK, before: webhook, after: webhook, details });
    };
  },
};

export const deeds = {
  createWebhook,
  updateWebhook,
  deleteWebhook,
  resumeWebhook,
  replayWebhook,
  testWebhook,
};

export const queries = {
  webhook: async (_root, { id }, context) =>
    (await context.read(({ tx, actor }) => webhookNamed(tx, confinedTo(actor), id))) ?? null,
  webhooks: async (_root, { tenantId }, context) =>
    await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      return await scope.tx
        .select()
        .from(webhooks)
        .where(and(eq(webhooks.tenantId, log), isNull(webhooks.deletedAt)))
        .orderBy(desc(webhooks.id));
    }),
} satisfies Partial<QueryResolvers>;

export const types = {
  Webhook: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    createdBy: ({ createdBy }, _args, context) =>
      createdBy === null ? null : context.load(userById, createdBy),
    progress: (webhook, _args, context) => context.load(progressOf, webhook),
    deliveries: async (webhook, { first }, context) => {
      refuseUnlessEmpty(
        first < 1 || first > DELIVERIES_MAX ? { first: `must be from 1 to ${DELIVERIES_MAX}` } : {},
      );
      return (await context.load(deliveriesOf, webhook)).slice(0, first);
    },
  } satisfies Fields<Webhook, WebhookRow, WebhookResolvers>,
};

async function refuseFaultyTarget(
  targets: Act<Mutations>['services']['targets'],
  url: string,
): Promise<void> {
  const fault = await targets.fault(url);
  refuseUnlessEmpty(fault === undefined ? {} : { url: fault });
}

async function assertPlaceFor(tx: ReadTx, tenantId: string): Promise<void> {
  const there = await tx
    .select({ id: webhooks.id })
    .from(webhooks)
    .where(and(eq(webhooks.tenantId, tenantId), isNull(webhooks.deletedAt)));
  if (there.length >= WEBHOOKS_MAX) throw new Refusal('WEBHOOK_LIMIT_REACHED');
}

async function webhookNamed(
  tx: ReadTx,
  own: string | undefined,
  id: string,
): Promise<WebhookRow | undefined> {
  const uuid = asUuid(id);
  if (uuid === undefined) return undefined;
  const inTenancy = own === undefined ? undefined : eq(webhooks.tenantId, own);
  const [webhook] = await tx
    .select()
    .from(webhooks)
    .where(and(inTenancy, eq(webhooks.id, uuid), isNull(webhooks.deletedAt)));
  return webhook;
}

/** The webhook, locked until the act ends. */
async function webhookToChange<M extends Mutations>(act: Act<M>, id: string): Promise<WebhookRow> {
  const found = await webhookNamed(act.tx, confinedTo(act.actor), id);
  if (!found) throw new Refusal('WEBHOOK_NOT_FOUND');
  const [locked] = await act.tx
    .select()
    .from(webhooks)
    .where(and(eq(webhooks.tenantId, found.tenantId), eq(webhooks.id, found.id), isNull(webhooks.deletedAt)))
    .for('update');
  if (!locked) throw new Refusal('WEBHOOK_NOT_FOUND');
  act.about(WEBHOOK, locked);
  return locked;
}

async function change<M extends Mutations>(
  act: Act<M>,
  { tenantId, id }: WebhookRow,
  changes: Partial<WebhookRow>,
): Promise<WebhookRow> {
  const [after] = await act.tx
    .update(webhooks)
    .set({ ...changes, updatedAt: isoOf(act.now) })
    .where(and(eq(webhooks.tenantId, tenantId), eq(webhooks.id, id)))
    .returning();
  return after!;
}

/** Takes the webhook from whoever delivers to it, and has it tried at once. */
async function move<M extends Mutations>(
  act: Act<M>,
  { tenantId, id }: WebhookRow,
  changes: Partial<WebhookCursor>,
): Promise<void> {
  const anew = { attempts: 0, failingSince: null, lease: null, leasedUntil: null };
  await act.tx
    .update(webhookCursors)
    .set({ ...anew, nextAttemptAt: isoOf(act.now), ...changes })
    .where(and(eq(webhookCursors.tenantId, tenantId), eq(webhookCursors.webhookId, id)));
}

/** Where the first records of that time are, or a little before. */
async function positionAt(tx: ReadTx, tenantId: string, moment: string): Promise<bigint> {
  const [seal] = await tx
    .select({ firstSeq: auditSeals.firstSeq })
    .from(auditSeals)
    .where(and(eq(auditSeals.tenantId, tenantId), gte(auditSeals.maxId, idFloor(microsFrom(moment)))))
    .orderBy(asc(auditSeals.firstSeq))
    .limit(1);
  return seal?.firstSeq ?? (await endOf(tx, tenantId));
}

const progressOf: Batch<WebhookRow, NonNullable<Awaited<Webhook['progress']>>> = async ({ tx }, rows) => {
  const cursors = await tx
    .select()
    .from(webhookCursors)
    .where(
      and(
        inArray(webhookCursors.tenantId, [...new Set(rows.map(({ tenantId }) => tenantId))]),
        inArray(
          webhookCursors.webhookId,
          rows.map(({ id }) => id),
        ),
      ),
    );
  const ends = new Map<string, bigint>();
  for (const { tenantId } of rows) ends.set(tenantId, ends.get(tenantId) ?? (await endOf(tx, tenantId)));
  return rows.map(({ tenantId, id }) => {
    const { nextSeq, attempts, failingSince, nextAttemptAt, deliveredAt } = cursors.find(
      ({ webhookId }) => webhookId === id,
    )!;
    return {
      nextPosition: nextSeq,
      waiting: ends.get(tenantId)! - nextSeq,
      failedAttempts: attempts,
      failingSince,
      nextAttemptAt: attempts > 0 ? nextAttemptAt : null,
      deliveredAt,
    };
  });
};

/** The latest deliveries of each webhook, newest first. */
const deliveriesOf: Batch<WebhookRow, readonly WebhookDeliveryRow[]> = async ({ tx }, rows) =>
  await Promise.all(
    rows.map(({ tenantId, id }) =>
      tx
        .select()
        .from(webhookDeliveries)
        .where(and(eq(webhookDeliveries.tenantId, tenantId), eq(webhookDeliveries.webhookId, id)))
        .orderBy(desc(webhookDeliveries.id))
        .limit(DELIVERIES_MAX),
    ),
  );
