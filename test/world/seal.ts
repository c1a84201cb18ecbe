import { pino } from 'pino';
import type postgres from 'postgres';

import { openSealer } from '../../src/audit/seal.ts';
import type { Database } from '../../src/platform/db.ts';
import { openClock } from '../../src/platform/ids.ts';
import { until } from './wait.ts';

/** Seals all there is, once, in batches of at most `batchMax`. */
export async function sealAll(admin: postgres.Sql, db: Database, batchMax?: number): Promise<void> {
  const log = pino({ level: 'silent' });
  const sealer = openSealer({ db, clock: openClock(), log, ...(batchMax ? { batchMax } : {}) });
  try {
    await allSealed(admin);
  } finally {
    await sealer.stop();
  }
}

/** Resolves when somebody has sealed all there is. */
export async function allSealed(admin: postgres.Sql): Promise<void> {
  await until('all is sealed', async () => {
    const [row] = await admin`select (select count(*) from audit_logs)
        + (select coalesce(sum(rows), 0) from audit_archives where dropped_at is not null)
        = (select pos from audit_sealer) as done`;
    return row!['done'] as boolean;
  });
}

/** Resolves when all there is is sealed and under a checkpoint. */
export async function allSigned(admin: postgres.Sql): Promise<void> {
  await allSealed(admin);
  await until('all is signed', async () => {
    const [row] = await admin`select not exists (
      select from audit_trees as tree where not exists (
        select from audit_checkpoints as signed where signed.tenant_id = tree.tenant_id and signed.size = tree.size)
    ) as done`;
    return row!['done'] as boolean;
  });
}
