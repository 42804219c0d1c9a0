/**
 * Validity gates: what must hold before anything is concluded. A breach that concerns the rig takes
 * every verdict away; one that concerns an entry takes that entry out of the ranking.
 */
import type { Cell, Measurement } from '../results/index.ts';
import { decide, estimateRatio, ROUNDS_MIN } from './compare.ts';
import { mean, median, trend } from './describe.ts';
import { CPU, errorsOf, type Figures, headlineCell, type Metric, RPS } from './figures.ts';

export const LITTLE_TOLERANCE = 0.05;
/** Requests per connection from which on a run counts as steady. */
export const LITTLE_TURNS_MIN = 20;
/** A run that is over sooner is made of its first and last turns, however many there were. */
export const LITTLE_MS_MIN = 50;
export const GENERATOR_MAX = 0.8;
export const CEILING_MIN = 3;
export const DRIFT_MAX = 0.1;
export const LAG_SHARE_MAX = 0.1;
export const LAG_FREE_MS = 1;
/** Housekeeping of a machine stays well below; a neighbour that works does not. */
export const OTHERS_MAX = 0.1;

export interface Gate {
  id: string;
  title: string;
  /** `limited` marks a part of the figures as not to be trusted; `absent` says that the study has nothing to judge by. */
  verdict: 'pass' | 'breach' | 'limited' | 'absent';
  scope: 'rig' | 'entry';
  /** The figure that was judged, for example `worst 1.8 % (fetch, n2000-c50)`. */
  figure: string;
  limit: string;
  /** Entries that breach a gate of their own (or are known to), each with its reason. */
  entries: Map<string, string>;
}

const percent = (share: number, digits = 1) => `${(share * 100).toFixed(digits)} %`;

type GateBase = Pick<Gate, 'id' | 'title' | 'limit'>;

const gate = (
  base: GateBase,
  scope: Gate['scope'],
  verdict: Gate['verdict'],
  figure: string,
  entries = new Map<string, string>(),
): Gate => ({ ...base, scope, verdict, figure, entries });

interface Group {
  cell: Cell;
  entry: string;
  runs: Measurement[];
}

/** Every entry in every cell; controls only when asked for. */
function groups(figures: Figures, withControls: boolean): Group[] {
  return figures.results.cells.flatMap((cell) =>
    figures.results.entries
      .filter(({ role }) => withControls || role === 'contestant' || role === 'twin')
      .map(({ id }) => ({ cell, entry: id, runs: figures.runs(cell.id, id) }))
      .filter(({ runs }) => runs.length > 0),
  );
}

/** The group whose median over rounds is worst; null when there is none. */
function worstGroup(all: readonly Group[], of: (run: Measurement) => number) {
  let worst: { value: number; at: string } | null = null;
  for (const { cell, entry, runs } of all) {
    const value = median(runs.map(of));
    if (worst === null || value > worst.value) worst = { value, at: `${entry}, ${cell.id}` };
  }
  return worst;
}

/** A short run is all ramp and tail, in which not every connection is busy. */
function isSteady(run: Measurement, cell: Cell): boolean {
  if (run.durationMs < LITTLE_MS_MIN) return false;
  return run.completed >= LITTLE_TURNS_MIN * cell.connections;
}

function littleGate(figures: Figures): Gate {
  const base = {
    id: 'little',
    title: "Little's law",
    limit: `within ${percent(LITTLE_TOLERANCE, 0)}`,
  };
  const closed = groups(figures, true)
    .filter(({ cell }) => cell.kind === 'closed')
    .map((group) => ({ ...group, runs: group.runs.filter((run) => isSteady(run, group.cell)) }))
    .filter(({ runs }) => runs.length > 0);
  const worst = worstGroup(closed, (run) => Math.abs(run.generator.littlesLawRatio - 1));
  if (worst === null) return gate(base, 'rig', 'absent', 'no closed loop ran long enough');
  const verdict = worst.value <= LITTLE_TOLERANCE ? 'pass' : 'breach';
  return gate(base, 'rig', verdict, `worst ${percent(worst.value)} (${worst.at})`);
}

/** Other tools tell nothing of their own effort and connections, and do not look at bodies. */
const isForeign = ({ results }: Figures): boolean =>
  /^(oha|wrk|h2load)\b/.test(results.rig.generator);
const FOREIGN = 'the load generator of this study does not tell';

function generatorGate(figures: Figures): Gate {
  const base = {
    id: 'generator',
    title: 'Generator below its ceiling',
    limit: `below ${percent(GENERATOR_MAX, 0)} of its core`,
  };
  if (isForeign(figures)) return gate(base, 'rig', 'absent', FOREIGN);
  // The direct control is meant to drive the generator to its ceiling.
  const worst = worstGroup(groups(figures, false), (run) => run.generator.cpuUtilisation);
  if (worst === null) return gate(base, 'rig', 'absent', 'nothing was measured');
  const verdict = worst.value < GENERATOR_MAX ? 'pass' : 'breach';
  return gate(base, 'rig', verdict, `highest ${percent(worst.value, 0)} (${worst.at})`);
}

/** Latency counts from the intended instant, so lateness of the generator makes it look worse. */
function lagGate(figures: Figures): Gate {
  const base = {
    id: 'schedule-lag',
    title: 'Open loop on schedule',
    limit: `lag p99 below ${LAG_FREE_MS} ms or ${percent(LAG_SHARE_MAX, 0)} of p50`,
  };
  const open = groups(figures, false).filter(({ cell }) => cell.kind === 'open');
  const allowed = (run: Measurement) => Math.max(LAG_FREE_MS, LAG_SHARE_MAX * run.latencyMs.p50);
  const lag = (run: Measurement) => run.generator.scheduleLagP99Ms ?? 0;
  const worst = open
    .map(({ cell, entry, runs }) => ({
      value: median(runs.map((run) => lag(run) / allowed(run))),
      lagMs: median(runs.map(lag)),
      p50Ms: median(runs.map((run) => run.latencyMs.p50)),
      at: `${entry}, ${cell.id}`,
    }))
    .sort((a, b) => b.value - a.value)[0];
  if (worst === undefined) return gate(base, 'rig', 'absent', 'no open loop was run');
  const verdict = worst.value < 1 ? 'pass' : 'limited';
  const figure = `lag p99 ${worst.lagMs.toFixed(2)} ms at p50 ${worst.p50Ms.toFixed(2)} ms (${worst.at})`;
  return gate(base, 'rig', verdict, figure);
}

function ceilingGate(figures: Figures): Gate {
  const base = {
    id: 'ceiling',
    title: 'Direct ceiling above the best client',
    limit: `at least ${CEILING_MIN}×`,
  };
  const cell = headlineCell(figures.results);
  const direct = figures.results.entries.find(({ role }) => role === 'direct');
  if (cell === null || direct === undefined) {
    return gate(base, 'rig', 'limited', 'the direct control was not measured');
  }
  const rate = (entry: string) =>
    median([...figures.byRound(cell.id, entry, RPS.of).values()].map((value) => value));
  const best = Math.max(
    ...figures
      .contestants()
      .map(({ id }) => rate(id))
      .filter((value) => value > 0),
  );
  const ratio = rate(direct.id) / best;
  if (!Number.isFinite(ratio)) {
    return gate(base, 'rig', 'limited', `the direct control was not measured in ${cell.id}`);
  }
  const verdict = ratio >= CEILING_MIN ? 'pass' : 'limited';
  return gate(base, 'rig', verdict, `${ratio.toFixed(1)}× in ${cell.id}`);
}

/** Collects the first reason per entry; the figure counts the entries. */
function entryGate(
  base: GateBase,
  all: readonly Group[],
  reasonOf: (run: Measurement, cell: Cell) => string | null,
  fine: string,
): Gate {
  const entries = new Map<string, string>();
  for (const { cell, entry, runs } of all) {
    for (const run of runs) {
      const reason = reasonOf(run, cell);
      if (reason !== null && !entries.has(entry)) {
        entries.set(entry, `${reason} in ${cell.id}, round ${run.round}`);
      }
    }
  }
  if (all.length === 0) return gate(base, 'entry', 'absent', 'nothing was measured');
  if (entries.size === 0) return gate(base, 'entry', 'pass', fine);
  const [first, reason] = [...entries][0]!;
  const more = entries.size > 1 ? ` and ${entries.size - 1} more` : '';
  return gate(base, 'entry', 'breach', `${first}: ${reason}${more}`, entries);
}

function answersGate(figures: Figures): Gate {
  const base = { id: 'answers', title: 'All answers valid and 2xx', limit: 'no failure' };
  const reasonOf = (run: Measurement, cell: Cell) => {
    const wrong = errorsOf(run);
    if (wrong > 0) return `${wrong} of ${run.completed} answers failed`;
    const others = Object.keys(run.statusCounts).filter((status) => !/^2\d\d$/.test(status));
    if (others.length > 0) return `status ${others.join(', ')}`;
    const short = cell.kind === 'closed' && cell.durationMsMax === null && cell.requests !== null;
    if (short && run.completed < cell.requests!) {
      return `only ${run.completed} of ${cell.requests} requests completed`;
    }
    return run.completed === 0 ? 'no request completed' : null;
  };
  const total = figures.results.measurements.reduce((all, run) => all + run.completed, 0);
  const bodies = isForeign(figures) ? ' by status only, not by body' : '';
  const fine = `${total.toLocaleString('en')} answers checked${bodies}`;
  return entryGate(base, groups(figures, true), reasonOf, fine);
}

function connectionsGate(figures: Figures): Gate {
  const base = { id: 'connections', title: 'All connections established', limit: 'all' };
  if (isForeign(figures)) return gate(base, 'entry', 'absent', FOREIGN);
  const closed = groups(figures, true).filter(({ cell }) => cell.kind === 'closed');
  const reasonOf = (run: Measurement, cell: Cell) => {
    const wanted = Math.min(cell.connections, cell.requests ?? cell.connections);
    const got = run.generator.connectionsEstablished;
    return got < wanted ? `${got} of ${wanted} connections` : null;
  };
  return entryGate(base, closed, reasonOf, 'in every run');
}

/**
 * The pool as the upstream saw it. The bound from above holds in every cell. The bound from below can
 * only be seen where the upstream is slow enough for all connections to be in use at once.
 */
function poolGate(figures: Figures): Gate {
  const max = figures.results.settings.connectionsMax;
  const base = { id: 'pools', title: 'Equal pools, as observed', limit: `at most ${max}` };
  const all = groups(figures, false);
  const reasonOf = (run: Measurement, cell: Cell) => {
    const peak = run.upstream.concurrencyPeak;
    if (peak > max) return `${peak} requests at once at the upstream, ${max} allowed`;
    const wanted = Math.min(cell.connections, max);
    // An API that is busy with its own work cannot keep all connections waiting at the upstream.
    const busyMs = ((run.api?.cpuPerRequestUs ?? 0) * wanted) / 1000;
    const slow =
      cell.kind === 'closed' && cell.upstreamLatencyMs >= 50 && busyMs * 2 < cell.upstreamLatencyMs;
    if (slow && peak < 0.9 * wanted) return `only ${peak} of ${wanted} at once at the upstream`;
    return null;
  };
  const peaks = all.flatMap(({ runs }) => runs.map((run) => run.upstream.concurrencyPeak));
  const highest = peaks.reduce((a, b) => Math.max(a, b), 0);
  const seen = figures.results.cells.some(
    ({ kind, upstreamLatencyMs }) => kind === 'closed' && upstreamLatencyMs >= 50,
  );
  const below = seen ? '' : '; no slow-upstream cell to see smaller pools by';
  return entryGate(base, all, reasonOf, `highest peak ${highest}${below}`);
}

function twinGate(figures: Figures): Gate {
  const { settings } = figures.results;
  const base = {
    id: 'twin',
    title: 'A/A twin the same',
    limit: `not different beyond ±${percent(settings.equivalenceMin, 0)}`,
  };
  const twin = figures.twin();
  const cell = headlineCell(figures.results);
  if (twin === null || twin.twinOf === null || cell === null) {
    return gate(base, 'rig', 'absent', 'no twin was entered, the rig has no noise floor');
  }
  const options = {
    resamples: settings.bootstrapResamples,
    confidence: settings.confidence,
    seed: settings.seed,
  };
  const estimate = estimateRatio(
    figures.byRound(cell.id, twin.id, CPU.of),
    figures.byRound(cell.id, twin.twinOf, CPU.of),
    options,
  );
  const { interval, ratio, rounds } = estimate;
  if (interval === null || rounds < ROUNDS_MIN) {
    return gate(base, 'rig', 'absent', `too few rounds of the twin: ${rounds}`);
  }
  const span = `${ratio.toFixed(3)}× (${interval.low.toFixed(3)}–${interval.high.toFixed(3)})`;
  const band = Math.log(1 + settings.equivalenceMin);
  const { outcome } = decide(estimate, estimate.pValue, band, true, settings.confidence);
  const different = outcome === 'better' || outcome === 'worse';
  return gate(base, 'rig', different ? 'breach' : 'pass', `CPU ${span} in ${cell.id}`);
}

/** Per-round means of what is left of each figure after its entry's and cell's own mean. */
function residualsByRound(figures: Figures, of: Metric['of']): number[] {
  const rounds = new Map<number, number[]>();
  for (const { cell, entry } of groups(figures, true)) {
    const byRound = [...figures.byRound(cell.id, entry, of)];
    // What ran once or twice is its own mean and would only hide a trend.
    if (byRound.length < 3) continue;
    const centre = mean(byRound.map(([, value]) => Math.log(value)));
    for (const [round, value] of byRound) {
      const list = rounds.get(round) ?? [];
      list.push(Math.log(value) - centre);
      rounds.set(round, list);
    }
  }
  return [...rounds].sort(([a], [b]) => a - b).map(([, residuals]) => mean(residuals));
}

/** Whether a series of logarithms rises or falls by more than the limit and more than by chance. */
function driftOf(series: readonly number[], pOf: (pValue: number) => number = (p) => p) {
  const { change, rho, pValue } = trend(series);
  const share = Math.exp(change) - 1;
  return { share, rho, drifts: Math.abs(share) > DRIFT_MAX && pOf(pValue) < 0.05 };
}

/**
 * Drift of the machine and of any ratio breaches: rounds that are paired cancel the first out of
 * ratios, but a study whose microseconds change on the way is no steady measurement.
 */
function driftGate(figures: Figures): Gate {
  const base = {
    id: 'drift',
    title: 'No drift over the run',
    limit: `below ${percent(DRIFT_MAX, 0)} from first to last round`,
  };
  const series = residualsByRound(figures, CPU.of);
  if (series.length < 3) return gate(base, 'rig', 'absent', 'too few rounds to see a trend');
  const machine = driftOf(series);
  const worst = worstRatioDrift(figures);
  const signed = (share: number) => `${share >= 0 ? '+' : '−'}${percent(Math.abs(share))}`;
  const ratio = worst === null ? '' : `; ${signed(worst.share)} to the others (${worst.entry})`;
  const figure = `CPU ${signed(machine.share)}, Spearman ρ ${machine.rho.toFixed(2)}${ratio}`;
  return gate(base, 'rig', machine.drifts || worst !== null ? 'breach' : 'pass', figure);
}

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));

/** The entry of the headline cell that drifts most against those that ran in all rounds; null: none. */
function worstRatioDrift(figures: Figures) {
  const cell = headlineCell(figures.results);
  if (cell === null) return null;
  const all = groups(figures, false)
    .filter((group) => group.cell.id === cell.id)
    .map(({ entry }) => ({ entry, byRound: figures.byRound(cell.id, entry, CPU.of) }));
  const rounds = [...new Set(all.flatMap(({ byRound }) => [...byRound.keys()]))].sort(
    (a, b) => a - b,
  );
  const whole = all.filter(({ byRound }) => byRound.size === rounds.length);
  if (rounds.length < 3 || whole.length < 2) return null;
  const centres = rounds.map((round) =>
    mean(whole.map(({ byRound }) => Math.log(byRound.get(round)!))),
  );
  // Of n rounds in random order, two of n! rise or fall throughout: with so many entries that few
  // rounds show no drift of one.
  const least = 2 / factorial(rounds.length);
  const found = whole.map(({ entry, byRound }) => {
    const series = rounds.map((round, index) => Math.log(byRound.get(round)!) - centres[index]!);
    return { entry, ...driftOf(series, (p) => Math.max(p, least) * whole.length) };
  });
  found.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
  return found.find(({ drifts }) => drifts) ?? null;
}

/** Other processes take caches and turns; pieces by turns share that out, but cannot undo it. */
function othersGate(figures: Figures): Gate {
  const base = {
    id: 'others',
    title: 'Machine otherwise idle',
    limit: `below ${percent(OTHERS_MAX, 0)} of a core`,
  };
  const rounds = new Map<number, number>();
  for (const { round, otherCores } of figures.results.measurements) {
    if (otherCores !== undefined) rounds.set(round, otherCores);
  }
  if (rounds.size === 0) return gate(base, 'rig', 'absent', 'not watched');
  const cores = median([...rounds.values()]);
  const worst = Math.max(...rounds.values());
  const figure = `others used ${percent(cores, 0)} of a core (median round; worst ${percent(worst, 0)})`;
  return gate(base, 'rig', cores < OTHERS_MAX ? 'pass' : 'limited', figure);
}

function auditGate(figures: Figures): Gate {
  const base = { id: 'audit', title: 'Fairness audit', limit: 'no failed check' };
  const { audit } = figures.results;
  if (audit.length === 0) return gate(base, 'entry', 'absent', 'the audit was not run');
  const entries = new Map<string, string>();
  let surprise = false;
  for (const { entry, check, verdict, detail, known } of audit) {
    if (verdict !== 'fail') continue;
    surprise ||= known !== true;
    if (!entries.has(entry)) entries.set(entry, `${check}: ${detail}`);
  }
  if (entries.size === 0) return gate(base, 'entry', 'pass', `${audit.length} checks`);
  const names = [...entries.keys()].join(', ');
  // A client that is known to fail is left out of the ranking as well, but it is no news.
  const figure = surprise ? `${names} failed` : `${names} failed, as known`;
  return gate(base, 'entry', surprise ? 'breach' : 'limited', figure, entries);
}

/** All gates in the order they are printed. */
export function judgeGates(figures: Figures): Gate[] {
  return [
    twinGate(figures),
    driftGate(figures),
    othersGate(figures),
    littleGate(figures),
    generatorGate(figures),
    lagGate(figures),
    ceilingGate(figures),
    answersGate(figures),
    connectionsGate(figures),
    poolGate(figures),
    auditGate(figures),
  ];
}

/** 0 fine (a rig-limited run is fine but says so), 3 an entry breached its gate, 4 rig invalid. */
export function exitCodeOf(gates: readonly Gate[]): 0 | 3 | 4 {
  const breached = gates.filter(({ verdict }) => verdict === 'breach');
  if (breached.some(({ scope }) => scope === 'rig')) return 4;
  return breached.length > 0 ? 3 : 0;
}
