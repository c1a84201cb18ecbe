/**
 * How the records that fulfil a condition are found in the order of their ids, without reading much else. A tenant's log can be
 * walked by its key, or by an index that holds one value's records in that order; several values are several such walks, merged
 * (audit/query.ts). The planner alone would read all records of the values and sort them, or walk the whole log for a rare one.
 */
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { Column, Condition, Value } from './filter.ts';
import { LEAST_SEVERITY, SEVERITIES } from './tables.ts';

/** Beyond so many walks, one of the whole key is cheaper: who names that many values gets most of what there is. */
const WAYS_MAX = 24;
const ACTIONS = Object.values(AUDIT_CATALOGUE);
const STATUSES = Object.keys(LEAST_SEVERITY);
const FAILED: Condition = { column: 'status', in: STATUSES.filter((status) => status !== 'success') };

/** Columns with an index, the one with fewer records a value first. */
const INDEXED: readonly Column[] = ['id', 'requestId', 'subjectHmac', 'resourceId', 'userId', 'ipAddress'];

interface Ways {
  /** The less, the fewer records have to be looked at. */
  readonly rank: number;
  readonly conditions: readonly Condition[];
}

/**
 * Conditions that together let through what the given one does, each of them served by an index in order; they may overlap. The
 * condition itself where there is no better way than the key, or no one tenant.
 */
export function waysOf(condition: Condition): readonly Condition[] {
  const ways = tenantOf(condition) === undefined ? undefined : waysInto(condition);
  return ways?.conditions ?? [condition];
}

/** The one tenant whose records can fulfil the condition. */
export function tenantOf(condition: Condition): string | undefined {
  const tenants = partsOf(condition).flatMap((part) =>
    'in' in part && part.column === 'tenantId' && part.in.length === 1 ? [String(part.in[0])] : [],
  );
  return tenants[0];
}

/** What has to hold for the condition to hold: conditions that are no conjunctions. */
export function partsOf(condition: Condition): readonly Condition[] {
  return 'all' in condition ? condition.all.flatMap(partsOf) : [condition];
}

function waysInto(condition: Condition): Ways | undefined {
  const ways = waysOfKind(condition);
  return ways && ways.conditions.length <= WAYS_MAX ? ways : undefined;
}

function waysOfKind(condition: Condition): Ways | undefined {
  if ('all' in condition) return bestOf(partsOf(condition));
  if ('any' in condition) return together(condition.any.map(waysInto));
  if ('not' in condition) {
    const opposite = oppositeOf(condition.not);
    return opposite && waysInto(opposite);
  }
  if ('changed' in condition) return { rank: INDEXED.length, conditions: [condition] };
  if ('in' in condition) return waysOfValues(condition);
  return 'from' in condition && condition.column === 'severity' ? waysOfSeverity(condition) : undefined;
}

/** One part is looked up, the others are asked of what is found. */
function bestOf(parts: readonly Condition[]): Ways | undefined {
  const ways = parts.flatMap((part, at) => {
    const found = waysInto(part);
    const others = parts.toSpliced(at, 1);
    return found
      ? [{ ...found, conditions: found.conditions.map((way) => ({ all: [...others, way] })) }]
      : [];
  });
  return ways.toSorted(
    (one, other) => one.rank - other.rank || one.conditions.length - other.conditions.length,
  )[0];
}

/** All of the alternatives, if each can be looked up. */
function together(alternatives: readonly (Ways | undefined)[]): Ways | undefined {
  const ways = alternatives.filter((each) => each !== undefined);
  if (ways.length < alternatives.length) return undefined;
  return {
    rank: Math.max(...ways.map(({ rank }) => rank)),
    conditions: ways.flatMap(({ conditions }) => conditions),
  };
}

function waysOfValues(condition: Condition & { readonly column: Column; readonly in: readonly Value[] }) {
  const { column } = condition;
  const values = [...new Set(condition.in)];
  const rank = INDEXED.length + 1;
  // The primary key gives any number of its ids in order.
  if (column === 'id') return { rank: 0, conditions: [condition] };
  if (INDEXED.includes(column)) return { rank: INDEXED.indexOf(column), conditions: each(column, values) };
  if (column === 'security' && values.every(Boolean)) return { rank, conditions: [condition] };
  if (column === 'status' && !values.includes('success')) return { rank, conditions: [condition] };
  if (column === 'action') return { rank: rank + 1, conditions: each(column, values) };
  if (column === 'resource') return ofActions(condition, ({ resource }) => values.includes(resource));
  return undefined;
}

/** A record is as grave as its action, and more so if it failed (audit/entry.ts). No action becomes less grave: a test holds that. */
function waysOfSeverity(condition: Condition & { readonly from: unknown }): Ways | undefined {
  const least = Number(condition.from);
  const { conditions, rank } = ofActions(condition, ({ severity }) => SEVERITIES.indexOf(severity) >= least);
  const failed = least <= LEAST_SEVERITY.error ? [{ all: [condition, FAILED] }] : [];
  return least > LEAST_SEVERITY.success ? { rank, conditions: [...conditions, ...failed] } : undefined;
}

/** What an action says of its records leads to them. */
function ofActions(condition: Condition, isOne: (facts: (typeof ACTIONS)[number]) => boolean): Ways {
  const keys = ACTIONS.filter(isOne).map(({ key }) => key);
  const conditions = each('action', keys).map((way) => ({ all: [condition, way] }));
  return { rank: INDEXED.length + 3, conditions };
}

function each(column: Column, values: readonly Value[]): Condition[] {
  return values.map((value) => ({ column, in: [value] }));
}

/** The negation, said without one, where what can be looked up comes of it. */
function oppositeOf(condition: Condition): Condition | undefined {
  if ('not' in condition) return condition.not;
  if ('all' in condition) return { any: condition.all.map((part) => ({ not: part })) };
  if ('any' in condition) return { all: condition.any.map((part) => ({ not: part })) };
  if (!('in' in condition)) return undefined;
  const without = (all: readonly string[]) => all.filter((value) => !condition.in.includes(value));
  if (condition.column === 'status') return { column: 'status', in: without(STATUSES) };
  if (condition.column === 'action') return { column: 'action', in: without(ACTIONS.map(({ key }) => key)) };
  return undefined;
}
