/** A ratio, as the median of the ratios of pairs, with the middle half of them. */
export interface Ratio {
  readonly median: number;
  readonly from: number;
  readonly to: number;
}

/** The first of each pair through its second. */
export function ratios(pairs: readonly (readonly [number, number])[]): Ratio {
  const values = pairs.map(([one, other]) => one / other);
  return { median: median(values), from: quantile(values, 0.25), to: quantile(values, 0.75) };
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * at), sorted.length - 1)]!;
}
