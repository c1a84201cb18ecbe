/** A process that delivers is killed in the middle: the next goes on, and every record comes, in order. */
import { beforeAll, expect, test } from 'vitest';

import { build, start } from '../world/process.ts';
import { receiver } from '../world/receiver.ts';
import { ask, seeded } from '../world/seeded.ts';
import { until } from '../world/wait.ts';

beforeAll(build);

const RECORDS = 4_000;
const KILLS = 2;
const TAKEN_UP_MS = 60_000;

test(
  'kill -9 in the middle of delivering loses nothing, and what comes twice comes under one id',
  { timeout: 240_000 },
  async () => {
    const { env, admin } = await seeded(RECORDS);
    const [{ tenantId }] = (await admin`
    select tenant_id as "tenantId" from audit_trees order by size desc limit 1`) as [{ tenantId: string }];
    const there = await receiver();
    const settings = { ...env, WEBHOOK_ALLOWED_TARGETS: '127.0.0.1' };
    let program = start(settings);
    const { url } = await program.ready();
    const made = await ask(
      url,
      `mutation { createWebhook(input: { tenantId: "${tenantId}", url: "${there.url}" }) { webhook { id } } }`,
    );
    await ask(
      url,
      `mutation { replayWebhook(input: { id: "${made.createWebhook.webhook.id as string}", fromPosition: 0 })
    { webhook { id } } }`,
    );
    for (let kill = 1; kill <= KILLS; kill++) {
      const before = there.came.length;
      await until('more has come', () => there.came.length > before + 20, TAKEN_UP_MS);
      program.signal('SIGKILL');
      await program.ended();
      program = start(settings);
      await program.ready();
    }
    const [{ size }] = (await admin`
    select size::int from audit_trees where tenant_id = ${tenantId}`) as [{ size: number }];
    // What came before the replay is the making of the webhook itself.
    const replayed = () => {
      const all = there.came.map(({ body }) => (JSON.parse(body) as { position: number }).position);
      return all.slice(all.indexOf(0));
    };
    await until('all has come', () => new Set(replayed()).size >= size, TAKEN_UP_MS);
    const positions = replayed();
    expect([...new Set(positions)]).toEqual(Array.from({ length: size }, (_, position) => position));
    // Each death may repeat the one message that was under way.
    expect(positions.length - size).toBeLessThanOrEqual(KILLS);
  },
);
