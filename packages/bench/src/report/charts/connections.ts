import type { Cell } from '../../results/index.ts';
import type { CellAnalysis, EntrySummary, StudyAnalysis } from '../../stats/index.ts';
import { number, span } from '../format.ts';
import { absentChart, type Chart, type ChartInput } from '../svg.ts';
import { manyLines } from './lines.ts';
import { entryLegend, type Point, panels, type Series } from './panels.ts';

/** Closed cells without added latency that share one request count, by connections. */
function sweeps(analysis: StudyAnalysis): Map<string, CellAnalysis[]> {
  const found = new Map<string, CellAnalysis[]>();
  for (const one of analysis.cells) {
    const { kind, upstreamLatencyMs, requests } = one.cell;
    if (kind !== 'closed' || upstreamLatencyMs !== 0) continue;
    const key = requests === null ? 'time-bound' : String(requests);
    found.set(key, [...(found.get(key) ?? []), one]);
  }
  for (const cells of found.values()) cells.sort((a, b) => a.cell.connections - b.cell.connections);
  return found;
}

/** The sweep over most connections; of equal ones that with more requests. */
function mainSweep(analysis: StudyAnalysis): CellAnalysis[] {
  const all = [...sweeps(analysis).values()];
  const spreadOf = (cells: readonly CellAnalysis[]) =>
    new Set(cells.map(({ cell }) => cell.connections)).size;
  const requests = (cells: readonly CellAnalysis[]) => cells[0]?.cell.requests ?? 0;
  return all.sort((a, b) => spreadOf(b) - spreadOf(a) || requests(b) - requests(a))[0] ?? [];
}

/** One point per connection count, whatever the request count, when no single sweep has two. */
function byConnections(analysis: StudyAnalysis): CellAnalysis[] {
  const main = mainSweep(analysis);
  if (main.length >= 3) return main;
  const best = new Map<number, CellAnalysis>();
  for (const one of [...sweeps(analysis).values()].flat()) {
    const held = best.get(one.cell.connections);
    if (!held || (one.cell.requests ?? 0) > (held.cell.requests ?? 0)) {
      best.set(one.cell.connections, one);
    }
  }
  return [...best.values()].sort((a, b) => a.cell.connections - b.cell.connections);
}

/** Clients with at least two points: one alone is no line, and the league table has it. */
function seriesOf(
  analysis: StudyAnalysis,
  cells: readonly CellAnalysis[],
  point: (summary: EntrySummary, cell: Cell) => Point,
): Series[] {
  const order = new Map(analysis.ranking?.cpu.ranked.map(({ entry, rank }) => [entry, rank]));
  return analysis.figures
    .contestants()
    .map((entry) => ({
      entry,
      points: cells.flatMap(({ cell, summaries }) => {
        const summary = summaries.get(entry.id);
        return summary === undefined ? [] : [point(summary, cell)];
      }),
    }))
    .filter(({ points }) => points.length > 1)
    .sort((a, b) => (order.get(a.entry.id) ?? 999) - (order.get(b.entry.id) ?? 999));
}

const connectionsOf = (cells: readonly CellAnalysis[]) => [
  ...new Set(cells.map(({ cell }) => cell.connections)),
];

const fewConnections = (cells: readonly CellAnalysis[]) =>
  `the study has ${cells.length === 0 ? 'no' : 'only one'} connection count without added latency; run it with several, for example -c 2,10,50,200`;

const alone = 'no client was measured at more than one connection count';

/** Requests/s over connections, one panel per client with its interval over rounds. */
export function rpsOverConnections(analysis: StudyAnalysis, input: ChartInput): Chart {
  const base = {
    id: 'rps-connections',
    title: 'Requests per second as connections grow',
    note: 'Median over rounds; the band is its interval. The other clients are drawn faintly behind. More is better; same scale in every panel. Clients measured at one connection count only are left out.',
  };
  const cells = byConnections(analysis);
  if (connectionsOf(cells).length < 2) return absentChart(base, fewConnections(cells), input);
  const series = seriesOf(analysis, cells, ({ rps }, cell) => ({
    x: cell.connections,
    y: rps.value,
    interval: rps.interval,
    tip: `${cell.id}: ${number(rps.value)}/s${rps.interval ? ` (${span(rps.interval)})` : ''}`,
  }));
  if (series.length === 0) return absentChart(base, alone, input);
  const drawn = panels(base.id, series, input, {
    xLabel: 'connections, log scale',
    yLabel: 'Requests/s',
    xTicks: connectionsOf(cells),
    xLog: true,
    yLog: 'auto',
    dots: true,
    legend: entryLegend(
      series.map(({ entry }) => entry),
      input.palette,
    ),
  });
  const description = series
    .map(({ entry, points }) => `${entry.id}: ${points.map(({ tip }) => tip).join(', ')}`)
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}

/** The study's own plots: mean latency, or requests/s, of every client over connections. */
export function studyPlot(
  analysis: StudyAnalysis,
  input: ChartInput,
  what: 'latency' | 'rps',
): Chart {
  const cells = byConnections(analysis);
  const requests = [...new Set(cells.map(({ cell }) => cell.requests ?? 0))];
  const shape =
    requests.length === 1 ? `${number(requests[0])} requests` : 'the longest run of each';
  const base = {
    id: `study-${what}`,
    title:
      what === 'latency' ? 'The study’s plot: latency' : 'The study’s plot: requests per second',
    note:
      what === 'latency'
        ? `Median latency over connections, ${shape}. In a closed loop latency is little more than connections divided by requests/s: the open-loop chart shows latency proper. Less is better.`
        : `Requests per second over connections, ${shape}. More is better.`,
  };
  if (connectionsOf(cells).length < 2) return absentChart(base, fewConnections(cells), input);
  const series = seriesOf(analysis, cells, ({ rps, p50Ms }, cell) => {
    const y = what === 'latency' ? p50Ms.value : rps.value;
    return {
      x: cell.connections,
      y,
      tip: `${cell.id}: ${number(y)}${what === 'latency' ? ' ms' : '/s'}`,
    };
  });
  if (series.length === 0) return absentChart(base, alone, input);
  const drawn = manyLines(
    series.map(({ entry, points }) => ({ name: entry.id, points })),
    input,
    { xLabel: 'connections', yLabel: what === 'latency' ? 'p50 latency, ms' : 'requests/s' },
  );
  const description = series
    .map(({ entry, points }) => `${entry.id}: ${points.map(({ tip }) => tip).join(', ')}`)
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}
