/** One results file turned into everything that the report says. Pure: same file, same answer. */
import type { Runtime } from '../contestants/types.ts';
import type { Cell, Measurement, StudyResults } from '../results/index.ts';
import { bootstrap, type Interval, type IntervalOptions } from './bootstrap.ts';
import {
  type ByRound,
  type Comparison,
  comparePairs,
  equivalenceBand,
  estimateRatio,
  type RatioEstimate,
  ROUNDS_MIN,
} from './compare.ts';
import { mean, median } from './describe.ts';
import { CPU, errorsOf, Figures, headlineCell, type Metric, RPS } from './figures.ts';
import { exitCodeOf, type Gate, judgeGates } from './gates.ts';
import { type Ranking, rank } from './ranking.ts';

const NO_RANKINGS = { cpu: { ranked: [], pairs: [] }, rps: { ranked: [], pairs: [] } };
const RUNTIMES: readonly Runtime[] = ['node', 'bun', 'python'];

/** Resamples in cells that no verdict is drawn from; there only the bands are shown. */
const RESAMPLES_ELSEWHERE = 2000;

export interface Estimate {
  /** Median over rounds. */
  value: number;
  interval: Interval | null;
}

export interface EntrySummary {
  entry: string;
  cell: string;
  rounds: number;
  rps: Estimate;
  cpuUs: Estimate | null;
  cpuUserUs: number | null;
  cpuSystemUs: number | null;
  p50Ms: Estimate;
  /** Null below 1,000 samples in a run. */
  p99Ms: Estimate | null;
  serviceP50Ms: number | null;
  serviceP99Ms: number | null;
  loopDelayP99Ms: number | null;
  loopDelayMaxMs: number | null;
  loopUtilisation: number | null;
  rssPeakBytes: number | null;
  connectionsPer1k: number;
  concurrencyPeak: number;
  errors: number;
  completed: number;
  dropped: number;
  /** Median over rounds at each of the 101 quantiles. */
  quantilesMs: number[];
}

export interface CellAnalysis {
  cell: Cell;
  summaries: Map<string, EntrySummary>;
  /** Half-width of the equivalence band on the log scale. */
  band: Record<Metric['id'], number>;
  twin: Record<Metric['id'], RatioEstimate | null>;
  /** Eligible entries against the best one of this cell; key is the entry. */
  best: Record<Metric['id'], string | null>;
  versusBest: Record<Metric['id'], Map<string, Comparison>>;
}

/** The clients of one runtime, compared among themselves only: a family of pairs of their own. */
export interface League {
  runtime: Runtime;
  ranking: Record<Metric['id'], Ranking>;
}

export interface StudyAnalysis {
  results: StudyResults;
  figures: Figures;
  options: IntervalOptions;
  gates: Gate[];
  rigInvalid: boolean;
  rigLimited: boolean;
  exitCode: 0 | 3 | 4;
  /** Contestants that are not ranked, with the reason. */
  excluded: Map<string, string>;
  /** Contestants with too few rounds in the headline cell to be placed among those with enough. */
  sparse: Map<string, number>;
  headline: CellAnalysis | null;
  /** All pairs of the headline cell. */
  ranking: Record<Metric['id'], Ranking> | null;
  /** The same within each runtime that has clients to rank: there only the client differs. */
  leagues: League[];
  cells: CellAnalysis[];
}

const values = (byRound: ByRound) => [...byRound.values()];

function estimate(runs: readonly number[], options: IntervalOptions): Estimate {
  return { value: median(runs), interval: bootstrap(runs, 'median', options) };
}

function medianOrNull(runs: readonly Measurement[], of: (run: Measurement) => number | null) {
  const found = runs.map(of).filter((value) => value !== null);
  return found.length === 0 ? null : median(found);
}

const perRequest = (total: number | undefined, run: Measurement) =>
  total === undefined || run.completed === 0 ? null : total / run.completed;

function summarise(
  figures: Figures,
  runs: readonly Measurement[],
  options: IntervalOptions,
  detailed: boolean,
): EntrySummary {
  const { entry, cell } = runs[0]!;
  const p99 = runs.map((run) => run.latencyMs.p99).filter((value) => value !== null);
  const cpu = runs.map((run) => figures.cpuUs(run)).filter((value) => value !== null);
  const requests = runs.reduce((total, run) => total + run.upstream.requests, 0);
  const opened = runs.reduce((total, run) => total + run.upstream.connectionsOpened, 0);
  const spectrum = runs.filter((run) => run.quantilesMs.length === 101);
  const quick = (list: readonly number[]): Estimate =>
    detailed ? estimate(list, options) : { value: median(list), interval: null };
  return {
    entry,
    cell,
    rounds: runs.length,
    rps: estimate(
      runs.map((run) => run.requestsPerS),
      options,
    ),
    cpuUs: cpu.length === 0 ? null : quick(cpu),
    cpuUserUs: medianOrNull(runs, (run) => perRequest(run.api?.cpuUserUs, run)),
    cpuSystemUs: medianOrNull(runs, (run) => perRequest(run.api?.cpuSystemUs, run)),
    p50Ms: quick(runs.map((run) => run.latencyMs.p50)),
    p99Ms: p99.length === 0 ? null : quick(p99),
    serviceP50Ms: medianOrNull(runs, (run) => run.serviceMs?.p50 ?? null),
    serviceP99Ms: medianOrNull(runs, (run) => run.serviceMs?.p99 ?? null),
    loopDelayP99Ms: medianOrNull(runs, (run) => run.api?.loopDelayP99Ms ?? null),
    loopDelayMaxMs: medianOrNull(runs, (run) => run.api?.loopDelayMaxMs ?? null),
    loopUtilisation: medianOrNull(runs, (run) => run.api?.loopUtilisation ?? null),
    rssPeakBytes: medianOrNull(runs, (run) => run.api?.rssPeakBytes ?? null),
    connectionsPer1k: requests === 0 ? 0 : (opened / requests) * 1000,
    concurrencyPeak: runs.reduce((peak, run) => Math.max(peak, run.upstream.concurrencyPeak), 0),
    errors: runs.reduce((total, run) => total + errorsOf(run), 0),
    completed: runs.reduce((total, run) => total + run.completed, 0),
    dropped: runs.reduce((total, run) => total + run.dropped, 0),
    quantilesMs: Array.from({ length: spectrum.length === 0 ? 0 : 101 }, (_, i) =>
      median(spectrum.map((run) => run.quantilesMs[i]!)),
    ),
  };
}

function figuresOf(
  figures: Figures,
  cell: Cell,
  metric: Metric,
  eligible: readonly string[],
): Map<string, ByRound> {
  const found = eligible.map((id) => [id, figures.byRound(cell.id, id, metric.of)] as const);
  return new Map(found.filter(([, byRound]) => byRound.size > 0));
}

function analyseCell(
  figures: Figures,
  cell: Cell,
  eligible: readonly string[],
  options: IntervalOptions,
  detailed: boolean,
): CellAnalysis {
  const summaries = new Map<string, EntrySummary>();
  for (const { id } of figures.results.entries) {
    const runs = figures.runs(cell.id, id);
    if (runs.length > 0) summaries.set(id, summarise(figures, runs, options, detailed));
  }
  const twin = figures.twin();
  const found: CellAnalysis = {
    cell,
    summaries,
    band: { cpu: 0, rps: 0 },
    twin: { cpu: null, rps: null },
    best: { cpu: null, rps: null },
    versusBest: { cpu: new Map(), rps: new Map() },
  };
  for (const metric of [CPU, RPS]) {
    if (twin?.twinOf != null) {
      const ratio = estimateRatio(
        figures.byRound(cell.id, twin.id, metric.of),
        figures.byRound(cell.id, twin.twinOf, metric.of),
        options,
      );
      found.twin[metric.id] = ratio.rounds > 0 ? ratio : null;
    }
    const band = equivalenceBand(found.twin[metric.id], figures.results.settings.equivalenceMin);
    found.band[metric.id] = band;
    const byEntry = figuresOf(figures, cell, metric, eligible);
    const order = [...byEntry]
      .map(([id, byRound]) => ({ id, centre: mean(values(byRound).map(Math.log)) }))
      .sort((a, b) => (metric.lowerIsBetter ? a.centre - b.centre : b.centre - a.centre));
    // Who ran in few rounds is no yardstick for those who ran in many.
    const firm = order.find(({ id }) => byEntry.get(id)!.size >= ROUNDS_MIN);
    const best = (firm ?? order[0])?.id ?? null;
    found.best[metric.id] = best;
    if (best === null) continue;
    const pairs = order.flatMap(({ id }) => (id === best ? [] : [[id, best] as const]));
    for (const pair of comparePairs(pairs, byEntry, band, metric.lowerIsBetter, options)) {
      found.versusBest[metric.id].set(pair.a, pair);
    }
  }
  return found;
}

/** Contestants that breach a gate of their own. */
function exclusions(figures: Figures, gates: readonly Gate[]): Map<string, string> {
  const contestants = new Set(figures.contestants().map(({ id }) => id));
  const excluded = new Map<string, string>();
  for (const { scope, verdict, entries } of gates) {
    if (scope !== 'entry' || verdict === 'pass') continue;
    for (const [entry, reason] of entries) {
      if (contestants.has(entry) && !excluded.has(entry)) excluded.set(entry, reason);
    }
  }
  return excluded;
}

/** Entries below the least number of rounds, unless hardly anyone has more. */
function sparseEntries(headline: CellAnalysis, eligible: readonly string[]): Map<string, number> {
  const rounds = eligible.flatMap((id) => {
    const summary = headline.summaries.get(id);
    return summary === undefined ? [] : [[id, summary.rounds] as const];
  });
  const enough = rounds.filter(([, count]) => count >= ROUNDS_MIN).length;
  return new Map(enough < 2 ? [] : rounds.filter(([, count]) => count < ROUNDS_MIN));
}

/** Judges and compares everything in one results file. */
export function analyseStudy(results: StudyResults): StudyAnalysis {
  const figures = new Figures(results);
  const { bootstrapResamples, confidence, seed } = results.settings;
  const options = { resamples: bootstrapResamples, confidence, seed };
  const quick = { ...options, resamples: Math.min(bootstrapResamples, RESAMPLES_ELSEWHERE) };
  const gates = judgeGates(figures);
  const excluded = exclusions(figures, gates);
  const eligible = figures
    .contestants()
    .map(({ id }) => id)
    .filter((id) => !excluded.has(id));
  const headlineId = headlineCell(results)?.id ?? null;
  const cells = results.cells
    .filter(({ id }) => results.measurements.some(({ cell }) => cell === id))
    .map((cell) => {
      const detailed = cell.id === headlineId;
      return analyseCell(figures, cell, eligible, detailed ? options : quick, detailed);
    });
  const headline = cells.find(({ cell }) => cell.id === headlineId) ?? null;
  const sparse = headline === null ? new Map<string, number>() : sparseEntries(headline, eligible);
  const placed = eligible.filter((id) => !sparse.has(id));
  const rankOf = (metric: Metric, ids: readonly string[]) =>
    rank(
      figuresOf(figures, headline!.cell, metric, ids),
      headline!.band[metric.id],
      metric.lowerIsBetter,
      options,
    );
  const rankings = (ids: readonly string[]) => ({ cpu: rankOf(CPU, ids), rps: rankOf(RPS, ids) });
  const leagues = RUNTIMES.map((runtime): League => {
    const own = placed.filter((id) => figures.entry(id).runtime === runtime);
    return { runtime, ranking: headline === null ? NO_RANKINGS : rankings(own) };
  });
  return {
    results,
    figures,
    options,
    gates,
    rigInvalid: gates.some(({ scope, verdict }) => scope === 'rig' && verdict === 'breach'),
    rigLimited: gates.some(({ id, verdict }) => id === 'ceiling' && verdict === 'limited'),
    exitCode: exitCodeOf(gates),
    excluded,
    sparse,
    headline,
    ranking: headline === null ? null : rankings(placed),
    leagues: leagues.filter(({ ranking }) => ranking.cpu.ranked.length > 0),
    cells,
  };
}
