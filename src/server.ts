/**
 * The composition root: opens every part in order and stops them in reverse. What a part needs it is given here; nothing but
 * settings.ts reads the environment.
 */
import type { Logger } from 'pino';

import type { Services } from './audit/act.ts';
import { openVault } from './audit/personal.ts';
import { openSealer } from './audit/seal.ts';
import { openFeed } from './feed/follow.ts';
import { type FirstStart, firstStart } from './firstStart.ts';
import type { House } from './graphql/context.ts';
import { openSchema } from './graphql/schema.ts';
import { listen } from './http/listen.ts';
import { assertConfined } from './platform/confinement.ts';
import { deriveKey } from './platform/crypto.ts';
import { DatabaseError, openDatabase } from './platform/db.ts';
import { openClock } from './platform/ids.ts';
import { openKeys } from './platform/keys.ts';
import { openMailer } from './platform/mail.ts';
import { migrate } from './platform/migrate.ts';
import { openPasswords } from './platform/passwords.ts';
import { startPostgres } from './platform/postgres.ts';
import { type Settings, SettingsError } from './platform/settings.ts';
import { systemCode } from './platform/systemError.ts';
import { openTokens } from './platform/tokens.ts';

/** The issuer and audience of access tokens where no PUBLIC_URL is set. */
const TOKEN_ISSUER = 'custos';
const EMBEDDED_DATABASE = 'custos';
const EMBEDDED_APP_USER = 'custos';

/** A running server. */
export interface Server {
  /** Where it listens, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  readonly house: House;
  /** What the first start of a database made; undefined at every later one. */
  readonly firstStart: FirstStart | undefined;
  /** Drains and stops everything, the embedded database included. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Calls the start off, which then rejects. */
  readonly signal?: AbortSignal | undefined;
  /** Told how much of the demo data is made, from 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/**
 * Starts everything. What was started is stopped again when a later part fails. Rejects with a SettingsError when the
 * environment is at fault.
 */
export async function startServer(
  settings: Settings,
  log: Logger,
  { signal, onProgress }: StartOptions = {},
): Promise<Server> {
  const stops: (() => Promise<void>)[] = [];
  const opened = <Part extends { stop(): Promise<void> }>(part: Part): Part => {
    stops.push(() => part.stop());
    return part;
  };
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) {
      await each().catch((err: unknown) => log.error({ err }, 'a part did not stop cleanly'));
    }
  };

  try {
    const clock = openClock();
    const keys = await openKeys(settings);
    const { adminUrl, appUrl, appUser, adminVariable } = await databaseOf(settings, log, opened);
    await migrate({ adminUrl, appUser, now: clock.now() }).catch(blame(adminVariable));
    signal?.throwIfAborted();
    const db = opened(openDatabase({ url: appUrl }));
    await assertConfined(db, settings).catch(blame('DATABASE_URL'));

    // Without PUBLIC_URL it is known when the server listens; tokens must not depend on a port that changes.
    let publicUrl = settings.publicUrl ?? `http://localhost:${settings.port}`;
    const issuer = settings.publicUrl ?? TOKEN_ISSUER;
    const services: Services = {
      clock,
      log,
      vault: openVault(keys.master),
      passwords: opened(
        openPasswords({
          pepper: deriveKey(keys.master, 'custos password pepper'),
          cost: settings.passwordCost,
          workers: settings.passwordWorkers,
        }),
      ),
      tokens: openTokens({ privateKey: keys.jwt, issuer, audience: issuer, now: () => clock.now() }),
      mailer: opened(
        openMailer({ smtpUrl: settings.smtpUrl, from: settings.mailFrom, dataDir: settings.dataDir, log }),
      ),
      get publicUrl() {
        return publicUrl;
      },
    };
    const sealer = opened(openSealer({ db, clock, log }));
    const feed = opened(openFeed({ db, log }));
    const house: House = { db, services, feed, recorded: () => sealer.nudge() };

    const schema = openSchema();
    // Before the first start makes anything: where it cannot listen, it has nothing to tell and nobody to tell it to.
    const listening = opened(
      await listen({
        house,
        schema,
        host: settings.host,
        port: settings.port,
        trustedProxies: settings.trustedProxies,
      }),
    );
    publicUrl = settings.publicUrl ?? listening.url;
    const first = await firstStart({ house, schema, keys, settings, signal, onProgress });
    signal?.throwIfAborted();
    return { url: listening.url, house, firstStart: first, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

async function databaseOf(
  settings: Settings,
  log: Logger,
  opened: <Part extends { stop(): Promise<void> }>(part: Part) => Part,
) {
  if (settings.databaseUrl !== undefined) {
    const adminUrl = settings.databaseAdminUrl ?? settings.databaseUrl;
    return {
      adminUrl,
      adminVariable: adminUrl === settings.databaseUrl ? 'DATABASE_URL' : 'DATABASE_ADMIN_URL',
      appUrl: settings.databaseUrl,
      appUser: decodeURIComponent(new URL(settings.databaseUrl).username),
    };
  }
  const embedded = opened(await startPostgres({ dataDir: settings.dataDir, log }));
  return {
    adminUrl: embedded.adminUrl(EMBEDDED_DATABASE),
    adminVariable: 'CUSTOS_DATA_DIR',
    appUrl: embedded.appUrl(EMBEDDED_DATABASE),
    appUser: EMBEDDED_APP_USER,
  };
}

/** Rethrows what keeps the database from being reached or migrated as a fault of the variable that leads there. */
function blame(variable: string) {
  return (thrown: unknown): never => {
    // Drizzle wraps what the driver throws, with the statement in its message.
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const code = cause instanceof DatabaseError ? cause.sqlstate : (systemCode(cause) ?? '');
    const why = cause instanceof Error && cause.message ? cause.message : code;
    if (/^(E[A-Z]+|CONNECT_TIMEOUT|CONNECTION_\w+|28\w{3}|3D000)$/.test(code)) {
      throw new SettingsError(`${variable} must lead to a PostgreSQL server that lets Custos in: ${why}`);
    }
    if (code === '42501') {
      const able = 'may make roles and tables, or owns those there are';
      throw new SettingsError(`DATABASE_ADMIN_URL must log in as a role that ${able}: ${why}`);
    }
    throw thrown;
  };
}
