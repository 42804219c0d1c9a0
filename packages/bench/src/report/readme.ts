/** The study's part of a README: verdict and table, all figures from one results file. */
import { readFileSync } from 'node:fs';
import type { StudyResults } from '../results/types.ts';
import { analyseStudy, type Ranked, type StudyAnalysis } from '../stats/index.ts';
import { number, ratio, ratioSpan, span } from './format.ts';
import { verdictOf } from './verdict.ts';

export const README_BEGIN = '<!-- study:begin (npm run study:readme writes this part) -->';
export const README_END = '<!-- study:end -->';

const RUNTIME_NAMES = { node: 'Node', bun: 'Bun', python: 'Python' } as const;

function versus({ versusBest }: Ranked): string {
  if (versusBest === null) return '1×';
  const { outcome, ratio: value, interval } = versusBest;
  if (outcome !== 'worse') return outcome;
  return `**${ratio(value)}**${interval === null ? '' : ` (${ratioSpan(interval)})`}`;
}

function rankedRows(analysis: StudyAnalysis): string[] {
  const { headline, leagues } = analysis;
  return leagues.flatMap(({ runtime, ranking }) =>
    ranking.cpu.ranked.map((one) => {
      const { cpuUs, rps } = headline!.summaries.get(one.entry)!;
      const interval = cpuUs?.interval ? ` (${span(cpuUs.interval)})` : '';
      return `| ${one.entry} | ${RUNTIME_NAMES[runtime]} | ${number(cpuUs?.value)}${interval} | ${versus(one)} | ${number(rps.value)} |`;
    }),
  );
}

/** Who was measured too rarely to be placed, or failed a check: figures without a place. */
function otherRows(analysis: StudyAnalysis): string[] {
  const { headline, figures, excluded, sparse } = analysis;
  return figures.contestants().flatMap(({ id, runtime }) => {
    const summary = headline!.summaries.get(id);
    const rounds = sparse.get(id);
    if (summary === undefined || (rounds === undefined && !excluded.has(id))) return [];
    const why = excluded.has(id)
      ? 'not ranked: fails the audit'
      : `${rounds} round${rounds === 1 ? '' : 's'}, not placed`;
    return [
      `| ${id} | ${RUNTIME_NAMES[runtime]} | ${number(summary.cpuUs?.value)} | ${why} | ${number(summary.rps.value)} |`,
    ];
  });
}

/** Markdown between the two markers, markers included. */
export function readmeStudy(results: StudyResults): string {
  const analysis = analyseStudy(results);
  const { sentence } = verdictOf(analysis);
  const { rig, settings, command } = results;
  const lines = [
    README_BEGIN,
    '',
    `**${sentence}**`,
    '',
    `Measured ${results.startedAt.slice(0, 10)} on ${rig.cores} cores (${rig.cpuModel}), Node ${rig.nodeVersion}${rig.bunVersion === null ? '' : `, Bun ${rig.bunVersion}`}, ${settings.rounds} rounds, seed ${settings.seed}, commit ${rig.commit ?? 'unknown'}, by \`${command}\`.`,
  ];
  if (analysis.headline !== null && analysis.leagues.length > 0) {
    lines.push(
      '',
      '| client inside the API | runtime | CPU per request, µs (95 %) | against the best of its runtime | requests/s |',
      '|---|---|--:|---|--:|',
      ...rankedRows(analysis),
      ...otherRows(analysis),
    );
  }
  lines.push('', README_END);
  return lines.join('\n');
}

/** `text` with the part between the markers replaced. @throws Error when they are not there */
export function withStudy(text: string, results: StudyResults): string {
  const begin = text.indexOf(README_BEGIN);
  const end = text.indexOf(README_END);
  if (begin < 0 || end < begin) throw new Error('the README has no study:begin and study:end');
  return text.slice(0, begin) + readmeStudy(results) + text.slice(end + README_END.length);
}

/** For the script: reads a README from disk. */
export function readmeWithStudy(path: string, results: StudyResults): { old: string; now: string } {
  const old = readFileSync(path, 'utf8');
  return { old, now: withStudy(old, results) };
}
