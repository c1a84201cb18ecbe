/**
 * What is suspicious in the log. A rule looks at one record at a time and counts the failed sign-ins around it, by one
 * statement; what it finds is a record itself, written by the system, which names its evidence.
 */
import { and, eq, inArray, type SQL, sql } from 'drizzle-orm';

import { subjectOfEmail } from '../audit/personal.ts';
import type { Finding, SystemAct } from '../audit/record.ts';
import { auditLogs, type AuditLogRow, PLATFORM_TENANT } from '../audit/tables.ts';
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

/** What `details` says of a detection. */
export interface DetectionDetails {
  /** How many sign-ins failed within the window. */
  readonly attempts: number;
  readonly windowMinutes: number;
  /** From how many addresses. */
  readonly addresses: number;
  /** The ids of their records, newest first, at most 200. */
  readonly evidence: readonly string[];
}

interface Rule {
  readonly action: Finding<'detection'>['action'];
  /** The records it judges. */
  readonly judges: (row: AuditLogRow) => boolean;
  /** So many failed sign-ins are suspicious. */
  readonly threshold: (settings: EffectiveSettings) => number;
  /** Which of them count together. */
  readonly together: (row: AuditLogRow) => SQL;
  /** What a detection of the same attack has: while there is one that is younger than the window, it is not raised again. */
  readonly once?: (row: AuditLogRow) => SQL;
  readonly about: (
    row: AuditLogRow,
    act: SystemAct<'detection'>,
  ) => Promise<Pick<Finding<'detection'>, 'resourceId' | 'resourceName' | 'subjectHmac' | 'personal'>>;
}

const RULES: readonly Rule[] = [
  {
    action: 'ACCOUNT_BRUTE_FORCE_DETECTED',
    judges: isFailedSignIn,
    threshold: (settings) => settings.failedLoginsPerAccount,
    together: ofSameAccount,
    once: ofSameAccount,
    about: theAccount,
  },
  {
    action: 'ADDRESS_BRUTE_FORCE_DETECTED',
    judges: (row) => isFailedSignIn(row) && row.ipAddress !== null,
    threshold: (settings) => settings.failedLoginsPerAddress,
    together: ({ ipAddress }) => ofAddress(addressKey(ipAddress)!),
    once: ({ ipAddress }) => eq(auditLogs.resourceName, addressKey(ipAddress)!),
    about: ({ tenantId, ipAddress }) =>
      Promise.resolve({
        resourceId: tenantId === PLATFORM_TENANT ? null : tenantId,
        resourceName: addressKey(ipAddress),
        subjectHmac: null,
        personal: [],
      }),
  },
  {
    // Each time: the owner's sign-in must not hide the one of somebody who has guessed it a minute later.
    action: 'SUCCESS_AFTER_FAILURES_DETECTED',
    judges: isSignIn,
    threshold: (settings) => settings.failedLoginsPerAccount,
    together: ofSameAccount,
    about: theAccount,
  },
];

/** Whether any rule judges the record: for the others there is no need to know the settings. */
export function isJudged(row: AuditLogRow): boolean {
  return RULES.some((rule) => rule.judges(row));
}

/** Judges a record by every rule and puts on record what is suspicious. Judged again, it finds nothing new. */
export async function judge(
  act: SystemAct<'detection'>,
  row: AuditLogRow,
  settings: EffectiveSettings,
): Promise<void> {
  for (const rule of RULES.filter(({ judges }) => judges(row))) {
    const details = await find(act, rule, row, settings);
    if (!details) continue;
    const { tenantId, requestId, ipAddress } = row;
    const about = await rule.about(row, act);
    await act.record({
      action: rule.action,
      tenantId,
      requestId,
      ipAddress,
      details: { ...details },
      ...about,
    });
  }
}

async function find(
  { tx }: SystemAct<'detection'>,
  { action, threshold, together, once }: Rule,
  row: AuditLogRow,
  settings: EffectiveSettings,
): Promise<DetectionDetails | undefined> {
  const windowMinutes = settings.failedLoginsWindowMinutes;
  const at = microsFrom(row.createdAt);
  const from = idFloor(at - BigInt(windowMinutes) * MINUTE_MICROS);
  const to = isSignIn(row) ? row.id : idFloor(at + LATE_MICROS);
  const sameTenant = eq(auditLogs.tenantId, row.tenantId);
  // The age of an attack is that of its evidence: a detector that was away for an hour must not take the next one for the same.
  const raised = sql`select from ${auditLogs} where ${and(
    sameTenant,
    eq(auditLogs.action, AUDIT_CATALOGUE[action].key),
    once?.(row) ?? sql`false`,
  )} and id >= ${from} and (details #>> '{evidence,0}')::uuid >= ${from}`;
  const [found] = await tx.execute<Omit<DetectionDetails, 'windowMinutes'> & Record<string, unknown>>(sql`
    with failed as (
      select id, ip_address, created_at, max(created_at) over () as latest from ${auditLogs}
      where ${and(sameTenant, together(row), FAILED)} and id >= ${from} and id < ${to} and not exists (${raised})
    )
    select count(*)::int as attempts, count(distinct ip_address)::int as addresses,
      to_json((array_agg(id order by id desc))[1:${EVIDENCE_MAX}::int]) as evidence
    from failed
    where created_at > greatest(latest, ${row.createdAt}::timestamptz) - ${windowMinutes} * interval '1 minute'
    having count(*) >= ${threshold(settings)}`);
  return found && { ...found, windowMinutes };
}

const LOGIN_KEY = AUDIT_CATALOGUE.LOGIN.key;
const LOGIN_FAILED_KEY = AUDIT_CATALOGUE.LOGIN_FAILED.key;
/** The refusals of somebody who did not know the password; the others had it right. */
const GUESSES = ['INVALID_CREDENTIALS', 'TOO_MANY_ATTEMPTS'] as const;
/** The status follows from the action, but only where it is said does the index of what failed serve. */
const FAILED = and(
  eq(auditLogs.action, LOGIN_FAILED_KEY),
  eq(auditLogs.status, 'failure'),
  inArray(auditLogs.failure, GUESSES),
);

function isFailedSignIn({ action, failure, subjectHmac }: AuditLogRow): boolean {
  return action === LOGIN_FAILED_KEY && subjectHmac !== null && GUESSES.some((guess) => guess === failure);
}

function isSignIn({ action, status, subjectHmac }: AuditLogRow): boolean {
  return action === LOGIN_KEY && status === 'success' && subjectHmac !== null;
}

/** By the hash of the e-mail that was tried: an attack on an account that does not exist is one too. */
function ofSameAccount({ subjectHmac }: AuditLogRow): SQL {
  return eq(auditLogs.subjectHmac, subjectHmac!);
}

/** An IPv4 address, or a network from its first address to its last: no operator for networks is served by an index here. */
function ofAddress(key: string): SQL {
  if (!key.includes('/')) return eq(auditLogs.ipAddress, key);
  return sql`${auditLogs.ipAddress} between ${key}::inet and host(broadcast(${key}::inet))::inet`;
}

/** The account, named as the record names it: its personal part is sealed anew for the same person. */
async function theAccount(row: AuditLogRow, { tx, services: { vault } }: SystemAct<'detection'>) {
  const { resourceName, details } = vault.open(row, await vault.keys(tx, [row]));
  const { resourceId, subjectHmac } = row;
  const subject = resourceId ?? subjectOfEmail(subjectHmac!);
  const values = {
    ...(resourceName === undefined ? {} : { resourceName }),
    ...(details?.email === undefined ? {} : { details: { email: details.email } }),
  };
  return { resourceId, resourceName: null, subjectHmac, personal: [[subject, values]] as const };
}
