/** Recording what happened in other applications. */
import { lt, sql } from 'drizzle-orm';
import { z } from 'zod';

import type { Act, Deed, Services } from '../audit/act.ts';
import { appendAll, type Dated, type Entry } from '../audit/entry.ts';
import { entity } from '../audit/entity.ts';
import { subjectOfEmail } from '../audit/personal.ts';
import type { Recorder } from '../audit/record.ts';
import type { AuditEventInput } from '../generated/types.ts';
import type { Tx } from '../platform/db.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, line } from '../platform/input.ts';
import type { Queue } from '../platform/jobs.ts';
import { refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed } from '../tenants/tables.ts';
import { checksOf, typeName } from './eventTypes.ts';
import { auditEventKeys } from './tables.ts';

const EVENTS_MAX = 1_000;
const DATA_CHARS_MAX = 8_192;
const KEYS_KEPT_MICROS = 7n * 86_400_000_000n;
const FAULTS_MAX = 20;
const EXPIRY: Queue<object> = { name: 'audit-event-key-expiry', data: z.object({}) };
const HOURLY = '37 * * * *';

const batch = z.object({
  events: z
    .array(
      z.object({
        idempotencyKey: line(100),
        actor: z.object({ id: line(200), name: line(200).nullish(), email: line(254).nullish() }).nullish(),
        resource: z.object({ type: line(100), id: line(200), name: line(200).nullish() }).nullish(),
        data: z
          .unknown()
          .refine((data) => JSON.stringify(data ?? null).length <= DATA_CHARS_MAX, 'must have at most 8 KiB')
          .optional(),
      }),
    )
    .min(1, 'must hold at least one')
    .max(EVENTS_MAX, `must hold at most ${EVENTS_MAX}`),
});
type Checked = z.output<typeof batch>['events'][number];

/** Where a batch of events went. */
const EVENT = entity<{ readonly tenantId: string }>()({
  resource: 'EVENT',
  columns: { tenantId: 'OMIT' },
  id: ({ tenantId }) => tenantId,
  tenantId: ({ tenantId }) => tenantId,
  label: () => null,
});

const recordAuditEvents: Deed<'recordAuditEvents'> = async (act, input) => {
  const { tx, services } = act;
  const { events: checked } = checkedInput(batch, input);
  const tenantId = await logNamed(act, input.tenantId);
  act.about(EVENT, { tenantId });
  const versions = await versionsOf(tx, tenantId, input.events);
  const candidates = checked.map(({ idempotencyKey }) => ({
    idempotencyKey,
    id: idAt(services.clock.now()),
  }));
  const taken = await takeKeys(tx, tenantId, candidates, isoOf(act.now));
  const entries = candidates.flatMap(({ id, idempotencyKey }, at): Dated[] => {
    if (taken.get(idempotencyKey) !== id) return [];
    const entry = entryOf(act, tenantId, { ...input.events[at]!, ...checked[at]! }, versions[at]!);
    return [{ id, occasion: { ...act, field: {}, operationId: id }, entry }];
  });
  await appendAll(tx, services, entries);

  const events = candidates.map(({ id, idempotencyKey }) => {
    const known = taken.get(idempotencyKey)!;
    return { idempotencyKey, id: known, isDuplicate: known !== id };
  });
  const counts = { recorded: entries.length, duplicates: events.length - entries.length };
  return act.done({ ...counts, events }, { of: EVENT, details: counts });
};

export const deeds = { recordAuditEvents };

/** Forgets idempotency keys whose time is over, from now on. */
export async function openIngest({ db, services }: Pick<Recorder, 'db' | 'services'>): Promise<void> {
  const { jobs, clock } = services;
  jobs.work(EXPIRY, async () => {
    const before = isoOf(clock.now() - KEYS_KEPT_MICROS);
    await db.withTx('PLATFORM', (tx) =>
      tx.delete(auditEventKeys).where(lt(auditEventKeys.createdAt, before)),
    );
  });
  await jobs.schedule(EXPIRY, HOURLY, {});
}

/** The version of each event's type. Refuses the batch with all that is wrong with it. */
async function versionsOf(
  tx: Tx,
  tenantId: string,
  events: readonly AuditEventInput[],
): Promise<readonly number[]> {
  const types = await checksOf(tx, tenantId, new Set(events.map(({ type }) => type)));
  const faults: [string, string][] = [];
  const versions = events.map(({ type, version, data }, at) => {
    const known = types.get(typeof version === 'number' ? typeName(type, version) : type);
    if (!known) {
      const which = typeof version === 'number' && types.has(type) ? 'version' : 'type';
      faults.push([`events.${at}.${which}`, 'is not registered (registerEventType)']);
      return 0;
    }
    const fault = known.check(data ?? null);
    if (fault) faults.push([`events.${at}.data${fault.path}`, fault.message]);
    return known.version;
  });
  refuseUnlessEmpty(Object.fromEntries(faults.slice(0, FAULTS_MAX)));
  return versions;
}

/** Notes the keys of events that were not known, and returns the record of each key. Of two batches at once, the second waits. */
async function takeKeys(
  tx: Tx,
  tenantId: string,
  events: readonly { readonly idempotencyKey: string; readonly id: string }[],
  now: string,
): Promise<ReadonlyMap<string, string>> {
  const wanted = sql`jsonb_to_recordset(${JSON.stringify(events)}::jsonb) as event ("idempotencyKey" text, id uuid)`;
  // In the order of their keys: two batches never wait for each other crosswise.
  const taken = await tx.execute<{ key: string; id: string }>(sql`
    insert into ${auditEventKeys} (tenant_id, key, record_id, created_at)
    select ${tenantId}::uuid, event."idempotencyKey", event.id, ${now}::timestamptz
    from ${wanted} order by event."idempotencyKey", event.id
    on conflict do nothing returning key, record_id as id`);
  const records = new Map(taken.map(({ key, id }) => [key, id]));
  if (records.size === events.length) return records;
  const known = await tx.execute<{ key: string; id: string }>(sql`
    select key, record_id as id from ${auditEventKeys}
    where tenant_id = ${tenantId} and key in (select event."idempotencyKey" from ${wanted})`);
  return new Map(known.map(({ key, id }) => [key, id]));
}

function entryOf(
  { actor, services }: Pick<Act<'recordAuditEvents'>, 'actor' | 'services'>,
  tenantId: string,
  { type, idempotencyKey, occurredAt, actor: who, resource, data }: AuditEventInput & Checked,
  version: number,
): Entry {
  const personal =
    who && Object.fromEntries(Object.entries(who).filter(([, value]) => typeof value === 'string'));
  return {
    action: 'EXTERNAL_EVENT',
    actor,
    failure: null,
    tenantId,
    resourceId: (resource && asUuid(resource.id)) ?? null,
    resourceName: resource?.name ?? null,
    details: {
      type,
      version,
      idempotencyKey,
      ...(occurredAt ? { occurredAt } : {}),
      ...(resource ? { resource: { type: resource.type, id: resource.id } } : {}),
      data: data ?? null,
    },
    changes: [],
    subjectHmac: null,
    personal: who ? [[subjectOf(services, who.id), { details: { actor: personal } }]] : [],
  };
}

/** Whose personal data it is: a user's, or that of somebody only the other application knows. */
function subjectOf({ vault }: Services, id: string): string {
  return asUuid(id) ?? subjectOfEmail(vault.emailHmac(id));
}
