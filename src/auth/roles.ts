import type { Role, Scope } from '../generated/types.ts';

const EVERYBODY = ['SIGNED_IN'] as const satisfies readonly Scope[];
const MEMBERS = [...EVERYBODY, 'TENANT_READ'] as const satisfies readonly Scope[];
const READERS = [...MEMBERS, 'AUDIT_READ', 'SETTINGS_READ'] as const satisfies readonly Scope[];
const AUDITORS = [
  ...READERS,
  'AUDIT_VERIFY',
  'AUDIT_EXPORT',
  'RETENTION_READ',
  'AUDIT_READS',
  'USERS_READ',
  'SECURITY_READ',
  'SECURITY_READ_OWN',
] as const satisfies readonly Scope[];
const ADMINS = [
  ...AUDITORS,
  'PROFILE_WRITE',
  'TENANT_WRITE',
  'USERS_WRITE',
  'USERS_ERASE',
  'WEBHOOKS_MANAGE',
  'API_KEYS_MANAGE',
  'EVENT_TYPES_MANAGE',
  'EVENTS_WRITE',
  'BRANCHES_WRITE',
  'BRANCH_WRITE',
  'SECURITY_WRITE',
] as const satisfies readonly Scope[];

/** What each role may do. The one table of rights; whose rows it applies to is row-level security's affair. */
const SCOPES: Record<Role, ReadonlySet<Scope>> = {
  SUPER_ADMIN: new Set([...ADMINS, 'TENANTS_READ', 'TENANTS_WRITE', 'RETENTION_WRITE']),
  TENANT_ADMIN: new Set(ADMINS),
  BRANCH_MANAGER: new Set([...READERS, 'BRANCH_WRITE']),
  AUDITOR: new Set(AUDITORS),
  MEMBER: new Set([...MEMBERS, 'PROFILE_WRITE', 'SECURITY_READ_OWN']),
};

/** What is left to who has not proven their e-mail, where that is demanded: enough to prove it. */
export const UNVERIFIED_SCOPES: ReadonlySet<Scope> = new Set(EVERYBODY);

/** The scopes of a role. */
export function scopesOf(role: Role): ReadonlySet<Scope> {
  return SCOPES[role];
}
