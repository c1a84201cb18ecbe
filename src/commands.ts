/** What the command line does: each opens the parts it needs, beside running servers or without any, and closes them again. */
import { sql } from 'drizzle-orm';
import type { Logger } from 'pino';

import { PLATFORM_TENANT } from './audit/tables.ts';
import { type DemoCredentials, seedDemo } from './demo.ts';
import { type LogOptions, type LogProgress, type SeededLog, makeLog } from './demoLog.ts';
import { openFeed } from './feed/follow.ts';
import { newPassword, oneAtATime } from './firstStart.ts';
import {
  type Foundation,
  type FoundationOptions,
  migratedDatabase,
  openFoundation,
  openParts,
  type Parts,
} from './foundation.ts';
import { openSchema } from './graphql/schema.ts';
import type { Database } from './platform/db.ts';
import { Refusal } from './platform/refusal.ts';
import type { Settings } from './platform/settings.ts';
import { createAdministrator } from './users/bootstrap.ts';

const DAY_MS = 86_400_000;

/** What a command works with. */
export interface Command {
  readonly settings: Settings;
  readonly log: Logger;
  /** Calls it off. */
  readonly signal: AbortSignal;
}

/** Migrates the database; returns the names of the migrations it lacked. */
export async function migrate({ settings, log }: Command): Promise<string[]> {
  return await withParts(log, async (parts) => (await migratedDatabase({ settings, log, parts })).applied);
}

export interface Administrator {
  readonly email: string;
  readonly name?: string | undefined;
  /** Made up when it is not given. */
  readonly password?: string | undefined;
}

/** Makes a super administrator, on record as the system's deed; returns the password it has made up. */
export async function createAdmin(
  command: Command,
  { email, name, password: given }: Administrator,
): Promise<string | undefined> {
  return await withFoundation(command, async (recorder) => {
    const password = given ?? newPassword();
    try {
      await createAdministrator(recorder, { email, password, fullName: name, by: 'command' });
    } catch (cause) {
      throw cause instanceof Refusal ? new Error(sentenceOf(cause, email)) : cause;
    }
    return given === undefined ? password : undefined;
  });
}

function sentenceOf({ reason, message, fields }: Refusal, email: string): string {
  if (reason === 'EMAIL_TAKEN') return `a super administrator with the e-mail ${email} exists already`;
  const faults = Object.entries(fields ?? {}).map(([field, fault]) => `${field}: ${fault}`);
  return faults.length > 0 ? faults.join('; ') : message;
}

/** Makes the demo data. Refused where there is a tenant: nobody's tenants get made-up neighbours. */
export async function seed(command: Command, onProgress?: (done: number) => void): Promise<DemoCredentials> {
  const { log, signal } = command;
  return await withFoundation(command, async ({ keys, ...recorder }, parts) => {
    const { db } = recorder;
    const feed = parts.opened(openFeed({ db, log }));
    const house = { ...recorder, feed, sealerLagMs: () => 0 };
    return await oneAtATime(db, async () => {
      await assertEmpty(db);
      return await seedDemo({ house, schema: openSchema(), keys, signal, onProgress });
    });
  });
}

/** How long a log is to be made, over how many days before which moment (microseconds since 1970). */
export type LogSize = Pick<LogOptions, 'records' | 'days' | 'until'>;

/** Makes tenants with a log of that many records, sealed and signed. Refused where there is a tenant, as is `seed`. */
export async function seedLog(
  command: Command,
  size: LogSize,
  onProgress?: (progress: LogProgress) => void,
): Promise<SeededLog> {
  const { signal } = command;
  const since = new Date(Number(size.until / 1_000n) - size.days * DAY_MS);
  return await withFoundation({ ...command, since }, async ({ db, services }) => {
    await assertEmpty(db);
    return await makeLog({ ...size, db, services, password: newPassword(), signal, onProgress });
  });
}

async function assertEmpty(db: Database): Promise<void> {
  const [found] = await db.withReadTx('PLATFORM', (tx) =>
    tx.execute<{ tenants: number; records: boolean }>(sql`
      select (select count(*) from tenants)::int as tenants,
        exists (select from audit_logs where tenant_id <> ${PLATFORM_TENANT}) as records`),
  );
  const { tenants, records } = found!;
  if (tenants === 0 && !records) return;
  const holds = tenants > 0 ? `${tenants} tenants` : 'a part of a log whose making was called off';
  throw new Error(`the database is not empty, it holds ${holds}: seed an empty one`);
}

/** What is recorded meanwhile is sealed by a server, now or when one starts. */
async function withFoundation<T>(
  { settings, log, signal, since }: Command & Pick<FoundationOptions, 'since'>,
  work: (recorder: Foundation & { readonly recorded: () => void }, parts: Parts) => Promise<T>,
): Promise<T> {
  return await withParts(log, async (parts) => {
    const publicUrl = () => settings.publicUrl ?? `http://localhost:${settings.port}`;
    const foundation = await openFoundation({ settings, log, parts, signal, publicUrl, since });
    return await work({ ...foundation, recorded: () => {} }, parts);
  });
}

async function withParts<T>(log: Logger, work: (parts: Parts) => Promise<T>): Promise<T> {
  const parts = openParts(log);
  try {
    return await work(parts);
  } finally {
    await parts.stop();
  }
}
