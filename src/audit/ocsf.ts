/**
 * A record as an event of the Open Cybersecurity Schema Framework (https://schema.ocsf.io). Version 1.9 has User Management (3007)
 * for what 1.8 and older say as Account Change (3001).
 */
import type { AuditAction, Severity } from '../generated/types.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import { microsFrom } from '../platform/ids.ts';
import type { ShownRecord } from './shown.ts';

const PRODUCT = { name: 'Custos', vendor_name: 'Custos' };
const SEVERITY_ID: Readonly<Record<Severity, number>> = {
  INFO: 1,
  NOTICE: 2,
  WARNING: 3,
  ERROR: 4,
  CRITICAL: 5,
};
const OTHER = 99;
const [SUCCESS, FAILURE] = [1, 2];

/** Activities of an event class, by what they are called there. */
const AUTHENTICATION = { LOGON: 1, LOGOFF: 2, OTHER } as const;
const ENTITY = { CREATE: 1, READ: 2, UPDATE: 3, DELETE: 4, ACTIVATE: 10, DEACTIVATE: 11, OTHER } as const;
/** Of User Management, then of Account Change. */
const USER = {
  CREATE: [1, 1],
  UPDATE: [2, OTHER],
  DELETE: [3, 6],
  ENABLE: [4, 2],
  DISABLE: [5, 5],
  UNLOCK: [7, OTHER],
  PASSWORD_CHANGE: [8, 3],
  PASSWORD_RESET: [9, 4],
  ASSIGN_ROLES: [16, OTHER],
  OTHER: [OTHER, OTHER],
} as const;

type Activity =
  | { readonly as: 'AUTHENTICATION'; readonly activity: number }
  | { readonly as: 'ENTITY'; readonly activity: number }
  | { readonly as: 'USER'; readonly activity: readonly [number, number] }
  | { readonly as: 'FINDING' };

const authentication = (name: keyof typeof AUTHENTICATION): Activity => ({
  as: 'AUTHENTICATION',
  activity: AUTHENTICATION[name],
});
const entity = (name: keyof typeof ENTITY): Activity => ({ as: 'ENTITY', activity: ENTITY[name] });
const user = (name: keyof typeof USER): Activity => ({ as: 'USER', activity: USER[name] });
const FINDING: Activity = { as: 'FINDING' };

/** What each action is in OCSF. */
const ACTIVITIES: Readonly<Record<AuditAction, Activity>> = {
  LOGIN: authentication('LOGON'),
  LOGOUT: authentication('LOGOFF'),
  LOGIN_FAILED: authentication('LOGON'),
  TOKEN_REFRESHED: authentication('OTHER'),
  TOKEN_REUSE_DETECTED: authentication('OTHER'),
  SESSION_REVOKED: authentication('LOGOFF'),

  PASSWORD_RESET_REQUEST: user('OTHER'),
  PASSWORD_RESET: user('PASSWORD_RESET'),
  PASSWORD_CHANGED: user('PASSWORD_CHANGE'),
  EMAIL_VERIFICATION_REQUESTED: user('OTHER'),
  EMAIL_VERIFIED: user('UPDATE'),
  INVITATION_ACCEPTED: user('ENABLE'),
  ACCOUNT_UNLOCKED: user('UNLOCK'),
  USER_CREATED: user('CREATE'),
  USER_UPDATED: user('UPDATE'),
  USER_DELETED: user('DELETE'),
  USER_ACTIVATED: user('ENABLE'),
  USER_DEACTIVATED: user('DISABLE'),
  USER_ROLE_CHANGED: user('ASSIGN_ROLES'),
  USER_INVITED: user('CREATE'),
  USER_BRANCHES_CHANGED: user('UPDATE'),
  SUBJECT_ERASED: user('DELETE'),

  TENANT_CREATED: entity('CREATE'),
  TENANT_UPDATED: entity('UPDATE'),
  TENANT_DELETED: entity('DELETE'),
  TENANT_ACTIVATED: entity('ACTIVATE'),
  TENANT_DEACTIVATED: entity('DEACTIVATE'),
  TENANT_SUBSCRIPTION_CHANGED: entity('UPDATE'),
  BRANCH_CREATED: entity('CREATE'),
  BRANCH_UPDATED: entity('UPDATE'),
  BRANCH_DELETED: entity('DELETE'),
  BRANCH_ACTIVATED: entity('ACTIVATE'),
  BRANCH_DEACTIVATED: entity('DEACTIVATE'),
  SETTINGS_UPDATED: entity('UPDATE'),
  SECURITY_EVENT_ACKNOWLEDGED: entity('UPDATE'),
  SECURITY_EVENT_RESOLVED: entity('UPDATE'),
  AUDIT_EXPORT_CREATED: entity('CREATE'),
  API_KEY_CREATED: entity('CREATE'),
  API_KEY_REVOKED: entity('DELETE'),
  EVENT_TYPE_REGISTERED: entity('CREATE'),
  AUDIT_EVENTS_RECORDED: entity('CREATE'),
  EXTERNAL_EVENT: entity('OTHER'),
  WEBHOOK_CREATED: entity('CREATE'),
  WEBHOOK_UPDATED: entity('UPDATE'),
  WEBHOOK_DELETED: entity('DELETE'),
  WEBHOOK_RESUMED: entity('ACTIVATE'),
  WEBHOOK_REPLAYED: entity('OTHER'),
  WEBHOOK_TESTED: entity('OTHER'),
  WEBHOOK_PAUSED: entity('DEACTIVATE'),
  AUDIT_RETENTION_CHANGED: entity('UPDATE'),
  AUDIT_LOG_DROPPED: entity('DELETE'),
  AUDIT_RETENTION_RUN: entity('OTHER'),
  AUDIT_READS_SEALED: entity('READ'),
  LEGAL_HOLD_PLACED: entity('CREATE'),
  LEGAL_HOLD_RELEASED: entity('UPDATE'),

  ACCOUNT_BRUTE_FORCE_DETECTED: FINDING,
  ADDRESS_BRUTE_FORCE_DETECTED: FINDING,
  SUCCESS_AFTER_FAILURES_DETECTED: FINDING,
  PASSWORD_SPRAY_DETECTED: FINDING,
  NEW_ADDRESS_DETECTED: FINDING,
  NEW_DEVICE_DETECTED: FINDING,
  DORMANT_ACCOUNT_DETECTED: FINDING,
  IMPOSSIBLE_TRAVEL_DETECTED: FINDING,
  ROLE_ESCALATION_DETECTED: FINDING,
  MASS_DELETION_DETECTED: FINDING,
  MASS_EXPORT_DETECTED: FINDING,
  LEDGER_FAULT_DETECTED: FINDING,
};

/** A record in OCSF of that version. */
export function inOcsf(record: ShownRecord, version: '1.9.0' | '1.8.0'): object {
  const { id, action, status, failure, severity, tenantId, requestId, userAgent, ipAddress } = record;
  const { category_uid, class_uid, activity_id, ...about } = classified(record, version);
  return {
    category_uid,
    class_uid,
    activity_id,
    type_uid: class_uid * 100 + activity_id,
    time: millisOf(record),
    severity_id: SEVERITY_ID[severity],
    status_id: status === 'SUCCESS' ? SUCCESS : FAILURE,
    ...(failure === null ? {} : { status_code: failure }),
    message: action,
    metadata: {
      uid: id,
      version,
      product: PRODUCT,
      event_code: AUDIT_CATALOGUE[action].key,
      correlation_uid: requestId,
      ...(tenantId === null ? {} : { tenant_uid: tenantId }),
      ...(record.position === null ? {} : { sequence: record.position }),
    },
    actor: actorOf(record),
    ...(ipAddress === null ? {} : { src_endpoint: { ip: ipAddress } }),
    ...(userAgent === null ? {} : { http_request: { uid: requestId, user_agent: userAgent } }),
    ...about,
    unmapped: { details: record.details, changes: record.changes },
  };
}

function classified(record: ShownRecord, version: string) {
  const activity = ACTIVITIES[record.action];
  switch (activity.as) {
    case 'AUTHENTICATION':
      return {
        category_uid: 3,
        class_uid: 3002,
        activity_id: activity.activity,
        user: record.resource === 'USER' ? userOf(record) : actorOf(record).user,
        service: PRODUCT_SERVICE,
      };
    case 'USER': {
      const [managed, older] = activity.activity;
      const [class_uid, activity_id] = version === '1.9.0' ? [3007, managed] : [3001, older];
      return { category_uid: 3, class_uid, activity_id, user: userOf(record) };
    }
    case 'ENTITY':
      return {
        category_uid: 3,
        class_uid: 3004,
        activity_id: activity.activity,
        entity: named({ type: record.resource, uid: record.resourceId, name: record.resourceName }),
      };
    default:
      return {
        category_uid: 2,
        class_uid: 2004,
        activity_id: 1,
        is_alert: true,
        finding_info: {
          uid: record.id,
          title: record.action,
          created_time: millisOf(record),
          types: [record.actionKey],
          related_events: evidenceOf(record).map((uid) => ({ uid })),
        },
      };
  }
}

const PRODUCT_SERVICE = { name: PRODUCT.name };

function userOf({ resourceId, resourceName }: ShownRecord) {
  return named({ uid: resourceId, name: resourceName });
}

function actorOf({ actor }: ShownRecord) {
  if (actor.type === 'SYSTEM') return { app_name: actor.name ?? 'custos', user: { name: 'system' } };
  const { id, name, email } = actor;
  return { user: named({ uid: id, name, email_addr: email }) };
}

function evidenceOf({ details }: ShownRecord): string[] {
  return Array.isArray(details['evidence']) ? (details['evidence'] as string[]) : [];
}

/** In milliseconds since 1970, as OCSF counts. */
function millisOf({ createdAt }: ShownRecord): number {
  return Number(microsFrom(createdAt) / 1000n);
}

/** Without what is not known; what has neither id nor name is nobody in particular. */
function named(names: {
  readonly uid: string | null;
  readonly name: string | null;
  [more: string]: string | null;
}) {
  const known = Object.entries(names).filter(([, value]) => value !== null);
  const isNobody = names.uid === null && names.name === null;
  return {
    ...(isNobody ? { name: 'unknown' } : {}),
    ...(Object.fromEntries(known) as Record<string, string>),
  };
}
