import type { StudyAnalysis } from '../../stats/index.ts';
import { list, number, tick } from '../format.ts';
import { absentChart, type Chart, type ChartInput } from '../svg.ts';
import { dumbbells } from './dumbbells.ts';
import { entryLegend, panels, type Series } from './panels.ts';

function leftOut(entries: readonly string[]): string {
  const names = [...new Set(entries)];
  return names.length === 0
    ? ''
    : ` Points with fewer than 1,000 samples are missing: ${list(names)}.`;
}

/** p99 (or p50) latency from the intended send instant, against what was offered. */
export function openLoop(analysis: StudyAnalysis, input: ChartInput): Chart {
  const cells = analysis.cells
    .filter(({ cell }) => cell.kind === 'open' && cell.upstreamLatencyMs === 0)
    .sort((a, b) => a.cell.ratePerS! - b.cell.ratePerS!);
  if (cells.length === 1) {
    const rate = cells[0]!.cell.ratePerS!;
    const note = `Open loop: every client is offered ${number(rate)} requests/s and latency counts from the instant a request was due. The marker is p50, the bar’s end p99 (p90 where a run has fewer than 1,000 samples). Less is better.`;
    const title = 'Latency under an offered load';
    return { id: 'open-loop', title, note, absent: null, ...dumbbells(analysis, cells[0]!, input) };
  }
  const summaries = cells.flatMap(({ summaries: all }) =>
    analysis.figures.contestants().flatMap(({ id }) => all.get(id) ?? []),
  );
  const tail = summaries.filter(({ p99Ms }) => p99Ms !== null).length * 2 >= summaries.length;
  const left = tail ? summaries.filter(({ p99Ms }) => p99Ms === null) : [];
  const name = tail ? 'p99' : 'p50';
  const base = {
    id: 'open-loop',
    title: 'Latency under an offered load',
    note: `Open loop: every client is offered the same requests/s and ${name} latency counts from the instant a request was due. Dotted: from the instant it was really sent. Where the line turns up the client is full.${tail ? '' : ' p99 needs 1,000 samples in a run, so p50 is shown.'}${leftOut(left.map(({ entry }) => entry))} Less is better.`,
  };
  if (cells.length === 0) {
    return absentChart(
      base,
      'the study has no open-loop cell; a closed loop cannot show latency under a given load',
      input,
    );
  }
  const order = new Map(analysis.ranking?.cpu.ranked.map(({ entry, rank }) => [entry, rank]));
  const series: Series[] = analysis.figures
    .contestants()
    .map((entry) => {
      const found = cells.flatMap(({ cell, summaries }) => {
        const summary = summaries.get(entry.id);
        return summary === undefined ? [] : [{ cell, summary }];
      });
      const latency = found.flatMap(({ cell, summary }) => {
        const y = (tail ? summary.p99Ms : summary.p50Ms)?.value;
        if (y === undefined) return [];
        const achieved = summary.rps.value / cell.ratePerS!;
        const tip = `${tick(cell.ratePerS!)}/s offered, ${number(achieved * 100)} % achieved: ${number(y)} ms`;
        return [{ x: cell.ratePerS!, y, tip }];
      });
      const service = found.flatMap(({ cell, summary }) => {
        const y = tail ? summary.serviceP99Ms : summary.serviceP50Ms;
        return y === null ? [] : [{ x: cell.ratePerS!, y, tip: '' }];
      });
      return { entry, points: latency, second: service };
    })
    .filter(({ points }) => points.length > 0)
    .sort((a, b) => (order.get(a.entry.id) ?? 999) - (order.get(b.entry.id) ?? 999));
  const drawn = panels(base.id, series, input, {
    xLabel: 'offered requests/s',
    yLabel: `${name} latency, ms`,
    xTicks: cells.map(({ cell }) => cell.ratePerS!),
    xLog: false,
    yLog: 'auto',
    dots: true,
    legend: [
      ...entryLegend(
        series.map(({ entry }) => entry),
        input.palette,
      ),
      { label: 'service time', colour: input.palette.soft, dash: '1.5 2.5' },
    ],
  });
  const description = series
    .map(({ entry, points }) => `${entry.id}: ${points.map(({ tip }) => tip).join(', ')}`)
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}
