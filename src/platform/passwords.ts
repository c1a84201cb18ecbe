import { createHmac } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Tinypool } from 'tinypool';

import { KEY_BYTES } from './crypto.ts';
import type { PasswordTask } from './passwordsWorker.ts';

/** Bounds of a password, after NFKC: counted in code points, and bounded in bytes of UTF-8. */
const PASSWORD_CHARS_MIN = 8;
const PASSWORD_CHARS_MAX = 128;
const PASSWORD_BYTES_MAX = 512;
/** NFKC makes one code point of at most six units (a vowel of Gurung Khema): what is longer cannot fit after it. */
const RAW_UNITS_MAX = 8 * PASSWORD_CHARS_MAX;
const COST_MIN = 4;
const COST_MAX = 16;

/** Why a password is not accepted. */
export type PasswordFault = 'TOO_SHORT' | 'TOO_LONG' | 'NOT_TEXT' | 'TOO_COMMON';

/** A password cannot be taken as a new one; `fault` says why. Callers turn it into a refusal. */
export class PasswordPolicyError extends Error {
  override readonly name = 'PasswordPolicyError';
  readonly fault: PasswordFault;
  constructor(fault: PasswordFault) {
    super(FAULTS[fault]);
    this.fault = fault;
  }
}

/** Too many passwords wait to be hashed: the caller answers "try again", it does not wait. */
export class PasswordQueueFull extends Error {
  override readonly name = 'PasswordQueueFull';
}

/** Hashes and checks passwords in worker threads. */
export interface Passwords {
  /** A bcrypt hash of a new password, to store. Rejects with `PasswordPolicyError` or `PasswordQueueFull`. */
  hash(password: string): Promise<string>;
  /** The same of a password that has just been proven: one that has become common since still lets its owner in. */
  rehash(password: string): Promise<string>;
  /**
   * Whether this is the password of that hash; null stands for an account that does not exist. Takes as long for an
   * unknown account, a malformed hash, an older cost, or a password out of bounds as for a wrong password.
   * Rejects with `PasswordQueueFull` only.
   */
  verify(password: string, hash: string | null): Promise<boolean>;
  /** Whether a hash was not made as `hash` makes them today. Ask after a successful `verify`. */
  needsRehash(hash: string): boolean;
  /** How many passwords wait for a thread. */
  waiting(): number;
  /** Ends the threads. What still waits is rejected. */
  stop(): Promise<void>;
}

export interface PasswordsOptions {
  /** A secret of at least 32 bytes kept outside the database. Changing it invalidates every password. */
  readonly pepper: Buffer;
  /** log2 of the rounds of bcrypt, 4 to 16; below 10 is for tests. */
  readonly cost?: number;
  /** Threads; by default one fewer than processors, so that the event loop keeps one, but at most 8. */
  readonly workers?: number;
  /** How many passwords may wait for a thread. */
  readonly queueMax?: number;
}

/**
 * Starts the threads that hash passwords.
 *
 * bcrypt sees base64(HMAC-SHA-384(pepper, NFKC(password))), always: bcrypt alone ignores what follows byte 72, takes
 * "" and "\0" for the same, and lets a stolen table be guessed at without another secret. 64 characters fit.
 */
export function openPasswords({
  pepper,
  cost = 12,
  workers = Math.min(8, Math.max(1, availableParallelism() - 1)),
  queueMax = 256,
}: PasswordsOptions): Passwords {
  if (pepper.length < KEY_BYTES) {
    throw new RangeError(
      `The pepper of passwords has at least ${KEY_BYTES} bytes, but this one has ${pepper.length}.`,
    );
  }
  if (!Number.isInteger(cost) || cost < COST_MIN || cost > COST_MAX) {
    throw new RangeError(
      `The cost of bcrypt is an integer from ${COST_MIN} to ${COST_MAX}, but got ${cost}.`,
    );
  }
  // A well-formed hash that no password has: its time is what an unknown account costs.
  const dummy = `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
  // All threads from the start, or the first answers would be slow in a way that depends on the account. No listener
  // for "error": a thread that cannot load its file is a broken installation and has to end the process.
  const pool = new Tinypool({ ...workerFile(), minThreads: workers, maxThreads: workers });
  let running = 0;
  let stopped: Promise<void> | undefined;

  return {
    async hash(password) {
      return await run('hash', { text: prehash(checkPassword(password, await commonPasswords())), cost });
    },
    async rehash(password) {
      return await run('hash', { text: prehash(checkPassword(password)), cost });
    },
    async verify(password, hash) {
      const normal = normalise(password);
      const usable = hash !== null && costOf(hash) !== undefined;
      const text = prehash(typeof normal === 'string' ? normal : '');
      const same = await run('verify', { text, hash: usable ? hash : dummy, costFloor: cost });
      return same === true && usable && typeof normal === 'string';
    },
    needsRehash: (hash) => costOf(hash) !== cost || !hash.startsWith('$2b$'),
    waiting: () => Math.max(0, running - workers),
    stop: () => (stopped ??= pool.destroy()),
  };

  async function run(name: 'hash' | 'verify', task: PasswordTask) {
    // The pool itself would start new threads.
    if (stopped) throw new Error('The hashing of passwords is stopped.');
    if (running >= workers + queueMax) {
      throw new PasswordQueueFull(`${queueMax} passwords already wait to be hashed.`);
    }
    running++;
    try {
      return await pool.run(task, { name });
    } finally {
      running--;
    }
  }

  function prehash(normal: string): string {
    return createHmac('sha384', pepper).update(normal).digest('base64');
  }
}

/**
 * The password as it is hashed (NFKC), if it may be taken as a new one; throws a `PasswordPolicyError` otherwise.
 * Bounds, not composition: 8 to 128 code points, at most 512 bytes (OWASP ASVS 5.0, 6.2.1 to 6.2.9).
 * `common` holds lower-case passwords to refuse whatever their case (6.2.4).
 */
export function checkPassword(password: string, common: ReadonlySet<string> = new Set()): string {
  const normal = normalise(password);
  if (typeof normal !== 'string') throw new PasswordPolicyError(normal.fault);
  if (common.has(normal.toLowerCase())) throw new PasswordPolicyError('TOO_COMMON');
  return normal;
}

let common: Promise<ReadonlySet<string>> | undefined;

/**
 * The passwords that most people take, in lower case: 49,233, of which 17,950 are long enough (ASVS 5.0, 6.2.4 asks for
 * 3,000). Read when the first password is set: 40 ms and 4 MB that no start and no sign-in needs.
 */
function commonPasswords(): Promise<ReadonlySet<string>> {
  return (common ??= import('@zxcvbn-ts/language-common').then(
    ({ dictionary }) => new Set(dictionary['passwords-common']),
  ));
}

const FAULTS: Record<PasswordFault, string> = {
  TOO_SHORT: `A password has at least ${PASSWORD_CHARS_MIN} characters.`,
  TOO_LONG: `A password has at most ${PASSWORD_CHARS_MAX} characters and ${PASSWORD_BYTES_MAX} bytes.`,
  NOT_TEXT: 'A password is Unicode text: this one holds half a surrogate pair.',
  TOO_COMMON: 'This password is among the most common ones.',
};

/** Bounded before any work: normalising 20 MB takes longer than hashing does. */
function normalise(password: string): string | { fault: PasswordFault } {
  if (password.length > RAW_UNITS_MAX) return { fault: 'TOO_LONG' };
  // UTF-8 writes every lone surrogate as U+FFFD: different passwords would be the same.
  if (!password.isWellFormed()) return { fault: 'NOT_TEXT' };
  const normal = password.normalize('NFKC');
  const chars = Array.from(normal).length;
  if (chars < PASSWORD_CHARS_MIN) return { fault: 'TOO_SHORT' };
  if (chars > PASSWORD_CHARS_MAX || Buffer.byteLength(normal) > PASSWORD_BYTES_MAX)
    return { fault: 'TOO_LONG' };
  return normal;
}

/** The cost of a well-formed bcrypt hash; undefined for anything else, and for a cost that would hold a thread. */
function costOf(hash: string): number | undefined {
  const match = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(hash);
  const cost = Number(match?.[1]);
  return cost >= COST_MIN && cost <= COST_MAX ? cost : undefined;
}

/** Beside this file: .js when built; .ts in development, where Node 20 does not hand the loader on to threads. */
function workerFile(): { filename: string; execArgv: string[] } {
  const filename = fileURLToPath(import.meta.url.replace(/passwords\.(\w+)$/, 'passwordsWorker.$1'));
  if (!filename.endsWith('.ts')) return { filename, execArgv: process.execArgv };
  const tsx = import.meta.resolve('tsx/esm/api');
  const register = `import { register } from ${JSON.stringify(tsx)}; register();`;
  return { filename, execArgv: ['--import', `data:text/javascript,${encodeURIComponent(register)}`] };
}
