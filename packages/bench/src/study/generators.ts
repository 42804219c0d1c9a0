/** How a load plan of the study is run: by the project's own generator or by oha. */
import { spawn } from 'node:child_process';
import { CliError } from '../cli-error.ts';
import {
  type LoadPlan,
  type LoadResult,
  type OhaJson,
  spawnLoad,
  toolVersion,
} from '../load/index.ts';
import type { Percentiles } from '../results/types.ts';
import type { Children } from './children.ts';
import { jsonRequest } from './http.ts';
import type { StudyOptions } from './options.ts';
import type { RunLoad } from './session.ts';

const DEADLINE = 'aborted due to deadline';

/** @throws CliError when the generator cannot be used for a study */
export function createLoader(
  options: StudyOptions,
  bunVersion: string | null,
  children: Children,
  signal: AbortSignal,
  launcher: readonly string[] = [],
): { name: string; run: RunLoad } {
  if (options.generator === 'onehop') {
    const runtime = bunVersion === null ? `node ${process.versions.node}` : `bun ${bunVersion}`;
    return {
      name: `onehop load on ${runtime}`,
      run: (plan) => spawnLoad(plan, { signal, launcher }),
    };
  }
  if (options.generator === 'wrk') {
    throw new CliError(
      '--generator wrk: wrk tells too few percentiles for a study; use onehop or oha',
    );
  }
  const name = toolVersion('oha');
  if (name === null) throw new CliError('--generator oha: oha is not on PATH');
  const byTime = options.planning === 'tiered';
  return {
    name,
    async run(plan) {
      await warmUp(plan, signal);
      const startedAt = new Date().toISOString();
      const text = await runOha(plan, byTime, children);
      return fromOha(plan, JSON.parse(text) as OhaJson, name, startedAt);
    },
  };
}

/** oha has no warm-up and resets nothing: both are done for it. */
async function warmUp(plan: LoadPlan, signal: AbortSignal): Promise<void> {
  const { warmupMs, warmupRequests } = plan;
  if (warmupMs > 0 || warmupRequests > 0) {
    const warm: LoadPlan = { ...plan, warmupMs: 0, warmupRequests: 0, resetUrls: [] };
    warm.durationMs = warmupMs > 0 ? warmupMs : null;
    warm.requests = warmupRequests > 0 ? warmupRequests : null;
    await spawnLoad(warm, { signal });
  }
  for (const url of plan.resetUrls ?? []) await jsonRequest('POST', url);
}

/** oha knows one end: the time of a run in a tiered study, the number of requests in a matrix. */
function runOha(plan: LoadPlan, byTime: boolean, children: Children): Promise<string> {
  const args = ['--no-tui', '--output-format', 'json', '-c', String(plan.connections)];
  if (byTime && plan.durationMs !== null) {
    // Cut-off requests would cost CPU and count nowhere: the slower the client, the more.
    args.push('-z', `${Math.round(plan.durationMs)}ms`, '-w');
  } else args.push('-n', String(plan.requests ?? 1));
  args.push('--disable-compression', plan.url);
  return new Promise((resolve, reject) => {
    const child = spawn('oha', args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    children.adopt(child);
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.on('error', reject);
    child.on('close', (code, killed) => {
      if (code === 0) resolve(out);
      else
        reject(new Error(`oha ended with ${killed ?? `code ${code}`}: ${err.trim().slice(-200)}`));
    });
  });
}

/**
 * oha's JSON as a load result. It does not look at bodies, so every 2xx counts as valid, and it
 * tells nothing of its own effort: those figures are 0, and Little's law is taken from its means.
 */
export function fromOha(
  plan: LoadPlan,
  oha: OhaJson,
  generator: string,
  startedAt: string,
): LoadResult {
  const statuses = Object.entries(oha.statusCodeDistribution);
  const completed = statuses.reduce((sum, [, count]) => sum + count, 0);
  const valid = statuses.reduce((sum, [code, n]) => sum + (code.startsWith('2') ? n : 0), 0);
  const errors = Object.entries(oha.errorDistribution).filter(([text]) => text !== DEADLINE);
  const totalS = oha.summary.total ?? 0;
  const ms = (seconds: number | null | undefined): number => (seconds ?? 0) * 1000;
  const { latencyPercentiles: at } = oha;
  const latencyMs: Percentiles = {
    min: ms(oha.summary.fastest),
    p10: ms(at['p10']),
    p25: ms(at['p25']),
    p50: ms(at['p50']),
    p75: ms(at['p75']),
    p90: ms(at['p90']),
    p95: ms(at['p95']),
    p99: completed >= 1000 ? ms(at['p99']) : null,
    p999: completed >= 10_000 ? ms(at['p99.9']) : null,
    max: ms(oha.summary.slowest),
    mean: ms(oha.summary.average),
  };
  const requestsPerS = totalS > 0 ? completed / totalS : 0;
  return {
    plan,
    generator,
    runtime: generator,
    startedAt,
    durationMs: totalS * 1000,
    completed,
    valid,
    statusCounts: Object.fromEntries(statuses),
    errorCounts: Object.fromEntries(errors),
    invalidBodies: 0,
    abortedAtDeadline: oha.errorDistribution[DEADLINE] ?? 0,
    dropped: 0,
    requestsPerS,
    totalBodyBytes: oha.summary.totalData ?? 0,
    latencyMs,
    connectSamplesMs: null,
    serviceMs: null,
    quantilesMs: [],
    exact: true,
    histogram: null,
    firstByteMs: null,
    sseEvents: 0,
    sseGapMs: null,
    connectionsEstablished: Math.min(plan.connections, completed),
    connectMs: null,
    cpuUtilisation: 0,
    cpuUsPerRequest: 0,
    loopUtilisation: null,
    scheduleLagP99Ms: null,
    achievedOverOffered: null,
    littlesLawRatio: (requestsPerS * latencyMs.mean) / 1000 / plan.connections,
    inFlightPeak: plan.connections,
    http2: null,
    interrupted: false,
    selfCheckProblems: [],
    oha,
    samples: null,
  };
}
