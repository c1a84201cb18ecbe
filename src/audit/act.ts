/**
 * Who asks, and what they may do with the database: a scope reads, an act writes and must say what it did. A deed is the
 * function that carries out one audited mutation. The types here make the mistakes impossible that would leave a change
 * without its record: a deed returns a `Done`, and only `act.done` and `act.refused` make one.
 */
import type { Logger } from 'pino';

import type { AUDIT_CATALOGUE, AuditedMutations } from '../generated/catalogue.ts';
import type {
  AuditAction,
  AuditTransport,
  ErrorReason,
  ResolversParentTypes,
  Role,
  Scope as Permission,
} from '../generated/types.ts';
import type { ReadTx, Tx } from '../platform/db.ts';
import type { Clock } from '../platform/ids.ts';
import type { Jobs } from '../platform/jobs.ts';
import type { Mailer } from '../platform/mail.ts';
import type { Passwords } from '../platform/passwords.ts';
import type { Targets } from '../platform/targets.ts';
import type { Throttle } from '../platform/throttle.ts';
import type { Places } from '../platform/places.ts';
import type { Tokens } from '../platform/tokens.ts';
import type { Entity } from './entity.ts';
import type { Condition } from './filter.ts';
import type { HeldBack } from './heldBack.ts';
import type { Months } from './months.ts';
import type { PersonalVault } from './personal.ts';
import type { LogRead, Reads } from './reads.ts';
import type { Signer } from './signer.ts';
import { type AuditLogRow, PLATFORM_TENANT } from './tables.ts';

/** What is at hand besides the database. Opened once a process, by src/server.ts. */
export interface Services {
  readonly clock: Clock;
  readonly log: Logger;
  readonly months: Months;
  readonly passwords: Passwords;
  readonly tokens: Tokens;
  readonly mailer: Mailer;
  readonly vault: PersonalVault;
  readonly signer: Signer;
  readonly throttle: Throttle;
  readonly heldBack: HeldBack;
  readonly jobs: Jobs;
  readonly places: Places;
  readonly targets: Targets;
  readonly reads: Reads;
  /** For how many days logs are kept for which nothing was said; undefined for ever. */
  readonly retentionDays: number | undefined;
  /** A key of 256 bits for one purpose, which says nothing about those for others. */
  readonly keyFor: (purpose: string) => Buffer;
  /** Where users reach this server, without a trailing slash: links in mails begin with it. */
  readonly publicUrl: string;
}

/** The call as the edge saw it. */
export interface RequestFacts {
  readonly id: string;
  readonly transport: AuditTransport;
  readonly ipAddress: string | null;
  readonly userAgent: string | null;
  readonly forwardedFor: readonly string[] | null;
}

/** A signed-in user, as the database knew it when the request began. */
export interface UserActor {
  readonly type: 'USER';
  readonly id: string;
  /** PLATFORM_TENANT for super administrators. */
  readonly tenantId: string;
  readonly role: Role;
  readonly email: string;
  readonly name: string;
  readonly sessionId: string;
  readonly scopes: ReadonlySet<Permission>;
  /** Why the role's other scopes are withheld for now. */
  readonly withheld?: ErrorReason;
}

/** Nobody, or somebody whose credentials did not hold: then `because` says why. */
export interface AnonymousActor {
  readonly type: 'ANONYMOUS';
  readonly because?: ErrorReason;
}

/** A program, with a key that somebody made for it. */
export interface ApiKeyActor {
  readonly type: 'API_KEY';
  readonly id: string;
  /** PLATFORM_TENANT for a key of the platform, which reaches all. */
  readonly tenantId: string;
  readonly name: string;
  readonly scopes: ReadonlySet<Permission>;
}

/** Custos itself. */
export interface SystemActor {
  readonly type: 'SYSTEM';
  readonly system: string;
}

export type Actor = UserActor | ApiKeyActor | AnonymousActor | SystemActor;

/** Whether an actor may do what the scope names. Custos itself may. */
export function holds(actor: Actor, scope: Permission): boolean {
  return actor.type === 'SYSTEM' || ('scopes' in actor && actor.scopes.has(scope));
}

/** Who is asking, on which call, with what at hand. `now` is in microseconds since 1970. */
interface Asking {
  readonly actor: Actor;
  readonly request: RequestFacts;
  readonly services: Services;
  readonly now: bigint;
}

/** Who is asking, and a read-only transaction in which their tenancy is set. */
export interface Scope extends Asking {
  readonly tx: ReadTx;
}

/** No tenant has this id: what nobody in particular sees. */
const NO_TENANT = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** The tenant an actor is confined to; undefined for those who see all. To be named in every query besides what row-level security does: the planner needs it. */
export function confinedTo(actor: Actor): string | undefined {
  if (actor.type === 'ANONYMOUS') return NO_TENANT;
  return 'tenantId' in actor && actor.tenantId !== PLATFORM_TENANT ? actor.tenantId : undefined;
}

/** Looks many keys up at once; the answers stand in the order of the keys. */
export type Batch<Key, Value> = (scope: Scope, keys: readonly Key[]) => Promise<readonly Value[]>;

/** What every resolver is given. */
export interface Context {
  readonly actor: Actor;
  readonly request: RequestFacts;
  readonly services: Services;
  /** For how long, at most, a committed record has waited for its position just now. */
  readonly sealerLagMs: () => number;
  /** Notes what the caller is about to read of a log; see audit/reads.ts. */
  noteRead(read: LogRead): Promise<void>;
  /** Refuses an actor without the scope, now and for as long as it follows the log. */
  demand(scope: Permission): void;
  /** Runs a query in the request's one read-only transaction. */
  read<T>(query: (scope: Scope) => Promise<T>): Promise<T>;
  /** Runs a query in a transaction that sees what is there by now, as who the caller is by now; refuses who may not ask any more. */
  lookAgain<T>(query: (scope: Scope) => Promise<T>): Promise<T>;
  /** Looks a key up together with the others that are asked for at the same time. */
  load<Key, Value>(batch: Batch<Key, Value>, key: Key): Promise<Value>;
  /**
   * The log from now on, or after a cursor, as long as the actor may see it; see feed/follow.ts. The condition is asked for
   * again whenever the actor's rights may have changed: the stream ends when it is another one.
   */
  follow(
    conditionNow: () => Promise<Condition>,
    after: string | null | undefined,
  ): Promise<AsyncIterableIterator<LiveStep>>;
  /** Carries out a deed on record, as the caller or as nobody in particular; see audit/record.ts. */
  perform<M extends Mutations>(
    mutation: M,
    deed: Deed<M>,
    input: InputOf<M>,
    field: FieldFacts,
    as: 'CALLER' | 'NOBODY',
  ): Promise<PayloadOf<M> & Receipts>;
}

/** One step of the live log; without a row it only says how far it has come. */
export interface LiveStep {
  readonly cursor: string;
  readonly row: AuditLogRow | null;
}

/** Where in its operation an audited field stood. */
export interface FieldFacts {
  readonly operationName?: string | undefined;
  readonly fieldPath?: string | undefined;
  readonly documentHash?: string | undefined;
}

export interface Receipts {
  readonly receipts: readonly { readonly id: string; readonly action: AuditAction }[];
}

export type Mutations = keyof AuditedMutations;
export type InputOf<M extends Mutations> = AuditedMutations[M]['input'];
export type PayloadOf<M extends Mutations> = Omit<
  ResolversParentTypes[AuditedMutations[M]['payload']],
  'receipts' | '__typename'
>;
type ActionOf<M extends Mutations> = AuditedMutations[M]['action'];
type ResourceOf<Action extends AuditAction> = (typeof AUDIT_CATALOGUE)[Action]['resource'];

/** What is said for the record while the call may still fail; a failure record holds what was said last. */
interface Telling {
  /** Names the row the call is about, as soon as it is known. */
  about<Row>(of: Entity<Row>, row: Row): void;
  /** Names an e-mail that was offered, and the tenant it was offered to. It is kept as personal data. */
  attempted(email: string, tenantId?: string): void;
}

/** Before the transaction: who asks, and reads of their own; slow work belongs here, where it holds no connection. */
export interface Preparation extends Asking, Telling {
  readonly read: <T>(query: (scope: Scope) => Promise<T>) => Promise<T>;
}

/** A scope that may write, and must say what it did. */
export interface Act<M extends Mutations> extends Asking, Telling {
  readonly tx: Tx;
  /** Says who acts, where the call itself proves it: a sign-in, a refresh. Counts only if the call succeeds. */
  identified(user: UserActor): void;
  /** Ends the deed: the payload, and what is on record: one row before and after, or two for mutations with two records. */
  done<First, Second = never>(
    payload: PayloadOf<M>,
    first: Did<ActionOf<M>, First>,
    second?: Did<ActionOf<M>, Second>,
  ): Done<M>;
  /** Ends the deed with a refusal whose writes and record are nevertheless committed. */
  refused<Row>(reason: ErrorReason, did: Did<ActionOf<M>, Row>): Done<M>;
  /** Runs once the transaction is committed, such as sending mail; the answer does not wait for it. */
  afterwards(work: () => Promise<void>): void;
}

declare const done: unique symbol;

/** The proof that a deed said what it did. */
export interface Done<M extends Mutations> {
  readonly [done]: M;
}

/** Carries out one audited mutation. */
export type Deed<M extends Mutations> =
  | ((act: Act<M>, input: InputOf<M>) => Promise<Done<M>>)
  | PreparedDeed<M>;

/** A deed with slow work before its transaction. */
export interface PreparedDeed<M extends Mutations> {
  prepare(preparation: Preparation, input: InputOf<M>): Promise<(act: Act<M>) => Promise<Done<M>>>;
}

/** All deeds: a mutation of the SDL without its function does not compile. */
export type Deeds = { readonly [M in Mutations]: Deed<M> };

/** What happened to one row. Without `action` it is the mutation's first. */
export type Did<Action extends AuditAction, Row> = {
  [A in Action]: {
    readonly action?: A;
    readonly of: Entity<Row, ResourceOf<A>>;
    readonly before?: Row | undefined;
    readonly after?: Row | undefined;
    /** What the rows do not tell, such as a reason. Never personal, never secret. */
    readonly details?: Readonly<Record<string, unknown>> | undefined;
  };
}[Action];

/** A type's resolvers: one for every field that its row does not answer by itself. */
export type Fields<Type, Row, Resolvers> = {
  readonly [Field in Exclude<keyof Type, keyof Row | '__typename'> & keyof Resolvers]-?: NonNullable<
    Resolvers[Field]
  >;
} & Resolvers;
