/** Records of months that are over, and the run that looks after them. */
import { RETENTION } from '../../src/archive/retentionJob.ts';
import { appendAll, type Dated } from '../../src/audit/entry.ts';
import { idAt } from '../../src/platform/ids.ts';
import { allSigned } from './seal.ts';
import type { World } from './server.ts';
import { until } from './wait.ts';

const DAY_MICROS = 86_400_000_000n;
const SECOND_MICROS = 1_000_000n;
const RUN_MS = 60_000;

/** Days since the middle of a month that is over for 30 days at least, whatever day it is. */
function daysAgo(now = new Date()): number {
  const then = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 3, 15);
  return Math.floor((now.getTime() - then) / 86_400_000);
}

/** Leaves so many records in the log of a tenant, as they were so many days ago; the first about that person. */
export async function recordedBefore(
  here: World,
  tenantId: string,
  {
    records,
    days = daysAgo(),
    about,
  }: { records: number; days?: number; about?: { id: string; name: string } },
): Promise<void> {
  const { db, services } = here.server.house;
  const begin = services.clock.now() - BigInt(days) * DAY_MICROS;
  const dated = Array.from({ length: records }, (_, at): Dated => {
    const id = idAt(begin + BigInt(at) * SECOND_MICROS);
    const request = {
      id: `past-${at}`,
      transport: 'HTTP',
      ipAddress: '192.0.2.1',
      userAgent: 'curl/8',
      forwardedFor: null,
    } as const;
    return {
      id,
      occasion: { services, operationId: id, request, field: {} },
      entry: {
        action: 'USER_UPDATED',
        actor: { type: 'SYSTEM', system: 'past' },
        failure: null,
        tenantId,
        resourceId: about?.id ?? null,
        resourceName: null,
        details: { at },
        changes: [{ path: 'phone', before: null, after: String(at) }],
        subjectHmac: null,
        personal: about && at === 0 ? [[about.id, { resourceName: about.name }]] : [],
      },
    };
  });
  await here.database.admin`
    call create_audit_partitions((now() - interval '4 months')::date, now()::date)`;
  await db.withTx('PLATFORM', (tx) => appendAll(tx, services, dated));
  await allSigned(here.database.admin);
}

/** Has retention looked after now, and waits until that is over. */
export async function lookedAfter(here: World): Promise<void> {
  const { admin: sql } = here.database;
  const runs = async () => {
    const [row] =
      await sql`select count(*)::int as runs from audit_logs where action = 'audit.retention_run'`;
    return row!['runs'] as number;
  };
  const before = await runs();
  await beginToLookAfter(here);
  await until('retention was looked after', async () => (await runs()) > before, RUN_MS);
}

/** Has retention looked after from now on. */
export async function beginToLookAfter(here: World): Promise<void> {
  const { db, services } = here.server.house;
  await db.withTx('PLATFORM', (tx) => services.jobs.enqueue(tx, RETENTION, {}));
  services.jobs.nudge(RETENTION);
}
