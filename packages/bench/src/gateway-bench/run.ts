/**
 * The whole bench. All forwarders of a group run side by side, each warmed up until its runtime has
 * compiled what is to be measured; then every cell gets one short window of each, one right after
 * the other, so that a slow minute of the machine hits all alike. The order is reversed from round to
 * round, and every few rounds, beside another revision in each, all get fresh processes.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import { utilisationMax } from '../load/self-check.ts';
import { runtimeCommand } from '../load/spawn.ts';
import {
  check,
  failedSample,
  type MeasureOptions,
  measure,
  type Pace,
  type Subject,
  WindowMark,
} from './measure.ts';
import {
  type Forwarder,
  forwarders,
  type OtherBuild,
  type Running,
  type Started,
  startProgram,
} from './peers.ts';
import type { Cell, Group, Sample, Scenarios } from './types.ts';

export interface BenchOptions {
  /** At most so many; infinite when only the budget ends the run. */
  rounds: number;
  /** Time on the clock of `performance.now()` by which the last round is to be over; null for none. */
  endMs: number | null;
  quick: boolean;
  /** Ids of bars (P1), groups or cells; empty for all. */
  only: readonly string[];
  /** More Node binaries to run ours on. */
  nodes: readonly string[];
  /** Another revision of ours to measure beside this one; null for none. */
  other: OtherBuild | null;
  signal: AbortSignal;
  onStep(text: string): void;
}

export interface BenchOutcome {
  samples: Sample[];
  /** Rounds that were run. */
  rounds: number;
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

/**
 * Rounds that one set of processes serves. Two processes of one build need not cost the same, so rounds
 * that share them are not independent; a comparison that asks for 2 % has new ones in each.
 */
const roundsPerStart = ({ other }: BenchOptions): number => (other === null ? 3 : 1);

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

  /** Rounds `first` to before `last` of a group, with one set of processes. */
  async runGroup(
    group: Group,
    contestants: readonly Forwarder[],
    first: number,
    last: number,
  ): Promise<void> {
    for (const cell of group.cells) {
      if (cell.kind === 'open' && !this.#rates.has(cell.id)) {
        await this.#findRate(group, cell, contestants);
      }
    }
    if (group.cells.every(({ kind }) => kind === 'idle')) {
      await this.#runApart(group, contestants, first, last);
      return;
    }
    await this.#withSubjects(group, contestants, async (subjects) => {
      for (let round = first; round < last; round++) {
        for (const cell of group.cells) {
          this.#options.onStep(`${group.id}, ${this.#ordinal(group, round)}: ${cell.id}`);
          await this.#runCell(group, cell, subjects, round);
        }
      }
    });
  }

  #ordinal(group: Group, round: number): string {
    const rounds = roundsOf(group, this.#options);
    return `round ${round + 1}${Number.isFinite(rounds) ? ` of ${rounds}` : ''}`;
  }

  /** Memory: one process after the other, so that each has the machine to itself. */
  async #runApart(
    group: Group,
    contestants: readonly Forwarder[],
    first: number,
    last: number,
  ): Promise<void> {
    for (let round = first; round < last; round++) {
      for (const forwarder of contestants) {
        this.#options.onStep(`${group.id}, ${this.#ordinal(group, round)}: ${forwarder.name}`);
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
    const direct = this.#direct();
    const wanted = cell.kind !== 'idle' && (round === 0 || cell.latency === true);
    const all = wanted ? [direct, ...subjects] : [...subjects];
    const rate = this.#rates.get(cell.id) ?? null;
    const pace = paceOf(cell, this.#options.quick);
    const options = this.#measureOptions(group, round, pace, rate);
    for (const subject of round % 2 === 0 ? all : all.reverse()) {
      const fault = round === 0 ? await this.#faultOf(cell, subject) : null;
      this.samples.push(
        fault === null
          ? await measure(cell, subject, this.#mark, options)
          : failedSample(cell, subject, options, fault),
      );
    }
  }

  /** A wrong answer ends the run, but that of another revision only its part in it. */
  async #faultOf(cell: Cell, subject: Subject): Promise<string | null> {
    try {
      await check(cell, subject, this.#upstreams[0]!);
      return null;
    } catch (error) {
      if (subject.ended() === null && !subject.isOther) throw error;
      return subject.ended() === null ? (error as Error).message : `it ${subject.ended()}`;
    }
  }

  #direct(): Subject {
    const origin = this.#upstreams[0]!;
    return { forwarder: 'direct', origin, pid: null, isOther: false, ended: () => null };
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
        const { origin, pid, ended } = running;
        const isOther = forwarder.counterpart !== null;
        const subject: Subject = { forwarder: forwarder.id, origin, pid, isOther, ended };
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
    await carry(this.#direct());
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

function presentIn(group: Group, all: readonly Forwarder[]): Forwarder[] {
  return all.filter(({ id, counterpart, missing }) => {
    const name = counterpart ?? id;
    const extra = group.id === 'plain' && name.startsWith('onehop-node-');
    return missing === null && (group.forwarders.includes(name) || extra);
  });
}

/**
 * Runs `block` for rounds `first` to before `last`, `perBlock` at a time, until `rounds` are done or
 * another block as long as the longest would end behind `endMs`; the first runs in any case.
 * @returns how many rounds were done
 */
export async function takeRounds(
  { rounds, endMs }: Pick<BenchOptions, 'rounds' | 'endMs'>,
  perBlock: number,
  block: (first: number, last: number) => Promise<void>,
  now: () => number = () => performance.now(),
): Promise<number> {
  let longestMs = 0;
  for (let first = 0; first < rounds; ) {
    const startedMs = now();
    if (first > 0 && endMs !== null && startedMs + longestMs > endMs) return first;
    const last = Math.min(first + perBlock, rounds);
    await block(first, last);
    longestMs = Math.max(longestMs, now() - startedMs);
    first = last;
  }
  return rounds;
}

export async function runBench(options: BenchOptions): Promise<BenchOutcome> {
  const scenarios = readScenarios();
  const all = forwarders(options.nodes, options.other);
  const leftOut = all
    .filter(({ missing }) => missing !== null)
    .map(({ name, missing }) => `${name}: ${missing}`);
  const groups = chooseGroups(scenarios, options.only);
  const used = new Set(groups.flatMap((group) => presentIn(group, all)));
  const session = new Session(options);
  await session.open();
  let rounds = 0;
  try {
    // The groups take turns, so that each is measured over all of the time.
    rounds = await takeRounds(options, roundsPerStart(options), async (first, last) => {
      for (const group of groups) {
        const own = Math.min(last, roundsOf(group, options));
        if (first < own) await session.runGroup(group, presentIn(group, all), first, own);
      }
    });
  } finally {
    await session.close();
  }
  const warnings = [...session.warnings, ...ceilingWarnings(session.samples)];
  if (options.other !== null) {
    warnings.push(
      'processes were new in every round: ours had less time to be compiled than in a run without ' +
        '--against, so ratios to nginx may be higher here',
    );
  }
  const forwardersUsed = all.filter((one) => used.has(one));
  return { samples: session.samples, rounds, forwarders: forwardersUsed, leftOut, warnings };
}
