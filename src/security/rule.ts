/** What a rule of detection is, and what rules have in common. */
import { and, eq, type SQL, sql } from 'drizzle-orm';

import { subjectOfEmail } from '../audit/personal.ts';
import type { Finding, SystemAct } from '../audit/record.ts';
import { auditLogs, type AuditLogRow } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import { addressKey } from '../platform/addressKey.ts';
import { idFloor, microsFrom } from '../platform/ids.ts';
import type { EffectiveSettings } from '../tenants/tables.ts';

const EVIDENCE_MAX = 200;
const MINUTE_MICROS = 60_000_000n;
/**
 * Records are sealed in the order of their commits. A newer one may come first, but not by more than a transaction lasts
 * (5 s, platform/db.ts) and clocks differ.
 */
const LATE_MICROS = 10_000_000n;

export type Detected = Finding<'detection'>;

/** What `details` says of a detection, besides what its rule says. */
export interface DetectionDetails {
  /** The ids of the records it rests on, newest first, at most 200. */
  readonly evidence: readonly string[];
  readonly [name: string]: unknown;
}

export interface Rule {
  readonly action: Detected['action'];
  /** The records it judges. */
  readonly judges: (row: AuditLogRow) => boolean;
  /** What is suspicious about one; undefined for nothing. */
  readonly find: (
    act: SystemAct<'detection'>,
    row: AuditLogRow,
    settings: EffectiveSettings,
  ) => Promise<DetectionDetails | undefined>;
  /** What the detection is about. */
  readonly about: (
    row: AuditLogRow,
    act: SystemAct<'detection'>,
  ) => Promise<Pick<Detected, 'resourceId' | 'resourceName' | 'subjectHmac' | 'personal'>>;
}

/** What many records within a window have in common. */
interface Many {
  readonly action: Detected['action'];
  readonly windowMinutes: number;
  /** Which records count. */
  readonly counted: SQL | undefined;
  /** An aggregate over them: when they are suspicious. */
  readonly enough: SQL;
  /** What is said of them, as aggregates. */
  readonly said: SQL;
  /** No record from this one on counts. */
  readonly before?: string;
  /** What a detection of the same attack has: while there is one that is younger than the window, it is not raised again. */
  readonly once: SQL | undefined;
}

/** Counts what happened in the window around a record, by one statement. Undefined while it is not enough. */
export async function many(
  { tx }: SystemAct<'detection'>,
  row: AuditLogRow,
  { action, windowMinutes, counted, enough, said, before, once }: Many,
): Promise<DetectionDetails | undefined> {
  const at = microsFrom(row.createdAt);
  const from = idFloor(at - BigInt(windowMinutes) * MINUTE_MICROS);
  const to = before ?? idFloor(at + LATE_MICROS);
  const sameTenant = eq(auditLogs.tenantId, row.tenantId);
  // The age of an attack is that of its evidence: a detector that was away for an hour must not take the next one for the same.
  const raised = sql`select from ${auditLogs} where ${and(
    sameTenant,
    eq(auditLogs.action, AUDIT_CATALOGUE[action].key),
    once ?? sql`false`,
  )} and id >= ${from} and (details #>> '{evidence,0}')::uuid >= ${from}`;
  const [found] = await tx.execute<DetectionDetails & Record<string, unknown>>(sql`
    with counted as (
      select id, ip_address, subject_hmac, created_at, max(created_at) over () as latest from ${auditLogs}
      where ${and(sameTenant, counted)} and id >= ${from} and id < ${to} and not exists (${raised})
    )
    select ${said}, to_json((array_agg(id order by id desc))[1:${EVIDENCE_MAX}::int]) as evidence
    from counted
    where created_at > greatest(latest, ${row.createdAt}::timestamptz) - ${windowMinutes} * interval '1 minute'
    having ${enough}`);
  return found && { ...found, windowMinutes };
}

const LOGIN_KEY = AUDIT_CATALOGUE.LOGIN.key;

/** Whether it tells of somebody who has signed in. */
export function isSignIn({ action, status, subjectHmac }: AuditLogRow): boolean {
  return action === LOGIN_KEY && status === 'success' && subjectHmac !== null;
}

/** An IPv4 address, or a network from its first address to its last: no operator for networks is served by an index here. */
export function ofAddress(key: string): SQL {
  if (!key.includes('/')) return eq(auditLogs.ipAddress, key);
  return sql`${auditLogs.ipAddress} between ${key}::inet and host(broadcast(${key}::inet))::inet`;
}

/** The address of a record as attempts from it are counted together: an IPv4 address, or the /64 of an IPv6 one. */
export function addressOf({ ipAddress }: AuditLogRow): string {
  return addressKey(ipAddress)!;
}

/** The account, named as the record names it: its personal part is sealed anew for the same person. */
export const theAccount: Rule['about'] = async (row, { tx, services: { vault } }) => {
  const { resourceName, details } = vault.open(row, await vault.keys(tx, [row]));
  const { resourceId, subjectHmac } = row;
  const subject = resourceId ?? subjectOfEmail(subjectHmac!);
  const values = {
    ...(resourceName === undefined ? {} : { resourceName }),
    ...(details?.email === undefined ? {} : { details: { email: details.email } }),
  };
  return { resourceId, resourceName: null, subjectHmac, personal: [[subject, values]] };
};
