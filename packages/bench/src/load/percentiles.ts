/** Exact percentiles over sorted samples, as oha takes them: no interpolation. */
import type { Percentiles } from '../results/types.ts';

/** `sorted[floor(p / 100 * n)]`; the maximum where that falls off the end. `sorted` not empty. */
export function percentileOf(sorted: Float64Array, percent: number): number {
  const index = Math.floor((percent / 100) * sorted.length);
  return sorted[Math.min(index, sorted.length - 1)]!;
}

export const noPercentiles: Percentiles = Object.freeze({
  min: 0,
  p10: 0,
  p25: 0,
  p50: 0,
  p75: 0,
  p90: 0,
  p95: 0,
  p99: null,
  p999: null,
  max: 0,
  mean: 0,
});

/** p99 needs 1,000 samples and p999 10,000: below that they are nothing but the maximum. */
export const p99SamplesMin = 1_000;
export const p999SamplesMin = 10_000;

/** Anything quantiles can be asked of: sorted samples or a histogram. Latencies in ms. */
export interface Quantiles {
  readonly count: number;
  readonly mean: number;
  /** Value at `percent` of 0..100 (0 is the minimum, 100 the maximum). */
  at(percent: number): number;
  /** How many samples are at most `value`. */
  rankOf(value: number): number;
}

export function sortedQuantiles(sorted: Float64Array): Quantiles {
  let sum = 0;
  for (let i = 0; i < sorted.length; i++) sum += sorted[i]!;
  return {
    count: sorted.length,
    mean: sorted.length === 0 ? 0 : sum / sorted.length,
    at: (percent) => (sorted.length === 0 ? 0 : percentileOf(sorted, percent)),
    rankOf(value) {
      let low = 0;
      let high = sorted.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (sorted[middle]! <= value) low = middle + 1;
        else high = middle;
      }
      return low;
    },
  };
}

export function summarise(quantiles: Quantiles): Percentiles {
  const { count } = quantiles;
  if (count === 0) return { ...noPercentiles };
  return {
    min: quantiles.at(0),
    p10: quantiles.at(10),
    p25: quantiles.at(25),
    p50: quantiles.at(50),
    p75: quantiles.at(75),
    p90: quantiles.at(90),
    p95: quantiles.at(95),
    p99: count >= p99SamplesMin ? quantiles.at(99) : null,
    p999: count >= p999SamplesMin ? quantiles.at(99.9) : null,
    max: quantiles.at(100),
    mean: quantiles.mean,
  };
}

/** 101 values at quantiles 0, 0.01 .. 1; empty without samples. */
export function spectrum(quantiles: Quantiles): number[] {
  if (quantiles.count === 0) return [];
  return Array.from({ length: 101 }, (_, percent) => quantiles.at(percent));
}
