/** Tables as data: page, terminal and Markdown draw the same ones. */
import type { Comparison, EntrySummary, Ranked, StudyAnalysis } from '../stats/index.ts';
import { count, mebibytes, number, percent, ratio, ratioSpan, span } from './format.ts';

export interface Column {
  title: string;
  /** Shown under the title, for example a unit. */
  unit?: string;
  numeric: boolean;
  /** Terminal and Markdown show the detail behind the text. */
  inline?: boolean;
  /** Narrow terminals drop the columns with the highest numbers first. */
  priority: number;
}

export interface TableCell {
  text: string;
  /** Sorts by this instead of the text. */
  sort?: number;
  /** Second line in small print: an interval. */
  detail?: string;
  tone?: 'good' | 'bad' | 'soft';
}

export interface Table {
  id: string;
  title: string;
  note: string;
  columns: Column[];
  rows: TableCell[][];
}

const column = (title: string, priority: number, unit?: string, numeric = true): Column => ({
  title,
  numeric,
  priority,
  ...(unit === undefined ? {} : { unit }),
});

const figure = (value: number | null | undefined, format = number): TableCell => ({
  text: format(value as number),
  sort: value ?? Number.POSITIVE_INFINITY,
});

/** Place of what is not ranked: after all that is. */
const UNRANKED = 1000;

/** The interval and, unless shown to be worse, the verdict. */
function ratioDetail({ interval, outcome }: Comparison): string {
  const parts = [interval === null ? '' : ratioSpan(interval), outcome === 'worse' ? '' : outcome];
  return parts.filter((part) => part !== '').join(', ');
}

function leagueRow(
  { entry, rank, group, versusBest }: Pick<Ranked, 'entry' | 'rank' | 'group' | 'versusBest'>,
  summary: EntrySummary,
  analysis: StudyAnalysis,
  excluded: string | undefined,
): TableCell[] {
  const { runtime, version } = analysis.figures.entry(entry);
  const { rps, cpuUs } = summary;
  const versus: TableCell =
    versusBest === null
      ? { text: rank < UNRANKED ? '1×' : '–', sort: rank < UNRANKED ? 1 : Number.POSITIVE_INFINITY }
      : {
          text: ratio(versusBest.ratio),
          sort: versusBest.ratio,
          detail: ratioDetail(versusBest),
        };
  const failed = analysis.results.audit.filter(
    (one) => one.entry === entry && one.verdict === 'fail',
  );
  return [
    {
      text: excluded === undefined ? group : '✗',
      sort: rank,
      tone: excluded === undefined ? undefined : 'bad',
    },
    {
      text: entry,
      detail: `${runtime} ${version}`,
      tone: excluded === undefined ? undefined : 'bad',
    },
    { ...figure(cpuUs?.value), detail: cpuUs?.interval ? span(cpuUs.interval) : undefined },
    versus,
    {
      text: `${number(summary.cpuUserUs)} / ${number(summary.cpuSystemUs)}`,
      sort: summary.cpuUserUs ?? 0,
    },
    { ...figure(rps.value), detail: rps.interval ? span(rps.interval) : undefined },
    {
      ...figure(summary.p50Ms.value),
      detail: summary.p50Ms.interval ? span(summary.p50Ms.interval) : undefined,
    },
    {
      ...figure(summary.p99Ms?.value),
      detail: summary.p99Ms?.interval ? span(summary.p99Ms.interval) : undefined,
    },
    figure(summary.loopDelayP99Ms),
    { text: mebibytes(summary.rssPeakBytes), sort: summary.rssPeakBytes ?? 0 },
    figure(summary.connectionsPer1k),
    figure(summary.concurrencyPeak),
    {
      text: number(summary.errors),
      sort: summary.errors,
      tone: summary.errors > 0 ? 'bad' : undefined,
    },
    failed.length > 0
      ? { text: `✗ ${failed.map(({ check }) => check).join(', ')}`, tone: 'bad' }
      : {
          text: analysis.results.audit.some((one) => one.entry === entry) ? 'pass' : '–',
          tone: 'soft',
        },
  ];
}

/** The ranking of the headline cell with everything that explains it; controls come last. */
export function leagueTable(analysis: StudyAnalysis): Table | null {
  const { headline, ranking, excluded, figures, options } = analysis;
  if (headline === null || ranking === null) return null;
  const several = analysis.leagues.length > 1;
  let before = 0;
  const rows = analysis.leagues.flatMap((league) => {
    const { ranked } = league.ranking.cpu;
    const places = ranked.map((one) => ({ ...one, rank: before + one.rank }));
    before += ranked.length;
    return places.map((one) =>
      leagueRow(one, headline.summaries.get(one.entry)!, analysis, undefined),
    );
  });
  const rest = figures.results.entries.filter(
    ({ id }) => headline.summaries.has(id) && !ranking.cpu.ranked.some(({ entry }) => entry === id),
  );
  for (const { id, role } of rest) {
    const place = {
      entry: id,
      rank: UNRANKED,
      group:
        role === 'contestant'
          ? analysis.sparse.has(id)
            ? count(analysis.sparse.get(id)!, 'round')
            : '–'
          : role === 'twin'
            ? 'twin'
            : 'control',
      versusBest: null,
    };
    rows.push(leagueRow(place, headline.summaries.get(id)!, analysis, excluded.get(id)));
  }
  return {
    id: 'league',
    title: `League table, ${headline.cell.id}`,
    note: `Medians over rounds with ${percent(options.confidence)} intervals in small print, ranked by CPU per request of the API process${several ? ', each runtime by itself: the groups and “vs best” are those of a runtime' : ''}. Clients of one group are not shown to differ; “?” marks an undecided place. “1 round” and the like: measured too rarely to be placed. ✗: not ranked, it failed a check.`,
    columns: [
      column('group', 1, undefined, false),
      column('client', 0, undefined, false),
      column('CPU/req', 0, 'µs'),
      { ...column('vs best', 1, 'CPU'), inline: true },
      column('user / sys', 5, 'µs'),
      column('requests/s', 1),
      column('p50', 2, 'ms'),
      column('p99', 2, 'ms'),
      column('loop delay', 4, 'p99, ms'),
      column('RSS peak', 6, 'MiB'),
      column('sockets', 5, 'per 1,000'),
      column('in flight', 7, 'peak'),
      column('errors', 3),
      column('audit', 4, undefined, false),
    ],
    rows,
  };
}

const MARKS = {
  pass: { text: 'holds', tone: 'good' },
  breach: { text: 'breached', tone: 'bad' },
  limited: { text: 'limited', tone: 'bad' },
  absent: { text: 'not judged', tone: 'soft' },
} as const;

/** Every validity gate with its figure. */
export function gatesTable(analysis: StudyAnalysis): Table {
  return {
    id: 'gates',
    title: 'Validity gates',
    note: 'A breach of the rig takes every verdict away; a breach of a client takes that client out of the ranking.',
    columns: [
      column('gate', 0, undefined, false),
      column('verdict', 0, undefined, false),
      column('figure', 0, undefined, false),
      column('asked', 1, undefined, false),
    ],
    rows: analysis.gates.map(({ title, verdict, figure: shown, limit }) => [
      { text: title },
      MARKS[verdict],
      { text: shown },
      { text: limit, tone: 'soft' },
    ]),
  };
}

/** Median requests/s, latency and CPU of every client in every cell. */
export function cellsTable(analysis: StudyAnalysis): Table {
  const rows = analysis.cells.flatMap(({ cell, summaries }) =>
    [...summaries.values()].map((summary): TableCell[] => [
      { text: cell.id },
      { text: summary.entry },
      figure(summary.rounds),
      {
        ...figure(summary.rps.value),
        detail: summary.rps.interval ? span(summary.rps.interval) : undefined,
      },
      figure(summary.p50Ms.value),
      figure(summary.p99Ms?.value),
      figure(summary.cpuUs?.value),
      figure(summary.errors),
    ]),
  );
  return {
    id: 'cells',
    title: 'Every cell',
    note: 'Medians over rounds.',
    columns: [
      column('cell', 0, undefined, false),
      column('client', 0, undefined, false),
      column('rounds', 4),
      column('requests/s', 1),
      column('p50', 2, 'ms'),
      column('p99', 2, 'ms'),
      column('CPU/req', 1, 'µs'),
      column('errors', 3),
    ],
    rows,
  };
}
