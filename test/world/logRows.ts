/** Random records and random filters, and what a filter means, said a second time as plainly as possible. */
import { type Arbitrary, array, constantFrom, integer, oneof, option, record } from 'fast-check';
import type postgres from 'postgres';

import { SEVERITIES } from '../../src/audit/tables.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditAction, AuditLogFilter, AuditStatus } from '../../src/generated/types.ts';
import { idAt, isoOf, microsFrom, microsOf } from '../../src/platform/ids.ts';
import { INSERT_RAW, rawRecord } from './rawRecord.ts';

/** What of a record filters look at. */
export interface LogRow {
  readonly tenantId: string;
  readonly id: string;
  /** When, in microseconds since 1970. */
  readonly micros: bigint;
  readonly action: AuditAction;
  readonly status: AuditStatus;
  readonly severity: number;
  readonly userId: string | null;
  readonly resourceId: string | null;
  readonly ipAddress: string | null;
  readonly requestId: string;
  /** Whether it is a security event; no unless told. */
  readonly security?: boolean;
}

const ACTIONS = Object.keys(AUDIT_CATALOGUE).slice(0, 12) as AuditAction[];
const STATUSES = ['SUCCESS', 'FAILURE', 'ERROR'] as const satisfies AuditStatus[];
const IDS = [1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`);
const ADDRESSES = ['192.0.2.1', '192.0.2.10', '2001:db8::1', '2001:db8:0:1::'];
const REQUESTS = ['request-1', 'Request-1', "it's", 'ünï'];
const DAY_MICROS = 86_400_000_000;
const SPAN_DAYS = 50;

/** Records of these tenants from the last 50 days before `now`, some in the same millisecond. */
export function logRows(
  tenantIds: readonly string[],
  now: bigint,
  { minLength, maxLength }: { readonly minLength: number; readonly maxLength: number },
): Arbitrary<LogRow[]> {
  const row = record({
    tenantId: constantFrom(...tenantIds),
    ago: integer({ min: 1, max: SPAN_DAYS }),
    micros: integer({ min: 0, max: 3_000 }),
    action: constantFrom(...ACTIONS),
    status: constantFrom(...STATUSES),
    severity: integer({ min: 0, max: 4 }),
    userId: option(constantFrom(...IDS)),
    resourceId: option(constantFrom(...IDS)),
    ipAddress: option(constantFrom(...ADDRESSES)),
    requestId: constantFrom(...REQUESTS),
  }).map(({ ago, micros, ...facts }) => {
    const at = now - BigInt(ago) * BigInt(DAY_MICROS) + BigInt(micros);
    return { ...facts, id: idAt(at), micros: at };
  });
  return array(row, { minLength, maxLength, size: 'max' });
}

/** Filters that nest up to four deep, with every field there is; `at` gives them moments worth asking for. */
export function logFilters(tenantIds: readonly string[], at: readonly bigint[]): Arbitrary<AuditLogFilter> {
  const some = <Value>(...values: Value[]) => array(constantFrom(...values), { maxLength: 2 });
  const moment = option(
    constantFrom(...at).chain((micros) => constantFrom(-1n, 0n, 1n).map((by) => isoOf(micros + by))),
  );
  const plain = {
    tenantId: constantFrom(...tenantIds, 'not an id'),
    userId: constantFrom(...IDS),
    actions: some(...ACTIONS),
    categories: some('AUTH', 'TENANT', 'USER'),
    resources: some('TENANT', 'USER', 'SESSION'),
    resourceId: constantFrom(...IDS, IDS[0]!.toUpperCase(), ''),
    statuses: some(...STATUSES),
    minSeverity: constantFrom(...SEVERITIES),
    ipAddress: constantFrom(...ADDRESSES),
    requestId: constantFrom(...REQUESTS, ''),
    createdAt: record({ from: moment, to: moment }),
  };
  const leaf = constantFrom(...(Object.keys(plain) as (keyof typeof plain)[])).chain(
    (field): Arbitrary<AuditLogFilter> =>
      (plain[field] as Arbitrary<unknown>).map((value) => ({ [field]: value })),
  );
  const filter = (levels: number): Arbitrary<AuditLogFilter> => {
    if (levels === 1) return leaf;
    const inner = filter(levels - 1);
    const several = array(inner, { minLength: 2, maxLength: 3 });
    return oneof(
      leaf,
      record({ or: several }),
      record({ not: inner }),
      record({ and: array(inner, { maxLength: 2 }) }),
      record({ first: leaf, or: several, not: inner }).map(({ first, ...rest }) => ({ ...first, ...rest })),
    );
  };
  return filter(4);
}

/** Whether a record is one that the filter asks for. */
export function isAskedFor(row: LogRow, filter: AuditLogFilter): boolean {
  const { key, resource } = AUDIT_CATALOGUE[row.action];
  const category = key.split('.', 1)[0]!.toUpperCase();
  const is = (value: string | null, wanted: string | null | undefined) =>
    wanted === undefined || wanted === null || value?.toLowerCase() === wanted.toLowerCase();
  const among = (value: string, wanted: readonly string[] | null | undefined) =>
    wanted?.includes(value) ?? true;
  const { from, to } = filter.createdAt ?? {};
  return (
    is(row.tenantId, filter.tenantId) &&
    is(row.userId, filter.userId) &&
    among(row.action, filter.actions) &&
    among(category, filter.categories) &&
    among(resource, filter.resources) &&
    is(row.resourceId, filter.resourceId) &&
    among(row.status, filter.statuses) &&
    row.severity >= SEVERITIES.indexOf(filter.minSeverity ?? 'INFO') &&
    is(row.ipAddress, filter.ipAddress) &&
    (filter.requestId ?? row.requestId) === row.requestId &&
    (!from || row.micros >= microsFrom(from)) &&
    (!to || row.micros < microsFrom(to)) &&
    (filter.and ?? []).every((each) => isAskedFor(row, each)) &&
    (!filter.or || filter.or.some((each) => isAskedFor(row, each))) &&
    (!filter.not || !isAskedFor(row, filter.not))
  );
}

/** Every record there is, as filters see it. */
export async function readLogRows(admin: postgres.Sql): Promise<LogRow[]> {
  const rows = await admin`
    select tenant_id, id, action, status, severity, user_id, resource_id, host(ip_address) as ip_address, request_id
    from audit_logs`;
  const actions = Object.entries(AUDIT_CATALOGUE) as [AuditAction, { key: string }][];
  return rows.map((row) => ({
    tenantId: row['tenant_id'] as string,
    id: row['id'] as string,
    micros: microsOf(row['id'] as string),
    action: actions.find(([, { key }]) => key === row['action'])![0],
    status: (row['status'] as string).toUpperCase() as AuditStatus,
    severity: row['severity'] as number,
    userId: row['user_id'] as string | null,
    resourceId: row['resource_id'] as string | null,
    ipAddress: row['ip_address'] as string | null,
    requestId: row['request_id'] as string,
  }));
}

/** Writes the records as the superuser, in a database of now or younger than two months. */
export async function writeLogRows(admin: postgres.Sql, rows: readonly LogRow[]): Promise<void> {
  const written = rows.map(({ micros, action, status, security = false, ...row }) =>
    rawRecord({
      ...row,
      createdAt: isoOf(micros),
      action: AUDIT_CATALOGUE[action].key,
      resource: AUDIT_CATALOGUE[action].resource,
      status: status.toLowerCase(),
      security,
    }),
  );
  await admin.unsafe(`${INSERT_RAW} $1::text::json)`, [JSON.stringify(written)]);
}
