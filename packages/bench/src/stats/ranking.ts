/** Rank groups: who may be called better than whom after all corrections. */
import type { IntervalOptions } from './bootstrap.ts';
import { type ByRound, type Comparison, comparePairs } from './compare.ts';
import { geometricMean } from './describe.ts';

export interface Ranked {
  entry: string;
  /** Geometric mean over the rounds the entry took part in. */
  figure: number;
  rank: number;
  /** `A`, `B`, ...; `A–B?` when it is undecided to which of them the entry belongs. */
  group: string;
  /** Against the first of the ranking; null for the first itself. */
  versusBest: Comparison | null;
}

export interface Ranking {
  ranked: Ranked[];
  /** Every pair once, the one that ranks lower as `a`. */
  pairs: Comparison[];
}

/** A, B, ... Z, AA, AB ... */
export function letter(index: number): string {
  const last = String.fromCharCode(65 + (index % 26));
  return index < 26 ? last : letter(Math.floor(index / 26) - 1) + last;
}

/**
 * Ranks entries by the geometric mean of their figure. A new group opens with the first entry that
 * is shown to be worse than the leader of the group before it.
 * @param figures per entry, per round; entries without a figure are left out
 */
export function rank(
  figures: ReadonlyMap<string, ByRound>,
  band: number,
  lowerIsBetter: boolean,
  options: IntervalOptions,
): Ranking {
  const rows = [...figures]
    .filter(([, byRound]) => byRound.size > 0)
    .map(([entry, byRound]) => ({ entry, figure: geometricMean([...byRound.values()]) }))
    .sort((x, y) => (lowerIsBetter ? x.figure - y.figure : y.figure - x.figure));
  const names = rows.flatMap((row, i) =>
    rows.slice(0, i).map((o) => [row.entry, o.entry] as const),
  );
  const pairs = comparePairs(names, figures, band, lowerIsBetter, options);
  const found = new Map(pairs.map((pair) => [`${pair.a}\n${pair.b}`, pair]));
  const leaders: string[] = [];
  const ranked = rows.map(({ entry, figure }, index): Ranked => {
    const against = leaders.map((leader) => found.get(`${entry}\n${leader}`)!);
    if (against.every(({ outcome }) => outcome === 'worse')) {
      leaders.push(entry);
      against.length = 0;
    }
    const versusBest = index === 0 ? null : found.get(`${entry}\n${rows[0]!.entry}`)!;
    return { entry, figure, rank: index + 1, group: groupOf(against, leaders.length), versusBest };
  });
  return { ranked, pairs };
}

/** `against` holds one comparison per leader; empty when the entry leads the newest group itself. */
function groupOf(against: readonly Comparison[], groups: number): string {
  const open = against.findIndex(({ outcome }) => outcome !== 'worse');
  const newest = letter(groups - 1);
  if (open < 0) return newest;
  const sure = open === groups - 1 && against[open]!.outcome === 'tied';
  if (sure) return newest;
  return open === groups - 1 ? `${newest}?` : `${letter(open)}–${newest}?`;
}
