/** Records that nobody made: as the application writes them, so that they pass for sealed ones, but meaning nothing. */
import { leafHash, type LeafRecord } from '../../src/ledger/leaf.ts';
import { idAt, microsOf, isoOf } from '../../src/platform/ids.ts';

/** The columns of a record, as `json_populate_recordset` takes them. `created_at` follows from the id unless told. */
export function rawRecord(facts: Pick<LeafRecord, 'tenantId' | 'id'> & Partial<LeafRecord>) {
  const record: LeafRecord = {
    createdAt: isoOf(microsOf(facts.id)),
    operationId: idAt(microsOf(facts.id)),
    schemaVersion: 1,
    userId: null,
    actor: { type: 'ANONYMOUS' },
    action: 'auth.login',
    resource: 'USER',
    resourceId: null,
    resourceName: null,
    status: 'success',
    failure: null,
    severity: 0,
    security: false,
    ipAddress: null,
    userAgent: null,
    requestId: 'request',
    context: { transport: 'HTTP' },
    details: {},
    changes: [],
    subjectHmac: null,
    commitments: [],
    ...facts,
  };
  const { commitments: _none, ...columns } = record;
  const leaf = `\\x${leafHash(record).toString('hex')}`;
  const named = Object.entries({ ...columns, leafHash: leaf }).map(([name, value]) => [
    name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value,
  ]);
  return Object.fromEntries(named) as Record<string, unknown>;
}

/** Inserts such columns, given as one parameter of JSON. */
export const INSERT_RAW = `
  insert into audit_logs (tenant_id, id, created_at, operation_id, schema_version, user_id, actor, action, resource,
    resource_id, status, severity, security, ip_address, request_id, context, details, changes, leaf_hash)
  select tenant_id, id, created_at, operation_id, schema_version, user_id, actor, action, resource,
    resource_id, status, severity, security, ip_address, request_id, context, details, changes, leaf_hash
  from json_populate_recordset(null::audit_logs, `;
