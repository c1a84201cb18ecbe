/**
 * What a filter means, once: a small tree of comparisons that Postgres evaluates for pages and this process for the live
 * feed. Row-level security lets an index serve only equality and ranges; what is another operator here is asked of records that
 * were found by something else (audit/ways.ts).
 */
import { and, type AnyColumn, eq, gte, inArray, lt, or, type SQL, sql } from 'drizzle-orm';

import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { AuditAction, AuditLogFilter, AuditStatus, Severity } from '../generated/types.ts';
import { asUuid, idFloor, microsFrom } from '../platform/ids.ts';
import { endsOf, isWithin, parseAddress, parseNetwork } from '../platform/network.ts';
import { Refusal } from '../platform/refusal.ts';
import { recordableText } from './recordable.ts';
import { auditLogs, type AuditLogRow, SEVERITIES } from './tables.ts';
import { containing, contains } from './textSearch.ts';

const DEPTH_MAX = 5;
const CONDITIONS_MAX = 100;
const TEXT_CHARS_MAX = 200;

/** What a column is compared with. */
export type Value = string | number | boolean | Buffer;

/** A column that can be compared. */
export type Column = keyof AuditLogRow & keyof typeof auditLogs;

/** A condition on a record. A comparison with an absent value is false, and its negation true. */
export type Condition =
  | { readonly all: readonly Condition[] }
  | { readonly any: readonly Condition[] }
  | { readonly not: Condition }
  /** The record changed something. */
  | { readonly anyChange: true }
  | { readonly column: Column; readonly in: readonly Value[] }
  | { readonly column: Column; readonly from: Value }
  | { readonly column: Column; readonly below: Value }
  /** The address lies in this network, such as `10.0.0.0/8`. */
  | { readonly network: string }
  /** The record changed the field of this path. */
  | { readonly changed: string }
  /** What the record says in clear contains this, in letters of either case. */
  | { readonly text: string };

/** The condition of a filter as the schema has it. Refuses one nested too deep or too long. */
export function conditionOf(filter: AuditLogFilter | null | undefined, depth = 1): Condition {
  if (depth > DEPTH_MAX) throw invalid('filter', `may nest ${DEPTH_MAX} deep`);
  const { and: every, or: some, not: none, createdAt, ...plain } = filter ?? {};
  const nested = (filters: readonly AuditLogFilter[]) => filters.map((each) => conditionOf(each, depth + 1));
  const condition: Condition = {
    all: [
      ...plainConditions(plain),
      ...(createdAt?.from ? [createdFrom(createdAt.from)] : []),
      ...(createdAt?.to ? [createdBelow(createdAt.to)] : []),
      ...(every ? nested(every) : []),
      ...(some ? [{ any: nested(some) }] : []),
      ...(none ? [{ not: conditionOf(none, depth + 1) }] : []),
    ],
  };
  if (depth === 1 && sizeOf(condition) > CONDITIONS_MAX)
    throw invalid('filter', `may hold ${CONDITIONS_MAX} conditions`);
  return condition;
}

/** Records of these actions. */
export function ofActions(actions: readonly AuditAction[]): Condition {
  return { column: 'action', in: actions.map((action) => AUDIT_CATALOGUE[action].key) };
}

/** Records at least this grave. */
export function atLeast(severity: Severity): Condition {
  return { column: 'severity', from: SEVERITIES.indexOf(severity) };
}

/** Records created at that moment or later. The id is the time. */
export function createdFrom(moment: string): Condition {
  return { column: 'id', from: idFloor(microsFrom(moment)) };
}

/** Records whose column has this value. */
export function having(column: Column, value: Value): Condition {
  return { column, in: [value] };
}

/** Records with this id of something in the column; none if it cannot be an id. */
export function havingId(column: Column, id: string): Condition {
  const uuid = asUuid(id);
  return { column, in: uuid ? [uuid] : [] };
}

/** The condition on a value, if the client gave one. An empty text is one: nothing has it. */
export function given<Given>(
  value: Given | null | undefined,
  condition: (value: Given) => Condition,
): Condition | undefined {
  return value === null || value === undefined ? undefined : condition(value);
}

/** Every record. */
export const ANY: Condition = { all: [] };

/** No record. */
export const NONE: Condition = { any: [] };

/** Records that tell of changed fields. Those of calls that failed do not, unless what they changed was committed all the same. */
export const CHANGED: Condition = { anyChange: true };

function createdBelow(moment: string): Condition {
  return { column: 'id', below: idFloor(microsFrom(moment)) };
}

type Plain = Omit<AuditLogFilter, 'and' | 'or' | 'not' | 'createdAt'>;

function plainConditions(filter: Plain): Condition[] {
  // By name, so that a field of the schema without its condition does not compile.
  const conditions: { readonly [Field in keyof Required<Plain>]: Condition | undefined } = {
    tenantId: given(filter.tenantId, (id) => havingId('tenantId', id)),
    userId: given(filter.userId, (id) => havingId('userId', id)),
    actions: given(filter.actions, ofActions),
    categories: given(filter.categories, (categories) => ofActions(actionsOf(categories))),
    resources: given(filter.resources, (resources) => ({ column: 'resource', in: resources })),
    resourceId: given(filter.resourceId, (id) => havingId('resourceId', id)),
    statuses: given(filter.statuses, (statuses) => ({ column: 'status', in: statuses.map(storedStatus) })),
    minSeverity: given(filter.minSeverity, atLeast),
    ipAddress: given(filter.ipAddress, (address) => having('ipAddress', address)),
    ipRange: given(filter.ipRange, withinNetwork),
    requestId: given(filter.requestId, (id) => having('requestId', id)),
    changedField: given(filter.changedField, (field) => ({ changed: recordableText(field, TEXT_CHARS_MAX) })),
    text: given(filter.text, ofText),
  };
  return Object.values(conditions).filter((condition) => condition !== undefined);
}

function withinNetwork(network: string): Condition {
  if (!parseNetwork(network))
    throw invalid('ipRange', 'must be a network such as 10.0.0.0/8 or 2001:db8::/32, or one address');
  return { network };
}

function ofText(text: string): Condition {
  if (text === '' || text.length > TEXT_CHARS_MAX)
    throw invalid('text', `must have from 1 to ${TEXT_CHARS_MAX} characters`);
  // As the record holds it: without NUL and lone surrogates.
  return { text: recordableText(text, TEXT_CHARS_MAX) };
}

function actionsOf(categories: readonly string[]): AuditAction[] {
  const actions = Object.entries(AUDIT_CATALOGUE) as [AuditAction, { category: string }][];
  return actions.filter(([, { category }]) => categories.includes(category)).map(([action]) => action);
}

function storedStatus(status: AuditStatus): string {
  return status.toLowerCase();
}

/** An empty one counts too: thousands of them would be a statement that Postgres cannot parse. */
function sizeOf(condition: Condition): number {
  if ('all' in condition)
    return Math.max(
      1,
      condition.all.reduce((sum, each) => sum + sizeOf(each), 0),
    );
  if ('any' in condition)
    return Math.max(
      1,
      condition.any.reduce((sum, each) => sum + sizeOf(each), 0),
    );
  if ('not' in condition) return sizeOf(condition.not);
  return 'in' in condition ? Math.max(1, condition.in.length) : 1;
}

function invalid(field: string, fault: string): Refusal {
  return new Refusal('INVALID_INPUT', { fields: { [field]: fault } });
}

/** Of few values, which have to be seen for an index of some of them to serve. */
const OF_PARTIAL_INDEXES: readonly Column[] = ['status', 'security'];

/** The condition in SQL, of the log or of a table that has the columns it names. */
export function inSql(
  condition: Condition,
  table: Readonly<Partial<Record<Column, AnyColumn>>> = auditLogs,
): SQL {
  const nested = (each: Condition) => inSql(each, table);
  if ('all' in condition) return and(...condition.all.map(nested)) ?? sql`true`;
  if ('any' in condition) return or(...condition.any.map(nested)) ?? sql`false`;
  // "not" alone would lose the rows whose value is absent.
  if ('not' in condition) return sql`(${nested(condition.not)}) is not true`;
  // Not leakproof, so no index serves it: it only drops rows that another condition has found.
  if ('anyChange' in condition) return sql`${auditLogs.changes} <> '[]'`;
  if ('text' in condition) return containing(condition.text);
  if ('changed' in condition)
    return sql`${auditLogs.changes} @> ${JSON.stringify([{ path: condition.changed }])}::jsonb`;
  if ('network' in condition) {
    const [first, last] = endsOf(parseNetwork(condition.network)!);
    // Not <<=: the range is one that row-level security lets an index serve.
    return sql`${auditLogs.ipAddress} >= ${first}::inet and ${auditLogs.ipAddress} <= ${last}::inet`;
  }
  const column = table[condition.column]!;
  if ('from' in condition) return gte(column, condition.from);
  if ('below' in condition) return lt(column, condition.below);
  const [first, ...others] = condition.in;
  if (first === undefined) return sql`false`;
  const isOne = others.length === 0 ? eq(column, first) : inArray(column, [...condition.in]);
  return OF_PARTIAL_INDEXES.includes(condition.column) ? isOne.inlineParams() : isOne;
}

/** Whether a record fulfils the condition; the same answer as SQL gives. */
export function fulfils(row: AuditLogRow, condition: Condition): boolean {
  if ('all' in condition) return condition.all.every((each) => fulfils(row, each));
  if ('any' in condition) return condition.any.some((each) => fulfils(row, each));
  if ('not' in condition) return !fulfils(row, condition.not);
  if ('anyChange' in condition) return row.changes.length > 0;
  if ('text' in condition) return contains(row, condition.text);
  if ('changed' in condition) return row.changes.some(({ path }) => path === condition.changed);
  if ('network' in condition) {
    const address = row.ipAddress === null ? undefined : parseAddress(row.ipAddress);
    return address !== undefined && isWithin(address, parseNetwork(condition.network)!);
  }
  const value = row[condition.column];
  if (value === null || value === undefined) return false;
  if ('from' in condition) return value >= condition.from;
  if ('below' in condition) return value < condition.below;
  return condition.in.some((each) => (Buffer.isBuffer(each) ? each.equals(value as Buffer) : each === value));
}
