import { scaleLinear } from 'd3-scale';
import { median, type StudyAnalysis } from '../../stats/index.ts';
import { number, tick } from '../format.ts';
import {
  absentChart,
  axisBottom,
  type Box,
  type Chart,
  type ChartInput,
  legend,
  path,
  rect,
  text,
  textWidth,
  titled,
} from '../svg.ts';
import { styleOf } from '../theme.ts';
import { fit } from './panels.ts';

const ROW = 20;

/** CPU per request of the API process, split into its own code and the kernel's. */
export function cpuSplit(analysis: StudyAnalysis, input: ChartInput): Chart {
  const { headline } = analysis;
  const { palette, width } = input;
  const base = {
    id: 'cpu',
    title: 'CPU per request of the API process',
    note: `Median over rounds${headline === null ? '' : ` in ${headline.cell.id}`}. Full colour: user time; pale: system time (sockets). Bars beyond the scale are cut and carry their figure. Less is better.`,
  };
  const rows = [...(headline?.summaries.values() ?? [])]
    .filter(({ cpuUserUs }) => cpuUserUs !== null)
    .map(({ entry, cpuUs, cpuUserUs, cpuSystemUs }) => ({
      entry: analysis.figures.entry(entry),
      total: cpuUs!.value,
      user: cpuUserUs!,
      system: cpuSystemUs ?? 0,
    }))
    .filter(({ entry }) => entry.role !== 'twin')
    .sort((a, b) => a.total - b.total);
  if (rows.length === 0)
    return absentChart(base, 'no CPU figure of an API process was taken', input);
  const names = Math.min(
    Math.max(...rows.map(({ entry }) => textWidth(entry.id))) + 12,
    width * 0.36,
  );
  const most = Math.min(rows.at(-1)!.total, 5 * median(rows.map(({ total }) => total)));
  const key = legend(
    4,
    14,
    width - 8,
    [
      { label: 'user', colour: palette.soft, swatch: true },
      { label: 'system', colour: palette.faint, swatch: true },
    ],
    palette,
  );
  const box: Box = {
    left: names,
    top: key.height + 10,
    right: width - 64,
    bottom: key.height + 14 + rows.length * ROW,
  };
  const x = scaleLinear([0, most], [box.left, box.right]);
  let body =
    key.body + axisBottom(box, x.ticks(width > 600 ? 8 : 4), x, tick, palette, { grid: true });
  rows.forEach(({ entry, total, user, system }, index) => {
    const y = box.top + 2 + index * ROW;
    const { colour } = styleOf(entry, palette);
    const userEnd = Math.min(x(user), box.right);
    const end = Math.min(x(user + system), box.right);
    let bar = rect(box.left, y + 3, userEnd - box.left, ROW - 7, { fill: colour });
    bar += rect(userEnd, y + 3, end - userEnd, ROW - 7, { fill: colour, 'fill-opacity': 0.4 });
    if (total > most * 1.001) {
      // A slanted gap: the bar goes on beyond the scale.
      const cut = box.right - 14;
      bar += path(`M${cut} ${y + ROW - 2}l6 ${-ROW + 3}M${cut + 5} ${y + ROW - 2}l6 ${-ROW + 3}`, {
        stroke: palette.ground,
        'stroke-width': 2,
      });
    }
    body += titled(
      bar,
      `${entry.id}: ${number(total)} µs, user ${number(user)}, system ${number(system)}`,
    );
    body += text(2, y + 14, fit(entry.id, names - 6), palette);
    body += text(end + 6, y + 14, number(total), palette, { size: 11.5 });
  });
  body += text(box.right, box.bottom + 32, 'µs per request', palette, {
    anchor: 'end',
    fill: palette.soft,
    size: 11.5,
  });
  const description = rows
    .map(
      ({ entry, total, user, system }) =>
        `${entry.id}: ${number(total)} µs (user ${number(user)}, system ${number(system)})`,
    )
    .join('; ');
  return { ...base, description, height: box.bottom + 38, body, absent: null };
}
