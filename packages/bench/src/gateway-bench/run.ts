/**
 * The whole bench. All forwarders of a group run side by side, each warmed up until its runtime has
 * compiled what is to be measured; then every cell gets one short window of each, one right after
 * the other, so that a slow minute of the machine hits all alike. The order is reversed from round to
 * round, and every few rounds all get fresh processes.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import { utilisationMax } from '../load/self-check.ts';
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

/** Rounds that one set of processes serves. */
const roundsPerStart = 3;

/** Runs that are not counted: the runtimes compile for a second or two what is to be measured. */
function warmupsOf(group: Group, { role }: Forwarder, quick: boolean): [Cell, Pace][] {
  const plain: Cell = { id: 'warm-up', bars: [], kind: 'closed', path: '/50', connections: 50 };
  const first = group.cells.find(({ kind }) => kind === 'closed');
  const like = first?.chat === true || group.mode.pipelining > 1 ? first! : plain;
  // nginx and HAProxy have nothing to compile.
  const windowMs = role === 'reference' ? 500 : quick ? 2_000 : 3_000;
  const warmups: [Cell, Pace][] = [[like, { warmupMs: 0, windowMs }]];
  const stream = group.cells.find(({ kind }) => kind === 'sse');
  if (stream !== undefined) {
    // Behind the first wave a tenth of a runtime's CPU is still its compiler's, behind the third 1-2 %.
    const waves = role === 'reference' || quick ? 1 : 4;
    warmups.push([stream, { warmupMs: 0, windowMs: stream.events! * stream.paceMs! * waves }]);
  }
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
    if (group.cells.every(({ kind }) => kind === 'idle')) {
      await this.#runApart(group, contestants, rounds);
      return;
    }
    for (let first = 0; first < rounds; first += roundsPerStart) {
      const last = Math.min(first + roundsPerStart, rounds);
      await this.#withSubjects(group, contestants, async (subjects) => {
        for (let round = first; round < last; round++) {
          for (const cell of group.cells) {
            this.#options.onStep(`${group.id}, round ${round + 1} of ${rounds}: ${cell.id}`);
            await this.#runCell(group, cell, subjects, round);
          }
        }
      });
    }
  }

  /** Memory: one process after the other, so that each has the machine to itself. */
  async #runApart(group: Group, contestants: readonly Forwarder[], rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (const forwarder of contestants) {
        this.#options.onStep(`${group.id}, round ${round + 1} of ${rounds}: ${forwarder.name}`);
        await this.#withSubjects(group, [forwarder], async (subjects) => {
          for (const cell of group.cells) await this.#runCell(group, cell, subjects, round);
        });
      }
    }
  }

  /** One window of each; of direct in the first round, and in every one where latency counts. */
  async #runCell(
    group: Group,
    cell: Cell,
    subjects: readonly Subject[],
    round: number,
  ): Promise<void> {
    const direct = { forwarder: 'direct', origin: this.#upstreams[0]!, pid: null };
    const wanted = cell.kind !== 'idle' && (round === 0 || cell.latency === true);
    const all = wanted ? [direct, ...subjects] : [...subjects];
    const rate = this.#rates.get(cell.id) ?? null;
    const pace = paceOf(cell, this.#options.quick);
    for (const subject of round % 2 === 0 ? all : all.reverse()) {
      if (round === 0) await check(cell, subject, this.#upstreams[0]!);
      this.samples.push(
        await measure(cell, subject, this.#mark, this.#measureOptions(group, round, pace, rate)),
      );
    }
  }

  /** Starts and warms all of them, lends them to `use` and stops them, whatever happens. */
  async #withSubjects(
    group: Group,
    contestants: readonly Forwarder[],
    use: (subjects: readonly Subject[]) => Promise<void>,
  ): Promise<void> {
    const started: Running[] = [];
    const subjects: Subject[] = [];
    try {
      for (const forwarder of contestants) {
        this.#options.onStep(`${group.id}: starting and warming ${forwarder.name}`);
        const running = await forwarder.start(this.#upstreams, group.mode);
        started.push(running);
        const subject = { forwarder: forwarder.id, origin: running.origin, pid: running.pid };
        subjects.push(subject);
        for (const [cell, pace] of warmupsOf(group, forwarder, this.#options.quick)) {
          await measure(cell, subject, this.#mark, this.#measureOptions(group, 0, pace, null));
        }
      }
      await use(subjects);
    } finally {
      for (const running of started) await running.stop();
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
    for (const forwarder of contestants) {
      await this.#withSubjects(group, [forwarder], async ([subject]) => carry(subject!));
    }
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
  for (const cell of new Set(samples.filter(isOpen).map((one) => one.cell))) {
    const own = samples.filter((one) => one.cell === cell && isOpen(one));
    const most = Math.max(...own.map(({ generatorCpu }) => generatorCpu ?? 0));
    if (most <= utilisationMax) continue;
    warnings.push(
      `${cell}: the generator used up to ${(most * 100).toFixed(0)} % of a core: what p99 shows may be its own`,
    );
  }
  return warnings;
}

const isOpen = ({ ratePerS }: Sample): boolean => ratePerS !== null;

/** Memory does not scatter; a quick look at the peers, which are far apart, is one round. */
function roundsOf(group: Group, { rounds, quick }: BenchOptions): number {
  if (group.id === 'idle') return 1;
  if (group.id === 'peers' && quick) return 1;
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
