import { writeSync } from 'node:fs';

import { SettingsError } from './platform/settings.ts';

export const EXIT_FAILED = 1;
/** For a wrong environment, and a wrong command line. */
export const EXIT_MISCONFIGURED = 2;
const STDERR = 2;

/** Ends the process for an error, with one line that says what is wrong. A wrong environment needs no sentence around it. */
export function exitFor(cause: unknown, sentence: (why: string) => string): never {
  const misconfigured = cause instanceof SettingsError;
  const message = cause instanceof Error ? cause.message : String(cause);
  // At once: what the stream of a pipe has not written is lost when the process ends.
  writeSync(STDERR, `${misconfigured ? message : sentence(message)}\n`);
  process.exit(misconfigured ? EXIT_MISCONFIGURED : EXIT_FAILED);
}
