/** Counts of durations in fixed buckets: recording is a search and an increment, nothing is made. */

/** Milliseconds; for what happens inside the process. */
export const ownBoundsMs: readonly number[] = [
  0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000,
];

/** Milliseconds; for what involves an upstream: from a loopback answer to a model that thinks. */
export const waitBoundsMs: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
  120_000, 300_000, 900_000,
];

export class Histogram {
  readonly boundsMs: Float64Array;
  /** One more than the bounds: the last is everything beyond. */
  readonly counts: Float64Array;
  sumMs = 0;

  constructor(boundsMs: readonly number[]) {
    this.boundsMs = Float64Array.from(boundsMs);
    this.counts = new Float64Array(boundsMs.length + 1);
  }

  /** Counts a duration. Less than nothing, as rounding of clocks may give, counts as nothing. */
  record(ms: number): void {
    const bounds = this.boundsMs;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ms <= bounds[middle]!) high = middle;
      else low = middle + 1;
    }
    this.counts[low]!++;
    if (ms > 0) this.sumMs += ms;
  }
}
