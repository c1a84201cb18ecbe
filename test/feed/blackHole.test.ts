import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';

import { ANY } from '../../src/audit/filter.ts';
import { openSealer } from '../../src/audit/seal.ts';
import { openFeed } from '../../src/feed/follow.ts';
import { openClock } from '../../src/platform/ids.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { openProxy } from '../world/proxy.ts';
import { record } from '../world/records.ts';
import { until } from '../world/wait.ts';

const log = pino({ level: 'silent' });
const A = '00000000-0000-4000-8000-00000000000a';
const DETECTED_MS = 10_000;
/** What is not announced is looked for once a second. */
const PROMPT_MS = 700;

test('who listens into a black hole finds out within ten seconds, and nothing is lost meanwhile', async () => {
  const { adminUrl, admin } = await freshDatabase();
  const db = openDoor({ url: adminUrl });
  const proxy = await openProxy(adminUrl);
  onTestFinished(() => proxy.stop());
  const listening = openDoor({ url: proxy.url, applicationName: 'listener' });
  const sealer = openSealer({ db, clock: openClock(), log });
  const feed = openFeed({ db: { ...db, listen: (...call) => listening.listen(...call) }, log });
  onTestFinished(async () => {
    await Promise.all([feed.stop(), sealer.stop()]);
  });
  const stream = feed.follow({ tenantId: A, condition: ANY });
  await stream.next();
  const backends = async () =>
    (await admin`select pid from pg_stat_activity where application_name = 'listener'`).map(
      ({ pid }) => pid as number,
    );
  await until('it listens', async () => (await backends()).length === 1);
  const [first] = await backends();
  const take = async (ids: readonly string[]) => {
    const since = performance.now();
    sealer.nudge();
    for (const id of ids) {
      for (;;) {
        const { value } = await stream.next();
        if (!value!.row) continue;
        expect(value!.row.id).toBe(id);
        break;
      }
    }
    return performance.now() - since;
  };
  await take(await record(db, { tenantId: A }));

  proxy.freeze();
  const since = performance.now();
  await take(await record(db, ...Array.from({ length: 50 }, () => ({ tenantId: A }))));
  proxy.heal();
  const others = async () => (await backends()).filter((pid) => pid !== first);
  await until('it listens again', async () => (await others()).length > 0, DETECTED_MS);
  expect(performance.now() - since).toBeLessThan(DETECTED_MS);

  await until(
    'it is told at once again',
    async () => (await take(await record(db, { tenantId: A }))) < PROMPT_MS,
  );
  const waits = [];
  for (let time = 0; time < 5; time++) waits.push(await take(await record(db, { tenantId: A })));
  expect(Math.max(...waits)).toBeLessThan(PROMPT_MS);
});
