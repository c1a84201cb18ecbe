/**
 * `npm run bench [-- --quick] [--records N] [--data FOLDER] [--only PART,...]`: what auditing costs, what the API costs on top of
 * SQL, how it compares with others, as ratios of measurements that alternate within one run, so that a busy machine slows all
 * sides. Writes docs/benchmarks.md, docs/benchmarks.json and the plots beside them after each part; parts that are not run keep
 * the figures they have there.
 */
import { parseArgs } from 'node:util';

import { PARTS } from './parts.ts';
import { runJob } from './processes.ts';
import { runFacts, writeReport } from './report.ts';
import { openStage } from './stage.ts';

const RECORDS = { quick: 100_000, full: 10_000_000 };

if (!(await runJob(process.argv.slice(2)))) await bench();

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      records: { type: 'string' },
      data: { type: 'string' },
      only: { type: 'string' },
    },
  });
  const { quick, data: folder, only } = values;
  const records = Number(values.records ?? (quick ? RECORDS.quick : RECORDS.full));
  if (!Number.isInteger(records) || records < 1)
    throw new Error('--records must be a whole number from 1 on.');
  const names = only?.split(',') ?? Object.keys(PARTS);
  const unknown = names.find((name) => !(name in PARTS));
  if (unknown !== undefined)
    throw new Error(`--only knows no part ${unknown}, only ${Object.keys(PARTS).join(', ')}.`);

  const stage = await openStage({ quick, records, folder });
  try {
    const run = await runFacts(stage);
    for (const name of names) {
      console.error(`Measuring ${name}.`);
      try {
        const { measure, onSeeded } = PARTS[name]!;
        const tables = await measure(stage);
        const { records: held, tenants } = onSeeded ? await stage.seeded() : { records: 0, tenants: 0 };
        await writeReport({ [name]: { ...run, records: held, tenants, tables } });
      } catch (cause) {
        // The others of a run of hours are not lost with it.
        console.error(`${name} was not measured:`, cause);
        process.exitCode = 1;
      }
    }
  } finally {
    await stage.stop();
  }
}
