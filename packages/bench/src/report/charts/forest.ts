import { scaleLog } from 'd3-scale';
import {
  type CellAnalysis,
  type Comparison,
  CPU,
  type Metric,
  quantileSorted,
  RPS,
  type StudyAnalysis,
} from '../../stats/index.ts';
import { percent, ratio, ratioWithInterval } from '../format.ts';
import {
  absentChart,
  axisBottom,
  type Box,
  type Chart,
  type ChartInput,
  line,
  logTicks,
  marker,
  path,
  rect,
  text,
  textWidth,
  titled,
} from '../svg.ts';
import { styleOf } from '../theme.ts';
import { fit } from './panels.ts';

const ROW = 19;

/** Ratios to the best client with their intervals and the equivalence band: the verdict drawn. */
export function forest(analysis: StudyAnalysis, input: ChartInput): Chart {
  const { headline, options } = analysis;
  const base = {
    id: 'forest',
    title: 'How each client compares with the best one',
    note:
      headline === null
        ? ''
        : `Ratio of paired rounds to the best client in ${headline.cell.id}, with its ${percent(options.confidence)} interval. ` +
          'The grey band is what this rig cannot tell from equal. CPU: further right is worse. Requests/s: further left is worse. An arrow stands for a ratio beyond the scale.',
  };
  const compared = (id: Metric['id']) =>
    [...(headline?.versusBest[id].values() ?? [])].some(({ rounds }) => rounds > 0);
  if (headline === null || !compared('cpu') || !compared('rps')) {
    return absentChart(base, 'fewer than two clients were measured in one closed-loop cell', input);
  }
  const wide = input.width > 600;
  const half = wide ? (input.width - 16) / 2 : input.width;
  const cpu = panel(analysis, headline, CPU, 0, 0, half, input);
  const rps = wide
    ? panel(analysis, headline, RPS, half + 16, 0, half, input)
    : panel(analysis, headline, RPS, 0, cpu.height + 14, half, input);
  return {
    ...base,
    description: describe(headline),
    height: wide ? Math.max(cpu.height, rps.height) : cpu.height + 14 + rps.height,
    body: cpu.body + rps.body,
    absent: null,
  };
}

/** What most rows need; a few far outliers get an arrow instead of squeezing all the others. */
function range(spans: readonly number[], edge: number): [low: number, high: number] {
  const logs = spans.map((value) => Math.abs(Math.log(value))).sort((a, b) => a - b);
  const most = logs.at(-1)!;
  const usual = quantileSorted(logs, 0.8) * 1.25;
  const reach = most > usual * 1.4 ? usual : most;
  const inside = spans.filter((value) => Math.abs(Math.log(value)) <= reach);
  return [Math.min(1 / edge / 1.02, ...inside) / 1.01, Math.max(edge * 1.02, ...inside) * 1.01];
}

const arrow = (x: number, y: number, direction: 1 | -1, colour: string): string =>
  path(`M${x - 5 * direction} ${y - 5}L${x + 4 * direction} ${y}L${x - 5 * direction} ${y + 5}Z`, {
    fill: colour,
  });

function describe(headline: CellAnalysis): string {
  const rows = [...headline.versusBest.cpu.values()].map(
    ({ a, ratio: value, interval, outcome }) =>
      `${a} ${ratioWithInterval(value, interval)} ${outcome}`,
  );
  return `CPU per request relative to ${headline.best.cpu}: ${rows.join('; ')}.`;
}

function panel(
  analysis: StudyAnalysis,
  headline: CellAnalysis,
  metric: Metric,
  left: number,
  top: number,
  width: number,
  { palette }: ChartInput,
): { body: string; height: number } {
  const best = headline.best[metric.id]!;
  const rows = [...headline.versusBest[metric.id].values()].filter(({ rounds }) => rounds > 0);
  const nameWidth = Math.min(
    Math.max(...rows.map(({ a }) => textWidth(a)), textWidth(best)) + 20,
    width * 0.38,
  );
  // On a phone the bar alone shows the interval: its figures stand in the table.
  const shown = (row: Comparison) =>
    width > 420 ? ratioWithInterval(row.ratio, row.interval) : ratio(row.ratio);
  const valueWidth = Math.max(
    ...rows.map((row) => textWidth(shown(row), 11.5)),
    textWidth('reference'),
  );
  const box: Box = {
    left: left + nameWidth,
    top: top + 50,
    right: left + width - valueWidth - 8,
    bottom: top + 56 + (rows.length + 1) * ROW,
  };
  const spans = rows.flatMap(({ ratio: value, interval }) => [
    value,
    interval?.low ?? value,
    interval?.high ?? value,
  ]);
  const edge = Math.exp(headline.band[metric.id]);
  const [low, high] = range(spans, edge);
  const x = scaleLog([low, high], [box.left + 8, box.right - 8]).clamp(true);
  const worse = metric.lowerIsBetter ? 'less is better' : 'more is better';
  let body =
    text(
      left + 2,
      top + 16,
      metric.id === 'cpu' ? 'CPU per request' : 'Requests per second',
      palette,
      { size: 14, weight: 600 },
    ) +
    text(left + 2, top + 34, `relative to ${best}; ${worse}`, palette, { fill: palette.soft }) +
    rect(x(1 / edge), box.top, x(edge) - x(1 / edge), box.bottom - box.top, {
      fill: palette.band,
    }) +
    axisBottom(box, logTicks(low, high, 6), x, (value) => `${value}×`, palette, { grid: true }) +
    line(x(1), box.top, x(1), box.bottom, palette.soft);
  const all: (Comparison | null)[] = [null, ...rows];
  all.forEach((row, index) => {
    const y = box.top + 4 + (index + 0.5) * ROW;
    const id = row?.a ?? best;
    const style = styleOf(analysis.figures.entry(id), palette);
    body += text(left + 2, y + 4, fit(id, nameWidth - 8), palette, {
      weight: row === null ? 600 : undefined,
    });
    if (row === null) {
      body += marker(x(1), y, style.marker, style.colour, palette);
      body += text(left + width - 2, y + 4, 'reference', palette, {
        fill: palette.soft,
        anchor: 'end',
      });
      return;
    }
    const label = ratioWithInterval(row.ratio, row.interval);
    const beyond = row.ratio > high || row.ratio < low;
    let drawn = beyond
      ? arrow(x(row.ratio), y, row.ratio > high ? 1 : -1, style.colour)
      : marker(x(row.ratio), y, style.marker, style.colour, palette);
    if (row.interval !== null && !beyond) {
      const { low: from, high: to } = row.interval;
      drawn = line(x(from), y, x(to), y, style.colour, { 'stroke-width': 2.2 }) + drawn;
    }
    body += titled(
      drawn,
      `${row.a}: ${label}, ${row.outcome} (${row.reason}), ${row.rounds} rounds`,
    );
    body += text(left + width - 2, y + 4, shown(row), palette, {
      anchor: 'end',
      size: 11.5,
      fill: row.outcome === 'tied' || row.outcome === 'undecided' ? palette.soft : palette.text,
    });
  });
  return { body, height: box.bottom + 30 - top };
}
