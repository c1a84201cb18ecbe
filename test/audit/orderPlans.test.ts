import { expect, test } from 'vitest';

import { sealedRecords } from '../../src/audit/sealed.ts';
import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { openTiles } from '../../src/audit/trees.ts';
import { placesFrom } from '../../src/feed/order.ts';
import type { ReadTx, Tenancy } from '../../src/platform/db.ts';
import { plansOf } from '../world/plans.ts';
import { world } from '../world/server.ts';

const SEALS = 100_000;
/** Seals of one record each, in turn of four tenants. */
const TENANTS = 4;
const TENANT = '00000001-0000-7000-8000-000000000001';
const END = SEALS / TENANTS;

const LOOKS: Readonly<Record<string, readonly [Tenancy, (tx: ReadTx) => Promise<unknown>]>> = {
  'the next records of all logs': ['PLATFORM', (tx) => placesFrom(tx, undefined, BigInt(SEALS - 3), 500)],
  'the next records of a log': [{ tenantId: TENANT }, (tx) => placesFrom(tx, TENANT, BigInt(END - 3), 500)],
  'a span of a log': [{ tenantId: TENANT }, (tx) => sealedRecords(tx, TENANT, END - 20, END)],
  'a tile of leaves': [{ tenantId: TENANT }, (tx) => openTiles(tx)(TENANT)({ level: 0, index: 90 })],
};

test('where a long log goes on is looked up in an index, wherever it is and whoever looks', async () => {
  const here = await world();
  const { admin } = here.database;
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`delete from audit_seals where tenant_id <> ${PLATFORM_TENANT}`;
    await sql`
      insert into audit_seals (tenant_id, first_seq, first_pos, count, min_id, max_id, ids, leaves, sealed_at)
      select ('00000001-0000-7000-8000-' || lpad((1 + n % ${TENANTS}::int)::text, 12, '0'))::uuid, n / ${TENANTS}::int,
        n + 1000, 1, made.id, made.id, uuid_send(made.id), sha256(uuid_send(made.id)), now()
      from generate_series(0, ${SEALS - 1}::int) n, lateral (select ('00000009-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid) as made (id)`;
  });
  await admin`analyze audit_seals`;

  for (const [name, [tenancy, look]] of Object.entries(LOOKS)) {
    const plans = await plansOf(here.server.house.db, tenancy, look);
    const scans = plans.flatMap(({ nodes }) =>
      nodes.filter((node) => node['Relation Name'] === 'audit_seals'),
    );
    expect([name, scans.length > 0]).toEqual([name, true]);
    // Both ends of what is looked for, or the one: never a filter on what an index has run through.
    for (const scan of scans)
      expect([name, scan['Index Cond']]).toEqual([name, expect.stringMatching(/first_(pos|seq)/)]);
  }
});
