import { scaleLinear, scaleLog } from 'd3-scale';
import { line as lineOf } from 'd3-shape';
import { tick } from '../format.ts';
import {
  axisBottom,
  axisLeft,
  type Box,
  type ChartInput,
  line,
  logTicks,
  marker,
  path,
  spread,
  text,
  textWidth,
  titled,
} from '../svg.ts';
import { DASHES, type Marker } from '../theme.ts';
import { fit, type Point } from './panels.ts';

export interface NamedLine {
  name: string;
  points: Point[];
}

const MARKERS: readonly Marker[] = ['disc', 'square', 'ring', 'box'];

/** All lines in one plot, each with its name at its right end, moved apart where they would meet. */
export function manyLines(
  lines: readonly NamedLine[],
  { palette, width }: ChartInput,
  { xLabel, yLabel }: { xLabel: string; yLabel: string },
): { body: string; height: number } {
  const labelWidth = Math.min(
    Math.max(...lines.map(({ name }) => textWidth(name, 11.5))) + 24,
    width * 0.36,
  );
  const height = Math.max(340, lines.length * 15 + 40);
  const box: Box = { left: 46, top: 30, right: width - labelWidth - 12, bottom: height - 44 };
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort(
    (a, b) => a - b,
  );
  const ys = lines.flatMap(({ points }) => points.map(({ y }) => y)).filter((y) => y > 0);
  const [low, high] = [Math.min(...ys) / 1.1, Math.max(...ys) * 1.1];
  const x = scaleLog([xs[0]!, xs.at(-1)!], [box.left + 8, box.right - 8]);
  const log = high / low > 20;
  const y = log
    ? scaleLog([low, high], [box.bottom, box.top])
    : scaleLinear([0, high], [box.bottom, box.top]);
  const ticks = log ? logTicks(low, high, 8) : scaleLinear([0, high], [0, 1]).ticks(6);
  let body =
    text(4, 16, `${yLabel}${log ? ', log scale' : ''}`, palette, { weight: 600 }) +
    axisLeft(box, ticks, y, tick, palette) +
    axisBottom(box, xs, x, tick, palette) +
    text((box.left + box.right) / 2, height - 8, `${xLabel}, log scale`, palette, {
      anchor: 'middle',
      fill: palette.soft,
    });
  const draw = lineOf<Point>()
    .x((point) => x(point.x))
    .y((point) => y(point.y))
    .digits(1);
  const ends = lines.map(({ points }) => y(points.at(-1)!.y));
  const placed = spread(ends, 14.5, 14, height - 12);
  lines.forEach(({ name, points }, index) => {
    const colour = palette.series[index % palette.series.length]!;
    const round = Math.floor(index / palette.series.length);
    const last = points.at(-1)!;
    body += path(draw(points), {
      stroke: colour,
      'stroke-width': 1.8,
      'stroke-dasharray': DASHES[round % DASHES.length],
    });
    for (const point of points) {
      const dot = marker(
        x(point.x),
        y(point.y),
        MARKERS[round % MARKERS.length]!,
        colour,
        palette,
        3,
      );
      body += titled(dot, `${name}, ${point.tip}`);
    }
    const labelX = box.right + 20;
    body += line(x(last.x) + 5, ends[index]!, labelX - 3, placed[index]!, colour, {
      'stroke-width': 0.7,
      'stroke-opacity': 0.7,
    });
    body += text(labelX, placed[index]! + 4, fit(name, labelWidth - 8, 11.5), palette, {
      size: 11.5,
      fill: colour,
      weight: 500,
    });
  });
  return { body, height };
}
