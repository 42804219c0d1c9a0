/**
 * The one results file that every table and chart is drawn from. `schema/results.schema.json` is its
 * published JSON Schema and a test keeps the two in step. Bump {@link RESULTS_SCHEMA_VERSION} when a
 * field changes its meaning; readers refuse a newer version with one clear sentence.
 * Units stand last in each name. Latencies are in seconds where the shape is oha's, else in
 * milliseconds; CPU is in microseconds.
 */
import type { ReuseMode, Runtime, UpstreamProtocol } from '../contestants/types.ts';

export const RESULTS_SCHEMA_VERSION = 1;

export interface RigFacts {
  cpuModel: string;
  cores: number;
  memoryBytes: number;
  os: string;
  kernel: string;
  nodeVersion: string;
  bunVersion: string | null;
  pythonVersion: string | null;
  onehopVersion: string;
  /** Commit of the working tree, with `-dirty` when it differs; null outside a checkout. */
  commit: string | null;
  /** Which generator loaded the API, for example `onehop load on bun 1.4.5`. */
  generator: string;
}

/** One thing that is compared: a contestant in a reuse mode on a runtime, or a control. */
export interface Entry {
  /** Unique, for example `undici-request`, `undici-request.per-request`, `onehop@bun`, `direct`. */
  id: string;
  role: 'contestant' | 'twin' | 'direct' | 'null-forwarder';
  contestant: string;
  /** Package the client comes from; null when built into the runtime. */
  package?: string | null;
  runtime: Runtime;
  reuse: ReuseMode;
  protocol: UpstreamProtocol;
  /** Version of the client as read from the installed package, or the runtime's. */
  version: string;
  /** For the twin: the entry it duplicates. */
  twinOf: string | null;
  note: string;
  /** Source of the adapter, shown in the report. */
  source?: string;
}

/** One load shape. Every entry runs every cell once in every round. */
export interface Cell {
  /** Unique, for example `n2000-c50`, `q500-c50`, `n2000-c50-l50`. */
  id: string;
  kind: 'closed' | 'open';
  /** Requests per run (closed loop); null when bounded by time only. */
  requests: number | null;
  connections: number;
  /** Offered requests per second (open loop); null for closed. */
  ratePerS: number | null;
  /** Time limit of the measured part; null when bounded by `requests` only. */
  durationMsMax: number | null;
  /** Delay the upstream adds before it answers. */
  upstreamLatencyMs: number;
}

/** All zero when there was no sample; never NaN, which JSON cannot carry. */
export interface Percentiles {
  min: number;
  p10: number;
  p25: number;
  p50: number;
  p75: number;
  p90: number;
  p95: number;
  /** Null below 1,000 samples. */
  p99: number | null;
  /** Null below 10,000 samples. */
  p999: number | null;
  max: number;
  mean: number;
}

/** One entry in one cell in one round: what a fresh API process did, in one piece or in several. */
export interface Measurement {
  round: number;
  /** Position in the whole run, counted from 0: the order things were really executed in. */
  order: number;
  entry: string;
  cell: string;
  startedAt: string;
  /** Time a fixed spin loop took right before the run, in ms: shows throttling and stolen time. */
  calibrationMs?: number;
  /**
   * CPU per request of each piece, in µs and in order, when the run was measured in pieces by turns
   * with the other entries of its round. All other figures are those of the pieces together.
   */
  sliceCpuUs?: number[];
  /** The pass each piece was in: pieces of one pass ran within seconds of each other. */
  slicePasses?: number[];
  /** Cores kept busy by processes outside the study while its round was measured in pieces. */
  otherCores?: number;
  /** Requests that completed, and what they were. */
  completed: number;
  /** Completed with 2xx and a byte-exact, validated body. */
  valid: number;
  statusCounts: Record<string, number>;
  errorCounts: Record<string, number>;
  /** Requests the open loop could not send in time (in-flight limit). */
  dropped: number;
  durationMs: number;
  requestsPerS: number;
  /** Latency of requests that did not have to connect first, in ms. Open loop: from the intended instant. */
  latencyMs: Percentiles;
  /** Open loop only: from the real send instant, in ms. */
  serviceMs: Percentiles | null;
  /** 101 latencies in ms at quantiles 0, 0.01 .. 1 for the spectrum; empty without samples. */
  quantilesMs: number[];
  generator: {
    cpuUtilisation: number;
    scheduleLagP99Ms: number | null;
    achievedOverOffered: number | null;
    connectionsEstablished: number;
    littlesLawRatio: number;
  };
  /** The API process, over exactly the measured window; null for `direct`. */
  api: {
    cpuUserUs: number;
    cpuSystemUs: number;
    cpuPerRequestUs: number;
    /** Event-loop delay with the probe's own resolution taken off; null where the runtime has no probe. */
    loopDelayP50Ms: number | null;
    loopDelayP99Ms: number | null;
    loopDelayMaxMs: number | null;
    /** Share of time the event loop was busy, 0..1; null where unknown. */
    loopUtilisation: number | null;
    rssPeakBytes: number;
  } | null;
  /** As the upstream saw it, over the measured window. */
  upstream: {
    requests: number;
    connectionsOpened: number;
    concurrencyPeak: number;
  };
}

export interface AuditResult {
  entry: string;
  /** For example `pool-size`, `keep-alive`, `no-pipelining`, `no-redirect`, `no-retry`, `body-read`, `errors-surface`. */
  check: string;
  verdict: 'pass' | 'fail' | 'not-applicable';
  detail: string;
  /** The failure is on the list of those that an adapter cannot help; it is no news. */
  known?: boolean;
}

export interface StudySettings {
  rounds: number;
  seed: number;
  connectionsMax: number;
  warmupMs: number;
  bootstrapResamples: number;
  confidence: number;
  /** Smallest half-width of the equivalence band, as a ratio: 0.03. */
  equivalenceMin: number;
}

export interface StudyResults {
  $schema: string;
  schemaVersion: number;
  kind: 'onehop-study';
  startedAt: string;
  finishedAt: string | null;
  /** False when interrupted: the report says so. */
  complete: boolean;
  /** The exact command to run it again. */
  command: string;
  rig: RigFacts;
  settings: StudySettings;
  entries: Entry[];
  cells: Cell[];
  measurements: Measurement[];
  audit: AuditResult[];
  /** What was left out and why, for example `httpx: Python 3 was not found`. */
  leftOut: string[];
  warnings: string[];
}
