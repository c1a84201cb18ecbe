import path from 'node:path';
import { expect, test } from 'vitest';
import { readSettings, SETTINGS_TABLE, SettingsError } from '../../src/platform/settings.ts';

const PRODUCTION = {
  NODE_ENV: 'production',
  JWT_PRIVATE_KEY: '@/run/secrets/jwt.pem',
  LEDGER_PRIVATE_KEY: '@/run/secrets/ledger.pem',
  CUSTOS_MASTER_KEY: '@/run/secrets/master',
  PUBLIC_URL: 'https://custos.example.com',
};

test('an empty environment is enough to start', () => {
  expect(readSettings({})).toMatchObject({
    production: false,
    port: 4000,
    host: '127.0.0.1',
    publicUrl: undefined,
    databaseUrl: undefined,
    databaseAdminUrl: undefined,
    dataDir: path.resolve('.custos'),
    demo: true,
    bootstrapAdminEmail: 'admin@custos.local',
    trustedProxies: [],
    corsOrigins: [],
    logLevel: 'info',
    passwordCost: 12,
  });
  expect(readSettings({}).passwordWorkers).toBeGreaterThanOrEqual(1);
});

test('an empty variable counts as unset', () => {
  const empty = Object.fromEntries(SETTINGS_TABLE.map(({ variable }) => [variable, '']));

  expect(readSettings(empty)).toEqual(readSettings({}));
});

test.each([
  ['PORT', 'abc', 'PORT must be a whole number from 0 to 65535, got "abc"'],
  ['PORT', '65536', 'PORT must be a whole number from 0 to 65535, got "65536"'],
  ['PORT', '-1', 'PORT must be a whole number from 0 to 65535, got "-1"'],
  ['PORT', '1e3', 'PORT must be a whole number from 0 to 65535, got "1e3"'],
  ['HOST', 'a b', 'HOST must be an IP address or a host name, got "a b"'],
  ['PASSWORD_COST', '9', 'PASSWORD_COST must be a whole number from 10 to 15, got "9"'],
  ['PASSWORD_COST', '16', 'PASSWORD_COST must be a whole number from 10 to 15, got "16"'],
  ['PASSWORD_WORKERS', '0', 'PASSWORD_WORKERS must be a whole number from 1 to 64, got "0"'],
  ['CUSTOS_DEMO', 'yes', 'CUSTOS_DEMO must be true or false, got "yes"'],
  [
    'LOG_LEVEL',
    'loud',
    'LOG_LEVEL must be one of fatal, error, warn, info, debug, trace, silent, got "loud"',
  ],
  ['PUBLIC_URL', 'custos.example.com', /^PUBLIC_URL must be an http:\/\/ or https:\/\/ URL/],
  ['PUBLIC_URL', 'https://a:b@example.com', /^PUBLIC_URL must be .* without credentials/],
  ['BOOTSTRAP_ADMIN_EMAIL', 'root', 'BOOTSTRAP_ADMIN_EMAIL must be an e-mail address, got "root"'],
  ['MAIL_FROM', 'Custos <x@y>\nBcc: z@y', /^MAIL_FROM must be an e-mail address/],
])('%s=%j is refused in one line that says what it must be', (variable, value, message) => {
  const fault = faultOf({ [variable]: value });

  expect(fault.message).toMatch(message);
  expect(fault.message).not.toContain('\n');
});

test.each([
  '10',
  '10.0.0.0/33',
  '010.0.0.1',
  'localhost',
  '10.0.0.0/',
  '::1/129',
  '10.0.0.0/8;1.1.1.1',
  '/8',
])('TRUSTED_PROXIES does not take %j for a range', (value) => {
  expect(faultOf({ TRUSTED_PROXIES: `127.0.0.1/32, ${value}` }).message).toMatch(
    /^TRUSTED_PROXIES must be a comma-separated list of IP ranges/,
  );
});

test('trusted proxies are ranges, and a single address is a range of one', () => {
  const { trustedProxies } = readSettings({ TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.1 ,fd00::/8,::1,' });

  expect(trustedProxies).toEqual(['10.0.0.0/8', '192.0.2.1/32', 'fd00::/8', '::1/128']);
});

test.each(['*', 'example.com', 'https://example.com/', 'https://example.com/app', 'ftp://example.com'])(
  'CORS_ORIGINS does not take %j for an origin',
  (value) => {
    expect(faultOf({ CORS_ORIGINS: value }).message).toMatch(/^CORS_ORIGINS must be/);
  },
);

test('origins and the public address are taken as browsers write them', () => {
  const settings = readSettings({
    CORS_ORIGINS: 'https://app.example.com,http://localhost:3000',
    PUBLIC_URL: 'https://example.com/custos/',
  });

  expect(settings.corsOrigins).toEqual(['https://app.example.com', 'http://localhost:3000']);
  expect(settings.publicUrl).toBe('https://example.com/custos');
});

test.each([
  ['DATABASE_URL', 'mysql://custos:canary@db/custos'],
  ['DATABASE_ADMIN_URL', 'canary'],
  ['SMTP_URL', 'https://user:canary@mail'],
  ['BOOTSTRAP_ADMIN_PASSWORD', 'canary'],
])('a wrong %s is named and not shown', (variable, value) => {
  const { message } = faultOf({ [variable]: value });

  expect(message).toMatch(new RegExp(`^${variable} must be`));
  expect(message).not.toContain('canary');
});

test('all faults are told at once', () => {
  expect(faultOf({ PORT: 'x', LOG_LEVEL: 'y' }).message).toMatch(/^PORT must be .*; LOG_LEVEL must be /);
});

test.each(['JWT_PRIVATE_KEY', 'LEDGER_PRIVATE_KEY', 'CUSTOS_MASTER_KEY', 'PUBLIC_URL'])(
  'production does not start without %s',
  (variable) => {
    expect(readSettings(PRODUCTION).production).toBe(true);
    expect(faultOf({ ...PRODUCTION, [variable]: '' }).message).toMatch(
      new RegExp(`^${variable} must be .*, and set when NODE_ENV is production$`),
    );
  },
);

test('demo data is made in the embedded database only, unless it is asked for', () => {
  const DATABASE_URL = 'postgres://custos@db/custos';

  expect(readSettings({ DATABASE_URL }).demo).toBe(false);
  expect(readSettings(PRODUCTION).demo).toBe(false);
  expect(readSettings({ CUSTOS_DEMO: 'false' }).demo).toBe(false);
  expect(readSettings({ DATABASE_URL, CUSTOS_DEMO: 'true' }).demo).toBe(true);
});

test('migrations use the connection of the application unless they have one of their own', () => {
  const DATABASE_URL = 'postgresql://custos@db:5432/custos';
  const DATABASE_ADMIN_URL = 'postgres://owner@db/custos';

  expect(readSettings({ DATABASE_URL }).databaseAdminUrl).toBe(DATABASE_URL);
  expect(readSettings({ DATABASE_URL, DATABASE_ADMIN_URL }).databaseAdminUrl).toBe(DATABASE_ADMIN_URL);
  expect(faultOf({ DATABASE_ADMIN_URL }).message).toMatch(/^DATABASE_ADMIN_URL must be left unset/);
});

test('spaces belong to a password and to nothing else', () => {
  const settings = readSettings({ BOOTSTRAP_ADMIN_PASSWORD: ' correct horse ', PORT: ' 80 ' });

  expect(settings.bootstrapAdminPassword).toBe(' correct horse ');
  expect(settings.port).toBe(80);
});

test('each variable is documented once', () => {
  const variables = SETTINGS_TABLE.map(({ variable }) => variable);

  expect(new Set(variables).size).toBe(variables.length);
  for (const row of SETTINGS_TABLE) expect(row.meaning).not.toMatch(/[|\n]/);
});

function faultOf(env: NodeJS.ProcessEnv): SettingsError {
  try {
    readSettings(env);
  } catch (error) {
    if (error instanceof SettingsError) return error;
  }
  throw new Error('The settings were taken');
}
