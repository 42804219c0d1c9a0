/**
 * CPU per request of a round that was measured in short pieces by turns. What disturbs a machine for
 * less than a round hits single pieces, or all pieces of a pass alike: medians over pieces ignore the
 * first, and the second is taken off (docs/adr/0004).
 */
import type { Measurement } from '../results/index.ts';
import { median } from './describe.ts';

/** Below so many entries in a pass nothing is said about the pass. */
const ENTRIES_MIN = 4;

interface Pieces {
  entry: string;
  /** Logarithm of the CPU per request by pass. */
  byPass: Map<number, number>;
  level: number;
}

function piecesOf(run: Measurement): Pieces | null {
  const { entry, sliceCpuUs, slicePasses } = run;
  if (sliceCpuUs === undefined || slicePasses?.length !== sliceCpuUs.length) return null;
  const byPass = new Map(slicePasses.map((pass, at) => [pass, Math.log(sliceCpuUs[at]!)]));
  const logs = [...byPass.values()];
  return logs.every(Number.isFinite) ? { entry, byPass, level: median(logs) } : null;
}

/**
 * The CPU per request of each entry of one round and cell, in µs: the median of its pieces, each
 * relative to its pass. Runs that were not cut into pieces, or by a version that did not note the
 * passes, are left out.
 */
export function steadyCpuUs(runs: readonly Measurement[]): Map<string, number> {
  const all = runs.map(piecesOf).filter((pieces) => pieces !== null);
  const passes = new Map<number, number>();
  for (const pass of new Set(all.flatMap(({ byPass }) => [...byPass.keys()]))) {
    const above = all.flatMap(({ byPass, level }) => {
      const value = byPass.get(pass);
      return value === undefined ? [] : [value - level];
    });
    passes.set(pass, above.length < ENTRIES_MIN ? 0 : median(above));
  }
  return new Map(
    all.map(({ entry, byPass }) => {
      const relative = [...byPass].map(([pass, value]) => value - passes.get(pass)!);
      return [entry, Math.exp(median(relative))];
    }),
  );
}
