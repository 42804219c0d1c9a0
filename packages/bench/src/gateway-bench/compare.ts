/**
 * Two revisions of ours over the rounds in which both were right: per-round ratios, the interval of
 * their median and what it says about the bar. The two windows of a ratio lie next to each other in
 * time, in an order that is reversed from round to round, and each round has processes of its own, so
 * that rounds are independent and a process that was compiled badly counts once.
 */
import { geometricMean, medianRanks, ROUNDS_MIN } from '../stats/index.ts';
import { Book, spreadOf } from './judge.ts';
import { counterpartOf } from './peers.ts';
import type { AgainstBars, Cell, Figure, Group, RevisionRatio, Sample } from './types.ts';

/** The geometric mean of the ratios of each round that all of them have. */
export function pooled(all: readonly ReadonlyMap<number, number>[]): Map<number, number> {
  const [first, ...others] = all;
  const found = new Map<number, number>();
  for (const round of first?.keys() ?? []) {
    if (others.some((one) => !one.has(round))) continue;
    found.set(round, geometricMean(all.map((one) => one.get(round)!)));
  }
  return found;
}

type Judged = Pick<RevisionRatio, 'ratios' | 'found' | 'interval' | 'verdict' | 'reason'>;

/**
 * What the rounds say about `most`. Met: the whole interval of the median lies at or below it. Missed:
 * all of it lies above. Else undecided, whatever the median.
 * @param most null: nothing is judged
 * @param run how many rounds there were, right or not
 */
export function judgeRatios(
  byRound: ReadonlyMap<number, number>,
  most: number | null,
  run: number,
): Judged {
  const ratios = [...byRound].map(([round, ratio]) => ({ round, ratio }));
  const sorted = [...byRound.values()].sort((a, b) => a - b);
  const found = spreadOf(sorted);
  const { below, confidence } = medianRanks(sorted.length);
  const enough = sorted.length >= ROUNDS_MIN;
  const interval = enough
    ? { low: sorted[below]!, high: sorted[sorted.length - 1 - below]!, confidence }
    : null;
  const judged = { ratios, found, interval, reason: null };
  if (most === null) return { ...judged, verdict: 'reported' };
  const wrong = run - sorted.length;
  if (sorted.length * 2 <= run) {
    const reason = `in ${wrong} of ${run} rounds one of the two was not right`;
    return { ...judged, verdict: 'undecided', reason };
  }
  if (interval === null) {
    const reason = `rounds: ${sorted.length}; ${ROUNDS_MIN} are the least`;
    return { ...judged, verdict: 'undecided', reason };
  }
  if (interval.high <= most) return { ...judged, verdict: 'met' };
  if (interval.low > most) return { ...judged, verdict: 'missed' };
  return { ...judged, verdict: 'undecided', reason: `the interval holds ${most}` };
}

/** What is compared of each kind of load; the first is judged where it is CPU. */
function figuresOf({ kind }: Cell): Figure[] {
  if (kind === 'idle') return ['rssMB'];
  // The rate of an open loop is given.
  return kind === 'open' ? ['cpu', 'p99'] : ['cpu', 'requestsPerS'];
}

/** Loads whose noise evens out when they are taken together: those of the same bars and direction. */
function familiesOf({ cells }: Group): Cell[][] {
  const families = new Map<string, Cell[]>();
  for (const cell of cells) {
    const key = `${cell.bars.join()} ${cell.bodyBytes === undefined ? 'down' : 'up'}`;
    families.set(key, [...(families.get(key) ?? []), cell]);
  }
  return [...families.values()];
}

/** Every load that both revisions ran, and behind each family of them all of it together. */
export function compareRevisions(
  groups: readonly Group[],
  samples: readonly Sample[],
  { most, onlyReported }: AgainstBars,
): RevisionRatio[] {
  const book = new Book(samples);
  const compare = (cells: readonly Cell[], forwarder: string, figure: Figure): RevisionRatio => {
    const ids = cells.map(({ id }) => id);
    const open = onlyReported.some(
      (one) => one.forwarder === forwarder && ids.some((id) => one.cells.includes(id)),
    );
    const old = counterpartOf(forwarder);
    const byRound = pooled(ids.map((id) => book.ratiosByRound(figure, id, forwarder, old)));
    const run = book.rounds.filter((round) => ids.every((id) => book.wasRun(id, forwarder, round)));
    const judged = judgeRatios(byRound, figure === 'cpu' && !open ? most : null, run.length);
    return { cells: ids, bars: cells[0]!.bars, forwarder, figure, ...judged };
  };
  const found: RevisionRatio[] = [];
  for (const family of groups.flatMap(familiesOf)) {
    const ran = family.filter(({ id }) => samples.some(({ cell }) => cell === id));
    const own = samples.filter(({ cell }) => ran.some(({ id }) => id === cell));
    const names = new Set(own.map(({ forwarder }) => forwarder));
    for (const name of names) {
      if (!names.has(counterpartOf(name))) continue;
      const sets = [...ran.map((cell) => [cell]), ...(ran.length > 1 ? [ran] : [])];
      for (const set of sets) {
        for (const figure of figuresOf(set[0]!)) found.push(compare(set, name, figure));
      }
    }
  }
  return found;
}
