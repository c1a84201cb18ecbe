import DataLoader from 'dataloader';

import type { Actor, Batch, Context, LiveStep, RequestFacts, Scope, UserActor } from '../audit/act.ts';
import { confinedTo } from '../audit/act.ts';
import { type Condition, fulfils, ofActions } from '../audit/filter.ts';
import { perform, type Recorder, tenancyOf } from '../audit/record.ts';
import { personalOf } from '../audit/query.ts';
import type { LogRead } from '../audit/reads.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import type { Feed } from '../feed/follow.ts';
import type { Scope as Permission } from '../generated/types.ts';
import { type ReadTx, withoutParameters } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';
import { assertMay } from './permission.ts';
import { personalTogether } from './together.ts';

const KEYS_A_BATCH_MAX = 500;
const NOBODY: Actor = { type: 'ANONYMOUS' };

/** What contexts are made of; one a process. */
export interface House extends Recorder {
  readonly feed: Feed;
  /** See Context. */
  readonly sealerLagMs: () => number;
}

/** A context for one operation, which ends with `settle`. */
export interface OperationContext extends Context {
  /** Ends the reading transaction. What is read afterwards is read anew. */
  settle(): Promise<void>;
}

export interface Caller {
  readonly request: RequestFacts;
  /** Who asks. Asked again while a subscription lives, because rights change meanwhile. */
  authenticate(): Promise<Actor>;
  /** Ends the connection of an actor that may no longer act; absent on HTTP. */
  hangUp?(): void;
}

/** Opens the context of an operation. */
export async function openContext(house: House, caller: Caller): Promise<OperationContext> {
  const { db, services, feed } = house;
  const { request } = caller;
  let actor = await caller.authenticate();
  /** Whose eyes the answer is made for: after a sign-in those of who has signed in. */
  let reader = actor;
  let reading: Reading | undefined;
  let noting: Noting | undefined;
  let loaders = new Map<unknown, unknown>();
  /** What followers read in common. */
  const shared = new Map<unknown, unknown>();
  const demanded = new Set<Permission>();

  const scopeOn = (tx: ReadTx, who: Actor): Scope => ({
    actor: who,
    request,
    services,
    now: services.clock.now(),
    tx,
  });

  /** Who the caller is by now; refuses them what they may not do any more. */
  const recognise = async () => {
    actor = await caller.authenticate();
    reader = actor;
    for (const scope of demanded) assertMay(actor, scope);
  };

  const context: OperationContext = {
    get actor() {
      return reader;
    },
    request,
    services,
    sealerLagMs: house.sealerLagMs,

    demand(scope) {
      assertMay(actor, scope);
      demanded.add(scope);
    },

    async read(query) {
      // Once all fields of the operation have begun: who holds a connection to read must not wait for one to note it.
      await Promise.resolve();
      await noting?.done.catch(() => {});
      reading ??= beginReading(house, reader, scopeOn);
      try {
        return await query(await reading.scope);
      } catch (cause) {
        throw withoutParameters(cause);
      }
    },

    noteRead(what) {
      noting ??= beginNoting(async (all) => {
        noting = undefined;
        await services.reads.note(actor, request, all);
      });
      noting.all.push(what);
      return noting.done;
    },

    async lookAgain(query) {
      await context.settle();
      await recognise();
      return await context.read(query);
    },

    load<Key, Value>(batch: Batch<Key, Value>, key: Key) {
      const known = (loaders.get(batch) ?? shared.get(batch)) as DataLoader<Key, Value> | undefined;
      const loader = known ?? loaderOf((keys: readonly Key[]) => context.read((scope) => batch(scope, keys)));
      if (!known) loaders.set(batch, loader);
      return loader.load(key);
    },

    async perform(mutation, deed, input, field, as) {
      // The payload's fields are read after the change, and no reading connection is held while a password is hashed.
      await context.settle();
      const performer = as === 'NOBODY' ? NOBODY : actor;
      reader = actor;
      const read = <T>(query: (scope: Scope) => Promise<T>) =>
        db.withReadTx(tenancyOf(performer), (tx) => query(scopeOn(tx, performer)));
      const identified = (user: UserActor) => {
        reader = user;
      };
      const performing = { actor: performer, request, read, identified };
      return await perform(house, performing, mutation, deed, input, field);
    },

    async follow(conditionNow, after) {
      const condition = await conditionNow();
      await context.settle();
      shared.set(personalOf, personalTogether(house));
      const concerning = concerningOf(actor);
      const steps = feed.follow({
        tenantId: confinedTo(actor),
        // What may end the actor's rights is followed whatever the filter lets through.
        condition: { any: [condition, concerning] },
        after: after ?? null,
      });
      return watched(
        steps,
        () => context.settle(),
        async ({ cursor, row }) => {
          if (!row) return { cursor, row };
          if (fulfils(row, concerning)) {
            try {
              await recognise();
              // Who comes back with the last cursor goes on with what they may see now.
              if (!isSame(await conditionNow(), condition)) throw new Refusal('SESSION_REVOKED');
            } catch (cause) {
              if (cause instanceof Refusal) caller.hangUp?.();
              throw cause;
            } finally {
              await context.settle();
            }
          }
          return { cursor, row: fulfils(row, condition) ? row : null };
        },
      );
    },

    async settle() {
      const ending = reading;
      reading = undefined;
      loaders = new Map();
      await ending?.end();
    },
  };
  return context;
}

function loaderOf<Key, Value>(look: (keys: readonly Key[]) => Promise<readonly Value[]>) {
  return new DataLoader<Key, Value>(look, { maxBatchSize: KEYS_A_BATCH_MAX });
}

/** What is noted together: what an operation asks for at the same time. */
interface Noting {
  readonly all: LogRead[];
  readonly done: Promise<void>;
}

function beginNoting(note: (all: readonly LogRead[]) => Promise<void>): Noting {
  const all: LogRead[] = [];
  return { all, done: Promise.resolve().then(() => note(all)) };
}

interface Reading {
  readonly scope: Promise<Scope>;
  end(): Promise<void>;
}

/** One read-only transaction for all an operation reads: one snapshot, so a page and its total agree. */
function beginReading({ db }: House, actor: Actor, scopeOn: (tx: ReadTx, who: Actor) => Scope): Reading {
  let end = () => {};
  let over: Promise<void> = Promise.resolve();
  const scope = new Promise<Scope>((begun, failed) => {
    over = db
      .withReadTx(tenancyOf(actor), (tx) => {
        begun(scopeOn(tx, actor));
        return new Promise<void>((resolve) => {
          end = resolve;
        });
      })
      // A transaction that cannot begin says so to its readers; one that breaks later has told them statement by statement.
      .catch(failed);
  });
  scope.catch(() => {});
  return {
    scope,
    async end() {
      await scope.catch(() => {});
      end();
      await over;
    },
  };
}

/** The records that may change what an actor is allowed: those about the actor, its session or its tenant, or its branches. */
function concerningOf(actor: Actor): Condition {
  const ids = 'tenantId' in actor ? [actor.id, actor.tenantId] : [];
  if (actor.type === 'USER') ids.push(actor.sessionId);
  const about: Condition = { column: 'resourceId', in: ids.filter((id) => id !== PLATFORM_TENANT) };
  if (actor.type !== 'USER' || actor.role !== 'BRANCH_MANAGER') return about;
  return { any: [about, ofActions(['USER_BRANCHES_CHANGED', 'BRANCH_DELETED', 'USER_INVITED'])] };
}

function isSame(one: Condition, other: Condition): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** The same steps, each looked at before it is handed out; an error of the look ends them. */
function watched(
  steps: AsyncIterableIterator<LiveStep>,
  before: () => Promise<void>,
  look: (step: LiveStep) => Promise<LiveStep>,
): AsyncIterableIterator<LiveStep> {
  return {
    async next() {
      await before();
      const step = await steps.next();
      if (step.done === true) return step;
      return { done: false, value: await look(step.value).catch((cause: unknown) => endWith(steps, cause)) };
    },
    return: () => steps.return!(),
    throw: (cause: unknown) => endWith(steps, cause),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function endWith(steps: AsyncIterableIterator<LiveStep>, cause: unknown): Promise<never> {
  await steps.return!();
  throw cause;
}
