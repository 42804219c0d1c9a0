/** Which exit code a finished run earns. */
import { ExitCode } from '../cli-error.ts';
import type { OhaJson } from './oha-types.ts';
import type { LoadRequest } from './options.ts';
import type { LoadResult } from './types.ts';
import type { Threshold } from './values.ts';

/** Requests that failed: errors, statuses of 400 and more, wrong bodies. */
export function failedRequests(result: LoadResult): number {
  const errors = Object.values(result.errorCounts).reduce((sum, count) => sum + count, 0);
  let bad = 0;
  for (const [status, count] of Object.entries(result.statusCounts)) {
    if (Number(status) >= 400) bad += count;
  }
  return errors + bad + result.invalidBodies;
}

function latencyMs(result: LoadResult, figure: string): number | null {
  if (result.completed === 0) return null;
  if (figure === 'min' || figure === 'max' || figure === 'mean') return result.latencyMs[figure];
  const percent = Number(figure.slice(1));
  if (Number.isInteger(percent)) return result.quantilesMs[percent] ?? null;
  if (percent === 99.9 && result.latencyMs.p999 !== null) return result.latencyMs.p999;
  const seconds = (result.oha as OhaJson).latencyPercentiles[`p${percent}`];
  return seconds == null ? null : seconds * 1_000;
}

/** The figure a threshold is about; null when the run cannot tell. */
export function figureOf(result: LoadResult, threshold: Threshold): number | null {
  const failed = failedRequests(result);
  const attempts =
    result.completed + Object.values(result.errorCounts).reduce((sum, count) => sum + count, 0);
  switch (threshold.figure) {
    case 'rps':
      return result.requestsPerS;
    case 'dropped':
      return result.dropped;
    case 'errors':
      if (!threshold.isShare) return failed;
      return attempts === 0 ? null : failed / attempts;
    case 'success':
      return attempts === 0 ? null : 1 - failed / attempts;
    default:
      return latencyMs(result, threshold.figure);
  }
}

/** One sentence for each threshold that does not hold; what cannot be told counts as breached. */
export function breaches(result: LoadResult, thresholds: readonly Threshold[]): string[] {
  const found: string[] = [];
  for (const threshold of thresholds) {
    const figure = figureOf(result, threshold);
    if (figure === null) {
      found.push(`${threshold.text}: there is no sample to judge by`);
    } else if (threshold.above ? figure > threshold.limit : figure < threshold.limit) {
      const shown = threshold.isShare ? `${(figure * 100).toFixed(3)}%` : figure.toFixed(3);
      found.push(`${threshold.text}: it was ${shown}`);
    }
  }
  return found;
}

/** The exit code, and the sentences for stderr. */
export function judge(
  result: LoadResult,
  request: Pick<LoadRequest, 'allowFailures' | 'thresholds' | 'selfCheck'>,
): { exitCode: ExitCode; reasons: string[] } {
  if (result.interrupted) return { exitCode: ExitCode.Interrupted, reasons: [] };
  const breached = breaches(result, request.thresholds);
  if (breached.length > 0) return { exitCode: ExitCode.Breached, reasons: breached };
  const failed = failedRequests(result);
  if (failed > 0 && !request.allowFailures && request.thresholds.length === 0) {
    const reason = `${failed} of the requests failed (--allow-failures accepts that)`;
    return { exitCode: ExitCode.Error, reasons: [reason] };
  }
  if (request.selfCheck && result.selfCheckProblems.length > 0) {
    return { exitCode: ExitCode.Invalid, reasons: result.selfCheckProblems };
  }
  return { exitCode: ExitCode.Fine, reasons: [] };
}
