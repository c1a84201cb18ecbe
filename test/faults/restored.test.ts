/** The log in another cluster, as a dump brings it there: transaction ids and snapshots mean nothing any more. */
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';

import { migrate } from '../../src/platform/migrate.ts';
import { startServer } from '../../src/server.ts';
import { verifyDatabase } from '../../src/verify.ts';
import { startCluster } from '../world/cluster.ts';
import { freshDatabase } from '../world/database.ts';
import { type Sql, withRecords } from '../world/ledger.ts';
import { LOGIN_ROLE, post } from '../world/server.ts';
import { until } from '../world/wait.ts';

const LOG = pino({ level: 'silent' });
const RESTORE_MS = 60_000;
const FEED = `query ($after: String) { auditFeed(first: 100, after: $after) { nodes { position action } nextCursor } }`;

test(
  'a restored database goes on where the other one ended: positions, cursors, checkpoints and proofs hold',
  { timeout: RESTORE_MS },
  async () => {
    const { here, admin, size } = await withRecords(25);
    const { data } = await admin.ask(FEED.replace('100', '20'));
    const cursor = data.auditFeed.nextCursor as string;
    const { note } = (await admin.ask('{ auditCheckpoint { note } }')).data.auditCheckpoint;
    await here.server.stop();

    const cluster = await startCluster();
    onTestFinished(() => cluster.stop());
    const { adminUrl, admin: target } = await freshDatabase({ on: cluster.adminUrl, from: '' });
    await target.unsafe(LOGIN_ROLE);
    await migrate({ adminUrl, appUser: 'world_login' });
    await copyAll(here.database.admin, target);

    const url = Object.assign(new URL(adminUrl), { username: 'world_login' }).href;
    const settings = { ...here.settings, databaseUrl: url, databaseAdminUrl: adminUrl };
    const server = await startServer(settings, LOG);
    onTestFinished(() => server.stop());
    const ask = (query: string, variables: object = {}) =>
      post(server.url, { query, variables }, { authorization: `Bearer ${admin.token}` });

    const renamed = await ask(
      `mutation ($id: ID!) { updateUser(input: { id: $id, fullName: "Restored" }) { receipts { id } } }`,
      { id: admin.id },
    );
    expect(renamed.errors).toEqual([]);
    await until('the new record is signed', async () => {
      const { auditCheckpoint } = (await ask('{ auditCheckpoint { size } }')).data;
      return auditCheckpoint.size === size + 1;
    });

    const rest = (await ask(FEED, { after: cursor })).data.auditFeed.nodes as { position: number }[];
    expect(rest.map(({ position }) => position)).toEqual(
      Array.from({ length: size + 1 - 20 }, (_, at) => 20 + at),
    );
    const checked = await ask(
      `{ verifyAuditLog { ok to } auditConsistencyProof(from: ${size}, to: ${size + 1}) { hashes } }`,
    );
    expect(checked.data.verifyAuditLog).toEqual({ ok: true, to: size + 1 });
    expect((await ask(`{ auditCheckpoint(size: ${size}) { note } }`)).data.auditCheckpoint.note).toBe(note);
    await server.stop();
    await verifyDatabase({ settings, log: LOG }, { checkpoints: [], personal: true }, () => {});
  },
);

/** Every row of every table, as it stands, as `pg_dump --data-only` takes it over. */
async function copyAll(from: Sql, target: Sql): Promise<void> {
  const tables = await from<{ name: string }[]>`
    select format('%I', relname) as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition`;
  const to = await target.reserve();
  await to`set session_replication_role = replica`;
  for (const { name } of tables) {
    await to.unsafe(`truncate ${name}`);
    const [all] = await from.unsafe(`select coalesce(json_agg(t), '[]')::text as rows from ${name} as t`);
    await to.unsafe(
      `insert into ${name} select * from json_populate_recordset(null::${name}, $1::text::json)`,
      [all!['rows'] as string],
    );
  }
  await to`reset session_replication_role`;
  to.release();
}
