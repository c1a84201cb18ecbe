import { idAt } from './platform/ids.ts';

/** What is left to chance, the same for the same seed. */
export interface Dice {
  /** Evenly from 0 to 1. */
  readonly chance: () => number;
  /** A whole number from 0 on, below the limit. */
  readonly below: (limit: number) => number;
  readonly oneOf: <T>(values: readonly T[]) => T;
  /** A UUIDv7 of that time. */
  readonly idAt: (micros: bigint) => string;
}

/** Takes dice. */
export function openDice(seed: number): Dice {
  const chance = seededChance(seed);
  const below = (limit: number) => Math.floor(chance() * limit);
  const hex = (digits: number) =>
    below(16 ** digits)
      .toString(16)
      .padStart(digits, '0');
  const random = () => `00000000-0000-4000-8${hex(3)}-${hex(6)}${hex(6)}`;
  return {
    chance,
    below,
    oneOf: (values) => values[below(values.length)]!,
    idAt: (micros) => idAt(micros, random),
  };
}

/** Evenly from 0 to 1, the same numbers for the same seed: mulberry32. */
export function seededChance(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
