/** What the server and the commands stand on: the migrated database behind its door, the keys, and the services of a deed. */
import type { Logger } from 'pino';

import type { Services } from './audit/act.ts';
import { openHeldBack } from './audit/heldBack.ts';
import { openMonths } from './audit/months.ts';
import { openVault } from './audit/personal.ts';
import { openReads } from './audit/reads.ts';
import { openSigner } from './audit/signer.ts';
import { assertConfinable, assertConfined } from './platform/confinement.ts';
import { deriveKey } from './platform/crypto.ts';
import { type Database, DatabaseError, openDatabase } from './platform/db.ts';
import { openClock } from './platform/ids.ts';
import { openJobs } from './platform/jobs.ts';
import { type Keys, openKeys } from './platform/keys.ts';
import { openMailer } from './platform/mail.ts';
import { assertKnownMigrations, migrate } from './platform/migrate.ts';
import { openPasswords } from './platform/passwords.ts';
import { openPlaces } from './platform/places.ts';
import { startPostgres } from './platform/postgres.ts';
import { type Settings, SettingsError } from './platform/settings.ts';
import { systemCode } from './platform/systemError.ts';
import { openTargets } from './platform/targets.ts';
import { type Limits, openThrottle } from './platform/throttle.ts';
import { openTokens } from './platform/tokens.ts';

/** The issuer and audience of access tokens where no PUBLIC_URL is set. */
const TOKEN_ISSUER = 'custos';
const EMBEDDED_DATABASE = 'custos';
const EMBEDDED_APP_USER = 'custos';

/** What has been opened, so that it is stopped again. */
export interface Parts {
  /** Notes a part, and gives it back. */
  readonly opened: <Part extends { stop(): Promise<void> }>(part: Part) => Part;
  /** Stops every part noted so far, the last one first. A part that fails to is logged, and the others stop. */
  readonly stop: () => Promise<void>;
}

/** Nothing opened yet. */
export function openParts(log: Logger): Parts {
  const stops: (() => Promise<void>)[] = [];
  return {
    opened(part) {
      stops.push(() => part.stop());
      return part;
    },
    async stop() {
      for (const each of stops.splice(0).toReversed()) {
        await each().catch((err: unknown) => log.error({ err }, 'a part did not stop cleanly'));
      }
    },
  };
}

export interface Foundation {
  readonly db: Database;
  readonly keys: Keys;
  readonly services: Services;
}

/** What tests set smaller or larger than it is; see platform/throttle.ts and audit/heldBack.ts. */
export interface ThrottleSizes {
  readonly limits?: Partial<Limits>;
  readonly singlyMax?: number;
  readonly intervalMs?: number;
}

export interface FoundationOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly parts: Parts;
  /** Calls it off between two steps. */
  readonly signal?: AbortSignal | undefined;
  readonly throttle?: ThrottleSizes | undefined;
  /** See MigrateOptions. */
  readonly since?: Date | undefined;
  /** Asked for at each link; see Services. */
  readonly publicUrl: () => string;
}

/** Opens the foundation, migrating the database. Rejects with a SettingsError when the environment is at fault. */
export async function openFoundation(options: FoundationOptions): Promise<Foundation> {
  const { settings, log, parts, signal, throttle, publicUrl } = options;
  const { opened } = parts;
  const keys = await openKeys(settings);
  const { appUrl } = await migratedDatabase(options);
  signal?.throwIfAborted();
  const db = opened(openDatabase({ url: appUrl }));
  await assertConfined(db, settings).catch(blame('DATABASE_URL'));

  const clock = openClock();
  const issuer = settings.publicUrl ?? TOKEN_ISSUER;
  const months = opened(await openMonths({ db, log }));
  const signer = await openSigner({ db, privateKey: keys.ledger, url: issuer });
  const keyFor = (purpose: string) => deriveKey(keys.master, `custos ${purpose}`);
  const services: Services = {
    clock,
    log,
    months,
    signer,
    vault: openVault(keys.master),
    throttle: opened(openThrottle({ db, log, limits: throttle?.limits })),
    heldBack: opened(openHeldBack({ clock, log, ...throttle })),
    passwords: opened(
      openPasswords({
        pepper: deriveKey(keys.master, 'custos password pepper'),
        cost: settings.passwordCost,
        workers: settings.passwordWorkers,
      }),
    ),
    jobs: opened(await openJobs({ db, log })),
    retentionDays: settings.auditLogRetentionDays,
    targets: opened(openTargets(settings.webhookAllowedTargets)),
    places: await openPlaces(settings.geoipDatabase),
    keyFor,
    reads: openReads({ db, clock, key: keyFor('audit reads') }),
    tokens: openTokens({ privateKey: keys.jwt, issuer, audience: issuer, now: () => clock.now() }),
    mailer: opened(
      openMailer({ smtpUrl: settings.smtpUrl, from: settings.mailFrom, dataDir: settings.dataDir, log }),
    ),
    get publicUrl() {
      return publicUrl();
    },
  };
  return { db, keys, services };
}

/** Starts or joins the embedded server where it is used, and migrates. `applied` names the migrations that were missing. */
export async function migratedDatabase({
  settings,
  log,
  parts,
  since,
}: Pick<FoundationOptions, 'settings' | 'log' | 'parts' | 'since'>): Promise<{
  appUrl: string;
  applied: string[];
}> {
  const { adminUrl, appUrl, appUser, adminVariable } = await databaseOf(settings, log, parts);
  const applied = await migrate({
    adminUrl,
    appUser,
    since,
    // A login that is refused leaves no table behind.
    before: (db) => assertConfinable(db, appUser, settings),
  }).catch(blame(adminVariable));
  return { appUrl, applied };
}

/** The database as it is: nothing is migrated, and nobody but the caller decides what is written. */
export async function databaseAsItIs({
  settings,
  log,
  parts,
}: Pick<FoundationOptions, 'settings' | 'log' | 'parts'>): Promise<Database> {
  const { appUrl } = await databaseOf(settings, log, parts);
  const db = parts.opened(openDatabase({ url: appUrl }));
  await db.withReadTx('PLATFORM', assertKnownMigrations).catch(blame('DATABASE_URL'));
  return db;
}

async function databaseOf(settings: Settings, log: Logger, { opened }: Parts) {
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
