/**
 * The stall test: stops the upstream for S of an open loop of T at a constant rate. A share of S/T
 * falls into the stop, so at quantile q the latency from the due instant must be S - (1 - q) * T.
 * A closed loop would show one slow answer per connection and nothing else.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError, ExitCode } from '../cli-error.ts';
import type { StallResult } from './calibrate-types.ts';
import { startStatic } from './calibrate-upstream.ts';
import { defaultPlan } from './plan.ts';
import { type LoadRuntime, spawnLoad } from './spawn.ts';
import type { LoadResult } from './types.ts';

const connections = 50;
const ratePerS = 1_000;
const warmupRequests = 500;
/** Start-up and warm-up take less; the stop must lie inside the run. */
const startupMs = 2_000;
const stallPercents = [95, 97, 99, 99.9] as const;

export interface StallOptions {
  /** Length of the run; the stop is a tenth of it. */
  seconds: number;
  runtime: LoadRuntime;
  signal?: AbortSignal;
  onStep?: (text: string) => void;
}

/** What arithmetic says of quantile `percent` when `stallMs` of `durationMs` are lost; see above. */
export function expectedStallMs(percent: number, stallMs: number, durationMs: number): number {
  return Math.max(0, stallMs - ((100 - percent) * durationMs) / 100);
}

/**
 * What is due while the upstream is stopped has to open connections, as many as the stop has due
 * requests. An upstream (or generator) that does so for the first time takes its time, and that
 * would add to the stop; so both are made to serve that many before.
 */
async function warm(url: string, options: StallOptions): Promise<void> {
  const many = Math.ceil((ratePerS * options.seconds) / 10);
  const plan = defaultPlan(url, { connections: many, requests: 20 * many, connectFirst: true });
  await spawnLoad(plan, {
    runtime: options.runtime,
    ...(options.signal && { signal: options.signal }),
  });
}

export async function runStall(options: StallOptions): Promise<StallResult> {
  const startedAt = new Date().toISOString();
  const upstream = await startStatic();
  try {
    const durationMs = options.seconds * 1_000;
    options.onStep?.('stall: warming the upstream');
    await warm(upstream.url, options);
    options.onStep?.(`stall: ${ratePerS} requests/sec for ${options.seconds} s`);
    const plan = defaultPlan(upstream.url, {
      connections,
      connectFirst: true,
      ratePerS,
      durationMs,
      warmupRequests,
    });
    const run = spawnLoad(plan, {
      runtime: options.runtime,
      ...(options.signal && { signal: options.signal }),
    });
    const stop = async (): Promise<number> => {
      await sleep(startupMs + durationMs * 0.3);
      const stoppedAt = performance.now();
      upstream.child.kill('SIGSTOP');
      await sleep(durationMs / 10);
      upstream.child.kill('SIGCONT');
      return performance.now() - stoppedAt;
    };
    const [result, stallMs] = await Promise.all([run, stop()]);
    if (options.signal?.aborted === true) throw new CliError('interrupted', ExitCode.Interrupted);
    return { startedAt, upstream: upstream.name, ...readStall(result, stallMs, durationMs) };
  } finally {
    await upstream.stop();
  }
}

function readStall(
  result: LoadResult,
  stallMs: number,
  durationMs: number,
): Omit<StallResult, 'startedAt' | 'upstream'> {
  const { latencyMs: p, serviceMs: s } = result;
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
    ratePerS,
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
