/** What became of a security event: an event is a record, and the record cannot change, so its state stands beside it. */
import { and, eq, sql } from 'drizzle-orm';
import { z } from 'zod';

import { type Act, type Batch, confinedTo, type Deed } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { auditLogs, type AuditLogRow } from '../audit/tables.ts';
import type { SecurityEventState } from '../generated/types.ts';
import { uuidArray } from '../platform/columns.ts';
import { asUuid, isoOf } from '../platform/ids.ts';
import { checkedInput, line } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import { securityEventStates } from './tables.ts';

type StateRow = typeof securityEventStates.$inferSelect;

const VERSION_AT = 14;
const said = z.object({ note: line(500).nullish() });

const SECURITY_EVENT = entity<StateRow>()({
  resource: 'SECURITY_EVENT',
  columns: {
    tenantId: 'OMIT',
    logId: 'OMIT',
    state: 'TRACK',
    note: 'TRACK',
    changedBy: 'OMIT',
    changedAt: 'OMIT',
  },
  id: ({ logId }) => eventIdOf(logId),
  tenantId: ({ tenantId }) => tenantId,
  label: () => null,
});

/** The id of the event that a record is: the same, as a UUIDv8 (RFC 9562) instead of a UUIDv7, so that `node` tells them apart. */
export function eventIdOf(recordId: string): string {
  return ofVersion('8', recordId);
}

/** The record of an event's id; undefined where it cannot be the id of one. */
export function recordIdOf(eventId: string): string | undefined {
  const uuid = asUuid(eventId);
  return uuid?.[VERSION_AT] === '8' ? ofVersion('7', uuid) : undefined;
}

function ofVersion(version: string, uuid: string): string {
  return uuid.slice(0, VERSION_AT) + version + uuid.slice(VERSION_AT + 1);
}

/** What was last said of each event; null while nobody has said anything. One statement. */
export const stateOf: Batch<AuditLogRow, StateRow | null> = async ({ tx }, rows) => {
  const tenantIds = uuidArray(rows.map(({ tenantId }) => tenantId));
  const ids = uuidArray(rows.map(({ id }) => id));
  const states = await tx
    .select()
    .from(securityEventStates)
    .where(sql`(tenant_id, log_id) in (select * from unnest(${tenantIds}::uuid[], ${ids}::uuid[]))`);
  const byRecord = new Map(states.map((state) => [state.logId, state]));
  return rows.map(({ id }) => byRecord.get(id) ?? null);
};

export const acknowledgeSecurityEvent: Deed<'acknowledgeSecurityEvent'> = async (act, input) => {
  const { event, before } = await eventToChange(act, input.id);
  const { note = null } = checkedInput(said, input);
  if (before.state !== 'OPEN') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, 'ACKNOWLEDGED', note);
  return act.done({ securityEvent: event }, { of: SECURITY_EVENT, before, after });
};

export const resolveSecurityEvent: Deed<'resolveSecurityEvent'> = async (act, input) => {
  const { event, before } = await eventToChange(act, input.id);
  const { note = null } = checkedInput(said, input);
  if (before.state === 'RESOLVED') throw new Refusal('STATE_UNCHANGED');
  const after = await change(act, before, 'RESOLVED', note);
  return act.done({ securityEvent: event }, { of: SECURITY_EVENT, before, after });
};

type StateAct = Act<'acknowledgeSecurityEvent'> | Act<'resolveSecurityEvent'>;

/** The event and its state, locked until the act ends; one of another tenant does not exist. */
async function eventToChange(
  act: StateAct,
  id: string,
): Promise<{ readonly event: AuditLogRow; readonly before: StateRow }> {
  const recordId = recordIdOf(id);
  const own = confinedTo(act.actor);
  const [event] = recordId
    ? await act.tx
        .select()
        .from(auditLogs)
        .where(
          and(
            eq(auditLogs.id, recordId),
            own ? eq(auditLogs.tenantId, own) : undefined,
            eq(auditLogs.security, true),
          ),
        )
    : [];
  if (!event) throw new Refusal('SECURITY_EVENT_NOT_FOUND');
  const key = { tenantId: event.tenantId, logId: event.id };
  // The row that says "open" is there to be locked: of the first two at once, the second waits here.
  await act.tx
    .insert(securityEventStates)
    .values({ ...key, state: 'OPEN', ...changedNow(act) })
    .onConflictDoNothing();
  const [before] = await act.tx.select().from(securityEventStates).where(at(key)).for('update');
  act.about(SECURITY_EVENT, before!);
  return { event, before: before! };
}

async function change(
  act: StateAct,
  before: StateRow,
  state: SecurityEventState,
  note: string | null,
): Promise<StateRow> {
  const [after] = await act.tx
    .update(securityEventStates)
    .set({ state, note, ...changedNow(act) })
    .where(at(before))
    .returning();
  return after!;
}

function changedNow({ actor, now }: StateAct) {
  if (actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
  return { changedBy: actor.id, changedAt: isoOf(now) };
}

function at({ tenantId, logId }: Pick<StateRow, 'tenantId' | 'logId'>) {
  return and(eq(securityEventStates.tenantId, tenantId), eq(securityEventStates.logId, logId));
}
