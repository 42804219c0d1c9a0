/** The result as text for a terminal. */
import picocolors from 'picocolors';
import { figureNames } from './judge.ts';
import type {
  AgainstResult,
  GatewayBenchResult,
  JudgedBar,
  RevisionRatio,
  Row,
  Spread,
} from './types.ts';

const digits = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
const middle = (spread: Spread | null): string => (spread === null ? '-' : digits(spread.median));
const ranged = (spread: Spread | null): string =>
  spread === null
    ? '-'
    : `x${spread.median.toFixed(2)} (${spread.low.toFixed(2)}-${spread.high.toFixed(2)})`;

const header = [
  'forwarder',
  'CPU µs',
  'CPU to nginx',
  'req/s',
  'req/s to nginx',
  'p50 ms',
  'p99 ms',
  'max gap',
  'MB',
];
const widths = [30, 8, 22, 8, 22, 8, 8, 8, 8];

const line = (cells: readonly string[]): string =>
  cells
    .map((cell, at) => (at === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[at]! + 1)))
    .join('')
    .trimEnd();

function rowLine(row: Row, name: string): string {
  return line([
    name,
    middle(row.cpuUs),
    ranged(row.cpuRatio),
    row.requestsPerS.median === 0 ? '-' : row.requestsPerS.median.toFixed(0),
    ranged(row.requestsRatio),
    row.p50Ms === null ? '-' : row.p50Ms.median.toFixed(3),
    row.p99Ms === null ? '-' : row.p99Ms.median.toFixed(3),
    middle(row.gapMaxMs),
    middle(row.rssAddedMB),
  ]);
}

/** One table per load. CPU is per request, for event streams per event. */
export function tables(rows: readonly Row[], names: ReadonlyMap<string, string>): string {
  const lines: string[] = [];
  for (const cell of new Set(rows.map((row) => row.cell))) {
    lines.push('', picocolors.bold(cell), picocolors.dim(line(header)));
    for (const row of rows.filter((one) => one.cell === cell)) {
      lines.push(rowLine(row, names.get(row.forwarder) ?? row.forwarder));
      for (const fault of row.invalid) lines.push(picocolors.red(`  not valid: ${fault}`));
    }
  }
  return lines.join('\n');
}

const marks: Record<JudgedBar['verdict'], string> = {
  stretch: picocolors.green('met, stretch'),
  met: picocolors.green('met         '),
  missed: picocolors.red('MISSED      '),
  unknown: picocolors.yellow('not judged  '),
  reported: picocolors.dim('no bar      '),
};

export function barLines(bars: readonly JudgedBar[]): string {
  return bars
    .map(({ id, text, found, verdict }) => {
      const figure =
        found === null
          ? ''
          : `  ${digits(found.median)} (${digits(found.low)}-${digits(found.high)})`;
      return `  ${marks[verdict]} ${id.padEnd(4)} ${text}${figure}`;
    })
    .join('\n');
}

const ratioMarks: Record<RevisionRatio['verdict'], string> = {
  met: picocolors.green('met         '),
  missed: picocolors.red('MISSED      '),
  undecided: picocolors.yellow('undecided   '),
  reported: picocolors.dim('no bar      '),
};

/** One load by its name; several by what their names begin with, if with the same. */
export function loadsName(cells: readonly string[]): string {
  if (cells.length === 1) return cells[0]!;
  const kinds = new Set(cells.map((cell) => cell.slice(0, cell.indexOf('-'))));
  return kinds.size === 1 ? `all ${cells.length} ${[...kinds][0]}` : `all ${cells.length} together`;
}

function ratioLine({ cells, bars, forwarder, figure, ...judged }: RevisionRatio): string {
  const { found, interval, verdict, reason } = judged;
  const load = loadsName(cells);
  const median = found === null ? '-' : found.median.toFixed(3);
  const sure =
    interval === null
      ? '-'
      : `${interval.low.toFixed(3)}-${interval.high.toFixed(3)} (${(interval.confidence * 100).toFixed(0)} %)`;
  const range = found === null ? '-' : `${found.low.toFixed(2)}-${found.high.toFixed(2)}`;
  const why = reason === null ? '' : picocolors.dim(`  ${reason}`);
  const columns = [
    bars.join(' ').padEnd(6),
    load.padEnd(19),
    forwarder.padEnd(12),
    figureNames[figure].padEnd(16),
    median.padStart(6),
    sure.padStart(19),
    range.padStart(10),
  ];
  return `  ${ratioMarks[verdict]} ${columns.join(' ')}${why}`;
}

/** What this tree costs of the other revision. */
export function againstText({ commit, subject, most, ratios }: AgainstResult): string {
  return [
    picocolors.bold(
      `This tree over ${commit.slice(0, 7)} (${subject}), CPU per request at most ${most}`,
    ),
    picocolors.dim(
      '  median of per-round ratios, interval of that median, lowest and highest round',
    ),
    ...ratios.map(ratioLine),
    `  met: the whole interval lies at or below ${most}, missed: above it. Of many at once some may ` +
      'do so by chance: loads together say most.',
  ].join('\n');
}

export function resultText(result: GatewayBenchResult): string {
  const names = new Map(result.forwarders.map(({ id, name }) => [id, name]));
  const parts = [
    tables(result.rows, names),
    '',
    picocolors.bold(`Bars (medians of ${result.rounds} rounds, lowest and highest in brackets)`),
    barLines(result.bars),
  ];
  if (result.against !== undefined) parts.push('', againstText(result.against));
  for (const text of result.warnings) parts.push(picocolors.yellow(`  ${text}`));
  for (const text of result.leftOut) parts.push(`  left out: ${text}`);
  if (result.rounds < 5) parts.push('  fewer than 5 rounds: a look, not a result');
  return `${parts.join('\n')}\n`;
}
