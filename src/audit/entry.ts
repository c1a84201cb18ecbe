/** What a record says: composed from what a deed did, or from what was tried, and appended in the transaction at hand. */
import { AUDIT_CATALOGUE, MUTATIONS } from '../generated/catalogue.ts';
import type { AuditAction, ErrorReason } from '../generated/types.ts';
import { leafHash } from '../ledger/leaf.ts';
import type { Tx } from '../platform/db.ts';
import { asUuid, idAt, isoOf, microsOf } from '../platform/ids.ts';
import { normalizedEmail } from '../platform/input.ts';
import { insertAll } from '../platform/insertAll.ts';
import { REFUSALS } from '../platform/refusal.ts';
import type { Actor, FieldFacts, Mutations, RequestFacts, Services, UserActor } from './act.ts';
import { type Change, changesOf, type Entity } from './entity.ts';
import { leafRecord, type PersonalValues, subjectOfEmail } from './personal.ts';
import { boundedChanges, boundedDetails, recordable, recordableText } from './recordable.ts';
import {
  auditLogs,
  type AuditLogRow,
  LEAST_SEVERITY,
  PLATFORM_TENANT,
  SCHEMA_VERSION,
  SEVERITIES,
} from './tables.ts';

const TEXT_CHARS_MAX = 512;

/** Where a record comes from. */
export interface Occasion {
  readonly services: Services;
  readonly operationId: string;
  readonly request: RequestFacts;
  readonly field: FieldFacts;
}

/** What the records of one call have in common. */
export interface Call extends Occasion {
  readonly mutation: Mutations;
  readonly actor: Actor;
  readonly told: Told;
}

/** What a call has said of itself so far. */
export interface Told {
  about?: { readonly of: Entity<unknown>; readonly row: unknown };
  attempted?: { readonly email: string; readonly tenantId: string | undefined };
  identified?: UserActor;
}

/** What happened to one row, its types forgotten. */
export interface Happening {
  readonly action?: AuditAction;
  readonly of: Entity<unknown>;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What one record says, besides what the call says of all of them. */
export interface Entry {
  readonly action: AuditAction;
  readonly actor: Actor;
  readonly failure: ErrorReason | null;
  readonly tenantId: string;
  readonly resourceId: string | null;
  readonly resourceName: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly changes: readonly Change[];
  readonly subjectHmac: Buffer | null;
  /** Personal values, each set with the person it belongs to; absent ones are skipped. */
  readonly personal: readonly (readonly [string | undefined, PersonalValues | undefined])[];
}

/** The first action a mutation is recorded as. */
export function firstActionOf(mutation: Mutations): AuditAction {
  return MUTATIONS[mutation].actions[0];
}

/** The entry for what happened to a row; without a row, for a call that found nobody. */
export function entryOf(
  call: Call,
  { action, of, before, after, details }: Happening,
  failure: ErrorReason | null,
): Entry {
  const row = after ?? before;
  const subject = row === undefined ? undefined : of.subject?.(row);
  const changes = changesOf(of, before, after);
  const attempt = attemptOf(call, subject);
  return {
    action: action ?? firstActionOf(call.mutation),
    actor: call.told.identified ?? call.actor,
    failure,
    ...(row === undefined ? nobody(call) : named(of, row)),
    details: details ?? {},
    changes: changes.map((change) =>
      change.sensitivity ? { path: change.path, sensitivity: change.sensitivity } : change,
    ),
    subjectHmac: attempt?.hmac ?? null,
    personal: [
      [subject, row === undefined ? undefined : personalName(of, row)],
      [subject, { changes: personalChanges(changes) }],
      [attempt?.subject, attempt?.values],
    ],
  };
}

/** The entry for a call that failed: about the row it told of last, with its input but for its secrets. */
export function entryOfFailure(
  call: Call,
  input: Readonly<Record<string, unknown>>,
  failure: ErrorReason,
): Entry {
  const { actor, told, mutation } = call;
  const { failure: failureAction, sensitive } = MUTATIONS[mutation];
  const given = Object.entries(input).filter(([, value]) => value !== undefined);
  const kept = (as: string | undefined) =>
    Object.fromEntries(given.filter(([name]) => (sensitive as Record<string, string>)[name] === as));
  const clear = kept(undefined);
  const personal = kept('PII');
  if (typeof personal.email === 'string') told.attempted ??= { email: personal.email, tenantId: undefined };

  const { of, row } = told.about ?? {};
  const account = of?.subject?.(row);
  const attempt = attemptOf(call, account);
  const owner = attempt?.subject ?? account ?? (actor.type === 'USER' ? actor.id : undefined);
  const givenId = typeof clear.id === 'string' ? asUuid(clear.id) : undefined;
  return {
    action: failureAction ?? firstActionOf(mutation),
    actor,
    failure,
    ...(of ? named(of, row) : { ...nobody(call), resourceId: givenId ?? null }),
    details: isEmpty(clear) ? {} : { input: clear },
    changes: [],
    subjectHmac: attempt?.hmac ?? null,
    personal: [
      [owner, isEmpty(personal) ? undefined : { details: { input: personal } }],
      [account, of ? personalName(of, row) : undefined],
      [attempt?.subject, attempt?.values],
    ],
  };
}

/** Which record it is. */
export type RecordName = Pick<AuditLogRow, 'tenantId' | 'id'>;

/** What happened at another time: the id, a UUIDv7, says when. */
export interface Dated {
  readonly id: string;
  readonly occasion: Occasion;
  readonly entry: Entry;
}

/** Writes an entry into the log, as of now. */
export async function append(tx: Tx, occasion: Occasion, entry: Entry): Promise<RecordName> {
  const id = idAt(occasion.services.clock.now());
  await appendAll(tx, occasion.services, [{ id, occasion, entry }]);
  return { tenantId: entry.tenantId, id };
}

/** Writes what happened at any time, by one statement however much it is. */
export async function appendAll(
  tx: Tx,
  services: Pick<Services, 'vault'>,
  entries: readonly Dated[],
): Promise<void> {
  await insertAll(tx, auditLogs, await recordsOf(tx, services, entries));
}

async function recordsOf(tx: Tx, { vault }: Pick<Services, 'vault'>, entries: readonly Dated[]) {
  const unsealed = entries.map(({ id, entry }) => ({
    tenantId: entry.tenantId,
    createdAt: createdAtOf(id),
    values: bySubject([
      ...entry.personal,
      ...(entry.actor.type === 'USER'
        ? ([[entry.actor.id, { actor: { email: entry.actor.email, name: entry.actor.name } }]] as const)
        : []),
    ]),
  }));
  const sealed = await vault.seal(tx, unsealed);
  return entries.map((dated, at) => recordOf(dated, sealed[at]!));
}

function recordOf({ id, occasion, entry }: Dated, pii: Buffer | null) {
  const { request, operationId } = occasion;
  const { actor, failure, resourceName } = entry;
  const { key, resource, severity, security } = AUDIT_CATALOGUE[entry.action];
  const status = statusOf(failure);
  const record = {
    tenantId: entry.tenantId,
    id,
    createdAt: createdAtOf(id),
    operationId,
    schemaVersion: SCHEMA_VERSION,
    userId: actor.type === 'USER' ? actor.id : null,
    actor: recordedActor(actor),
    action: key,
    resource,
    resourceId: entry.resourceId,
    resourceName: resourceName === null ? null : recordableText(resourceName, TEXT_CHARS_MAX),
    status,
    failure,
    severity: Math.max(SEVERITIES.indexOf(severity), LEAST_SEVERITY[status]),
    // A mutation refused for want of a right is a security event, whatever the mutation.
    security: security || (failure !== null && REFUSALS[failure][0] === 'FORBIDDEN'),
    ipAddress: request.ipAddress,
    userAgent: request.userAgent === null ? null : recordableText(request.userAgent, TEXT_CHARS_MAX),
    requestId: request.id,
    context: recordedContext(occasion),
    details: boundedDetails(entry.details),
    changes: boundedChanges(entry.changes),
    subjectHmac: entry.subjectHmac,
    pii,
  };
  return { ...record, leafHash: leafHash(leafRecord(record)) };
}

function createdAtOf(id: string): string {
  return isoOf(microsOf(id));
}

function named(of: Entity<unknown>, row: unknown) {
  return {
    tenantId: of.tenantId(row),
    resourceId: of.id(row),
    resourceName: of.subject ? null : of.label(row),
  };
}

/** Whose log tells of a call whose record names no row: that of the row it told of, the tenant it was addressed to, the actor's, or the platform's. */
function nobody({ told, actor }: Call) {
  const own = 'tenantId' in actor ? actor.tenantId : PLATFORM_TENANT;
  const concerned = told.about?.of.tenantId(told.about.row);
  return { tenantId: concerned ?? told.attempted?.tenantId ?? own, resourceId: null, resourceName: null };
}

function personalName(of: Entity<unknown>, row: unknown): PersonalValues | undefined {
  const label = of.label(row);
  return of.subject && label !== null ? { resourceName: label } : undefined;
}

function personalChanges(changes: readonly Change[]) {
  const personal = changes.filter(({ sensitivity }) => sensitivity === 'PII');
  return Object.fromEntries(personal.map(({ path, before, after }) => [path, [before, after] as const]));
}

/** The e-mail that was offered: to be found by its keyed hash, read as personal data of the account or of the e-mail itself. */
function attemptOf({ services, told }: Call, account: string | undefined) {
  if (!told.attempted) return undefined;
  const hmac = services.vault.emailHmac(normalizedEmail(told.attempted.email));
  const values: PersonalValues = { details: { email: told.attempted.email } };
  return { hmac, subject: account ?? subjectOfEmail(hmac), values };
}

/** All personal values by person, bounded as the clear ones are. */
function bySubject(personal: Entry['personal']): Map<string, PersonalValues> {
  const merged = new Map<string, PersonalValues>();
  for (const [subject, values] of personal) {
    if (subject === undefined || values === undefined) continue;
    const known = merged.get(subject) ?? {};
    const details = { ...known.details, ...values.details };
    merged.set(subject, { ...known, ...values, ...(isEmpty(details) ? {} : { details }) });
  }
  const told = [...merged].filter(([, values]) => Object.values(values).some((value) => !isEmpty(value)));
  return new Map(told.map(([subject, values]) => [subject, bounded(values)]));
}

/** A caller may flood what it tells; who acted and on whom is ours to tell, and stays whatever it weighs. */
function bounded({ details, ...ours }: PersonalValues): PersonalValues {
  return {
    ...(recordable(ours) as PersonalValues),
    ...(details ? { details: boundedDetails(details) } : {}),
  };
}

function statusOf(failure: ErrorReason | null): AuditLogRow['status'] {
  if (failure === null) return 'success';
  return failure === 'INTERNAL' ? 'error' : 'failure';
}

function recordedActor(actor: Actor): AuditLogRow['actor'] {
  if (actor.type === 'USER') return { type: 'USER', role: actor.role, sessionId: actor.sessionId };
  if (actor.type === 'API_KEY') return { type: 'API_KEY', apiKeyId: actor.id, apiKeyName: actor.name };
  return actor.type === 'SYSTEM' ? { type: 'SYSTEM', system: actor.system } : { type: 'ANONYMOUS' };
}

function recordedContext({ request, field }: Occasion): AuditLogRow['context'] {
  const { operationName, fieldPath, documentHash } = field;
  return {
    transport: request.transport,
    ...(operationName ? { operationName: recordableText(operationName, TEXT_CHARS_MAX) } : {}),
    ...(fieldPath ? { fieldPath: recordableText(fieldPath, TEXT_CHARS_MAX) } : {}),
    ...(documentHash ? { documentHash } : {}),
    ...(request.forwardedFor ? { forwardedFor: request.forwardedFor } : {}),
  };
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
