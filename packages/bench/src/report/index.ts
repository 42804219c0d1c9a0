import type { StudyResults } from '../results/index.ts';
import { analyseStudy } from '../stats/index.ts';
import { renderAnalysis, type TerminalOptions } from './terminal.ts';

export { reportHtml } from './html.ts';
export { reportMarkdown } from './markdown.ts';
export { type OhaReportFiles, ohaSentence, writeOhaReport } from './oha.ts';
export { pngOf } from './png.ts';
export { readmeStudy, readmeWithStudy, withStudy } from './readme.ts';
export { renderAnalysis, type TerminalOptions } from './terminal.ts';
export { type VerdictText, verdictOf } from './verdict.ts';
export { type ReportFiles, writeReport } from './write.ts';

/** Verdict, league table, gates and answers as text for a terminal. */
export function renderTerminal(results: StudyResults, options: TerminalOptions = {}): string {
  return renderAnalysis(analyseStudy(results), options);
}
