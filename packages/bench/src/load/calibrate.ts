/**
 * Compares this generator with wrk and oha and checks the open loop against arithmetic.
 *
 * Which comparison is fair? All are closed loops of c = 50 on one upstream, the generators taking turns
 * in every order, each on a core of its own beside the upstream's where the machine has two (taskset).
 *
 * - `spread`: each answer comes after its own known time, 5 ms in the median, exact to microseconds.
 *   The upstream decides throughput and latency and answers come one by one, so what differs between
 *   generators is their measuring. The bar of 5 % on requests/sec, p50 and p99 applies here, and the
 *   upstream's own quantiles stand beside it as a witness.
 * - `in-step`: the upstream answers after 5 ms by a timer of milliseconds, hence all connections at
 *   once. The last of 50 answers waits until the generator has dealt with the others, and generators
 *   do so in different orders: wrk reads all before it writes the next requests and does not count
 *   the time between; oha and this one answer each at once. The same bar: `reference` shows that wrk
 *   and oha do not agree here themselves, so who keeps to one of them may miss the other.
 * - `flat-out`: nothing but the generator and a static upstream. A cheaper generator gets more out of
 *   it, and latency is c / throughput, so the figures must differ; the bar is on throughput: at least
 *   half of wrk's.
 */
import type { Bar, Calibration, Comparison, StallResult } from './calibrate-types.ts';

const tolerance = 0.05;
const throughputMin = 0.5;

const isNear = (ratio: number): boolean => Math.abs(ratio - 1) <= tolerance;

function nearBars(part: 'spread' | 'in-step', comparison: Comparison): Bar[] {
  const figures = [
    ['requests/sec', comparison.requestsPerS],
    ['p50', comparison.p50],
    ['p99', comparison.p99],
  ] as const;
  return figures.map(([name, { ratio, low, high, confidence }]) => ({
    part,
    text: `${name} within 5 % of ${comparison.theirs}'s`,
    found: ratio,
    interval: { low, high, confidence },
    passed: isNear(ratio),
  }));
}

function stallBars(stall: StallResult): Bar[] {
  const bars: Bar[] = stall.quantiles.map(({ percent, expectedMs, foundMs }) => ({
    part: 'stall',
    text: `p${percent} within 5 % of ${expectedMs.toFixed(0)} ms`,
    found: foundMs / expectedMs,
    interval: null,
    passed: isNear(foundMs / expectedMs),
  }));
  const whole = (stall.ratePerS * stall.durationMs) / 1_000;
  bars.push({
    part: 'stall',
    text: 'every request was sent and answered',
    found: stall.completed / whole,
    interval: null,
    passed: stall.completed === whole && stall.dropped === 0,
  });
  return bars;
}

/** The bars of the project on the parts that were run, each judged. */
export function judgeCalibration(parts: Calibration['parts']): Bar[] {
  const bars = (['spread', 'in-step'] as const).flatMap((part) =>
    (parts[part]?.comparisons ?? []).flatMap((comparison) => nearBars(part, comparison)),
  );
  for (const { theirs, requestsPerS } of parts['flat-out']?.comparisons ?? []) {
    if (!theirs.startsWith('wrk')) continue;
    const { ratio, low, high, confidence } = requestsPerS;
    bars.push({
      part: 'flat-out',
      text: `requests/sec at least ${throughputMin} of ${theirs}'s`,
      found: ratio,
      interval: { low, high, confidence },
      passed: ratio >= throughputMin,
    });
  }
  if (parts.stall !== undefined) bars.push(...stallBars(parts.stall));
  return bars;
}
