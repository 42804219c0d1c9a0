/** `onehop bench import DIR`: an old study of oha files as tables or as one JSON document. */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { OnehopError } from 'onehop';
import picocolors from 'picocolors';
import { CliError } from '../cli-error.ts';
import { readOhaDirectory } from './oha-reader.ts';
import type { OhaCell, OhaStudy } from './oha-types.ts';

const show = (value: number | null | undefined, digits: number): string =>
  value == null ? '-' : value.toFixed(digits);

/** Columns of text, the first left and the others right aligned. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** One table per number of requests: connections down, clients across. */
function figureTable(
  study: OhaStudy,
  requests: number,
  title: string,
  figure: (cell: OhaCell) => string,
): string {
  const rows: string[][] = [['connections', ...study.clients]];
  for (const connections of study.connectionCounts) {
    const cells = study.clients.map((client) =>
      study.cells.find(
        (cell) =>
          cell.client === client && cell.requests === requests && cell.connections === connections,
      ),
    );
    if (cells.every((cell) => cell === undefined)) continue;
    rows.push([
      String(connections),
      ...cells.map((cell) => (cell === undefined ? '' : figure(cell))),
    ]);
  }
  return `${title}, ${requests} requests\n${table(rows)}`;
}

/** The study as tables, with what must be known before believing them. */
export function importText(study: OhaStudy): string {
  const parts: string[] = [];
  for (const requests of study.requestCounts) {
    parts.push(
      figureTable(study, requests, 'Requests/sec', (cell) => show(cell.requestsPerS, 1)),
      figureTable(study, requests, 'Average latency (ms)', (cell) => show(cell.averageMs, 2)),
      figureTable(study, requests, 'p99 latency (ms)', (cell) =>
        show(cell.percentilesMs['p99'], 2),
      ),
    );
  }
  const notes = [
    ...study.notes,
    'Each cell is a single closed-loop run: latency is connections / requests per second, so the two tables say one thing twice, and nothing here tells noise from difference.',
    ...study.cells.flatMap(({ file, notes: own }) => own.map((note) => `${file}: ${note}`)),
    ...study.skipped.map(({ file, reason }) => `${file} was left out: it ${reason}.`),
  ];
  const shown = notes.slice(0, 40);
  if (notes.length > shown.length) shown.push(`and ${notes.length - shown.length} more (--json)`);
  parts.push(`Notes\n${shown.map((note) => `- ${note}`).join('\n')}`);
  return `${parts.join('\n\n')}\n`;
}

async function importStudy(
  directory: string,
  options: { json?: boolean; output?: string },
): Promise<void> {
  const study = readOhaDirectory(directory);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(study, null, 2)}\n`);
    return;
  }
  const outDir = resolve(options.output ?? join(directory, 'report'));
  // Charts bring a rasteriser along: loaded only when something is drawn.
  const { ohaSentence, writeOhaReport } = await import('../report/index.ts');
  let files: ReturnType<typeof writeOhaReport>;
  try {
    files = writeOhaReport(study, outDir);
  } catch (error) {
    if (error instanceof OnehopError || (error as NodeJS.ErrnoException).code === undefined) {
      throw error instanceof OnehopError ? new CliError(error.message) : error;
    }
    throw new CliError(`cannot write the report to ${outDir}: ${(error as Error).message}`);
  }
  const text = `${picocolors.bold(ohaSentence(study))}\n\n${importText(study)}`;
  process.stdout.write(`${text}\nReport: ${files.html}\n`);
}

/** `onehop bench import`: old studies of oha files on the same report as ours. */
export function registerImport(program: Command): void {
  program
    .command('import')
    .description('redraw a study of oha files, <client>_<n>_<c>.json each (oha 0.5.4 to 1.15)')
    .argument('<directory>', 'where the files are')
    .option('-o, --output <directory>', 'where the report goes (default: report/ beside the files)')
    .option('-j, --json', 'print what was read as JSON and draw nothing')
    .action(importStudy);
}
