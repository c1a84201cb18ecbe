/** What the sealer counts, against a recount of the whole log. */
import { assert, asyncProperty, integer } from 'fast-check';
import { expect, test } from 'vitest';

import { recordableText } from '../../src/audit/recordable.ts';
import { idAt, openClock } from '../../src/platform/ids.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { type LogRow, logRows, writeLogRows } from '../world/logRows.ts';
import { sealAll } from '../world/seal.ts';

type Sql = FreshDatabase['admin'];

const TENANTS = ['a', 'b', 'c'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const CLOCK = openClock();

test('whatever is sealed, in batches of whatever size, is counted once', async () => {
  const { admin, db } = await open();
  const rows = logRows(TENANTS, CLOCK.now(), { minLength: 1, maxLength: 200 });
  await assert(
    asyncProperty(rows, integer({ min: 1, max: 60 }), async (written, batchMax) => {
      await writeLogRows(admin, written);
      await sealAll(admin, db, batchMax);
      expect(await kept(admin)).toEqual(await recounted(admin));
    }),
    { numRuns: 12 },
  );
  expect((await kept(admin)).facets.length).toBeGreaterThan(20);
  expect((await kept(admin)).changes.length).toBeGreaterThan(20);
});

test('in a copy of a database what was sealed before is not counted again', async () => {
  const { admin, db } = await open();
  await writeLogRows(admin, [row(), row()]);
  await sealAll(admin, db);
  await writeLogRows(admin, [row()]);
  await admin`update audit_sealer set system_identifier = 1, sealed = '900000000:900000000:'`;
  await sealAll(admin, db);
  expect(await kept(admin)).toEqual(await recounted(admin));
  expect((await kept(admin)).hours.reduce((sum, { count }) => sum + Number(count), 0)).toBe(3);
});

test('the longest user agent that a record holds is counted whole', async () => {
  const { admin, db } = await open();
  await writeLogRows(admin, [row()]);
  const agent = recordableText(
    Array.from({ length: 9_000 }, () => String.fromCharCode(0x4e00 + Math.random() * 20_000)).join(''),
    512,
  );
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update audit_logs set user_agent = ${agent}`;
  });
  await sealAll(admin, db);
  expect((await kept(admin)).facets.find(({ facet }) => facet === 'device')).toMatchObject({ value: agent });
});

function row(): LogRow {
  const micros = CLOCK.now();
  const facts = { action: 'LOGIN', status: 'SUCCESS', severity: 0, requestId: 'r' } as const;
  const [tenantId] = TENANTS as [string];
  return {
    ...facts,
    tenantId,
    id: idAt(micros),
    micros,
    userId: null,
    resourceId: null,
    ipAddress: '2001:db8::1',
  };
}

async function open() {
  const fresh = await freshDatabase();
  return { ...fresh, db: openDoor({ url: fresh.adminUrl, max: 3 }) };
}

interface Numbers {
  readonly hours: readonly Record<string, unknown>[];
  readonly facets: readonly Record<string, unknown>[];
  readonly changes: readonly Record<string, unknown>[];
}

async function kept(admin: Sql): Promise<Numbers> {
  return {
    hours: [...(await admin`select * from audit_hours order by tenant_id, hour, action, status, severity`)],
    facets: [...(await admin`select * from audit_facets order by tenant_id, day, facet, value`)],
    changes: [...(await admin`select * from audit_changes order by tenant_id, field, id`)],
  };
}

/** The same from the log itself, said as plainly as possible. */
async function recounted(admin: Sql): Promise<Numbers> {
  const facet = (name: string, value: ReturnType<Sql['unsafe']>) => admin`
    select tenant_id, date_bin('1 day', created_at, '2000-01-01Z') as day, ${name} as facet, ${value} as value,
      count(*), sum((status in ('failure', 'error'))::int)::bigint as failures
    from audit_logs where ${value} is not null group by tenant_id, 2, 4`;
  return {
    hours: [
      ...(await admin`
        select tenant_id, date_bin('1 hour', created_at, '2000-01-01Z') as hour, action, status, severity, count(*)
        from audit_logs group by 1, 2, 3, 4, 5 order by tenant_id, hour, action, status, severity`),
    ],
    facets: [
      ...(await admin`
        select * from (${facet('actor', admin`user_id::text`)} union all ${facet('address', admin`host(ip_address)`)}
          union all ${facet('device', admin`user_agent`)}) as facets order by tenant_id, day, facet, value`),
    ],
    changes: [
      ...(await admin`
        select tenant_id, change ->> 'path' as field, id from audit_logs, jsonb_array_elements(changes) as change
        order by tenant_id, field, id`),
    ],
  };
}
