/** What `bench:client` measures and writes down. */
import type { RigFacts } from '../results/types.ts';

export interface Cell {
  sizeBytes: number;
  /** Requests at once, and connections. */
  concurrency: number;
}

/** What one process is asked to measure, in the order of `cells`. */
export interface BlockRequest {
  contender: string;
  port: number;
  upstreamPid: number;
  cells: Cell[];
  warmupMs: number;
  windowMs: number;
  /** MB of live objects that the process holds besides. */
  heldMb: number;
}

/** One cell of one process. */
export interface Window extends Cell {
  requests: number;
  wallMs: number;
  /** Of the process under test, all its threads. */
  cpuUserUs: number;
  cpuSystemUs: number;
  /** How busy the upstream was, 1 for one core; null where the system does not tell. */
  upstreamCpu: number | null;
  rssBytes: number;
}

export interface Sample extends Window {
  contender: string;
  round: number;
}

/** Median, least and greatest of the rounds. */
export interface Spread {
  median: number;
  low: number;
  high: number;
}

/** One contender in one cell. */
export interface Row extends Cell {
  contender: string;
  cpuUsPerRequest: Spread;
  requestsPerS: Spread;
  /** Of the per-round ratios to the baseline. */
  cpuRatio: Spread | null;
  requestsRatio: Spread | null;
  upstreamCpu: number | null;
  rssBytes: number;
  /** Its rate is within 10 % of what bare sockets reach, or the upstream had no time left. */
  nearCeiling: boolean;
}

/** What a contender may cost of another's CPU. */
export interface Bar {
  id: string;
  contender: string;
  against: string;
  most: number;
}

export interface Verdict extends Bar, Cell {
  ratio: Spread;
  /** The same ratio of bare sockets that hand the body over in one piece; null if they did not run. */
  floor: Spread | null;
  met: boolean;
}

export interface ClientBenchResult {
  kind: 'client-bench';
  createdAt: string;
  command: string;
  runtime: 'node' | 'bun';
  version: string;
  upstream: string;
  undiciVersion: string;
  machine: RigFacts;
  seed: number;
  rounds: number;
  warmupMs: number;
  windowMs: number;
  heldMb: number;
  baseline: string;
  bars: Verdict[];
  rows: Row[];
  samples: Sample[];
}
