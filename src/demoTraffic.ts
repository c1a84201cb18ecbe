/**
 * What happens in many tenants over many days, made up: their sizes follow Zipf's law, their people keep office hours and
 * sessions, and now and then somebody outside guesses passwords. The same arguments make the same events.
 */
import type { Mutations, RequestFacts, UserActor } from './audit/act.ts';
import type { Entity } from './audit/entity.ts';
import type { Happening, Told } from './audit/entry.ts';
import { SESSION, type SessionRow } from './auth/tables.ts';
import { scopesOf } from './auth/roles.ts';
import { INTRUDER } from './demoCast.ts';
import { openDice } from './demoChance.ts';
import { foundTenants, madeUpName, type Person, type Tenant } from './demoTenants.ts';
import type { ErrorReason } from './generated/types.ts';
import { isoOf } from './platform/ids.ts';
import { BRANCH, TENANT } from './tenants/tables.ts';
import { USER, type UserRow } from './users/tables.ts';

const HOUR = 3_600_000_000n;
/** How busy each hour of a working day is. */
const BUSY = [1, 1, 1, 1, 1, 2, 6, 20, 60, 90, 100, 95, 70, 85, 100, 95, 80, 55, 25, 12, 8, 5, 3, 2];
const WEEKEND = 0.12;
/** A session that was not used for so long is over. */
const SESSION_HOURS = 10n;
const LOCAL_HOUR_TRIES = 4;

/** Something that was done, or tried. */
export interface Event {
  readonly id: string;
  readonly operationId: string;
  readonly mutation: Mutations;
  readonly request: RequestFacts;
  readonly actor: UserActor | { readonly type: 'ANONYMOUS' };
  readonly told: Told;
  readonly outcome:
    | { readonly happening: Happening }
    | { readonly failure: ErrorReason; readonly input: Readonly<Record<string, unknown>> };
}

export interface TrafficOptions {
  /** How many events there are, those that furnish the tenants included. */
  readonly events: number;
  readonly tenants: number;
  /** The first midnight, in microseconds since 1970. */
  readonly from: bigint;
  readonly days: number;
  /** Of everybody. */
  readonly passwordHash: string;
}

export interface Traffic {
  /** Largest first. Their rows are as they are at the end, once all events have been taken. */
  readonly tenants: readonly Tenant[];
  events(): Generator<Event>;
}

/** Makes the tenants, and says what happens in them. */
export function openTraffic({ events, tenants: count, from, days, passwordHash }: TrafficOptions): Traffic {
  const dice = openDice(events + count);
  const { chance, below, oneOf } = dice;
  const tenants = foundTenants({ count, events, at: from, passwordHash, dice });
  const upTo = sumsOf(tenants.map(({ share }) => share));
  /** A part of an address, as RFC 5952 writes it. */
  const group = () => (1 + below(0xffff)).toString(16);
  let requests = 0;
  /** Somebody outside who is at it just now. */
  let guessing: { at: Tenant; left: number; ipAddress: string } | undefined;

  return { tenants, events: happenings };

  function* happenings(): Generator<Event> {
    let made = 0;
    let now = from;
    for (const { tenant, people, branches } of tenants) {
      const founder = people[0]!;
      const created: [Mutations, Happening][] = [
        ['register', happened({ action: 'TENANT_CREATED', of: TENANT, after: tenant })],
        ['register', happened({ action: 'USER_CREATED', of: USER, after: founder.user })],
        ...people
          .slice(1)
          .map(({ user }): [Mutations, Happening] => ['createUser', happened({ of: USER, after: user })]),
        ...branches.map((branch): [Mutations, Happening] => [
          'createBranch',
          happened({ of: BRANCH, after: branch }),
        ]),
      ];
      for (const [mutation, happening] of created) {
        yield event((now += 1_000n), founder, mutation, { happening });
        made++;
      }
    }
    const hours = days * 24;
    const weights = Array.from({ length: hours }, (_, hour) => busyness(from + BigInt(hour) * HOUR, 0));
    const total = weights.reduce((a, b) => a + b);
    const left = events - made;
    for (let hour = 0, sum = 0; hour < hours; hour++) {
      const [before, after] = [sum, (sum += weights[hour]!)];
      const many = Math.round((left * after) / total) - Math.round((left * before) / total);
      const begin = from + BigInt(hour) * HOUR;
      const moments = Array.from({ length: many }, () => chance()).sort((a, b) => a - b);
      for (const moment of moments) {
        const at = begin + BigInt(Math.floor(moment * Number(HOUR)));
        now = at > now ? at : now + 1n;
        yield next(now);
      }
    }
  }

  function next(at: bigint): Event {
    if (guessing && chance() < 0.8) return guess(at, guessing);
    if (chance() < 0.000_6)
      guessing = { at: busyTenant(at), left: 15 + below(45), ipAddress: `2001:db8:${group()}::${group()}` };
    const place = busyTenant(at);
    const person = place.people[Math.floor(place.people.length * chance() ** 2)]!;
    const { user, session } = person;
    if (user.status !== 'ACTIVE') return letBackIn(at, place, person);
    const roll = chance();
    if (!session || at - person.lastSeen > SESSION_HOURS * HOUR) {
      if (roll < 0.06) return refused(at, person, 'login', 'INVALID_CREDENTIALS', { email: user.email });
      return signIn(at, person);
    }
    person.lastSeen = at;
    if (roll < 0.66)
      return event(at, person, 'refreshToken', {
        happening: happened({ action: 'TOKEN_REFRESHED', of: SESSION, before: session, after: session }),
      });
    if (roll < 0.8) return signOut(at, person, session);
    if (roll < 0.9)
      return changed(at, person, person, 'updateUser', { phone: `+49 30 ${1_000_000 + below(9_000_000)}` });
    if (roll < 0.91)
      return refused(
        at,
        person,
        'changeUserRole',
        user.role === 'MEMBER' ? 'SCOPE_MISSING' : 'STATE_UNCHANGED',
        { id: user.id, role: user.role },
      );
    if (roll < 0.911) return refused(at, person, 'updateSettings', 'INTERNAL', {});
    return administered(at, place, roll);
  }

  function administered(at: bigint, place: Tenant, roll: number): Event {
    const admin = place.people[0]!;
    const someone = place.people[1 + below(place.people.length - 1)]!;
    if (roll < 0.93)
      return changed(at, admin, someone, 'changeUserRole', {
        role: someone.user.role === 'MEMBER' ? 'AUDITOR' : 'MEMBER',
      });
    if (roll < 0.94) {
      someone.session = undefined;
      return changed(at, admin, someone, 'deactivateUser', { status: 'INACTIVE', statusReason: 'on leave' });
    }
    if (roll < 0.96) {
      const which = below(place.branches.length);
      const before = place.branches[which]!;
      const after = { ...before, address: `${1 + below(200)} Harbour Street`, updatedAt: isoOf(at) };
      place.branches[which] = after;
      return event(at, admin, 'updateBranch', { happening: happened({ of: BRANCH, before, after }) });
    }
    if (roll < 0.961) {
      const before = place.tenant;
      place.tenant = {
        ...before,
        name: before.name.endsWith(' Group') ? before.name.slice(0, -6) : `${before.name} Group`,
        updatedAt: isoOf(at),
      };
      return event(at, admin, 'updateTenant', {
        happening: happened({ of: TENANT, before, after: place.tenant }),
      });
    }
    return changed(at, admin, someone, 'updateUser', { fullName: madeUpName(dice) });
  }

  function guess(at: bigint, { at: place, ipAddress, left }: NonNullable<typeof guessing>): Event {
    guessing = left > 1 ? { at: place, ipAddress, left: left - 1 } : undefined;
    const account = chance() < 0.7 ? oneOf(place.people) : undefined;
    const email = account?.user.email ?? `root${below(50)}@mail.example`;
    return refused(
      at,
      account,
      'login',
      'INVALID_CREDENTIALS',
      { email },
      { ...INTRUDER.request, ipAddress },
    );
  }

  function signIn(at: bigint, person: Person): Event {
    const { user, request } = person;
    const time = isoOf(at);
    person.lastSeen = at;
    person.session = {
      ...request,
      tenantId: user.tenantId,
      id: dice.idAt(at),
      userId: user.id,
      createdAt: time,
      lastUsedAt: time,
      expiresAt: isoOf(at + 30n * 24n * HOUR),
      revokedAt: null,
      revokedBecause: null,
    };
    const attempted = { email: user.email, tenantId: undefined };
    return event(
      at,
      person,
      'login',
      { happening: happened({ of: USER, before: user, after: user }) },
      { attempted },
    );
  }

  function signOut(at: bigint, person: Person, before: SessionRow): Event {
    const after: SessionRow = { ...before, revokedAt: isoOf(at), revokedBecause: 'LOGOUT' };
    const signedOut = event(at, person, 'logout', { happening: happened({ of: SESSION, before, after }) });
    person.session = undefined;
    return signedOut;
  }

  function letBackIn(at: bigint, place: Tenant, person: Person): Event {
    return changed(at, place.people[0]!, person, 'activateUser', { status: 'ACTIVE', statusReason: null });
  }

  function changed(
    at: bigint,
    by: Person,
    person: Person,
    mutation: Mutations,
    fields: Partial<UserRow>,
  ): Event {
    const before = person.user;
    person.user = { ...before, ...fields, updatedAt: isoOf(at) };
    return event(at, by, mutation, { happening: happened({ of: USER, before, after: person.user }) });
  }

  function refused(
    at: bigint,
    person: Person | undefined,
    mutation: Mutations,
    failure: ErrorReason,
    input: Readonly<Record<string, unknown>>,
    request = person?.request ?? INTRUDER.request,
  ): Event {
    const signsIn = mutation === 'login';
    const about = person ? { of: USER as never, row: person.user } : undefined;
    const attempted = signsIn
      ? { email: String(input['email']), tenantId: person?.user.tenantId }
      : undefined;
    return {
      ...named(at, request),
      mutation,
      actor: signsIn || !person ? { type: 'ANONYMOUS' } : actorOf(person),
      told: { ...(about ? { about } : {}), ...(attempted ? { attempted } : {}) },
      outcome: { failure, input },
    };
  }

  function event(
    at: bigint,
    by: Person,
    mutation: Mutations,
    outcome: Event['outcome'],
    told: Told = {},
  ): Event {
    return { ...named(at, by.request), mutation, actor: actorOf(by), told, outcome };
  }

  function named(at: bigint, request: Person['request']): Pick<Event, 'id' | 'operationId' | 'request'> {
    return {
      id: dice.idAt(at),
      operationId: dice.idAt(at),
      request: { ...request, id: `past-${++requests}`, transport: 'HTTP', forwardedFor: null },
    };
  }

  function busyTenant(at: bigint): Tenant {
    for (let tries = 1; ; tries++) {
      const tenant = tenants[indexOf(upTo, chance())]!;
      if (tries === LOCAL_HOUR_TRIES || chance() * BUSIEST < busyness(at, tenant.hoursAhead)) return tenant;
    }
  }
}

/** What happened to a row, its types forgotten. */
function happened<Row>(
  happening: Omit<Happening, 'of' | 'before' | 'after'> & {
    readonly of: Entity<Row>;
    readonly before?: Row;
    readonly after?: Row;
  },
): Happening {
  return happening as unknown as Happening;
}

function actorOf({ user, session }: Person): UserActor {
  const { id, tenantId, role, email, fullName } = user;
  return {
    type: 'USER',
    id,
    tenantId,
    role,
    email,
    name: fullName,
    sessionId: session?.id ?? id,
    scopes: scopesOf(role),
  };
}

function busyness(at: bigint, hoursAhead: number): number {
  const local = new Date(Number(at / 1000n) + hoursAhead * 3_600_000);
  return BUSY[local.getUTCHours()]! * ([0, 6].includes(local.getUTCDay()) ? WEEKEND : 1);
}

/** The first of the numbers, the first two together, and so on. */
function sumsOf(numbers: readonly number[]): number[] {
  let sum = 0;
  return numbers.map((each) => (sum += each));
}

/** Where a number from 0 to 1 falls among rising sums. */
function indexOf(sums: readonly number[], value: number): number {
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

const BUSIEST = Math.max(...BUSY);
