/** The report as Markdown, for a README or a pull request; the charts are the files beside it. */
import type { StudyAnalysis } from '../stats/index.ts';
import { charts, studyPlots } from './charts/index.ts';
import { caveatsOf, findingsOf } from './findings.ts';
import { WIDE } from './html.ts';
import { stripOf } from './strip.ts';
import { gatesTable, leagueTable, type Table } from './tables.ts';
import { LIGHT } from './theme.ts';
import { verdictOf } from './verdict.ts';

/** Keeps text from being read as markup. */
const plain = (text: string): string =>
  text.replace(/([\\`*_[\]<>|])/g, '\\$1').replaceAll('\n', ' ');

export function tableMarkdown(table: Table): string {
  const heads = table.columns.map(({ title, unit }) =>
    plain(unit === undefined ? title : `${title}, ${unit}`),
  );
  const rules = table.columns.map(({ numeric }) => (numeric ? '---:' : '---'));
  const rows = table.rows.map((cells) =>
    cells.map(({ text, detail }) => plain(detail === undefined ? text : `${text} (${detail})`)),
  );
  return [heads, rules, ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** `chartsPath` is where the chart files lie as seen from the Markdown file. */
export function reportMarkdown(analysis: StudyAnalysis, chartsPath = 'charts'): string {
  const verdict = verdictOf(analysis);
  const league = leagueTable(analysis);
  const gates = gatesTable(analysis);
  const bullets = (texts: readonly string[]) => texts.map((one) => `- ${plain(one)}`).join('\n');
  const drawn = [...charts, ...studyPlots].map((one) =>
    one(analysis, { palette: LIGHT, width: WIDE }),
  );
  const figures = drawn.map(({ id, title, note, absent }) =>
    absent === null
      ? `### ${plain(title)}\n\n${plain(note)}\n\n![${plain(title)}](${chartsPath}/${id}.svg)`
      : `### ${plain(title)}\n\nNot drawn: ${plain(absent)}.`,
  );
  const findings = findingsOf(analysis).map(
    ({ title, text }) => `- **${plain(title)}.** ${plain(text)}`,
  );
  const parts = [
    '# HTTP clients in a forwarding API',
    `**${plain(verdict.sentence)}**`,
    bullets(verdict.details),
    verdict.limits.length === 0 ? '' : `## Limits\n\n${bullets(verdict.limits)}`,
    `## What the study left open\n\n${verdict.questions.map(({ question, answer }) => `- **${plain(question)}** ${plain(answer)}`).join('\n')}`,
    `## Rig and validity\n\n${bullets(stripOf(analysis).map(([name, value]) => `${name}: ${value}`))}\n\n${tableMarkdown(gates)}`,
    league === null
      ? ''
      : `## ${plain(league.title)}\n\n${plain(league.note)}\n\n${tableMarkdown(league)}`,
    `## Charts\n\n${figures.join('\n\n')}`,
    `## Findings\n\n${findings.join('\n') || 'Nothing stands out.'}`,
    `## Run it again\n\n\`\`\`sh\n${analysis.results.command}\n\`\`\``,
    `## Caveats\n\n${bullets(caveatsOf(analysis))}`,
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}
