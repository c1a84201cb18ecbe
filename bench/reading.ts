import type { AuditLogFilter } from '../src/generated/types.ts';
import { post } from './client.ts';
import { compared, type Figure, type Table, timed, times } from './figures.ts';
import { filtersFor } from './filters.ts';
import { start } from './processes.ts';
import { SEEDED, signInAtLargest, type Stage } from './stage.ts';
import { type BareSql, openBareSql, type Operation } from './statements.ts';

const WARM_UP = 10;
/** Until what the server runs is compiled. */
const PAGES_FIRST = 200;
const DEEP_RECORDS = 50_000;
const STRIDE = 500;
const SQL_TARGET = { atMost: 2 };
const DEEP_TARGET = { atMost: 1.3 };

/** What an administrator's table shows. */
export const PAGE = `query Page($filter: AuditLogFilter, $after: String) { auditLogs(filter: $filter, first: 50, after: $after) {
  nodes { id createdAt action status actor { type name role } resource resourceName changes { path before after } ipAddress requestId }
  pageInfo { hasNextPage endCursor } } }`;
const STEP = `query Step($filter: AuditLogFilter, $after: String) { auditLogs(filter: $filter, first: ${STRIDE}, after: $after) {
  pageInfo { hasNextPage endCursor } } }`;
const SPAN = '$from: DateTime, $to: DateTime';
const COUNTS = {
  totalCount: '{ auditLogs(first: 1) { totalCount } }',
  'totalCount of failures': '{ auditLogs(first: 1, filter: { statuses: [FAILURE, ERROR] }) { totalCount } }',
  countUpTo: '{ auditLogs(first: 1) { countUpTo { value exact } } }',
  'auditStatistics, in sum': `query Sum(${SPAN}) { auditStatistics(from: $from, to: $to) { totalCount failureRate byAction { action count } } }`,
  'auditStatistics, whole': `query Whole(${SPAN}) { auditStatistics(from: $from, to: $to) { totalCount failureRate
    byAction { action count } byDay { from count failures } topActors { userId count } topAddresses { ipAddress count }
    trend { totalChange failureChange } } }`,
};

/** An operation that can be asked over HTTP, and its SQL. */
interface Asked {
  readonly api: () => Promise<unknown>;
  readonly sql: () => Promise<unknown>;
}

/** Pages of the largest tenant's log under each documented filter: over HTTP and their SQL, in turns, one client. */
export async function readingCost(stage: Stage): Promise<Table[]> {
  return await withReader(stage, async (ask, url, signIn) => {
    const first: Figure[] = [];
    const deep: Figure[] = [];
    const depth: Figure[] = [];
    const { tenantId } = await signIn();
    const turns = stage.quick ? 40 : 400;
    for (const [name, filter] of await filtersFor(stage, tenantId)) {
      try {
        const after = await deepCursor(url, (await signIn()).token, filter);
        const top = await ask({ query: PAGE, variables: { filter } });
        const bottom = after && (await ask({ query: PAGE, variables: { filter, after: after.cursor } }));
        const works = { ...named('first', top), ...(bottom ? named('deep', bottom) : {}) };
        const samples = await sampled(works, turns);
        const pairs = (one: string, other: string) =>
          samples.map((sample): [number, number] => [sample[one]!, sample[other]!]);
        first.push(compared(name, pairs('first api', 'first sql'), apiOrSql, SQL_TARGET));
        if (!after) continue;
        const label = `${name}, after ${after.records.toLocaleString('en')} records`;
        deep.push(compared(label, pairs('deep api', 'deep sql'), apiOrSql, SQL_TARGET));
        depth.push(compared(label, pairs('deep api', 'first api'), deepOrFirst, DEEP_TARGET));
      } catch (cause) {
        // It may take longer than the API allows: that is a result too.
        console.error(`${name}:`, cause);
        first.push({ label: `${name}, which failed`, sides: [], target: SQL_TARGET });
      }
    }
    return [
      { title: 'First page of 50', figures: first },
      { title: 'Deep page of 50', figures: deep },
      { title: 'Deep page over first page', figures: depth },
    ];
  });
}

/** Counts of the largest tenant's log and its statistics over 30 days: over HTTP and their SQL, in turns, one client. */
export async function countingCost(stage: Stage): Promise<Table[]> {
  return await withReader(stage, async (ask) => {
    const { until } = await stage.seeded();
    const variables = { from: new Date(Date.parse(until) - 30 * 86_400_000).toISOString(), to: until };
    const figures = [];
    for (const [name, query] of Object.entries(COUNTS)) {
      const samples = await sampled(named('page', await ask({ query, variables })), stage.quick ? 20 : 100);
      const pairs = samples.map((sample): [number, number] => [sample['page api']!, sample['page sql']!]);
      figures.push(compared(name, pairs, apiOrSql, SQL_TARGET));
    }
    return [{ title: 'Counts', figures }];
  });
}

async function withReader(
  stage: Stage,
  work: (
    ask: (operation: Operation) => Promise<Asked>,
    url: string,
    signIn: () => Promise<{ token: string; tenantId: string }>,
  ) => Promise<Table[]>,
): Promise<Table[]> {
  await stage.seeded();
  const { url, stop } = await start('serve', stage.env(SEEDED));
  let bare: BareSql | undefined;
  try {
    bare = await openBareSql(stage.env(SEEDED), stage.appUrl(SEEDED));
    const sql = bare;
    // A token is good for some minutes only.
    const signIn = () => signInAtLargest(stage, url);
    const ask = async (operation: Operation): Promise<Asked> => {
      const { token } = await signIn();
      return { api: () => post(url, token, operation), sql: await sql.of(operation, token) };
    };
    const { api } = await ask({ query: PAGE });
    for (let page = 0; page < PAGES_FIRST; page++) await api();
    return await work(ask, url, signIn);
  } finally {
    await bare?.stop();
    await stop();
  }
}

/** The cursor of page 1,000, or of as deep a page as there is; undefined where the first pages are all. */
async function deepCursor(url: string, token: string, filter: AuditLogFilter) {
  let found: { cursor: string; records: number } | undefined;
  while ((found?.records ?? 0) < DEEP_RECORDS) {
    const { auditLogs } = await post<{
      auditLogs: { pageInfo: { hasNextPage: boolean; endCursor: string } };
    }>(url, token, {
      query: STEP,
      variables: { filter, after: found?.cursor },
    });
    if (!auditLogs.pageInfo.hasNextPage) break;
    found = { cursor: auditLogs.pageInfo.endCursor, records: (found?.records ?? 0) + STRIDE };
  }
  return found;
}

function named(prefix: string, { api, sql }: Asked) {
  return { [`${prefix} api`]: api, [`${prefix} sql`]: sql };
}

/** The times of each, in so many turns. */
async function sampled(
  works: Readonly<Record<string, () => Promise<unknown>>>,
  turns: number,
): Promise<Record<string, number>[]> {
  const samples = [];
  for (let turn = -WARM_UP; turn < turns; turn++) {
    const sample: Record<string, number> = {};
    for (const [name, work] of Object.entries(works)) sample[name] = await timed(work);
    if (turn >= 0) samples.push(sample);
  }
  return samples;
}

function apiOrSql(ms: readonly number[], at: 0 | 1) {
  return times(at === 0 ? 'API' : 'SQL', ms);
}

function deepOrFirst(ms: readonly number[], at: 0 | 1) {
  return times(at === 0 ? 'deep page' : 'first page', ms);
}
