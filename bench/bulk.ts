import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { rssDuring } from './client.ts';
import { compared, type Figure, rates, type Side, type Table, timed } from './figures.ts';
import { start } from './processes.ts';
import { lastMidnight, SEEDED, signInAsSuper, type Stage } from './stage.ts';

const DATABASE = 'bulk';
const DAYS = 90;
const COPIED = 'copied_logs';

/** Seeding, verification and export, each in turns with COPY of the same records. */
export async function bulkCost(stage: Stage): Promise<Table[]> {
  const { rounds, records } = stage.quick ? { rounds: 2, records: 20_000 } : { rounds: 3, records: 200_000 };
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-copy-'));
  const file = path.join(folder, 'log.copy');
  try {
    const seeding: [number, number][] = [];
    const verifying: [number, number][] = [];
    const memory = { seed: 0, verify: 0 };
    const perSecond = (ms: number) => (records * 1_000) / ms;
    for (let round = 0; round < rounds; round++) {
      await stage.emptyDatabase(DATABASE);
      const asked = { records, days: DAYS, until: lastMidnight() };
      const seeded = await finished(start('seed', stage.env(DATABASE), asked));
      const read = await copyOut(stage, DATABASE, 'audit_logs', file);
      const written = await copyIn(stage, file);
      const verified = await finished(start('verify', stage.env(DATABASE)));
      seeding.push([perSecond(seeded.ms), perSecond(written)]);
      verifying.push([perSecond(verified.ms), perSecond(read)]);
      memory.seed = Math.max(memory.seed, seeded.rssMiB);
      memory.verify = Math.max(memory.verify, verified.rssMiB);
    }
    const exported = await exporting(stage, rounds, file);
    const title = `Records a second, ${records} of them`;
    return [
      {
        title,
        figures: [
          compared('seed / COPY FROM', seeding, custosOrCopy),
          compared('verify / COPY TO', verifying, custosOrCopy),
          exported.figure,
        ],
      },
      {
        title: 'Most memory meanwhile',
        figures: [
          { label: 'seed', sides: [rss(memory.seed)] },
          { label: 'verify', sides: [rss(memory.verify)] },
          { label: 'server, export', sides: [rss(exported.rssMiB)] },
        ],
      },
    ];
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The largest tenant's log over HTTP. */
async function exporting(
  stage: Stage,
  rounds: number,
  file: string,
): Promise<{ figure: Figure; rssMiB: number }> {
  await stage.seeded();
  const { url, stop } = await start('serve', stage.env(SEEDED));
  try {
    const { tenantId, size } = await largest(stage);
    const atMost = Math.min(size, stage.quick ? 20_000 : 200_000);
    const pairs: [number, number][] = [];
    const rows = `(select * from audit_logs where tenant_id = '${tenantId}' order by id limit ${atMost})`;
    let rssMiB = 0;
    for (let round = 0; round < rounds; round++) {
      const headers = { authorization: `Bearer ${await signInAsSuper(url)}` };
      let ms = 0;
      const most = await rssDuring(url, async () => {
        ms = await timed(async () => {
          const response = await fetch(`${url}/audit/${tenantId}/export.ndjson?to=${atMost}`, { headers });
          if (!response.ok) throw new Error(`The export answered ${response.status}.`);
          await pipeline(response.body!, createWriteStream(file));
        });
      });
      rssMiB = Math.max(rssMiB, most);
      const copied = await copyOut(stage, SEEDED, rows, file);
      pairs.push([(atMost * 1_000) / ms, (atMost * 1_000) / copied]);
    }
    return { figure: compared(`export of ${atMost} / COPY TO`, pairs, custosOrCopy), rssMiB };
  } finally {
    await stop();
  }
}

async function largest(stage: Stage): Promise<{ tenantId: string; size: number }> {
  return await stage.asOwner(SEEDED, async (sql) => {
    const [row] = await sql<{ tenantId: string; size: number }[]>`
      select tenant_id as "tenantId", max(size)::int as size from audit_checkpoints group by 1 order by 2 desc limit 1`;
    return row!;
  });
}

/** Writes rows to a file, as their owner; in milliseconds. */
async function copyOut(stage: Stage, database: string, rows: string, file: string): Promise<number> {
  return await stage.asOwner(database, (sql) =>
    timed(async () => {
      // A partitioned table itself cannot be copied.
      const source = rows.startsWith('(') ? rows : `(select * from ${rows})`;
      const stream: Readable = await sql.unsafe(`copy ${source} to stdout`).readable();
      await pipeline(stream, createWriteStream(file));
    }),
  );
}

/** Reads the file into a table with the columns, checks and indexes of the log, without its partitions, triggers and policies. */
async function copyIn(stage: Stage, file: string): Promise<number> {
  return await stage.asOwner(DATABASE, async (sql) => {
    await sql.unsafe(
      `create table ${COPIED} (like audit_logs including defaults including constraints including indexes)`,
    );
    return await timed(async () => {
      await pipeline(createReadStream(file), await sql.unsafe(`copy ${COPIED} from stdin`).writable());
    });
  });
}

async function finished<Answer extends { stop(): Promise<void> }>(
  starting: Promise<Answer>,
): Promise<Answer> {
  const answer = await starting;
  await answer.stop();
  return answer;
}

function custosOrCopy(each: readonly number[], at: 0 | 1): Side {
  return rates(at === 0 ? 'Custos' : 'COPY', each);
}

function rss(mib: number): Side {
  return { name: 'Custos', unit: 'MiB', p50: mib };
}
