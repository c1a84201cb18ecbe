/**
 * The way of every audited mutation. A deed runs in one transaction with its records; what fails is undone and leaves a
 * record of its own, in a transaction of its own; what cannot be put on record is not done (AUDIT_UNAVAILABLE).
 */
import { and, eq } from 'drizzle-orm';

import type { ErrorReason } from '../generated/types.ts';
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
} from './act.ts';
import {
  append,
  type Call,
  entryOf,
  entryOfFailure,
  firstActionOf,
  type Happening,
  type RecordName,
} from './entry.ts';
import { auditLogs, PLATFORM_TENANT } from './tables.ts';

/** How often a deed is tried when it loses against another one: a serialization failure, a deadlock. */
const ATTEMPTS_MAX = 3;
const LOST_AGAINST_ANOTHER = ['40001', '40P01'];
const BUSY_RETRY_SECONDS = 5;

/** Unique constraints whose violation is the caller's affair. */
const REFUSAL_OF_CONSTRAINT: Readonly<Record<string, ErrorReason>> = {
  users_email_key: 'EMAIL_TAKEN',
  tenants_subdomain_key: 'SUBDOMAIN_TAKEN',
};

/** What recording works with. */
export interface Recorder {
  readonly db: Database;
  readonly services: Services;
  /** Called after a commit that left records, so that they are sealed without waiting for the sealer's next look. */
  readonly recorded: () => void;
}

/** Who calls, and how. */
export interface Caller {
  readonly actor: Actor;
  readonly request: RequestFacts;
  readonly read: Preparation['read'];
}

/** The rows an actor's transactions may touch: those of its tenant, or all. */
export function tenancyOf(actor: Actor): Tenancy {
  // Signing in looks accounts up in all tenants, so nobody in particular is as wide as the platform; @requires keeps
  // everything but the sign-in mutations from them.
  return actor.type === 'USER' && actor.tenantId !== PLATFORM_TENANT
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
  const { services } = recorder;
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
    const refusal = refusalOf(cause);
    if (refusal.reason === 'INTERNAL')
      services.log.error({ err: cause, mutation, requestId: request.id }, 'a mutation failed');
    if (refusal.reason !== 'OUTCOME_UNKNOWN') await recordFailure(recorder, call, input, refusal.reason);
    throw refusal;
  }
  recorder.recorded();
  for (const work of outcome.afterwards) {
    work().catch((err: unknown) =>
      services.log.error({ err, mutation, requestId: request.id }, 'work after a commit failed'),
    );
  }
  if (outcome.refused !== undefined) throw new Refusal(outcome.refused);
  return { ...outcome.payload!, receipts: outcome.receipts };
}

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

/** Writes what became of a failed call. Throws LOG_NOT_WRITTEN when it cannot. */
async function recordFailure(
  recorder: Recorder,
  call: Call,
  input: Readonly<Record<string, unknown>> | undefined,
  reason: ErrorReason,
): Promise<void> {
  const { db, services, recorded } = recorder;
  try {
    await db.withTx('PLATFORM', async (tx) => {
      await append(tx, call, entryOfFailure(call, input ?? {}, reason));
    });
  } catch (cause) {
    const { mutation, request } = call;
    services.log.error(
      { err: cause, mutation, requestId: request.id },
      'a failed mutation could not be put on record',
    );
    throw new Refusal('LOG_NOT_WRITTEN', { cause });
  }
  recorded();
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
function refusalOf(cause: unknown): Refusal {
  if (cause instanceof Refusal) return cause;
  if (cause instanceof PasswordPolicyError) return new Refusal('PASSWORD_POLICY', { cause });
  if (cause instanceof PasswordQueueFull)
    return new Refusal('BUSY', { cause, retryAfterSeconds: BUSY_RETRY_SECONDS });
  if (cause instanceof TransactionLost && cause.code === 'COMMIT_UNKNOWN')
    return new Refusal('OUTCOME_UNKNOWN', { cause });
  if (isUnstorableText(cause)) return new Refusal('INVALID_INPUT', { cause });
  const constraint = cause instanceof DatabaseError ? cause.constraint : undefined;
  const reason = constraint === undefined ? undefined : REFUSAL_OF_CONSTRAINT[constraint];
  return new Refusal(reason ?? 'INTERNAL', { cause });
}
