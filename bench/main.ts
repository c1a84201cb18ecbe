/**
 * `npm run bench [-- --quick]`: what auditing costs, and what the API costs on top of SQL, as ratios of measurements that
 * alternate within one run, so that a busy machine slows both sides; what a thousand subscribers get, and how sealing keeps up. Writes docs/benchmarks.md and docs/benchmarks.json.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { liveCost } from './live.ts';
import { readingCost } from './reading.ts';
import { writeReport } from './report.ts';
import { sealingLag } from './sealing.ts';
import { serve, type Served } from './served.ts';
import { writingCost } from './writing.ts';

const SERVE = 'serve';

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});

if (positionals[0] === SERVE) await serve();
else await measure(values.quick);

async function measure(quick: boolean): Promise<void> {
  // The servers have a process of their own: clients in it would be measured too.
  const child = fork(fileURLToPath(import.meta.url), [SERVE]);
  const exit = once(child, 'exit');
  try {
    const first = await Promise.race([once(child, 'message'), exit.then(() => undefined)]);
    if (!first) throw new Error('The servers did not start.');
    const served = first[0] as Served;
    // First: a process that has worked has memory to spare, and a thousand subscribers would seem to take none.
    const live = await liveCost(served, { seconds: quick ? 5 : 20 });
    const seconds = quick ? 5 : 20;
    const sealing = [
      await sealingLag(served, { perSecond: 500, transactionsPerSecond: 500, seconds }),
      await sealingLag(served, { perSecond: 10_000, transactionsPerSecond: 400, seconds }),
    ];
    const writing = await writingCost(
      served,
      quick ? { rounds: 4, roundMs: 1_000 } : { rounds: 12, roundMs: 3_000 },
    );
    const reading = await readingCost(served, { pairs: quick ? 150 : 1_000 });
    await writeReport({ quick, postgres: served.postgres, writing, reading, live, sealing });
  } finally {
    if (child.connected) child.send('stop');
    await exit;
  }
}
