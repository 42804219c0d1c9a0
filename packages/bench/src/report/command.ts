/** `onehop bench report FILE`: every table and chart again from a results file. */
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { OnehopError } from 'onehop';
import { CliError } from '../cli-error.ts';
import { readResults } from '../results/index.ts';
import { analyseStudy } from '../stats/index.ts';

interface ReportFlags {
  out?: string;
  /** False with --no-write. */
  write: boolean;
  quiet?: boolean;
  failOnGate?: boolean;
}

async function report(file: string, flags: ReportFlags): Promise<void> {
  const path = resolve(file);
  const results = readResults(path);
  const analysis = analyseStudy(results);
  // Loaded here: the drawing libraries cost start-up time that no other command should pay.
  const { renderAnalysis, writeReport } = await import('./index.ts');
  if (!flags.quiet) process.stdout.write(renderAnalysis(analysis));
  if (flags.write) {
    const out = resolve(flags.out ?? join(dirname(path), 'report'));
    const { html } = writeReport(results, out, analysis);
    process.stdout.write(`\nReport: ${html}\n`);
  }
  if (flags.failOnGate) process.exitCode = analysis.exitCode;
}

export function registerReport(program: Command): void {
  program
    .command('report')
    .description('draw the verdict, tables and charts of a results file again')
    .argument('<file>', 'results file of `onehop bench study`')
    .option(
      '-o, --out <dir>',
      'directory for report.html, report.md and charts/ (default: report/ beside the file)',
    )
    .option('--no-write', 'print only, write no files')
    .option('-q, --quiet', 'do not print the tables')
    .option('--fail-on-gate', 'exit 3 when a client breaches a gate and 4 when the rig does')
    .action(async (file: string, flags: ReportFlags) => {
      try {
        await report(file, flags);
      } catch (error) {
        if (error instanceof OnehopError) throw new CliError(error.message);
        throw error;
      }
    });
}
