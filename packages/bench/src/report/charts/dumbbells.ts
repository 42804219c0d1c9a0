import { scaleLog } from 'd3-scale';
import type { CellAnalysis, EntrySummary, StudyAnalysis } from '../../stats/index.ts';
import { number, tick } from '../format.ts';
import {
  axisBottom,
  type Box,
  type ChartInput,
  legend,
  line,
  logTicks,
  marker,
  text,
  textWidth,
  titled,
} from '../svg.ts';
import { styleOf } from '../theme.ts';
import { entryLegend, fit } from './panels.ts';

const ROW = 19;

/** Latency of every client at one offered rate: p50 joined to the highest quantile that is known. */
export function dumbbells(
  analysis: StudyAnalysis,
  found: CellAnalysis,
  { palette, width }: ChartInput,
): { body: string; height: number; description: string } {
  const tailOf = ({ p99Ms, quantilesMs }: EntrySummary) =>
    p99Ms === null
      ? { name: 'p90', ms: quantilesMs[90] ?? null }
      : { name: 'p99', ms: p99Ms.value };
  const rows = analysis.figures
    .contestants()
    .flatMap((entry) => {
      const summary = found.summaries.get(entry.id);
      return summary === undefined || summary.p50Ms.value <= 0 ? [] : [{ entry, summary }];
    })
    .sort((a, b) => a.summary.p50Ms.value - b.summary.p50Ms.value);
  const names = Math.min(
    Math.max(...rows.map(({ entry }) => textWidth(entry.id))) + 14,
    width * 0.36,
  );
  const key = legend(
    4,
    14,
    width - 8,
    entryLegend(
      rows.map(({ entry }) => entry),
      palette,
    ),
    palette,
  );
  const top = key.height + 8;
  const box: Box = { left: names, top, right: width - 118, bottom: top + 6 + rows.length * ROW };
  const all = rows.flatMap(({ summary }) => [
    summary.p50Ms.value,
    tailOf(summary).ms ?? summary.p50Ms.value,
  ]);
  const [low, high] = [Math.min(...all) / 1.15, Math.max(...all) * 1.15];
  const x = scaleLog([low, high], [box.left + 6, box.right - 6]);
  let body =
    key.body +
    axisBottom(box, logTicks(low, high, width > 600 ? 9 : 5), x, tick, palette, { grid: true });
  rows.forEach(({ entry, summary }, index) => {
    const y = top + 4 + (index + 0.5) * ROW;
    const { colour, marker: kind } = styleOf(entry, palette);
    const { name, ms } = tailOf(summary);
    const p50 = summary.p50Ms.value;
    const figures = `${number(p50)} – ${number(ms)}${name === 'p99' ? '' : ` (${name})`}`;
    let drawn = '';
    if (ms !== null) {
      drawn += line(x(p50), y, x(ms), y, colour, { 'stroke-width': 2, 'stroke-opacity': 0.55 });
      drawn += line(x(ms), y - 5, x(ms), y + 5, colour, { 'stroke-width': 2 });
    }
    drawn += marker(x(p50), y, kind, colour, palette);
    body += titled(drawn, `${entry.id}: p50 ${number(p50)} ms, ${name} ${number(ms)} ms`);
    body += text(2, y + 4, fit(entry.id, names - 8), palette);
    body += text(width - 2, y + 4, figures, palette, { anchor: 'end', size: 11.5 });
  });
  body += text(box.right, box.bottom + 34, 'latency, ms, log scale', palette, {
    anchor: 'end',
    fill: palette.soft,
    size: 11.5,
  });
  const description = rows
    .map(
      ({ entry, summary }) =>
        `${entry.id}: p50 ${number(summary.p50Ms.value)} ms, ${tailOf(summary).name} ${number(tailOf(summary).ms)} ms`,
    )
    .join('; ');
  return { body, height: box.bottom + 40, description };
}
