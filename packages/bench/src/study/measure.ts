/** One load run against one fresh process, and everything that was seen of it from three sides. */
import { defaultPlan, type LoadPlan, type LoadResult } from '../load/index.ts';
import type { Cell, Entry, Measurement } from '../results/types.ts';
import { jsonRequest, plainRequest } from './http.ts';
import type { StudyOptions } from './options.ts';

/** What `GET /_onehop/measure/` of an API process answers. */
export interface ApiMeasure {
  cpuUserUs: number;
  cpuSystemUs: number;
  loopDelayP50Ms: number | null;
  loopDelayP99Ms: number | null;
  loopDelayMaxMs: number | null;
  loopUtilisation: number | null;
  rssPeakBytes: number;
}

/** What `GET /_onehop/upstream/` of an upstream answers. */
export interface UpstreamMeasure {
  requests: number;
  connectionsOpened: number;
  concurrencyPeak: number;
}

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

/** The whole body that an entry must answer with: the API's own, or the upstream's for controls. */
export function bodyPattern(entry: Entry): string {
  const forwarded = entry.role === 'direct' || entry.role === 'null-forwarder';
  return forwarded ? `^\\{"message":"${UUID}"\\}$` : `^\\{"status":1,"message":"${UUID}"\\}$`;
}

/** Path below the process that an entry is loaded at. */
export function entryPath(entry: Entry): string {
  const forwarded = entry.role === 'direct' || entry.role === 'null-forwarder';
  return forwarded ? 'request_response/' : `send_request/${entry.contestant}/`;
}

/**
 * Asks once and compares status and body, before anything is timed.
 * @returns how long the second of two requests took, in ms: the first one loads the client
 * @throws Error with what was answered instead
 */
export async function checkAnswer(entry: Entry, url: string): Promise<number> {
  let tookMs = 0;
  for (let attempt = 0; attempt < 2; attempt++) {
    const startedAt = performance.now();
    const { status, body } = await plainRequest('GET', url, 20_000);
    tookMs = performance.now() - startedAt;
    if (status !== 200) throw new Error(`answered ${status}: ${body.slice(0, 200)}`);
    if (!new RegExp(bodyPattern(entry)).test(body)) {
      throw new Error(`answered with an unexpected body: ${body.slice(0, 120)}`);
    }
  }
  return tookMs;
}

/** Above this a single request is so slow that warming up would cost more than it tells. */
const SLOW_REQUEST_MS = 30;
const IN_FLIGHT_MAX = 2000;
/** Warm-up of a process that was under load before. */
const WARM_WARMUP_MS = 250;

export interface LoadRequest {
  entry: Entry;
  cell: Cell;
  url: string;
  resetUrls: string[];
  options: StudyOptions;
  /** From {@link checkAnswer}. */
  answerMs: number;
  /** The process was under load before. */
  warm: boolean;
  seed: number;
}

/** The load plan of a cell. */
export function loadPlan(request: LoadRequest): LoadPlan {
  const { entry, cell, url, resetUrls, options, answerMs, warm, seed } = request;
  const slow = answerMs - cell.upstreamLatencyMs > SLOW_REQUEST_MS;
  // The warm-up ends by time; its count of requests is reached only by the fast.
  // A fresh process compiles its code first, which takes the longer; after that only pools fill.
  const ownMs = warm ? Math.min(WARM_WARMUP_MS, options.warmupMs) : options.warmupMs;
  const warmupMs = slow ? 0 : ownMs + 2 * cell.upstreamLatencyMs;
  return defaultPlan(url, {
    connections: cell.connections,
    requests: cell.requests,
    durationMs: cell.durationMsMax,
    // CPU is divided by requests: those under way when time is up must be counted, not cut off.
    waitOngoing: true,
    graceMs: 15_000,
    ratePerS: cell.ratePerS,
    inFlightMax: IN_FLIGHT_MAX,
    warmupMs,
    warmupRequests: slow ? 1 : 0,
    connectFirst: true,
    timeoutMs: 30_000,
    expectBodyPattern: bodyPattern(entry),
    seed,
    resetUrls,
  });
}

/** A fixed amount of work in this process, in ms: rises when the machine is throttled or shared. */
export function calibrate(): number {
  const startedAt = performance.now();
  let mixed = 1;
  for (let step = 0; step < 2_000_000; step++) mixed = Math.imul(mixed ^ step, 0x5bd1e995);
  const tookMs = performance.now() - startedAt;
  // Using the result keeps the loop from being optimised away.
  return mixed === 0.5 ? 0 : tookMs;
}

export interface Observed {
  load: LoadResult;
  api: ApiMeasure | null;
  upstream: UpstreamMeasure;
}

/** Reads what the servers counted; call it right after the load has ended. */
export async function readCounters(
  apiUrl: string | null,
  upstreamUrl: string,
): Promise<Omit<Observed, 'load'>> {
  const api = apiUrl === null ? null : await jsonRequest<ApiMeasure>('GET', apiUrl);
  return { api, upstream: await jsonRequest<UpstreamMeasure>('GET', upstreamUrl) };
}

export interface Position {
  round: number;
  order: number;
  entry: string;
  cell: string;
  calibrationMs: number;
}

/** The record of one load run. CPU is per request that came to its end, whatever its status. */
export function toMeasurement(position: Position, observed: Observed): Measurement {
  const { load, api, upstream } = observed;
  const requests = Math.max(1, load.completed);
  return {
    round: position.round,
    order: position.order,
    entry: position.entry,
    cell: position.cell,
    startedAt: load.startedAt,
    calibrationMs: position.calibrationMs,
    completed: load.completed,
    valid: load.valid,
    statusCounts: load.statusCounts,
    errorCounts: load.errorCounts,
    dropped: load.dropped,
    durationMs: load.durationMs,
    requestsPerS: load.requestsPerS,
    latencyMs: load.latencyMs,
    serviceMs: load.serviceMs,
    quantilesMs: load.quantilesMs,
    generator: {
      cpuUtilisation: load.cpuUtilisation,
      scheduleLagP99Ms: load.scheduleLagP99Ms,
      achievedOverOffered: load.achievedOverOffered,
      connectionsEstablished: load.connectionsEstablished,
      littlesLawRatio: load.littlesLawRatio,
    },
    api:
      api === null
        ? null
        : {
            cpuUserUs: api.cpuUserUs,
            cpuSystemUs: api.cpuSystemUs,
            cpuPerRequestUs: (api.cpuUserUs + api.cpuSystemUs) / requests,
            loopDelayP50Ms: api.loopDelayP50Ms,
            loopDelayP99Ms: api.loopDelayP99Ms,
            loopDelayMaxMs: api.loopDelayMaxMs,
            loopUtilisation: api.loopUtilisation,
            rssPeakBytes: api.rssPeakBytes,
          },
    upstream: {
      requests: upstream.requests,
      connectionsOpened: upstream.connectionsOpened,
      concurrencyPeak: upstream.concurrencyPeak,
    },
  };
}
