/**
 * What runs in which round and in which order. Pure: costs go in, blocks come out.
 *
 * A block is one fresh API process: one entry in one round. Blocks of a round are shuffled by the
 * seed and the round's number. The main tasks run in every round. Some side tasks are promised a
 * number of rounds, for which time is kept back; all of them take turns in what is left then. Time
 * alone decides, never what was measured.
 */
import { ROUNDS_MIN } from '../stats/index.ts';
import { roundRandom, shuffled } from './random.ts';

/** One entry in one cell: what can be measured once per round. */
export interface Task {
  entry: string;
  cell: string;
  main: boolean;
  /** How often a side task runs compared with another: 2 is twice as often. */
  weight: number;
  /** Rounds of a side task that time is kept back for. */
  promised: number;
  /** Promised tasks of one name have their rounds together: ratios need common rounds. */
  together: string | null;
  /** Controls run without being asked for in each round in which something else uses their cell. */
  control: boolean;
}

/** One fresh API process and the cells it goes through, in order. */
export interface Block {
  entry: string;
  cells: string[];
}

export interface RoundPlan {
  blocks: Block[];
  /** Passes of the main tasks' turns; 1 when they are measured in one piece. */
  passes: number;
}

export interface CostModel {
  /** Seconds of starting, warming up and stopping the API process of an entry. */
  startS(entry: string): number;
  /** Seconds of load and bookkeeping of one cell in one piece. */
  cellS(entry: string, cell: string): number;
  /** The same of one of the pieces of a main task. */
  pieceS(entry: string, cell: string): number;
}

export interface RoundRequest {
  round: number;
  seed: number;
  tasks: readonly Task[];
  /** Rounds wanted in all. */
  rounds: number;
  /** Passes wanted of a main cell in pieces; 1 for one piece. */
  passes: number;
  /** Passes that are not kept come on top. */
  rehearsals: number;
  /** Seconds left for this and all later rounds; null for no limit. */
  secondsLeft: number | null;
  /** Rounds each task already has, by {@link taskKey}. */
  done: ReadonlyMap<string, number>;
  costs: CostModel;
}

/**
 * Where time is short rounds have fewer passes, but this share of those wanted. More rounds tell more
 * than more passes: processes of one client differ by more than the pieces of one process.
 */
const PASSES_LEAST_SHARE = 0.5;
/** Of the time that is left, at most this is kept back for what is promised. */
export const PROMISED_SHARE_MAX = 0.35;
/** Rounds have come out this much dearer than foreseen; the fifth must fit in nevertheless. */
const VERDICT_MARGIN = 1.2;

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

const leastPasses = ({ passes }: RoundRequest): number => Math.ceil(passes * PASSES_LEAST_SHARE);

const mainTasks = (tasks: readonly Task[]): Task[] => tasks.filter((task) => task.main);

const sideTasks = (tasks: readonly Task[]): Task[] =>
  tasks.filter((task) => !task.main && !task.control);

/** Seconds of the main tasks of one round: what all rounds have, and what each pass adds. */
function mainCost({ tasks, costs, passes, rehearsals }: RoundRequest): {
  fixedS: number;
  passS: number;
} {
  let [startsS, passS] = [0, 0];
  for (const { entry, cell } of mainTasks(tasks)) {
    startsS += costs.startS(entry);
    passS += passes === 1 ? costs.cellS(entry, cell) : costs.pieceS(entry, cell);
  }
  return { fixedS: startsS + (passes === 1 ? 0 : rehearsals * passS), passS };
}

/** Side tasks of one round, with the controls that they bring along and what all of it costs. */
class Basket {
  readonly chosen: Task[] = [];
  spentS = 0;
  readonly #request: RoundRequest;
  #started: Set<string>;
  #cells: Set<string>;

  constructor(request: RoundRequest) {
    const main = mainTasks(request.tasks);
    this.#request = request;
    this.#started = new Set(main.map((task) => task.entry));
    this.#cells = new Set(main.map((task) => task.cell));
  }

  copy(): Basket {
    const copy = new Basket(this.#request);
    copy.spentS = this.spentS;
    copy.#started = new Set(this.#started);
    copy.#cells = new Set(this.#cells);
    return copy;
  }

  /** A process that runs anyway is warm: its further cells tell more for the same time. */
  isNewcomer(task: Task): boolean {
    return !this.#started.has(task.entry);
  }

  /** What the tasks would add to what is spent. */
  priceS(...tasks: readonly Task[]): number {
    const copy = this.copy();
    for (const task of tasks) copy.add(task);
    return copy.spentS - this.spentS;
  }

  add(task: Task): void {
    for (const one of this.#with(task)) {
      this.spentS += this.#ownS(one);
      this.#started.add(one.entry);
      this.chosen.push(one);
    }
    this.#cells.add(task.cell);
  }

  /** The task, and the controls of its cell unless they are there. */
  #with(task: Task): Task[] {
    const { tasks } = this.#request;
    if (this.#cells.has(task.cell)) return [task];
    return [task, ...tasks.filter((other) => other.control && other.cell === task.cell)];
  }

  #ownS({ entry, cell }: Task): number {
    const { costs } = this.#request;
    return costs.cellS(entry, cell) + (this.#started.has(entry) ? 0 : costs.startS(entry));
  }
}

const doneOf = (task: Task, { done }: RoundRequest): number => done.get(taskKey(task)) ?? 0;

/** Promised tasks with rounds to come, those furthest behind first. */
function promisedTasks(request: RoundRequest): Task[] {
  const { tasks, seed, round } = request;
  return shuffled(sideTasks(tasks), roundRandom(seed ^ 0x7f4a7c15, round))
    .filter((task) => doneOf(task, request) < task.promised)
    .sort((a, b) => doneOf(a, request) - doneOf(b, request));
}

/**
 * Seconds kept back for what is promised, this round included. It gives way to the rounds without
 * which there is no verdict, with a margin: where time is just enough for them there is nothing else
 * until they turn out to be cheap. Time that is too short for them anyway is shared.
 */
function reservedS(request: RoundRequest, leastS: number): number {
  const basket = new Basket(request);
  let wantedS = 0;
  for (const task of promisedTasks(request)) {
    wantedS += basket.priceS(task) * (task.promised - doneOf(task, request));
  }
  const leftS = request.secondsLeft ?? 0;
  const verdictS = Math.max(0, Math.min(ROUNDS_MIN, request.rounds) - request.round) * leastS;
  const isHopeless = leftS * VERDICT_MARGIN < verdictS;
  const besideS = isHopeless ? leftS : Math.max(0, leftS - verdictS * VERDICT_MARGIN);
  return Math.min(wantedS, leftS * PROMISED_SHARE_MAX, besideS);
}

/** How many main rounds to aim for in all: those asked for, or as many as time allows. */
export function roundsAimed(request: RoundRequest): number {
  const { secondsLeft, round, rounds } = request;
  if (secondsLeft === null) return rounds;
  const { fixedS, passS } = mainCost(request);
  const leastS = fixedS + leastPasses(request) * passS;
  // A hair of rounding must not cost a round.
  const mainS = secondsLeft - reservedS(request, leastS) + 1e-6;
  return Math.min(rounds, round + Math.floor(mainS / leastS));
}

/** The promised side tasks that are due, then those furthest behind their share in what is left. */
function chooseSides(
  request: RoundRequest,
  keptS: number,
  promisedS: number,
  furtherS: number,
): { chosen: Task[]; furtherS: number } {
  const basket = new Basket(request);
  const promised = promisedTasks(request);
  for (const task of promised) {
    if (basket.chosen.includes(task)) continue;
    if (basket.spentS >= promisedS) break;
    const group =
      task.together === null
        ? [task]
        : promised.filter(({ together }) => together === task.together);
    // More than this round's share is fine, more than all that is kept is not.
    if (basket.spentS + basket.priceS(...group) > keptS) continue;
    for (const one of group) basket.add(one);
  }
  const { seed, round, rounds } = request;
  const share = (task: Task): number => doneOf(task, request) / task.weight;
  const behind = shuffled(sideTasks(request.tasks), roundRandom(seed ^ 0x51ed270b, round))
    .filter((task) => doneOf(task, request) < rounds && !basket.chosen.includes(task))
    .sort(
      (a, b) => share(a) - share(b) || Number(basket.isNewcomer(a)) - Number(basket.isNewcomer(b)),
    );
  const promisedSpentS = basket.spentS;
  for (const task of behind) {
    if (basket.spentS - promisedSpentS + basket.priceS(task) <= furtherS) basket.add(task);
  }
  return { chosen: basket.chosen, furtherS: basket.spentS - promisedSpentS };
}

/** All controls of the cells in `chosen`. */
function withControls(chosen: readonly Task[], tasks: readonly Task[]): Set<string> {
  const cells = new Set(chosen.map((task) => task.cell));
  const controls = tasks.filter((task) => task.control && cells.has(task.cell));
  return new Set([...chosen, ...controls].map(taskKey));
}

/**
 * The blocks of one round, or null when the study is over: rounds reached or too little time left
 * for a whole round. Round 0 always runs, however short the budget.
 */
export function planRound(request: RoundRequest): RoundPlan | null {
  const { round, seed, tasks, secondsLeft, rounds } = request;
  if (round >= rounds) return null;
  const { fixedS, passS } = mainCost(request);
  const leastS = fixedS + leastPasses(request) * passS;
  if (secondsLeft !== null && round > 0 && secondsLeft < leastS) return null;
  let [sides, passes] = [sideTasks(tasks), request.passes];
  if (secondsLeft !== null) {
    const aimed = roundsAimed(request);
    const roundsLeft = Math.max(1, aimed - round);
    const keptS = reservedS(request, leastS);
    // Done before the last round: if time was misjudged, that one bears it.
    const promisedS = keptS / Math.max(1, roundsLeft - 1);
    // The last round may take what is there: if it ends early, what it has counts.
    const margin = aimed <= ROUNDS_MIN && roundsLeft > 1 ? VERDICT_MARGIN : 1;
    const roundS = (secondsLeft - keptS) / roundsLeft / margin;
    const found = chooseSides(request, keptS, promisedS, roundS - fixedS - passes * passS);
    sides = found.chosen;
    const possible = Math.floor((roundS - found.furtherS - fixedS) / passS);
    passes = Math.min(passes, Math.max(leastPasses(request), possible));
  }
  const chosen = withControls([...mainTasks(tasks), ...sides], tasks);
  // In the order of `tasks`: the main cell comes first in every process, so that what was measured
  // before it is the same in all rounds: nothing.
  const planned = tasks.filter((task) => chosen.has(taskKey(task)));
  return { blocks: buildBlocks(planned, seed, round), passes };
}
