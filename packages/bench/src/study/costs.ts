/** What things took so far, to foresee what the next round will take. */
import type { Cell, Entry } from '../results/types.ts';
import type { StudyOptions } from './options.ts';
import type { CostModel } from './schedule.ts';

/** First guesses, in seconds, until a process of that kind has been started once. */
const START_S = { node: 0.35, bun: 0.25, python: 1.2 } as const;
/** Starting and ending the generator, asking for counters, writing down. */
const OVERHEAD_S = 0.15;
/** New figures count for this much against the mean of the old. */
const NEW_SHARE = 0.4;

function blended(old: number | undefined, now: number): number {
  return old === undefined ? now : old + NEW_SHARE * (now - old);
}

export class CostBook implements CostModel {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #cells: ReadonlyMap<string, Cell>;
  readonly #options: StudyOptions;
  readonly #starts = new Map<string, number>();
  readonly #runs = new Map<string, number>();

  constructor(entries: readonly Entry[], cells: readonly Cell[], options: StudyOptions) {
    this.#entries = new Map(entries.map((entry) => [entry.id, entry]));
    this.#cells = new Map(cells.map((cell) => [cell.id, cell]));
    this.#options = options;
  }

  startS(entry: string): number {
    const { role, runtime } = this.#entries.get(entry)!;
    if (role === 'direct') return 0;
    return this.#starts.get(entry) ?? START_S[runtime];
  }

  cellS(entry: string, cell: string): number {
    const known = this.#runs.get(`${entry} ${cell}`);
    if (known !== undefined) return known;
    const { durationMsMax, upstreamLatencyMs } = this.#cells.get(cell)!;
    const { warmupMs } = this.#options;
    return ((durationMsMax ?? 5000) * 0.7 + warmupMs + 3 * upstreamLatencyMs) / 1000 + OVERHEAD_S;
  }

  started(entry: string, seconds: number): void {
    this.#starts.set(entry, blended(this.#starts.get(entry), seconds));
  }

  ran(entry: string, cell: string, seconds: number): void {
    const key = `${entry} ${cell}`;
    this.#runs.set(key, blended(this.#runs.get(key), seconds));
  }
}
