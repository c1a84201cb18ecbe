/** Rules about what users do who are signed in. */
import { and, eq, inArray, sql } from 'drizzle-orm';

import type { SystemAct } from '../audit/record.ts';
import { auditLogs, type AuditLogRow } from '../audit/tables.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { AuditAction, Role } from '../generated/types.ts';
import type { EffectiveSettings } from '../tenants/tables.ts';
import { many, type Rule, theAccount } from './rule.ts';

const ADMINISTRATORS = ['SUPER_ADMIN', 'TENANT_ADMIN'] as const satisfies readonly Role[];

const ROLE_ESCALATION: Rule = {
  action: 'ROLE_ESCALATION_DETECTED',
  judges: (row) => isDone(row, [AUDIT_CATALOGUE.USER_ROLE_CHANGED.key]) && isAdministrator(roles(row)?.after),
  find: (_act, row) =>
    Promise.resolve({
      from: roles(row)?.before,
      to: roles(row)?.after,
      byUserId: row.userId,
      evidence: [row.id],
    }),
  about: theAccount,
};

export const MISUSE_RULES: readonly Rule[] = [
  ROLE_ESCALATION,
  bulk(
    'MASS_DELETION_DETECTED',
    ['USER_DELETED', 'SUBJECT_ERASED', 'BRANCH_DELETED', 'TENANT_DELETED'],
    ({ bulkDeletions }) => bulkDeletions,
  ),
  bulk('MASS_EXPORT_DETECTED', ['AUDIT_EXPORT_CREATED'], ({ bulkExports }) => bulkExports),
];

/** Much of a kind, done by one user within a while. */
function bulk(
  action: Rule['action'],
  deeds: readonly AuditAction[],
  least: (settings: EffectiveSettings) => number,
): Rule {
  const keys = deeds.map((deed) => AUDIT_CATALOGUE[deed].key);
  return {
    action,
    judges: (row) => isDone(row, keys) && row.userId !== null,
    find: (act, row, settings) =>
      many(act, row, {
        action,
        windowMinutes: settings.bulkWindowMinutes,
        counted: and(
          eq(auditLogs.userId, row.userId!),
          inArray(auditLogs.action, keys),
          eq(auditLogs.status, 'success'),
        ),
        enough: sql`count(*) >= ${least(settings)}`,
        said: sql`count(*)::int as records`,
        once: eq(auditLogs.resourceId, row.userId!),
      }),
    about: theActor,
  };
}

function isDone({ action, status }: AuditLogRow, keys: readonly string[]): boolean {
  return status === 'success' && keys.includes(action);
}

function roles({ changes }: AuditLogRow) {
  return changes.find(({ path }) => path === 'role');
}

function isAdministrator(role: unknown): boolean {
  return ADMINISTRATORS.some((each) => each === role);
}

/** Who did it, named as the record names them. */
async function theActor(row: AuditLogRow, { tx, services: { vault } }: SystemAct<'detection'>) {
  const { actor } = vault.open(row, await vault.keys(tx, [row]));
  return {
    resourceId: row.userId,
    resourceName: null,
    subjectHmac: null,
    personal: actor ? ([[row.userId!, { resourceName: actor.name }]] as const) : [],
  };
}
