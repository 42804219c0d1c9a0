/**
 * Compares this generator with wrk and oha and checks the open loop against arithmetic.
 *
 * Which comparison is fair? Two are made, both closed loops of c = 50 on the same upstream, with the
 * generators taking turns and the order reversed every round:
 *
 * - `paced`: the upstream answers after a fixed 5 ms. It decides throughput and latency, so whatever
 *   differs between generators is their measuring. The bar of 5 % on req/s, p50 and p99 applies here.
 * - `flat out`: nothing but the generator and a static upstream, each on a core of its own where the
 *   machine has two (taskset). Here a cheaper generator gets more out of the upstream, and latency is
 *   c / throughput, so the figures must differ; the bar is on throughput: at least half of wrk's.
 *
 * wrk adds samples to its latencies for every answer slower than its mean (its correction for
 * coordinated omission), which lifts its p99 where answers scatter. On the paced upstream they hardly
 * do; flat out, read wrk's p99 with that in mind.
 *
 * The stall test stops the upstream for S of a run of T at a constant rate. A share of S/T falls into
 * the stop, so at quantile q the latency from the due instant must be S - (1 - q) * T.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError } from '../cli-error.ts';
import { type CalibrationUpstream, startFixed, startStatic } from './calibrate-upstream.ts';
import { type DriverResult, driverResultOf, runOha, runWrk, toolVersion } from './drivers.ts';
import { defaultPlan } from './plan.ts';
import { type LoadRuntime, spawnLoad } from './spawn.ts';
import type { LoadPlan, LoadResult } from './types.ts';

export const calibrationDelayMs = 5;
const connections = 50;
const tolerance = 0.05;
const throughputMin = 0.5;
const stallRate = 1_000;

export interface CalibrateOptions {
  rounds: number;
  seconds: number;
  runtime: LoadRuntime;
  /** Length of the stall test; the stop is a tenth of it. */
  stallSeconds: number;
  signal?: AbortSignal;
  onStep?: (text: string) => void;
}

/** One generator against us: medians over rounds of ours / theirs. */
export interface Comparison {
  scenario: 'paced' | 'flat out';
  upstream: string;
  ours: string;
  theirs: string;
  requestsPerS: Ratio;
  p50: Ratio;
  p99: Ratio;
}

export interface Ratio {
  ours: number;
  theirs: number;
  /** Median of the rounds' ratios, with the lowest and the highest. */
  ratio: number;
  low: number;
  high: number;
}

export interface Bar {
  text: string;
  found: number;
  holds: boolean;
}

export interface StallCheck {
  ratePerS: number;
  durationMs: number;
  stallMs: number;
  quantiles: { percent: number; expectedMs: number; foundMs: number; serviceMs: number | null }[];
  completed: number;
  dropped: number;
}

export interface Calibration {
  startedAt: string;
  rounds: number;
  seconds: number;
  pinned: boolean;
  comparisons: Comparison[];
  stall: StallCheck;
  bars: Bar[];
  /** Every run in the order it was made. */
  runs: { scenario: string; round: number; result: DriverResult }[];
  leftOut: string[];
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** Median of per-round ratios, not ratio of medians: rounds are pairs. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Ratio {
  const ratios = ours.map((value, round) => value / theirs[round]!);
  return {
    ours: median(ours),
    theirs: median(theirs),
    ratio: median(ratios),
    low: Math.min(...ratios),
    high: Math.max(...ratios),
  };
}

interface Generator {
  name: 'ours' | 'wrk' | 'oha';
  run(plan: LoadPlan): Promise<DriverResult>;
}

function generators(options: CalibrateOptions, launcher: readonly string[]): Generator[] {
  const ours: Generator = {
    name: 'ours',
    async run(plan) {
      // Connections first and a short warm-up: wrk and oha are compiled ahead, we are not.
      const result = await spawnLoad(
        { ...plan, connectFirst: true, warmupMs: 500 },
        { runtime: options.runtime, launcher, ...(options.signal && { signal: options.signal }) },
      );
      return driverResultOf(result);
    },
  };
  const all = [ours];
  if (toolVersion('wrk') !== null) {
    all.push({ name: 'wrk', run: (plan) => runWrk(plan, { launcher }) });
  }
  if (toolVersion('oha') !== null) {
    all.push({ name: 'oha', run: (plan) => runOha(plan, { launcher }) });
  }
  return all;
}

type Runs = Map<Generator['name'], DriverResult[]>;

async function interleave(
  scenario: Comparison['scenario'],
  upstream: CalibrationUpstream,
  contestants: readonly Generator[],
  options: CalibrateOptions,
  runs: Calibration['runs'],
): Promise<Comparison[]> {
  const plan = defaultPlan(upstream.url, { connections, durationMs: options.seconds * 1_000 });
  const results: Runs = new Map(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const generator of round % 2 === 0 ? contestants : [...contestants].reverse()) {
      options.onStep?.(`${scenario}, round ${round + 1} of ${options.rounds}: ${generator.name}`);
      const result = await generator.run(plan);
      if (options.signal?.aborted === true) throw new CliError('interrupted', 130);
      if (result.failed > 0 || result.completed === 0) {
        throw new CliError(
          `${result.generator}: ${result.failed} requests failed; nothing to compare`,
        );
      }
      results.get(generator.name)!.push(result);
      runs.push({ scenario, round, result });
    }
  }
  const ours = results.get('ours')!;
  return contestants.slice(1).map(({ name }) => {
    const theirs = results.get(name)!;
    const ratio = (pick: (result: DriverResult) => number): Ratio =>
      ratioOf(ours.map(pick), theirs.map(pick));
    return {
      scenario,
      upstream: upstream.name,
      ours: ours[0]!.generator,
      theirs: theirs[0]!.generator,
      requestsPerS: ratio((result) => result.requestsPerS),
      p50: ratio((result) => result.p50Ms ?? 0),
      p99: ratio((result) => result.p99Ms ?? 0),
    };
  });
}

/** What arithmetic says of quantile `percent` when `stallMs` of `durationMs` are lost; see above. */
export function expectedStallMs(percent: number, stallMs: number, durationMs: number): number {
  return Math.max(0, stallMs - ((100 - percent) * durationMs) / 100);
}

const stallPercents = [95, 97, 99, 99.9] as const;

async function stallTest(options: CalibrateOptions): Promise<StallCheck> {
  // On Node: while the upstream is stopped a thousand connections wait in its backlog, and Bun's
  // holds 512; what the kernel turns away comes back a second later, whatever the generator does.
  const upstream = await startFixed(0, [], 'node');
  try {
    const durationMs = options.stallSeconds * 1_000;
    const plan = defaultPlan(upstream.url, {
      connections,
      connectFirst: true,
      ratePerS: stallRate,
      durationMs,
      warmupRequests: 500,
    });
    const run = spawnLoad(plan, {
      runtime: options.runtime,
      ...(options.signal && { signal: options.signal }),
    });
    // Start-up and warm-up take below two seconds; the stop must lie inside the run.
    await sleep(2_000 + durationMs * 0.3);
    const stoppedAt = performance.now();
    upstream.child.kill('SIGSTOP');
    await sleep(durationMs / 10);
    upstream.child.kill('SIGCONT');
    const stallMs = performance.now() - stoppedAt;
    return stallCheck(await run, stallMs, durationMs);
  } finally {
    await upstream.stop();
  }
}

function stallCheck(result: LoadResult, stallMs: number, durationMs: number): StallCheck {
  const p = result.latencyMs;
  const s = result.serviceMs;
  const found: Record<number, number> = {
    95: p.p95,
    97: result.quantilesMs[97] ?? 0,
    99: p.p99 ?? 0,
    99.9: p.p999 ?? p.max,
  };
  const service: Record<number, number | null> = {
    95: s?.p95 ?? null,
    97: null,
    99: s?.p99 ?? null,
    99.9: s?.p999 ?? null,
  };
  return {
    ratePerS: stallRate,
    durationMs,
    stallMs,
    quantiles: stallPercents.map((percent) => ({
      percent,
      expectedMs: expectedStallMs(percent, stallMs, durationMs),
      foundMs: found[percent]!,
      serviceMs: service[percent]!,
    })),
    completed: result.completed,
    dropped: result.dropped,
  };
}

/** The bars of the project, each judged. */
export function judgeCalibration(comparisons: readonly Comparison[], stall: StallCheck): Bar[] {
  const bars: Bar[] = [];
  for (const comparison of comparisons) {
    const against = `of ${comparison.theirs}'s`;
    if (comparison.scenario === 'paced') {
      const figures = [
        ['requests/sec', comparison.requestsPerS],
        ['p50', comparison.p50],
        ['p99', comparison.p99],
      ] as const;
      for (const [name, { ratio }] of figures) {
        const text = `${name} within 5 % ${against}, upstream paced`;
        bars.push({ text, found: ratio, holds: Math.abs(ratio - 1) <= tolerance });
      }
    } else if (comparison.theirs.startsWith('wrk')) {
      const { ratio } = comparison.requestsPerS;
      const text = `requests/sec at least ${throughputMin} ${against}, flat out`;
      bars.push({ text, found: ratio, holds: ratio >= throughputMin });
    }
  }
  for (const { percent, expectedMs, foundMs } of stall.quantiles) {
    const found = foundMs / expectedMs;
    const text = `p${percent} of the stall test within 5 % of ${expectedMs.toFixed(0)} ms`;
    bars.push({ text, found, holds: Math.abs(found - 1) <= tolerance });
  }
  const whole = (stall.ratePerS * stall.durationMs) / 1_000;
  bars.push({
    text: 'every request of the stall test was sent and answered',
    found: stall.completed / whole,
    holds: stall.completed === whole && stall.dropped === 0,
  });
  return bars;
}

/** Runs both comparisons and the stall test. Takes about rounds x 6 x (seconds + 1) + 20 seconds. */
export async function calibrate(options: CalibrateOptions): Promise<Calibration> {
  const startedAt = new Date().toISOString();
  const pinned =
    availableParallelism() >= 2 && spawnSync('taskset', ['--version']).error === undefined;
  const upstreamCore = pinned ? ['taskset', '-c', '0'] : [];
  const generatorCore = pinned ? ['taskset', '-c', '1'] : [];
  const contestants = generators(options, generatorCore);
  const leftOut = (['wrk', 'oha'] as const)
    .filter((tool) => !contestants.some(({ name }) => name === tool))
    .map((tool) => `${tool} was not found on PATH`);
  const runs: Calibration['runs'] = [];
  const comparisons: Comparison[] = [];
  const scenarios = [
    ['paced', () => startFixed(calibrationDelayMs, upstreamCore)],
    ['flat out', () => startStatic(upstreamCore)],
  ] as const;
  for (const [scenario, start] of scenarios) {
    const upstream = await start();
    try {
      comparisons.push(...(await interleave(scenario, upstream, contestants, options, runs)));
    } finally {
      await upstream.stop();
    }
  }
  options.onStep?.('open loop with a stopped upstream');
  const stall = await stallTest(options);
  const bars = judgeCalibration(comparisons, stall);
  const { rounds, seconds } = options;
  return { startedAt, rounds, seconds, pinned, comparisons, stall, bars, runs, leftOut };
}
