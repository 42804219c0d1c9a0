/**
 * An old study of oha files drawn again: the study's two plots, a table and what such files cannot
 * show. There is one run per cell and so no interval: no verdict is given, only what was measured.
 */
import { join } from 'node:path';
import type { OhaCell, OhaStudy } from '../load/oha-types.ts';
import { writeFileAtomically } from '../results/index.ts';
import { manyLines } from './charts/index.ts';
import { count, escapeXml, list, number, percent, tick } from './format.ts';
import { figureHtml, pageHtml, tableHtml, WIDE } from './html.ts';
import { tableMarkdown } from './markdown.ts';
import { absentChart, type Chart, type ChartInput } from './svg.ts';
import type { Table, TableCell } from './tables.ts';
import { LIGHT, VARIABLES } from './theme.ts';
import { makeDirectory, writeCharts } from './write.ts';

export interface OhaReportFiles {
  html: string;
  markdown: string;
  charts: string[];
}

type What = 'latency' | 'rps';

const figureOf = (cell: OhaCell, what: What): number | null =>
  what === 'latency' ? cell.averageMs : cell.requestsPerS;

function plot(study: OhaStudy, requests: number, what: What, input: ChartInput): Chart {
  const cells = study.cells.filter((cell) => cell.requests === requests);
  const base = {
    id: `${what}-n${requests}`,
    title: `${what === 'latency' ? 'Mean latency' : 'Requests per second'}, ${count(requests, 'request')}`,
    note:
      what === 'latency'
        ? 'One run per point. In a closed loop mean latency is connections divided by requests/s. Less is better.'
        : 'One run per point. More is better.',
  };
  const lines = study.clients
    .map((name) => ({
      name,
      points: cells
        .filter(({ client }) => client === name)
        .flatMap((cell) => {
          const y = figureOf(cell, what);
          if (y === null || y <= 0) return [];
          const unit = what === 'latency' ? ' ms' : '/s';
          return [{ x: cell.connections, y, tip: `c${cell.connections}: ${number(y)}${unit}` }];
        })
        .sort((a, b) => a.x - b.x),
    }))
    .filter(({ points }) => points.length > 0);
  if (lines.length === 0) return absentChart(base, 'no file holds this figure', input);
  const drawn = manyLines(lines, input, {
    xLabel: 'connections',
    yLabel: what === 'latency' ? 'mean latency, ms' : 'requests/s',
  });
  const description = lines
    .map(({ name, points }) => `${name}: ${points.map(({ tip }) => tip).join(', ')}`)
    .join('; ');
  return { ...base, ...drawn, description, absent: null };
}

const figure = (value: number | null | undefined): TableCell => ({
  text: number(value),
  sort: value ?? Number.POSITIVE_INFINITY,
});

function table(study: OhaStudy): Table {
  const numeric = (title: string, priority: number, unit?: string) => ({
    title,
    priority,
    numeric: true,
    ...(unit === undefined ? {} : { unit }),
  });
  const rows = study.cells.map((cell): TableCell[] => {
    const bad = cell.successRate !== null && cell.successRate < 1;
    const other = Object.keys(cell.statusCounts).filter((status) => !/^2/.test(status));
    return [
      { text: cell.client },
      figure(cell.requests),
      figure(cell.connections),
      figure(cell.requestsPerS),
      figure(cell.averageMs),
      figure(cell.percentilesMs['p50']),
      // A p99 of fewer samples is the maximum of a handful.
      figure(cell.requests >= 1000 ? cell.percentilesMs['p99'] : null),
      {
        text: cell.successRate === null ? '–' : percent(cell.successRate, bad ? 2 : 0),
        tone: bad ? 'bad' : undefined,
        sort: cell.successRate ?? 0,
      },
      { text: other.length === 0 ? '' : `status ${other.join(', ')}`, tone: 'bad' },
    ];
  });
  return {
    id: 'files',
    title: 'Every file',
    note: 'p99 only from 1,000 requests on. oha counts any HTTP status as a success.',
    columns: [
      { title: 'client', numeric: false, priority: 0 },
      numeric('requests', 1),
      numeric('connections', 0),
      numeric('requests/s', 0),
      numeric('mean', 1, 'ms'),
      numeric('p50', 2, 'ms'),
      numeric('p99', 2, 'ms'),
      numeric('success', 3),
      { title: 'other', numeric: false, priority: 4 },
    ],
    rows,
  };
}

/** What the files show at one point of the matrix, without calling anyone the winner. */
export function ohaSentence(study: OhaStudy): string {
  const { cells, clients } = study;
  if (cells.length === 0) return 'No oha file could be read.';
  const requests = Math.max(...cells.map((cell) => cell.requests));
  const largest = cells.filter((cell) => cell.requests === requests);
  const distance = (connections: number) => Math.abs(Math.log(connections / 50));
  const connections = largest
    .map((cell) => cell.connections)
    .sort((a, b) => distance(a) - distance(b))[0]!;
  const there = largest
    .filter((cell) => cell.connections === connections && cell.requestsPerS !== null)
    .sort((a, b) => b.requestsPerS! - a.requestsPerS!);
  const what = `${count(cells.length, 'cell')} of ${count(clients.length, 'client')}, one run each`;
  const [most, least] = [there[0], there.at(-1)];
  if (most === undefined || least === undefined || most === least) {
    return `No verdict: ${what}; nothing can be compared at n=${requests}, c=${connections}.`;
  }
  const shown = `at n=${number(requests)}, c=${connections} ${most.client} answered ${number(most.requestsPerS)} requests/s and ${least.client} ${number(least.requestsPerS)}`;
  return `No verdict: ${what}, so no interval can be given. As measured, ${shown}.`;
}

function caveats(study: OhaStudy): string[] {
  const suspects = study.cells.filter(({ correctionSuspect }) => correctionSuspect);
  const versions = [...new Set(study.cells.map((cell) => cell.versions))];
  const skipped = study.skipped.map(({ file, reason }) => `${file} (${reason})`);
  return [
    'One run per cell: the noise of the machine is not known, and a difference between two clients may be nothing else.',
    'Closed loop: each connection waits for its answer before it asks again, so mean latency and requests/s are one figure shown twice, and waiting that a slow server causes is not counted.',
    'The first request of every connection holds its connect time; with few requests per connection that is a large part of the samples.',
    ...(versions.length > 0
      ? [`Written by oha ${list(versions, 8)}, as far as the shape of the files tells.`]
      : []),
    ...(suspects.length > 0
      ? [
          `${count(suspects.length, 'file')} may come from oha 1.6.0–1.13.0, where --latency-correction was inverted when -n and -q were used together.`,
        ]
      : []),
    ...study.notes,
    ...[...new Set(study.cells.flatMap(({ notes }) => notes))].slice(0, 12),
    ...(skipped.length > 0 ? [`Not read: ${list(skipped, 6)}.`] : []),
  ];
}

/**
 * Writes `report.html`, `report.md` and `charts/` of an imported oha study below `outDir`.
 * @throws OnehopError ARGUMENT_INVALID when the directory cannot be written
 */
export function writeOhaReport(study: OhaStudy, outDir: string): OhaReportFiles {
  makeDirectory(outDir);
  const kinds = [...study.requestCounts]
    .sort((a, b) => b - a)
    .flatMap((requests) => (['latency', 'rps'] as const).map((what) => ({ requests, what })));
  const draw = ({ requests, what }: (typeof kinds)[number], input: ChartInput) =>
    plot(study, requests, what, input);
  const drawn = kinds.map((kind) => draw(kind, { palette: LIGHT, width: WIDE }));
  const charts = writeCharts(drawn, outDir);
  const sentence = ohaSentence(study);
  const cells = table(study);
  const items = caveats(study).map((one) => `<li>${escapeXml(one)}</li>`);
  const figures = kinds.map((kind) =>
    figureHtml((width) => draw(kind, { palette: VARIABLES, width })),
  );
  const html = pageHtml(
    'An oha study, drawn again',
    `<h1>An oha study, drawn again · n ${study.requestCounts.map(tick).join(', ')} · c ${study.connectionCounts.map(tick).join(', ')}</h1><span class="tone tone-undecided">No verdict</span><p class="verdict">${escapeXml(sentence)}</p>`,
    `<section><h2>Caveats</h2><ul>${items.join('')}</ul></section><section><h2>The study’s plots</h2>${figures.join('\n')}</section><section><h2>${cells.title}</h2><p class="note">${escapeXml(cells.note)}</p>${tableHtml(cells, true)}</section>`,
    study,
  );
  const pictures = drawn
    .filter(({ absent }) => absent === null)
    .map(({ id, title, note }) => `### ${title}\n\n${note}\n\n![${title}](charts/${id}.svg)`);
  const markdown = [
    '# An oha study, drawn again',
    `**${sentence}**`,
    `## Caveats\n\n${caveats(study)
      .map((one) => `- ${one}`)
      .join('\n')}`,
    ...pictures,
    `## ${cells.title}\n\n${cells.note}\n\n${tableMarkdown(cells)}`,
  ];
  const files = { html: join(outDir, 'report.html'), markdown: join(outDir, 'report.md'), charts };
  writeFileAtomically(files.markdown, `${markdown.join('\n\n')}\n`);
  writeFileAtomically(files.html, html);
  return files;
}
