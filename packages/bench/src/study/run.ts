/** Runs the rounds of a study and keeps what was measured, whatever happens. */
import type { Cell, Entry, StudyResults } from '../results/types.ts';
import { CostBook } from './costs.ts';
import { groupBy } from './group.ts';
import type { StudyOptions } from './options.ts';
import type { Progress } from './progress.ts';
import { type Block, planRound, roundsAimed, type Task, taskKey } from './schedule.ts';
import {
  openSession,
  runCell,
  type Session,
  type SessionContext,
  type SessionPlan,
} from './session.ts';
import type { StudyStore } from './store.ts';

/** An entry that failed this often in a row is left out of the rest. */
const FAILURES_MAX = 2;
/** Results are written at most this often while cells follow each other. */
const SAVE_EVERY_MS = 2000;
/** Processes started at the same time, while nothing is measured. */
const STARTED_TOGETHER = 2;

export interface StudyRun {
  options: StudyOptions;
  tasks: Task[];
  results: StudyResults;
  context: SessionContext;
  store: StudyStore;
  progress: Progress;
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
    this.#costs = new CostBook(entries, cells, run.options);
    this.#order = measurements.reduce((order, run) => Math.max(order, run.order + 1), 0);
    for (const { entry, cell, round } of measurements) this.#remember(entry, cell, round);
  }

  /** Rounds until enough, out of time or stopped. What was measured is in `results` and on disk. */
  async measure(): Promise<void> {
    const { results, stopped } = this.#run;
    // An interrupted round is taken up again; what it has is not measured twice.
    let round = results.measurements.reduce((last, run) => Math.max(last, run.round), 0);
    for (; !stopped.aborted; round++) {
      const blocks = this.#plan(round);
      if (blocks === null) break;
      const sessions = this.#sessions(round, blocks);
      if (sessions.length === 0) continue;
      this.#run.progress.round(round, this.#roundsShown, sessions.length);
      await this.#measureRound(round, sessions);
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

  #plan(round: number): Block[] | null {
    const { options, tasks, results } = this.#run;
    const left = this.#run.timeLeftMs();
    const more = options.untilDecided && round >= options.rounds && !this.#run.isDecided(results);
    const request = {
      round,
      seed: options.seed,
      tasks: tasks.filter((task) => !this.#dropped.has(task.entry)),
      rounds: more ? round + 1 : options.rounds,
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

  async #measureRound(round: number, sessions: readonly SessionPlan[]): Promise<void> {
    const { stopped, progress } = this.#run;
    for (let at = 0; at < sessions.length && !stopped.aborted; at += STARTED_TOGETHER) {
      // The first round is finished in any case: it is what all entries have.
      if (round > 0 && this.#outOfTime()) return;
      const group = sessions.slice(at, at + STARTED_TOGETHER);
      const opened = await this.#openAll(group);
      for (const session of opened) {
        if (session !== null && !stopped.aborted) await this.#runCells(round, session);
        progress.blockDone();
      }
      // A stop in between leaves the second one unused.
      await Promise.all(opened.map((session) => session?.server?.stop()));
    }
  }

  async #openAll(plans: readonly SessionPlan[]): Promise<(Session | null)[]> {
    const { context, progress } = this.#run;
    progress.doing(`starting ${plans.map((plan) => plan.entry.id).join(', ')}`);
    const startedMs = performance.now();
    const opened = await Promise.all(
      plans.map((plan) =>
        openSession(plan, context).catch((error: Error) => {
          this.#failed(plan.entry, error);
          return null;
        }),
      ),
    );
    const seconds = (performance.now() - startedMs) / 1000 / plans.length;
    for (const plan of plans) this.#costs.started(plan.entry.id, seconds);
    return opened;
  }

  async #runCells(round: number, session: Session): Promise<void> {
    const { context, progress, stopped, options, results, store } = this.#run;
    const { entry, cells } = session.plan;
    for (const cell of cells) {
      if (stopped.aborted || this.#dropped.has(entry.id)) break;
      progress.doing(`${entry.id} ${cell.id}`);
      const startedMs = performance.now();
      try {
        const order = this.#order++;
        const seed = options.seed + order;
        const run = await runCell(session, cell, { round, order, seed }, context);
        if (stopped.aborted) break;
        results.measurements.push(run.measurement);
        this.#remember(entry.id, cell.id, round);
        this.#failures.delete(entry.id);
        store.saveRun(round, entry.id, cell, run.oha);
        progress.measured(run.measurement);
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
