/** The tenants of a made-up log, and the people in them. */
import type { RequestFacts } from './audit/act.ts';
import type { SessionRow } from './auth/tables.ts';
import { BRANCHES, BROWSERS, COMPANIES } from './demoCast.ts';
import type { Dice } from './demoChance.ts';
import { isoOf } from './platform/ids.ts';
import type { BranchRow, TenantRow } from './tenants/tables.ts';
import type { UserRow } from './users/tables.ts';

const PEOPLE_MIN = 3;
const EVENTS_A_PERSON = 1_000;
const ROLES = ['MEMBER', 'MEMBER', 'MEMBER', 'AUDITOR', 'BRANCH_MANAGER'] as const;
const TIERS = ['ENTERPRISE', 'PROFESSIONAL', 'STARTER', 'FREE'] as const;
const TIME_ZONES = [-8, -5, 0, 1, 1, 2, 8];

/** A tenant as it is just now. */
export interface Tenant {
  /** The part of everything that happens in it. */
  readonly share: number;
  tenant: TenantRow;
  readonly branches: BranchRow[];
  /** Its administrator first. */
  readonly people: readonly Person[];
  /** Of UTC. */
  readonly hoursAhead: number;
}

export interface Person {
  user: UserRow;
  session: SessionRow | undefined;
  lastSeen: bigint;
  readonly request: Pick<RequestFacts, 'ipAddress' | 'userAgent'>;
}

interface Founding {
  readonly count: number;
  /** How much happens in all of them together. */
  readonly events: number;
  /** When they are founded, in microseconds since 1970. */
  readonly at: bigint;
  /** Of everybody. */
  readonly passwordHash: string;
  readonly dice: Dice;
}

/** Makes tenants, the largest first: the n-th is an n-th of it (Zipf's law), and so are its people. */
export function foundTenants({ count, events, at, passwordHash, dice }: Founding): Tenant[] {
  const createdAt = isoOf(at);
  const common = {
    status: 'ACTIVE',
    statusReason: null,
    createdAt,
    updatedAt: createdAt,
    deletedAt: null,
  } as const;
  const sizes = Array.from({ length: count }, (_, rank) => 1 / (rank + 1));
  const total = sizes.reduce((a, b) => a + b);
  return sizes.map((size, rank) => {
    const share = size / total;
    const id = dice.idAt(at);
    const subdomain = `tenant${String(rank + 1).padStart(4, '0')}`;
    const tenant: TenantRow = {
      ...common,
      id,
      name: `${dice.oneOf(PLACES)} ${dice.oneOf(TRADES)} ${rank + 1}`,
      subdomain,
      tier: TIERS[Math.min(TIERS.length - 1, Math.ceil(Math.log10(rank + 1)))]!,
      maxUsers: null,
      maxBranches: null,
      startsAt: null,
      endsAt: null,
    };
    const people = Array.from(
      { length: PEOPLE_MIN + Math.floor((share * events) / EVENTS_A_PERSON) },
      (_, nth): Person => {
        const user: UserRow = {
          ...common,
          tenantId: id,
          id: dice.idAt(at),
          email: `${nth === 0 ? 'admin' : `user${nth}`}@${subdomain}.example`,
          emailVerifiedAt: createdAt,
          fullName: madeUpName(dice),
          phone: null,
          role: nth === 0 ? 'TENANT_ADMIN' : ROLES[nth % ROLES.length]!,
          passwordHash,
          lastLoginAt: null,
        };
        const ipAddress = `10.${rank % 250}.${Math.floor(nth / 200) % 250}.${1 + (nth % 200)}`;
        return {
          user,
          session: undefined,
          lastSeen: at,
          request: { ipAddress, userAgent: dice.oneOf(BROWSERS) },
        };
      },
    );
    const branches = BRANCHES.map(([name, code]): BranchRow => ({
      ...common,
      tenantId: id,
      id: dice.idAt(at),
      name,
      code,
      address: null,
    }));
    return { share, tenant, people, branches, hoursAhead: dice.oneOf(TIME_ZONES) };
  });
}

/** A person's name. */
export function madeUpName(dice: Dice): string {
  return `${dice.oneOf(FIRST)} ${dice.oneOf(LAST)}`;
}

const STAFF = COMPANIES.flatMap(({ staff }) => staff.map(([fullName]) => fullName.split(' ')));
const FIRST = STAFF.map(([first]) => first!);
const LAST = STAFF.map(([, last]) => last!);
const PLACES = [
  'Aurora',
  'Baltic',
  'Cedar',
  'Delta',
  'Ember',
  'Fjord',
  'Granite',
  'Juniper',
  'Meridian',
  'Orchard',
];
const TRADES = [
  'Analytics',
  'Bakeries',
  'Clinics',
  'Energy',
  'Foods',
  'Insurance',
  'Logistics',
  'Media',
  'Robotics',
  'Works',
];
