/** The load shapes of a study and the names of their files. */
import type { Cell } from '../results/types.ts';
import type { StudyOptions } from './options.ts';

function closedCell(
  requests: number,
  connections: number,
  latencyMs: number,
  limitMs: number,
): Cell {
  return {
    id: `n${requests}-c${connections}${latencyMs > 0 ? `-l${latencyMs}` : ''}`,
    kind: 'closed',
    requests,
    connections,
    ratePerS: null,
    durationMsMax: limitMs,
    upstreamLatencyMs: latencyMs,
  };
}

function openCell(ratePerS: number, connections: number, limitMs: number): Cell {
  return {
    id: `q${ratePerS}-c${connections}`,
    kind: 'open',
    requests: null,
    connections,
    ratePerS,
    durationMsMax: limitMs,
    upstreamLatencyMs: 0,
  };
}

/**
 * All cells, the main one first. Tiered: one dimension is varied at a time round the main cell, so
 * that the cost is a sum and not a product. Uniform: every n with every c with every latency.
 */
export function buildCells(options: StudyOptions): Cell[] {
  const { requests, connections, latenciesMs, openLoopRates, cellMsMax } = options;
  const cells: Cell[] = [];
  const add = (cell: Cell): void => {
    if (!cells.some((other) => other.id === cell.id)) cells.push(cell);
  };
  const [n, c, latency] = [requests[0]!, connections[0]!, latenciesMs[0]!];
  if (options.planning === 'uniform') {
    for (const oneLatency of latenciesMs) {
      for (const oneC of connections) {
        for (const oneN of requests) add(closedCell(oneN, oneC, oneLatency, cellMsMax));
      }
    }
  } else {
    add(closedCell(n, c, latency, cellMsMax));
    for (const oneN of requests) add(closedCell(oneN, c, latency, cellMsMax));
    for (const oneC of connections) add(closedCell(n, oneC, latency, cellMsMax));
    for (const oneLatency of latenciesMs) add(closedCell(n, c, oneLatency, cellMsMax));
  }
  for (const rate of openLoopRates) add(openCell(rate, c, Math.min(cellMsMax, 5000)));
  return cells;
}

/**
 * File name of one cell of one entry, as the original study names them: `<client>_<n>_<c>.json`.
 * Cells the original did not have say so at the end.
 */
export function cellFileName(entryId: string, cell: Cell): string {
  const head = cell.kind === 'open' ? `q${cell.ratePerS}` : String(cell.requests);
  const tail = cell.upstreamLatencyMs > 0 ? `_l${cell.upstreamLatencyMs}` : '';
  return `${entryId}_${head}_${cell.connections}${tail}.json`;
}
