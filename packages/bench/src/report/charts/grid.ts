/** Tables of coloured boxes: the heat map over all cells and the throughput frontier. */
import { FRONTIER_LIMITS_MS, frontier, type StudyAnalysis } from '../../stats/index.ts';
import { number, percent, ratio, tick } from '../format.ts';
import {
  absentChart,
  type Chart,
  type ChartInput,
  type LegendItem,
  legend,
  rect,
  tag,
  text,
  textWidth,
  titled,
} from '../svg.ts';
import { fit } from './panels.ts';

interface Box {
  label: string;
  /** Index into the palette's heat; null leaves the box empty. */
  heat: number | null;
  hatched: boolean;
  tip: string;
}

interface Grid {
  rows: { name: string; boxes: Box[] }[];
  columns: string[][];
  legend: LegendItem[];
}

const ROW = 21;

function draw(
  grid: Grid,
  id: string,
  { palette, width }: ChartInput,
): { body: string; height: number } {
  const names = Math.min(
    Math.max(...grid.rows.map(({ name }) => textWidth(name))) + 14,
    width * 0.34,
  );
  const boxWidth = Math.min(92, (width - names - 6) / grid.columns.length);
  const size = Math.min(11.5, boxWidth / 3.1);
  const key = legend(4, 14, width - 8, grid.legend, palette);
  const lines = Math.max(...grid.columns.map((column) => column.length));
  const top = key.height + 10 + lines * 15;
  const hatch = `hatch-${id}-${width}`;
  let body = tag(
    'defs',
    {},
    tag(
      'pattern',
      {
        id: hatch,
        width: 6,
        height: 6,
        patternUnits: 'userSpaceOnUse',
        patternTransform: 'rotate(45)',
      },
      rect(0, 0, 1.4, 6, { fill: palette.faint }),
    ),
  );
  body += key.body;
  grid.columns.forEach((column, index) => {
    column.forEach((label, at) => {
      const x = names + (index + 0.5) * boxWidth;
      const style = {
        anchor: 'middle' as const,
        size: Math.max(8.5, Math.min(11.5, boxWidth / 3)),
        fill: palette.soft,
      };
      body += text(x, key.height + 18 + at * 15, label, palette, style);
    });
  });
  grid.rows.forEach(({ name, boxes }, index) => {
    const y = top + index * ROW;
    body += text(2, y + 14.5, fit(name, names - 6), palette);
    boxes.forEach((box, column) => {
      const x = names + column * boxWidth;
      let drawn = rect(x + 1, y + 1, boxWidth - 2, ROW - 2, {
        fill: box.heat === null ? palette.panel : palette.heat[box.heat],
        rx: 2,
      });
      if (box.hatched)
        drawn += rect(x + 1, y + 1, boxWidth - 2, ROW - 2, { fill: `url(#${hatch})` });
      if (boxWidth >= 27)
        drawn += text(x + boxWidth / 2, y + 14.5, box.label, palette, { anchor: 'middle', size });
      body += titled(drawn, box.tip);
    });
  });
  return { body, height: top + grid.rows.length * ROW + 6 };
}

/** Steps of the ratio to the best; the last one has no upper end. */
const STEPS = [1.1, 1.5, 2.5, 5, 10, 30] as const;
const stepOf = (value: number) => {
  const at = STEPS.findIndex((step) => value < step);
  return at < 0 ? STEPS.length : at;
};

/** CPU per request against the best client of each cell, over the whole matrix. */
export function heatMap(analysis: StudyAnalysis, input: ChartInput): Chart {
  const base = {
    id: 'heat-map',
    title: 'Does the order hold across the matrix?',
    note: 'CPU per request as a multiple of the best client in each cell (n requests, c connections, +ms of upstream latency). Hatched: tied with the best or undecided.',
  };
  const cells = analysis.cells
    .filter(({ cell, best }) => cell.kind === 'closed' && best.cpu !== null)
    .sort(
      ({ cell: a }, { cell: b }) =>
        a.upstreamLatencyMs - b.upstreamLatencyMs ||
        (a.requests ?? 0) - (b.requests ?? 0) ||
        a.connections - b.connections,
    );
  if (cells.length < 2) {
    return absentChart(base, 'the study has fewer than two closed-loop cells', input);
  }
  const { palette } = input;
  const order = [
    ...analysis.ranking!.cpu.ranked.map(({ entry }) => entry),
    ...analysis.sparse.keys(),
  ];
  const rows = order.map((name) => ({
    name,
    boxes: cells.map(({ cell, best, versusBest }): Box => {
      if (best.cpu === name) {
        return { label: '1×', heat: 0, hatched: false, tip: `${name} in ${cell.id}: the best` };
      }
      const pair = versusBest.cpu.get(name);
      if (pair === undefined || pair.rounds === 0)
        return {
          label: '–',
          heat: null,
          hatched: false,
          tip: `${name} in ${cell.id}: no round in common with the best`,
        };
      const open = pair.outcome === 'tied' || pair.outcome === 'undecided';
      const label =
        pair.ratio >= 100
          ? tick(Math.round(pair.ratio))
          : pair.ratio.toFixed(pair.ratio >= 10 ? 0 : 2);
      return {
        label,
        heat: stepOf(pair.ratio),
        hatched: open,
        tip: `${name} in ${cell.id}: ${ratio(pair.ratio)}, ${pair.outcome}`,
      };
    }),
  }));
  const edges = [
    '< 1.1×',
    ...STEPS.slice(1).map((step, i) => `${STEPS[i]}–${step}×`),
    `≥ ${STEPS.at(-1)}×`,
  ];
  const columns = cells.map(({ cell }) => {
    const n = cell.requests === null ? 'time' : `n${tick(cell.requests)}`;
    const delay = cells.some((other) => other.cell.upstreamLatencyMs > 0);
    return [
      n,
      `c${cell.connections}`,
      ...(delay ? [cell.upstreamLatencyMs > 0 ? `+${cell.upstreamLatencyMs}` : ''] : []),
    ];
  });
  const items = edges.map((label, i) => ({ label, colour: palette.heat[i]!, swatch: true }));
  const drawn = draw({ rows, columns, legend: items }, base.id, input);
  const description = cells.map(({ cell, best }) => `${cell.id}: best ${best.cpu}`).join('; ');
  return { ...base, ...drawn, description, absent: null };
}

/** Requests/s within each limit on p99: one number cannot express this trade. */
export function frontierChart(analysis: StudyAnalysis, input: ChartInput): Chart {
  const base = {
    id: 'frontier',
    title: 'Requests per second at a bounded tail',
    note: 'The most requests/s of any cell without added upstream latency in which the median p99 stays within the limit. A dash: no measured cell keeps it. Darker is further from the best of its column.',
  };
  const points = frontier(analysis).filter(({ entry }) => !analysis.excluded.has(entry));
  const reached = points.filter(({ rps }) => rps !== null);
  if (reached.length === 0) {
    return absentChart(
      base,
      'no run has the 1,000 samples that a p99 needs, or none keeps 100 ms',
      input,
    );
  }
  const best = FRONTIER_LIMITS_MS.map((limit) =>
    Math.max(...reached.filter(({ limitMs }) => limitMs === limit).map(({ rps }) => rps!)),
  );
  const names = [...new Set(points.map(({ entry }) => entry))];
  const at = (name: string) => points.filter(({ entry }) => entry === name);
  const total = (name: string) => at(name).reduce((all, { rps }) => all + (rps ?? 0), 0);
  const rows = names
    .sort((a, b) => total(b) - total(a))
    .map((name) => ({
      name,
      boxes: at(name).map(({ rps, cell, limitMs }, index): Box => {
        if (rps === null)
          return {
            label: '–',
            heat: null,
            hatched: false,
            tip: `${name}: no cell with p99 within ${limitMs} ms`,
          };
        const behind = best[index]! / rps;
        return {
          label: number(rps),
          heat: stepOf(behind),
          hatched: false,
          tip: `${name}: ${number(rps)}/s in ${cell}, ${percent(rps / best[index]!)} of the best`,
        };
      }),
    }));
  const columns = FRONTIER_LIMITS_MS.map((limit) => ['p99 ≤', `${limit} ms`]);
  const drawn = draw({ rows, columns, legend: [] }, base.id, input);
  const description = rows
    .map(({ name, boxes }) => `${name}: ${boxes.map(({ label }) => label).join(', ')}`)
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}
