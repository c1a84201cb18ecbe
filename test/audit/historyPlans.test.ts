import type { GraphQLResolveInfo } from 'graphql';
import { expect, test } from 'vitest';

import type { Actor, Context, Scope } from '../../src/audit/act.ts';
import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { scopesOf } from '../../src/auth/roles.ts';
import { idAt, isoOf, openClock } from '../../src/platform/ids.ts';
import { queries } from '../../src/security/history.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { plansOf } from '../world/plans.ts';
import { INSERT_RAW, rawRecord } from '../world/rawRecord.ts';

const RECORDS = 12_000;
const TENANTS = 5;
const OBJECTS = 400;
const OF_ONE = RECORDS / OBJECTS;
const DAYS = 50;
const DAY_MICROS = 86_400_000_000n;
const id = (n: number) => `00000001-0000-4000-8000-${String(n).padStart(12, '0')}`;
/** Its settings are what is asked about: they have its id. */
const TENANT = id(0);
const READERS = {
  TENANT_ADMIN: { tenantId: TENANT },
  SUPER_ADMIN: 'PLATFORM',
} as const;
type Reader = keyof typeof READERS;

test('as the application, the history of an object and what is folded from it are found by the index on the object', async () => {
  const { fresh, questions } = await filled();
  const db = openDoor({ url: fresh.adminUrl });
  const parts = await fresh.admin<{ name: string }[]>`
    select relname as name from pg_class where relname like 'audit_logs_2%' and relkind = 'r' and reltuples > 0`;
  expect(parts.length).toBeGreaterThan(1);
  for (const reader of Object.keys(READERS) as Reader[]) {
    for (const [name, question] of Object.entries(questions)) {
      const plans = await plansOf(db, READERS[reader], (tx) => question(tx, reader));
      const scans = plans.flatMap(({ nodes }) =>
        nodes.filter((node) => {
          const scanned = node['Relation Name'] ?? node['Index Name'] ?? '';
          return !node['Node Type'].includes('Heap') && parts.some((part) => scanned.startsWith(part.name));
        }),
      );
      const others = scans.filter(
        (node) => !/tenant_id = .*(resource_id = |id = ANY )/.test(node['Index Cond'] ?? ''),
      );
      expect([name, scans.length > 0, others]).toEqual([name, true, []]);
    }
  }
});

test('no record of another object is read, and each of its own at most twice', async () => {
  const { fresh, questions } = await filled();
  const db = openDoor({ url: fresh.adminUrl });
  for (const reader of Object.keys(READERS) as Reader[]) {
    for (const [name, question] of Object.entries(questions)) {
      const read = await db.withReadTx(READERS[reader], async (tx) => {
        const before = await recordsRead(tx);
        await question(tx, reader);
        return (await recordsRead(tx)) - before;
      });
      expect([name, read > 0, read <= 2 * OF_ONE]).toEqual([name, true, true]);
    }
  }
});

/** How many records the connection has read of late. */
async function recordsRead(tx: Scope['tx']): Promise<number> {
  const [row] = await tx.execute<{ records: string }>(`
    select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) as records from pg_stat_xact_user_tables
    where relname like 'audit_logs%'`);
  return Number(row!.records);
}

type Question = (tx: Scope['tx'], reader: Reader) => Promise<unknown>;

/** A log of several tenants and partitions, and what is asked of one object in it. */
async function filled() {
  const fresh = await freshDatabase();
  const now = openClock().now();
  await fill(fresh, now);
  const [from, to] = [isoOf(now - 21n * DAY_MICROS), isoOf(now - DAY_MICROS)];
  const asking =
    (query: keyof typeof queries, more: object): Question =>
    async (tx, reader) => {
      const resolve = queries[query] as (
        root: object,
        args: object,
        context: Context,
        info: GraphQLResolveInfo,
      ) => unknown;
      const args = { resource: 'SETTINGS', id: TENANT, ...more };
      await resolve({}, args, contextOn(tx, reader, now), undefined as never);
    };
  const questions: Record<string, Question> = {
    resourceHistory: asking('resourceHistory', { first: 50 }),
    'resourceAt now': asking('resourceAt', {}),
    resourceAt: asking('resourceAt', { at: to }),
    resourceDiff: asking('resourceDiff', { from, to }),
  };
  return { fresh, questions };
}

/** A context that reads in that transaction. */
function contextOn(tx: Scope['tx'], role: Reader, now: bigint): Context {
  const tenantId = role === 'SUPER_ADMIN' ? PLATFORM_TENANT : TENANT;
  const person = { id: id(1), email: 'p@example.com', name: 'P', sessionId: id(2) };
  const actor: Actor = { type: 'USER', ...person, tenantId, role, scopes: scopesOf(role) };
  const services = { clock: { now: () => now } };
  return {
    actor,
    services,
    read: (query: (scope: unknown) => unknown) => query({ tx, now, actor, services }),
  } as unknown as Context;
}

/** The same number of records about each object, each object in one tenant. */
async function fill({ admin }: FreshDatabase, now: bigint): Promise<void> {
  const records = Array.from({ length: RECORDS }, (_, n) =>
    rawRecord({
      tenantId: id((n % OBJECTS) % TENANTS),
      id: idAt(now - (BigInt(RECORDS - n) * BigInt(DAYS) * DAY_MICROS) / BigInt(RECORDS)),
      resource: 'SETTINGS',
      resourceId: id(n % OBJECTS),
      action: 'settings.updated',
      changes: [{ path: n % 3 ? 'locale' : 'timeZone', before: n, after: n + 1 }],
    }),
  );
  await admin.unsafe(`${INSERT_RAW} $1::text::json)`, [JSON.stringify(records)]);
  await admin`analyze audit_logs`;
}
