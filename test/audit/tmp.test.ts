import { sql } from 'drizzle-orm';
import { pino } from 'pino';
import { test } from 'vitest';
import { openSealer } from '../../src/audit/seal.ts';
import { IN_INDEX_ORDER, recordsQuery, recordsAfter } from '../../src/audit/unsealed.ts';
import { openClock } from '../../src/platform/ids.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { record, sealedRecords } from '../world/records.ts';
import { until } from '../world/wait.ts';
test('rate', async () => {
  const { admin, adminUrl } = await freshDatabase();
  const db = openDoor({ url: adminUrl });
  const tenants = Array.from({ length: 50 }, (_, at) => `00000000-0000-4000-8000-0000000000${String(at + 10)}`);
  for (let n = 0; n < 50_000; n += 2_500) await record(db, ...Array.from({ length: 2_500 }, (_, at) => ({ tenantId: tenants[at % 50]! })));
  await admin`analyze audit_logs`;
  const [{ half }] = (await admin`select min(tx::text::bigint) + 2 as half from audit_logs`) as unknown as [{ half: string }];
  const place = { sealed: `3:${half}:5,6`, target: `${half}00:${half}00:`, tx: '0', id: tenants[0]! };
  const plan = await db.withReadTx('PLATFORM', async (tx) => (await tx.execute(IN_INDEX_ORDER), await tx.execute<any>(sql`explain (analyze, buffers) ${recordsQuery(place, 5000)}`)).map((l: any) => l['QUERY PLAN']).join('\n'));
  console.log(plan);
  const t0 = performance.now();
  const s = openSealer({ db, clock: openClock(), log: pino({ level: 'warn' }) });
  await until('x', async () => (await admin`select pos from audit_sealer`)[0]!.pos === '50000', 60000);
  const t1 = performance.now();
  console.log('drain 50k', t1 - t0, 50000 / (t1 - t0) * 1000, 'per s');
  await s.stop();
  const p2 = { sealed: `3:${half}99:`, target: `${half}99:${half}99:`, tx: '0', id: tenants[0]! };
  for (let r = 0; r < 2; r++) {
  const a = performance.now();
  for (let i = 0; i < 200; i++) await db.withReadTx('PLATFORM', (tx) => recordsAfter(tx, p2, 1));
  console.log('peek', (performance.now() - a) / 200);
  }
  // sweep
  await admin`update audit_sealer set system_identifier = 1`;
  const t2 = performance.now();
  const s2 = openSealer({ db, clock: openClock(), log: pino({ level: 'warn' }) });
  await until('y', async () => (await admin`select target is null and system_identifier <> 1 as done from audit_sealer`)[0]!.done, 60000);
  console.log('sweep 50k', performance.now() - t2);
  await s2.stop();
  console.log((await admin`select count(*), pg_total_relation_size('audit_seals') from audit_seals`)[0]);
}, 120000);
