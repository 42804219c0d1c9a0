/**
 * Keeps what a run measured: every sample up to a limit, an HDR histogram beyond it. The hot path is
 * `record`: a few stores into preallocated chunks, so that nothing is ever copied or grown mid-run.
 */
import {
  build as buildHistogram,
  encodeIntoCompressedBase64,
  type Histogram,
} from 'hdr-histogram-js';
import { type Quantiles, sortedQuantiles } from './percentiles.ts';
import { exactSamplesMax } from './plan.ts';
import type { LoadSamples } from './types.ts';

const CHUNK = 65_536;
/** Histogram values are whole numbers of 100 ns, up to an hour. */
const UNITS_PER_MS = 10_000;
const UNITS_MAX = 3_600_000 * UNITS_PER_MS;

/** What is told of a sample beside its numbers. */
export const SampleKind = { Plain: 0, Connect: 1 } as const;

function newHistogram(): Histogram {
  return buildHistogram({
    bitBucketSize: 64,
    lowestDiscernibleValue: 1,
    highestTrackableValue: UNITS_MAX,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });
}

const toUnits = (ms: number): number =>
  Math.min(UNITS_MAX, Math.max(1, Math.round(ms * UNITS_PER_MS)));

/** Numbers without a known end: chunks, never a copy; a histogram beyond the limit. */
export class SampleSeries {
  private readonly chunks: Float64Array[] = [];
  private current: Float64Array;
  private at = 0;
  private exactCount = 0;
  private overflow: Histogram | null = null;
  private overflowSum = 0;
  private readonly limit: number;

  constructor(limit: number = exactSamplesMax) {
    this.limit = limit;
    this.current = new Float64Array(CHUNK);
    this.chunks.push(this.current);
  }

  get count(): number {
    return this.exactCount + (this.overflow?.totalCount ?? 0);
  }

  get exact(): boolean {
    return this.overflow === null;
  }

  push(valueMs: number): void {
    if (this.at === CHUNK) {
      if (this.exactCount >= this.limit) {
        this.pushOverflow(valueMs);
        return;
      }
      this.current = new Float64Array(CHUNK);
      this.chunks.push(this.current);
      this.at = 0;
    }
    this.current[this.at++] = valueMs;
    this.exactCount++;
  }

  private pushOverflow(valueMs: number): void {
    this.overflow ??= newHistogram();
    this.overflow.recordValue(toUnits(valueMs));
    this.overflowSum += valueMs;
  }

  /** The samples that were kept one by one, in order of arrival. */
  toArray(): Float64Array {
    const all = new Float64Array(this.exactCount);
    let offset = 0;
    for (const chunk of this.chunks) {
      const take = Math.min(CHUNK, this.exactCount - offset);
      all.set(take === CHUNK ? chunk : chunk.subarray(0, take), offset);
      offset += take;
    }
    return all;
  }

  quantiles(): Quantiles {
    const sorted = this.toArray().sort();
    if (this.overflow === null) return sortedQuantiles(sorted);
    const exactMean = sortedQuantiles(sorted).mean * sorted.length;
    return histogramQuantiles(this.histogram(sorted), exactMean + this.overflowSum);
  }

  /** Everything as one histogram; `sorted` saves collecting the samples again. */
  histogram(sorted: Float64Array = this.toArray()): Histogram {
    const merged = newHistogram();
    for (let i = 0; i < sorted.length; i++) merged.recordValue(toUnits(sorted[i]!));
    if (this.overflow !== null) merged.add(this.overflow);
    return merged;
  }
}

/** Quantiles in ms of a histogram in units of 100 ns; the mean comes from the exact sum. */
function histogramQuantiles(histogram: Histogram, sumMs: number): Quantiles {
  const count = histogram.totalCount;
  const at = (percent: number): number =>
    percent <= 0
      ? histogram.minNonZeroValue / UNITS_PER_MS
      : histogram.getValueAtPercentile(percent) / UNITS_PER_MS;
  return {
    count,
    mean: count === 0 ? 0 : sumMs / count,
    at,
    rankOf(value) {
      if (value < at(0)) return 0;
      let low = 0;
      let high = 100;
      for (let step = 0; step < 50; step++) {
        const middle = (low + high) / 2;
        if (at(middle) <= value) low = middle;
        else high = middle;
      }
      return Math.round((low / 100) * count);
    },
  };
}

/** HDR V2 compressed, base64: mergeable with histograms of other runs and tools. */
export function encodeHistogram(series: SampleSeries): string {
  return encodeIntoCompressedBase64(series.histogram());
}

/** oha's `rps` block, fed in order of completion: windows of 10 ms with one completion at least. */
export class RateWindows {
  readonly ratesPerS: number[] = [];
  private windowStartMs = 0;
  private lastMs = 0;
  private inWindow = 0;

  record(endMs: number): void {
    if (this.inWindow > 0 && endMs >= this.windowStartMs + 10) this.flush();
    this.inWindow++;
    this.lastMs = endMs;
  }

  flush(): void {
    if (this.inWindow === 0) return;
    const spanMs = this.lastMs - this.windowStartMs;
    // Several ends at one instant cannot make a rate; they join the next window.
    if (spanMs <= 0) return;
    this.ratesPerS.push((this.inWindow / spanMs) * 1_000);
    this.windowStartMs = this.lastMs;
    this.inWindow = 0;
  }
}

export interface RecorderOptions {
  /** Keep service times beside latencies. */
  openLoop: boolean;
  keepSamples: boolean;
  successBreakdown: boolean;
  /** For tests: how many samples are kept exactly. */
  exactMax?: number;
}

/** Everything one run measures about completed requests. */
export class Recorder {
  /** All samples, as oha counts them. */
  readonly latency: SampleSeries;
  /** Those that did not have to connect first. */
  readonly latencyWarm: SampleSeries;
  readonly latencyConnect: SampleSeries;
  readonly service: SampleSeries | null;
  readonly firstByte: SampleSeries;
  readonly successful: SampleSeries | null;
  readonly notSuccessful: SampleSeries | null;
  readonly connect: SampleSeries;
  readonly sseGap: SampleSeries;
  readonly scheduleLag: SampleSeries;
  readonly rates = new RateWindows();
  /** Index is the status code, 0..999. */
  readonly statusCounts = new Float64Array(1_000);
  readonly errorCounts = new Map<string, number>();
  readonly samples: LoadSamples | null;
  completed = 0;
  valid = 0;
  invalidBodies = 0;
  bodyBytes = 0;
  sseEvents = 0;
  dropped = 0;
  errors = 0;

  constructor(options: RecorderOptions) {
    const limit = options.exactMax;
    this.latency = new SampleSeries(limit);
    this.latencyWarm = new SampleSeries(limit);
    this.latencyConnect = new SampleSeries(limit);
    this.service = options.openLoop ? new SampleSeries(limit) : null;
    this.firstByte = new SampleSeries(limit);
    this.connect = new SampleSeries(limit);
    this.sseGap = new SampleSeries(limit);
    this.scheduleLag = new SampleSeries(limit);
    this.successful = options.successBreakdown ? new SampleSeries(limit) : null;
    this.notSuccessful = options.successBreakdown ? new SampleSeries(limit) : null;
    this.samples = options.keepSamples
      ? { startMs: [], latencyMs: [], firstByteMs: [], status: [], bodyBytes: [], connectMs: [] }
      : null;
  }

  /**
   * One completed request. `endMs` counts from the start of the run; `serviceMs` matters in an open
   * loop; `firstByteMs` is -1 without a body; `connectMs` is -1 unless it had to connect; `cold` says
   * that the connection was the first of its slot, or that none is ever kept: not the server's doing.
   */
  record(
    endMs: number,
    latencyMs: number,
    serviceMs: number,
    firstByteMs: number,
    status: number,
    connectMs: number,
    cold: boolean,
    bodyBytes: number,
  ): void {
    this.completed++;
    this.bodyBytes += bodyBytes;
    this.statusCounts[status]!++;
    this.rates.record(endMs);
    this.latency.push(latencyMs);
    if (connectMs >= 0) this.connect.push(connectMs);
    if (!cold) this.latencyWarm.push(latencyMs);
    else this.latencyConnect.push(latencyMs);
    if (this.service !== null) this.service.push(serviceMs);
    if (firstByteMs >= 0) this.firstByte.push(firstByteMs);
    if (this.successful !== null && this.notSuccessful !== null) {
      (status >= 200 && status < 300 ? this.successful : this.notSuccessful).push(latencyMs);
    }
    const { samples } = this;
    if (samples !== null) {
      samples.startMs.push(endMs - serviceMs);
      samples.latencyMs.push(latencyMs);
      samples.firstByteMs.push(firstByteMs);
      samples.status.push(status);
      samples.bodyBytes.push(bodyBytes);
      samples.connectMs.push(connectMs);
    }
  }

  recordError(text: string): void {
    this.errors++;
    this.errorCounts.set(text, (this.errorCounts.get(text) ?? 0) + 1);
  }

  statusTable(): Record<string, number> {
    const table: Record<string, number> = {};
    this.statusCounts.forEach((count, status) => {
      if (count > 0) table[String(status)] = count;
    });
    return table;
  }
}
