/** Rules about sign-ins that fail because the password was not known. */
import { and, eq, inArray, type SQL, sql } from 'drizzle-orm';

import { auditLogs, type AuditLogRow, PLATFORM_TENANT } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { EffectiveSettings } from '../tenants/tables.ts';
import { addressOf, isSignIn, many, ofAddress, type Rule, theAccount } from './rule.ts';

const LOGIN_FAILED_KEY = AUDIT_CATALOGUE.LOGIN_FAILED.key;
/** The refusals of somebody who did not know the password; the others had it right. */
const GUESSES = ['INVALID_CREDENTIALS', 'TOO_MANY_ATTEMPTS'] as const;
/** The status follows from the action, but only where it is said does the index of what failed serve. */
const FAILED = and(
  eq(auditLogs.action, LOGIN_FAILED_KEY),
  eq(auditLogs.status, 'failure'),
  inArray(auditLogs.failure, GUESSES),
);
const ATTEMPTS = sql`count(*)::int as attempts, count(distinct subject_hmac)::int as accounts,
  count(distinct ip_address)::int as addresses`;

interface Guessing {
  readonly action: Rule['action'];
  readonly judges: (row: AuditLogRow) => boolean;
  /** Which failures count together. */
  readonly together: (row: AuditLogRow) => SQL;
  readonly enough: (settings: EffectiveSettings) => SQL;
  readonly once?: (row: AuditLogRow) => SQL;
  readonly about: Rule['about'];
}

const attempts = (least: number) => sql`count(*) >= ${least}`;

const GUESSING: readonly Guessing[] = [
  {
    action: 'ACCOUNT_BRUTE_FORCE_DETECTED',
    judges: isGuess,
    together: ofSameAccount,
    enough: ({ failedLoginsPerAccount }) => attempts(failedLoginsPerAccount),
    once: ofSameAccount,
    about: theAccount,
  },
  {
    action: 'ADDRESS_BRUTE_FORCE_DETECTED',
    judges: isGuessFromSomewhere,
    together: (row) => ofAddress(addressOf(row)),
    enough: ({ failedLoginsPerAddress }) => attempts(failedLoginsPerAddress),
    once: namingAddress,
    about: theAddress,
  },
  {
    action: 'PASSWORD_SPRAY_DETECTED',
    judges: isGuessFromSomewhere,
    together: (row) => ofAddress(addressOf(row)),
    enough: ({ sprayedAccounts }) => sql`count(distinct subject_hmac) >= ${sprayedAccounts}`,
    once: namingAddress,
    about: theAddress,
  },
  {
    // Each time: the owner's sign-in must not hide the one of somebody who has guessed it a minute later.
    action: 'SUCCESS_AFTER_FAILURES_DETECTED',
    judges: isSignIn,
    together: ofSameAccount,
    enough: ({ failedLoginsPerAccount }) => attempts(failedLoginsPerAccount),
    about: theAccount,
  },
];

export const GUESSING_RULES: readonly Rule[] = GUESSING.map(
  ({ action, judges, together, enough, once, about }) => ({
    action,
    judges,
    about,
    find: (act, row, settings) =>
      many(act, row, {
        action,
        windowMinutes: settings.failedLoginsWindowMinutes,
        counted: and(together(row), FAILED),
        enough: enough(settings),
        said: ATTEMPTS,
        ...(isSignIn(row) ? { before: row.id } : {}),
        once: once?.(row),
      }),
  }),
);

function isGuess({ action, failure, subjectHmac }: AuditLogRow): boolean {
  return action === LOGIN_FAILED_KEY && subjectHmac !== null && GUESSES.some((guess) => guess === failure);
}

function isGuessFromSomewhere(row: AuditLogRow): boolean {
  return isGuess(row) && row.ipAddress !== null;
}

/** By the hash of the e-mail that was tried: an attack on an account that does not exist is one too. */
function ofSameAccount({ subjectHmac }: AuditLogRow): SQL {
  return eq(auditLogs.subjectHmac, subjectHmac!);
}

function namingAddress(row: AuditLogRow): SQL {
  return eq(auditLogs.resourceName, addressOf(row));
}

/** The tenant whose accounts were tried, named by the address. */
function theAddress(row: AuditLogRow) {
  return Promise.resolve({
    resourceId: row.tenantId === PLATFORM_TENANT ? null : row.tenantId,
    resourceName: addressOf(row),
    subjectHmac: null,
    personal: [],
  });
}
