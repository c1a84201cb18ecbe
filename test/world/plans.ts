import type { Database, ReadTx, Tenancy } from '../../src/platform/db.ts';

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

/** What Postgres does for one statement. */
export interface Plan {
  readonly statement: string;
  readonly nodes: readonly PlanNode[];
}

type Send = (text: string, parameters?: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>;

/** The plans of all that the work asks, through the door it always goes through. Every statement is explained, then run. */
export async function plansOf(
  db: Database,
  tenancy: Tenancy,
  work: (tx: ReadTx) => Promise<unknown>,
): Promise<Plan[]> {
  const explained: Promise<Plan>[] = [];
  await db.withReadTx(
    tenancy,
    async (tx) => {
      const { $client: client } = tx as ReadTx & { $client: { unsafe: Send } };
      const send = client.unsafe;
      client.unsafe = (statement, parameters) => {
        // A setting has no plan worth a look.
        if (!statement.startsWith('select set_config')) {
          const answer = send(`explain (format json) ${statement}`, parameters);
          explained.push(answer.then(([row]) => ({ statement, nodes: nodesOf(planIn(row!)) })));
        }
        return send(statement, parameters);
      };
      await work(tx);
    },
    { deadlineMs: 60_000 },
  );
  return await Promise.all(explained);
}

function planIn(row: Record<string, unknown>): PlanNode {
  const [{ Plan: plan }] = row['QUERY PLAN'] as [{ Plan: PlanNode }];
  return plan;
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}
