/** What is measured has a process of its own: its clients in the same one would be measured too. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { Session } from 'node:inspector/promises';
import { fileURLToPath } from 'node:url';

import { seedLog } from '../src/commands.ts';
import { openSchema } from '../src/graphql/schema.ts';
import { listen } from '../src/http/listen.ts';
import { openLog } from '../src/platform/log.ts';
import { microsFrom } from '../src/platform/ids.ts';
import { readSettings } from '../src/platform/settings.ts';
import { startServer } from '../src/server.ts';
import { verifyDatabase } from '../src/verify.ts';
import { serveOriginal } from './original.ts';
import { withoutRecord } from './unaudited.ts';

/** What was seeded, and who may see it. */
export interface Seeded {
  readonly records: number;
  readonly tenants: number;
  /** The first administers the largest tenant. */
  readonly emails: readonly string[];
  readonly password: string;
}

/** How long a job took, and the most memory its process had. */
export interface Cost {
  readonly ms: number;
  readonly rssMiB: number;
}

/** What a process can do. Its answer is sent to the parent. A server runs until the parent says stop. */
const JOBS = {
  async serve(): Promise<{ url: string }> {
    const server = await startServer(readSettings(process.env), log());
    untilStopped(() => server.stop());
    return { url: server.url };
  },
  /** Writes its CPU profile into the file when it stops. */
  async serveProfiled({ file }: { file: string }): Promise<{ url: string }> {
    const server = await startServer(readSettings(process.env), log());
    const session = new Session();
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 250 });
    await session.post('Profiler.start');
    untilStopped(async () => {
      const { profile } = await session.post('Profiler.stop');
      await writeFile(file, JSON.stringify(profile));
      await server.stop();
    });
    return { url: server.url };
  },
  /** Two addresses of one database: the second leaves no records of `updateUser`. */
  async serveUnaudited(): Promise<{ url: string; unauditedUrl: string }> {
    const server = await startServer(readSettings(process.env), log());
    const { house } = server;
    const unaudited = await listen({
      house,
      schema: withoutRecord(openSchema(), house),
      host: '127.0.0.1',
      port: 0,
      trustedProxies: [],
    });
    untilStopped(async () => {
      await unaudited.stop();
      await server.stop();
    });
    return { url: server.url, unauditedUrl: unaudited.url };
  },
  async serveOriginal(): Promise<{ url: string }> {
    const { url, stop } = await serveOriginal(process.env['DATABASE_URL']!);
    untilStopped(stop);
    return { url };
  },
  /** `until` is a midnight. */
  async seed({
    records,
    days,
    until,
  }: {
    records: number;
    days: number;
    until: string;
  }): Promise<Seeded & Cost> {
    const settings = readSettings(process.env);
    const command = { settings, log: log(), signal: new AbortController().signal };
    return await costOf(() => seedLog(command, { records, days, until: microsFrom(until) }));
  },
  async verify(): Promise<Cost> {
    const settings = readSettings(process.env);
    return await costOf(async () => {
      await verifyDatabase({ settings, log: log() }, { checkpoints: [], personal: false }, () => {});
      return {};
    });
  },
};
export type Jobs = typeof JOBS;

/** A process that has answered. */
export type Started<Job extends keyof Jobs> = Awaited<ReturnType<Jobs[Job]>> & {
  /** Ends it, and waits for that. */
  readonly stop: () => Promise<void>;
};

/** Starts a job in a process of its own; resolves with its answer. */
export async function start<Job extends keyof Jobs>(
  job: Job,
  env: Readonly<Record<string, string>>,
  ...[argument]: Parameters<Jobs[Job]>
): Promise<Started<Job>> {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const child = fork(main, [job, JSON.stringify(argument ?? null)], { env: { ...process.env, ...env } });
  const exit = once(child, 'exit');
  const message = await Promise.race([once(child, 'message'), exit.then(() => undefined)]);
  if (!message) throw new Error(`The process of "${job}" ended without an answer.`);
  return {
    ...(message[0] as Awaited<ReturnType<Jobs[Job]>>),
    async stop() {
      // One that is done may just be leaving.
      if (child.connected) child.send('stop', () => {});
      await exit;
    },
  };
}

/** In the child: does what the command line says. False where it says something else. */
export async function runJob([job, argument]: readonly string[]): Promise<boolean> {
  if (job === undefined || !(job in JOBS) || !process.send) return false;
  const run = JOBS[job as keyof Jobs] as (argument: unknown) => Promise<object>;
  process.send(await run(JSON.parse(argument!)));
  if (!job.startsWith('serve')) process.disconnect();
  return true;
}

function untilStopped(stop: () => Promise<void>): void {
  process.once('message', () => void stop().then(() => process.exit(0)));
}

async function costOf<Answer extends object>(work: () => Promise<Answer>): Promise<Answer & Cost> {
  const begin = performance.now();
  const answer = await work();
  return { ...answer, ms: performance.now() - begin, rssMiB: process.resourceUsage().maxRSS / 1_024 };
}

function log() {
  return openLog({ level: readSettings(process.env).logLevel });
}
