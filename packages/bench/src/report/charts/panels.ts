/** Small multiples: one panel per client, the others drawn faintly behind it, one scale for all. */
import { scaleLinear, scaleLog } from 'd3-scale';
import { area, line as lineOf } from 'd3-shape';
import type { Entry } from '../../results/index.ts';
import type { Interval } from '../../stats/index.ts';
import { tick } from '../format.ts';
import {
  axisBottom,
  axisLeft,
  type Box,
  type ChartInput,
  type LegendItem,
  legend,
  logTicks,
  marker,
  path,
  tag,
  text,
  titled,
} from '../svg.ts';
import { type Palette, styleOf } from '../theme.ts';

export interface Point {
  x: number;
  y: number;
  interval?: Interval | null;
  tip: string;
}

export interface Series {
  entry: Entry;
  points: Point[];
  /** A second, dashed line, for example service time beside response time. */
  second?: Point[];
}

export interface PanelOptions {
  xLabel: string;
  yLabel: string;
  xTicks: number[];
  xTick?: (value: number) => string;
  xLog: boolean;
  /** Log when the figures span more than a factor of 20. */
  yLog: boolean | 'auto';
  dots: boolean;
  legend: LegendItem[];
}

/** Runtimes, modes and protocols that occur, as a legend. */
export function entryLegend(entries: readonly Entry[], palette: Palette): LegendItem[] {
  const items: LegendItem[] = [];
  const names = { node: 'Node', bun: 'Bun', python: 'Python' } as const;
  for (const runtime of ['node', 'bun', 'python'] as const) {
    if (entries.some((entry) => entry.runtime === runtime)) {
      items.push({ label: names[runtime], colour: palette[runtime], marker: 'disc' });
    }
  }
  if (entries.some(({ reuse }) => reuse === 'per-request')) {
    items.push({ label: 'client per request', colour: palette.soft, dash: '5 3', marker: 'ring' });
  }
  if (entries.some(({ protocol }) => protocol === 'h2c')) {
    items.push({ label: 'HTTP/2', colour: palette.soft, marker: 'square' });
  }
  return items;
}

function extent(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

type Scale = (value: number) => number;

function scales(series: readonly Series[], options: PanelOptions) {
  const points = series.flatMap(({ points: first, second }) => [...first, ...(second ?? [])]);
  const ys = points.flatMap(({ y, interval }) =>
    interval ? [y, interval.low, interval.high] : [y],
  );
  const [low, high] = extent(ys.filter((y) => y > 0));
  const yLog = options.yLog === 'auto' ? high / low > 20 : options.yLog;
  const y = yLog
    ? scaleLog([low / 1.15, high * 1.15], [1, 0])
    : scaleLinear([0, high * 1.08], [1, 0]);
  const yTicks = yLog
    ? logTicks(low / 1.15, high * 1.15, 5)
    : scaleLinear([0, high], [0, 1]).ticks(4);
  const [left, right] = extent(points.map(({ x }) => x));
  const pad = left === right ? 1.5 : 1;
  const x = options.xLog
    ? scaleLog([left / pad, right * pad], [0, 1])
    : scaleLinear([left, Math.max(right, left + 1)], [0, 1]);
  return { x: x as Scale, y: y as Scale, yTicks };
}

/** Draws the panels; the order of `series` is the reading order. */
export function panels(
  id: string,
  series: readonly Series[],
  { palette, width }: ChartInput,
  options: PanelOptions,
): { body: string; height: number } {
  const columns = Math.max(1, Math.min(series.length, Math.floor((width - 20) / 170)));
  const [left, gapX, gapY, head] = [44, 14, 44, 18];
  const panelWidth = (width - left - 10 - gapX * (columns - 1)) / columns;
  const panelHeight = 92;
  const { x, y, yTicks } = scales(series, options);
  const key = legend(4, 14, width - 8, options.legend, palette);
  const top = key.height + 20;
  let body =
    key.body +
    text(4, top, `${options.yLabel}  ·  across: ${options.xLabel}`, palette, {
      size: 12,
      weight: 600,
    });
  const boxes = series.map((_, index): Box => {
    const boxLeft = left + (index % columns) * (panelWidth + gapX);
    const boxTop = top + 16 + head + Math.floor(index / columns) * (panelHeight + gapY);
    return {
      left: boxLeft,
      top: boxTop,
      right: boxLeft + panelWidth,
      bottom: boxTop + panelHeight,
    };
  });
  // The faint ground of all lines is drawn once and shown in every panel.
  const ground = `ground-${id}-${width}`;
  const inX = (value: number) => 4 + x(value) * (panelWidth - 8);
  const inY = (value: number) => y(value) * panelHeight;
  body += tag('defs', {}, tag('g', { id: ground }, groundLines(series, inX, inY, palette)));
  series.forEach((one, index) => {
    const box = boxes[index]!;
    const placeX = (value: number) => box.left + 4 + x(value) * (box.right - box.left - 8);
    const placeY = (value: number) => box.top + y(value) * (box.bottom - box.top);
    const first = index % columns === 0;
    body += axisLeft(box, yTicks, placeY, first ? tick : () => '', palette, 10.5);
    body += axisBottom(box, options.xTicks, placeX, options.xTick ?? tick, palette, { size: 10.5 });
    body += tag('use', { href: `#${ground}`, x: box.left, y: box.top });
    body += panelLines(one, placeX, placeY, palette, options.dots);
    const style = styleOf(one.entry, palette);
    body += marker(box.left + 4, box.top - 10, style.marker, style.colour, palette, 3.6);
    body += text(
      box.left + 13,
      box.top - 6,
      fit(one.entry.id, panelWidth - 14, 12 * BOLD),
      palette,
      {
        size: 12,
        weight: 600,
      },
    );
  });
  const rows = Math.ceil(series.length / columns);
  return { body, height: top + 16 + head + rows * (panelHeight + gapY) - gapY + 26 };
}

/** How much wider bold letters are, about. */
const BOLD = 1.15;

/** Cuts a name that does not fit, in its middle, where names differ least. */
export function fit(name: string, width: number, size = 12): string {
  const most = Math.max(6, Math.floor(width / (size * 0.58)));
  if (name.length <= most) return name;
  const tail = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - tail)}…${name.slice(name.length - tail)}`;
}

function groundLines(
  series: readonly Series[],
  placeX: Scale,
  placeY: Scale,
  palette: Palette,
): string {
  const draw = lineOf<Point>()
    .x((point) => placeX(point.x))
    .y((point) => placeY(point.y))
    .digits(1);
  const d = series.map(({ points }) => draw(points) ?? '').join('');
  return path(d, { stroke: palette.faint, 'stroke-width': 0.7, 'stroke-opacity': 0.55 });
}

function panelLines(
  one: Series,
  placeX: Scale,
  placeY: Scale,
  palette: Palette,
  dots: boolean,
): string {
  const draw = lineOf<Point>()
    .x((point) => placeX(point.x))
    .y((point) => placeY(point.y))
    .digits(1);
  const style = styleOf(one.entry, palette);
  let body = '';
  const banded = one.points.filter(({ interval }) => interval);
  const band = area<Point>()
    .x((point) => placeX(point.x))
    .y0((point) => placeY(point.interval!.low))
    .y1((point) => placeY(point.interval!.high))
    .digits(1);
  if (banded.length > 1) body += path(band(banded), { fill: style.colour, 'fill-opacity': 0.22 });
  if (one.second) {
    body += path(draw(one.second), {
      stroke: style.colour,
      'stroke-width': 1.3,
      'stroke-dasharray': '1.5 2.5',
    });
  }
  body += path(draw(one.points), {
    stroke: style.colour,
    'stroke-width': 2,
    'stroke-dasharray': style.dash,
  });
  if (dots) {
    for (const point of one.points) {
      const dot = marker(
        placeX(point.x),
        placeY(point.y),
        style.marker,
        style.colour,
        palette,
        2.6,
      );
      body += titled(dot, point.tip);
    }
  }
  return body;
}
