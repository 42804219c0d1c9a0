/**
 * The display while a study runs, drawn by the orchestrator and never by what is measured. On a
 * terminal a few lines are repainted at most twice a second; elsewhere plain lines are appended.
 */
import pc from 'picocolors';
import type { Measurement } from '../results/types.ts';

/** Where the display writes; `process.stderr` fits. */
export interface ProgressTarget {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface Progress {
  note(text: string): void;
  round(round: number, rounds: number, blocks: number): void;
  /** What is being done now, for example `undici-request n2000-c50`. */
  doing(what: string): void;
  measured(measurement: Measurement): void;
  blockDone(): void;
  end(): void;
}

const REPAINT_MS = 500;
const BAR_WIDTH = 24;
const FIGURES_SHOWN = 3;

/** `1:05`, `12:30:00`. */
export function clockText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const tail = `${String(m).padStart(h > 0 ? 2 : 1, '0')}:${String(s).padStart(2, '0')}`;
  return h > 0 ? `${h}:${tail}` : tail;
}

/** One line of figures about one run. */
export function figureText(measurement: Measurement): string {
  const { entry, cell, requestsPerS, latencyMs, api } = measurement;
  const cpu = api === null ? '' : `, ${api.cpuPerRequestUs.toFixed(1)} µs CPU/req`;
  return `${entry} ${cell}: ${Math.round(requestsPerS)} req/s, p50 ${latencyMs.p50.toFixed(2)} ms${cpu}`;
}

/** Shared bookkeeping of both displays. */
class State {
  readonly startedMs = performance.now();
  round = 0;
  rounds = 0;
  blocks = 0;
  blocksDone = 0;
  doing = 'starting';
  measurements = 0;
  last: Measurement[] = [];
  readonly timeLeftMs: () => number | null;

  constructor(timeLeftMs: () => number | null) {
    this.timeLeftMs = timeLeftMs;
  }

  add(measurement: Measurement): void {
    this.measurements++;
    this.last = [measurement, ...this.last].slice(0, FIGURES_SHOWN);
  }

  headline(): string {
    const left = this.timeLeftMs();
    const time = `${clockText(performance.now() - this.startedMs)} gone`;
    if (this.rounds === 0) return `setting up, ${time}`;
    return `round ${this.round + 1} of ${this.rounds}, process ${Math.min(this.blocksDone + 1, this.blocks)} of ${this.blocks}, ${time}${left === null ? '' : `, at most ${clockText(left)} left`}`;
  }
}

class PlainProgress implements Progress {
  readonly #target: ProgressTarget;
  readonly #state: State;

  constructor(target: ProgressTarget, state: State) {
    this.#target = target;
    this.#state = state;
  }

  note(text: string): void {
    this.#target.write(`${text}\n`);
  }

  round(round: number, rounds: number, blocks: number): void {
    Object.assign(this.#state, { round, rounds, blocks, blocksDone: 0 });
    const left = this.#state.timeLeftMs();
    const time = left === null ? '' : `, at most ${clockText(left)} left`;
    this.#target.write(`round ${round + 1} of ${rounds}: ${blocks} processes${time}\n`);
  }

  doing(what: string): void {
    this.#state.doing = what;
  }

  measured(measurement: Measurement): void {
    this.#state.add(measurement);
    this.#target.write(`  ${figureText(measurement)}\n`);
  }

  blockDone(): void {
    this.#state.blocksDone++;
  }

  end(): void {}
}

class TerminalProgress implements Progress {
  readonly #target: ProgressTarget;
  readonly #state: State;
  readonly #timer: NodeJS.Timeout;
  #painted = 0;

  constructor(target: ProgressTarget, state: State) {
    this.#target = target;
    this.#state = state;
    this.#timer = setInterval(() => this.#paint(), REPAINT_MS);
    this.#timer.unref();
  }

  note(text: string): void {
    this.#clear();
    this.#target.write(`${text}\n`);
  }

  round(round: number, rounds: number, blocks: number): void {
    Object.assign(this.#state, { round, rounds, blocks, blocksDone: 0 });
  }

  doing(what: string): void {
    this.#state.doing = what;
  }

  measured(measurement: Measurement): void {
    this.#state.add(measurement);
  }

  blockDone(): void {
    this.#state.blocksDone++;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #clear(): void {
    if (this.#painted > 0) this.#target.write(`\x1b[${this.#painted}A\x1b[0J`);
    this.#painted = 0;
  }

  #paint(): void {
    const state = this.#state;
    const width = Math.max(40, this.#target.columns ?? 80) - 1;
    const share = state.blocks === 0 ? 0 : state.blocksDone / state.blocks;
    const filled = Math.round(share * BAR_WIDTH);
    const bar = pc.green('█'.repeat(filled)) + pc.dim('░'.repeat(BAR_WIDTH - filled));
    const lines = [
      `${bar} ${state.headline().slice(0, width - BAR_WIDTH - 1)}`,
      pc.bold(`now ${state.doing}`.slice(0, width)),
      ...state.last.map((measurement) => pc.dim(`    ${figureText(measurement)}`.slice(0, width))),
    ];
    this.#clear();
    this.#target.write(`${lines.join('\n')}\n`);
    this.#painted = lines.length;
  }
}

/** A display that fits the target. `timeLeftMs` is asked when something is drawn. */
export function createProgress(target: ProgressTarget, timeLeftMs: () => number | null): Progress {
  const state = new State(timeLeftMs);
  return target.isTTY === true
    ? new TerminalProgress(target, state)
    : new PlainProgress(target, state);
}
