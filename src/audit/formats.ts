/** A record as other systems read it. */
import type { AuditRecordFormat, Severity } from '../generated/types.ts';
import { inOcsf } from './ocsf.ts';
import type { ShownRecord } from './shown.ts';

const ECS_VERSION = '8.17.0';
/** CEF counts from 0 to 10. */
const CEF_SEVERITY: Readonly<Record<Severity, number>> = {
  INFO: 2,
  NOTICE: 4,
  WARNING: 6,
  ERROR: 8,
  CRITICAL: 10,
};
const ECS_CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  AUTH: ['authentication', 'session'],
  TENANT: ['configuration'],
  USER: ['iam'],
  BRANCH: ['configuration'],
  SETTINGS: ['configuration'],
  SECURITY: ['intrusion_detection'],
  AUDIT: ['configuration'],
  WEBHOOK: ['configuration'],
  API_KEY: ['iam'],
  EXTERNAL: ['api'],
};

const FORMATS: Readonly<Record<AuditRecordFormat, (record: ShownRecord) => string>> = {
  NATIVE: (record) => JSON.stringify(record),
  OCSF: (record) => JSON.stringify(inOcsf(record, '1.9.0')),
  OCSF_1_8: (record) => JSON.stringify(inOcsf(record, '1.8.0')),
  ECS: (record) => JSON.stringify(inEcs(record)),
  CEF: inCef,
};

/** A record in that format: JSON, or for CEF a line. */
export function rendered(record: ShownRecord, format: AuditRecordFormat): string {
  return FORMATS[format](record);
}

/** Elastic Common Schema (https://www.elastic.co/guide/en/ecs). What it has no name for stands under `custos`. */
function inEcs(record: ShownRecord): object {
  const { actor, resource, resourceId, resourceName, ipAddress, userAgent, failure, tenantId } = record;
  const isDetected = record.category === 'SECURITY' && actor.type === 'SYSTEM';
  return {
    '@timestamp': record.createdAt,
    ecs: { version: ECS_VERSION },
    event: {
      id: record.id,
      kind: isDetected ? 'alert' : 'event',
      category: ECS_CATEGORIES[record.category],
      action: record.actionKey,
      outcome: record.status === 'SUCCESS' ? 'success' : 'failure',
      severity: CEF_SEVERITY[record.severity] * 10,
      module: 'custos',
      dataset: 'custos.audit',
      ...(failure === null ? {} : { reason: failure }),
      ...(record.position === null ? {} : { sequence: record.position }),
    },
    message: record.action,
    user: {
      ...(actor.id === null ? {} : { id: actor.id }),
      ...(actor.name === null ? {} : { full_name: actor.name }),
      ...(actor.email === null ? {} : { email: actor.email }),
      ...(actor.role === null ? {} : { roles: [actor.role] }),
      ...(resource === 'USER' && resourceId !== null
        ? { target: { id: resourceId, ...(resourceName === null ? {} : { full_name: resourceName }) } }
        : {}),
    },
    ...(ipAddress === null ? {} : { source: { ip: ipAddress } }),
    ...(userAgent === null ? {} : { user_agent: { original: userAgent } }),
    ...(tenantId === null ? {} : { organization: { id: tenantId } }),
    http: { request: { id: record.requestId } },
    custos: {
      resource: { type: resource, id: resourceId, name: resourceName },
      details: record.details,
      changes: record.changes,
    },
  };
}

/** Common Event Format, revision 25: a header between bars, then `name=value`. */
function inCef(record: ShownRecord): string {
  const { actor, ipAddress, failure } = record;
  const header = ['Custos', 'Custos', '1', record.actionKey, record.action].map(escapedHeader);
  const extension: Readonly<Record<string, string | number | null>> = {
    rt: Date.parse(record.createdAt),
    externalId: record.id,
    outcome: record.status,
    reason: failure,
    suid: actor.id,
    suser: actor.email ?? actor.name,
    spriv: actor.role,
    ...(ipAddress?.includes(':')
      ? { c6a2: ipAddress, c6a2Label: 'Source IPv6 Address' }
      : { src: ipAddress }),
    requestClientApplication: record.userAgent,
    cs1: record.tenantId,
    cs1Label: 'tenantId',
    cs2: record.resource,
    cs2Label: 'resource',
    cs3: record.resourceId,
    cs3Label: 'resourceId',
    cs4: record.requestId,
    cs4Label: 'requestId',
    cs5: record.resourceName,
    cs5Label: 'resourceName',
    cn1: record.position,
    cn1Label: 'position',
    msg: JSON.stringify(record.details),
  };
  const pairs = Object.entries(extension).flatMap(([name, value]) =>
    value === null || extension[name.replace('Label', '')] === null
      ? []
      : [`${name}=${escapedValue(String(value))}`],
  );
  return ['CEF:0', ...header, CEF_SEVERITY[record.severity], pairs.join(' ')].join('|');
}

function escapedHeader(text: string): string {
  return text.replaceAll(/[\\|]/g, String.raw`\$&`).replaceAll(/[\r\n]+/g, ' ');
}

function escapedValue(text: string): string {
  return text
    .replaceAll(/[\\=]/g, String.raw`\$&`)
    .replaceAll('\r', String.raw`\r`)
    .replaceAll('\n', String.raw`\n`);
}
