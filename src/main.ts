/**
 * The program: reads the environment, starts the server, says where it is, and stops it in order.
 *
 * Exit codes: 0 after SIGINT or SIGTERM, 1 for a failure, 2 for a wrong environment. A second signal does not wait.
 */
import { setTimeout as pause } from 'node:timers/promises';

import type { Logger } from 'pino';

import { EXIT_FAILED, exitFor } from './exit.ts';
import { openLog } from './platform/log.ts';
import { readSettings } from './platform/settings.ts';
import { type Server, startServer } from './server.ts';

/** What a shell reports of a process that a signal ended, less the number of the signal. */
const EXIT_SIGNALLED = 128;
const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;

/** Longer than any part takes to stop; what hangs beyond it is left to the system. */
const STOP_MS = 45_000;
/** npm passes on a Ctrl-C that the terminal has sent to the whole group: that is one, not two. */
const SAME_SIGNAL_MS = 500;

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const log = openLog({ level: settings.logLevel, pretty: process.stdout.isTTY });
  const calledOff = new AbortController();
  const starting = startServer(settings, log, {
    signal: calledOff.signal,
    onProgress: process.stderr.isTTY ? drawProgress : undefined,
  });

  let stopping: Promise<void> | undefined;
  const stop = () => {
    calledOff.abort();
    // A start that is called off, or fails, stops what it has started.
    return (stopping ??= starting.then(
      (server) => server.stop(),
      () => {},
    ));
  };
  stopOnSignals(log, stop);
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'a bug: nothing caught this error, so the process ends');
    void endWithin(EXIT_FAILED, stop());
  });

  try {
    announce(await starting);
  } catch (cause) {
    if (calledOff.signal.aborted) return;
    if (log.isLevelEnabled('debug')) log.debug({ err: cause }, 'the start failed');
    throw cause;
  }
}

function stopOnSignals(log: Logger, stop: () => Promise<void>): void {
  let since: number | undefined;
  const onSignal = (signal: keyof typeof SIGNAL_NUMBERS) => {
    if (since === undefined) {
      since = performance.now();
      log.info({ signal }, 'stopping');
      void endWithin(0, stop());
    } else if (performance.now() - since > SAME_SIGNAL_MS) {
      process.exit(EXIT_SIGNALLED + SIGNAL_NUMBERS[signal]);
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}

/** Ends the process when it has stopped, and at the latest when there is no more time for it. */
async function endWithin(code: number, stopped: Promise<void>): Promise<never> {
  const inTime = await Promise.race([stopped.then(() => true), pause(STOP_MS, false)]);
  process.exit(inTime ? code : EXIT_FAILED);
}

function drawProgress(done: number): void {
  process.stderr.write(`\r  Making the demo data: ${Math.round(done * 100)} %${done < 1 ? '' : '\n'}`);
}

function announce({ url, firstStart }: Server): void {
  const { administrator, demo } = firstStart ?? {};
  const lines = [
    '',
    `  Custos is ready.   Explorer   ${url}/graphiql`,
    `                     GraphQL    ${url}/graphql`,
  ];
  if (administrator) {
    lines.push(
      `  Sign in with       ${administrator.email}   ${administrator.password}   (shown only this once)`,
    );
  }
  if (demo) {
    lines.push(`  or, in a tenant    ${demo.emails.join(', ')}`);
    lines.push(`                     with the password ${demo.password}   (shown only this once)`);
  }
  console.log([...lines, ''].join('\n'));
}

main().catch((cause: unknown) =>
  exitFor(cause, (why) => `Custos did not start: ${why} (LOG_LEVEL=debug tells more)`),
);
