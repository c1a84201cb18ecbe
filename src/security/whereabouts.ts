/** Rules about sign-ins that succeed, but not from where, with what or when that user does. */
import { and, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm';

import type { SystemAct } from '../audit/record.ts';
import { auditLogs, type AuditLogRow } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { ReadTx } from '../platform/db.ts';
import { idFloor, microsFrom } from '../platform/ids.ts';
import { kilometresBetween } from '../platform/places.ts';
import { users } from '../users/tables.ts';
import { addressOf, isSignIn, ofAddress, type Rule, theAccount } from './rule.ts';

const DAY_MICROS = 86_400_000_000n;
const MICROS_AN_HOUR = 3_600_000_000;
/** Nearer than this, a database of addresses may just be wrong. */
const KILOMETRES_MIN = 300;
/** Versions: with a newer one it is the same device. */
const VERSION = '[0-9._]+';

export const WHEREABOUTS_RULES: readonly Rule[] = [
  {
    action: 'NEW_ADDRESS_DETECTED',
    judges: (row) => isSignIn(row) && row.ipAddress !== null,
    async find(act, row, { familiarDays }) {
      const isNew = await isUnfamiliar(act, row, familiarDays, ofAddress(addressOf(row)));
      return isNew ? { familiarDays, evidence: [row.id] } : undefined;
    },
    about: theAccount,
  },
  {
    action: 'NEW_DEVICE_DETECTED',
    judges: (row) => isSignIn(row) && row.userAgent !== null,
    async find(act, row, { familiarDays }) {
      const device = (text: unknown) => sql`regexp_replace(${text}, ${VERSION}, '', 'g')`;
      const sameDevice = sql`${device(auditLogs.userAgent)} = ${device(row.userAgent)}`;
      if (!(await isUnfamiliar(act, row, familiarDays, sameDevice))) return undefined;
      return { userAgent: row.userAgent, familiarDays, evidence: [row.id] };
    },
    about: theAccount,
  },
  {
    action: 'DORMANT_ACCOUNT_DETECTED',
    judges: isSignIn,
    async find({ tx }, row, { dormantDays }) {
      const previous = await previousSignIn(tx, row);
      const since = previous?.createdAt ?? (await bornAt(tx, row));
      if (since === undefined) return undefined;
      const days = Number((microsFrom(row.createdAt) - microsFrom(since)) / DAY_MICROS);
      if (days < dormantDays) return undefined;
      return { dormantDays: days, evidence: evidenceOf(row, previous) };
    },
    about: theAccount,
  },
  {
    action: 'IMPOSSIBLE_TRAVEL_DETECTED',
    judges: (row) => isSignIn(row) && row.ipAddress !== null,
    async find({ tx, services: { places } }, row, { travelKmPerHour }) {
      const here = places.placeOf(row.ipAddress!);
      if (!here) return undefined;
      const previous = await previousSignIn(tx, row);
      const there = previous?.ipAddress ? places.placeOf(previous.ipAddress) : undefined;
      if (!previous || !there) return undefined;
      const kilometres = Math.round(kilometresBetween(there, here));
      const hours = Number(microsFrom(row.createdAt) - microsFrom(previous.createdAt)) / MICROS_AN_HOUR;
      if (kilometres < KILOMETRES_MIN || kilometres <= hours * travelKmPerHour) return undefined;
      const minutes = Math.round(hours * 60);
      return { kilometres, minutes, fromAddress: previous.ipAddress, evidence: evidenceOf(row, previous) };
    },
    about: theAccount,
  },
];

/** Whether the user has signed in in the days before, but never like this. A first sign-in ever is nothing new. */
async function isUnfamiliar(
  { tx }: SystemAct<'detection'>,
  row: AuditLogRow,
  days: number,
  alike: SQL,
): Promise<boolean> {
  const from = idFloor(microsFrom(row.createdAt) - BigInt(days) * DAY_MICROS);
  const before = (what?: SQL) =>
    sql`exists (select from ${auditLogs} where ${and(earlierSignIns(row), gte(auditLogs.id, from), what)})`;
  const [found] = await tx.execute<{ unfamiliar: boolean }>(
    sql`select ${before()} and not ${before(alike)} as unfamiliar`,
  );
  return found!.unfamiliar;
}

type Previous = Pick<AuditLogRow, 'id' | 'createdAt' | 'ipAddress'>;

async function previousSignIn(tx: ReadTx, row: AuditLogRow): Promise<Previous | undefined> {
  const { id, createdAt, ipAddress } = auditLogs;
  const [found] = await tx
    .select({ id, createdAt, ipAddress })
    .from(auditLogs)
    .where(earlierSignIns(row))
    .orderBy(desc(id))
    .limit(1);
  return found;
}

function earlierSignIns({ tenantId, userId, id }: AuditLogRow) {
  return and(
    eq(auditLogs.tenantId, tenantId),
    eq(auditLogs.userId, userId!),
    eq(auditLogs.action, AUDIT_CATALOGUE.LOGIN.key),
    eq(auditLogs.status, 'success'),
    lt(auditLogs.id, id),
  );
}

/** When the account came to be; undefined if it is gone. */
async function bornAt(tx: ReadTx, { tenantId, userId }: AuditLogRow): Promise<string | undefined> {
  const where = and(eq(users.tenantId, tenantId), eq(users.id, userId!));
  const [user] = await tx.select({ createdAt: users.createdAt }).from(users).where(where);
  return user?.createdAt;
}

function evidenceOf(row: AuditLogRow, previous: Previous | undefined): string[] {
  return [row.id, ...(previous ? [previous.id] : [])];
}
