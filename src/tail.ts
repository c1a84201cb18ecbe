/**
 * `custos tail`: follows the log of a running server over its public API. Each record is printed once, in order, through lost
 * connections, restarts and sessions that end. With a cursor file that holds from run to run, `kill -9` included: a cursor is
 * kept once its record is printed, and before the next one is, so that at most the last record printed comes twice.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { WriteStream } from 'node:tty';

import type { Client } from '@custos/client';
import { AuditFeedDocument, AuditLogAppendedDocument, type RecordFragment } from '@custos/client/operations';
import { connected, type Credentials, isUnauthenticated, reasonOf } from './clientCommand.ts';
import { filterOf, type TailOptions } from './clientOptions.ts';
import { jsonLine, tableHead, tableRow } from './tailFormat.ts';

/** The token has expired, or the rights have changed: nothing is lost, the client goes on with a new token. */
const CLOSED_FORBIDDEN = 4403;

/** Follows until the signal, or until nobody reads any more. Throws what no new attempt can mend, in a sentence. */
export async function tail(options: TailOptions, signal: AbortSignal): Promise<void> {
  await connected(options, signal, async (client, credentials) => {
    try {
      await follow(client, { options, credentials, signal });
    } catch (cause) {
      if (!isBrokenPipe(cause)) throw cause;
    }
  });
}

interface Following {
  readonly options: TailOptions;
  readonly credentials: Credentials;
  readonly signal: AbortSignal;
}

async function follow(client: Client, { options, credentials, signal }: Following): Promise<void> {
  const { cursorFile, fromBeginning } = options;
  const filter = filterOf(options);
  const print = printer(options.format, process.stdout);
  let cursor = (cursorFile && cursorIn(cursorFile)) || options.after;
  let isLost = false;
  const onRetry = (cause: unknown) => {
    if (isLost || (cause as { code?: unknown }).code === CLOSED_FORBIDDEN) return;
    isLost = true;
    process.stderr.write(`custos: the connection is lost and will be tried again: ${reasonOf(cause)}\n`);
  };
  const step = async (next: string, record: RecordFragment | null | undefined) => {
    await print(next, record);
    if (cursorFile && next !== cursor) keep(cursorFile, next);
    cursor = next;
  };

  if (cursor === undefined && fromBeginning) {
    const { auditFeed } = await client.request(AuditFeedDocument, { first: 1, filter }, { signal });
    for (const { node } of auditFeed.edges) await step(auditFeed.nextCursor, node);
    cursor = auditFeed.nextCursor;
  }
  for (;;) {
    let hasBegun = false;
    try {
      const variables = { filter };
      for await (const { cursor: next, node } of client.tail(AuditLogAppendedDocument, {
        after: cursor,
        variables,
        signal,
        onRetry,
      })) {
        hasBegun = true;
        isLost = false;
        await step(next, node);
      }
      return;
    } catch (cause) {
      // A session that ends as soon as it begins would be begun for ever.
      if (!isUnauthenticated(cause) || !hasBegun || !('login' in credentials)) throw cause;
      await client.login(credentials.login, { signal });
    }
  }
}

/** Prints a record and resolves once the system has it; the titles of a table come first, as soon as it listens. */
function printer(format: TailOptions['format'], to: WriteStream) {
  // What a write fails of is told to its caller; without a listener the event ends the process.
  to.on('error', () => {});
  const write = (line: string) =>
    new Promise<void>((resolve, reject) => {
      to.write(`${line}\n`, (fault) => (fault ? reject(fault) : resolve()));
    });
  const isTable = (format ?? (to.isTTY ? 'table' : 'ndjson')) === 'table';
  // It knows of NO_COLOR, too.
  const colours = to.isTTY && to.hasColors();
  let isTitled = false;
  return async (cursor: string, record: RecordFragment | null | undefined) => {
    if (isTable && !isTitled) await write(tableHead());
    isTitled = true;
    if (record) await write(isTable ? tableRow(record, { colours }) : jsonLine(cursor, record));
  };
}

function cursorIn(file: string): string | undefined {
  let kept: string;
  try {
    kept = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
  // To begin anew for it would lose what nobody has seen.
  if (kept === '') throw new Error(`${file} holds no cursor: remove it to begin anew`);
  return kept;
}

/** The old cursor or the new one is there at any moment. */
function keep(file: string, cursor: string): void {
  writeFileSync(`${file}.tmp`, `${cursor}\n`);
  renameSync(`${file}.tmp`, file);
}

function isBrokenPipe(cause: unknown): boolean {
  return (cause as NodeJS.ErrnoException).code === 'EPIPE';
}
