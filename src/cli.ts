#!/usr/bin/env node
/**
 * The command line, `custos`. It reads the same environment as the server and may run beside it; only `custos tail` is a
 * client, and runs anywhere. Results go to standard output, the log to standard error.
 *
 * Exit codes: 0 when it is done, 1 for a failure, 2 for a wrong environment or command line, 130 or 143 when it is called off.
 */
import { text } from 'node:stream/consumers';

import { Command as Program, CommanderError, InvalidArgumentError } from 'commander';
import { pino } from 'pino';

import { type ExportOptions, type TailOptions, withExportOptions, withTailOptions } from './clientOptions.ts';
import { type Command, createAdmin, migrate, seed, seedLog } from './commands.ts';
import { EXIT_MISCONFIGURED, exitFor } from './exit.ts';
import { microsFrom } from './platform/ids.ts';
import { openLog } from './platform/log.ts';
import { readSettings } from './platform/settings.ts';

import { verifyDatabase, verifyFile } from './verify.ts';

const STDERR = 2;
const EXIT_CALLED_OFF = { SIGINT: 130, SIGTERM: 143 } as const;

const program = new Program('custos')
  .description('Runs and furnishes Custos. All configuration comes from the environment.')
  .exitOverride();

program
  .command('serve')
  .description('start the server, as `npm start` does')
  .action(async () => {
    await import('./main.ts');
  });

program
  .command('migrate')
  .description('bring the database to the schema of this version, as DATABASE_ADMIN_URL')
  .action(() =>
    run(async (command) => {
      const applied = await migrate(command);
      if (applied.length === 0)
        console.log('Nothing to migrate: the database has the schema of this version.');
      for (const name of applied) console.log(`Applied ${name}`);
    }),
  );

program
  .command('create-admin')
  .description('make a super administrator')
  .requiredOption('--email <email>', 'what to sign in with')
  .option('--name <name>', 'what to be called', 'Administrator')
  .option(
    '--password-stdin',
    'read the password from standard input; without it one is made up and printed once',
  )
  .action(({ email, name, passwordStdin }: { email: string; name: string; passwordStdin?: true }) =>
    run(async (command) => {
      // Only the line break that `echo` and files end with is not the password's.
      const password = passwordStdin && (await text(process.stdin)).replace(/\r?\n$/, '');
      const made = await createAdmin(command, { email, name, password });
      console.log(made === undefined ? `Made ${email}.` : `Made ${email}   ${made}   (shown only this once)`);
    }),
  );

program
  .command('seed')
  .description('make the demo data in an empty database, or with --records a log of any length')
  .option(
    '--records <number>',
    'how many records, 1,000 at least; a million takes some minutes',
    wholeNumber(1_000),
  )
  .option('--days <number>', 'with --records: over how many days', wholeNumber(1), 395)
  .option(
    '--until <date>',
    'with --records: the day after the last, such as 2026-11-01; by default today',
    midnight,
  )
  .action(({ records, days, until = midnight(new Date().toISOString().slice(0, 10)) }: SeedOptions) =>
    run(async (command) => {
      if (records === undefined) {
        const { emails, password } = await seed(command);
        console.log(`Made three tenants. Sign in with ${emails.join(', ')}\nand the password ${password}`);
        return;
      }
      const begin = performance.now();
      const made = await seedLog(command, { records, days, until }, ({ written, sealed }) => {
        const rate = Math.round(written / ((performance.now() - begin) / 1000));
        process.stderr.write(
          `\r${written} of ${records} records written, ${sealed} sealed, ${rate} a second `,
        );
      });
      process.stderr.write('\n');
      console.log(
        `Made ${made.tenants} tenants with ${made.records} records, sealed and signed. Sign in with ${made.emails[0]}\n` +
          `(the largest tenant's administrator) and the password ${made.password}`,
      );
    }),
  );

interface SeedOptions {
  readonly records?: number;
  readonly days: number;
  readonly until?: bigint;
}

function wholeNumber(least: number) {
  return (text: string): number => {
    const value = /^\d{1,12}$/.test(text) ? Number(text) : 0;
    if (value >= least) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} on.`);
  };
}

/** The beginning of that day, UTC. */
function midnight(day: string): bigint {
  try {
    return microsFrom(`${day}T00:00:00Z`);
  } catch {
    throw new InvalidArgumentError('It must be a day such as 2026-11-01.');
  }
}

program
  .command('verify')
  .description(
    'check an exported log, a file by its .manifest, the .tlog-proof of a record, or the whole database, against what was signed',
  )
  .argument('[file]', 'an exported log (NDJSON), a .manifest beside its file, or a .tlog-proof')
  .option('--database', 'check the database that DATABASE_URL leads to')
  .option(
    '--key <key>',
    'the verifier key you were given, name+id+key; a tenant’s serves for the whole database',
  )
  .option('--personal', 'with --database: check personal values too, with the master key of the environment')
  .option('--checkpoint <file...>', 'with --database: checkpoints that were kept elsewhere')
  .action(
    async (file: string | undefined, { database, key, checkpoint = [], personal = false }: VerifyOptions) => {
      if ((file === undefined) === (database === undefined))
        program.error('error: name either a file or --database', { exitCode: EXIT_MISCONFIGURED });
      if (file !== undefined && (personal || checkpoint.length > 0))
        program.error('error: --personal and --checkpoint go with --database', {
          exitCode: EXIT_MISCONFIGURED,
        });
      if (file === undefined)
        await run((command) =>
          verifyDatabase(command, { key, checkpoints: checkpoint, personal }, (line) => console.log(line)),
        );
      else for (const line of await verifyFile(file, key)) console.log(line);
    },
  );

interface VerifyOptions {
  readonly database?: true;
  readonly key?: string;
  readonly checkpoint?: string[];
  readonly personal?: boolean;
}

withTailOptions(program.command('tail'))
  .description('follow the log of a running server: its URL and credentials are all it needs')
  .action((options: TailOptions) =>
    untilSignal(async (signal) => {
      const { tail } = await import('./tail.ts');
      await tail(options, signal);
    }),
  );

withExportOptions(program.command('export'))
  .argument('<file>', 'the file to write; its manifest is written beside it, as FILE.manifest')
  .description('export the log of a running server to a file, and check it against its signed manifest')
  .action((file: string, options: ExportOptions) =>
    untilSignal(async (signal) => {
      const { exportTo } = await import('./export.ts');
      await exportTo(file, options, signal);
    }),
  );

/** Runs a command with the environment's settings. */
async function run(work: (command: Command) => Promise<void>): Promise<void> {
  const settings = readSettings(process.env);
  const log = openLog({ level: settings.logLevel, to: pino.destination({ fd: STDERR, sync: true }) });
  await untilSignal((signal) => work({ settings, log, signal }));
}

/** Runs a command; a signal calls it off, and what it opened is closed. */
async function untilSignal(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const calledOff = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      process.exitCode = EXIT_CALLED_OFF[signal];
      calledOff.abort();
    });
  }
  try {
    await work(calledOff.signal);
  } catch (cause) {
    if (!calledOff.signal.aborted) throw cause;
  }
}

program.parseAsync().catch((cause: unknown) => {
  // Commander has said what is wrong; asked for help, it ends this way too.
  if (cause instanceof CommanderError) process.exit(cause.exitCode === 0 ? 0 : EXIT_MISCONFIGURED);
  exitFor(cause, (why) => `custos: ${why}`);
});
