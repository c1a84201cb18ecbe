/** A record as a row of a table: the columns of CSV and Parquet, and how a row of them is made. */
import type { ShownRecord } from '../audit/shown.ts';

type Cell = string | number | null;

/** The columns, in order. Append-only: readers count on them. */
export const COLUMNS = {
  id: (record) => record.id,
  position: (record) => record.position,
  createdAt: (record) => record.createdAt,
  action: (record) => record.action,
  actionKey: (record) => record.actionKey,
  category: (record) => record.category,
  severity: (record) => record.severity,
  status: (record) => record.status,
  failure: (record) => record.failure,
  tenantId: (record) => record.tenantId,
  actorType: (record) => record.actor.type,
  actorId: (record) => record.actor.id,
  actorEmail: (record) => record.actor.email,
  actorName: (record) => record.actor.name,
  actorRole: (record) => record.actor.role,
  resource: (record) => record.resource,
  resourceId: (record) => record.resourceId,
  resourceName: (record) => record.resourceName,
  ipAddress: (record) => record.ipAddress,
  userAgent: (record) => record.userAgent,
  requestId: (record) => record.requestId,
  details: (record) => JSON.stringify(record.details),
  changes: (record) => JSON.stringify(record.changes),
  context: (record) => JSON.stringify(record.context),
} as const satisfies Record<string, (record: ShownRecord) => Cell>;
