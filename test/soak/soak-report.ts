/** What a soak must hold, and how it is told. */

import type { SoakResult } from './soak.ts';
import type { SoakSample } from './soak-gateway.ts';

const sum = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

const median = (values: number[]): number =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** Largest growth among the values that `of` takes of each sample, first quarter to last quarter. */
function growth(samples: readonly SoakSample[], of: (sample: SoakSample) => number): number {
  const quarter = Math.max(1, Math.floor(samples.length / 4));
  return median(samples.slice(-quarter).map(of)) - median(samples.slice(0, quarter).map(of));
}

export interface SoakGrowth {
  workerRssMb: number;
  supervisorRssMb: number;
  descriptors: number;
  handles: number;
  pool: number;
}

const totalOf = (values: readonly { rssMb: number }[]): number =>
  values.reduce((total, { rssMb }) => total + rssMb, 0);

/** From the first quarter of the undisturbed workers' samples to the last one. */
export function growthOf({ samples }: SoakResult): SoakGrowth {
  return {
    workerRssMb: growth(samples, ({ workers }) => totalOf(workers) / Math.max(1, workers.length)),
    supervisorRssMb: growth(samples, ({ supervisor }) => supervisor.rssMb),
    descriptors: growth(samples, ({ workers, supervisor }) =>
      workers.reduce((total, { descriptors }) => total + descriptors, supervisor.descriptors),
    ),
    handles: growth(samples, ({ handles }) => handles),
    pool: growth(samples, ({ pool }) => pool.idle + pool.busy + pool.opening),
  };
}

/** The reasons why a soak does not hold; none when it does. */
export function judgeSoak(result: SoakResult, rssGrowthMbMax: number): string[] {
  const wrong: string[] = [];
  const { after, before, callers, disturbances } = result;
  for (const [kind, { told, lost }] of Object.entries(callers)) {
    const idempotent = kind.startsWith('get');
    for (const [why, count] of Object.entries(lost)) {
      wrong.push(`${kind}: ${count} x ${why}: not told`);
    }
    if (idempotent && sum(told) > 0) {
      wrong.push(`${kind}: an idempotent request failed: ${JSON.stringify(told)}`);
    }
  }
  const { idle, busy, opening } = after.pool;
  if (after.pending + after.queued + after.callers > 0) wrong.push('a gauge is not zero');
  if (idle + busy + opening > 0) wrong.push('upstream connections are left');
  const most = Math.max(...before.workers.map(({ descriptors }) => descriptors));
  // Two are the runtime's: what it opens for the first upstream and the first file it looks at.
  if (after.workers.some(({ descriptors }) => descriptors > most + 2)) {
    wrong.push('descriptors are left');
  }
  const grown = growthOf(result);
  if (grown.workerRssMb > rssGrowthMbMax) wrong.push('the memory of the workers grows');
  if (grown.supervisorRssMb > rssGrowthMbMax) wrong.push('the memory of the supervisor grows');
  if (grown.pool > 10 || grown.descriptors > 20) wrong.push('pools or descriptors grow');
  for (const [kind, count] of Object.entries(disturbances)) {
    if (count === 0) wrong.push(`${kind} was not tried`);
  }
  return wrong;
}

const mb = (value: number): string => value.toFixed(1);

export function describeSoak(result: SoakResult): string {
  const { after, before, callers, disturbances, samples } = result;
  const grown = growthOf(result);
  const lines = [
    `${result.requests} requests in ${result.durationS} s over ` +
      Object.entries(disturbances)
        .map(([kind, count]) => `${count} x ${kind}`)
        .join(', '),
  ];
  for (const [kind, { ok, told, lost, killed }] of Object.entries(callers)) {
    lines.push(
      `  ${kind.padEnd(8)} ${ok} ok, ${sum(told)} failed and told ${JSON.stringify(told)}, ` +
        `${killed} lost with a killed worker, ${sum(lost)} lost ${JSON.stringify(lost)}`,
    );
  }
  const rss = samples.map(({ workers }) => (totalOf(workers) / workers.length).toFixed(0));
  const few = rss.filter((_, index) => index % Math.ceil(rss.length / 20) === 0);
  lines.push(
    `  RSS of a worker, MB: ${few.join(' ')}; grown by ${mb(grown.workerRssMb)}, ` +
      `the supervisor by ${mb(grown.supervisorRssMb)}`,
    `  grown: ${grown.descriptors} descriptors, ${grown.handles} handles, ${grown.pool} upstream connections`,
    `  descriptors of the workers, idle: ${before.workers.map((w) => w.descriptors).join(' ')} before, ` +
      `${after.workers.map((w) => w.descriptors).join(' ')} after`,
    `  left: ${after.pending} pending, ${after.queued} queued, ${after.callers} callers, ` +
      `${after.pool.idle + after.pool.busy + after.pool.opening} upstream connections`,
  );
  return lines.join('\n');
}
