import { compareSync, hashSync } from 'bcryptjs';

/** Hashing work for one thread. `costFloor` is the cost whose time every comparison takes at least. */
export type PasswordTask =
  | { readonly text: string; readonly cost: number }
  | { readonly text: string; readonly hash: string; readonly costFloor: number };

/** Makes a new hash. Runs in a worker thread: a second of computing here delays nobody but the caller. */
export function hash({ text, cost }: Extract<PasswordTask, { cost: number }>): string {
  return hashSync(text, cost);
}

/**
 * Compares with a well-formed hash. A hash of a lower cost than today's takes as long as one of today's, or the time
 * of an answer would tell old accounts from unknown ones: 2^c + (2^c + ... + 2^(C-1)) = 2^C.
 */
export function verify({ text, hash, costFloor }: Extract<PasswordTask, { hash: string }>): boolean {
  const same = compareSync(text, hash);
  for (let cost = Number(hash.slice(4, 6)); cost < costFloor; cost++) hashSync(text, cost);
  return same;
}
