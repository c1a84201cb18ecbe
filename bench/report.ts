import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';

import type { ReadingCost } from './reading.ts';
import type { Ratio } from './statistics.ts';
import type { WritingCost } from './writing.ts';

export interface Results {
  readonly quick: boolean;
  readonly postgres: string;
  readonly writing: WritingCost;
  readonly reading: ReadingCost;
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
  const { writing, reading } = results;
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
    '',
    '**Audited / unaudited.** `updateUser`, each client with a user of its own, over HTTP with keep-alive. Unaudited is the same deed',
    'through the same door and transaction, in a database of the same server whose guards on `users` are disabled: it leaves out',
    'composing, hashing and inserting the record, the triggers, and what the sealer then does.',
    '',
    '**Over HTTP / SQL.** The page with its personal values decrypted, as an administrator sees it, from the request to the parsed',
    'answer: HTTP, token, session lookup, transaction, GraphQL. The SQL is its page statement and the keys of the people in it,',
    'prepared, as the application role under row-level security, on one connection of postgres.js without a transaction.',
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
