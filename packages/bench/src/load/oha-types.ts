/**
 * The JSON of oha, versions 0.5.4 to 1.15, and what the importer makes of a directory of it. Every
 * time is in seconds except `metrics.latency_ms`. What an old version does not write is absent.
 */

export type OhaNumbers = Record<string, number | null>;

export interface OhaTriple {
  average: number | null;
  fastest: number | null;
  slowest: number | null;
}

export interface OhaJson {
  summary: {
    successRate: number | null;
    total: number | null;
    slowest: number | null;
    fastest: number | null;
    average: number | null;
    requestsPerSec: number | null;
    totalData: number | null;
    sizePerRequest: number | null;
    sizePerSec: number | null;
    /** Ours alone: the share of requests answered with 2xx or 3xx. */
    statusSuccessRate?: number | null;
  };
  metrics?: {
    success_rate: number | null;
    requests_per_sec: number | null;
    latency_ms: {
      min: number | null;
      mean: number | null;
      p50: number | null;
      p95: number | null;
      p99: number | null;
      max: number | null;
    };
  };
  responseTimeHistogram: OhaNumbers;
  latencyPercentiles: OhaNumbers;
  firstByteHistogram?: OhaNumbers;
  firstBytePercentiles?: OhaNumbers;
  responseTimeHistogramSuccessful?: OhaNumbers;
  latencyPercentilesSuccessful?: OhaNumbers;
  responseTimeHistogramNotSuccessful?: OhaNumbers;
  latencyPercentilesNotSuccessful?: OhaNumbers;
  rps: {
    mean: number | null;
    stddev: number | null;
    max: number | null;
    min: number | null;
    percentiles: OhaNumbers;
  };
  details: { DNSDialup: OhaTriple; DNSLookup: OhaTriple; firstByte?: OhaTriple };
  statusCodeDistribution: Record<string, number>;
  errorDistribution: Record<string, number>;
}

/** One `<client>_<n>_<c>.json`. */
export interface OhaCell {
  file: string;
  client: string;
  requests: number;
  connections: number;
  /** Which releases write such a file, as far as its shape tells: `0.5.4-0.6.3`, `1.13-1.14`. */
  versions: string;
  /** True when `--latency-correction` may have been inverted if `-q` was used (1.6.0-1.13.0). */
  correctionSuspect: boolean;
  requestsPerS: number | null;
  averageMs: number | null;
  fastestMs: number | null;
  slowestMs: number | null;
  /** Keys of oha (`p50`, `p99.9`) to ms. */
  percentilesMs: Record<string, number | null>;
  successRate: number | null;
  statusCounts: Record<string, number>;
  errorCounts: Record<string, number>;
  /** What a reader must know before trusting this cell, each one sentence. */
  notes: string[];
  raw: OhaJson;
}

export interface OhaStudy {
  directory: string;
  /** In order of client, n, c. */
  cells: OhaCell[];
  clients: string[];
  requestCounts: number[];
  connectionCounts: number[];
  /** Files that were left out and why. */
  skipped: { file: string; reason: string }[];
  /** Notes that hold for the whole directory. */
  notes: string[];
}
