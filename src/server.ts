/**
 * The composition root: opens every part in order and stops them in reverse. What a part needs it is given here; nothing but
 * settings.ts reads the environment.
 */
import { randomBytes } from 'node:crypto';

import type { Logger } from 'pino';

import type { Services } from './audit/act.ts';
import { openVault } from './audit/personal.ts';
import { openSealer } from './audit/seal.ts';
import { type DemoCredentials, seedDemo } from './demo.ts';
import { openFeed } from './feed/follow.ts';
import type { House } from './graphql/context.ts';
import { openSchema } from './graphql/schema.ts';
import { listen } from './http/listen.ts';
import { assertConfined } from './platform/confinement.ts';
import { deriveKey } from './platform/crypto.ts';
import { openDatabase } from './platform/db.ts';
import { openClock } from './platform/ids.ts';
import { openKeys } from './platform/keys.ts';
import { openMailer } from './platform/mail.ts';
import { migrate } from './platform/migrate.ts';
import { openPasswords } from './platform/passwords.ts';
import { startPostgres } from './platform/postgres.ts';
import type { Settings } from './platform/settings.ts';
import { openTokens } from './platform/tokens.ts';
import { createFirstAdministrator } from './users/bootstrap.ts';

/** The issuer and audience of access tokens where no PUBLIC_URL is set. */
const TOKEN_ISSUER = 'custos';
const EMBEDDED_DATABASE = 'custos';
const EMBEDDED_APP_USER = 'custos';

/** A running server. */
export interface Server {
  /** Where it listens, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  readonly house: House;
  /** The credentials of the first administrator, when this start made it with a generated password. */
  readonly firstAdministrator: { readonly email: string; readonly password: string } | undefined;
  /** The credentials of the demo tenants, when this start made them. */
  readonly demo: DemoCredentials | undefined;
  /** Drains and stops everything, the embedded database included. */
  stop(): Promise<void>;
}

/** Starts everything. What was started is stopped again when a later part fails. */
export async function startServer(settings: Settings, log: Logger): Promise<Server> {
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
    const { adminUrl, appUrl, appUser } = await databaseOf(settings, log, opened);
    await migrate({ adminUrl, appUser, now: clock.now() });
    const db = opened(openDatabase({ url: appUrl }));
    await assertConfined(db, settings);

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

    const firstAdministrator = await bootstrap(house, settings);
    const schema = openSchema();
    const demo = settings.demo ? await seedDemo(house, schema, keys) : undefined;
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
    return { url: listening.url, house, firstAdministrator, demo, stop };
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
      appUrl: settings.databaseUrl,
      appUser: decodeURIComponent(new URL(settings.databaseUrl).username),
    };
  }
  const embedded = opened(await startPostgres({ dataDir: settings.dataDir, log }));
  return {
    adminUrl: embedded.adminUrl(EMBEDDED_DATABASE),
    appUrl: embedded.appUrl(EMBEDDED_DATABASE),
    appUser: EMBEDDED_APP_USER,
  };
}

async function bootstrap(house: House, settings: Settings) {
  const generated = settings.bootstrapAdminPassword === undefined;
  const credentials = {
    email: settings.bootstrapAdminEmail,
    password: settings.bootstrapAdminPassword ?? randomBytes(12).toString('base64url'),
  };
  const made = await createFirstAdministrator(house, credentials);
  return made && generated ? credentials : undefined;
}
