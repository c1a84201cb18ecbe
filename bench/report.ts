import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';

import type { LiveCost } from './live.ts';
import type { ReadingCost } from './reading.ts';
import type { Sealing } from './sealing.ts';
import type { Ratio } from './statistics.ts';
import type { WritingCost } from './writing.ts';

export interface Results {
  readonly quick: boolean;
  readonly postgres: string;
  readonly writing: WritingCost;
  readonly reading: ReadingCost;
  readonly live: LiveCost;
  readonly sealing: readonly Sealing[];
}

const DOCS = path.resolve(import.meta.dirname, '../docs');

/** Prints the results, and writes them for people and for programs. */
export async function writeReport(results: Results): Promise<void> {
  const machine = {
    processors: availableParallelism(),
    processor: cpus()[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    postgres: results.postgres,
  };
  const { writing, reading, live, sealing } = results;
  const lines = [
    '# Benchmarks',
    '',
    `\`npm run bench${results.quick ? ' -- --quick' : ''}\`: both sides of a ratio are measured in turns within one run, so a busy machine slows both.`,
    'Absolute figures say something of the machine only. A ratio is the median of the pairs, with the middle half in brackets.',
    '',
    `- Audited / unaudited mutations a second, 16 clients: **${shown(writing.ratio)}**`,
    `  (${writing.auditedPerSecond.toFixed(0)} and ${writing.unauditedPerSecond.toFixed(0)} a second).`,
    `- \`auditLogs(first: 50)\` over HTTP / its SQL, 1 client: **${shown(reading.ratio)}**`,
    `  (median ${reading.api.p50Ms.toFixed(2)} and ${reading.sql.p50Ms.toFixed(2)} ms; 95 % within ${reading.api.p95Ms.toFixed(2)} and ${reading.sql.p95Ms.toFixed(2)} ms).`,
    `- ${live.subscribers} subscribers at one process, ${live.eventsPerSecond.toFixed(0)} events a second: delivered after **${live.p50Ms.toFixed(0)} ms** (median; 99 % within ${live.p99Ms.toFixed(0)} ms),`,
    `  **${live.kibPerSubscriber.toFixed(0)} KiB** a subscriber, event-loop delay ${live.loopDelayP99Ms.toFixed(0)} ms (99 %).`,
    ...sealing.map(
      ({ wantedPerSecond, committedPerSecond, p50Ms, p99Ms, restMs }) =>
        `- Sealing at ${wantedPerSecond} records a second (${committedPerSecond.toFixed(0)} committed): each sealed after **${p50Ms.toFixed(0)} ms** (median; 99 % within ${p99Ms.toFixed(0)} ms), all of them ${restMs.toFixed(0)} ms after the last.`,
    ),
    '',
    '**Audited / unaudited.** `updateUser`, each client with a user of its own, over HTTP with keep-alive. Unaudited is the same deed',
    'through the same door and transaction, in a database of the same server whose guards on `users` are disabled: it leaves out',
    'composing, hashing and inserting the record, the triggers, and what the sealer then does.',
    '',
    '**Over HTTP / SQL.** The page with its personal values decrypted, as an administrator sees it, from the request to the parsed',
    'answer: HTTP, token, session lookup, transaction, GraphQL. The SQL is its page statement and the keys of the people in it,',
    'prepared, as the application role under row-level security, on one connection of postgres.js without a transaction.',
    '',
    `**Subscribers.** ${live.tenants} tenants with ${live.subscribers / live.tenants} subscribers each: ${live.deliveriesPerSecond.toFixed(0)} deliveries a second, each with the position and the decrypted`,
    'names of actor and resource. The records are written straight to the database, as another process would, so they wait for the',
    'sealer to look (every 50 ms). From the commit to the parsed message; all of them must arrive.',
    '',
    '**Sealing.** Records are inserted as they are, without mutations, 1 and 25 a transaction; the server orders them, keeps the numbers, the',
    'leaves and the checkpoints. From the answer to the commit until another process hears that it is sealed.',
    '',
    `Machine: ${machine.processors} processors (${machine.processor}), ${machine.memoryGiB} GiB, Node ${machine.node}, PostgreSQL ${machine.postgres} (embedded, with its usual settings); server, clients and database share it.`,
    '',
  ];
  await writeFile(path.join(DOCS, 'benchmarks.md'), lines.join('\n'));
  await writeFile(
    path.join(DOCS, 'benchmarks.json'),
    `${JSON.stringify({ machine, ...results }, null, 2)}\n`,
  );
  console.log(lines.join('\n'));
}

function shown({ median, from, to }: Ratio): string {
  return `${median.toFixed(2)} (${from.toFixed(2)} to ${to.toFixed(2)})`;
}
