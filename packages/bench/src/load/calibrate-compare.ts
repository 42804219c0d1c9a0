/** Closed loops of this generator, wrk and oha on one upstream, taking turns. */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { CliError, ExitCode } from '../cli-error.ts';
import { median, medianRanks } from '../stats/describe.ts';
import type { Comparison, Ratio, Scenario, ScenarioResult } from './calibrate-types.ts';
import { type CalibrationUpstream, startPaced, startStatic } from './calibrate-upstream.ts';
import { type DriverResult, driverResultOf, runOha, runWrk, toolVersion } from './drivers.ts';
import { sortedDelays } from './paced-delays.ts';
import { sortedQuantiles } from './percentiles.ts';
import { defaultPlan } from './plan.ts';
import { type LoadRuntime, spawnLoad } from './spawn.ts';
import type { LoadPlan } from './types.ts';

const connections = 50;
const warmupMs = 500;

export interface CompareOptions {
  rounds: number;
  seconds: number;
  runtime: LoadRuntime;
  signal?: AbortSignal;
  onStep?: (text: string) => void;
}

type Name = 'ours' | 'wrk' | 'oha';

interface Generator {
  name: Name;
  run(plan: LoadPlan): Promise<DriverResult>;
}

/** Median of per-round ratios, not ratio of medians: rounds are pairs. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Ratio {
  const ratios = ours.map((value, round) => value / theirs[round]!).sort((a, b) => a - b);
  const { below, confidence } = medianRanks(ratios.length);
  return {
    ours: median(ours),
    theirs: median(theirs),
    ratio: median(ratios),
    low: ratios[below]!,
    high: ratios[ratios.length - 1 - below]!,
    confidence,
  };
}

/** Every order of the generators in turn, so that none always follows the same other. */
export function orderOf<T>(items: readonly T[], round: number): T[] {
  const left = [...items];
  const order: T[] = [];
  let rest = round;
  while (left.length > 0) {
    order.push(...left.splice(rest % left.length, 1));
    rest = Math.floor(rest / (left.length + 1));
  }
  return order;
}

function generators(options: CompareOptions, launcher: readonly string[]): Generator[] {
  const all: Generator[] = [
    {
      name: 'ours',
      async run(plan) {
        // Connections first and a short warm-up: wrk and oha are compiled ahead, we are not.
        const result = await spawnLoad(
          { ...plan, connectFirst: true, warmupMs },
          { runtime: options.runtime, launcher, ...(options.signal && { signal: options.signal }) },
        );
        return driverResultOf(result);
      },
    },
  ];
  if (toolVersion('wrk') !== null) {
    all.push({ name: 'wrk', run: (plan) => runWrk(plan, { launcher }) });
  }
  if (toolVersion('oha') !== null) {
    all.push({ name: 'oha', run: (plan) => runOha(plan, { launcher }) });
  }
  return all;
}

function compare(ours: readonly DriverResult[], theirs: readonly DriverResult[]): Comparison {
  const ratio = (pick: (result: DriverResult) => number | null): Ratio => {
    const values = [ours, theirs].map((results) =>
      results.map((result) => {
        const value = pick(result);
        if (value !== null && value > 0) return value;
        throw new CliError(`${result.generator} told no p50 or p99; give it more --seconds`);
      }),
    );
    return ratioOf(values[0]!, values[1]!);
  };
  return {
    ours: ours[0]!.generator,
    theirs: theirs[0]!.generator,
    requestsPerS: ratio((result) => result.requestsPerS),
    p50: ratio((result) => result.p50Ms),
    p99: ratio((result) => result.p99Ms),
  };
}

function startUpstream(scenario: Scenario, core: readonly string[]): Promise<CalibrationUpstream> {
  if (scenario === 'spread') return startPaced('spread', core);
  return scenario === 'in-step' ? startPaced(5, core) : startStatic(core);
}

async function takeTurns(
  scenario: Scenario,
  url: string,
  contestants: readonly Generator[],
  options: CompareOptions,
): Promise<{ runs: ScenarioResult['runs']; byName: Map<Name, DriverResult[]> }> {
  const plan = defaultPlan(url, { connections, durationMs: options.seconds * 1_000 });
  const byName = new Map<Name, DriverResult[]>(contestants.map(({ name }) => [name, []]));
  const runs: ScenarioResult['runs'] = [];
  for (let round = 0; round < options.rounds; round++) {
    for (const generator of orderOf(contestants, round)) {
      options.onStep?.(`${scenario}, round ${round + 1} of ${options.rounds}: ${generator.name}`);
      const result = await generator.run(plan);
      if (options.signal?.aborted === true) throw new CliError('interrupted', ExitCode.Interrupted);
      if (result.failed > 0 || result.completed === 0) {
        throw new CliError(
          `${result.generator}: ${result.failed} requests failed; nothing to compare`,
        );
      }
      byName.get(generator.name)!.push(result);
      runs.push({ round, result });
    }
  }
  return { runs, byName };
}

function delaysOf(scenario: Scenario): ScenarioResult['upstreamMs'] {
  if (scenario !== 'spread') return null;
  const quantiles = sortedQuantiles(sortedDelays());
  return { p50: quantiles.at(50), p99: quantiles.at(99) };
}

/** Runs one scenario. Takes about rounds x 3 x (seconds + 0.5) seconds. */
export async function runScenario(
  scenario: Scenario,
  options: CompareOptions,
): Promise<ScenarioResult> {
  const pinned =
    availableParallelism() >= 2 && spawnSync('taskset', ['--version']).error === undefined;
  const startedAt = new Date().toISOString();
  const contestants = generators(options, pinned ? ['taskset', '-c', '1'] : []);
  const upstream = await startUpstream(scenario, pinned ? ['taskset', '-c', '0'] : []);
  try {
    const { runs, byName } = await takeTurns(scenario, upstream.url, contestants, options);
    const ours = byName.get('ours')!;
    const [wrk, oha] = [byName.get('wrk'), byName.get('oha')];
    return {
      startedAt,
      upstream: upstream.name,
      rounds: options.rounds,
      seconds: options.seconds,
      pinned,
      comparisons: [wrk, oha].flatMap((theirs) => (theirs ? [compare(ours, theirs)] : [])),
      reference: wrk && oha ? compare(oha, wrk) : null,
      upstreamMs: delaysOf(scenario),
      runs,
    };
  } finally {
    await upstream.stop();
  }
}
