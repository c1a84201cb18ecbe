import { eq } from 'drizzle-orm';
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core';

import { confinedTo, type Context, type Scope } from '../audit/act.ts';
import { CHANGED, type Condition, having, NONE } from '../audit/filter.ts';
import { creationIn, type FieldHistory, fieldsChanged, isDeletedIn, lastIn } from '../audit/history.ts';
import { personalIn } from '../audit/known.ts';
import { pageOfLog } from '../audit/query.ts';
import { auditLogs } from '../audit/tables.ts';
import { sessions } from '../auth/tables.ts';
import type { AuditResource, QueryResolvers } from '../generated/types.ts';
import { asUuid, isoOf, microsFrom } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { branches } from '../tenants/tables.ts';
import { users } from '../users/tables.ts';
import { auditExports, legalHolds } from '../archive/tables.ts';
import { apiKeys, eventTypes, webhooks } from '../delivery/tables.ts';
import { shownChange } from '../audit/shown.ts';
import { recordIdOf } from './eventStates.ts';
import { withinAllAbout } from './reach.ts';

export const queries = {
  resourceHistory: async (_root, { resource, id, ...page }, context) =>
    pageOfLog(context, await changing(context, resource, id), page),

  resourceAt: async (_root, { resource, id, at }, context) => {
    const until = at ? microsFrom(at) : undefined;
    const condition = await changing(context, resource, id);
    const fields = await context.read((scope) => fieldsChanged(scope, condition, { until }));
    if (fields.length === 0) return null;
    const values = await Promise.all(fields.map((field) => valueOf(context, field)));
    const [creation, record] = [creationIn(fields), lastIn(fields)];
    return {
      resource,
      id: record.resourceId!,
      at: isoOf(until ?? context.services.clock.now()),
      exists: !isDeletedIn(fields),
      createdAt: creation?.createdAt ?? null,
      record,
      fields: values,
      isComplete: creation !== undefined && values.every(({ redaction }) => redaction !== 'CUT'),
    };
  },

  resourceDiff: async (_root, { resource, id, from, to }, context) => {
    const [after, until] = [microsFrom(from), to ? microsFrom(to) : undefined];
    if (until !== undefined && after > until)
      throw new Refusal('INVALID_INPUT', { fields: { from: 'must not be after to' } });
    const condition = await changing(context, resource, id);
    const fields = await context.read((scope) => fieldsChanged(scope, condition, { after, until }));
    const changes = await Promise.all(fields.map((field) => netChange(context, field)));
    return changes.filter(
      ({ before, after: now, redaction }) => redaction || JSON.stringify(before) !== JSON.stringify(now),
    );
  },
} satisfies Partial<QueryResolvers>;

async function valueOf(context: Context, { path, last: { change, record } }: FieldHistory) {
  const { after: value, redaction } = shownChange(change, await personalIn(context, record));
  return { path, value, redaction, since: record.createdAt, record };
}

/** From before the first change to after the last. */
async function netChange(context: Context, { path, first, last }: FieldHistory) {
  const [begin, end] = await Promise.all([
    personalIn(context, first.record),
    personalIn(context, last.record),
  ]);
  const { before, ...was } = shownChange(first.change, begin);
  const { after, ...is } = shownChange(last.change, end);
  return { path, before, after, redaction: was.redaction ?? is.redaction };
}

/** The records that changed an object; none where the caller may not see all there is about it. */
async function changing(context: Context, resource: AuditResource, id: string): Promise<Condition> {
  const uuid = asUuid(id);
  if (uuid === undefined) return NONE;
  // The index on the object begins with the tenant, so who sees all tenants has to find out which it is.
  const tenantId =
    confinedTo(context.actor) ?? (await context.read((scope) => tenantOf(scope, resource, uuid)));
  if (tenantId === undefined) return NONE;
  return await withinAllAbout(context, uuid, {
    all: [having('tenantId', tenantId), having('resource', resource), having('resourceId', uuid), CHANGED],
  });
}

/** The rows of objects that are not known by their tenant's id; they stay when the object is deleted. */
const ROWS = {
  USER: users,
  BRANCH: branches,
  SESSION: sessions,
  SECURITY_EVENT: auditLogs,
  AUDIT_EXPORT: auditExports,
  LEGAL_HOLD: legalHolds,
  WEBHOOK: webhooks,
  API_KEY: apiKeys,
  EVENT_TYPE: eventTypes,
  EVENT: auditLogs,
} as const;

/** Whose log tells of an object. */
async function tenantOf({ tx }: Scope, resource: AuditResource, id: string): Promise<string | undefined> {
  if (resource === 'TENANT' || resource === 'SETTINGS') return id;
  const table: PgTable & { tenantId: PgColumn; id: PgColumn } = ROWS[resource];
  const rowId = resource === 'SECURITY_EVENT' ? recordIdOf(id) : id;
  if (rowId === undefined) return undefined;
  const [row] = await tx.select({ tenantId: table.tenantId }).from<PgTable>(table).where(eq(table.id, rowId));
  return row?.tenantId as string | undefined;
}
