import { drizzle } from 'drizzle-orm/postgres-js';

import type { ReadTx } from '../../src/platform/db.ts';
import type { RawApplication, RawTenancy } from './application.ts';

/** A node of a plan, as EXPLAIN (FORMAT JSON) has it. */
export interface PlanNode {
  readonly 'Node Type': string;
  /** How many rows are expected of it. */
  readonly 'Plan Rows': number;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Index Cond'?: string;
  readonly Plans?: readonly PlanNode[];
}

/** What Postgres would do for one statement. */
export interface Plan {
  readonly statement: string;
  readonly nodes: readonly PlanNode[];
}

/**
 * The plans of all that the work asks, as the application with row-level security on. The work is given a transaction in
 * which every statement is explained instead of run, and answers nothing.
 */
export async function plansOf(
  raw: RawApplication,
  tenancy: RawTenancy,
  work: (tx: ReadTx) => Promise<unknown>,
): Promise<Plan[]> {
  const plans: Plan[] = [];
  await raw.run(tenancy, async (sql) => {
    const explain = async (statement: string, parameters: readonly unknown[] = []) => {
      const [row] = await sql.unsafe(`explain (format json) ${statement}`, parameters as never[]);
      const [{ Plan: plan }] = row!['QUERY PLAN'] as [{ Plan: PlanNode }];
      plans.push({ statement, nodes: nodesOf(plan) });
      return [];
    };
    const client = {
      options: { parsers: {}, serializers: {} },
      unsafe(statement: string, parameters?: readonly unknown[]) {
        const answer = explain(statement, parameters);
        return Object.assign(answer, { values: () => answer });
      },
    };
    await work(drizzle(client as never));
  });
  return plans;
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}
