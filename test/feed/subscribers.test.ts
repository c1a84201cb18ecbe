import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';

import { openSealer } from '../../src/audit/seal.ts';
import { openTail } from '../../src/feed/subscribers.ts';
import { openClock } from '../../src/platform/ids.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { record, type RecordFacts } from '../world/records.ts';
import { until } from '../world/wait.ts';

const log = pino({ level: 'silent' });
const A = '00000000-0000-4000-8000-00000000000a';
const B = '00000000-0000-4000-8000-00000000000b';

test('the tail keeps the latest 2000 records of those that are followed', async () => {
  const { tail, write } = await world();
  const [own, all] = [tail.join(A), tail.join(undefined)];
  tail.begin(0n);
  await write(1_250, () => ({ tenantId: A }));
  await write(1_250, () => ({ tenantId: B }));
  await until('it has read all', () => all.isPast(2_499n));

  expect([all.at(499n), all.at(500n)?.pos, all.at(2_499n)?.pos, all.at(2_500n)]).toEqual([
    undefined,
    500n,
    2_499n,
    undefined,
  ]);
  expect([own.at(499n), own.at(500n)?.seq, own.at(1_249n)?.seq, own.at(1_250n)]).toEqual([
    undefined,
    500n,
    1_249n,
    undefined,
  ]);
  expect([...Array(750).keys()].every((at) => own.at(500n + BigInt(at))?.seq === 500n + BigInt(at))).toBe(
    true,
  );
});

test('the tail keeps about 16 MiB, and a record that nobody follows not at all', async () => {
  const { tail, write } = await world();
  const own = tail.join(A);
  tail.begin(0n);
  const details = { note: 'x'.repeat(32_000) };
  for (let batch = 0; batch < 6; batch++) await write(100, () => ({ tenantId: A, details }));
  await write(2_000, () => ({ tenantId: B, details: {} }));
  await write(1, () => ({ tenantId: A }));
  await until('it has read all', () => own.isPast(600n));

  const kept = [...Array(601).keys()].filter((place) => own.at(BigInt(place)));
  expect(kept.length).toBeGreaterThan(450);
  expect(kept.length).toBeLessThan(520);
  expect(kept.at(-1)).toBe(600);
});

async function world() {
  const { adminUrl } = await freshDatabase();
  const db = openDoor({ url: adminUrl });
  const sealer = openSealer({ db, clock: openClock(), log });
  const tail = openTail({ db, log });
  onTestFinished(async () => {
    await Promise.all([sealer.stop(), tail.stop()]);
  });
  const write = async (count: number, one: (at: number) => RecordFacts) => {
    await record(db, ...Array.from({ length: count }, (_, at) => one(at)));
    sealer.nudge();
  };
  return { tail, write };
}
