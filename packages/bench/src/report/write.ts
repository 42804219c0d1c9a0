/** Writes the report's files. */
import { join } from 'node:path';
import { OnehopError } from 'onehop';
import {
  makeDirectory as makeDirectories,
  type StudyResults,
  writeFileAtomically,
} from '../results/index.ts';
import { analyseStudy, type StudyAnalysis } from '../stats/index.ts';
import { charts, studyPlots } from './charts/index.ts';
import { reportHtml, WIDE } from './html.ts';
import { reportMarkdown } from './markdown.ts';
import { pngOf } from './png.ts';
import { type Chart, svg } from './svg.ts';
import { LIGHT } from './theme.ts';

export interface ReportFiles {
  html: string;
  markdown: string;
  /** Charts that could be drawn, without their endings. */
  charts: string[];
}

/** @throws OnehopError ARGUMENT_INVALID when the directory cannot be made */
export function makeDirectory(path: string): void {
  try {
    makeDirectories(path);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new OnehopError('ARGUMENT_INVALID', `cannot make the directory ${path}: ${reason}`, {
      phase: 'config',
      cause: error,
    });
  }
}

/** Writes `charts/<id>.svg` and `.png` of every chart that has something to show. */
export function writeCharts(drawn: readonly Chart[], outDir: string): string[] {
  const directory = join(outDir, 'charts');
  makeDirectory(directory);
  const present = drawn.filter(({ absent }) => absent === null);
  for (const chart of present) {
    const text = svg(chart, { palette: LIGHT, width: WIDE }, true);
    writeFileAtomically(join(directory, `${chart.id}.svg`), `${text}\n`);
    writeFileAtomically(join(directory, `${chart.id}.png`), pngOf(text));
  }
  return present.map(({ id }) => join(directory, id));
}

/**
 * Writes `report.html`, `report.md` and `charts/` below `outDir`, making it when it is missing.
 * @throws OnehopError ARGUMENT_INVALID when the directory cannot be written
 */
export function writeReport(
  results: StudyResults,
  outDir: string,
  analysis: StudyAnalysis = analyseStudy(results),
): ReportFiles {
  makeDirectory(outDir);
  const input = { palette: LIGHT, width: WIDE };
  const drawn = [...charts, ...studyPlots].map((one) => one(analysis, input));
  const files = { html: join(outDir, 'report.html'), markdown: join(outDir, 'report.md') };
  const written = writeCharts(drawn, outDir);
  writeFileAtomically(files.markdown, reportMarkdown(analysis));
  writeFileAtomically(files.html, reportHtml(results, analysis));
  return { ...files, charts: written };
}
