import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';

import { assertConfined } from '../../src/platform/confinement.ts';
import { openLog } from '../../src/platform/log.ts';
import { SettingsError } from '../../src/platform/settings.ts';
import { startServer } from '../../src/server.ts';
import { type FreshDatabase, freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { world } from '../world/server.ts';

const PRODUCTION = { production: true };
const DEVELOPMENT = { production: false };

test('a login that is the application and nothing else is let in', async () => {
  const { database, login } = await open();
  await expect(confined(database, login)).resolves.toBeUndefined();
});

test('a superuser is refused, also one that says it is the application', async () => {
  const database = await freshDatabase();
  for (const mode of [PRODUCTION, DEVELOPMENT]) {
    const db = openDoor({ url: database.adminUrl });
    await expect(assertConfined(db, mode)).rejects.toThrow(SettingsError);
    await expect(assertConfined(db, mode)).rejects.toThrow(
      /^DATABASE_URL must .*"postgres"[^\n]*DATABASE_ADMIN_URL$/,
    );
  }
});

test('a login that row-level security does not bind is refused', async () => {
  const { database, login } = await open('bypassrls');
  for (const mode of [PRODUCTION, DEVELOPMENT]) {
    await expect(confined(database, login, mode)).rejects.toThrow(
      `"${login}" is a superuser or has BYPASSRLS, or may become such a role`,
    );
  }
});

test('a login that may become such a role is refused: whoever has its password needs one statement more', async () => {
  const { database, login } = await open();
  const strong = await role(database, 'nologin bypassrls');
  await database.admin`grant ${database.admin(strong)} to ${database.admin(login)}`;
  await expect(confined(database, login)).rejects.toThrow(SettingsError);
});

test('the role the application acts as is looked at, too', async () => {
  const { database, login } = await open();
  const strong = await role(database, 'nologin bypassrls');
  await database.admin`grant ${database.admin(strong)} to ${database.admin(login)}`;
  const db = openDoor({ url: urlOf(database, login), role: strong });
  await expect(assertConfined(db, DEVELOPMENT)).rejects.toThrow(SettingsError);
});

test('the owner of the tables is refused in production, itself or by membership, and let in elsewhere', async () => {
  const { database, login } = await open();
  const { admin } = database;
  const owner = await role(database, 'nologin');
  onTestFinished(async () => {
    await admin`alter table audit_logs owner to postgres`;
  });
  await admin`alter table audit_logs owner to ${admin(login)}`;
  await expect(confined(database, login)).rejects.toThrow(`"${login}" is or may become it`);
  await expect(confined(database, login, DEVELOPMENT)).resolves.toBeUndefined();

  await admin`alter table audit_logs owner to ${admin(owner)}`;
  await expect(confined(database, login)).resolves.toBeUndefined();
  await admin`grant ${admin(owner)} to ${admin(login)}`;
  await expect(confined(database, login)).rejects.toThrow(SettingsError);
});

test('a server does not start with a login that sees everything', async () => {
  const { settings, database } = await world();
  const log = openLog({ level: 'fatal' });
  const starting = startServer({ ...settings, databaseUrl: database.adminUrl }, log);
  await expect(starting).rejects.toThrow(/^DATABASE_URL must log in as a role that row-level security binds/);
});

/** Whether the server would start with that login. */
async function confined(database: FreshDatabase, login: string, mode = PRODUCTION): Promise<void> {
  await assertConfined(openDoor({ url: urlOf(database, login) }), mode);
}

function urlOf({ adminUrl }: FreshDatabase, login: string): string {
  return Object.assign(new URL(adminUrl), { username: login }).href;
}

/** A database, and a login of its own that may be the application. */
async function open(attributes = ''): Promise<{ database: FreshDatabase; login: string }> {
  const database = await freshDatabase();
  const login = await role(database, `login password 'test' in role custos_app ${attributes}`);
  return { database, login };
}

/** Makes a role for the length of the test. */
async function role({ admin }: FreshDatabase, attributes: string): Promise<string> {
  const name = `confinement_${randomBytes(6).toString('hex')}`;
  await admin.unsafe(`create role ${name} ${attributes}`);
  onTestFinished(async () => {
    await admin.unsafe(`drop owned by ${name}; drop role ${name}`);
  });
  return name;
}
