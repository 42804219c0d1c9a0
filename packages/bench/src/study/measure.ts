/** One load run against one fresh process, and everything that was seen of it from three sides. */
import { chatBody, chatPath, chatPrompt } from '../contestants/index.ts';
import type { StudyCase } from '../contestants/types.ts';
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

/** Of the stand-in for chat: words. */
const CHAT_TEXT = '[a-z]+( [a-z]+)*';

/** The whole body that an entry must answer with: the API's own, or the upstream's for controls. */
export function bodyPattern(entry: Entry, studyCase: StudyCase): string {
  const forwarded = entry.role === 'direct' || entry.role === 'null-forwarder';
  if (studyCase === 'chat') {
    const own = `^\\{"status":1,"message":"${CHAT_TEXT}"\\}$`;
    return forwarded ? `^\\{"id":.*"content":"${CHAT_TEXT}".*\\}$` : own;
  }
  return forwarded ? `^\\{"message":"${UUID}"\\}$` : `^\\{"status":1,"message":"${UUID}"\\}$`;
}

/** Path below the process that an entry is loaded at. */
export function entryPath(entry: Entry, studyCase: StudyCase): string {
  const forwarded = entry.role === 'direct' || entry.role === 'null-forwarder';
  if (studyCase === 'chat' && entry.role === 'direct') return chatPath;
  if (studyCase === 'chat' && !forwarded) return `send_chat/${entry.contestant}/`;
  return forwarded ? 'request_response/' : `send_request/${entry.contestant}/`;
}

/** What the load itself sends as JSON: only the upstream of chats wants any. */
function jsonToSend(entry: Entry, studyCase: StudyCase): string | null {
  if (studyCase !== 'chat' || entry.role !== 'direct') return null;
  return JSON.stringify(chatBody(chatPrompt));
}

/** So often a request that looks slow is timed: on a busy machine any one may have to wait. */
const TIMED_REQUESTS_MAX = 4;

/**
 * Asks and compares status and body, before anything is measured.
 * @returns how long a request takes, in ms: the least of a few, but for the one that loads the client
 * @throws Error with what was answered instead
 */
export async function checkAnswer(
  entry: Entry,
  studyCase: StudyCase,
  url: string,
  upstreamLatencyMs: number,
): Promise<number> {
  const json = jsonToSend(entry, studyCase);
  const method = json === null ? 'GET' : 'POST';
  let leastMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt <= TIMED_REQUESTS_MAX; attempt++) {
    const startedAt = performance.now();
    const { status, body } = await plainRequest(method, url, 20_000, json);
    const tookMs = performance.now() - startedAt;
    if (status !== 200) throw new Error(`answered ${status}: ${body.slice(0, 200)}`);
    if (!new RegExp(bodyPattern(entry, studyCase)).test(body)) {
      throw new Error(`answered with an unexpected body: ${body.slice(0, 120)}`);
    }
    if (attempt > 0) leastMs = Math.min(leastMs, tookMs);
    if (!isSlow(leastMs, upstreamLatencyMs)) break;
  }
  return leastMs;
}

/** Above this a single request is so slow that warming up would cost more than it tells. */
const SLOW_REQUEST_MS = 30;

/** @param answerMs from {@link checkAnswer} */
export function isSlow(answerMs: number, upstreamLatencyMs: number): boolean {
  return answerMs - upstreamLatencyMs > SLOW_REQUEST_MS;
}

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
  const slow = isSlow(answerMs, cell.upstreamLatencyMs);
  // The warm-up ends by time; its count of requests is reached only by the fast.
  // A fresh process compiles its code first, which takes the longer; after that only pools fill.
  const ownMs = warm ? Math.min(WARM_WARMUP_MS, options.warmupMs) : options.warmupMs;
  const warmupMs = slow ? 0 : ownMs + 2 * cell.upstreamLatencyMs;
  const json = jsonToSend(entry, options.case);
  const sends =
    json === null
      ? {}
      : {
          method: 'POST',
          body: Buffer.from(json),
          headers: [['content-type', 'application/json']] as const,
        };
  return defaultPlan(url, {
    ...sends,
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
    expectBodyPattern: bodyPattern(entry, options.case),
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
