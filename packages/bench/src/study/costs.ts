/** What things took so far, to foresee what the next round will take. */
import type { Cell, Entry } from '../results/types.ts';
import type { CostModel } from './schedule.ts';

/**
 * First guesses, in seconds, until a process of that kind has been started once: start and warm-up,
 * two at the same time.
 */
const START_S = { node: 0.9, bun: 1.1, python: 1 } as const;
/** The upstream runs already, and a splice has little to compile. */
const CONTROL_S = 0.2;
/** Starting and ending the generator, asking for counters, writing down. */
const OVERHEAD_S = 0.15;
/** Lead-in and bookkeeping of one piece. */
const PIECE_OVERHEAD_S = 0.04;
/** Each of the connections has one request under way, and building a client in Python takes long. */
const PYTHON_PER_REQUEST_S = 3;
/** New figures count for this much against the mean of the old. */
const NEW_SHARE = 0.4;

function blended(old: number | undefined, now: number): number {
  return old === undefined ? now : old + NEW_SHARE * (now - old);
}

export class CostBook implements CostModel {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #cells: ReadonlyMap<string, Cell>;
  readonly #slices: number;
  readonly #starts = new Map<string, number>();
  readonly #runs = new Map<string, number>();
  readonly #pieces = new Map<string, number>();

  /** @param slices pieces that a whole cell is cut into */
  constructor(entries: readonly Entry[], cells: readonly Cell[], slices: number) {
    this.#entries = new Map(entries.map((entry) => [entry.id, entry]));
    this.#cells = new Map(cells.map((cell) => [cell.id, cell]));
    this.#slices = slices;
  }

  startS(entry: string): number {
    const { role, runtime } = this.#entries.get(entry)!;
    const control = role === 'direct' || role === 'null-forwarder';
    return this.#starts.get(entry) ?? (control ? CONTROL_S : START_S[runtime]);
  }

  cellS(entry: string, cell: string): number {
    const known = this.#runs.get(`${entry} ${cell}`);
    if (known !== undefined) return known;
    const { durationMsMax, upstreamLatencyMs } = this.#cells.get(cell)!;
    const { runtime, reuse } = this.#entries.get(entry)!;
    const builds = runtime === 'python' && reuse === 'per-request' ? PYTHON_PER_REQUEST_S : 0;
    const ownMs = (durationMsMax ?? 5000) * 0.9 + 3 * upstreamLatencyMs;
    return ownMs / 1000 + OVERHEAD_S + builds;
  }

  pieceS(entry: string, cell: string): number {
    const known = this.#pieces.get(`${entry} ${cell}`);
    return known ?? (this.cellS(entry, cell) - OVERHEAD_S) / this.#slices + PIECE_OVERHEAD_S;
  }

  /** A process was started and warmed up. */
  started(entry: string, seconds: number): void {
    this.#starts.set(entry, blended(this.#starts.get(entry), seconds));
  }

  /** A cell was measured in one piece. */
  ran(entry: string, cell: string, seconds: number): void {
    const key = `${entry} ${cell}`;
    this.#runs.set(key, blended(this.#runs.get(key), seconds));
  }

  /** A cell was measured by turns. @param seconds per pass */
  took(entry: string, cell: string, seconds: number): void {
    const key = `${entry} ${cell}`;
    this.#pieces.set(key, blended(this.#pieces.get(key), seconds));
  }
}
