/**
 * The whole bench: in every round each forwarder gets a fresh process that serves the cells of its
 * group; the order of forwarders is reversed from round to round.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import { runtimeCommand } from '../load/spawn.ts';
import {
  check,
  type MeasureOptions,
  measure,
  type Pace,
  type Subject,
  WindowMark,
} from './measure.ts';
import { type Forwarder, forwarders, type Running, type Started, startProgram } from './peers.ts';
import type { Cell, Group, Sample, Scenarios } from './types.ts';

export interface BenchOptions {
  rounds: number;
  quick: boolean;
  /** Ids of bars (P1), groups or cells; empty for all. */
  only: readonly string[];
  /** More Node binaries to run ours on. */
  nodes: readonly string[];
  signal: AbortSignal;
  onStep(text: string): void;
}

export interface BenchOutcome {
  samples: Sample[];
  forwarders: Forwarder[];
  leftOut: string[];
  warnings: string[];
}

export function readScenarios(): Scenarios {
  const path = fileURLToPath(new URL('../../../../lab/scenarios/gateway.json', import.meta.url));
  return JSON.parse(readFileSync(path, 'utf8')) as Scenarios;
}

/** Groups with only the cells that were asked for. */
export function chooseGroups(scenarios: Scenarios, only: readonly string[]): Group[] {
  if (only.length === 0) return scenarios.groups;
  const wanted = new Set(only.map((word) => word.toLowerCase()));
  const known = new Set(
    scenarios.groups.flatMap(({ id, cells }) => [id, ...cells.flatMap((c) => [c.id, ...c.bars])]),
  );
  const unknown = only.find(
    (word) => ![...known].some((name) => name.toLowerCase() === word.toLowerCase()),
  );
  if (unknown !== undefined) {
    throw new CliError(`--only ${unknown}: choose among ${[...known].join(', ')}`);
  }
  return scenarios.groups
    .map((group) => ({
      ...group,
      cells: group.cells.filter((cell) =>
        [group.id, cell.id, ...cell.bars].some((name) => wanted.has(name.toLowerCase())),
      ),
    }))
    .filter(({ cells }) => cells.length > 0);
}

const paceOf = (cell: Cell, quick: boolean): Pace => {
  const windowMs = quick ? 700 : 1_000;
  if (cell.kind === 'sse')
    return { warmupMs: 0, windowMs: cell.events! * cell.paceMs! * (quick ? 1 : 2) };
  if (cell.kind === 'open') return { warmupMs: 300, windowMs: quick ? 1_500 : 2_500 };
  return { warmupMs: 250, windowMs };
};

/** Runs that are not counted: the runtimes compile for a second or two what is to be measured. */
function warmupsOf(group: Group, quick: boolean): [Cell, Pace][] {
  const plain: Cell = { id: 'warm-up', bars: [], kind: 'closed', path: '/50', connections: 50 };
  const first = group.cells.find(({ kind }) => kind === 'closed');
  const like = first?.chat === true || group.mode.pipelining > 1 ? first! : plain;
  const warmups: [Cell, Pace][] = [[like, { warmupMs: 0, windowMs: quick ? 1_500 : 2_000 }]];
  const stream = group.cells.find(({ kind }) => kind === 'sse');
  if (stream !== undefined) warmups.push([stream, paceOf(stream, true)]);
  return warmups;
}

/** What one run of the bench shares between its steps. */
class Session {
  readonly samples: Sample[] = [];
  readonly warnings: string[] = [];
  readonly #options: BenchOptions;
  readonly #mark = new WindowMark();
  #upstream: Started | null = null;
  #upstreams: string[] = [];
  /** Rates of open loops that were found to be carried, by cell. */
  readonly #rates = new Map<string, number>();

  constructor(options: BenchOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    await this.#mark.open();
    const script = fileURLToPath(new URL('./upstream.js', import.meta.url));
    this.#upstream = await startProgram([runtimeCommand('auto'), script]);
    this.#upstreams = this.#upstream.line.split(' ').map((port) => `http://127.0.0.1:${port}`);
  }

  async close(): Promise<void> {
    this.#mark.close();
    await this.#upstream?.stop();
  }

  async runGroup(group: Group, contestants: readonly Forwarder[], rounds: number): Promise<void> {
    for (const cell of group.cells) {
      if (cell.kind === 'open') await this.#findRate(group, cell, contestants);
    }
    for (let round = 0; round < rounds; round++) {
      await this.#runDirect(group, round);
      for (const forwarder of round % 2 === 0 ? contestants : [...contestants].reverse()) {
        this.#options.onStep(`${group.id}, round ${round + 1} of ${rounds}: ${forwarder.name}`);
        await this.#withSubject(group, forwarder, (subject) =>
          this.#runCells(group, group.cells, subject, round),
        );
      }
    }
  }

  /** The baseline: in the first round every load, after that those whose latency counts. */
  async #runDirect(group: Group, round: number): Promise<void> {
    const cells = group.cells.filter(
      ({ kind, latency }) => kind !== 'idle' && (round === 0 || latency === true),
    );
    if (cells.length === 0) return;
    this.#options.onStep(`${group.id}, round ${round + 1}: direct`);
    const subject = { forwarder: 'direct', origin: this.#upstreams[0]!, pid: null };
    await this.#runCells(group, cells, subject, round);
  }

  async #withSubject(
    group: Group,
    forwarder: Forwarder,
    use: (subject: Subject) => Promise<void>,
  ): Promise<void> {
    const running: Running = await forwarder.start(this.#upstreams, group.mode);
    const subject = { forwarder: forwarder.id, origin: running.origin, pid: running.pid };
    try {
      for (const [cell, pace] of warmupsOf(group, this.#options.quick)) {
        await measure(cell, subject, this.#mark, this.#measureOptions(group, 0, pace, null));
      }
      await use(subject);
    } finally {
      await running.stop();
    }
  }

  #measureOptions(
    group: Group,
    round: number,
    pace: Pace,
    ratePerS: number | null,
  ): MeasureOptions {
    const { signal } = this.#options;
    return { group: group.id, round, upstream: this.#upstreams[0]!, pace, ratePerS, signal };
  }

  async #runCells(
    group: Group,
    cells: readonly Cell[],
    subject: Subject,
    round: number,
  ): Promise<void> {
    for (const cell of cells) {
      if (round === 0) await check(cell, subject, this.#upstreams[0]!);
      const rate = this.#rates.get(cell.id) ?? null;
      const pace = paceOf(cell, this.#options.quick);
      this.samples.push(
        await measure(cell, subject, this.#mark, this.#measureOptions(group, round, pace, rate)),
      );
    }
  }

  /** The highest of the rates that direct and every forwarder but peers carry. */
  async #findRate(group: Group, cell: Cell, contestants: readonly Forwarder[]): Promise<void> {
    const [highest, ...lower] = cell.ratesPerS!;
    let rate = highest!;
    const carry = async (subject: Subject): Promise<void> => {
      for (;;) {
        const pace = { warmupMs: 200, windowMs: 800 };
        const options = this.#measureOptions(group, 0, pace, rate);
        const sample = await measure(cell, subject, this.#mark, options);
        const late = sample.p99Ms === null || sample.p99Ms > 50;
        if (!late && sample.invalid.length === 0 && sample.requestsPerS > 0.95 * rate) return;
        const next = lower.find((one) => one < rate);
        if (next === undefined) {
          this.warnings.push(`${cell.id}: ${subject.forwarder} does not carry even ${rate}/s`);
          return;
        }
        this.warnings.push(
          `${cell.id}: ${subject.forwarder} does not carry ${rate}/s here; all get ${next}/s`,
        );
        rate = next;
      }
    };
    this.#options.onStep(`${cell.id}: looking for the rate that all carry`);
    await carry({ forwarder: 'direct', origin: this.#upstreams[0]!, pid: null });
    for (const forwarder of contestants) await this.#withSubject(group, forwarder, carry);
    this.#rates.set(cell.id, rate);
  }
}

/** Where generator and upstream were nearly the limit themselves. */
export function ceilingWarnings(samples: readonly Sample[]): string[] {
  const warnings: string[] = [];
  for (const { cell, requestsPerS } of samples.filter(
    ({ forwarder, round, ratePerS }) => forwarder === 'direct' && round === 0 && ratePerS === null,
  )) {
    const near = samples.filter(
      (one) =>
        one.cell === cell &&
        one.forwarder !== 'direct' &&
        one.gapMaxMs === null &&
        one.requestsPerS > 0.9 * requestsPerS,
    );
    if (near.length === 0) continue;
    const who = [...new Set(near.map(({ forwarder }) => forwarder))].join(', ');
    warnings.push(
      `${cell}: ${who} within 10 % of direct (${requestsPerS.toFixed(0)} requests/s): ` +
        'generator or upstream is the limit, only CPU per request tells',
    );
  }
  return warnings;
}

/** Memory does not scatter, and the peers are far apart: these groups need fewer rounds. */
function roundsOf(group: Group, { rounds, quick }: BenchOptions): number {
  if (group.id === 'idle') return 1;
  if (group.id === 'peers') return Math.min(rounds, quick ? 1 : 3);
  return rounds;
}

export async function runBench(options: BenchOptions): Promise<BenchOutcome> {
  const scenarios = readScenarios();
  const all = forwarders(options.nodes);
  const extraNodes = all.filter(({ id }) => /^onehop-node-/.test(id));
  const leftOut = all
    .filter(({ missing }) => missing !== null)
    .map(({ name, missing }) => `${name}: ${missing}`);
  const groups = chooseGroups(scenarios, options.only);
  const used = new Set<Forwarder>();
  const session = new Session(options);
  await session.open();
  try {
    for (const group of groups) {
      const present = all.filter(
        (one) =>
          one.missing === null &&
          (group.forwarders.includes(one.id) || (group.id === 'plain' && extraNodes.includes(one))),
      );
      for (const one of present) used.add(one);
      await session.runGroup(group, present, roundsOf(group, options));
    }
  } finally {
    await session.close();
  }
  const warnings = [...session.warnings, ...ceilingWarnings(session.samples)];
  return { samples: session.samples, forwarders: [...used], leftOut, warnings };
}
