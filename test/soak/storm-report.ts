/** What a storm must hold, and how it is told. */
import { type Delays, openOf, type StormResult } from './storm.ts';

export interface StormBars {
  medianMs: number;
  worstMs: number;
  /** Growth of resident memory from the first wave to the last; not judged with one wave. */
  rssGrowthMb: number;
}

/** Issue: the upstream sees each close within 50 ms, median under 5, memory flat. */
export const stormBars: StormBars = { medianMs: 5, worstMs: 50, rssGrowthMb: 15 };

/** What must hold on a machine of any speed; the reasons why it does not. */
export function judgeOutcome(result: StormResult): string[] {
  const wrong: string[] = [];
  const { after, before } = result;
  if (result.missed > 0) wrong.push(`${result.missed} closes were never seen by the upstream`);
  if (result.faults.length > 0) wrong.push(`ended before the kill: ${result.faults[0]}`);
  if (result.arrived < result.killed / 2) {
    wrong.push(`only ${result.arrived} of ${result.killed} reached the upstream`);
  }
  if (after.some((gauges) => openOf(gauges) > 0)) wrong.push('a gauge did not return to zero');
  // A few are the runtime's own and come with the first use.
  const last = after.at(-1);
  if (last !== undefined && (last.descriptors ?? 0) > (before?.descriptors ?? 0) + 4)
    wrong.push('descriptors are left');
  return wrong;
}

/** {@link judgeOutcome} and the bars of `npm run storm`; the reasons why it does not hold. */
export function judgeStorm(result: StormResult, bars: StormBars = stormBars): string[] {
  const wrong = judgeOutcome(result);
  const { all, after } = result;
  if (result.arrived < result.killed / 3) wrong.push('too few requests reached the upstream');
  if (all.medianMs >= bars.medianMs) wrong.push(`the median is ${all.medianMs.toFixed(2)} ms`);
  if (all.worstMs >= bars.worstMs) wrong.push(`the worst is ${all.worstMs.toFixed(2)} ms`);
  const [first, last] = [after[0], after.at(-1)];
  if (first !== undefined && last !== undefined && last.rssMb - first.rssMb > bars.rssGrowthMb)
    wrong.push('memory grows');
  return wrong;
}

const told = ({ count, medianMs, p99Ms, worstMs }: Delays): string =>
  `${String(count).padStart(5)}  median ${medianMs.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ` +
  `worst ${worstMs.toFixed(2)} ms`;

export function describeStorm(result: StormResult): string {
  const { before, after } = result;
  const lines = [
    `${result.killed} callers killed (${result.mode}), ${result.arrived} had reached the upstream, ` +
      `${result.missed} closes missed`,
    `  ${'all'.padEnd(22)} ${told(result.all)}`,
    ...Object.entries(result.byPhase).map(
      ([name, delays]) => `  ${name.padEnd(22)} ${told(delays)}`,
    ),
  ];
  const last = after.at(-1);
  if (before !== null && last !== undefined) {
    lines.push(
      `  left: ${last.exchangesOpen} exchanges, ${last.pending} pending, ${last.queued} queued, ` +
        `${last.connectionsOpen} callers, ${last.connections} upstream connections`,
      `  RSS in MB: ${before.rssMb.toFixed(0)} before; after each wave ` +
        `${after.map(({ rssMb }) => rssMb.toFixed(0)).join(' ')}`,
      `  descriptors: ${before.descriptors} before; after each wave ` +
        `${after.map(({ descriptors }) => descriptors).join(' ')}`,
    );
  }
  for (const fault of new Set(result.faults)) lines.push(`  ended before the kill: ${fault}`);
  return lines.join('\n');
}
