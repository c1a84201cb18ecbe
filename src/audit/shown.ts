/** A record as it is shown outside GraphQL: in files, to other systems. The names are those of the schema. */
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { FieldChange, Redaction } from '../generated/types.ts';
import type { Change } from './entity.ts';
import type { PersonalValues } from './personal.ts';
import { isCut } from './recordable.ts';
import { actionOf } from './actions.ts';
import { type AuditLogRow, PLATFORM_TENANT, SEVERITIES } from './tables.ts';

export type ShownChange = Required<Omit<FieldChange, '__typename'>>;
export type ShownRecord = ReturnType<typeof shownRecord>;

/** A record, as far as its personal values are there to be shown. It has no position before it is sealed. */
export function shownRecord(row: AuditLogRow, position: bigint | null, personal: PersonalValues) {
  const { actor } = personal;
  return {
    id: row.id,
    position: position === null ? null : Number(position),
    createdAt: row.createdAt,
    schemaVersion: row.schemaVersion,
    action: actionOf(row),
    actionKey: row.action,
    category: AUDIT_CATALOGUE[actionOf(row)].category,
    severity: SEVERITIES[row.severity]!,
    status: row.status.toUpperCase(),
    failure: row.failure,
    tenantId: row.tenantId === PLATFORM_TENANT ? null : row.tenantId,
    actor: {
      type: row.actor.type,
      id: row.userId ?? row.actor.apiKeyId ?? null,
      email: actor?.email ?? null,
      name: actor?.name ?? row.actor.apiKeyName ?? row.actor.system ?? null,
      role: row.actor.role ?? null,
    },
    resource: row.resource,
    resourceId: row.resourceId,
    resourceName: row.resourceName ?? personal.resourceName ?? null,
    details: shownDetails(row, personal),
    changes: row.changes.map((change) => shownChange(change, personal)),
    ipAddress: row.ipAddress,
    userAgent: row.userAgent,
    requestId: row.requestId,
    context: row.context,
  };
}

/** Details with the personal ones in their places. */
export function shownDetails(
  { details: clear }: Pick<AuditLogRow, 'details'>,
  { details = {} }: PersonalValues,
): Record<string, unknown> {
  const input = { ...(clear.input as object | undefined), ...(details.input as object | undefined) };
  return { ...clear, ...details, ...(Object.keys(input).length > 0 ? { input } : {}) };
}

/** A change of a record, as far as its values are there to be shown: the personal ones of the record are given. */
export function shownChange(change: Change, { changes = {} }: PersonalValues): ShownChange {
  const { path, sensitivity, before = null, after = null } = change;
  const without = (redaction: Redaction) => ({ path, before: null, after: null, redaction });
  if (sensitivity === 'SECRET') return without('SECRET');
  if (isCut(change)) return without('CUT');
  if (sensitivity !== 'PII') return { path, before, after, redaction: null };
  const values = changes[path];
  return values ? { path, before: values[0], after: values[1], redaction: null } : without('ERASED');
}
