import { availableParallelism } from 'node:os';
import path from 'node:path';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';

/** Everything the environment decides, read once at the start. An empty variable counts as unset. */
export type Settings = { readonly [Name in keyof typeof TABLE]: Value<(typeof TABLE)[Name]> } & {
  readonly demo: boolean;
  readonly introspection: 'PUBLIC' | 'SIGNED_IN' | 'OFF';
};

/** Thrown for a wrong environment. The message is one line which names each faulty variable and what it must be. */
export class SettingsError extends Error {
  override name = 'SettingsError';
}

/** Reads and checks the whole environment; all faults are reported at once. No message holds the value of a secret. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const production = env['NODE_ENV'] === 'production';
  const faults: string[] = [];

  const read = (row: Row): unknown => {
    // A secret is taken as it stands: spaces may belong to a password.
    const text = row.secret ? env[row.variable] : env[row.variable]?.trim();
    if (!text) {
      if (production && row.production) faults.push(`${mustBe(row)}, and set when NODE_ENV is production`);
      return row.fallback;
    }
    const parsed = row.schema.safeParse(text);
    if (!parsed.success) faults.push(row.secret ? mustBe(row) : `${mustBe(row)}, got ${shown(text)}`);
    return parsed.data;
  };
  const values: unknown = Object.fromEntries(
    Object.entries<Row>(TABLE).map(([name, row]) => [name, read(row)]),
  );
  const settings = values as Settings;

  if (settings.databaseAdminUrl !== undefined && settings.databaseUrl === undefined) {
    faults.push('DATABASE_ADMIN_URL must be left unset while DATABASE_URL is unset');
  }
  if (faults.length > 0) throw new SettingsError(faults.join('; '));
  return {
    ...settings,
    databaseAdminUrl: settings.databaseAdminUrl ?? settings.databaseUrl,
    demo: settings.demo ?? (settings.databaseUrl === undefined && !production),
    introspection: settings.introspection ?? (production ? 'SIGNED_IN' : 'PUBLIC'),
  };
}

/** The error for a variable whose value proves wrong only when it is used, such as a key of the wrong kind. */
export function settingFault(name: keyof Settings, why: string): SettingsError {
  return new SettingsError(`${mustBe(TABLE[name])}: ${why}`);
}

type Row<T = unknown, F = unknown> = {
  readonly variable: string;
  /** As the documentation shows it; `fallback` is the value itself. */
  readonly default: string;
  readonly meaning: string;
  /** Completes the sentence "VARIABLE must be ...". */
  readonly must: string;
  readonly schema: z.ZodType<T, string>;
  readonly fallback: F;
  /** Its value never shows in a message. */
  readonly secret?: true;
  /** NODE_ENV=production refuses to start without it. */
  readonly production?: true;
};
type Value<R> = R extends Row<infer T, infer F> ? T | F : never;

const row = <T, F>(facts: Row<T, F>) => facts;
const mustBe = ({ variable, must }: Row) => `${variable} must be ${must}`;
const shown = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);

const text = z.string();
const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number)
    .pipe(z.number().min(min).max(max));
const list = (item: z.ZodType<string, string>) =>
  text
    .transform((value) =>
      value
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
    )
    .pipe(z.array(item));
const url = (protocols: RegExp) => text.refine((value) => protocols.test(value) && URL.canParse(value));
const databaseUrl = url(/^postgres(ql)?:\/\//);
/** No credentials, query or fragment: paths are appended to it. */
const webUrl = url(/^https?:\/\/[^@?#]+$/).transform((value) => value.replace(/\/+$/, ''));
const origin = text.refine(
  (value) => /^https?:/.test(value) && URL.canParse(value) && new URL(value).origin === value,
);
/** One address counts as a range of one. Short and octal forms (`10`, `010.0.0.1`) mean different things to different readers. */
const range = text.transform((value, issues) => {
  const [address = '', bits] = value.split('/');
  const v4 = ipaddr.IPv4.isValidFourPartDecimal(address);
  const cidr = bits === undefined ? `${address}/${v4 ? 32 : 128}` : value;
  if ((v4 || address.includes(':')) && ipaddr.isValidCIDR(cidr)) return cidr;
  issues.addIssue({ code: 'custom', message: 'not a range' });
  return z.NEVER;
});
const key = (kind: string) => `${kind} as PEM text, or @ and the path of a PEM file`;

const TABLE = {
  production: row({
    variable: 'NODE_ENV',
    default: 'none',
    meaning: '`production` demands the keys and `PUBLIC_URL`, and makes no demo data',
    must: 'a word',
    schema: text.transform((value) => value === 'production'),
    fallback: false,
  }),
  port: row({
    variable: 'PORT',
    default: '4000',
    meaning: 'the port it listens on; 0 takes a free one',
    must: 'a whole number from 0 to 65535',
    schema: whole(0, 65_535),
    fallback: 4000,
  }),
  host: row({
    variable: 'HOST',
    default: '127.0.0.1',
    meaning: 'the address it listens on; `0.0.0.0` or `::` for every network',
    must: 'an IP address or a host name',
    schema: text.regex(/^[\w.:%-]+$/),
    fallback: '127.0.0.1',
  }),
  publicUrl: row({
    variable: 'PUBLIC_URL',
    default: 'where it listens',
    meaning: 'the address users reach it at: links in mail, token issuer',
    must: 'an http:// or https:// URL without credentials or query',
    schema: webUrl,
    fallback: undefined,
    production: true,
  }),
  databaseUrl: row({
    variable: 'DATABASE_URL',
    default: 'none: embedded',
    meaning: 'the connection of the application, to PostgreSQL >= 15.14; unset runs the embedded server',
    must: 'a postgres:// or postgresql:// URL',
    schema: databaseUrl,
    fallback: undefined,
    secret: true,
  }),
  databaseAdminUrl: row({
    variable: 'DATABASE_ADMIN_URL',
    default: '`DATABASE_URL`',
    meaning: 'the connection that migrates; it owns the tables',
    must: 'a postgres:// or postgresql:// URL',
    schema: databaseUrl,
    fallback: undefined,
    secret: true,
  }),
  dataDir: row({
    variable: 'CUSTOS_DATA_DIR',
    default: '`.custos`',
    meaning: 'embedded database, generated keys, local archive, mailbox of development',
    must: 'the path of a folder',
    schema: text.transform((value) => path.resolve(value)),
    fallback: path.resolve('.custos'),
  }),
  demo: row({
    variable: 'CUSTOS_DEMO',
    default: '`true` when embedded and empty',
    meaning: 'whether an empty database gets demo tenants and history',
    must: 'true or false',
    schema: z.enum(['true', 'false', '1', '0']).transform((value) => value === 'true' || value === '1'),
    fallback: undefined,
  }),
  bootstrapAdminEmail: row({
    variable: 'BOOTSTRAP_ADMIN_EMAIL',
    default: 'admin@custos.local',
    meaning: 'the first SUPER_ADMIN, made when there is none',
    must: 'an e-mail address',
    schema: z.email(),
    fallback: 'admin@custos.local',
  }),
  bootstrapAdminPassword: row({
    variable: 'BOOTSTRAP_ADMIN_PASSWORD',
    default: 'generated, printed once',
    meaning: 'the password of the first SUPER_ADMIN',
    must: 'a password of 8 to 128 characters',
    schema: text.min(8).max(128),
    fallback: undefined,
    secret: true,
  }),
  jwtPrivateKey: row({
    variable: 'JWT_PRIVATE_KEY',
    default: 'generated into the data folder',
    meaning: 'signs access tokens (ES256): PEM text, or `@/path/to/key.pem`; production demands it',
    must: key('a P-256 private key'),
    schema: text,
    fallback: undefined,
    secret: true,
    production: true,
  }),
  ledgerPrivateKey: row({
    variable: 'LEDGER_PRIVATE_KEY',
    default: 'generated into the data folder',
    meaning:
      'signs checkpoints of the log (Ed25519): PEM text, or `@/path/to/key.pem`; production demands it',
    must: key('an Ed25519 private key'),
    schema: text,
    fallback: undefined,
    secret: true,
    production: true,
  }),
  masterKey: row({
    variable: 'CUSTOS_MASTER_KEY',
    default: 'generated into the data folder',
    meaning:
      'wraps the keys of personal data, derives the password pepper and HMAC keys: 32 bytes in base64, ' +
      'or `@/path/to/file`; production demands it, and losing it loses the personal data',
    must: '32 bytes in base64 (openssl rand -base64 32), or @ and the path of a file that holds them',
    schema: text,
    fallback: undefined,
    secret: true,
    production: true,
  }),
  trustedProxies: row({
    variable: 'TRUSTED_PROXIES',
    default: 'empty',
    meaning: 'ranges whose forwarding headers are believed, separated by commas',
    must: 'a comma-separated list of IP ranges such as 10.0.0.0/8 or fd00::/8',
    schema: list(range),
    fallback: [],
  }),
  corsOrigins: row({
    variable: 'CORS_ORIGINS',
    default: 'empty: same origin only',
    meaning: 'web origins that may call it from a browser, separated by commas',
    must: 'a comma-separated list of origins such as https://app.example.com, without a path',
    schema: list(origin),
    fallback: [],
  }),
  eventBusUrl: row({
    variable: 'EVENT_BUS_URL',
    default: 'none: PostgreSQL',
    meaning: 'the NATS server that tells all processes of new records; worth it beyond some fifty of them',
    must: 'a nats:// or tls:// URL',
    schema: url(/^(nats|tls):\/\//),
    fallback: undefined,
    secret: true,
  }),
  smtpUrl: row({
    variable: 'SMTP_URL',
    default: 'none: files in the data folder',
    meaning: 'the server mail goes out by',
    must: 'an smtp:// or smtps:// URL',
    schema: url(/^smtps?:\/\//),
    fallback: undefined,
    secret: true,
  }),
  mailFrom: row({
    variable: 'MAIL_FROM',
    default: 'Custos <no-reply@custos.local>',
    meaning: 'the sender of mail',
    must: 'an e-mail address, or a name and <address>',
    schema: text.regex(/^([^<>\r\n]*<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/),
    fallback: 'Custos <no-reply@custos.local>',
  }),
  logLevel: row({
    variable: 'LOG_LEVEL',
    default: 'info',
    meaning: 'the least severe line that is logged',
    must: 'one of fatal, error, warn, info, debug, trace, silent',
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    fallback: 'info' as const,
  }),
  introspection: row({
    variable: 'INTROSPECTION',
    default: '`public`; `signed-in` in production',
    meaning:
      'who may see the schema through the API, and gets suggestions in errors: `public`, `signed-in` or `off`',
    must: 'public, signed-in or off',
    schema: z
      .enum(['public', 'signed-in', 'off'])
      .transform((value) => ({ public: 'PUBLIC', 'signed-in': 'SIGNED_IN', off: 'OFF' } as const)[value]),
    fallback: undefined,
  }),
  trustedDocuments: row({
    variable: 'TRUSTED_DOCUMENTS',
    default: 'any document',
    meaning:
      'the file of the operations that are carried out, by id, and no others (the explorer’s neither): as written by codegen’s client preset or Apollo’s manifest generator',
    must: 'the path of a manifest of documents by id, as JSON',
    schema: text,
    fallback: undefined,
  }),
  metricsToken: row({
    variable: 'METRICS_TOKEN',
    default: 'none: this machine only',
    meaning: 'who sends it as a bearer token may read `/metrics`',
    must: 'a secret of 32 to 256 characters (openssl rand -hex 32)',
    schema: text.regex(/^[\x21-\x7e]{32,256}$/),
    fallback: undefined,
    secret: true,
  }),
  auditLogRetentionDays: row({
    variable: 'AUDIT_LOG_RETENTION_DAYS',
    default: 'none: for ever',
    meaning:
      'for how many days logs are kept, of tenants for which nothing else was said (`setAuditRetention`)',
    must: 'a whole number from 30 to 36500',
    schema: whole(30, 36_500),
    fallback: undefined,
  }),
  auditArchive: row({
    variable: 'AUDIT_ARCHIVE',
    default: '`archive` in the data folder',
    meaning:
      'where months go before they are dropped: a folder, or the bucket of an S3-compatible store as `https://HOST/BUCKET/PREFIX`',
    must: 'the path of a folder, or an http(s):// URL with a bucket in its path',
    schema: text.refine((value) => !/^https?:/.test(value) || /^https?:\/\/[^/@?#]+\/[^?#]+$/.test(value)),
    fallback: undefined,
  }),
  auditArchiveAccessKeyId: row({
    variable: 'AUDIT_ARCHIVE_ACCESS_KEY_ID',
    default: 'none',
    meaning: 'the key id for that store',
    must: 'a text',
    schema: text,
    fallback: undefined,
    secret: true,
  }),
  auditArchiveSecretAccessKey: row({
    variable: 'AUDIT_ARCHIVE_SECRET_ACCESS_KEY',
    default: 'none',
    meaning: 'the secret for that store',
    must: 'a text',
    schema: text,
    fallback: undefined,
    secret: true,
  }),
  auditArchiveRegion: row({
    variable: 'AUDIT_ARCHIVE_REGION',
    default: '`us-east-1`',
    meaning: 'the region of that store',
    must: 'a word',
    schema: text,
    fallback: 'us-east-1',
  }),
  webhookAllowedTargets: row({
    variable: 'WEBHOOK_ALLOWED_TARGETS',
    default: 'empty: public addresses only',
    meaning: 'ranges of addresses that webhooks may reach although they are not public, also by http://',
    must: 'a comma-separated list of IP ranges such as 10.0.0.0/8 or fd00::/8',
    schema: list(range),
    fallback: [],
  }),
  geoipDatabase: row({
    variable: 'GEOIP_DATABASE',
    default: 'none: no travel is judged',
    meaning: 'where addresses are, so that sign-ins from two places faster than anybody travels are noticed',
    must: 'the path of a city database in the MaxMind DB format (.mmdb)',
    schema: text,
    fallback: undefined,
  }),
  passwordCost: row({
    variable: 'PASSWORD_COST',
    default: '12',
    meaning: 'bcrypt cost of new password hashes; each step doubles the time of a sign-in',
    must: 'a whole number from 10 to 15',
    schema: whole(10, 15),
    fallback: 12,
  }),
  passwordWorkers: row({
    variable: 'PASSWORD_WORKERS',
    default: 'one a core',
    meaning: 'threads that hash passwords',
    must: 'a whole number from 1 to 64',
    schema: whole(1, 64),
    fallback: Math.min(availableParallelism(), 64),
  }),
};

/** The rows of the documentation's table, in its order. */
export const SETTINGS_TABLE: readonly { variable: string; default: string; meaning: string }[] =
  Object.values<Row>(TABLE).map(({ variable, default: standard, meaning }) => ({
    variable,
    default: standard,
    meaning,
  }));
