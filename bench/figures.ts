import { median, quantile, type Ratio, ratios } from './statistics.ts';

/** What was measured of one side. */
export interface Side {
  readonly name: string;
  readonly unit: 'ms' | '/s' | 'MiB' | 'KiB';
  readonly p50: number;
  readonly p99?: number;
}

/** One thing that was measured. With a ratio, the sides took turns within one run. */
export interface Figure {
  readonly label: string;
  /** None where it could not be measured; a target is missed then. */
  readonly sides: readonly Side[];
  /** The first side through the second. */
  readonly ratio?: Ratio;
  readonly target?: Target;
}

/** What the ratio has to be, or without one the p99 of the only side, or its only number. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** Figures of the same sides: a table and a plot of the report. */
export interface Table {
  readonly title: string;
  readonly figures: readonly Figure[];
}

/** What a target is held against. */
export function measuredOf({ ratio, sides: [side] }: Figure): number {
  return ratio?.median ?? side?.p99 ?? side?.p50 ?? NaN;
}

/** Undefined where there is no target. */
export function isMet(figure: Figure): boolean | undefined {
  const { target } = figure;
  if (!target) return undefined;
  return 'atLeast' in target ? measuredOf(figure) >= target.atLeast : measuredOf(figure) <= target.atMost;
}

/** The times of one side, in milliseconds. */
export function times(name: string, ms: readonly number[]): Side {
  return { name, unit: 'ms', p50: median(ms), p99: quantile(ms, 0.99) };
}

/** How many a second the rounds of one side reached. */
export function rates(name: string, perSecond: readonly number[]): Side {
  return { name, unit: '/s', p50: median(perSecond) };
}

/** Two sides that were measured in pairs. */
export function compared(
  label: string,
  pairs: readonly (readonly [number, number])[],
  side: (values: readonly number[], at: 0 | 1) => Side,
  target?: Target,
): Figure {
  return {
    label,
    sides: [
      side(
        pairs.map(([one]) => one),
        0,
      ),
      side(
        pairs.map(([, other]) => other),
        1,
      ),
    ],
    ratio: ratios(pairs),
    ...(target ? { target } : {}),
  };
}

/** How long the work takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** How many a second the clients do one after the other, each beginning the next until the time is over. */
export async function throughput(clients: readonly (() => Promise<unknown>)[], ms: number): Promise<number> {
  const begin = performance.now();
  let done = 0;
  await Promise.all(
    clients.map(async (client) => {
      for (; performance.now() - begin < ms; done++) await client();
    }),
  );
  return (done * 1_000) / (performance.now() - begin);
}

/** So many pairs; which side goes first alternates, for whoever comes second meets a warmer machine. */
export async function inTurns(
  rounds: number,
  one: () => Promise<number>,
  other: () => Promise<number>,
): Promise<[number, number][]> {
  const pairs: [number, number][] = [];
  for (let round = 0; round < rounds; round++) {
    const before = round % 2 === 0 ? await one() : undefined;
    const second = await other();
    pairs.push([before ?? (await one()), second]);
  }
  return pairs;
}
