/** Runs a load plan in this process and makes its result. */
import { transport as runtimeTransport, type Transport } from 'onehop/transport';
import { LoadEngine, type PhaseOutcome } from './engine.ts';
import { LoadAbort } from './errors.ts';
import { type Http1Slot, http1Wire, type LoadTransport } from './http1-wire.ts';
import { type Http2Slot, http2Wire } from './http2-wire.ts';
import { buildOha } from './oha-json.ts';
import { noPercentiles, spectrum, summarise } from './percentiles.ts';
import { checkPlan } from './plan.ts';
import { encodeHistogram, Recorder, type SampleSeries } from './recorder.ts';
import { Origins, type PreparedRequest, prepareRequests } from './request.ts';
import { scheduleOf } from './schedule.ts';
import { littlesLaw, selfCheck } from './self-check.ts';
import type { LoadPlan, LoadProgress, LoadResult } from './types.ts';

export interface RunOptions {
  /** Ends the run early; what was measured until then is returned with `interrupted`. */
  signal?: AbortSignal;
  /** At most four times a second. */
  onProgress?: (progress: LoadProgress) => void;
  /** Default: the runtime's own. */
  transport?: Transport;
}

const PROGRESS_MS = 250;

/** `bun 1.4.5` or `node 20.20.2`. */
export function runtimeName(): string {
  const { bun } = process.versions;
  return bun === undefined ? `node ${process.versions.node}` : `bun ${bun}`;
}

export interface Usage {
  cpuUs: number;
  loop: { active: number; idle: number } | null;
}

/** What this process has used so far. */
export function usage(): Usage {
  const { user, system } = process.cpuUsage();
  let loop: Usage['loop'] = null;
  // Bun has the function but no figures.
  if (process.versions['bun'] === undefined) loop = performance.eventLoopUtilization();
  return { cpuUs: user + system, loop };
}

export function newRecorder(plan: LoadPlan): Recorder {
  return new Recorder({
    openLoop: plan.ratePerS !== null || plan.burst !== null,
    keepSamples: plan.keepSamples,
    successBreakdown: plan.successBreakdown,
  });
}

/** The engine on the wire of the plan's protocol. */
export function newEngine(
  plan: LoadPlan,
  transport: LoadTransport,
  origins: Origins,
  requests: readonly PreparedRequest[],
): LoadEngine<Http1Slot> | LoadEngine<Http2Slot> {
  const { clock } = transport;
  return plan.http2
    ? new LoadEngine(plan, clock, origins, requests, http2Wire(plan, clock))
    : new LoadEngine(plan, clock, origins, requests, http1Wire(plan, transport));
}

type AnyEngine = ReturnType<typeof newEngine>;

async function warmUp(plan: LoadPlan, engine: AnyEngine, signal: AbortSignal | null) {
  if (plan.warmupRequests <= 0 && plan.warmupMs <= 0) return;
  await engine.runPhase(
    {
      recorder: newRecorder({ ...plan, keepSamples: false }),
      requests: plan.warmupRequests > 0 ? plan.warmupRequests : null,
      durationMs: plan.warmupMs > 0 ? plan.warmupMs : null,
      schedule: plan.warmupMs > 0 || plan.warmupRequests > 0 ? scheduleOf(plan) : null,
      waitOngoing: true,
    },
    signal,
  );
}

async function resetCounters(urls: readonly string[]): Promise<void> {
  for (const url of urls) {
    let response: Response;
    try {
      response = await fetch(url, { method: 'POST', headers: { connection: 'close' } });
      await response.arrayBuffer();
    } catch {
      throw new LoadAbort(`cannot reset the counters at ${url}: no answer`);
    }
    if (!response.ok) {
      throw new LoadAbort(`cannot reset the counters at ${url}: status ${response.status}`);
    }
  }
}

function reportProgress(
  engine: AnyEngine,
  recorder: Recorder,
  onProgress: (progress: LoadProgress) => void,
): NodeJS.Timeout {
  const startedMs = performance.now();
  let lastMs = startedMs;
  let lastCompleted = 0;
  return setInterval(() => {
    const nowMs = performance.now();
    const { completed } = recorder;
    onProgress({
      elapsedMs: nowMs - startedMs,
      completed,
      errors: recorder.errors,
      inFlight: engine.inFlight,
      recentPerS: ((completed - lastCompleted) * 1_000) / Math.max(1, nowMs - lastMs),
    });
    lastMs = nowMs;
    lastCompleted = completed;
  }, PROGRESS_MS);
}

/** As oha does, HTTP/2 always connects ahead of the clock. */
const connectsFirst = (plan: LoadPlan): boolean =>
  (plan.connectFirst && plan.keepAlive) || plan.http2;

/**
 * Runs `plan` to its end.
 * @throws CliError when the plan is wrong, the name does not resolve or nothing can be reached.
 */
export async function runLoad(plan: LoadPlan, options: RunOptions = {}): Promise<LoadResult> {
  checkPlan(plan);
  const transport = options.transport ?? runtimeTransport;
  const signal = options.signal ?? null;
  const origins = new Origins(plan);
  const requests = await prepareRequests(plan, origins);
  const engine = newEngine(plan, transport, origins, requests);
  const recorder = newRecorder(plan);
  let ticker: NodeJS.Timeout | null = null;
  try {
    if (connectsFirst(plan)) await engine.connectAll(recorder);
    if (signal?.aborted !== true) await warmUp(plan, engine, signal);
    if (plan.resetUrls !== undefined) await resetCounters(plan.resetUrls);
    await engine.preparePacer(scheduleOf(plan));
    const startedAt = new Date().toISOString();
    const before = usage();
    if (options.onProgress !== undefined) {
      ticker = reportProgress(engine, recorder, options.onProgress);
    }
    const outcome = await engine.runPhase(
      {
        recorder,
        requests: plan.requests,
        durationMs: plan.durationMs,
        schedule: scheduleOf(plan),
        waitOngoing: plan.waitOngoing,
      },
      signal,
    );
    const after = usage();
    return makeResult({
      plan,
      recorder,
      engine,
      outcome,
      before,
      after,
      startedAt,
      lookupMs: origins.lookupMs,
      interrupted: signal?.aborted === true,
    });
  } finally {
    if (ticker !== null) clearInterval(ticker);
    engine.shutdown();
  }
}

/** Everything a result is made of. */
export interface RawRun {
  plan: LoadPlan;
  recorder: Recorder;
  engine: AnyEngine;
  outcome: PhaseOutcome;
  before: Usage;
  after: Usage;
  startedAt: string;
  lookupMs: number;
  interrupted: boolean;
}

const summaryOf = (series: SampleSeries | null) =>
  series === null || series.count === 0 ? null : summarise(series.quantiles());

function loopUtilisation(before: Usage, after: Usage): number | null {
  if (before.loop === null || after.loop === null) return null;
  const active = after.loop.active - before.loop.active;
  const idle = after.loop.idle - before.loop.idle;
  return active + idle > 0 ? active / (active + idle) : null;
}

/** Offered by the schedule up to where the run got, against what was answered in that time. */
function achievedOverOffered(run: RawRun): number | null {
  const schedule = scheduleOf(run.plan);
  if (schedule === null) return null;
  const offered = run.recorder.scheduleLag.count;
  if (offered === 0) return 0;
  const scheduledMs = (offered * 1_000) / schedule.ratePerS;
  const tookMs = Math.max(run.outcome.durationMs, scheduledMs);
  return run.recorder.completed / tookMs / (schedule.ratePerS / 1_000);
}

/** The result of phases that were recorded together. */
export function makeResult(run: RawRun): LoadResult {
  const { plan, recorder, engine, outcome } = run;
  const openLoop = recorder.service !== null;
  const all = recorder.latency.quantiles();
  const warmOnly = !openLoop && recorder.latencyWarm.count > 0;
  const series = warmOnly ? recorder.latencyWarm : recorder.latency;
  const quantiles = warmOnly && recorder.latencyConnect.count > 0 ? series.quantiles() : all;
  const cpuUs = run.after.cpuUs - run.before.cpuUs;
  const seconds = outcome.durationMs / 1_000;
  const lag = recorder.scheduleLag;
  const extras = {
    durationMs: outcome.durationMs,
    abortedAtDeadline: run.interrupted ? 0 : outcome.abortedAtDeadline,
    lookupMs: run.lookupMs,
  };
  const runtime = runtimeName();
  const result: LoadResult = {
    plan,
    generator: `onehop load on ${runtime}`,
    runtime,
    startedAt: run.startedAt,
    durationMs: outcome.durationMs,
    completed: recorder.completed,
    valid: recorder.valid,
    statusCounts: recorder.statusTable(),
    errorCounts: Object.fromEntries(recorder.errorCounts),
    invalidBodies: recorder.invalidBodies,
    abortedAtDeadline: outcome.abortedAtDeadline,
    dropped: recorder.dropped,
    requestsPerS: recorder.completed / seconds,
    totalBodyBytes: recorder.bodyBytes,
    latencyMs: quantiles.count === 0 ? { ...noPercentiles } : summarise(quantiles),
    connectSamplesMs: summaryOf(recorder.latencyConnect),
    serviceMs: summaryOf(recorder.service),
    quantilesMs: spectrum(quantiles),
    exact: series.exact,
    histogram: series.exact ? null : encodeHistogram(series),
    firstByteMs: summaryOf(recorder.firstByte),
    sseEvents: recorder.sseEvents,
    sseGapMs: summaryOf(recorder.sseGap),
    connectionsEstablished: engine.connectionsEstablished,
    connectMs: summaryOf(recorder.connect),
    cpuUtilisation: cpuUs / 1_000 / outcome.durationMs,
    cpuUsPerRequest: recorder.completed === 0 ? 0 : cpuUs / recorder.completed,
    loopUtilisation: loopUtilisation(run.before, run.after),
    scheduleLagP99Ms: openLoop && lag.count > 0 ? lag.quantiles().at(99) : null,
    achievedOverOffered: achievedOverOffered(run),
    littlesLawRatio: littlesLaw(plan, openLoop, recorder.completed / seconds, all.mean, outcome),
    inFlightPeak: engine.inFlightPeak,
    http2: engine.http2Figures,
    interrupted: run.interrupted,
    selfCheckProblems: [],
    oha: buildOha(recorder, all, extras),
    samples: recorder.samples,
  };
  result.selfCheckProblems = selfCheck(result);
  return result;
}
