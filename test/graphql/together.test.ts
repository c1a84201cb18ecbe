import { expect, test } from 'vitest';

import { allSealed } from '../world/seal.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';
import { clientOf } from '../world/live.ts';
import { world } from '../world/server.ts';

const FOLLOWERS = 20;
const CHANGES = 30;
const FOLLOW = `subscription ($after: String) { auditLogAppended(after: $after) {
  cursor node { id position actor { name } resourceName } } }`;

test('what followers see of a record costs them no transaction each, is right, and is gone with its key', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const follow = (after?: string) => subscribe<LiveStep>(clientOf(here, admin.token), FOLLOW, { after });
  await allSealed(here.database.admin);
  const { cursor: origin } = await follow().next();
  const ids: string[] = [];
  for (let at = 0; at < CHANGES; at++) {
    const { data } = await admin.do('createUser', { email: `user${at}@example.com`, fullName: `User ${at}` });
    ids.push(data.receipts[0].id as string);
  }
  await allSealed(here.database.admin);
  const [{ first }] = (await here.database.admin`
    select min(first_seq + count)::int - ${CHANGES}::int as first from (
      select first_seq, count from audit_seals where tenant_id = ${admin.tenantId} order by first_seq desc limit 1
    ) as last`) as unknown as [{ first: number }];
  const { house } = here.server;
  const { db } = house;
  let transactions = 0;
  Object.assign(house, {
    db: {
      ...db,
      withReadTx: (...call: Parameters<typeof db.withReadTx>) => (transactions++, db.withReadTx(...call)),
    },
  });

  const take = async () => {
    const steps = follow(origin);
    const nodes: unknown[] = [];
    while (nodes.length < CHANGES) {
      const { node } = await steps.next();
      if (node) nodes.push(node);
    }
    return nodes;
  };
  const expected = (actor: string | null, resource: (at: number) => string | null) =>
    ids.map((id, at) => ({ id, position: first + at, actor: { name: actor }, resourceName: resource(at) }));
  const taken = await Promise.all(Array.from({ length: FOLLOWERS }, take));
  for (const nodes of taken) expect(nodes).toEqual(expected('Admin of Acme', (at) => `User ${at}`));
  // Each has to say who it is, once or twice.
  expect(transactions).toBeLessThan((FOLLOWERS * CHANGES) / 3);

  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`delete from subject_keys where subject_id = ${admin.id}`;
  });
  const after = await take();
  expect(after).toEqual(expected(null, (at) => `User ${at}`));
});
