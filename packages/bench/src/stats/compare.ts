/**
 * Two entries compared over the rounds both took part in, and what may be said about them.
 * A ratio is always figure of `a` over figure of `b`; whether more or less is better is the
 * metric's business.
 */
import {
  bootstrap,
  type Interval,
  type IntervalOptions,
  studentInterval,
  studentPValue,
} from './bootstrap.ts';
import { holm, mean, standardDeviation } from './describe.ts';

/** Below this many common rounds nothing is concluded. */
export const ROUNDS_MIN = 5;
/** From here on the interval is not called crude. */
export const ROUNDS_FULL = 10;
/** A rig whose band is wider than this cannot call anything tied. */
export const BAND_MAX = 0.1;

/** One figure per round: what an entry did in one cell. */
export type ByRound = ReadonlyMap<number, number>;

export interface RatioEstimate {
  /** Geometric mean of the per-round ratios. */
  ratio: number;
  /** Bootstrap over rounds; null below two common rounds. */
  interval: Interval | null;
  /** Student's t on the log ratio, printed beside it. */
  tInterval: Interval | null;
  pValue: number;
  /** Of the logarithm of the ratio; NaN below two common rounds. */
  standardError: number;
  rounds: number;
  /** True below {@link ROUNDS_FULL} rounds: the interval itself is uncertain. */
  crude: boolean;
}

export type Outcome = 'better' | 'worse' | 'tied' | 'undecided';

export interface Verdict {
  outcome: Outcome;
  /** A verdict from few rounds: it may be wrong more often than the confidence says. */
  provisional: boolean;
  /** One clause that says why, without a full stop. */
  reason: string;
}

export interface Comparison extends RatioEstimate, Verdict {
  a: string;
  b: string;
  /** p-value after Holm's correction over the family of pairs. */
  pAdjusted: number;
}

/** log(a / b) for each round in which both have a positive figure. */
export function logRatios(a: ByRound, b: ByRound): number[] {
  const ratios: number[] = [];
  for (const [round, value] of a) {
    const other = b.get(round);
    if (other !== undefined && other > 0 && value > 0) ratios.push(Math.log(value / other));
  }
  return ratios;
}

const exponential = (interval: Interval | null): Interval | null =>
  interval === null ? null : { low: Math.exp(interval.low), high: Math.exp(interval.high) };

/** Ratio of two entries with its intervals; NaN without a common round. */
export function estimateRatio(a: ByRound, b: ByRound, options: IntervalOptions): RatioEstimate {
  const ratios = logRatios(a, b);
  return {
    ratio: Math.exp(mean(ratios)),
    interval: exponential(bootstrap(ratios, 'mean', options)),
    tInterval: exponential(studentInterval(ratios, options.confidence)),
    pValue: studentPValue(ratios),
    standardError: standardDeviation(ratios) / Math.sqrt(ratios.length),
    rounds: ratios.length,
    crude: ratios.length < ROUNDS_FULL,
  };
}

/** The span that both intervals lie in: a verdict must hold for the bootstrap and for t. */
function hull(estimate: RatioEstimate): Interval | null {
  const { interval, tInterval } = estimate;
  if (interval === null || tInterval === null) return null;
  return {
    low: Math.min(interval.low, tInterval.low),
    high: Math.max(interval.high, tInterval.high),
  };
}

/**
 * Half-width of the band on the log scale within which entries count as equal: how far the twin was
 * measured from its original, and one standard error more. Not its whole interval: that of a pair,
 * which has to leave the band, holds the scatter of the rounds as well (docs/adr/0005).
 */
export function equivalenceBand(twin: RatioEstimate | null, equivalenceMin: number): number {
  const least = Math.log(1 + equivalenceMin);
  if (twin === null || twin.rounds < 2) return least;
  return Math.max(least, Math.abs(Math.log(twin.ratio)) + twin.standardError);
}

/**
 * What may be said about a ratio. Different: both intervals lie outside the band and the adjusted
 * p-value is small. Tied: both lie inside it. Everything else is undecided.
 * @param band half-width on the log scale, from {@link equivalenceBand}
 */
export function decide(
  estimate: RatioEstimate,
  pAdjusted: number,
  band: number,
  lowerIsBetter: boolean,
  confidence: number,
): Verdict {
  const { rounds } = estimate;
  if (rounds < ROUNDS_MIN) {
    const reason = `too few rounds: ${rounds} in common, ${ROUNDS_MIN} are the least`;
    return { outcome: 'undecided', provisional: false, reason };
  }
  const provisional = rounds < ROUNDS_FULL;
  const span = hull(estimate)!;
  const edge = Math.exp(band);
  const percent = `${((edge - 1) * 100).toFixed(1)} %`;
  const above = span.low > edge;
  if (above || span.high < 1 / edge) {
    if (pAdjusted > 1 - confidence) {
      const reason = 'the difference does not survive the correction for many pairs';
      return { outcome: 'undecided', provisional, reason };
    }
    const outcome = above === lowerIsBetter ? 'worse' : 'better';
    return { outcome, provisional, reason: `the interval lies outside the ±${percent} band` };
  }
  if (span.low >= 1 / edge && span.high <= edge) {
    if (band > Math.log(1 + BAND_MAX)) {
      const reason = `the rig's own noise is ±${percent}, too much to call anything tied`;
      return { outcome: 'undecided', provisional, reason };
    }
    return {
      outcome: 'tied',
      provisional,
      reason: `the interval lies inside the ±${percent} band`,
    };
  }
  const reason =
    span.low > 1 || span.high < 1
      ? `the interval reaches into the ±${percent} band`
      : `the interval is wider than the ±${percent} band`;
  return { outcome: 'undecided', provisional, reason };
}

/** One family of comparisons: Holm runs over all of its pairs together. */
export function comparePairs(
  pairs: readonly (readonly [a: string, b: string])[],
  figures: ReadonlyMap<string, ByRound>,
  band: number,
  lowerIsBetter: boolean,
  options: IntervalOptions,
): Comparison[] {
  const none: ByRound = new Map();
  const estimates = pairs.map(([a, b]) =>
    estimateRatio(figures.get(a) ?? none, figures.get(b) ?? none, options),
  );
  const adjusted = holm(estimates.map((estimate) => estimate.pValue));
  return pairs.map(([a, b], index) => {
    const estimate = estimates[index]!;
    const pAdjusted = adjusted[index]!;
    const verdict = decide(estimate, pAdjusted, band, lowerIsBetter, options.confidence);
    return { a, b, ...estimate, ...verdict, pAdjusted };
  });
}
