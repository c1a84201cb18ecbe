/** Every tampering that somebody with all rights on the database can do, and what the checks say of it. */
import { expect, test } from 'vitest';

import { asOwner, idAt, type Sql, tamper, withRecords } from '../world/ledger.ts';
import { allSigned } from '../world/seal.ts';
import type { Person } from '../world/server.ts';
import { until } from '../world/wait.ts';

const CHECK = `query Check($from: BigInt! = 0, $to: BigInt) {
  verifyAuditLog(from: $from, to: $to) { ok from to fault { reason position recordId message } checkpoint { size } }
}`;

/** A value that each column of a record may have, and had not. `tx` is the database's own bookkeeping: nothing is read from it. */
const OTHER_VALUES: Readonly<Record<string, string>> = {
  tenant_id: `gen_random_uuid()`,
  id: `(overlay(id::text placing translate(right(id::text, 1), '0123456789abcdef', '123456789abcdef0') from 36) )::uuid`,
  created_at: `created_at + interval '1 microsecond'`,
  operation_id: 'gen_random_uuid()',
  schema_version: 'schema_version + 1',
  user_id: 'gen_random_uuid()',
  actor: `actor || '{"role": "SUPER_ADMIN"}'`,
  action: `'user.deleted'`,
  resource: `'TENANT'`,
  resource_id: 'gen_random_uuid()',
  resource_name: `'Other'`,
  status: `'failure'`,
  failure: `'INTERNAL'`,
  severity: '4',
  security: 'not security',
  ip_address: `'198.51.100.7'`,
  user_agent: `'other'`,
  request_id: `'other'`,
  context: `context || '{"operationName": "Other"}'`,
  details: `'{"reason": "other"}'`,
  changes: `'[]'`,
  subject_hmac: `'\\x00'`,
  pii: `set_byte(pii, octet_length(pii) - 1, get_byte(pii, octet_length(pii) - 1) # 1)`,
  leaf_hash: `sha256('other')`,
};

test('whatever column of a record is altered, the check names that record', async () => {
  const { admin, sql, size } = await withRecords(12);
  const columns = await sql`
    select column_name from information_schema.columns where table_name = 'audit_logs' and column_name <> 'tx'`;
  expect(columns.map(({ column_name: name }) => name as string).sort()).toEqual(
    Object.keys(OTHER_VALUES).sort(),
  );
  expect(await check(admin)).toMatchObject({ ok: true, to: size });

  const id = await idAt(sql, admin, size - 3);
  for (const [column, value] of Object.entries(OTHER_VALUES)) {
    const restore = await tamper(sql, `update audit_logs set ${column} = ${value} where id = '${id}'`);
    const { ok, fault } = await check(admin);
    expect({ column, ok, ...fault }).toMatchObject({
      column,
      ok: false,
      reason: ['id', 'tenant_id'].includes(column) ? 'RECORD_MISSING' : 'RECORD_ALTERED',
      position: size - 3,
      recordId: id,
    });
    await restore();
  }
  expect(await check(admin)).toMatchObject({ ok: true, to: size });
});

test('rows deleted, reordered, replaced, cut off, and what is above them: all is detected, the first place named', async () => {
  const { admin, sql, size } = await withRecords(600);
  const own = `tenant_id = '${admin.tenantId}'`;
  const at = (position: number) => idAt(sql, admin, position);
  const swap = (column: string, bytes: number) => `
    update audit_seals set ${column} = substring(${column} from ${bytes + 1} for ${bytes})
      || substring(${column} for ${bytes}) || substring(${column} from ${2 * bytes + 1})
    where ${own} and first_seq = (select first_seq from audit_seals where ${own} and count > 1 order by 1 limit 1)`;
  const [pair] =
    await sql`select first_seq::int as seq from audit_seals where tenant_id = ${admin.tenantId} and count > 1 order by 1 limit 1`;
  const swapped = pair!['seq'] as number;
  const forge = (to: string) =>
    `update audit_checkpoints set note = ${to} where ${own} and size = (select max(size) from audit_checkpoints where ${own})`;
  const [last] =
    await sql`select max(size)::int as size from audit_checkpoints where tenant_id = ${admin.tenantId}`;
  const leafOf300 = `update audit_seals set leaves = overlay(leaves placing sha256('other') from (300 - first_seq)::int * 32 + 1)
    where ${own} and first_seq <= 300 and first_seq + count > 300`;
  const cases: Record<string, { do: string; reason: string; position: number }> = {
    'a row deleted': {
      do: `delete from audit_logs where id = '${await at(17)}'`,
      reason: 'RECORD_MISSING',
      position: 17,
    },
    'two places swapped': { do: swap('ids', 16), reason: 'RECORD_ALTERED', position: swapped },
    'two places and their hashes swapped': {
      do: `${swap('ids', 16)};${swap('leaves', 32)}`,
      reason: 'RECORDS_REPLACED',
      position: expect.any(Number) as number,
    },
    'a record and its hashes replaced': {
      do: `${leafOf300}; update audit_logs set leaf_hash = sha256('other') where id = '${await at(300)}'`,
      reason: 'RECORD_ALTERED',
      position: 300,
    },
    'a seal deleted': {
      do: `delete from audit_seals where ${own} and first_seq = ${swapped}`,
      reason: 'ORDER_ALTERED',
      position: swapped,
    },
    'the tail cut': {
      do: `update audit_trees set size = 590 where ${own}`,
      reason: 'LOG_CUT',
      position: 590,
    },
    'a tile altered': {
      do: `update audit_tiles set hashes = overlay(hashes placing sha256('x') from 33) where ${own} and level = 1`,
      reason: 'TILE_ALTERED',
      position: 256,
    },
    'a tile deleted': { do: `delete from audit_tiles where ${own}`, reason: 'TILE_ALTERED', position: 0 },
    'a checkpoint with another size': {
      do: forge(`replace(note, E'\\n${last!['size']}\\n', E'\\n${(last!['size'] as number) + 1}\\n')`),
      reason: 'CHECKPOINT_FORGED',
      position: expect.any(Number) as number,
    },
    'a checkpoint of another log': {
      do: forge(`(select note from audit_checkpoints where not (${own}) limit 1)`),
      reason: 'CHECKPOINT_FORGED',
      position: expect.any(Number) as number,
    },
    'the partition truncated by its owner': {
      do: `truncate audit_logs`,
      reason: 'RECORD_MISSING',
      position: 0,
    },
  };
  expect(await check(admin)).toMatchObject({ ok: true, to: size });
  for (const [name, { do: statement, reason, position }] of Object.entries(cases)) {
    const restore = await tamper(sql, statement);
    const { ok, fault } = await check(admin);
    expect({ name, ok, ...fault }).toMatchObject({ name, ok: false, reason, position });
    await restore();
  }
  expect(await check(admin)).toMatchObject({ ok: true, to: size });
});

test('the background check raises one critical event for the first wrong record, and goes on when it is mended', async () => {
  const { here, admin, sql, size } = await withRecords(5);
  await again(sql, admin);
  expect((await health(admin)).verifiedTo).toBe(size);
  const id = await idAt(sql, admin, 3);
  const rename = (action: string) =>
    asOwner(sql, `update audit_logs set action = '${action}' where id = '${id}'`);
  await rename('user.deleted');
  await again(sql, admin);
  await until('the fault is known', async () => (await health(admin)).faultAt === 3);

  await again(sql, admin);
  await again(sql, admin);
  const events = async () =>
    (
      await admin.ask(
        '{ securityEvents { nodes { action severity log { details } evidence { nodes { id } } } } }',
      )
    ).data.securityEvents.nodes.filter(
      ({ action }: { action: string }) => action === 'LEDGER_FAULT_DETECTED',
    );
  expect(await events()).toEqual([
    {
      action: 'LEDGER_FAULT_DETECTED',
      severity: 'CRITICAL',
      log: { details: expect.objectContaining({ reason: 'RECORD_ALTERED', position: 3 }) as object },
      evidence: { nodes: [{ id }] },
    },
  ]);
  expect(here.log.filter(({ level }) => level === 'fatal')).toHaveLength(1);

  await rename('user.updated');
  // Else the check may come before the event itself is signed, and then rests.
  await allSigned(sql);
  await again(sql, admin);
  await until('it is mended', async () => {
    const { faultAt, verifiedTo } = await health(admin);
    return faultAt === null && verifiedTo > size;
  });
  expect(await events()).toHaveLength(1);
});

test('a server that has signed a log signs no other history of it', async () => {
  const { here, admin, sql, size } = await withRecords(4);
  const own = `tenant_id = '${admin.tenantId}'`;
  const checkpoints = async () =>
    (await sql.unsafe(`select size::int as size from audit_checkpoints where ${own} order by 1`)).map(
      (row) => row['size'] as number,
    );
  await asOwner(
    sql,
    `delete from audit_checkpoints where ${own};
     update audit_seals set leaves = overlay(leaves placing sha256('x') from (3 - first_seq)::int * 32 + 1)
     where ${own} and first_seq <= 3 and first_seq + count > 3`,
  );
  await admin.do('updateUser', { id: admin.id, fullName: 'Later' });
  await until('it is refused', async () =>
    here.log.some(({ msg, signed }) => String(msg).includes('it is not signed any more') && signed === size),
  );
  expect(await checkpoints()).toEqual([]);
  expect(here.log.filter(({ level }) => level === 'error')).toEqual([]);
});

/** Checks the whole log. */
async function check(admin: Person) {
  const { data, errors } = await admin.ask(CHECK);
  expect(errors).toEqual([]);
  return data.verifyAuditLog as { ok: boolean; to: number; fault: Record<string, unknown> | null };
}

async function health(admin: Person): Promise<{ verifiedTo: number; faultAt: number | null }> {
  return (await admin.ask('{ auditHealth { verifiedTo faultAt } }')).data.auditHealth;
}

/** Has the background check begin at the beginning, and waits for it. */
async function again(sql: Sql, { tenantId }: Person): Promise<void> {
  const row = () => sql`
    select due_at > '2001-01-01' as done from audit_verifications where tenant_id = ${tenantId}`;
  await until('the log is known', async () => (await row()).length > 0);
  await sql`update audit_verifications set due_at = '2000-01-01', verified_to = 0 where tenant_id = ${tenantId}`;
  await until('it was checked', async () => (await row())[0]!['done'] === true);
}
