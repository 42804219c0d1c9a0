/** A small SVG writer: strings, no DOM. Coordinates are rounded, so that files stay small. */
import { escapeXml } from './format.ts';
import type { Marker, Palette } from './theme.ts';

export type Attributes = Record<string, string | number | null | undefined>;

export const round = (value: number): number => Math.round(value * 10) / 10;

export function tag(name: string, attributes: Attributes, content = ''): string {
  let open = `<${name}`;
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === '') continue;
    open += ` ${key}="${typeof value === 'number' ? round(value) : escapeXml(value)}"`;
  }
  return content === '' ? `${open}/>` : `${open}>${content}</${name}>`;
}

export interface TextStyle {
  size?: number;
  weight?: number;
  fill?: string;
  anchor?: 'start' | 'middle' | 'end';
  rotate?: number;
}

export interface ChartInput {
  palette: Palette;
  /** Width in px that the chart is laid out for: 960 for a page and files, 400 for a phone. */
  width: number;
}

/** What a chart function gives back; `absent` instead of a drawing says why there is none. */
export interface Chart {
  id: string;
  title: string;
  /** How to read it, one or two sentences; stands under the title. */
  note: string;
  /** The drawing put in words, for those who do not see it. */
  description: string;
  height: number;
  body: string;
  absent: string | null;
}

export const FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/** Width of a text in px, near enough to lay out labels by. */
export const textWidth = (text: string, size = 12): number => text.length * size * 0.56;

export function text(
  x: number,
  y: number,
  content: string,
  palette: Palette,
  style: TextStyle = {},
) {
  const { size = 12, weight, fill = palette.text, anchor = 'start', rotate } = style;
  return tag(
    'text',
    {
      x,
      y,
      fill,
      'font-size': size,
      'font-weight': weight,
      'text-anchor': anchor === 'start' ? null : anchor,
      transform: rotate === undefined ? null : `rotate(${rotate} ${round(x)} ${round(y)})`,
    },
    escapeXml(content),
  );
}

export const line = (
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  stroke: string,
  more: Attributes = {},
) => tag('line', { x1, y1, x2, y2, stroke, ...more });

export const rect = (x: number, y: number, width: number, height: number, more: Attributes) =>
  tag('rect', { x, y, width: Math.max(0, width), height: Math.max(0, height), ...more });

export const path = (d: string | null, more: Attributes): string =>
  d === null || d === '' ? '' : tag('path', { d, fill: 'none', ...more });

export const titled = (content: string, tip: string): string =>
  `<g><title>${escapeXml(tip)}</title>${content}</g>`;

export function marker(
  x: number,
  y: number,
  kind: Marker,
  colour: string,
  palette: Palette,
  size = 4,
): string {
  const open = kind === 'ring' || kind === 'box';
  const paint = { fill: open ? palette.ground : colour, stroke: colour, 'stroke-width': 1.8 };
  return kind === 'disc' || kind === 'ring'
    ? tag('circle', { cx: x, cy: y, r: size, ...paint })
    : rect(x - size + 0.4, y - size + 0.4, 2 * size - 0.8, 2 * size - 0.8, paint);
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Vertical axis with grid lines; labels stand left of the box. */
export function axisLeft(
  box: Box,
  ticks: readonly number[],
  place: (value: number) => number,
  label: (value: number) => string,
  palette: Palette,
  size = 11,
): string {
  return ticks
    .map((value) => {
      const y = place(value);
      return (
        line(box.left, y, box.right, y, palette.line) +
        text(box.left - 6, y + size * 0.35, label(value), palette, {
          size,
          fill: palette.soft,
          anchor: 'end',
        })
      );
    })
    .join('');
}

/** Horizontal axis; labels stand below the box and are dropped where they would touch. */
export function axisBottom(
  box: Box,
  ticks: readonly number[],
  place: (value: number) => number,
  label: (value: number) => string,
  palette: Palette,
  { grid = false, size = 11 } = {},
): string {
  let last = Number.NEGATIVE_INFINITY;
  let out = line(box.left, box.bottom, box.right, box.bottom, palette.faint);
  for (const value of ticks) {
    const x = place(value);
    if (grid) out += line(x, box.top, x, box.bottom, palette.line);
    else out += line(x, box.bottom, x, box.bottom + 4, palette.faint);
    const half = textWidth(label(value), size) / 2;
    if (x - half < last + 4) continue;
    last = x + half;
    out += text(x, box.bottom + size + 6, label(value), palette, {
      size,
      fill: palette.soft,
      anchor: 'middle',
    });
  }
  return out;
}

/**
 * Moves labels apart so that each has `gap` px, in their order, within the span and as little as
 * possible: the least squares of all moves, by pooling neighbours that would meet.
 */
export function spread(
  wanted: readonly number[],
  gap: number,
  low: number,
  high: number,
): number[] {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a]! - wanted[b]!);
  const pools: { total: number; size: number }[] = [];
  order.forEach((index, place) => {
    let pool = { total: wanted[index]! - place * gap, size: 1 };
    for (
      let last = pools.at(-1);
      last && last.total / last.size > pool.total / pool.size;
      last = pools.at(-1)
    ) {
      pools.pop();
      pool = { total: pool.total + last.total, size: pool.size + last.size };
    }
    pools.push(pool);
  });
  const most = Math.max(low, high - (wanted.length - 1) * gap);
  const placed = new Array<number>(wanted.length);
  let place = 0;
  for (const { total, size } of pools) {
    const start = Math.min(Math.max(total / size, low), most);
    for (let i = 0; i < size; i++, place++) placed[order[place]!] = start + place * gap;
  }
  return placed;
}

/** Powers of ten and, where few, their 2 and 5 multiples. */
export function logTicks(low: number, high: number, most = 7): number[] {
  for (const steps of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = step * 10 ** power;
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(Number(value.toPrecision(6)));
      }
    }
    if (ticks.length <= most) return ticks;
  }
  // More decades than labels: every second, third, ... power of ten.
  const first = Math.ceil(Math.log10(low));
  const last = Math.floor(Math.log10(high));
  const every = Math.ceil((last - first + 1) / most);
  const powers: number[] = [];
  for (let power = first; power <= last; power += every) powers.push(10 ** power);
  return powers;
}

export interface LegendItem {
  label: string;
  colour: string;
  dash?: string;
  marker?: Marker;
  swatch?: boolean;
}

/** Legend that wraps within `width`; gives its height. */
export function legend(
  x: number,
  y: number,
  width: number,
  items: readonly LegendItem[],
  palette: Palette,
): { body: string; height: number } {
  let [atX, atY] = [x, y];
  let body = '';
  for (const { label, colour, dash, marker: kind, swatch } of items) {
    const size = 30 + textWidth(label, 12) + 14;
    if (atX > x && atX + size > x + width) [atX, atY] = [x, atY + 20];
    body += swatch
      ? rect(atX + 4, atY - 10, 16, 12, { fill: colour, rx: 2 })
      : line(atX, atY - 4, atX + 24, atY - 4, colour, {
          'stroke-width': 2,
          'stroke-dasharray': dash,
        });
    if (kind !== undefined) body += marker(atX + 12, atY - 4, kind, colour, palette, 3.6);
    body += text(atX + 30, atY, label, palette, { size: 12, fill: palette.soft });
    atX += size;
  }
  return { body, height: atY - y + 20 };
}

/** White round a standalone picture, in px. */
export const MARGIN = 24;

/** The whole `<svg>`. Standalone files carry their ground, margin, title and note. */
export function svg(chart: Chart, { palette, width }: ChartInput, standalone: boolean): string {
  const id = `${chart.id}-${width}`;
  const label = [
    tag('title', { id: `${id}-t` }, escapeXml(chart.title)),
    tag('desc', { id: `${id}-d` }, escapeXml(chart.description)),
  ].join('');
  const common = {
    xmlns: 'http://www.w3.org/2000/svg',
    role: 'img',
    'aria-labelledby': `${id}-t ${id}-d`,
  };
  if (!standalone) {
    const viewBox = `0 0 ${width} ${Math.ceil(chart.height)}`;
    return tag('svg', { ...common, viewBox }, label + chart.body);
  }
  const head = standaloneHead(chart, palette, width);
  const outer = {
    width: width + 2 * MARGIN,
    height: Math.ceil(chart.height + head.height + MARGIN),
  };
  const content =
    rect(0, 0, outer.width, outer.height, { fill: palette.ground }) +
    tag('g', { transform: `translate(${MARGIN} 0)` }, head.body) +
    tag('g', { transform: `translate(${MARGIN} ${head.height})` }, chart.body);
  const viewBox = `0 0 ${outer.width} ${outer.height}`;
  return tag('svg', { ...common, viewBox, ...outer, 'font-family': FONT }, label + content);
}

/** Breaks a text into lines that fit. */
export function wrap(content: string, width: number, size: number): string[] {
  const lines: string[] = [];
  let current = '';
  for (const word of content.split(' ')) {
    const longer = current === '' ? word : `${current} ${word}`;
    if (current !== '' && textWidth(longer, size) > width) {
      lines.push(current);
      current = word;
    } else current = longer;
  }
  return current === '' ? lines : [...lines, current];
}

function standaloneHead(chart: Chart, palette: Palette, width: number) {
  const notes = wrap(chart.note, width - 20, 13);
  const body =
    text(2, 38, chart.title, palette, { size: 18, weight: 600 }) +
    notes
      .map((note, index) =>
        text(2, 60 + index * 18, note, palette, { size: 13, fill: palette.soft }),
      )
      .join('');
  return { body, height: 66 + notes.length * 18 };
}

/** A chart that cannot be drawn says why. */
export function absentChart(
  base: Pick<Chart, 'id' | 'title' | 'note'>,
  reason: string,
  { palette, width }: ChartInput,
): Chart {
  const lines = wrap(`Not drawn: ${reason}.`, width - 40, 13);
  const body =
    rect(1, 1, width - 2, 38 + lines.length * 18, { fill: palette.panel, rx: 6 }) +
    lines
      .map((row, i) => text(20, 32 + i * 18, row, palette, { size: 13, fill: palette.soft }))
      .join('');
  return { ...base, description: reason, height: 44 + lines.length * 18, body, absent: reason };
}
