import { type SQL, sql } from 'drizzle-orm';

import type { ReadTx } from './db.ts';

/** How Postgres is to make the plan of a statement, and of what the transaction executes after it. */
const PLANNING = {
  /**
   * In the order of an index, by one plan for all values: where each condition has an index that ends in what the rows are ordered
   * by, there is nothing to choose. The planner would sort whatever it takes for rare, and takes most spans of time for rare.
   */
  IN_INDEX_ORDER: planning('force_generic_plan', 'off'),
  /**
   * By a plan for the values at hand: for what reads much or little depending on them. The one plan for all values, which Postgres
   * goes over to after five calls, takes every span of time for a two-hundredth of the log.
   */
  FOR_ITS_VALUES: planning('force_custom_plan', 'on'),
} as const;

/** Executes a statement that is planned so. One round trip. */
export async function executePlanned<Row extends Record<string, unknown>>(
  tx: ReadTx,
  how: keyof typeof PLANNING,
  statement: SQL,
) {
  const [, rows] = await Promise.all([tx.execute(PLANNING[how]), tx.execute<Row>(statement)]);
  return rows;
}

function planning(plan: string, others: 'on' | 'off'): SQL {
  const settings = {
    plan_cache_mode: plan,
    enable_sort: others,
    enable_bitmapscan: others,
    enable_seqscan: others,
  };
  const calls = Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', true)`);
  return sql.raw(`select ${calls.join(', ')}`);
}
