/** How the records of a list are spread: over time, and by what they have in common. */
import type { Context } from '../audit/act.ts';
import type { LogPage } from '../audit/query.ts';
import {
  type Facet,
  type Kind,
  kindsIn,
  type Period,
  periodsIn,
  type Span,
  spanOfCondition,
  type Tally,
  topIn,
} from '../audit/statistics.ts';
import { SEVERITIES } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type {
  AuditFacet,
  AuditFacetCounts,
  AuditLogConnectionFacetsArgs,
  AuditLogConnectionHistogramArgs,
  HistogramBucket,
} from '../generated/types.ts';
import { isoOf, microsFrom } from '../platform/ids.ts';
import { refuseUnlessEmpty } from '../platform/refusal.ts';
import { actionOf } from '../audit/actions.ts';

/** How many intervals a histogram has at most. */
const BUCKETS_MAX = 1_000;
const TOP_MAX = 100;
const HOUR_MICROS = 3_600_000_000n;
const DAY_MICROS = 24n * HOUR_MICROS;

/** What a record of a kind counts as; the other facets are values of its own. */
const OF_KIND: { readonly [By in AuditFacet]?: (kind: Kind) => string } = {
  ACTION: actionOf,
  CATEGORY: (kind) => AUDIT_CATALOGUE[actionOf(kind)].category,
  STATUS: ({ status }) => status.toUpperCase(),
  SEVERITY: ({ severity }) => SEVERITIES[severity]!,
  RESOURCE: (kind) => AUDIT_CATALOGUE[actionOf(kind)].resource,
};

/** How many records of the list there are in each interval of its time. */
export async function histogram(
  { condition }: LogPage,
  { interval }: AuditLogConnectionHistogramArgs,
  context: Context,
): Promise<HistogramBucket[]> {
  const span = spanOfCondition(condition, context.services.clock.now());
  const unit = interval.toLowerCase() as Period;
  const begins = beginsOf(span, unit);
  const tallies = await context.read((scope) => periodsIn(scope, span, unit));
  const counted = new Map(tallies.map((tally) => [microsFrom(tally.value), tally]));
  return begins.slice(0, -1).map((from, at) => {
    const { count = 0, failures = 0 } = counted.get(from) ?? {};
    return { from: isoOf(from), to: isoOf(begins[at + 1]!), count, failures };
  });
}

/** The values that most records of the list have, in its time. */
export function facets(
  { condition }: LogPage,
  { by, top }: AuditLogConnectionFacetsArgs,
  context: Context,
): Promise<AuditFacetCounts[]> {
  refuseUnlessEmpty(top < 1 || top > TOP_MAX ? { top: `must be from 1 to ${TOP_MAX}` } : {});
  const span = spanOfCondition(condition, context.services.clock.now());
  const valuesOf = async (facet: AuditFacet) => {
    const nameOf = OF_KIND[facet];
    if (nameOf) return added(await context.load(kindsIn, span), nameOf).slice(0, top);
    return await context.read((scope) => topIn(scope, span, facet.toLowerCase() as Facet, top));
  };
  return Promise.all(
    [...new Set(by)].map(async (facet) => ({ by: facet, values: [...(await valuesOf(facet))] })),
  );
}

/** The kinds added up by the name of a part of them, most often first. */
function added(kinds: readonly Kind[], nameOf: (kind: Kind) => string): Tally[] {
  const tallies = new Map<string, { value: string; count: number; failures: number }>();
  for (const kind of kinds) {
    const value = nameOf(kind);
    const tally = tallies.get(value) ?? { value, count: 0, failures: 0 };
    tallies.set(value, tally);
    tally.count += kind.count;
    tally.failures += kind.status === 'success' ? 0 : kind.count;
  }
  return [...tallies.values()].toSorted(
    (one, other) => other.count - one.count || (one.value < other.value ? -1 : 1),
  );
}

/** When each interval of a span begins, and last when the one after them does. */
function beginsOf({ from, to }: Span, unit: Period): bigint[] {
  const begins = [beginOf(from < 0n ? 0n : from, unit)];
  while (begins.at(-1)! < to || begins.length === 1) {
    refuseUnlessEmpty(
      begins.length > BUCKETS_MAX
        ? {
            interval: `would give more than ${BUCKETS_MAX} intervals: choose a longer one, or a shorter time in createdAt`,
          }
        : {},
    );
    begins.push(endOf(begins.at(-1)!, unit));
  }
  return begins;
}

/** When the interval of a moment begins. */
function beginOf(moment: bigint, unit: Period): bigint {
  if (unit === 'hour') return moment - (moment % HOUR_MICROS);
  const midnight = moment - (moment % DAY_MICROS);
  const day = new Date(Number(midnight / 1000n));
  const daysAgo = { day: 0, week: (day.getUTCDay() + 6) % 7, month: day.getUTCDate() - 1 }[unit];
  return midnight - BigInt(daysAgo) * DAY_MICROS;
}

function endOf(begin: bigint, unit: Period): bigint {
  // Of every length a month has, the least day that is in the next one.
  const within = { hour: HOUR_MICROS, day: DAY_MICROS, week: 7n * DAY_MICROS, month: 31n * DAY_MICROS }[unit];
  return beginOf(begin + within, unit);
}
