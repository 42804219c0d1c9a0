/** The plan in lab/scenarios/gateway.json and what a run of it leaves. */
import type { RigFacts } from '../results/types.ts';
import type { ForwarderMode } from './peers.ts';

export interface Cell {
  /** Unique. */
  id: string;
  /** Bars of the performance goals it serves, for `--only`. */
  bars: string[];
  kind: 'closed' | 'open' | 'sse' | 'idle';
  path: string;
  connections: number;
  /** Open loop: the first of these that every forwarder carries. */
  ratesPerS?: number[];
  /** POST a prompt of so many bytes. */
  bodyBytes?: number;
  /** POST a small chat completion. */
  chat?: boolean;
  /** Events of one stream, and the time between them. */
  events?: number;
  paceMs?: number;
  /** Latency is what counts: the direct baseline is measured in every round. */
  latency?: boolean;
}

/** Cells that the same processes serve, one window after the other. */
export interface Group {
  id: string;
  mode: ForwarderMode;
  forwarders: string[];
  cells: Cell[];
}

export type Figure = 'cpu' | 'requestsPerS' | 'p99' | 'addedP50' | 'addedP99' | 'gap' | 'rssMB';

export interface Bar {
  id: string;
  forwarder: string;
  cells: string[];
  figure: Figure;
  /** Median of the rounds' ratios to this forwarder; null: the median of the figure itself. */
  against: string | null;
  /** Without `most` and `least` the figure is told and nothing judged. */
  most?: number;
  least?: number;
  stretch?: number;
}

/** What `--against REVISION` asks for. */
export interface AgainstBars {
  /** CPU per request, new over old, at most. */
  most: number;
  /** What may change: told, not judged. */
  onlyReported: { forwarder: string; cells: string[] }[];
}

export interface Scenarios {
  groups: Group[];
  bars: Bar[];
  against: AgainstBars;
}

/** One forwarder under one load in one round. */
export interface Sample {
  group: string;
  cell: string;
  /** `direct`: no forwarder at all. */
  forwarder: string;
  round: number;
  requests: number;
  requestsPerS: number;
  /** User and system time of the forwarder and its children per request (SSE: per event), µs. */
  cpuUs: number | null;
  p50Ms: number | null;
  p99Ms: number | null;
  /** SSE: the longest time between two events of a stream, and the 99th percentile. */
  gapMaxMs: number | null;
  gapP99Ms: number | null;
  /** Idle connections: resident bytes that they added, and what the process had before. */
  rssAddedBytes: number | null;
  rssBytes: number;
  /** Open loop: what was offered. */
  ratePerS: number | null;
  /** CPU of the load generator over wall time. */
  generatorCpu: number | null;
  /** Anything but a right 2xx; such a sample proves nothing. */
  invalid: string[];
}

export interface Spread {
  median: number;
  low: number;
  high: number;
}

export interface Row {
  cell: string;
  forwarder: string;
  cpuUs: Spread | null;
  cpuRatio: Spread | null;
  requestsPerS: Spread;
  requestsRatio: Spread | null;
  p50Ms: Spread | null;
  p99Ms: Spread | null;
  gapMaxMs: Spread | null;
  rssAddedMB: Spread | null;
  rounds: number;
  invalid: string[];
}

export interface JudgedBar {
  id: string;
  text: string;
  found: Spread | null;
  verdict: 'stretch' | 'met' | 'missed' | 'unknown' | 'reported';
}

/** A figure of ours over that of the other revision, round by round. */
export interface RevisionRatio {
  /** One load, or several of the same bars together: then each round gives their geometric mean. */
  cells: string[];
  bars: string[];
  forwarder: string;
  figure: Figure;
  /** New over old. Rounds in which one side was not right are left out. */
  ratios: { round: number; ratio: number }[];
  /** Median, lowest and highest. */
  found: Spread | null;
  /** Of the median, by order statistics; null below the rounds that a verdict needs. */
  interval: { low: number; high: number; confidence: number } | null;
  verdict: 'met' | 'missed' | 'undecided' | 'reported';
  /** Why it is undecided. */
  reason: string | null;
}

export interface AgainstResult {
  revision: string;
  commit: string;
  subject: string;
  most: number;
  ratios: RevisionRatio[];
}

export interface GatewayBenchResult {
  kind: 'gateway-bench';
  createdAt: string;
  command: string;
  machine: RigFacts;
  rounds: number;
  quick: boolean;
  forwarders: { id: string; name: string }[];
  leftOut: string[];
  warnings: string[];
  rows: Row[];
  bars: JudgedBar[];
  /** Only of a run with `--against`. */
  against?: AgainstResult;
  samples: Sample[];
}
