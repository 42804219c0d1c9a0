/** How long the calibration's upstream waits before each answer: known, and the same every time. */
import { normalCdf } from '../stats/distributions.ts';
import { seededRandom } from '../stats/random.ts';

/** Every so many answers the delays begin again. */
export const spreadCount = 1_000;
const medianMs = 5;
/** Standard deviation of the logarithm. Twice the mean is more than the longest delay: see below. */
const sigma = 0.2;

function normalQuantile(p: number): number {
  let low = -10;
  let high = 10;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Delays in ms in ascending order: evenly spaced quantiles of a log-normal distribution, as answer
 * times of servers look. None is twice their mean, so that wrk, which adds samples for answers slower
 * than twice its mean (its correction for coordinated omission), adds none for these.
 */
export function sortedDelays(): Float64Array {
  return Float64Array.from({ length: spreadCount }, (_, index) => {
    return medianMs * Math.exp(sigma * normalQuantile((index + 0.5) / spreadCount));
  });
}

/** The same delays shuffled, always into the same order. */
export function spreadDelays(): Float64Array {
  const delays = sortedDelays();
  const random = seededRandom(20_261_123);
  for (let at = delays.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const moved = delays[at]!;
    delays[at] = delays[other]!;
    delays[other] = moved;
  }
  return delays;
}
