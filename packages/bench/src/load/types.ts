/**
 * What a load run is asked to do and what it answers: shared by the command line and the study.
 * Build a plan with `defaultPlan(url, {...})` of plan.ts, so that fields added later have a value.
 */
import type { Percentiles } from '../results/types.ts';
import type { Http2Figures } from './wire.ts';

/** `-r`, `--connect-to` and TLS files: rarely needed, so optional. */
export interface LoadTls {
  insecure: boolean;
  /** PEM texts, not paths. */
  ca: string | null;
  cert: string | null;
  key: string | null;
}

export interface LoadPlan {
  url: string;
  /** More URLs to pick from at random (seeded) beside `url`; empty for one. */
  moreUrls: readonly string[];
  method: string;
  /** In order; repeated names stay repeated. `host` and `content-length` are added when absent. */
  headers: readonly (readonly [name: string, value: string])[];
  body: Uint8Array | null;
  /** When not empty: each request takes one of these at random (seeded) instead of `body`. */
  bodies: readonly Uint8Array[];
  connections: number;
  /** With prior knowledge for http, by ALPN for https. */
  http2: boolean;
  /** Requests at once on each connection; 1 without HTTP/2. */
  streamsPerConnection: number;
  /** Exactly one of `requests` and `durationMs` is the end of a closed loop; both may bound it. */
  requests: number | null;
  durationMs: number | null;
  /**
   * At the end of `durationMs` wait for what is under way instead of cutting it off. An open loop
   * always waits, at most `graceMs`: cutting would drop exactly the slow answers.
   */
  waitOngoing: boolean;
  graceMs: number;
  /** Open loop: offered requests per second on a schedule fixed before the run. */
  ratePerS: number | null;
  arrivals: 'constant' | 'poisson';
  /** Open loop in bursts: `requests` at once every `delayMs`, the first after one delay. */
  burst: { delayMs: number; requests: number } | null;
  /** Open loop: beyond this many requests under way the next one is dropped and counted. */
  inFlightMax: number;
  /** Left out of every figure; the run proper starts on the warm connections. */
  warmupRequests: number;
  warmupMs: number;
  /** Open all connections before the clock starts; else each opens with its first request. */
  connectFirst: boolean;
  timeoutMs: number | null;
  connectTimeoutMs: number;
  keepAlive: boolean;
  /** Redirects followed at most; the latency then spans all of them. */
  redirectsMax: number;
  /** Read the response as server-sent events and time each one. */
  sse: boolean;
  tls: LoadTls;
  /** Connect there instead of to the URL's host. */
  connectTo: readonly { host: string; port: number; toHost: string; toPort: number }[];
  unixSocket: string | null;
  /** 4 or 6 to resolve only such addresses, 0 for either. */
  ipFamily: 0 | 4 | 6;
  /** Every body must equal this (or match `expectBodyPattern`), else it counts as invalid. */
  expectBody: Uint8Array | null;
  expectBodyPattern: string | null;
  seed: number;
  /** Return every sample (`LoadResult.samples`); for CSV output. */
  keepSamples: boolean;
  /** Add the 2xx / not 2xx maps to the oha shape. */
  successBreakdown: boolean;
  /**
   * POSTed one after the other when the warm-up has drained and before the first measured request:
   * servers reset their counters, so that what they report covers exactly the measured window.
   */
  resetUrls?: readonly string[];
}

/** Column-wise, one entry per completed request in completion order; times in ms from the start. */
export interface LoadSamples {
  startMs: number[];
  latencyMs: number[];
  /** -1 where there was no body. */
  firstByteMs: number[];
  status: number[];
  bodyBytes: number[];
  /** Time to open the connection the request had to open first, else -1. */
  connectMs: number[];
}

export interface LoadResult {
  plan: LoadPlan;
  /** For example `onehop load on bun 1.4.5`, `oha 1.16.0`. */
  generator: string;
  runtime: string;
  startedAt: string;
  durationMs: number;
  /** Responses read to their end, whatever their status. */
  completed: number;
  /** Completed with 2xx and, when expected, the right body. */
  valid: number;
  statusCounts: Record<string, number>;
  /** By text, as oha does; `aborted due to deadline` is no failure. */
  errorCounts: Record<string, number>;
  /** Why bodies were invalid, counted; empty when nothing was expected. */
  invalidBodies: number;
  /** Cut off by the end of the run. */
  abortedAtDeadline: number;
  dropped: number;
  /** `completed` per second: neither errors nor cut-off requests count. */
  requestsPerS: number;
  totalBodyBytes: number;
  /**
   * In ms. Closed loop: without the first request of each connection when that had to connect
   * (those are in `connectSamplesMs`), unless there are no others. Open loop: all, from the intended
   * instant, waiting for a connection included.
   */
  latencyMs: Percentiles;
  connectSamplesMs: Percentiles | null;
  /** Open loop only: from the real send instant, in ms. */
  serviceMs: Percentiles | null;
  /** 101 latencies in ms at quantiles 0, 0.01 .. 1; empty without samples. */
  quantilesMs: number[];
  /** Quantiles come from every single sample (false: from a histogram with 3 digits). */
  exact: boolean;
  /** HDR histogram (V2, base64, unit 100 ns) of `latencyMs` for merging; null when exact. */
  histogram: string | null;
  /** To the first body byte. */
  firstByteMs: Percentiles | null;
  sseEvents: number;
  /** Between the events of one response. */
  sseGapMs: Percentiles | null;
  connectionsEstablished: number;
  connectMs: Percentiles | null;
  /** CPU time of the generator over wall time; 1 is one full core. */
  cpuUtilisation: number;
  cpuUsPerRequest: number;
  /** Share of time the generator's event loop was busy, 0..1; null where the runtime cannot tell. */
  loopUtilisation: number | null;
  /** How late requests were dispatched after their intended instant. */
  scheduleLagP99Ms: number | null;
  achievedOverOffered: number | null;
  /** Closed loop: requestsPerS x mean latency / connections. Open: against the observed in-flight. */
  littlesLawRatio: number;
  inFlightPeak: number;
  http2: Http2Figures | null;
  /** Ctrl-C: everything above describes what ran until then. */
  interrupted: boolean;
  /** Reasons why no conclusion should be drawn, each one sentence; empty when sound. */
  selfCheckProblems: string[];
  /** The run in oha 1.15's JSON shape. */
  oha: unknown;
  samples: LoadSamples | null;
}

/** What a running generator says of itself, at most four times a second. */
export interface LoadProgress {
  elapsedMs: number;
  completed: number;
  errors: number;
  inFlight: number;
  /** Requests per second since the last report. */
  recentPerS: number;
}
