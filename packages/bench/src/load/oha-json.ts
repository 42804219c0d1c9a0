/** The run in the JSON shape of oha 1.15, with `summary.statusSuccessRate` added beside its own. */
import type { OhaJson, OhaNumbers, OhaTriple } from './oha-types.ts';
import { percentileOf, type Quantiles } from './percentiles.ts';
import type { Recorder } from './recorder.ts';

const BINS = 11;
export const ohaPercents = [10, 25, 50, 75, 90, 95, 99, 99.9, 99.99] as const;

/** Percentiles with oha's keys, `scale` times the values; null without samples, as oha writes NaN. */
function percentileMap(quantiles: Quantiles, scale: number): OhaNumbers {
  const map: OhaNumbers = {};
  for (const percent of sortedAsText(ohaPercents.map((value) => `p${value}`))) {
    map[percent] = quantiles.count === 0 ? null : quantiles.at(Number(percent.slice(1))) * scale;
  }
  return map;
}

const sortedAsText = (keys: string[]): string[] => keys.sort((a, b) => (a < b ? -1 : 1));

/** A number as Rust prints it: never with an exponent. */
function plainNumber(value: number): string {
  const text = String(value);
  if (!text.includes('e')) return text;
  return value.toFixed(20).replace(/\.?0+$/, '');
}

/**
 * oha's histogram: 11 bins, the first holds the minimum, bin i what lies in
 * (min + (i - 1) * step, min + i * step]. Labels in seconds, samples in ms.
 */
export function histogramBins(quantiles: Quantiles): { label: number; count: number }[] {
  if (quantiles.count === 0) return [];
  const min = quantiles.at(0);
  const max = quantiles.at(100);
  const step = (max - min) / (BINS - 1);
  let below = 0;
  return Array.from({ length: BINS }, (_, index) => {
    const label = min + step * index;
    // Rounding must not lose the largest sample from the last bin.
    const rank = index === BINS - 1 ? quantiles.count : quantiles.rankOf(label);
    const count = rank - below;
    below = rank;
    return { label: label / 1_000, count };
  });
}

function histogramMap(quantiles: Quantiles): OhaNumbers {
  const map: OhaNumbers = {};
  const bins = histogramBins(quantiles);
  if (bins.length === 0) return { NaN: 0 };
  const byKey = new Map<string, number>();
  for (const { label, count } of bins) {
    // Equal samples give eleven times the same label; keep the count instead of oha's last zero.
    const key = plainNumber(label);
    byKey.set(key, (byKey.get(key) ?? 0) + count);
  }
  for (const key of sortedAsText([...byKey.keys()])) map[key] = byKey.get(key)!;
  return map;
}

function triple(quantiles: Quantiles): OhaTriple {
  if (quantiles.count === 0) return { average: null, fastest: null, slowest: null };
  return {
    average: quantiles.mean / 1_000,
    fastest: quantiles.at(0) / 1_000,
    slowest: quantiles.at(100) / 1_000,
  };
}

function rpsBlock(rates: readonly number[]): OhaJson['rps'] {
  const sorted = Float64Array.from(rates).sort();
  const count = sorted.length;
  const percentiles: OhaNumbers = {};
  for (const key of sortedAsText(ohaPercents.map((value) => `p${value}`))) {
    percentiles[key] = count === 0 ? null : percentileOf(sorted, Number(key.slice(1)));
  }
  if (count === 0) return { mean: null, stddev: null, max: null, min: null, percentiles };
  const mean = sorted.reduce((sum, rate) => sum + rate, 0) / count;
  const squares = sorted.reduce((sum, rate) => sum + (rate - mean) ** 2, 0);
  return {
    mean,
    stddev: count < 2 ? null : Math.sqrt(squares / (count - 1)),
    max: sorted[count - 1]!,
    min: sorted[0]!,
    percentiles,
  };
}

export interface OhaExtras {
  durationMs: number;
  abortedAtDeadline: number;
  /** One per connection, or one shared: how long resolving took. */
  lookupMs: number;
}

const round3 = (value: number): number => Math.round(value * 1_000) / 1_000;

/**
 * Differs from oha on purpose: `requestsPerSec` leaves out what the end of the run cut off, which
 * oha counts as requests done.
 */
export function buildOha(recorder: Recorder, latency: Quantiles, extras: OhaExtras): OhaJson {
  const seconds = extras.durationMs / 1_000;
  const attempts = recorder.completed + recorder.errors;
  const empty = latency.count === 0;
  const successRate = attempts === 0 ? null : recorder.completed / attempts;
  let good = 0;
  for (let status = 200; status < 400; status++) good += recorder.statusCounts[status]!;
  const requestsPerSec = seconds > 0 ? attempts / seconds : null;
  const firstByte = recorder.firstByte.quantiles();
  const lookup = extras.lookupMs / 1_000;
  const connect = recorder.connect.quantiles();
  const errors: Record<string, number> = Object.fromEntries(
    [...recorder.errorCounts].sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  if (extras.abortedAtDeadline > 0) errors['aborted due to deadline'] = extras.abortedAtDeadline;
  const inMs = (percent: number): number | null => (empty ? null : round3(latency.at(percent)));
  const breakdown: Partial<OhaJson> = {};
  if (recorder.successful !== null && recorder.notSuccessful !== null) {
    const yes = recorder.successful.quantiles();
    const no = recorder.notSuccessful.quantiles();
    breakdown.responseTimeHistogramSuccessful = histogramMap(yes);
    breakdown.latencyPercentilesSuccessful = percentileMap(yes, 1e-3);
    breakdown.responseTimeHistogramNotSuccessful = histogramMap(no);
    breakdown.latencyPercentilesNotSuccessful = percentileMap(no, 1e-3);
  }
  return {
    summary: {
      successRate,
      total: seconds,
      slowest: empty ? null : latency.at(100) / 1_000,
      fastest: empty ? null : latency.at(0) / 1_000,
      average: empty ? null : latency.mean / 1_000,
      requestsPerSec,
      totalData: recorder.bodyBytes,
      sizePerRequest:
        recorder.completed === 0 ? null : Math.floor(recorder.bodyBytes / recorder.completed),
      sizePerSec: seconds > 0 ? recorder.bodyBytes / seconds : null,
      statusSuccessRate: attempts === 0 ? null : good / attempts,
    },
    metrics: {
      success_rate: successRate,
      requests_per_sec: requestsPerSec,
      latency_ms: {
        min: inMs(0),
        mean: empty ? null : round3(latency.mean),
        p50: inMs(50),
        p95: inMs(95),
        p99: inMs(99),
        max: inMs(100),
      },
    },
    responseTimeHistogram: histogramMap(latency),
    latencyPercentiles: percentileMap(latency, 1e-3),
    firstByteHistogram: histogramMap(firstByte),
    firstBytePercentiles: percentileMap(firstByte, 1e-3),
    ...breakdown,
    rps: rpsBlock(recorder.rates.ratesPerS),
    details: {
      DNSDialup: triple(connect),
      DNSLookup:
        connect.count === 0
          ? { average: null, fastest: null, slowest: null }
          : { average: lookup, fastest: lookup, slowest: lookup },
      firstByte: triple(firstByte),
    },
    statusCodeDistribution: recorder.statusTable(),
    errorDistribution: errors,
  };
}
