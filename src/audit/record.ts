/**
 * The way of every audited mutation. A deed runs in one transaction with its records; what fails is undone and leaves a
 * record of its own, in a transaction of its own; what cannot be put on record is not done (AUDIT_UNAVAILABLE).
 */
import { and, eq } from 'drizzle-orm';

import type { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type { AuditAction, ErrorReason } from '../generated/types.ts';
import {
  type Database,
  DatabaseError,
  isUnstorableText,
  type ReadTx,
  type Tenancy,
  TransactionLost,
  type Tx,
} from '../platform/db.ts';
import { idAt } from '../platform/ids.ts';
import { PasswordPolicyError, PasswordQueueFull } from '../platform/passwords.ts';
import { Refusal } from '../platform/refusal.ts';
import { Throttled } from '../platform/throttle.ts';
import { describe, spanned } from '../platform/tracing.ts';
import type {
  Act,
  Actor,
  Deed,
  Done,
  FieldFacts,
  InputOf,
  Mutations,
  PayloadOf,
  Preparation,
  Receipts,
  RequestFacts,
  Services,
  UserActor,
} from './act.ts';
import {
  append,
  type Call,
  type Entry,
  entryOf,
  entryOfFailure,
  firstActionOf,
  type Happening,
  type RecordName,
} from './entry.ts';
import type { Together } from './heldBack.ts';
import { auditLogs, PLATFORM_TENANT } from './tables.ts';

/** How often a deed is tried when it loses against another one: a serialization failure, a deadlock. */
const ATTEMPTS_MAX = 3;
const LOST_AGAINST_ANOTHER = ['40001', '40P01'];
const BUSY_RETRY_SECONDS = 5;

/** Unique constraints whose violation is the caller's affair. */
const REFUSAL_OF_CONSTRAINT: Readonly<Record<string, ErrorReason>> = {
  users_email_key: 'EMAIL_TAKEN',
  tenants_subdomain_key: 'SUBDOMAIN_TAKEN',
  branches_code_key: 'BRANCH_CODE_TAKEN',
};

/** What recording works with. */
export interface Recorder {
  readonly db: Database;
  readonly services: Services;
  /** Called after a commit that left records, so that they are sealed without waiting for the sealer's next look. */
  readonly recorded: (what: Recorded) => void;
}

/** What was left on record. */
export interface Recorded {
  readonly by: Mutations | SystemWork;
  /** Null for a success. */
  readonly failure: ErrorReason | null;
  readonly records: Receipts['receipts'];
}

/** Who calls, and how. */
export interface Caller {
  readonly actor: Actor;
  readonly request: RequestFacts;
  readonly read: Preparation['read'];
  /** Told who the call itself has proven to be, once it has succeeded. */
  readonly identified?: (user: UserActor) => void;
}

/** The rows an actor's transactions may touch: those of its tenant, or all. */
export function tenancyOf(actor: Actor): Tenancy {
  // Signing in looks accounts up in all tenants, so nobody in particular is as wide as the platform; @requires keeps
  // everything but the sign-in mutations from them.
  return 'tenantId' in actor && actor.tenantId !== PLATFORM_TENANT
    ? { tenantId: actor.tenantId }
    : 'PLATFORM';
}

/** Carries out a deed and writes its records in the same transaction. Throws a Refusal, whatever happens. */
export async function perform<M extends Mutations>(
  recorder: Recorder,
  caller: Caller,
  mutation: M,
  deed: Deed<M>,
  input: InputOf<M>,
  field: FieldFacts,
): Promise<PayloadOf<M> & Receipts> {
  return await spanned(`perform ${mutation}`, { 'custos.mutation': mutation }, () =>
    performed(recorder, caller, mutation, deed, input, field),
  );
}

async function performed<M extends Mutations>(
  recorder: Recorder,
  caller: Caller,
  mutation: M,
  deed: Deed<M>,
  input: InputOf<M>,
  field: FieldFacts,
): Promise<PayloadOf<M> & Receipts> {
  const { services } = recorder;
  await services.months.ready();
  const now = services.clock.now();
  const { actor, request } = caller;
  const call: Call = { services, mutation, operationId: idAt(now), actor, request, field, told: {} };
  const preparation: Preparation = { actor, request, services, now, ...telling(call), read: caller.read };

  let outcome: Committed<M>;
  try {
    const work =
      'prepare' in deed ? await deed.prepare(preparation, input) : (act: Act<M>) => deed(act, input);
    outcome = await committed(recorder, call, preparation, work);
  } catch (cause) {
    const refusal = refusalOf(cause, input ?? {});
    if (refusal.reason === 'INTERNAL')
      services.log.error({ err: cause, mutation, requestId: request.id }, 'a mutation failed');
    if (refusal.reason !== 'OUTCOME_UNKNOWN') await recordFailure(recorder, call, input, refusal);
    throw refusal;
  }
  tell(recorder, { by: mutation, failure: outcome.refused ?? null, records: outcome.receipts });
  for (const work of outcome.afterwards) {
    // Once the answer is on its way: how long it took must not tell whether there was anything to do.
    setImmediate(() => {
      work().catch((err: unknown) =>
        services.log.error({ err, mutation, requestId: request.id }, 'work after a commit failed'),
      );
    });
  }
  if (outcome.refused !== undefined) throw new Refusal(outcome.refused);
  if (call.told.identified) caller.identified?.(call.told.identified);
  return { ...outcome.payload!, receipts: outcome.receipts };
}

type EmitterOf<Action extends AuditAction> = (typeof AUDIT_CATALOGUE)[Action]['emittedBy'][number];

/** Work of Custos itself that leaves records: what the actions of the SDL name as their `emitter`. */
export type SystemWork = Exclude<EmitterOf<AuditAction>, Mutations>;

/** What system work puts on record. Nobody asked for it, but a call may have given rise to it: then its id and address stand here. */
export interface Finding<Work extends SystemWork> extends Omit<
  Entry,
  'action' | 'actor' | 'failure' | 'changes'
> {
  readonly action: { [A in AuditAction]: Work extends EmitterOf<A> ? A : never }[AuditAction];
  readonly requestId: string;
  readonly ipAddress: string | null;
}

/** A transaction of system work; what it changes in audited tables needs a record in it, as everywhere. */
export interface SystemAct<Work extends SystemWork> {
  readonly tx: Tx;
  readonly services: Services;
  /** Returns the record's id. */
  record(finding: Finding<Work>): Promise<string>;
}

/** Does a piece of system work in one transaction with its records, if it leaves any. Rejects as `withTx`; nothing is done then. */
export async function performAsSystem<Work extends SystemWork, Result>(
  { db, services, recorded }: Recorder,
  system: Work,
  work: (act: SystemAct<Work>) => Promise<Result>,
  { deadlineMs }: { readonly deadlineMs?: number } = {},
): Promise<Result> {
  await services.months.ready();
  const operationId = idAt(services.clock.now());
  let last: RecordName | undefined;
  const records: Recorded['records'][number][] = [];
  const result = await db.withTx(
    'PLATFORM',
    (tx) =>
      work({
        tx,
        services,
        async record({ requestId: id, ipAddress, ...entry }) {
          const request = { ...NO_CLIENT, id, ipAddress };
          const actor: Actor = { type: 'SYSTEM', system };
          const whole: Entry = { ...entry, actor, failure: null, changes: [] };
          last = await append(tx, { services, operationId, request, field: {} }, whole);
          records.push({ id: last.id, action: whole.action });
          return last.id;
        },
      }),
    { committed: (tx) => stands(tx, last), deadlineMs },
  );
  if (last) tell({ recorded }, { by: system, failure: null, records });
  return result;
}

const NO_CLIENT = { transport: 'INTERNAL', userAgent: null, forwardedFor: null } as const;

/** What a Done holds; nobody but this file looks inside. */
interface Outcome<M extends Mutations> {
  readonly payload?: PayloadOf<M>;
  readonly refused?: ErrorReason;
  readonly happenings: readonly Happening[];
}

interface Committed<M extends Mutations> extends Omit<Outcome<M>, 'happenings'>, Receipts {
  readonly afterwards: readonly (() => Promise<void>)[];
}

/** Runs a deed and appends its records until it is committed, again if it lost against another. */
async function committed<M extends Mutations>(
  { db }: Recorder,
  call: Call,
  preparation: Preparation,
  work: (act: Act<M>) => Promise<Done<M>>,
): Promise<Committed<M>> {
  for (let attempt = 1; ; attempt++) {
    let last: RecordName | undefined;
    try {
      return await db.withTx(
        tenancyOf(call.actor),
        async (tx) => {
          const afterwards: (() => Promise<void>)[] = [];
          const { happenings, ...outcome } = outcomeOf(
            await work(actOn<M>(tx, call, preparation, afterwards)),
          );
          const receipts = [];
          for (const happening of happenings) {
            last = await append(tx, call, entryOf(call, happening, outcome.refused ?? null));
            receipts.push({ id: last.id, action: happening.action ?? firstActionOf(call.mutation) });
          }
          return { ...outcome, receipts, afterwards };
        },
        { committed: (tx) => stands(tx, last) },
      );
    } catch (cause) {
      const lost = cause instanceof DatabaseError && LOST_AGAINST_ANOTHER.includes(cause.sqlstate);
      if (!lost || attempt === ATTEMPTS_MAX) throw cause;
    }
  }
}

/** Whether a record was committed: asked when the answer to its COMMIT was lost. */
async function stands(tx: ReadTx, record: RecordName | undefined): Promise<boolean> {
  if (!record) return false;
  const where = and(eq(auditLogs.tenantId, record.tenantId), eq(auditLogs.id, record.id));
  return (await tx.select({ id: auditLogs.id }).from(auditLogs).where(where)).length > 0;
}

/** Writes what became of a failed call, or has it written together with others. Throws LOG_NOT_WRITTEN when it cannot. */
async function recordFailure(
  recorder: Recorder,
  call: Call,
  input: Readonly<Record<string, unknown>> | undefined,
  refusal: Refusal,
): Promise<void> {
  const { db, services } = recorder;
  const { mutation, request } = call;
  const entry = entryOfFailure(call, input ?? {}, refusal.reason);
  const write = async (together?: Together) => {
    const details = { ...entry.details, ...together };
    const { id } = await db.withTx('PLATFORM', (tx) => append(tx, call, { ...entry, details }));
    tell(recorder, { by: mutation, failure: refusal.reason, records: [{ id, action: entry.action }] });
  };
  const about = `${mutation} ${entry.tenantId} ${entry.resourceId}`;
  if (refusal instanceof Throttled && services.heldBack.holds(refusal.key, about, write)) return;
  try {
    await write();
  } catch (cause) {
    services.log.error(
      { err: cause, mutation, requestId: request.id },
      'a failed mutation could not be put on record',
    );
    throw new Refusal('LOG_NOT_WRITTEN', { cause });
  }
}

function tell({ recorded }: Pick<Recorder, 'recorded'>, what: Recorded): void {
  describe({
    'custos.outcome': what.failure ?? 'SUCCESS',
    'custos.actions': what.records.map(({ action }) => action),
    'custos.records': what.records.map(({ id }) => id),
  });
  recorded(what);
}

function telling({ told }: Call): Pick<Preparation, 'about' | 'attempted'> {
  return {
    about: (of, row) => {
      told.about = { of, row } as NonNullable<Call['told']['about']>;
    },
    attempted: (email, tenantId) => {
      told.attempted = { email, tenantId };
    },
  };
}

function actOn<M extends Mutations>(
  tx: Tx,
  { told }: Call,
  { read: _read, ...preparation }: Preparation,
  afterwards: (() => Promise<void>)[],
): Act<M> {
  // The brand exists in the types only: the types are what keeps a deed from making one.
  const done = (outcome: Outcome<M>) => outcome as unknown as Done<M>;
  return {
    ...preparation,
    tx,
    identified: (user) => {
      told.identified = user;
    },
    done: (payload, ...happenings) =>
      done({ payload, happenings: happenings.filter(Boolean) as Happening[] }),
    refused: (reason, happening) => done({ refused: reason, happenings: [happening as Happening] }),
    afterwards: (work) => void afterwards.push(work),
  };
}

function outcomeOf<M extends Mutations>(done: Done<M>): Outcome<M> {
  return done as unknown as Outcome<M>;
}

/** Every error as the caller may see it. */
function refusalOf(cause: unknown, input: object): Refusal {
  if (cause instanceof Refusal) return cause;
  if (cause instanceof PasswordPolicyError) {
    const field = 'newPassword' in input ? 'newPassword' : 'password';
    return new Refusal('PASSWORD_POLICY', { cause, fields: { [field]: cause.message } });
  }
  if (cause instanceof PasswordQueueFull)
    return new Refusal('BUSY', { cause, retryAfterSeconds: BUSY_RETRY_SECONDS });
  if (cause instanceof TransactionLost && cause.code === 'COMMIT_UNKNOWN')
    return new Refusal('OUTCOME_UNKNOWN', { cause });
  if (isUnstorableText(cause)) return new Refusal('INVALID_INPUT', { cause });
  const constraint = cause instanceof DatabaseError ? cause.constraint : undefined;
  const reason = constraint === undefined ? undefined : REFUSAL_OF_CONSTRAINT[constraint];
  return new Refusal(reason ?? 'INTERNAL', { cause });
}
