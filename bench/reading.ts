import postgres from 'postgres';

import { post } from './client.ts';
import type { Served } from './served.ts';
import { median, quantile, ratios, type Ratio } from './statistics.ts';

const PAGE = 50;
const WARM_UP = 30;
const OPERATION = `query Page { auditLogs(first: ${PAGE}) {
  nodes { id createdAt action status actor { type name role } resource resourceName changes { path before after } ipAddress requestId }
  pageInfo { hasNextPage endCursor } } }`;

interface Times {
  readonly p50Ms: number;
  readonly p95Ms: number;
}

export interface ReadingCost {
  readonly api: Times;
  readonly sql: Times;
  /** The time of the API through the time of the SQL, request by request. */
  readonly ratio: Ratio;
}

/** A page of the log over HTTP, and the SQL that answers it straight through postgres.js, in turns, one client. */
export async function readingCost(
  { audited: { url, token, tenantId }, databaseUrl }: Served,
  { pairs }: { pairs: number },
): Promise<ReadingCost> {
  const sql = postgres(databaseUrl, {
    max: 1,
    connection: { role: 'custos_app', 'app.tenant': tenantId, 'app.scope': 'tenant' },
  });
  try {
    const viaApi = () => post(url, token, { query: OPERATION });
    const times: [api: number, sql: number][] = [];
    for (let turn = -WARM_UP; turn < pairs; turn++) {
      const pair: [number, number] = [await timed(viaApi), await timed(() => viaSql(sql, tenantId))];
      if (turn >= 0) times.push(pair);
    }
    return {
      api: timesOf(times.map(([api]) => api)),
      sql: timesOf(times.map(([, plain]) => plain)),
      ratio: ratios(times),
    };
  } finally {
    await sql.end();
  }
}

/** The statements of the list: its page, and the keys of the people in it. Rows arrive as objects; nothing is decrypted. */
async function viaSql(sql: postgres.Sql, tenantId: string): Promise<void> {
  const floor = `${Math.floor(Date.now() - 35 * 86_400_000)
    .toString(16)
    .padStart(12, '0')
    .replace(/(.{8})(.{4})/, '$1-$2')}-7000-8000-000000000000`;
  const rows = await sql`
    select * from audit_logs where tenant_id = ${tenantId} and id >= ${floor} order by id desc limit ${PAGE + 1}`;
  const subjects = [...new Set(rows.flatMap((row) => [row['user_id'], row['resource_id']]).filter(Boolean))];
  await sql`select * from subject_keys where tenant_id = ${tenantId} and subject_id in ${sql(subjects as string[])}`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

function timesOf(ms: readonly number[]): Times {
  return { p50Ms: median(ms), p95Ms: quantile(ms, 0.95) };
}
