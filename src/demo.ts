/**
 * Demo data: three tenants and thirty days of their history, made by the same schema, deeds and database that serve clients.
 * Only the clock is another one, passwords are hashed at the least cost (the next sign-in rehashes them), and mail is read
 * instead of sent.
 */
import { randomBytes, type KeyObject } from 'node:crypto';

import { type DocumentNode, execute, type ExecutionResult, type GraphQLSchema, parse } from 'graphql';

import type { RequestFacts, Services } from './audit/act.ts';
import { actorOf } from './auth/principal.ts';
import { type House, openContext } from './graphql/context.ts';
import { deriveKey } from './platform/crypto.ts';
import type { Clock } from './platform/ids.ts';
import type { Keys } from './platform/keys.ts';
import { openPasswords, type Passwords } from './platform/passwords.ts';
import { openTokens } from './platform/tokens.ts';
import { tenants } from './tenants/tables.ts';

const DAYS = 30;
const DAY_MICROS = 86_400_000_000n;
const MINUTE_MICROS = 60_000_000n;
const LEAST_COST = 4;

interface Company {
  readonly name: string;
  readonly subdomain: string;
  /** The first registers the tenant and administers it. */
  readonly staff: readonly (readonly [fullName: string, role: string])[];
  readonly network: string;
}

const COMPANIES: readonly Company[] = [
  {
    name: 'Acme Robotics',
    subdomain: 'acme',
    network: '203.0.113',
    staff: [
      ['Anna Berg', 'TENANT_ADMIN'],
      ['Bruno Costa', 'TENANT_ADMIN'],
      ['Chiara Donati', 'AUDITOR'],
      ['Deniz Erdem', 'BRANCH_MANAGER'],
      ['Elif Fuchs', 'MEMBER'],
      ['Farid Gül', 'MEMBER'],
      ['Greta Holm', 'MEMBER'],
      ['Hugo Ivanov', 'MEMBER'],
      ['Ines Jansen', 'MEMBER'],
    ],
  },
  {
    name: 'Globex Health',
    subdomain: 'globex',
    network: '198.51.100',
    staff: [
      ['Jonas Keller', 'TENANT_ADMIN'],
      ['Kira Lindqvist', 'AUDITOR'],
      ['Luca Moretti', 'BRANCH_MANAGER'],
      ['Mona Nagy', 'MEMBER'],
      ['Nils Olsen', 'MEMBER'],
      ['Olga Petrova', 'MEMBER'],
      ['Pablo Quiroga', 'MEMBER'],
      ['Rosa Santos', 'MEMBER'],
    ],
  },
  {
    name: 'Initech Logistics',
    subdomain: 'initech',
    network: '192.0.2',
    staff: [
      ['Selma Toth', 'TENANT_ADMIN'],
      ['Tariq Usman', 'AUDITOR'],
      ['Ulla Virtanen', 'MEMBER'],
      ['Victor Weiss', 'MEMBER'],
      ['Wanda Xu', 'MEMBER'],
      ['Yusuf Zaman', 'MEMBER'],
      ['Zoe Adler', 'MEMBER'],
      ['Adam Brandt', 'MEMBER'],
    ],
  },
];

const AGENTS = [
  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
];
const INTRUDER = { ipAddress: '45.155.205.17', userAgent: 'python-requests/2.32.5' };

/** Credentials for the demo tenants. */
export interface DemoCredentials {
  readonly emails: readonly string[];
  readonly password: string;
}

/** Makes the demo data if there is no tenant yet. Takes some ten seconds. */
export async function seedDemo(
  house: House,
  schema: GraphQLSchema,
  keys: Keys,
): Promise<DemoCredentials | undefined> {
  const existing = await house.db.withReadTx('PLATFORM', (tx) =>
    tx.select({ id: tenants.id }).from(tenants).limit(1),
  );
  if (existing.length > 0) return undefined;
  const passwords = openPasswords({
    pepper: deriveKey(keys.master, 'custos password pepper'),
    cost: LEAST_COST,
  });
  const password = randomBytes(9).toString('base64url');
  try {
    await Promise.all(
      COMPANIES.map((company, at) =>
        live(openStage(house, schema, keys.jwt, passwords, at), company, password),
      ),
    );
  } finally {
    await passwords.stop();
  }
  return { emails: COMPANIES.map((company) => emailOf(company.staff[0]![0], company)), password };
}

type Mail = Parameters<Services['mailer']['send']>[0];

/** Where one company's history is played: its clock, its chance, its mailbox. */
interface Stage {
  readonly clock: { now(): bigint; at(micros: bigint): void };
  readonly chance: () => number;
  readonly mailbox: Mail[];
  play(operation: DocumentNode, variables: object, by: Player): Promise<ExecutionResult>;
}

interface Player {
  readonly request: Pick<RequestFacts, 'ipAddress' | 'userAgent'>;
  token?: string | undefined;
}

interface Employee extends Player {
  readonly id: string;
  readonly email: string;
  readonly fullName: string;
  refreshToken?: string | undefined;
}

function openStage(
  house: House,
  schema: GraphQLSchema,
  jwt: KeyObject,
  passwords: Passwords,
  seed: number,
): Stage {
  const clock = playedClock();
  const mailbox: Mail[] = [];
  const services: Services = {
    ...house.services,
    clock,
    passwords,
    tokens: openTokens({ privateKey: jwt, issuer: 'demo', audience: 'demo', now: () => clock.now() }),
    mailer: { send: async (mail) => void mailbox.push(mail), stop: async () => {} },
  };
  const stage: House = { ...house, services };
  let requests = 0;
  return {
    clock,
    chance: seededChance(seed),
    mailbox,
    async play(document, variableValues, { request, token }) {
      const context = await openContext(stage, {
        request: { ...request, id: `demo-${seed}-${++requests}`, transport: 'HTTP', forwardedFor: null },
        authenticate: () => actorOf(house.db, services, token),
      });
      try {
        return await execute({
          schema,
          document,
          contextValue: context,
          variableValues: { ...variableValues },
        });
      } finally {
        await context.settle();
      }
    },
  };
}

const REGISTER = parse(
  'mutation Register($input: RegisterInput!) { register(input: $input) { accessToken refreshToken user { id } } }',
);
const SIGN_IN = parse(
  'mutation SignIn($input: LoginInput!) { login(input: $input) { accessToken refreshToken } }',
);
const REFRESH = parse(
  'mutation Refresh($input: RefreshTokenInput!) { refreshToken(input: $input) { accessToken refreshToken } }',
);
const SIGN_OUT = parse('mutation SignOut { logout { success } }');
const CREATE_USER = parse(
  'mutation CreateUser($input: CreateUserInput!) { createUser(input: $input) { user { id } } }',
);
const SET_PASSWORD = parse(
  'mutation SetPassword($input: ResetPasswordInput!) { resetPassword(input: $input) { success } }',
);
const FORGOT = parse(
  'mutation Forgot($input: ForgotPasswordInput!) { forgotPassword(input: $input) { accepted } }',
);
const UPDATE_USER = parse(
  'mutation UpdateUser($input: UpdateUserInput!) { updateUser(input: $input) { user { id } } }',
);
const CHANGE_ROLE = parse(
  'mutation ChangeRole($input: ChangeUserRoleInput!) { changeUserRole(input: $input) { user { id } } }',
);
const DEACTIVATE = parse(
  'mutation Deactivate($input: DeactivateUserInput!) { deactivateUser(input: $input) { user { id } } }',
);
const ACTIVATE = parse(
  'mutation Activate($input: ActivateUserInput!) { activateUser(input: $input) { user { id } } }',
);
const RENAME = parse(
  'mutation Rename($input: UpdateTenantInput!) { updateTenant(input: $input) { tenant { id } } }',
);

/** Thirty days of a company. */
async function live(stage: Stage, company: Company, password: string): Promise<void> {
  const today = BigInt(Date.now()) * 1000n;
  const morning = (day: number) =>
    today - BigInt(DAYS - day) * DAY_MICROS - (today % DAY_MICROS) + 6n * 60n * MINUTE_MICROS;
  stage.clock.at(morning(0));
  const staff = await hire(stage, company, password);
  for (let day = 1; day <= DAYS; day++) {
    stage.clock.at(morning(day));
    if (morning(day) + 12n * 60n * MINUTE_MICROS > today) break;
    await workingDay(stage, company, staff, password, day);
  }
}

async function hire(stage: Stage, company: Company, password: string): Promise<Employee[]> {
  const [founder, ...others] = company.staff.map(([fullName, role], at) => ({
    fullName,
    role,
    email: emailOf(fullName, company),
    request: { ipAddress: `${company.network}.${20 + at}`, userAgent: AGENTS[at % AGENTS.length]! },
  }));
  const registration = await stage.play(
    REGISTER,
    {
      input: {
        tenantName: company.name,
        subdomain: company.subdomain,
        email: founder!.email,
        password,
        fullName: founder!.fullName,
      },
    },
    founder!,
  );
  const { register } = registration.data as { register: { accessToken: string; user: { id: string } } };
  const admin: Employee = { ...founder!, id: register.user.id, token: register.accessToken };
  const staff = [admin];
  for (const { role, ...person } of others) {
    pause(stage, 2, 20);
    const created = await stage.play(
      CREATE_USER,
      { input: { email: person.email, fullName: person.fullName, role } },
      await fresh(stage, admin, password),
    );
    const { createUser } = created.data as { createUser: { user: { id: string } } };
    const token = new URL(/https?:\S+/.exec(stage.mailbox.pop()!.text)![0]).searchParams.get('token');
    pause(stage, 2, 20);
    await stage.play(SET_PASSWORD, { input: { token, newPassword: password } }, person);
    staff.push({ ...person, id: createUser.user.id });
  }
  return staff;
}

async function workingDay(
  stage: Stage,
  company: Company,
  staff: readonly Employee[],
  password: string,
  day: number,
) {
  const { chance } = stage;
  const admin = staff[0]!;
  const weekend = day % 7 >= 5;
  for (const person of staff) {
    if (chance() < (weekend ? 0.8 : 0.1)) continue;
    pause(stage, 1, 15);
    if (chance() < 0.12) await signIn(stage, person, 'not my password');
    await signIn(stage, person, password);
    for (let turn = 0; turn < 6; turn++) {
      pause(stage, 3, 12);
      await refresh(stage, person);
    }
    if (chance() < 0.3) {
      const phone = `+49 30 ${1_000_000 + Math.floor(chance() * 8_999_999)}`;
      await stage.play(UPDATE_USER, { input: { id: person.id, phone } }, person);
    }
  }
  await fresh(stage, admin, password);
  await administer(stage, company, staff, admin, day);
  for (const person of staff.slice(1)) {
    if (!person.token || chance() < 0.2) continue;
    pause(stage, 1, 4);
    await refresh(stage, person);
    await stage.play(SIGN_OUT, {}, person);
    person.token = undefined;
  }
  if (day % 6 === 2) await intrude(stage, staff);
}

async function administer(
  stage: Stage,
  company: Company,
  staff: readonly Employee[],
  admin: Employee,
  day: number,
) {
  const someone = staff[2 + (day % (staff.length - 2))]!;
  const by = admin;
  switch (day % 5) {
    case 0:
      await stage.play(CHANGE_ROLE, { input: { id: someone.id, role: day % 2 ? 'AUDITOR' : 'MEMBER' } }, by);
      return;
    case 1:
      await stage.play(DEACTIVATE, { input: { id: someone.id, reason: 'on parental leave' } }, by);
      pause(stage, 5, 20);
      await stage.play(ACTIVATE, { input: { id: someone.id } }, by);
      return;
    case 2:
      await stage.play(FORGOT, { input: { email: someone.email } }, someone);
      return;
    case 3:
      // Not allowed: a refusal on record.
      await stage.play(
        CHANGE_ROLE,
        { input: { id: admin.id, role: 'SUPER_ADMIN' } },
        staff.at(-1)!.token ? staff.at(-1)! : by,
      );
      return;
    default:
      await stage.play(
        RENAME,
        {
          input: { id: await tenantOf(stage, admin), name: day % 2 ? company.name : `${company.name} Group` },
        },
        by,
      );
  }
}

const MY_TENANT = parse('query MyTenant { me { tenantId } }');

async function tenantOf(stage: Stage, admin: Employee): Promise<string> {
  const { data } = await stage.play(MY_TENANT, {}, admin);
  return (data as { me: { tenantId: string } }).me.tenantId;
}

/** Somebody tries passwords at night. */
async function intrude(stage: Stage, staff: readonly Employee[]): Promise<void> {
  stage.clock.at(stage.clock.now() + 5n * 60n * MINUTE_MICROS);
  for (let attempt = 0; attempt < 20; attempt++) {
    const email = attempt % 4 === 3 ? `root${attempt}@mail.example` : staff[attempt % 3]!.email;
    await stage.play(
      SIGN_IN,
      { input: { email, password: `guess-${attempt}-guess` } },
      { request: INTRUDER },
    );
    stage.clock.at(stage.clock.now() + 2_000_000n);
  }
}

async function signIn(stage: Stage, person: Employee, password: string): Promise<void> {
  const { data } = await stage.play(SIGN_IN, { input: { email: person.email, password } }, person);
  keep(person, (data as { login: Pair | null }).login);
}

async function refresh(stage: Stage, person: Employee): Promise<void> {
  if (!person.refreshToken) return;
  const { data } = await stage.play(REFRESH, { input: { refreshToken: person.refreshToken } }, person);
  keep(person, (data as { refreshToken: Pair | null }).refreshToken);
}

/** The employee with a token that is valid now. */
async function fresh(stage: Stage, person: Employee, password: string): Promise<Employee> {
  await signIn(stage, person, password);
  return person;
}

interface Pair {
  readonly accessToken: string;
  readonly refreshToken: string;
}

function keep(person: Employee, pair: Pair | null): void {
  person.token = pair?.accessToken;
  person.refreshToken = pair?.refreshToken;
}

function pause(stage: Stage, fromMinutes: number, toMinutes: number): void {
  const minutes = fromMinutes + stage.chance() * (toMinutes - fromMinutes);
  stage.clock.at(stage.clock.now() + BigInt(Math.floor(minutes * Number(MINUTE_MICROS))));
}

function emailOf(fullName: string, { subdomain }: Company): string {
  const [first, last] = fullName.normalize('NFD').replaceAll(/\p{M}/gu, '').toLowerCase().split(' ');
  return `${first}.${last}@${subdomain}.example`;
}

/** A clock that is set, and runs a microsecond a reading. */
function playedClock(): Clock & { at(micros: bigint): void } {
  let micros = 0n;
  return {
    now: () => (micros += 1n),
    at: (moment) => {
      micros = moment;
    },
  };
}

/** mulberry32: the same history at every first start. */
function seededChance(seed: number): () => number {
  let state = 0x9e37_79b9 * (seed + 1);
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
