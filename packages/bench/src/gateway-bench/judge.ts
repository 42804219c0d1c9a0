/** From samples to rows and bars: medians of per-round ratios, never ratios of medians. */
import type { Bar, Figure, JudgedBar, Row, Sample, Scenarios, Spread } from './types.ts';

const megabyte = 1024 * 1024;

export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, low: sorted[0]!, high: sorted.at(-1)! };
}

const isNumber = (value: number | null): value is number => value !== null;

/** The samples by load, forwarder and round. */
export class Book {
  readonly #samples = new Map<string, Sample>();
  readonly rounds: number[];

  constructor(samples: readonly Sample[]) {
    for (const sample of samples) {
      this.#samples.set(`${sample.cell} ${sample.forwarder} ${sample.round}`, sample);
    }
    this.rounds = [...new Set(samples.map(({ round }) => round))].sort((a, b) => a - b);
  }

  /** Null when it was not measured or proves nothing. */
  sample(cell: string, forwarder: string, round: number): Sample | null {
    const found = this.#samples.get(`${cell} ${forwarder} ${round}`);
    return found === undefined || found.invalid.length > 0 ? null : found;
  }

  wasRun(cell: string, forwarder: string, round: number): boolean {
    return this.#samples.has(`${cell} ${forwarder} ${round}`);
  }

  figure(figure: Figure, cell: string, forwarder: string, round: number): number | null {
    const sample = this.sample(cell, forwarder, round);
    if (sample === null) return null;
    switch (figure) {
      case 'cpu':
        return sample.cpuUs;
      case 'requestsPerS':
        return sample.requestsPerS;
      case 'p99':
        return sample.p99Ms;
      case 'gap':
        return sample.gapMaxMs;
      case 'rssMB':
        return sample.rssAddedBytes === null ? null : sample.rssAddedBytes / megabyte;
      default: {
        const direct = this.sample(cell, 'direct', round);
        const pick = (one: Sample | null): number | null =>
          figure === 'addedP50' ? (one?.p50Ms ?? null) : (one?.p99Ms ?? null);
        const [with_, without] = [pick(sample), pick(direct)];
        return with_ === null || without === null ? null : with_ - without;
      }
    }
  }

  values(figure: Figure, cell: string, forwarder: string): number[] {
    return this.rounds.map((round) => this.figure(figure, cell, forwarder, round)).filter(isNumber);
  }

  /** Of each round in which both count. */
  ratiosByRound(
    figure: Figure,
    cell: string,
    forwarder: string,
    against: string,
  ): Map<number, number> {
    const found = new Map<number, number>();
    for (const round of this.rounds) {
      const own = this.figure(figure, cell, forwarder, round);
      const base = this.figure(figure, cell, against, round);
      if (own !== null && base !== null && base > 0) found.set(round, own / base);
    }
    return found;
  }

  ratios(figure: Figure, cell: string, forwarder: string, against: string): number[] {
    return [...this.ratiosByRound(figure, cell, forwarder, against).values()];
  }
}

export function rowsOf(samples: readonly Sample[], reference: string): Row[] {
  const book = new Book(samples);
  const rows = new Map<string, Row>();
  for (const { cell, forwarder } of samples) {
    const key = `${cell} ${forwarder}`;
    if (rows.has(key)) continue;
    const own = samples.filter((one) => one.cell === cell && one.forwarder === forwarder);
    const valid = own.filter(({ invalid }) => invalid.length === 0);
    const of = (pick: (sample: Sample) => number | null): Spread | null =>
      spreadOf(valid.map(pick).filter(isNumber));
    rows.set(key, {
      cell,
      forwarder,
      cpuUs: of(({ cpuUs }) => cpuUs),
      cpuRatio: spreadOf(book.ratios('cpu', cell, forwarder, reference)),
      requestsPerS: of(({ requestsPerS }) => requestsPerS) ?? { median: 0, low: 0, high: 0 },
      requestsRatio: spreadOf(book.ratios('requestsPerS', cell, forwarder, reference)),
      p50Ms: of(({ p50Ms }) => p50Ms),
      p99Ms: of(({ p99Ms }) => p99Ms),
      gapMaxMs: of(({ gapMaxMs }) => gapMaxMs),
      rssAddedMB: of(({ rssAddedBytes }) =>
        rssAddedBytes === null ? null : rssAddedBytes / megabyte,
      ),
      rounds: valid.length,
      invalid: [...new Set(own.flatMap(({ invalid }) => invalid))],
    });
  }
  return [...rows.values()];
}

export const figureNames: Record<Figure, string> = {
  cpu: 'CPU per request',
  requestsPerS: 'requests/s',
  p99: 'p99 from the intended send time',
  addedP50: 'p50 added to direct',
  addedP99: 'p99 added to direct',
  gap: 'longest gap between events, ms',
  rssMB: 'MB of memory added',
};

/** Whether more than half of the rounds went right on both sides: else a bar is met by luck. */
function mostRoundsCount({ forwarder, against }: Bar, cell: string, book: Book): boolean {
  const run = book.rounds.filter((round) => book.wasRun(cell, forwarder, round));
  const right = run.filter(
    (round) =>
      book.sample(cell, forwarder, round) !== null &&
      (against === null || book.sample(cell, against, round) !== null),
  );
  return right.length * 2 > run.length;
}

function judgeBar(bar: Bar, cell: string, book: Book): JudgedBar {
  const { figure, forwarder, against } = bar;
  const found = spreadOf(
    against === null
      ? book.values(figure, cell, forwarder)
      : book.ratios(figure, cell, forwarder, against),
  );
  const limit = bar.most ?? bar.least;
  const versus = against === null ? '' : ` against ${against}`;
  const asked =
    limit === undefined ? '' : ` ${bar.most === undefined ? 'at least' : 'at most'} ${limit}`;
  const text = `${cell}: ${forwarder}, ${figureNames[figure]}${versus}${asked}`;
  if (found === null || !mostRoundsCount(bar, cell, book)) {
    return { id: bar.id, text, found, verdict: 'unknown' };
  }
  if (limit === undefined) return { id: bar.id, text, found, verdict: 'reported' };
  const holds = (level: number): boolean =>
    bar.most === undefined ? found.median >= level : found.median <= level;
  const verdict =
    bar.stretch !== undefined && holds(bar.stretch) ? 'stretch' : holds(limit) ? 'met' : 'missed';
  return { id: bar.id, text, found, verdict };
}

/**
 * Every bar in every of its cells that was run. `unknown`: one side was not there, or in half of
 * the rounds its answers were not all right; that is no bar met.
 */
export function judge(
  scenarios: Omit<Scenarios, 'against'>,
  samples: readonly Sample[],
): JudgedBar[] {
  const book = new Book(samples);
  const run = new Set(samples.map(({ cell }) => cell));
  return scenarios.bars.flatMap((bar) =>
    bar.cells.filter((cell) => run.has(cell)).map((cell) => judgeBar(bar, cell, book)),
  );
}
