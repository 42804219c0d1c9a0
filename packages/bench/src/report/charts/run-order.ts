import { scaleLinear, scaleLog } from 'd3-scale';
import { geometricMean, median, type StudyAnalysis } from '../../stats/index.ts';
import { number } from '../format.ts';
import {
  absentChart,
  axisBottom,
  axisLeft,
  type Box,
  type Chart,
  type ChartInput,
  legend,
  line,
  path,
  text,
} from '../svg.ts';

interface Dot {
  order: number;
  round: number;
  entry: string;
  relative: number;
}

/** Every run at its place in time, as a multiple of its own mean: drift, jumps, two modes. */
export function runOrder(analysis: StudyAnalysis, input: ChartInput): Chart {
  const { figures, results } = analysis;
  const { palette, width } = input;
  const base = {
    id: 'run-order',
    title: 'Every round, in the order it was run',
    note: 'CPU per request of each run as a multiple of that client’s own mean in that cell. Level and even is sound; a slope is drift, a step is something that happened to the machine.',
  };
  const dots: Dot[] = [];
  for (const cell of results.cells) {
    for (const { id } of results.entries) {
      const runs = figures.runs(cell.id, id).filter((run) => (figures.cpuUs(run) ?? 0) > 0);
      const centre = geometricMean(runs.map((run) => figures.cpuUs(run)!));
      for (const run of runs) {
        dots.push({
          order: run.order,
          round: run.round,
          entry: id,
          relative: figures.cpuUs(run)! / centre,
        });
      }
    }
  }
  const rounds = [...new Set(dots.map(({ round }) => round))].sort((a, b) => a - b);
  if (rounds.length < 2) return absentChart(base, 'there are fewer than two rounds', input);
  const twin = figures.twin();
  const marked = new Set(twin === null ? [] : [twin.id, twin.twinOf]);
  const key = legend(
    4,
    14,
    width - 8,
    [
      { label: 'one run', colour: palette.faint, swatch: true },
      ...(twin === null
        ? []
        : [{ label: `${twin.twinOf} and its twin`, colour: palette.node, swatch: true }]),
      { label: 'median of the round', colour: palette.text },
    ],
    palette,
  );
  const box: Box = { left: 46, top: key.height + 14, right: width - 10, bottom: key.height + 214 };
  const low = Math.min(0.9, ...dots.map(({ relative }) => relative));
  const high = Math.max(1.1, ...dots.map(({ relative }) => relative));
  const last = Math.max(...dots.map(({ order }) => order));
  const x = scaleLinear([0, last], [box.left + 6, box.right - 6]);
  const y = scaleLog([low, high], [box.bottom - 6, box.top + 6]);
  const ticks = [0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 2, 4].filter(
    (value) => value >= low && value <= high,
  );
  // Zero-length strokes with round caps: a dot costs a dozen bytes.
  const dotted = (some: readonly Dot[]) =>
    some
      .map(({ order, relative }) => `M${x(order).toFixed(1)} ${y(relative).toFixed(1)}h0`)
      .join('');
  const cap = { 'stroke-linecap': 'round', 'stroke-width': dots.length > 400 ? 3.4 : 6 };
  let body =
    key.body +
    axisLeft(box, ticks, y, (value) => `${value}×`, palette) +
    axisBottom(box, x.ticks(width > 600 ? 8 : 4), x, number, palette) +
    path(dotted(dots.filter(({ entry }) => !marked.has(entry))), {
      ...cap,
      stroke: palette.faint,
      'stroke-opacity': 0.6,
    }) +
    path(dotted(dots.filter(({ entry }) => marked.has(entry))), { ...cap, stroke: palette.node });
  const medians: string[] = [];
  for (const round of rounds) {
    const own = dots.filter((dot) => dot.round === round);
    const from = Math.min(...own.map(({ order }) => order));
    const to = Math.max(...own.map(({ order }) => order));
    const middle = median(own.map(({ relative }) => relative));
    medians.push(`round ${round + 1}: ${middle.toFixed(3)}`);
    body += line(x(from), y(middle), x(to), y(middle), palette.text, { 'stroke-width': 2 });
  }
  body += text((box.left + box.right) / 2, box.bottom + 38, 'place in the run', palette, {
    anchor: 'middle',
    fill: palette.soft,
  });
  return {
    ...base,
    description: `Medians relative to 1: ${medians.join('; ')}.`,
    height: box.bottom + 46,
    body,
    absent: null,
  };
}
