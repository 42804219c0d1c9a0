/** From the windows of `bench:client` to rows and verdicts. Pure. */
import { median } from '../stats/index.ts';
import type { Bar, Cell, Row, Sample, Spread, Verdict } from './client-bench-types.ts';

/** P8 and P9 of the performance targets, and the bar against Bun's own fetch. */
export const bars: Record<'node' | 'bun', readonly Bar[]> = {
  node: [
    { id: 'P8', contender: 'onehop-client', against: 'undici-request', most: 0.5 },
    { id: 'P9', contender: 'onehop-fetch', against: 'builtin-fetch', most: 0.25 },
  ],
  bun: [
    { id: 'Bun', contender: 'onehop-client', against: 'builtin-fetch', most: 0.6 },
    { id: 'Bun', contender: 'onehop-fetch', against: 'builtin-fetch', most: 0.6 },
  ],
};

/** Whose rate says what upstream and machine can do. */
export const ceilingContender = 'bare-sockets';
/** What anybody pays who hands whole bodies over. */
export const floorContender = 'bare-collect';
const nearCeilingFrom = 0.9;

export const cpuOf = (window: Sample): number =>
  (window.cpuUserUs + window.cpuSystemUs) / window.requests;
export const rateOf = (window: Sample): number => (window.requests / window.wallMs) * 1000;

function spreadOf(list: readonly number[]): Spread {
  return { median: median([...list]), low: Math.min(...list), high: Math.max(...list) };
}

const isCell = (a: Cell, b: Cell): boolean =>
  a.sizeBytes === b.sizeBytes && a.concurrency === b.concurrency;

function samplesOf(samples: readonly Sample[], contender: string, cell: Cell): Sample[] {
  return samples.filter((each) => each.contender === contender && isCell(each, cell));
}

/** The ratio of each round that has both; null without any. */
function ratios(
  own: readonly Sample[],
  others: readonly Sample[],
  figure: (window: Sample) => number,
): Spread | null {
  const list: number[] = [];
  for (const one of own) {
    const other = others.find((each) => each.round === one.round);
    if (other !== undefined) list.push(figure(one) / figure(other));
  }
  return list.length === 0 ? null : spreadOf(list);
}

function cellsOf(samples: readonly Sample[]): Cell[] {
  const cells: Cell[] = [];
  for (const { sizeBytes, concurrency } of samples) {
    const cell = { sizeBytes, concurrency };
    if (!cells.some((each) => isCell(each, cell))) cells.push(cell);
  }
  return cells.sort((a, b) => a.sizeBytes - b.sizeBytes || a.concurrency - b.concurrency);
}

/** A row per cell and contender, contenders in the order given. */
export function rowsOf(
  samples: readonly Sample[],
  names: readonly string[],
  baseline: string,
): Row[] {
  const rows: Row[] = [];
  for (const cell of cellsOf(samples)) {
    const base = samplesOf(samples, baseline, cell);
    const bare = samplesOf(samples, ceilingContender, cell);
    for (const contender of names) {
      const own = samplesOf(samples, contender, cell);
      if (own.length === 0) continue;
      const ceiling = contender === ceilingContender ? null : ratios(own, bare, rateOf);
      const busy = own.map((each) => each.upstreamCpu).filter((share) => share !== null);
      const upstreamCpu = busy.length === 0 ? null : median(busy);
      rows.push({
        ...cell,
        contender,
        cpuUsPerRequest: spreadOf(own.map(cpuOf)),
        requestsPerS: spreadOf(own.map(rateOf)),
        cpuRatio: ratios(own, base, cpuOf),
        requestsRatio: ratios(own, base, rateOf),
        upstreamCpu,
        rssBytes: median(own.map((each) => each.rssBytes)),
        // One request at a time waits for its answer: its rate is a latency, not a ceiling.
        nearCeiling:
          cell.concurrency > 1 &&
          ((ceiling !== null && ceiling.median >= nearCeilingFrom) ||
            (upstreamCpu !== null && upstreamCpu >= nearCeilingFrom)),
      });
    }
  }
  return rows;
}

/** Judges by the median of the per-round ratios; a pair that did not run is left out. */
export function judge(samples: readonly Sample[], list: readonly Bar[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const bar of list) {
    for (const cell of cellsOf(samples)) {
      const own = samplesOf(samples, bar.contender, cell);
      const against = samplesOf(samples, bar.against, cell);
      const ratio = ratios(own, against, cpuOf);
      const floor = ratios(samplesOf(samples, floorContender, cell), against, cpuOf);
      if (ratio !== null) {
        verdicts.push({ ...bar, ...cell, ratio, floor, met: ratio.median <= bar.most });
      }
    }
  }
  return verdicts;
}
