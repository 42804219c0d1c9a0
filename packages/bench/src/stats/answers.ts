/** The three questions that the original study leaves open, answered as far as the cells allow. */
import type { Cell, Entry } from '../results/index.ts';
import type { CellAnalysis, StudyAnalysis } from './analysis.ts';
import { type Comparison, comparePairs, estimateRatio, type RatioEstimate } from './compare.ts';
import { median } from './describe.ts';
import { CPU, RPS } from './figures.ts';

/** Below this an event loop counts as free, in ms at the 99th percentile. */
export const BLOCKING_MS = 10;

export interface Construction {
  contestant: string;
  shared: string;
  perRequest: string;
  sharedCpuUs: number;
  perRequestCpuUs: number;
  /** CPU per request of `per-request` over `shared`. */
  comparison: Comparison;
  /** Share of the per-request cost that building and closing the client makes, 0..1. */
  constructionShare: number;
}

/** What a client built for each request costs over a shared one, in the headline cell. */
export function constructionCosts(analysis: StudyAnalysis): Construction[] {
  const { headline, figures, options } = analysis;
  if (headline === null) return [];
  const entries = figures.contestants().filter(({ id }) => headline.summaries.get(id)?.cpuUs);
  const found: [Entry, Entry][] = entries
    .filter(({ reuse }) => reuse === 'per-request')
    .flatMap((built) => {
      const shared = entries.find(
        (other) =>
          other.reuse === 'shared' &&
          other.contestant === built.contestant &&
          other.runtime === built.runtime &&
          other.protocol === built.protocol,
      );
      return shared === undefined ? [] : [[built, shared] as [Entry, Entry]];
    });
  const byEntry = new Map(
    found.flat().map(({ id }) => [id, figures.byRound(headline.cell.id, id, CPU.of)] as const),
  );
  const pairs = found.map(([built, shared]) => [built.id, shared.id] as const);
  const compared = comparePairs(pairs, byEntry, headline.band.cpu, true, options);
  const costs = found.map(([built, shared], index) => ({
    contestant: shared.contestant,
    shared: shared.id,
    perRequest: built.id,
    sharedCpuUs: headline.summaries.get(shared.id)!.cpuUs!.value,
    perRequestCpuUs: headline.summaries.get(built.id)!.cpuUs!.value,
    comparison: compared[index]!,
    constructionShare: 1 - 1 / compared[index]!.ratio,
  }));
  // Without a common round there is nothing to compare.
  return costs.filter(({ comparison }) => comparison.rounds > 0);
}

export interface DifferenceShare {
  slow: string;
  fast: string;
  perRequestRatio: RatioEstimate;
  sharedRatio: RatioEstimate;
  /** Share of the log difference in per-request mode that a shared client does away with. */
  share: number;
}

/**
 * The study's own comparison, httpx against aiohttp, or else the dearest against the cheapest
 * client of one runtime that was measured in both modes.
 */
export function differenceByConstruction(analysis: StudyAnalysis): DifferenceShare | null {
  const costs = constructionCosts(analysis);
  const { figures, headline, options } = analysis;
  const named = (name: string) => costs.find(({ contestant }) => contestant === name);
  let [slow, fast] = [named('httpx'), named('aiohttp')];
  if (slow === undefined || fast === undefined) {
    const runtime = costs[0] === undefined ? null : figures.entry(costs[0].shared).runtime;
    const same = costs
      .filter(({ shared }) => figures.entry(shared).runtime === runtime)
      .sort((a, b) => a.perRequestCpuUs - b.perRequestCpuUs);
    [fast, slow] = [same[0], same.at(-1)];
  }
  if (headline === null || slow === undefined || fast === undefined || slow === fast) return null;
  const ratio = (a: string, b: string) =>
    estimateRatio(
      figures.byRound(headline.cell.id, a, CPU.of),
      figures.byRound(headline.cell.id, b, CPU.of),
      options,
    );
  const perRequestRatio = ratio(slow.perRequest, fast.perRequest);
  const sharedRatio = ratio(slow.shared, fast.shared);
  if (perRequestRatio.rounds === 0 || sharedRatio.rounds === 0) return null;
  const share = 1 - Math.log(sharedRatio.ratio) / Math.log(perRequestRatio.ratio);
  return { slow: slow.shared, fast: fast.shared, perRequestRatio, sharedRatio, share };
}

export interface Blocking {
  entry: string;
  protocol: Entry['protocol'];
  loopDelayP99Ms: number;
  loopDelayMaxMs: number | null;
  cpuUs: number | null;
  /**
   * `free`: short pauses. `busy`: pauses of the order that serving every connection once takes,
   * which is what a loaded loop does. `blocked`: one request alone, or far more than all of them,
   * holds it, while the other clients on the same rig are well below.
   */
  state: 'free' | 'busy' | 'blocked';
  rounds: number;
}

/** A process that waits for its core is late too, but then all of them are. */
const BLOCKED_OVER_OTHERS = 2;

function stateOf(
  delayMs: number,
  cpuUs: number | null,
  connections: number,
  othersMs: number,
): Blocking['state'] {
  if (delayMs <= BLOCKING_MS) return 'free';
  const requests = cpuUs === null || cpuUs === 0 ? Number.NaN : (delayMs * 1000) / cpuUs;
  if (requests < 2) return 'blocked';
  if (delayMs < BLOCKED_OVER_OTHERS * othersMs) return 'busy';
  return requests <= 3 * connections ? 'busy' : 'blocked';
}

/** Event-loop delay of every contestant in the headline cell, longest first. */
export function blockingByEntry(analysis: StudyAnalysis): Blocking[] {
  const { headline, figures } = analysis;
  if (headline === null) return [];
  const delayOf = (id: string) => headline.summaries.get(id)?.loopDelayP99Ms ?? null;
  const delays = figures.contestants().map(({ id }) => [id, delayOf(id)] as const);
  return figures
    .contestants()
    .flatMap(({ id, protocol }) => {
      const summary = headline.summaries.get(id);
      if (summary?.loopDelayP99Ms == null) return [];
      const { loopDelayP99Ms, loopDelayMaxMs, cpuUs, rounds } = summary;
      const cost = cpuUs?.value ?? null;
      const others = delays.flatMap(([other, ms]) => (other === id || ms === null ? [] : [ms]));
      const othersMs = others.length === 0 ? 0 : median(others);
      const state = stateOf(loopDelayP99Ms, cost, headline.cell.connections, othersMs);
      return [{ entry: id, protocol, loopDelayP99Ms, loopDelayMaxMs, cpuUs: cost, state, rounds }];
    })
    .sort((a, b) => b.loopDelayP99Ms - a.loopDelayP99Ms);
}

/** HTTP/2 entries beside their HTTP/1.1 counterpart: `httpx-h2` and `httpx`, `node-http2`, ... */
export function protocolPairs(analysis: StudyAnalysis): { h1: Blocking; h2: Blocking }[] {
  const all = blockingByEntry(analysis);
  const plain = (entry: string) => entry.replace(/-?h(?:ttp)?-?2(?=$|\.|@|-)/, '');
  return all
    .filter(({ protocol }) => protocol === 'h2c')
    .flatMap((h2) => {
      const h1 = all.find(
        ({ entry, protocol }) =>
          protocol === 'http/1.1' &&
          (entry === plain(h2.entry) || entry === h2.entry.replace('http2', 'http')),
      );
      return h1 === undefined ? [] : [{ h1, h2 }];
    });
}

export interface LatencyStep {
  cell: Cell;
  /** Shared-mode entries whose requests/s are shown to be worse than the best of this cell. */
  worse: string[];
  undecided: string[];
  compared: number;
  /** Best over worst requests/s among those compared. */
  spread: number;
  worst: string | null;
}

/**
 * Cells that differ only in upstream latency, lowest first: those in which at least two clients ran.
 * Empty unless there are two such cells.
 * Taken is the family of cells with equal connections that spans the most latencies.
 */
export function latencySteps(analysis: StudyAnalysis): LatencyStep[] {
  const families = new Map<number, CellAnalysis[]>();
  for (const found of analysis.cells.filter(({ cell }) => cell.kind === 'closed')) {
    const family = families.get(found.cell.connections) ?? [];
    const same = family.findIndex(
      ({ cell }) => cell.upstreamLatencyMs === found.cell.upstreamLatencyMs,
    );
    // Of two cells with the same latency the one with more requests speaks.
    if (same < 0) family.push(found);
    else if ((found.cell.requests ?? 0) > (family[same]!.cell.requests ?? 0)) family[same] = found;
    families.set(found.cell.connections, family);
  }
  const family = [...families.values()].sort((a, b) => b.length - a.length)[0] ?? [];
  if (family.length < 2) return [];
  const shared = new Set(
    analysis.figures
      .contestants()
      .filter(({ reuse }) => reuse === 'shared')
      .map(({ id }) => id),
  );
  const steps = family
    .sort((a, b) => a.cell.upstreamLatencyMs - b.cell.upstreamLatencyMs)
    .map((found) => latencyStep(found, shared, analysis))
    // One client alone has nobody to be compared with.
    .filter(({ compared }) => compared > 1);
  return steps.length < 2 ? [] : steps;
}

function latencyStep(
  found: CellAnalysis,
  shared: ReadonlySet<string>,
  analysis: StudyAnalysis,
): LatencyStep {
  const { cell } = found;
  const byEntry = new Map(
    [...shared]
      .filter((id) => !analysis.excluded.has(id))
      .map((id) => [id, analysis.figures.byRound(cell.id, id, RPS.of)] as const)
      .filter(([, byRound]) => byRound.size > 0),
  );
  const rateOf = (id: string) => found.summaries.get(id)!.rps.value;
  const order = [...byEntry.keys()].sort((a, b) => rateOf(b) - rateOf(a));
  const best = order[0];
  const pairs = order.slice(1).map((id) => [id, best!] as const);
  const quick = { ...analysis.options, resamples: Math.min(analysis.options.resamples, 2000) };
  const compared = comparePairs(pairs, byEntry, found.band.rps, false, quick);
  const worst = order.at(-1) ?? null;
  return {
    cell,
    worse: compared.filter(({ outcome }) => outcome === 'worse').map(({ a }) => a),
    undecided: compared.filter(({ outcome }) => outcome === 'undecided').map(({ a }) => a),
    compared: order.length,
    spread: worst === null ? 1 : rateOf(best!) / rateOf(worst),
    worst,
  };
}

export interface FrontierPoint {
  entry: string;
  limitMs: number;
  /** Highest median requests/s of any cell whose median p99 keeps the limit; null when none does. */
  rps: number | null;
  cell: string | null;
}

export const FRONTIER_LIMITS_MS = [1, 5, 10, 50, 100] as const;

/** Requests/s reached at p99 within each limit, over all cells without added upstream latency. */
export function frontier(analysis: StudyAnalysis): FrontierPoint[] {
  const cells = analysis.cells.filter(({ cell }) => cell.upstreamLatencyMs === 0);
  return analysis.figures.contestants().flatMap(({ id }) =>
    FRONTIER_LIMITS_MS.map((limitMs) => {
      let point: FrontierPoint = { entry: id, limitMs, rps: null, cell: null };
      for (const { cell, summaries } of cells) {
        const summary = summaries.get(id);
        const kept = summary?.p99Ms != null && summary.p99Ms.value <= limitMs;
        if (kept && summary.rps.value > (point.rps ?? 0)) {
          point = { entry: id, limitMs, rps: summary.rps.value, cell: cell.id };
        }
      }
      return point;
    }),
  );
}
