/** Order statistics, trends and corrections: pure functions over plain numbers. */
import { studentTwoSided } from './distributions.ts';

export const sum = (values: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
};

/** NaN when empty. */
export const mean = (values: ArrayLike<number>): number => sum(values) / values.length;

/** Sample standard deviation (n - 1); NaN below two values. */
export function standardDeviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += (values[i]! - centre) ** 2;
  return values.length < 2 ? Number.NaN : Math.sqrt(squares / (values.length - 1));
}

/** NaN when empty. */
export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** What an interval of a median is to be sure of. */
const MEDIAN_CONFIDENCE = 0.95;

/**
 * Interval of the median of `count` values: the `below`-th smallest and the `below`-th largest enclose
 * it unless more than that many fell on one side, which a fair coin decides. The narrowest that is sure
 * to 95 %; of few values the whole range, which may be less sure, as `confidence` says.
 */
export function medianRanks(count: number): { below: number; confidence: number } {
  let below = 0;
  let confidence = 0;
  let tail = 0;
  let probability = 0.5 ** count;
  for (let k = 0; k < count / 2; k++) {
    tail += probability;
    probability *= (count - k) / (k + 1);
    const sure = 1 - 2 * tail;
    if (k > 0 && sure < MEDIAN_CONFIDENCE) break;
    below = k;
    confidence = Math.max(0, sure);
  }
  return { below, confidence };
}

/** Linear interpolation between order statistics (R's type 7); `sorted` ascends. */
export function quantileSorted(sorted: ArrayLike<number>, q: number): number {
  const at = Math.min(Math.max(q, 0), 1) * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (sorted[above]! - sorted[below]!) * (at - below);
}

/** Geometric mean of positive values; NaN when empty. */
export const geometricMean = (values: readonly number[]): number =>
  Math.exp(mean(values.map(Math.log)));

/** Ranks from 1, ties share their average. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => values[a]! - values[b]!);
  const result = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) result[order[i]!] = (start + end + 1) / 2;
    start = end;
  }
  return result;
}

export interface Trend {
  /** Spearman's rank correlation with the order. */
  rho: number;
  /** Two-sided p-value by the t approximation; 1 when there are too few values. */
  pValue: number;
  /** Fitted change of the value from the first to the last, least squares. */
  change: number;
}

/** Trend of values in their order. */
export function trend(values: readonly number[]): Trend {
  const count = values.length;
  if (count < 3) return { rho: 0, pValue: 1, change: 0 };
  const places = values.map((_, index) => index + 1);
  const slope = covariance(places, values) / covariance(places, places);
  const spread = covariance(ranks(values), ranks(values));
  if (spread === 0) return { rho: 0, pValue: 1, change: 0 };
  const rho = covariance(places, ranks(values)) / Math.sqrt(spread * covariance(places, places));
  const t = rho * Math.sqrt((count - 2) / Math.max(1e-12, 1 - rho * rho));
  return { rho, pValue: studentTwoSided(t, count - 2), change: slope * (count - 1) };
}

function covariance(a: readonly number[], b: readonly number[]): number {
  const [centreA, centreB] = [mean(a), mean(b)];
  return mean(a.map((value, index) => (value - centreA) * (b[index]! - centreB)));
}

/** Holm's step-down adjusted p-values, in the order given. */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, index) => index).sort((a, b) => pValues[a]! - pValues[b]!);
  const adjusted = new Array<number>(pValues.length);
  let highest = 0;
  for (let step = 0; step < order.length; step++) {
    const raw = pValues[order[step]!]! * (order.length - step);
    highest = Math.max(highest, Math.min(1, raw));
    adjusted[order[step]!] = highest;
  }
  return adjusted;
}
