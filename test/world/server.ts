/** A real server on a database of its own, in this process, and people who use it over HTTP. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

import { openLog } from '../../src/platform/log.ts';
import { readSettings, type Settings } from '../../src/platform/settings.ts';
import { type Server, type StartOptions, startServer } from '../../src/server.ts';
import { type FreshDatabase, freshDatabase } from './database.ts';

export const PASSWORD = 'correct horse battery';
const ADMIN_EMAIL = 'root@custos.example';

/** What came back of an operation. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into answers whose shape the test itself asked for
  readonly data: any;
  readonly errors: readonly {
    message: string;
    path?: readonly (string | number)[];
    extensions: Record<string, unknown>;
  }[];
  readonly requestId: string;
}

export interface Person {
  readonly id: string;
  readonly email: string;
  readonly tenantId: string | null;
  token: string;
  refreshToken: string;
  ask(operation: string, variables?: object, headers?: Record<string, string>): Promise<Answer>;
  /** `mutation { NAME(input: ...) { SELECTION receipts } }`; the answer's `data` is the payload. */
  do(mutation: string, input: object | undefined, selection?: string): Promise<Answer>;
}

export interface World {
  readonly server: Server;
  readonly url: string;
  readonly database: FreshDatabase;
  readonly settings: Settings;
  readonly dataDir: string;
  /** The lines logged so far, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** Nobody in particular. */
  readonly anybody: Pick<Person, 'ask' | 'do'>;
  /** The first super administrator, signed in. */
  root(): Promise<Person>;
  /** A new tenant with its administrator, who registered it. */
  tenant(name?: string): Promise<{ id: string; subdomain: string; admin: Person }>;
  /** A new user of a tenant, with PASSWORD, signed in. */
  user(admin: Person, role: string, tenantId?: string): Promise<Person>;
  signIn(email: string, password: string, tenant?: string): Promise<Answer>;
  /** Another process on the same database would look like this: a second server. */
  another(): Promise<Server>;
  stop(): Promise<void>;
}

const ENDLESS = { points: 1_000_000, duration: 1 };
/** Many tests fail to sign in more often than anybody may. */
export const UNTHROTTLED: StartOptions['throttle'] = {
  limits: { pair: ENDLESS, address: ENDLESS, account: ENDLESS, everywhere: ENDLESS },
};

/** Starts a server; it stops when the test ends. `env` as the environment has it; `throttle` {} for the limits there are. */
export async function world(
  env: Record<string, string> = {},
  throttle: StartOptions['throttle'] = UNTHROTTLED,
): Promise<World> {
  const database = await freshDatabase();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'custos-world-'));
  await database.admin.unsafe(LOGIN_ROLE);
  const databaseUrl = new URL(database.adminUrl);
  databaseUrl.username = 'world_login';
  const settings: Settings = {
    ...readSettings({
      PORT: '0',
      DATABASE_URL: databaseUrl.href,
      DATABASE_ADMIN_URL: database.adminUrl,
      CUSTOS_DATA_DIR: dataDir,
      BOOTSTRAP_ADMIN_EMAIL: ADMIN_EMAIL,
      BOOTSTRAP_ADMIN_PASSWORD: PASSWORD,
      PUBLIC_URL: 'http://custos.test',
      LOG_LEVEL: 'debug',
      // Where webhooks of tests go, and no further: see receiver.ts.
      WEBHOOK_ALLOWED_TARGETS: '127.0.0.1',
      ...env,
    }),
    // The least that bcrypt has: thousands of sign-ins in a run.
    passwordCost: 4,
    passwordWorkers: 1,
  };
  const lines: Record<string, unknown>[] = [];
  const log = openLog({
    level: settings.logLevel,
    to: { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const server = await startServer(settings, log, { throttle });
  const others: Server[] = [];
  const stop = async () => {
    for (const each of [...others.splice(0), server]) await each.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  onTestFinished(stop);

  const speaker = (token: () => string | undefined) => ({
    ask: (operation: string, variables: object = {}, headers: Record<string, string> = {}) =>
      post(server.url, { query: operation, variables }, { ...bearer(token()), ...headers }),
    async do(mutation: string, input: object | undefined, selection = '') {
      const type = `${mutation[0]!.toUpperCase()}${mutation.slice(1)}Input`;
      const operation = input
        ? `mutation Do($input: ${type}!) { ${mutation}(input: $input) { ${selection} receipts { id action } } }`
        : `mutation Do { ${mutation} { ${selection} receipts { id action } } }`;
      const answer = await this.ask(operation, { input });
      return { ...answer, data: answer.data?.[mutation] ?? null };
    },
  });
  const anybody = speaker(() => undefined);

  const signIn = (email: string, password: string, tenant?: string) =>
    anybody.do('login', { email, password, tenant }, SIGNED_IN);
  const personOf = (answer: Answer): Person => {
    if (answer.data === null) throw new Error(`Nobody signed in: ${JSON.stringify(answer.errors)}`);
    const { accessToken, refreshToken, user } = answer.data;
    const person: Person = { ...user, token: accessToken, refreshToken, ...speaker(() => person.token) };
    return person;
  };

  return {
    server,
    url: server.url,
    database,
    settings,
    dataDir,
    log: lines,
    anybody,
    signIn,
    root: async () =>
      personOf(await signIn(settings.bootstrapAdminEmail, settings.bootstrapAdminPassword ?? PASSWORD)),
    async tenant(name = 'Acme') {
      const subdomain = `t-${randomUUID().slice(0, 13)}`;
      const email = `admin@${subdomain}.example`;
      const input = { tenantName: name, subdomain, email, password: PASSWORD, fullName: `Admin of ${name}` };
      const admin = personOf(await anybody.do('register', input, SIGNED_IN));
      return { id: admin.tenantId!, subdomain, admin };
    },
    async user(admin, role, tenantId) {
      const email = `${role.toLowerCase()}-${randomUUID().slice(0, 8)}@people.example`;
      const input = { email, fullName: `A ${role}`, role, ...(tenantId ? { tenantId } : {}) };
      const created = await admin.do('createUser', input, 'user { id }');
      if (!created.data) throw new Error(`No user: ${JSON.stringify(created.errors)}`);
      await setPassword(server, database, created.data.user.id as string);
      return personOf(await signIn(email, PASSWORD));
    },
    async another() {
      const other = await startServer(settings, log, { throttle });
      others.push(other);
      return other;
    },
    stop,
  };
}

const SIGNED_IN = 'accessToken refreshToken expiresAt user { id email tenantId }';

/** Databases come and go, the roles of the cluster stay. */
export const LOGIN_ROLE = `do $$ begin
  create role world_login login password 'test';
exception when duplicate_object or unique_violation then null; end $$`;

/** As if the user had used the link in the mail; the link itself is tested where it is the subject. */
async function setPassword({ house }: Server, { admin }: FreshDatabase, userId: string): Promise<void> {
  const hash = await house.services.passwords.hash(PASSWORD);
  await admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update users set password_hash = ${hash} where id = ${userId}`;
  });
}

/** Sends an operation. */
export async function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  const { data = null, errors = [], extensions } = (await response.json()) as Record<string, never>;
  return {
    status: response.status,
    headers: response.headers,
    data,
    errors,
    requestId: (extensions as { requestId?: string } | undefined)?.requestId ?? '',
  };
}

/** The header that says who asks. */
export function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}
