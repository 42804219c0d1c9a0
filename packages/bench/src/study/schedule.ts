/**
 * What runs in which round and in which order. Pure: costs go in, blocks come out.
 *
 * A block is one fresh API process: one entry in one round. Blocks of a round are shuffled by the
 * seed and the round's number. The main tasks run in every round; side tasks take turns in the time
 * that the main ones leave, so that each has its rounds spread over the run.
 */
import { roundRandom, shuffled } from './random.ts';

/** One entry in one cell: what can be measured once per round. */
export interface Task {
  entry: string;
  cell: string;
  main: boolean;
  /** How often a side task runs compared with another: 2 is twice as often. */
  weight: number;
  /** Controls run without being asked for in each round in which something else uses their cell. */
  control: boolean;
}

/** One fresh API process and the cells it goes through, in order. */
export interface Block {
  entry: string;
  cells: string[];
}

export interface CostModel {
  /** Seconds of starting and stopping the API process of an entry. */
  startS(entry: string): number;
  /** Seconds of warm-up, load and bookkeeping of one cell. */
  cellS(entry: string, cell: string): number;
}

export interface RoundRequest {
  round: number;
  seed: number;
  tasks: readonly Task[];
  /** Rounds wanted in all. */
  rounds: number;
  /** Seconds left for this and all later rounds; null for no limit. */
  secondsLeft: number | null;
  /** Rounds each task already has, by {@link taskKey}. */
  done: ReadonlyMap<string, number>;
  costs: CostModel;
}

/** Below this many rounds even the quick verdict is not worth its name: main tasks come first. */
export const ROUNDS_QUICK = 5;
/** Rounds that side tasks should get before the main tasks get more than the quick minimum. */
export const SIDE_ROUNDS_WANTED = 1;

export function taskKey(task: { entry: string; cell: string }): string {
  return `${task.entry} ${task.cell}`;
}

/** Groups tasks into blocks and shuffles them; within a block the cells keep the order of `tasks`. */
export function buildBlocks(tasks: readonly Task[], seed: number, round: number): Block[] {
  const byEntry = new Map<string, Block>();
  for (const task of tasks) {
    const block = byEntry.get(task.entry);
    if (block === undefined) byEntry.set(task.entry, { entry: task.entry, cells: [task.cell] });
    else block.cells.push(task.cell);
  }
  return shuffled([...byEntry.values()], roundRandom(seed, round));
}

function costS(tasks: readonly Task[], costs: CostModel, started: Set<string>): number {
  let sum = 0;
  for (const task of tasks) {
    sum += costs.cellS(task.entry, task.cell);
    if (!started.has(task.entry)) sum += costs.startS(task.entry);
    started.add(task.entry);
  }
  return sum;
}

/** Seconds that one round of these tasks is expected to take. */
export function roundCostS(tasks: readonly Task[], costs: CostModel): number {
  return costS(tasks, costs, new Set());
}

/** Controls of the cells in `chosen` that are not in it yet. */
function withControls(chosen: readonly Task[], tasks: readonly Task[]): Task[] {
  const cells = new Set(chosen.map((task) => task.cell));
  const present = new Set(chosen.map(taskKey));
  const controls = tasks.filter(
    (task) => task.control && cells.has(task.cell) && !present.has(taskKey(task)),
  );
  return [...chosen, ...controls];
}

/**
 * How many main rounds to aim for in all: as many as asked for, less when the side tasks would not
 * get their share, but never below the quick minimum while time allows that.
 */
export function roundsAimed(request: RoundRequest): number {
  const { tasks, costs, secondsLeft, round, rounds, done } = request;
  if (secondsLeft === null) return rounds;
  const mainS = roundCostS(mainTasks(tasks), costs);
  const sides = sideTasks(tasks).filter((task) => (done.get(taskKey(task)) ?? 0) === 0);
  const sideS = roundCostS(sides, costs) * SIDE_ROUNDS_WANTED;
  const affordable = Math.floor((secondsLeft - sideS) / mainS);
  const possible = Math.floor(secondsLeft / mainS);
  const least = Math.min(possible, Math.max(0, ROUNDS_QUICK - round));
  return Math.min(rounds, round + Math.max(least, affordable));
}

function mainTasks(tasks: readonly Task[]): Task[] {
  return tasks.filter((task) => task.main);
}

function sideTasks(tasks: readonly Task[]): Task[] {
  return tasks.filter((task) => !task.main && !task.control);
}

/** The side tasks of this round: those furthest behind their share, as many as time allows. */
function chooseSides(request: RoundRequest, roundsLeft: number, mainS: number): Task[] {
  const { tasks, costs, secondsLeft, done, seed, round, rounds } = request;
  const sides = sideTasks(tasks);
  if (secondsLeft === null) return sides;
  let allowance = (secondsLeft - roundsLeft * mainS) / roundsLeft;
  const behind = shuffled(sides, roundRandom(seed ^ 0x51ed270b, round))
    .filter((task) => (done.get(taskKey(task)) ?? 0) < rounds)
    .sort((a, b) => share(a, done) - share(b, done));
  const started = new Set(mainTasks(tasks).map((task) => task.entry));
  const chosen: Task[] = [];
  const controlCells = new Set(mainTasks(tasks).map((task) => task.cell));
  for (const task of behind) {
    let price = costs.cellS(task.entry, task.cell);
    if (!started.has(task.entry)) price += costs.startS(task.entry);
    if (!controlCells.has(task.cell)) {
      price += costS(
        tasks.filter((other) => other.control && other.cell === task.cell),
        costs,
        started,
      );
    }
    if (price > allowance) continue;
    allowance -= price;
    started.add(task.entry);
    controlCells.add(task.cell);
    chosen.push(task);
  }
  return chosen;
}

function share(task: Task, done: ReadonlyMap<string, number>): number {
  return (done.get(taskKey(task)) ?? 0) / task.weight;
}

/**
 * The blocks of one round, or null when the study is over: rounds reached or too little time left
 * for a whole round. Round 0 always runs, however short the budget.
 */
export function planRound(request: RoundRequest): Block[] | null {
  const { round, seed, tasks, secondsLeft, costs, rounds } = request;
  if (round >= rounds) return null;
  const main = mainTasks(tasks);
  const mainS = roundCostS(main, costs);
  if (secondsLeft !== null && round > 0 && secondsLeft < mainS) return null;
  const roundsLeft = Math.max(1, roundsAimed(request) - round);
  const chosen = new Set(
    withControls([...main, ...chooseSides(request, roundsLeft, mainS)], tasks).map(taskKey),
  );
  // In the order of `tasks`: the main cell comes first in every process, so that what was measured
  // before it is the same in all rounds: nothing.
  return buildBlocks(
    tasks.filter((task) => chosen.has(taskKey(task))),
    seed,
    round,
  );
}
