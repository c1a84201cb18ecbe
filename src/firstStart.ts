import { randomBytes } from 'node:crypto';

import { sql } from 'drizzle-orm';
import type { GraphQLSchema } from 'graphql';

import { type DemoCredentials, seedDemo } from './demo.ts';
import type { House } from './graphql/context.ts';
import type { Database } from './platform/db.ts';
import type { Keys } from './platform/keys.ts';
import type { Settings } from './platform/settings.ts';
import { createAdministrator, hasAdministrator } from './users/bootstrap.ts';

const PASSWORD_BYTES = 12;
/** What other processes wait for at most, while the first one seeds. */
const FIRST_START_MS = 10 * 60_000;

/** What the first start of a database has to tell, once. */
export interface FirstStart {
  /** Undefined when the password was given, so that whoever started it knows it. */
  readonly administrator: { readonly email: string; readonly password: string } | undefined;
  readonly demo: DemoCredentials | undefined;
}

export interface FirstStartOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly keys: Keys;
  readonly settings: Settings;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Makes the demo data, if wished for, and then the first administrator of a database that has none; of several processes
 * one does. The administrator comes last and says that all is there: a first start that was interrupted is taken up again.
 */
export async function firstStart(options: FirstStartOptions): Promise<FirstStart | undefined> {
  const { db } = options.house;
  if (await hasAdministrator(db)) return undefined;
  // Asked again: another process may have been first while this one waited.
  return await oneAtATime(db, async () => ((await hasAdministrator(db)) ? undefined : await begin(options)));
}

/** Furnishes the database, while no other process does. */
export async function oneAtATime<T>(db: Database, furnish: () => Promise<T>): Promise<T> {
  return await db.withReadTx(
    'PLATFORM',
    async (tx) => {
      await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('custos first start', 0))`);
      return await furnish();
    },
    { deadlineMs: FIRST_START_MS },
  );
}

async function begin({ settings, ...options }: FirstStartOptions): Promise<FirstStart> {
  const demo = settings.demo ? await seedDemo(options) : undefined;
  const { bootstrapAdminEmail: email, bootstrapAdminPassword: given } = settings;
  const password = given ?? newPassword();
  await createAdministrator(options.house, { email, password, by: 'bootstrap' });
  return { administrator: given === undefined ? { email, password } : undefined, demo };
}

/** A password to be shown once. */
export function newPassword(): string {
  return randomBytes(PASSWORD_BYTES).toString('base64url');
}
