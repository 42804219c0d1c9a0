import type { StudyAnalysis } from '../../stats/index.ts';
import { number } from '../format.ts';
import { absentChart, type Chart, type ChartInput } from '../svg.ts';
import { entryLegend, type Point, panels, type Series } from './panels.ts';

/** Quantiles as their distance from 1: the tail gets as much room as the middle. */
const MARKS = [1, 2, 10, 100] as const;
const labelOf = (value: number) => ({ 1: 'p0', 2: 'p50', 10: 'p90', 100: 'p99' })[value] ?? '';

/** Latency at every quantile of the headline cell, tail stretched. */
export function spectrum(analysis: StudyAnalysis, input: ChartInput): Chart {
  const { headline } = analysis;
  const base = {
    id: 'spectrum',
    title: 'Latency spectrum',
    note:
      `Latency from the fastest to the slowest 1 % of requests${headline === null ? '' : ` in ${headline.cell.id}`}, the tail stretched. ` +
      'A flat line is a steady client; a hook at the right is a tail. Less is better.',
  };
  if (headline === null) return absentChart(base, 'no closed-loop cell was measured', input);
  const order = new Map(analysis.ranking!.cpu.ranked.map(({ entry, rank }) => [entry, rank]));
  const series: Series[] = analysis.figures
    .contestants()
    .map((entry) => ({
      entry,
      points: (headline.summaries.get(entry.id)?.quantilesMs ?? [])
        .map((y, index): Point => ({ x: 1 / (1 - index / 100), y, tip: '' }))
        .filter(({ x, y }) => x <= 101 && y > 0),
    }))
    .filter(({ points }) => points.length > 0)
    .sort((a, b) => (order.get(a.entry.id) ?? 999) - (order.get(b.entry.id) ?? 999));
  if (series.length === 0) return absentChart(base, 'the file holds no quantiles', input);
  const drawn = panels(base.id, series, input, {
    xLabel: 'quantile',
    yLabel: 'Latency, ms',
    xTicks: [...MARKS],
    xTick: labelOf,
    xLog: true,
    yLog: 'auto',
    dots: false,
    legend: entryLegend(
      series.map(({ entry }) => entry),
      input.palette,
    ),
  });
  const description = series
    .map(
      ({ entry, points }) =>
        `${entry.id}: p50 ${number(points[50]?.y)} ms, p99 ${number(points.at(-1)?.y)} ms`,
    )
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}
