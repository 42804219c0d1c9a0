/** What a calibration finds, and the shape of its file. */
import type { RigFacts } from '../results/types.ts';
import type { DriverResult } from './drivers.ts';

/** Each can be run by itself; together they are the calibration. */
export const calibrationParts = ['spread', 'in-step', 'flat-out', 'stall'] as const;
export type CalibrationPart = (typeof calibrationParts)[number];
export type Scenario = Exclude<CalibrationPart, 'stall'>;

/** The median over rounds of one figure of ours over the other's. */
export interface Ratio {
  ours: number;
  theirs: number;
  /** Median of the rounds' ratios. */
  ratio: number;
  /** Interval of that median, from order statistics: no distribution is assumed. */
  low: number;
  high: number;
  /** How sure the interval is, 0..1; few rounds cannot give 0.95. */
  confidence: number;
}

/** Two generators on the same upstream: `ours` over `theirs`. */
export interface Comparison {
  ours: string;
  theirs: string;
  requestsPerS: Ratio;
  p50: Ratio;
  p99: Ratio;
}

export interface ScenarioResult {
  startedAt: string;
  upstream: string;
  rounds: number;
  seconds: number;
  /** Generator and upstream each had a core of their own. */
  pinned: boolean;
  /** This generator over each of the others. */
  comparisons: Comparison[];
  /** oha over wrk: what two generators that nobody doubts differ by on this upstream. */
  reference: Comparison | null;
  /** The waits of the upstream alone, where they are known. */
  upstreamMs: { p50: number; p99: number } | null;
  /** Every run in the order it was made. */
  runs: { round: number; result: DriverResult }[];
}

export interface StallQuantile {
  percent: number;
  expectedMs: number;
  foundMs: number;
  serviceMs: number | null;
}

export interface StallResult {
  startedAt: string;
  upstream: string;
  ratePerS: number;
  durationMs: number;
  stallMs: number;
  quantiles: StallQuantile[];
  completed: number;
  dropped: number;
}

/** One line of what was asked. */
export interface Bar {
  part: CalibrationPart;
  text: string;
  found: number;
  /** Where there is an interval; see {@link Ratio}. */
  interval: { low: number; high: number; confidence: number } | null;
  passed: boolean;
}

export interface Calibration {
  kind: 'onehop-calibration';
  schemaVersion: 2;
  rig: RigFacts;
  bars: Bar[];
  parts: Partial<Record<Scenario, ScenarioResult>> & { stall?: StallResult };
  leftOut: string[];
}
