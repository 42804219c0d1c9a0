/** Runs the rounds of a study and keeps what was measured, whatever happens. */
import type { Cell, Entry, StudyResults } from '../results/types.ts';
import { CostBook } from './costs.ts';
import { groupBy } from './group.ts';
import type { StudyOptions } from './options.ts';
import type { Phases } from './phases.ts';
import type { Progress } from './progress.ts';
import {
  type Block,
  planRound,
  type RoundPlan,
  roundsAimed,
  type Task,
  taskKey,
} from './schedule.ts';
import {
  openSession,
  type Run,
  runCell,
  type Session,
  type SessionContext,
  type SessionPlan,
} from './session.ts';
import type { StudyStore } from './store.ts';
import { REHEARSALS, runByTurns } from './turns.ts';

/** An entry that failed this often in a row is left out of the rest. */
const FAILURES_MAX = 2;
/** Results are written at most this often while cells follow each other. */
const SAVE_EVERY_MS = 2000;
/** Processes started and warmed up at the same time, while nothing is measured. */
const STARTED_TOGETHER = 2;

export interface StudyRun {
  options: StudyOptions;
  tasks: Task[];
  results: StudyResults;
  context: SessionContext;
  store: StudyStore;
  progress: Progress;
  phases: Phases;
  /** Time of earlier sessions. */
  spentMs: number;
  /** Milliseconds left for measuring; null for no limit. */
  timeLeftMs(): number | null;
  /** Set by Ctrl-C. */
  stopped: AbortSignal;
  /** Asked after the last planned round with `--until-decided`. */
  isDecided(results: StudyResults): boolean;
}

export class Rounds {
  readonly #run: StudyRun;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #cells: ReadonlyMap<string, Cell>;
  readonly #costs: CostBook;
  readonly #done = new Map<string, number>();
  readonly #present = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #dropped = new Set<string>();
  readonly #startedMs = performance.now();
  #order: number;
  #savedMs = 0;
  #roundsShown = 0;

  constructor(run: StudyRun) {
    const { entries, cells, measurements } = run.results;
    this.#run = run;
    this.#entries = new Map(entries.map((entry) => [entry.id, entry]));
    this.#cells = new Map(cells.map((cell) => [cell.id, cell]));
    this.#costs = new CostBook(entries, cells, run.options.slices);
    this.#order = measurements.reduce((order, run) => Math.max(order, run.order + 1), 0);
    for (const { entry, cell, round } of measurements) this.#remember(entry, cell, round);
  }

  /** Rounds until enough, out of time or stopped. What was measured is in `results` and on disk. */
  async measure(): Promise<void> {
    const { results, stopped } = this.#run;
    // An interrupted round is taken up again; what it has is not measured twice.
    let round = results.measurements.reduce((last, run) => Math.max(last, run.round), 0);
    for (; !stopped.aborted; round++) {
      const plan = this.#plan(round);
      if (plan === null) break;
      const sessions = this.#sessions(round, plan.blocks);
      if (sessions.length === 0) continue;
      this.#run.progress.round(round, this.#roundsShown, sessions.length);
      await this.#measureRound(round, plan.passes, sessions);
      if (this.#outOfTime()) break;
    }
    this.save();
  }

  save(): void {
    const { store, results, options } = this.#run;
    store.save(results, options, this.spentMs());
    this.#savedMs = performance.now();
  }

  spentMs(): number {
    return this.#run.spentMs + performance.now() - this.#startedMs;
  }

  #remember(entry: string, cell: string, round: number): void {
    const key = taskKey({ entry, cell });
    this.#done.set(key, (this.#done.get(key) ?? 0) + 1);
    this.#present.add(`${round} ${key}`);
  }

  #plan(round: number): RoundPlan | null {
    const { options, tasks, results } = this.#run;
    const left = this.#run.timeLeftMs();
    const more = options.untilDecided && round >= options.rounds && !this.#run.isDecided(results);
    const request = {
      round,
      seed: options.seed,
      tasks: tasks.filter((task) => !this.#dropped.has(task.entry)),
      rounds: more ? round + 1 : options.rounds,
      passes: options.slices,
      rehearsals: REHEARSALS,
      secondsLeft: left === null ? null : left / 1000,
      done: this.#done,
      costs: this.#costs,
    };
    this.#roundsShown = Math.max(round + 1, roundsAimed(request));
    return planRound(request);
  }

  #outOfTime(): boolean {
    const left = this.#run.timeLeftMs();
    return left !== null && left <= 0;
  }

  /** Sessions of a round, without what an interrupted round has already. */
  #sessions(round: number, blocks: readonly Block[]): SessionPlan[] {
    const sessions: SessionPlan[] = [];
    for (const block of blocks) {
      const cells = block.cells
        .filter((cell) => !this.#present.has(`${round} ${taskKey({ entry: block.entry, cell })}`))
        .map((cell) => this.#cells.get(cell)!);
      for (const [latency, group] of groupBy(cells, (cell) => cell.upstreamLatencyMs)) {
        const entry = this.#entries.get(block.entry)!;
        sessions.push({ entry, upstreamLatencyMs: latency, cells: group });
      }
    }
    return sessions;
  }

  async #measureRound(
    round: number,
    passes: number,
    sessions: readonly SessionPlan[],
  ): Promise<void> {
    const { stopped, progress, phases, options } = this.#run;
    const isByTurns = ({ entry, cells }: SessionPlan): boolean =>
      options.slices > 1 && cells[0] !== undefined && this.#isMain(entry.id, cells[0].id);
    await this.#measureByTurns(round, passes, sessions.filter(isByTurns));
    const rest = sessions.filter((plan) => !isByTurns(plan));
    for (let at = 0; at < rest.length && !stopped.aborted; at += STARTED_TOGETHER) {
      // The first round is finished in any case: it is what all entries have.
      if (round > 0 && this.#outOfTime()) return;
      const pair = rest.slice(at, at + STARTED_TOGETHER);
      const opened = await phases.time('starts of side runs', () => this.#openAll(round, pair));
      for (const session of opened) {
        if (session !== null && !stopped.aborted) {
          await phases.time('side runs', () => this.#runCells(round, session, 0));
        }
        progress.blockDone();
      }
      // A stop in between leaves the second one unused.
      await Promise.all(opened.map((session) => session?.server?.stop()));
    }
  }

  #isMain(entry: string, cell: string): boolean {
    return this.#run.tasks.some((task) => task.main && task.entry === entry && task.cell === cell);
  }

  /** All processes at once: they wait while others have their turn. Then the further cells. */
  async #measureByTurns(
    round: number,
    passes: number,
    plans: readonly SessionPlan[],
  ): Promise<void> {
    const { stopped, progress, phases, options, context } = this.#run;
    const opened = await phases.time('starts and warm-ups', () => this.#openAll(round, plans));
    const sessions = opened.filter((session) => session !== null);
    const events = {
      doing: (what: string) => progress.doing(what),
      failed: async (session: Session, error: Error) => {
        await session.server?.stop();
        this.#failed(session.plan.entry, error);
      },
      mustEnd: () => round > 0 && this.#outOfTime(),
    };
    const { seed, slices } = options;
    const plan = { passes, slices, round, seed };
    const runs = await phases.time('turns', () =>
      runByTurns(sessions, plan, context, events, stopped),
    );
    const failed = new Set<Session>();
    for (const run of runs) {
      const { session, cell } = run;
      const { entry } = session.plan;
      try {
        const order = this.#order++;
        this.#measured(round, entry, cell, await run.finish({ round, order }));
        this.#costs.took(entry.id, cell.id, run.spentMs / 1000 / passes);
      } catch (error) {
        failed.add(session);
        if (!stopped.aborted) await events.failed(session, error as Error);
      }
    }
    for (const { session } of runs) {
      if (!stopped.aborted && !failed.has(session) && !this.#dropped.has(session.plan.entry.id)) {
        await phases.time('further cells', () => this.#runCells(round, session, 1));
      }
      progress.blockDone();
    }
    await Promise.all(sessions.map((session) => session.server?.stop()));
  }

  #measured(round: number, entry: Entry, cell: Cell, run: Run): void {
    const { results, store, progress } = this.#run;
    results.measurements.push(run.measurement);
    this.#remember(entry.id, cell.id, round);
    this.#failures.delete(entry.id);
    store.saveRun(round, entry.id, cell, run.oha);
    progress.measured(run.measurement);
  }

  /** Starts and warms up, two at a time: one alone leaves a second core half idle. */
  async #openAll(round: number, plans: readonly SessionPlan[]): Promise<(Session | null)[]> {
    const { context, progress, stopped, options } = this.#run;
    const opened: (Session | null)[] = plans.map(() => null);
    const together = Math.min(STARTED_TOGETHER, plans.length);
    let next = 0;
    const work = async (lane: number): Promise<void> => {
      while (next < plans.length && !stopped.aborted) {
        const at = next++;
        const plan = plans[at]!;
        progress.doing(`${plan.entry.id}: starting and warming up`);
        const startedMs = performance.now();
        try {
          opened[at] = await openSession(plan, context, { lane, seed: options.seed + round });
        } catch (error) {
          this.#failed(plan.entry, error as Error);
        }
        this.#costs.started(plan.entry.id, (performance.now() - startedMs) / 1000 / together);
      }
    };
    await Promise.all(Array.from({ length: together }, (_, lane) => work(lane)));
    return opened;
  }

  /** The cells of a process from the `first` on, one after the other; then it is ended. */
  async #runCells(round: number, session: Session, first: number): Promise<void> {
    const { context, progress, stopped, options } = this.#run;
    const { entry, cells } = session.plan;
    for (const cell of cells.slice(first)) {
      if (stopped.aborted || this.#dropped.has(entry.id)) break;
      progress.doing(`${entry.id} ${cell.id}`);
      const startedMs = performance.now();
      try {
        const order = this.#order++;
        const seed = options.seed + order;
        const run = await runCell(session, cell, { round, order, seed }, context);
        if (stopped.aborted) break;
        this.#measured(round, entry, cell, run);
      } catch (error) {
        if (stopped.aborted) break;
        this.#failed(entry, error as Error);
        break;
      } finally {
        this.#costs.ran(entry.id, cell.id, (performance.now() - startedMs) / 1000);
      }
    }
    await session.server?.stop();
    if (performance.now() - this.#savedMs > SAVE_EVERY_MS) this.save();
  }

  /** Notes a failure; an entry that keeps failing is left out, the study goes on. */
  #failed(entry: Entry, error: Error): void {
    const { results, progress, stopped } = this.#run;
    if (stopped.aborted) return;
    const count = (this.#failures.get(entry.id) ?? 0) + 1;
    this.#failures.set(entry.id, count);
    const reason = error.message.replaceAll('\n', ' ').slice(0, 300);
    const measured = results.measurements.some((run) => run.entry === entry.id);
    if (count < FAILURES_MAX && measured) {
      results.warnings.push(`${entry.id}: a run failed and is missing: ${reason}`);
    } else {
      this.#dropped.add(entry.id);
      const since = measured ? 'left out from then on' : 'never measured';
      results.leftOut.push(`${entry.id}: ${since}: ${reason}`);
    }
    progress.note(`${entry.id} failed: ${reason}`);
  }
}
