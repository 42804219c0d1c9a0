/** The summary on the terminal: oha's layout, with what oha leaves unsaid below it. */
import picocolors from 'picocolors';
import type { Percentiles } from '../results/types.ts';
import type { OhaJson, OhaNumbers, OhaTriple } from './oha-types.ts';
import type { TimeUnit } from './options.ts';
import type { LoadResult } from './types.ts';

const BAR_WIDTH = 32;
const UNITS: Record<TimeUnit, { label: string; seconds: number }> = {
  ns: { label: 'ns', seconds: 1e-9 },
  us: { label: 'us', seconds: 1e-6 },
  ms: { label: 'ms', seconds: 1e-3 },
  s: { label: 'sec', seconds: 1 },
  m: { label: 'min', seconds: 60 },
  h: { label: 'hr', seconds: 3_600 },
};

function unitFor(slowestSeconds: number | null): TimeUnit {
  const seconds = slowestSeconds ?? 0;
  if (seconds >= 3_600) return 'h';
  if (seconds >= 60) return 'm';
  return seconds >= 1 ? 's' : 'ms';
}

function bytesText(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1_024)
      return unit === 'B' ? `${Math.floor(value)} B` : `${value.toFixed(2)} ${unit}`;
    value /= 1_024;
  }
  return `${value.toFixed(2)} TiB`;
}

type Paint = (text: string) => string;

class TextReport {
  private readonly lines: string[] = [];
  private readonly result: LoadResult;
  private readonly oha: OhaJson;
  private readonly unit: { label: string; seconds: number };
  private readonly colors: ReturnType<typeof picocolors.createColors>;

  constructor(result: LoadResult, timeUnit: TimeUnit | null, color: boolean) {
    this.result = result;
    this.oha = result.oha as OhaJson;
    this.unit = UNITS[timeUnit ?? unitFor(this.oha.summary.slowest)];
    this.colors = picocolors.createColors(color);
  }

  private time(seconds: number | null, digits = 4): string {
    if (seconds === null) return 'no sample';
    return `${(seconds / this.unit.seconds).toFixed(digits)} ${this.unit.label}`;
  }

  private heading(text: string): void {
    this.lines.push(this.colors.bold(this.colors.underline(text)));
  }

  /** Green, yellow, red by oha's thresholds: 0.1 s and 0.4 s. */
  private speed(seconds: number): Paint {
    if (seconds <= 0.1) return this.colors.green;
    return seconds <= 0.4 ? this.colors.yellow : this.colors.red;
  }

  private summary(): void {
    const { summary } = this.oha;
    const { colors } = this;
    const rate = 100 * (summary.successRate ?? 0);
    const paint = rate >= 100 ? colors.green : rate >= 99 ? colors.yellow : colors.red;
    this.heading('Summary:');
    this.lines.push(paint(`  Success rate:\t${rate.toFixed(2)}%`));
    const good = 100 * (summary.statusSuccessRate ?? 0);
    if (good !== rate) {
      this.lines.push(colors.red(`  2xx/3xx rate:\t${good.toFixed(2)}%`));
    }
    this.lines.push(
      `  Total:\t${this.time(summary.total)}`,
      colors.yellow(`  Slowest:\t${this.time(summary.slowest)}`),
      colors.green(`  Fastest:\t${this.time(summary.fastest)}`),
      colors.cyan(`  Average:\t${this.time(summary.average)}`),
      `  Requests/sec:\t${(summary.requestsPerSec ?? 0).toFixed(4)}`,
      '',
      `  Total data:\t${bytesText(summary.totalData ?? 0)}`,
      `  Size/request:\t${summary.sizePerRequest === null ? 'no sample' : bytesText(summary.sizePerRequest)}`,
      `  Size/sec:\t${bytesText(summary.sizePerSec ?? 0)}`,
      '',
    );
  }

  private histogram(title: string, map: OhaNumbers): void {
    this.heading(title);
    const bins = Object.entries(map)
      .filter(([key]) => key !== 'NaN')
      .map(([key, count]) => ({ seconds: Number(key), count: count ?? 0 }))
      .sort((a, b) => a.seconds - b.seconds);
    if (bins.length === 0) this.lines.push('  no sample');
    const most = Math.max(1, ...bins.map(({ count }) => count));
    const countWidth = String(most).length;
    const label = (seconds: number): string => (seconds / this.unit.seconds).toFixed(3);
    const width = Math.max(0, ...bins.map(({ seconds }) => label(seconds).length));
    for (const { seconds, count } of bins) {
      const bar = '■'.repeat(Math.floor((BAR_WIDTH * count) / most));
      const left = `  ${label(seconds).padStart(width)} ${this.unit.label} `;
      this.lines.push(this.speed(seconds)(`${left}${`[${count}]`.padEnd(countWidth + 2)} |${bar}`));
    }
    this.lines.push('');
  }

  private distribution(title: string, map: OhaNumbers): void {
    this.heading(title);
    const entries = Object.entries(map)
      .map(([key, value]) => ({ percent: Number(key.slice(1)), value }))
      .sort((a, b) => a.percent - b.percent);
    for (const { percent, value } of entries) {
      const text = `  ${percent.toFixed(2)}% in ${this.time(value)}`;
      this.lines.push(value === null ? text : this.speed(value)(text));
    }
    this.lines.push('');
  }

  private latencies(): void {
    const { oha } = this;
    this.histogram('Response time histogram:', oha.responseTimeHistogram);
    this.distribution('Response time distribution:', oha.latencyPercentiles);
    if (oha.responseTimeHistogramSuccessful === undefined) return;
    this.histogram('Response time histogram (2xx only):', oha.responseTimeHistogramSuccessful);
    this.distribution(
      'Response time distribution (2xx only):',
      oha.latencyPercentilesSuccessful ?? {},
    );
    this.histogram(
      'Response time histogram (not 2xx):',
      oha.responseTimeHistogramNotSuccessful ?? {},
    );
    this.distribution(
      'Response time distribution (not 2xx):',
      oha.latencyPercentilesNotSuccessful ?? {},
    );
  }

  private triple(name: string, triple: OhaTriple | undefined): void {
    if (triple === undefined || triple.average === null) return;
    const parts = [triple.average, triple.fastest, triple.slowest].map((value) => this.time(value));
    this.lines.push(`  ${name}:\t${parts.join(', ')}`);
  }

  private details(): void {
    const { details } = this.oha;
    this.heading('Details (average, fastest, slowest):');
    this.triple('DNS+dialup', details.DNSDialup);
    this.triple('DNS-lookup', details.DNSLookup);
    this.triple('First byte', details.firstByte);
    this.lines.push('');
    this.heading('Status code distribution:');
    const byCount = (a: [string, number], b: [string, number]): number => b[1] - a[1];
    for (const [status, count] of Object.entries(this.oha.statusCodeDistribution).sort(byCount)) {
      const paint = { 2: this.colors.green, 4: this.colors.yellow, 5: this.colors.red }[status[0]!];
      this.lines.push((paint ?? String)(`  [${status}] ${count} responses`));
    }
    const errors = Object.entries(this.oha.errorDistribution).sort(byCount);
    if (errors.length > 0) {
      this.lines.push('', 'Error distribution:');
      for (const [text, count] of errors) this.lines.push(`  [${count}] ${text}`);
    }
  }

  private row(name: string, figures: Percentiles): void {
    const { label, seconds } = this.unit;
    const show = (ms: number | null): string =>
      ms === null ? 'too few' : `${(ms / 1_000 / seconds).toFixed(4)} ${label}`;
    this.lines.push(
      `  ${name}:\tp50 ${show(figures.p50)}, p90 ${show(figures.p90)}, p99 ${show(figures.p99)}, p99.9 ${show(figures.p999)}, max ${show(figures.max)}`,
    );
  }

  /** Says which load model the figures belong to: without it they cannot be read. */
  private model(): void {
    const { result } = this;
    const { plan } = result;
    this.lines.push('');
    this.heading('Load model:');
    if (result.serviceMs !== null || result.scheduleLagP99Ms !== null) {
      const rate = plan.ratePerS ?? (plan.burst!.requests * 1_000) / plan.burst!.delayMs;
      const achieved = ((result.achievedOverOffered ?? 0) * 100).toFixed(1);
      this.lines.push(
        `  Open loop:\t${rate} requests/sec offered on a fixed schedule, ${achieved}% achieved, at most ${result.inFlightPeak} under way, ${result.dropped} dropped`,
        '  Latency:\tfrom the instant each request was due, waiting for a connection included',
      );
      this.row('Latency', result.latencyMs);
      if (result.serviceMs !== null) this.row('Service', result.serviceMs);
      const lag = (result.scheduleLagP99Ms ?? 0).toFixed(3);
      this.lines.push(`  Schedule lag:\t${lag} ms (p99)`);
    } else {
      const cold = result.connectSamplesMs === null ? 0 : result.connectionsEstablished;
      const each = plan.http2
        ? `HTTP/2 connections with ${plan.streamsPerConnection} streams, each`
        : 'connections, each';
      this.lines.push(
        `  Closed loop:\t${plan.connections} ${each} sends when it was answered: a slow server is asked less often`,
      );
      if (cold > 0 && plan.keepAlive) {
        this.lines.push(
          `  Cold starts:\t${cold} samples above contain the opening of their connection`,
        );
        this.row('Without', result.latencyMs);
      }
    }
    if (result.http2 !== null) {
      const { streamsReset, goaways, sentAgain, streamsAllowed } = result.http2;
      this.lines.push(
        `  HTTP/2:\t${streamsReset} streams reset, ${goaways} GOAWAY, ${sentAgain} requests sent again after one, ${streamsAllowed ?? 'any number of'} streams per connection allowed`,
      );
    }
    if (result.sseGapMs !== null) {
      this.lines.push(`  Events:\t${result.sseEvents} server-sent events`);
      this.row('Event gap', result.sseGapMs);
    }
    if (result.invalidBodies > 0) {
      this.lines.push(
        this.colors.red(`  Wrong bodies:\t${result.invalidBodies} were not what was expected`),
      );
    }
    this.lines.push(
      `  Generator:\t${result.generator}, ${(result.cpuUtilisation * 100).toFixed(0)}% of a core`,
    );
    if (result.interrupted) {
      this.lines.push(this.colors.yellow('  Interrupted:\tthis is what ran until then'));
    }
    for (const problem of result.selfCheckProblems) {
      this.lines.push(this.colors.yellow(`  Caution:\t${problem}`));
    }
  }

  render(): string {
    this.summary();
    this.latencies();
    this.lines.push('');
    this.details();
    this.model();
    return `${this.lines.join('\n')}\n`;
  }
}

/** The whole summary as text. `timeUnit` null picks one by the slowest request. */
export function textReport(result: LoadResult, timeUnit: TimeUnit | null, color: boolean): string {
  return new TextReport(result, timeUnit, color).render();
}

/** oha's CSV: seconds, in order of start, completed requests only. */
export function csvReport(result: LoadResult): string {
  const samples = result.samples;
  let text = 'request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status\n';
  if (samples === null) return text;
  const order = samples.startMs.map((_, index) => index);
  order.sort((a, b) => samples.startMs[a]! - samples.startMs[b]!);
  const seconds = (ms: number): number => Math.round(Math.max(0, ms) * 1e6) / 1e9;
  for (const index of order) {
    text += `${seconds(samples.startMs[index]!)},0,${seconds(samples.connectMs[index]!)},`;
    text += `${seconds(samples.firstByteMs[index]!)},${seconds(samples.latencyMs[index]!)},`;
    text += `${samples.bodyBytes[index]!},${samples.status[index]!}\n`;
  }
  return text;
}
