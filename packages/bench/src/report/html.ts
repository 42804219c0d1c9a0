/** The report as one HTML file that opens without a network. */
import type { StudyResults } from '../results/index.ts';
import type { StudyAnalysis } from '../stats/index.ts';
import { type ChartFunction, charts, studyPlots } from './charts/index.ts';
import { caveatsOf, findingsOf } from './findings.ts';
import { count, escapeXml } from './format.ts';
import { SCRIPT, STYLE } from './page.ts';
import { stripOf } from './strip.ts';
import { type Chart, svg } from './svg.ts';
import { cellsTable, gatesTable, leagueTable, type Table } from './tables.ts';
import { VARIABLES } from './theme.ts';
import { type VerdictText, verdictOf } from './verdict.ts';

export const WIDE = 960;
export const NARROW = 400;

export function tableHtml(table: Table, sortable: boolean): string {
  const heads = table.columns.map(({ title, unit, numeric }) => {
    const small = unit === undefined ? '' : `<small>${escapeXml(unit)}</small>`;
    return `<th scope="col"${numeric ? ' class="n"' : ''}>${escapeXml(title)}${small}</th>`;
  });
  const rows = table.rows.map((cells) => {
    const tds = cells.map(({ text, sort, detail, tone }, index) => {
      const classes = [table.columns[index]!.numeric ? 'n' : '', tone ?? '']
        .filter(Boolean)
        .join(' ');
      const small = detail === undefined ? '' : `<small>${escapeXml(detail)}</small>`;
      const value = sort === undefined ? '' : ` data-v="${sort}"`;
      const shown = escapeXml(text).replace(/([.@])(?=[a-z])/g, '$1<wbr>');
      return `<td${classes === '' ? '' : ` class="${classes}"`}${value}>${shown}${small}</td>`;
    });
    return `<tr>${tds.join('')}</tr>`;
  });
  return (
    `<div class="scroll" tabindex="0" role="region" aria-label="${escapeXml(table.title)}">` +
    `<table id="${table.id}"${sortable ? ' data-sort' : ''}><thead><tr>${heads.join('')}</tr></thead>` +
    `<tbody>${rows.join('')}</tbody></table></div>`
  );
}

/** Both layouts of a chart; the style sheet shows the one that fits. */
export function figureHtml(draw: (width: number) => Chart): string {
  const wide = draw(WIDE);
  const drawing = (width: number, name: string) =>
    `<div class="${name}">${svg(width === WIDE ? wide : draw(width), { palette: VARIABLES, width }, false)}</div>`;
  return (
    `<figure id="${wide.id}"><figcaption><h3>${escapeXml(wide.title)}</h3>` +
    `<p class="note">${escapeXml(wide.note)}</p></figcaption>` +
    `${drawing(WIDE, 'wide')}${drawing(NARROW, 'narrow')}</figure>`
  );
}

const items = (texts: readonly string[]) =>
  texts.length === 0 ? '' : `<ul>${texts.map((one) => `<li>${escapeXml(one)}</li>`).join('')}</ul>`;

const TONES: Record<VerdictText['tone'], string> = {
  decided: 'Decided',
  tied: 'Tied',
  undecided: 'Undecided',
};

function verdictHtml(verdict: VerdictText): string {
  const questions = verdict.questions.map(
    ({ question, answer }) =>
      `<div><dt>${escapeXml(question)}</dt><dd>${escapeXml(answer)}</dd></div>`,
  );
  return (
    `<span class="tone tone-${verdict.tone}">${TONES[verdict.tone]}</span>` +
    `<p class="verdict">${escapeXml(verdict.sentence)}</p>` +
    items(verdict.details) +
    (verdict.limits.length === 0 ? '' : `<h3>Limits</h3>${items(verdict.limits)}`) +
    `<dl class="questions">${questions.join('')}</dl>`
  );
}

/** Five significant digits: three more than any figure is worth, at a third of the bytes. */
const shortened = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value;

/** JSON inside a script element: no `</script>` and no comment may start in it. */
export const embeddedJson = (value: unknown): string =>
  JSON.stringify(value, shortened)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');

/** The frame of every page this lab writes. */
export function pageHtml(title: string, header: string, main: string, data: unknown): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="onehop bench">
<link rel="icon" href="data:,">
<title>${escapeXml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>${header}</header>
<main>
${main}
</main>
<footer>Drawn by onehop bench from one results file; the data is in this page.</footer>
<script type="application/json" id="data">${embeddedJson(data)}</script>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

const section = (id: string, title: string, body: string) =>
  `<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${body}</section>`;

function rawHtml(analysis: StudyAnalysis): string {
  const { results } = analysis;
  const cells = cellsTable(analysis);
  const sources = results.entries
    .filter(({ role }) => role === 'contestant')
    .map(({ id, note, source, version }) => {
      const code = source === undefined ? '' : `<pre>${escapeXml(source)}</pre>`;
      return `<details><summary>${escapeXml(`${id} ${version}`)}</summary><p class="note">${escapeXml(note)}</p>${code}</details>`;
    });
  return (
    `<p>To run it again:</p><pre>${escapeXml(results.command)}</pre>` +
    `<details><summary>${escapeXml(cells.title)}: ${count(cells.rows.length, 'row')}</summary>${tableHtml(cells, true)}</details>` +
    `<p>All ${count(results.measurements.length, 'measurement')} stand as JSON in this page’s <code>#data</code> element and in the results file.</p>` +
    `<h3>The clients</h3>${sources.join('')}`
  );
}

/** The whole page. `results` is embedded, so that the page alone is enough to redraw everything. */
export function reportHtml(results: StudyResults, analysis: StudyAnalysis): string {
  const league = leagueTable(analysis);
  const gates = gatesTable(analysis);
  const draw = (one: ChartFunction) =>
    figureHtml((width) => one(analysis, { palette: VARIABLES, width }));
  const strip = stripOf(analysis).map(
    ([name, value]) => `<div><dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd></div>`,
  );
  const findings = findingsOf(analysis).map(
    ({ title, text }) => `<h3>${escapeXml(title)}</h3><p>${escapeXml(text)}</p>`,
  );
  const header = `<h1>HTTP clients in a forwarding API · ${escapeXml(results.startedAt.slice(0, 10))} · ${count(results.settings.rounds, 'round')}</h1>${verdictHtml(verdictOf(analysis))}`;
  const main = [
    section(
      'rig',
      'Rig and validity',
      `<dl class="strip">${strip.join('')}</dl>${tableHtml(gates, false)}<p class="note">${escapeXml(gates.note)}</p>`,
    ),
    league === null
      ? ''
      : section(
          'table',
          escapeXml(league.title),
          `<p class="note">${escapeXml(league.note)}</p>${tableHtml(league, true)}`,
        ),
    section('charts', 'Charts', charts.map(draw).join('\n')),
    section('study', 'The study’s own plots', studyPlots.map(draw).join('\n')),
    section('findings', 'Findings', findings.join('') || '<p>Nothing stands out.</p>'),
    section(
      'raw',
      'Raw data and how to run it again',
      `<div class="raw">${rawHtml(analysis)}</div>`,
    ),
    section('caveats', 'Caveats', items(caveatsOf(analysis))),
  ].join('\n');
  return pageHtml('onehop study: HTTP clients in a forwarding API', header, main, results);
}
