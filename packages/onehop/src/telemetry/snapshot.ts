/** The state of all metrics at one instant, as plain data: sent between workers, merged, printed. */
import { METRICS, type MetricName, type MetricSpec } from './catalogue.ts';
import type { Histogram } from './histogram.ts';

/** Values of the labels in the catalogue's order, then the number or the histogram's numbers. */
export type Sample = readonly [labels: readonly string[], value: number | HistogramValue];

export interface HistogramValue {
  readonly counts: readonly number[];
  readonly sumMs: number;
}

export type Snapshot = Partial<Record<MetricName, Sample[]>>;

/** Collects one snapshot; refuses what the catalogue does not know. */
export class SnapshotWriter {
  readonly snapshot: Snapshot = {};

  number(name: MetricName, value: number, ...labels: string[]): void {
    this.#add(name, [labels, value]);
  }

  histogram(name: MetricName, { counts, sumMs }: Histogram, ...labels: string[]): void {
    this.#add(name, [labels, { counts: [...counts], sumMs }]);
  }

  #add(name: MetricName, sample: Sample): void {
    const spec: MetricSpec = METRICS[name];
    if (spec.labels.length !== sample[0].length) {
      throw new TypeError(`${name} has the labels ${spec.labels.join(', ')}`);
    }
    const samples = this.snapshot[name];
    if (samples === undefined) this.snapshot[name] = [sample];
    else samples.push(sample);
  }
}

function combine(
  how: MetricSpec['merge'],
  a: number | HistogramValue,
  b: number | HistogramValue,
): number | HistogramValue {
  if (typeof a === 'number' || typeof b === 'number') {
    if (how === 'sum') return Number(a) + Number(b);
    return how === 'min' ? Math.min(Number(a), Number(b)) : Math.max(Number(a), Number(b));
  }
  return {
    counts: a.counts.map((count, index) => count + (b.counts[index] ?? 0)),
    sumMs: a.sumMs + b.sumMs,
  };
}

/** One snapshot of several workers. */
export function mergeSnapshots(snapshots: readonly Snapshot[]): Snapshot {
  const merged: Snapshot = {};
  for (const [name, spec] of Object.entries(METRICS) as [MetricName, MetricSpec][]) {
    const byLabels = new Map<string, Sample>();
    for (const snapshot of snapshots) {
      for (const sample of snapshot[name] ?? []) {
        const key = sample[0].join('\u0000');
        const earlier = byLabels.get(key);
        byLabels.set(
          key,
          earlier === undefined ? sample : [sample[0], combine(spec.merge, earlier[1], sample[1])],
        );
      }
    }
    if (byLabels.size > 0) merged[name] = [...byLabels.values()];
  }
  return merged;
}

/** What outlives a worker: its counters and histograms, without its gauges. */
export function totalsOf(snapshot: Snapshot): Snapshot {
  const totals: Snapshot = {};
  for (const [name, samples] of Object.entries(snapshot) as [MetricName, Sample[]][]) {
    if (METRICS[name].type !== 'gauge') totals[name] = samples;
  }
  return totals;
}

const escapeLabel = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function labelText(names: readonly string[], values: readonly string[], extra = ''): string {
  const pairs = names.map((name, index) => `${name}="${escapeLabel(values[index] ?? '')}"`);
  if (extra !== '') pairs.push(extra);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** Milliseconds as seconds, without the noise of floating point. */
const seconds = (ms: number): string => String(Number((ms / 1000).toPrecision(15)));

/** The Prometheus text format, version 0.0.4. */
export function renderPrometheus(snapshot: Snapshot): string {
  const lines: string[] = [];
  for (const [name, spec] of Object.entries(METRICS) as [MetricName, MetricSpec][]) {
    const samples = snapshot[name];
    if (samples === undefined) continue;
    lines.push(
      `# HELP ${name} ${spec.help.replaceAll('\\', '\\\\')}`,
      `# TYPE ${name} ${spec.type}`,
    );
    for (const [labels, value] of samples) {
      if (typeof value === 'number') {
        lines.push(`${name}${labelText(spec.labels, labels)} ${value}`);
        continue;
      }
      let total = 0;
      value.counts.forEach((count, index) => {
        total += count;
        const bound = spec.boundsMs?.[index];
        const le = bound === undefined ? '+Inf' : seconds(bound);
        lines.push(`${name}_bucket${labelText(spec.labels, labels, `le="${le}"`)} ${total}`);
      });
      lines.push(
        `${name}_sum${labelText(spec.labels, labels)} ${seconds(value.sumMs)}`,
        `${name}_count${labelText(spec.labels, labels)} ${total}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
