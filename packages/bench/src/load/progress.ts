/** The live line on a terminal. Drawn by the parent process, never by the generating one. */
import picocolors from 'picocolors';
import type { LoadPlan, LoadProgress } from './types.ts';

const BAR_WIDTH = 24;

export interface ProgressLine {
  show(progress: LoadProgress): void;
  clear(): void;
}

/** How much of the plan is done, 0..1. */
export function doneShare(plan: LoadPlan, progress: LoadProgress): number {
  const byCount = plan.requests === null ? 0 : progress.completed / plan.requests;
  const byTime = plan.durationMs === null ? 0 : progress.elapsedMs / plan.durationMs;
  return Math.min(1, Math.max(byCount, byTime));
}

export function progressText(plan: LoadPlan, progress: LoadProgress, color: boolean): string {
  const { green, red, dim } = picocolors.createColors(color);
  const share = doneShare(plan, progress);
  const full = Math.round(share * BAR_WIDTH);
  const bar = green('■'.repeat(full)) + dim('·'.repeat(BAR_WIDTH - full));
  const errors = progress.errors > 0 ? red(` ${progress.errors} errors`) : '';
  const rate = Math.round(progress.recentPerS);
  return `${bar} ${Math.floor(share * 100)}%  ${(progress.elapsedMs / 1_000).toFixed(1)} s  ${progress.completed} done  ${rate}/s  ${progress.inFlight} under way${errors}`;
}

/** A line on stderr that repaints itself; null when stderr is no terminal. */
export function progressLine(plan: LoadPlan, color: boolean): ProgressLine | null {
  if (process.stderr.isTTY !== true) return null;
  const clear = (): void => {
    process.stderr.write('\r\x1b[2K');
  };
  return {
    show(progress) {
      process.stderr.write(`\r\x1b[2K${progressText(plan, progress, color)}`);
    },
    clear,
  };
}
