/**
 * Demo data: three tenants and the thirty days that lie behind them. Each day is an agenda, played in the order of time: people
 * come, mistype passwords, work, correct their profiles and leave; administrators hire, promote and shut out; at night somebody
 * tries the door. The history is the same at every first start, but for ids, tokens and the weekdays it falls on.
 */
import type { GraphQLSchema } from 'graphql';

import type { Mutations } from './audit/act.ts';
import { COMPANIES, emailAt, INTRUDER, TRAINEE } from './demoCast.ts';
import {
  act,
  copyIsUsed,
  dismiss,
  endSessions,
  employee,
  type Employee,
  hire,
  letBackIn,
  openBranches,
  phone,
  type Play,
  refresh,
  register,
  setPassword,
  shutOut,
  signIn,
  signOut,
  triesTo,
  triesToSignIn,
  verifyEmail,
} from './demoPeople.ts';
import { openStage, type Stage } from './demoStage.ts';
import type { Role } from './generated/types.ts';
import type { House } from './graphql/context.ts';
import { deriveKey } from './platform/crypto.ts';
import type { Keys } from './platform/keys.ts';
import { openPasswords } from './platform/passwords.ts';
import { tenants } from './tenants/tables.ts';

const DAYS = 30;
const MINUTE_MICROS = 60_000_000n;
const DAY_MICROS = 1_440n * MINUTE_MICROS;
const LEAST_COST = 4;
const MAY_EDIT_PROFILE: readonly Role[] = ['MEMBER', 'TENANT_ADMIN'];
const PASSWORD_BYTES = 9;

/** Credentials for the demo tenants. */
export interface DemoCredentials {
  readonly emails: readonly string[];
  readonly password: string;
}

export interface DemoOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly keys: Keys;
  /** Leaves off between two events. */
  readonly signal?: AbortSignal | undefined;
  /** Told after each day of a company how much is done, from 0 to 1. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

/** Makes the demo tenants that do not exist. Takes some ten seconds. Not to be run by two at a time. */
export async function seedDemo({
  house,
  schema,
  keys,
  signal,
  onProgress,
}: DemoOptions): Promise<DemoCredentials> {
  // Derived, so that it is known again should the first start be interrupted before it was shown.
  const password = deriveKey(keys.master, 'custos demo password')
    .subarray(0, PASSWORD_BYTES)
    .toString('base64url');
  const there = await house.db.withReadTx('PLATFORM', (tx) =>
    tx.select({ subdomain: tenants.subdomain }).from(tenants),
  );
  const missing = COMPANIES.filter(
    (company) => !there.some(({ subdomain }) => subdomain === company.subdomain),
  );
  const pepper = deriveKey(keys.master, 'custos password pepper');
  const passwords = openPasswords({ pepper, cost: LEAST_COST });
  let days = 0;
  const broken = new AbortController();
  const over = AbortSignal.any([broken.signal, ...(signal ? [signal] : [])]);
  if (missing.length > 0)
    house.services.log.info('making the demo data: three tenants and thirty days of their history');
  const histories = missing.map((company) => {
    const stage = openStage({ house, schema, jwt: keys.jwt, passwords, name: company.subdomain });
    const onDay = () => onProgress?.(++days / (missing.length * (DAYS + 1)));
    return live({ stage, company, password }, house.services.clock.now(), onDay, over);
  });
  try {
    await Promise.all(histories);
  } catch (cause) {
    // The others are waited for: nothing may be at work when the database is closed.
    broken.abort();
    await Promise.allSettled(histories);
    throw cause;
  } finally {
    await passwords.stop();
  }
  return { emails: COMPANIES.map((company) => emailAt(company, company.staff[0]![0])), password };
}

/** Minutes since midnight, and what happens then. */
type Happening = readonly [minute: number, happens: () => Promise<unknown>];

async function live(play: Play, now: bigint, onDay: () => void, over: AbortSignal) {
  const { stage, company } = play;
  const staff = company.staff.map(([fullName, role], at) => employee(company, fullName, role, at));
  const today = now - (now % DAY_MICROS);
  for (let day = 0; day <= DAYS; day++) {
    const midnight = today - BigInt(DAYS - day) * DAY_MICROS;
    const weekday = new Date(Number(midnight / 1000n)).getUTCDay();
    const agenda = day === 0 ? founding(play, staff) : workday(play, staff, day, [0, 6].includes(weekday));
    for (const [minute, happens] of agenda.sort(([a], [b]) => a - b)) {
      const moment = midnight + BigInt(Math.floor(minute * Number(MINUTE_MICROS)));
      if (moment >= now) return;
      over.throwIfAborted();
      stage.at(moment);
      await happens();
    }
    onDay();
  }
}

/** The first day: the founder registers the company and has everybody else in by the evening. */
function founding(play: Play, [founder, ...others]: readonly Employee[]): Happening[] {
  return [
    [7 * 60, () => register(play, founder!)],
    [7 * 60 + 3, () => verifyEmail(play, founder!)],
    [16 * 60, () => openBranches(play, founder!, others)],
    ...others.flatMap((person, at) => hiring(play, founder!, person, 8 * 60 + 40 * at)),
  ];
}

function hiring(play: Play, admin: Employee, person: Employee, minute: number): Happening[] {
  const later = minute + 5 + play.stage.chance() * 90;
  return [
    [minute, () => hire(play, admin, person)],
    [later, () => setPassword(play, person)],
  ];
}

function workday(play: Play, staff: Employee[], day: number, weekend: boolean): Happening[] {
  const { stage, company } = play;
  const agenda: Happening[] = [];
  for (const person of staff) {
    const comes = stage.chance() < (weekend ? 0.12 : 0.92);
    if (comes && !person.away) agenda.push(...attendance(play, person));
  }
  if (!weekend) agenda.push(...administration(play, staff, day));
  if (!weekend && day > 20 && staff.at(-1)!.fullName === TRAINEE) {
    const trainee = staff.pop()!;
    agenda.push([17 * 60, () => dismiss(play, staff[0]!, trainee)]);
  }
  // Each company has its own bad nights; the last one is yesterday's.
  if ((DAYS - 1 - day) % 7 === (company.staff.length + company.name.length) % 3) {
    agenda.push(...intrusion(stage, staff));
  }
  return agenda;
}

/** One person's day: in, a new token now and then because something is done, out. */
function attendance(play: Play, person: Employee): Happening[] {
  const { chance } = play.stage;
  const arrival = 6.5 * 60 + chance() * 150;
  const departure = arrival + 420 + chance() * 120;
  const agenda: Happening[] = [[arrival, () => signIn(play, person)]];
  if (chance() < 0.14) agenda.push([arrival - 0.5, () => triesToSignIn(play, person, 'not my password')]);
  for (let minute = arrival + 30; minute < departure; minute += 60 + chance() * 90) {
    agenda.push([minute, () => refresh(play, person)]);
  }
  if (chance() < 0.35) {
    const lunch = arrival + 240 + chance() * 60;
    agenda.push([lunch, () => signOut(play, person)], [lunch + 30, () => signIn(play, person)]);
  }
  // Some just shut the lid.
  if (chance() < 0.85) agenda.push([departure, () => signOut(play, person)]);
  const meanwhile = arrival + 20 + chance() * 360;
  if (MAY_EDIT_PROFILE.includes(person.role) && chance() < 0.25) {
    agenda.push([meanwhile, () => act(play, person, 'updateUser', { id: person.id, phone: phone(play) })]);
  }
  if (chance() < 0.02) {
    const both = { currentPassword: play.password, newPassword: play.password };
    agenda.push([meanwhile, () => act(play, person, 'changePassword', both)]);
  }
  // Shut out meanwhile.
  return agenda.map(([minute, happens]) => [minute, async () => person.away || happens()]);
}

function administration(play: Play, staff: Employee[], day: number): Happening[] {
  const { stage, company } = play;
  const admin = staff[0]!;
  const members = staff.filter(({ role, away }) => role === 'MEMBER' && !away);
  const someone = members[day % members.length]!;
  const noon = 11 * 60 + stage.chance() * 120;
  const does = (minute: number, mutation: Mutations, input: object): Happening => [
    noon + minute,
    () => act(play, admin, mutation, input),
  ];
  const { id, email, fullName } = someone;
  switch (day % 10) {
    case 0:
      return [
        does(2, 'updateSettings', { security: { failedLoginsWindowMinutes: 10 + (day % 3) * 5 } }),
        does(5, 'updateTenant', { id: admin.tenantId, name: `${company.name} Group` }),
        does(65, 'updateTenant', { id: admin.tenantId, name: company.name }),
      ];
    case 1:
      return [
        [6 * 60, () => stage.play('forgotPassword', { email }, someone)],
        [6 * 60 + 4, () => setPassword(play, someone)],
      ];
    case 2:
      return [
        does(5, 'changeUserRole', { id, role: 'BRANCH_MANAGER' }),
        does(95, 'changeUserRole', { id, role: 'MEMBER' }),
      ];
    case 3:
      return [
        [noon, () => shutOut(play, admin, someone)],
        [noon + 90, () => triesToSignIn(play, someone, play.password)],
      ];
    case 4:
      // What members may not do, and so a security event.
      return [[noon, () => triesTo(play, someone, 'changeUserRole', { id, role: 'TENANT_ADMIN' })]];
    case 5: {
      if (day > 20 || staff.some((person) => person.fullName === TRAINEE)) return [];
      const trainee = employee(company, TRAINEE, 'MEMBER', staff.length);
      staff.push(trainee);
      return hiring(play, admin, trainee, noon);
    }
    case 6:
    case 7:
      return staff
        .filter(({ away }) => away)
        .map((person, at) => [noon + at, () => letBackIn(play, admin, person)]);
    case 8:
      return company.subdomain === 'globex' ? [[noon, () => copyIsUsed(play, someone)]] : [];
    default:
      // Invited again and again, and never comes.
      return [
        does(20, 'inviteUser', {
          email: `consultant@${company.subdomain}-partners.example`,
          role: 'AUDITOR',
        }),
        [noon + 40, () => endSessions(play, admin, someone)],
        [noon, () => triesTo(play, admin, 'createUser', { email, fullName, role: 'MEMBER' })],
      ];
  }
}

/** Somebody outside tries passwords. */
function intrusion(stage: Stage, staff: readonly Employee[]): Happening[] {
  const begin = 22 * 60 + stage.chance() * 60;
  return Array.from({ length: 22 }, (_, attempt) => {
    const email = attempt % 4 === 3 ? `root${attempt}@mail.example` : staff[attempt % 3]!.email;
    const guess = { email, password: `guess-${attempt}-guess` };
    return [begin + attempt / 15, () => stage.play('login', guess, INTRUDER)];
  });
}
