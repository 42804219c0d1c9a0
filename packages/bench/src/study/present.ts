/** The end of a study: the report on disk, the verdict on the terminal. */
import { relative } from 'node:path';
import { CliError, ExitCode } from '../cli-error.ts';
import { renderAnalysis, writeReport } from '../report/index.ts';
import type { StudyResults } from '../results/types.ts';
import { analyseStudy } from '../stats/index.ts';
import type { StudyStore } from './store.ts';

/**
 * Draws the report, prints the verdict and where everything is.
 * @returns the exit code that the gates ask for
 * @throws CliError when the report cannot be written; the results are on disk all the same
 */
export function presentStudy(results: StudyResults, store: StudyStore): ExitCode {
  const analysis = analyseStudy(results);
  try {
    const report = writeReport(results, store.dir, analysis);
    process.stdout.write(`\n${renderAnalysis(analysis)}\n`);
    console.log(`Report:  ${shown(report.html)}  (also report.md and charts/)`);
    console.log(`Results: ${shown(store.resultsPath)}  (and oha/: one file per cell)`);
  } catch (error) {
    throw new CliError(
      `the results are in ${shown(store.resultsPath)}, but the report could not be made: ${(error as Error).message}`,
    );
  }
  return results.complete ? analysis.exitCode : ExitCode.Interrupted;
}

function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith('..') ? path : short;
}
