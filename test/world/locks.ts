import type postgres from 'postgres';

import { until } from './wait.ts';

/** The log, held shut: who wants to write a record waits. */
export interface HeldLog {
  /** Resolves when so many transactions of this database wait for a lock. */
  waiting(transactions: number): Promise<void>;
  /** Lets them go on. */
  release(): Promise<void>;
}

/** Keeps every record from being written until it is released: a deed has done its writes then, and holds its locks. */
export async function holdLog(admin: postgres.Sql): Promise<HeldLog> {
  const holder = await admin.reserve();
  await holder`begin`;
  await holder`lock table audit_logs in share mode`;
  return {
    waiting: (transactions) =>
      until(`${transactions} transactions wait`, async () => {
        const [row] = await admin`
          select count(*)::int as waiting from pg_locks
          where not granted and pid in (select pid from pg_stat_activity where datname = current_database())`;
        return row!.waiting === transactions;
      }),
    async release() {
      await holder`rollback`;
      holder.release();
    },
  };
}
