/** Random records and random filters, and what a filter means, said a second time as plainly as possible. */
import { type Arbitrary, array, constantFrom, dictionary, integer, oneof, option, record } from 'fast-check';
import { BlockList } from 'node:net';
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
  /** What the record changed: field to value. */
  readonly changed?: Readonly<Record<string, string>>;
  /** Its details. */
  readonly details?: Readonly<Record<string, string>>;
  /** Whether it is a security event; no unless told. */
  readonly security?: boolean;
}

const ACTIONS = Object.keys(AUDIT_CATALOGUE).slice(0, 12) as AuditAction[];
const STATUSES = ['SUCCESS', 'FAILURE', 'ERROR'] as const satisfies AuditStatus[];
const IDS = [1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`);
const ADDRESSES = ['192.0.2.1', '192.0.2.10', '2001:db8::1', '2001:db8:0:1::'];
const REQUESTS = ['request-1', 'Request-1', "it's", 'ünï'];
const RANGES = [
  '192.0.2.0/29',
  '192.0.2.9/24',
  '192.0.2.1',
  '0.0.0.0/0',
  '::/0',
  '2001:db8::/64',
  '2001:db8:0:1::5/64',
];
const FIELDS = ['role', 'name', 'max"Users', 'ünï'];
const TEXTS = ['Straße', 'say "hi"', 'C:\\Temp', 'ÄÖÜ\n', '100%_*[x]', ''];
const SOUGHT = [
  'a',
  'STRAS',
  'straß',
  '"HI"',
  '\\t',
  'äöü',
  '%_',
  '*[X',
  'reason',
  'AUTH.',
  'request-1',
  'Q',
  '.',
  '^',
];
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
    userId: option(constantFrom(...IDS)),
    resourceId: option(constantFrom(...IDS)),
    ipAddress: option(constantFrom(...ADDRESSES)),
    requestId: constantFrom(...REQUESTS),
    changed: dictionary(constantFrom(...FIELDS), constantFrom(...TEXTS), { maxKeys: 2 }),
    details: dictionary(constantFrom('reason', 'note'), constantFrom(...TEXTS), { maxKeys: 2 }),
  }).map(({ ago, micros, ...facts }) => {
    const at = now - BigInt(ago) * BigInt(DAY_MICROS) + BigInt(micros);
    return { ...facts, id: idAt(at), micros: at, severity: severityOf(facts) };
  });
  return array(row, { minLength, maxLength, size: 'max' });
}

function severityOf({ action, status }: Pick<LogRow, 'action' | 'status'>): number {
  const own = SEVERITIES.indexOf(AUDIT_CATALOGUE[action].severity);
  return Math.max(own, { SUCCESS: 0, FAILURE: 2, ERROR: 3 }[status]);
}

/** Filters that nest up to four deep, with every field there is; `at` gives them moments worth asking for. */
export function logFilters(
  tenantIds: readonly string[],
  at: readonly bigint[],
  { texts = false } = {},
): Arbitrary<AuditLogFilter> {
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
    ipRange: constantFrom(...RANGES),
    requestId: constantFrom(...REQUESTS, ''),
    changedField: constantFrom(...FIELDS, 'Role', ''),
    ...(texts ? { text: constantFrom(...SOUGHT) } : {}),
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
    (typeof filter.ipRange !== 'string' || isInRange(row.ipAddress, filter.ipRange)) &&
    (filter.requestId ?? row.requestId) === row.requestId &&
    (typeof filter.changedField !== 'string' || filter.changedField in (row.changed ?? {})) &&
    (typeof filter.text !== 'string' || saysText(row, filter.text)) &&
    (!from || row.micros >= microsFrom(from)) &&
    (!to || row.micros < microsFrom(to)) &&
    (filter.and ?? []).every((each) => isAskedFor(row, each)) &&
    (!filter.or || filter.or.some((each) => isAskedFor(row, each))) &&
    (!filter.not || !isAskedFor(row, filter.not))
  );
}

function isInRange(address: string | null, range: string): boolean {
  const [network = '', bits = '128'] = range.split('/');
  const family = (text: string) => (text.includes(':') ? 'ipv6' : 'ipv4');
  if (address === null || family(address) !== family(network)) return false;
  const list = new BlockList();
  list.addSubnet(network, Math.min(Number(bits), family(network) === 'ipv4' ? 32 : 128), family(network));
  return list.check(address, family(address));
}

function saysText({ action, requestId, changed = {}, details = {} }: LogRow, text: string): boolean {
  // What the house itself wrote holds other things than texts.
  const said: unknown[] = [
    AUDIT_CATALOGUE[action].key,
    requestId,
    ...Object.values(changed),
    ...Object.values(details),
  ];
  return said.some((each) => typeof each === 'string' && each.toLowerCase().includes(text.toLowerCase()));
}

/** Every record there is, as filters see it. */
export async function readLogRows(admin: postgres.Sql): Promise<LogRow[]> {
  const rows = await admin`
    select tenant_id, id, action, status, severity, user_id, resource_id, host(ip_address) as ip_address, request_id,
      changes, details
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
    changed: Object.fromEntries(
      (row['changes'] as { path: string; after: string }[]).map(({ path, after }) => [path, after]),
    ),
    details: row['details'] as Record<string, string>,
  }));
}

/** Writes the records as the superuser, in a database of now or younger than two months. */
export async function writeLogRows(admin: postgres.Sql, rows: readonly LogRow[]): Promise<void> {
  const written = rows.map(({ micros, action, status, security = false, changed = {}, ...row }) =>
    rawRecord({
      ...row,
      createdAt: isoOf(micros),
      action: AUDIT_CATALOGUE[action].key,
      resource: AUDIT_CATALOGUE[action].resource,
      status: status.toLowerCase(),
      security,
      changes: Object.entries(changed).map(([path, after]) => ({ path, before: null, after })),
    }),
  );
  await admin.unsafe(`${INSERT_RAW} $1::text::json)`, [JSON.stringify(written)]);
}
