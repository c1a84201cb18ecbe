/** Logs that are signed, and what somebody with all rights on the database can do to them. */
import { type Person, type World, world } from './server.ts';
import { until } from './wait.ts';

export type Sql = World['database']['admin'];

/** A tenant whose log has so many records by its administrator besides its first ones, all under a checkpoint. */
export async function withRecords(count: number) {
  const here = await world();
  const { admin } = await here.tenant();
  for (let at = 0; at < count; at += 20) {
    const some = Array.from({ length: Math.min(20, count - at) }, (_, n) => n + at);
    await Promise.all(some.map((n) => admin.do('updateUser', { id: admin.id, fullName: `Ann ${n}` })));
  }
  const size = count + 2;
  await signed(admin, size);
  return { here, admin, sql: here.database.admin, size };
}

/** Resolves when a checkpoint covers so many records of the tenant. */
export async function signed(admin: Person, size: number): Promise<void> {
  await until('all is signed', async () => {
    const { data } = await admin.ask('{ auditCheckpoint { size } }');
    return data.auditCheckpoint?.size >= size;
  });
}

/** The record at a position of a tenant's log. */
export async function idAt(sql: Sql, { tenantId }: Person, position: number): Promise<string> {
  const [row] = await sql`
    select encode(substring(ids from (${position} - first_seq)::int * 16 + 1 for 16), 'hex')::uuid as id
    from audit_seals where tenant_id = ${tenantId} and first_seq <= ${position} and first_seq + count > ${position}`;
  return row!['id'] as string;
}

const LEDGER = [
  'audit_logs',
  'audit_seals',
  'audit_trees',
  'audit_tiles',
  'audit_checkpoints',
  'audit_ledger',
];

/** Does it as the owner of the database could; returns the way back. */
export async function tamper(sql: Sql, statements: string): Promise<() => Promise<void>> {
  const each = (statement: (table: string) => string) => asOwner(sql, LEDGER.map(statement).join(';'));
  await each((table) => `drop table if exists kept_${table}; create table kept_${table} as table ${table}`);
  await asOwner(sql, statements);
  return () => each((table) => `delete from ${table}; insert into ${table} table kept_${table}`);
}

/** With all triggers off. */
export async function asOwner(sql: Sql, statements: string): Promise<void> {
  await sql.begin(async (tx) => {
    await tx.unsafe('set local session_replication_role = replica');
    await tx.unsafe(statements);
  });
}
