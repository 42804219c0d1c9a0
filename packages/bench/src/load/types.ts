/** What a load run is asked to do and what it answers: shared by the command line and the study. */
import type { Percentiles } from '../results/types.ts';

export interface LoadPlan {
  url: string;
  method: string;
  /** In order; repeated names stay repeated. */
  headers: readonly (readonly [name: string, value: string])[];
  body: Uint8Array | null;
  connections: number;
  /** Exactly one of `requests` and `durationMs` is the end of a closed loop; both may bound it. */
  requests: number | null;
  durationMs: number | null;
  /** Open loop: offered requests per second on a schedule fixed before the run. */
  ratePerS: number | null;
  inFlightMax: number;
  warmupRequests: number;
  warmupMs: number;
  timeoutMs: number | null;
  connectTimeoutMs: number;
  keepAlive: boolean;
  /** Read the response as server-sent events and time each one. */
  sse: boolean;
  insecure: boolean;
  /** Every body must equal this (or match by `expectBodyPattern`), else it counts as invalid. */
  expectBody: Uint8Array | null;
  expectBodyPattern: string | null;
  seed: number;
}

export interface LoadResult {
  plan: LoadPlan;
  runtime: string;
  startedAt: string;
  durationMs: number;
  completed: number;
  valid: number;
  statusCounts: Record<string, number>;
  errorCounts: Record<string, number>;
  dropped: number;
  requestsPerS: number;
  totalBodyBytes: number;
  /** Exact samples in ms, in completion order; connect-carrying ones are in `connectSamplesMs`. */
  latencyMs: Percentiles;
  serviceMs: Percentiles | null;
  quantilesMs: number[];
  firstByteMs: Percentiles | null;
  sseGapMs: Percentiles | null;
  connectionsEstablished: number;
  connectMs: Percentiles | null;
  cpuUtilisation: number;
  scheduleLagP99Ms: number | null;
  achievedOverOffered: number | null;
  littlesLawRatio: number;
  /** Reasons why no conclusion should be drawn, each one sentence; empty when sound. */
  selfCheckProblems: string[];
  /** The run in oha 1.15's JSON shape. */
  oha: unknown;
}
