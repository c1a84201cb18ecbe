import type { ErrorCode, ErrorReason } from '../generated/types.ts';

/** What each expected "no" is: its coarse code, and its sentence for people. A reason without a row does not compile. */
export const REFUSALS = {
  SIGN_IN_REQUIRED: ['UNAUTHENTICATED', 'Sign in first.'],
  TOKEN_EXPIRED: ['UNAUTHENTICATED', 'The access token has expired: refresh it.'],
  TOKEN_INVALID: ['UNAUTHENTICATED', 'The token is not valid.'],
  TOKEN_REUSED: ['UNAUTHENTICATED', 'The refresh token was used before; its session has been ended.'],
  SESSION_REVOKED: ['UNAUTHENTICATED', 'The session has ended: sign in again.'],
  USER_INACTIVE: ['UNAUTHENTICATED', 'The user is not active.'],
  TENANT_INACTIVE: ['UNAUTHENTICATED', 'The tenant is not active.'],
  EMAIL_NOT_VERIFIED: [
    'FORBIDDEN',
    'Prove your e-mail first, with the link that was mailed; resendVerification sends another.',
  ],
  INVALID_CREDENTIALS: [
    'UNAUTHENTICATED',
    'E-mail or password are wrong. If several tenants know your e-mail, name the tenant.',
  ],
  ONE_SIGN_IN_A_REQUEST: ['BAD_USER_INPUT', 'A request may sign in once.'],
  SCOPE_MISSING: ['FORBIDDEN', 'Your role does not allow this.'],
  OWN_ROLE: ['FORBIDDEN', 'Nobody changes their own role.'],
  OWN_ACCOUNT: ['FORBIDDEN', 'Nobody deactivates or deletes themselves.'],
  ROLE_NOT_GRANTABLE: ['FORBIDDEN', 'You may not give this role to this user.'],
  LAST_ADMIN: ['CONFLICT', 'A tenant keeps at least one active administrator.'],
  INVALID_INPUT: ['BAD_USER_INPUT', 'The input is not acceptable; extensions.fields says why.'],
  PASSWORD_POLICY: ['BAD_USER_INPUT', 'The password is not acceptable; extensions.fields says why.'],
  USER_NOT_FOUND: ['NOT_FOUND', 'No such user.'],
  TENANT_NOT_FOUND: ['NOT_FOUND', 'No such tenant.'],
  AUDIT_LOG_NOT_FOUND: ['NOT_FOUND', 'No such record.'],
  BRANCH_NOT_FOUND: ['NOT_FOUND', 'No such branch.'],
  SESSION_NOT_FOUND: ['NOT_FOUND', 'No such session.'],
  SECURITY_EVENT_NOT_FOUND: ['NOT_FOUND', 'No such security event.'],
  AUDIT_EXPORT_NOT_FOUND: ['NOT_FOUND', 'No such export, or it is not kept any more.'],
  CURSOR_TOO_OLD: ['CURSOR_EXPIRED', 'Retention has dropped what comes after the cursor.'],
  API_KEY_NOT_FOUND: ['NOT_FOUND', 'No such API key.'],
  WEBHOOK_NOT_FOUND: ['NOT_FOUND', 'No such webhook.'],
  WEBHOOK_LIMIT_REACHED: ['CONFLICT', 'A log is delivered to 100 webhooks at most: delete one first.'],
  LEGAL_HOLD_NOT_FOUND: ['NOT_FOUND', 'No such legal hold.'],
  HELD: ['CONFLICT', 'A legal hold is in force: release it first (legalHolds lists them).'],
  EMAIL_TAKEN: ['CONFLICT', 'Another user of the tenant has this e-mail.'],
  SUBDOMAIN_TAKEN: ['CONFLICT', 'Another tenant has this subdomain.'],
  BRANCH_CODE_TAKEN: ['CONFLICT', 'Another branch of the tenant has this code.'],
  INVITATION_PENDING: ['CONFLICT', 'The user has not accepted the invitation yet.'],
  STATE_UNCHANGED: ['CONFLICT', 'It is in that state already.'],
  USER_LIMIT_REACHED: ['CONFLICT', "The tenant's subscription allows no further user."],
  BRANCH_LIMIT_REACHED: ['CONFLICT', "The tenant's subscription allows no further branch."],
  TOO_MANY_ATTEMPTS: ['RATE_LIMITED', 'Too many attempts have failed: try again later.'],
  BUSY: ['RATE_LIMITED', 'Too much at once: try again shortly.'],
  LIMIT_EXCEEDED: ['QUERY_TOO_COMPLEX', 'The operation is larger than is allowed.'],
  DEADLINE_EXCEEDED: [
    'QUERY_TOO_COMPLEX',
    'The database took longer than the five seconds a request may take: ask for less, such as fewer days.',
  ],
  CURSOR_MISMATCH: ['BAD_CURSOR', 'The cursor does not belong to this list, filter or reader.'],
  LOG_NOT_WRITTEN: ['AUDIT_UNAVAILABLE', 'The change could not be put on record, so it was not made.'],
  CLOCK_OFF: [
    'AUDIT_UNAVAILABLE',
    'The clocks of this server and its database are more than a day apart, so nothing can be put on record.',
  ],
  OUTCOME_UNKNOWN: [
    'INTERNAL_SERVER_ERROR',
    'The database went away during the commit. Look the request id up in the log: the change was made if it is there.',
  ],
  INTERNAL: ['INTERNAL_SERVER_ERROR', 'Something went wrong on our side. Quote the request id.'],
} as const satisfies Record<ErrorReason, readonly [ErrorCode, string]>;

/** What accompanies a refusal to the client. */
interface RefusalFacts {
  /** Input field to what is wrong with it and what is allowed. */
  readonly fields?: Readonly<Record<string, string>>;
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** An expected "no", with a stable reason. Every other error is a bug: it is masked, and recorded as ERROR. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly reason: ErrorReason;
  readonly fields: Readonly<Record<string, string>> | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(reason: ErrorReason, { fields, retryAfterSeconds, cause }: RefusalFacts = {}) {
    const [code, sentence] = REFUSALS[reason];
    super(sentence, cause === undefined ? undefined : { cause });
    this.name = 'Refusal';
    this.code = code;
    this.reason = reason;
    this.fields = fields;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Refuses with all that is wrong at once; does nothing when nothing is. */
export function refuseUnlessEmpty(fields: Readonly<Record<string, string>>): void {
  if (Object.keys(fields).length > 0) throw new Refusal('INVALID_INPUT', { fields });
}
