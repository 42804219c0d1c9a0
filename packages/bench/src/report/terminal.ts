/** The same tables on a terminal, as wide as it is. */
import pc from 'picocolors';
import type { StudyAnalysis } from '../stats/index.ts';
import { gatesTable, leagueTable, type Table, type TableCell } from './tables.ts';
import { verdictOf } from './verdict.ts';

export interface TerminalOptions {
  /** Columns of the terminal; 100 when it is none. */
  columns?: number;
  colour?: boolean;
}

type Colours = ReturnType<typeof pc.createColors>;

/** Characters that a terminal shows; figures and names hold no wide ones. */
const length = (text: string): number => [...text].length;

const pad = (text: string, width: number, right: boolean): string => {
  const fill = ' '.repeat(Math.max(0, width - length(text)));
  return right ? fill + text : text + fill;
};

export function wrapText(text: string, width: number, indent = ''): string {
  const lines: string[] = [];
  let current = '';
  for (const word of text.split(' ')) {
    const longer = current === '' ? word : `${current} ${word}`;
    if (current !== '' && length(longer) > width - indent.length) {
      lines.push(current);
      current = word;
    } else current = longer;
  }
  return [...lines, current].map((line, index) => (index === 0 ? line : indent + line)).join('\n');
}

function paint(padded: string, { tone }: TableCell, colours: Colours): string {
  if (tone === 'good') return colours.green(padded);
  if (tone === 'bad') return colours.red(padded);
  return tone === 'soft' ? colours.dim(padded) : padded;
}

/** Drops the least important columns until the table fits, and says so. */
export function tableTerminal(table: Table, columns: number, colours: Colours): string {
  const titles = table.columns.map(({ title, unit }) =>
    unit === undefined ? title : `${title} ${unit}`,
  );
  const shown = (cell: TableCell, index: number) =>
    table.columns[index]!.inline && cell.detail ? `${cell.text} (${cell.detail})` : cell.text;
  const widths = titles.map((title, index) =>
    Math.max(length(title), ...table.rows.map((row) => length(shown(row[index]!, index)))),
  );
  let kept = table.columns.map((_, index) => index);
  const total = () => kept.reduce((sum, index) => sum + widths[index]! + 2, 0) - 2;
  while (total() > columns && kept.length > 2) {
    const lowest = Math.max(...kept.map((index) => table.columns[index]!.priority));
    if (lowest === 0) break;
    const drop = kept.findLastIndex((index) => table.columns[index]!.priority === lowest);
    kept = kept.filter((_, at) => at !== drop);
  }
  // What still does not fit is a text in the last column.
  const last = kept.at(-1)!;
  widths[last] = Math.max(8, widths[last]! - Math.max(0, total() - columns));
  const cut = (text: string, width: number) =>
    length(text) > width ? `${[...text].slice(0, width - 1).join('')}…` : text;
  const line = (cells: readonly TableCell[], style: (text: string) => string) =>
    kept
      .map((index) => {
        const { numeric } = table.columns[index]!;
        const padded = pad(
          cut(shown(cells[index]!, index), widths[index]!),
          widths[index]!,
          numeric,
        );
        return style(paint(padded, cells[index]!, colours));
      })
      .join('  ')
      .trimEnd();
  const left = table.columns.length - kept.length;
  return [
    line(
      titles.map((text) => ({ text })),
      colours.bold,
    ),
    ...table.rows.map((row) => line(row, (text) => text)),
    ...(left > 0
      ? [colours.dim(`(${left} more columns in the report or on a wider terminal)`)]
      : []),
  ].join('\n');
}

/** Verdict, league table and gates; ends with a line feed. */
export function renderAnalysis(analysis: StudyAnalysis, options: TerminalOptions = {}): string {
  const columns = Math.max(40, options.columns ?? process.stdout.columns ?? 100);
  const colours = pc.createColors(options.colour ?? pc.isColorSupported);
  const verdict = verdictOf(analysis);
  const league = leagueTable(analysis);
  const bullet = (text: string) => `  ${wrapText(`• ${text}`, columns - 2, '    ')}`;
  const head = { decided: colours.green, tied: colours.cyan, undecided: colours.yellow }[
    verdict.tone
  ];
  const gates = gatesTable(analysis);
  return `${[
    ...(league === null
      ? []
      : [colours.bold(league.title), '', tableTerminal(league, columns, colours), '']),
    colours.bold(gates.title),
    '',
    tableTerminal(gates, columns, colours),
    '',
    head(colours.bold(wrapText(verdict.sentence, columns))),
    ...verdict.details.map(bullet),
    ...(verdict.limits.length > 0
      ? ['', colours.bold('Limits'), ...verdict.limits.map(bullet)]
      : []),
    '',
    ...verdict.questions.flatMap(({ question, answer }) => [
      colours.bold(question),
      `  ${wrapText(answer, columns - 2, '  ')}`,
    ]),
  ].join('\n')}\n`;
}
