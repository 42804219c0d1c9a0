/**
 * Intervals over rounds. Requests within a run are correlated, so the round is what is resampled.
 * The percentile bootstrap is too narrow with few rounds; Hesterberg's expanded percentiles (The
 * American Statistician 69, 2015, section 3.2) widen it to what Student's t would claim.
 */
import { mean, median, quantileSorted, standardDeviation } from './describe.ts';
import { normalCdf, studentQuantile, studentTwoSided } from './distributions.ts';
import { seededRandom } from './random.ts';

export interface Interval {
  low: number;
  high: number;
}

export interface IntervalOptions {
  resamples: number;
  confidence: number;
  seed: number;
}

/** Resamples are drawn once per round count and reused, so that pairs share their noise. */
const drawn = new Map<string, Int32Array>();

/** `resamples` rows of `count` indices each. */
function resampleIndices(count: number, { resamples, seed }: IntervalOptions): Int32Array {
  const key = `${count}/${resamples}/${seed}`;
  let indices = drawn.get(key);
  if (indices === undefined) {
    const random = seededRandom(seed);
    indices = new Int32Array(count * resamples);
    for (let i = 0; i < indices.length; i++) indices[i] = Math.floor(random() * count);
    if (drawn.size > 64) drawn.clear();
    drawn.set(key, indices);
  }
  return indices;
}

/** The share of the sampling distribution to cut off on each side. */
export function expandedTail(confidence: number, count: number): number {
  const t = studentQuantile(confidence, count - 1);
  return normalCdf(-Math.sqrt(count / (count - 1)) * t);
}

/** Insertion sort: for a handful of rounds many times faster than a typed array's own sort. */
function medianInPlace(sample: Float64Array): number {
  if (sample.length > 40) return median(sample);
  for (let i = 1; i < sample.length; i++) {
    const value = sample[i]!;
    let at = i;
    for (; at > 0 && sample[at - 1]! > value; at--) sample[at] = sample[at - 1]!;
    sample[at] = value;
  }
  const middle = sample.length >> 1;
  return sample.length % 2 === 1 ? sample[middle]! : (sample[middle - 1]! + sample[middle]!) / 2;
}

/**
 * Bootstrap interval of a statistic over rounds.
 * @returns null below two values, where nothing can be said about spread
 */
export function bootstrap(
  values: readonly number[],
  statistic: 'mean' | 'median',
  options: IntervalOptions,
): Interval | null {
  const count = values.length;
  if (count < 2) return null;
  const indices = resampleIndices(count, options);
  const estimates = new Float64Array(options.resamples);
  const sample = new Float64Array(count);
  for (let row = 0; row < options.resamples; row++) {
    if (statistic === 'mean') {
      let total = 0;
      for (let i = 0; i < count; i++) total += values[indices[row * count + i]!]!;
      estimates[row] = total / count;
    } else {
      for (let i = 0; i < count; i++) sample[i] = values[indices[row * count + i]!]!;
      estimates[row] = medianInPlace(sample);
    }
  }
  estimates.sort();
  const tail = expandedTail(options.confidence, count);
  return { low: quantileSorted(estimates, tail), high: quantileSorted(estimates, 1 - tail) };
}

/** Student's t interval of the mean; null below two values. */
export function studentInterval(values: readonly number[], confidence: number): Interval | null {
  if (values.length < 2) return null;
  const half =
    (studentQuantile(confidence, values.length - 1) * standardDeviation(values)) /
    Math.sqrt(values.length);
  const centre = mean(values);
  return { low: centre - half, high: centre + half };
}

/** Two-sided p-value of the mean being zero, by Student's t; 1 below two values. */
export function studentPValue(values: readonly number[]): number {
  if (values.length < 2) return 1;
  const error = standardDeviation(values) / Math.sqrt(values.length);
  const centre = mean(values);
  if (error === 0) return centre === 0 ? 1 : 0;
  return studentTwoSided(centre / error, values.length - 1);
}
