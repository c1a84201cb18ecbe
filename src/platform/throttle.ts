/**
 * How many password checks may fail, and for whom. A check is counted before it is made and given back when the password
 * holds, so attempts in parallel do not get past a limit; a refused attempt is not looked at and counts nowhere.
 *
 * Accounts are told apart by what was typed, never by what exists: an unknown account is throttled as a known one is. The
 * counters stand in Postgres and are those of all processes; rate-limiter-flexible does the counting.
 */
import { randomInt } from 'node:crypto';

import { type SQL, sql } from 'drizzle-orm';
import type { Logger } from 'pino';
import {
  type RateLimiterAbstract,
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRes,
} from 'rate-limiter-flexible';

import { addressKey } from './addressKey.ts';
import type { Database, Tx } from './db.ts';
import { Refusal } from './refusal.ts';
import { openTurns } from './turns.ts';

/** So many failures in so many seconds from the first on; one more, and so many seconds pass until the next attempt. */
export interface Limit {
  readonly points: number;
  readonly duration: number;
  /** Default: the rest of `duration`. */
  readonly blockDuration?: number;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;

/** Durations are in seconds. Tests alone have others. */
export const LIMITS = {
  /** Of an account from an address: somebody who mistypes. */
  pair: { points: 5, duration: 15 * MINUTE, blockDuration: 15 * MINUTE },
  /** From an address: somebody who tries many accounts. */
  address: { points: 50, duration: 15 * MINUTE },
  /** Of an account, from addresses it is not known to use: many who try one. Beyond it each attempt has to wait, see `pauseAfter`. */
  account: { points: 20, duration: HOUR },
  /** From all addresses that are not known: keeps the queue of passwords short. */
  everywhere: { points: 100, duration: 1 },
} as const satisfies Record<string, Limit>;

export type Limits = Readonly<Record<keyof typeof LIMITS, Limit>>;

/** The longest wait between two attempts on one account, in seconds. */
const PAUSE_MAX = 5 * MINUTE;
/** Longer than any counter lives, so that none from before an unlock is met again. */
const UNLOCKED_SECONDS = 2 * HOUR;
/** Transactions at once: attempts wait for each other's rows, and must not hold all connections meanwhile. */
const COUNTING_MAX = 2;
const CLEAN_EVERY_MS = 5 * 60_000;
/** `throttleCounters` of auth/tables.ts; platform imports no room above it. */
const TABLE = 'throttle_counters';

/** An attempt to prove who one is. */
export interface Attempt {
  /** Keyed hash of the e-mail that was typed. */
  readonly account: string;
  /** The tenant of the account that is meant, if there is one: whose administrator may have unlocked it. */
  readonly tenantId: string | undefined;
  readonly ipAddress: string | null;
  /** Whether the account is known to be used from there: then only its own limit at that address counts. */
  readonly known: boolean;
  /** Whether success makes good for what failed before, for that account from that address. */
  readonly forgets: boolean;
}

export interface Throttle {
  /** Whether the password holds, as `proves` says. Rejects with Throttled, then `proves` is not called, or as `proves` does. */
  check(attempt: Attempt, proves: () => Promise<boolean>): Promise<boolean>;
  /** Forgets all failures of an account, from wherever they came. */
  unlock(account: Pick<Attempt, 'account'> & { readonly tenantId: string }): Promise<void>;
  stop(): Promise<void>;
}

/** Refused unseen, because too many attempts have failed. */
export class Throttled extends Refusal {
  /** The limit that was reached, and by whom: `address:192.0.2.1`. */
  readonly key: string;
  constructor(key: string, waitMs: number) {
    super('TOO_MANY_ATTEMPTS', { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) });
    this.key = key;
  }
}

export interface ThrottleOptions {
  readonly db: Database;
  readonly log: Logger;
  readonly limits?: Partial<Limits> | undefined;
}

type Counter = keyof Limits | 'pause' | 'unlocked';
type Counters = Readonly<Record<Counter, RateLimiterAbstract>>;
type Taken = readonly (readonly [Counter, string])[];

/** Opens the throttle; connects when first used. */
export function openThrottle({ db, log, limits: given }: ThrottleOptions): Throttle {
  const limits: Limits = { ...LIMITS, ...given };
  // Where the table cannot be had, each process counts for itself: neither does everybody pass, nor nobody.
  const inMemory = countersOf(limits, (options) => new RateLimiterMemory(options));
  const inTurn = openTurns(COUNTING_MAX);

  const counting = async <T>(work: (counters: Counters) => Promise<T>): Promise<T> => {
    try {
      return await inTurn(() => db.withTx('PLATFORM', (tx) => work(countersIn(tx, limits))));
    } catch (err) {
      log.error(
        { err },
        'Failed attempts cannot be counted in the database: this process counts for itself.',
      );
      return await work(inMemory);
    }
  };

  const cleaning = setInterval(() => {
    db.withTx('PLATFORM', clean).catch((err: unknown) => log.warn({ err }, 'Old counters were not cleared.'));
  }, CLEAN_EVERY_MS).unref();

  return {
    async check(attempt, proves) {
      const { taken, refusal } = await counting((counters) => take(counters, limits, attempt));
      if (refusal) throw refusal;
      let proven: boolean | undefined;
      try {
        proven = await proves();
        return proven;
      } finally {
        // What could not be judged, such as for a full queue, was no failure.
        if (proven !== false) {
          const forgets = proven === true && attempt.forgets;
          await counting((counters) => giveBack(counters, taken, forgets));
        }
      }
    },
    async unlock({ tenantId, account }) {
      // From now on the account has other counters. Not a number that counts up: it would begin again, and meet old ones.
      await counting(({ unlocked }) =>
        unlocked.set(`${tenantId}:${account}`, randomInt(1, 2 ** 31), UNLOCKED_SECONDS),
      );
    },
    async stop() {
      clearInterval(cleaning);
    },
  };
}

/** Counts an attempt wherever it counts, or nowhere if one of the limits is reached. */
async function take(
  counters: Counters,
  limits: Limits,
  { account, tenantId, ipAddress, known }: Attempt,
): Promise<{ taken: Taken; refusal?: Throttled }> {
  const address = addressKey(ipAddress) ?? 'none';
  const unlocked = tenantId === undefined ? null : await counters.unlocked.get(`${tenantId}:${account}`);
  const who = `${account}:${unlocked?.consumedPoints ?? 0}`;
  const pair = ['pair', `${who}:${address}`] as const;
  // Always in this order: who holds one counter never waits for another's that waits for it.
  const wanted = known
    ? [pair]
    : ([['address', address], pair, ['everywhere', 'all'], ['account', who]] as const);
  const taken: [Counter, string][] = [];
  for (const [counter, key] of wanted) {
    const { res, over } = await consumed(counters[counter].consume(key));
    const waitMs =
      over && (counter === 'account' ? await pause(counters, limits, key, res) : res.msBeforeNext);
    if (waitMs !== false) {
      await giveBack(counters, taken, false);
      return { taken: [], refusal: new Throttled(`${counter}:${key}`, waitMs) };
    }
    taken.push([counter, key]);
  }
  return { taken };
}

/** Lets one attempt on the account pass, or says how long it has to wait. */
async function pause(
  counters: Counters,
  limits: Limits,
  who: string,
  { consumedPoints }: RateLimiterRes,
): Promise<number | false> {
  const customDuration = pauseAfter(consumedPoints - limits.account.points);
  const { res, over } = await consumed(counters.pause.consume(who, 1, { customDuration }));
  if (!over) return false;
  await counters.account.reward(who);
  return res.msBeforeNext;
}

/** After the first failure beyond the limit one second, then twice as long each time. */
function pauseAfter(beyond: number): number {
  return Math.min(2 ** (beyond - 1), PAUSE_MAX);
}

async function giveBack(counters: Counters, taken: Taken, forgets: boolean): Promise<void> {
  for (const [counter, key] of taken) {
    // Only those of the same address (NIST SP 800-63B, 5.2.2): elsewhere somebody else may be guessing.
    if (forgets && counter === 'pair') await counters.pair.delete(key);
    else await counters[counter].reward(key);
  }
}

/** What a counter says; it says "too many" by rejecting. */
async function consumed(consuming: Promise<RateLimiterRes>): Promise<{ res: RateLimiterRes; over: boolean }> {
  try {
    return { res: await consuming, over: false };
  } catch (thrown) {
    if (!(thrown instanceof RateLimiterRes)) throw thrown;
    return { res: thrown, over: true };
  }
}

function countersOf(
  limits: Limits,
  open: (options: Limit & { readonly keyPrefix: Counter }) => RateLimiterAbstract,
): Counters {
  return {
    pair: open({ keyPrefix: 'pair', ...limits.pair }),
    address: open({ keyPrefix: 'address', ...limits.address }),
    account: open({ keyPrefix: 'account', ...limits.account }),
    everywhere: open({ keyPrefix: 'everywhere', ...limits.everywhere }),
    pause: open({ keyPrefix: 'pause', points: 1, duration: PAUSE_MAX }),
    unlocked: open({ keyPrefix: 'unlocked', points: 1, duration: UNLOCKED_SECONDS }),
  };
}

/** The counters of the database, in one transaction: they count all together, or none does. */
function countersIn(tx: Tx, limits: Limits): Counters {
  const storeClient = {
    async query({ text, values }: { text: string; values: readonly unknown[] }) {
      const rows = await tx.execute(withValues(text, values));
      return { rows, rowCount: rows.length };
    },
  };
  return countersOf(
    limits,
    (options) =>
      new RateLimiterPostgres({
        ...options,
        storeClient,
        storeType: 'client',
        tableName: TABLE,
        tableCreated: true,
        clearExpiredByTimeout: false,
      }),
  );
}

/** `$1` and so on as Drizzle's parameters. */
function withValues(text: string, values: readonly unknown[]): SQL {
  const parts = text.split(/\$(\d)/);
  return sql.join(parts.map((part, at) => (at % 2 === 0 ? sql.raw(part) : sql`${values[Number(part) - 1]}`)));
}

/** Rows that an attempt holds are left for the next time: waiting for them out of order could end in a deadlock. */
async function clean(tx: Tx): Promise<void> {
  const table = sql.identifier(TABLE);
  await tx.execute(
    sql`delete from ${table} where key in
      (select key from ${table} where expire < ${Date.now()} for update skip locked)`,
  );
}
