/** The main cell of a round: all its entries measured in pieces, by turns. */
import type { CellRun } from './cell-run.ts';
import { watchOthers } from './other-load.ts';
import { roundRandom, shuffled } from './random.ts';
import type { Session, SessionContext } from './session.ts';

/**
 * Passes that are not kept. While its turn is awaited a process cools: its heap shrinks and compiled
 * code is dropped. Its first 300 ms of pieces cost up to twice as much as those that follow.
 */
export const REHEARSALS = 3;

/** What the owner of the round hears of. */
export interface TurnEvents {
  doing(what: string): void;
  failed(session: Session, error: Error): Promise<void>;
  /** Asked before each kept pass but the first: whether there is no time for another. */
  mustEnd(): boolean;
}

export interface TurnsPlan {
  /** Passes to be kept. */
  passes: number;
  /** Pieces that a whole cell is cut into: decides how long one is. */
  slices: number;
  round: number;
  /** Decides the orders, with the round's number. */
  seed: number;
}

/** Whether an entry with `of` pieces has one in this pass: spread evenly, the first pass included. */
export function hasTurn(pass: number, passes: number, of: number): boolean {
  return Math.ceil((pass * of) / passes) < Math.ceil(((pass + 1) * of) / passes);
}

/**
 * Measures warm processes in short pieces, in a new order in each pass: whatever changes on the
 * machine within seconds hits all entries alike.
 * @returns what ran, in the order given; not yet finished
 */
export async function runByTurns(
  sessions: readonly Session[],
  plan: TurnsPlan,
  context: SessionContext,
  events: TurnEvents,
  stopped: AbortSignal,
): Promise<CellRun[]> {
  const { passes, slices, round, seed } = plan;
  let runs: CellRun[] = [];
  for (const session of sessions) {
    if (session.firstRun !== null) runs.push(session.firstRun);
    session.firstRun = null;
  }
  const pieces = new Map(runs.map((run) => [run, run.piecesMax(slices)]));
  const others = watchOthers(context.children.pids());
  for (let pass = -REHEARSALS; pass < passes; pass++) {
    if (pass > 0 && events.mustEnd()) break;
    const random = roundRandom(seed ^ (0x2c1b3c6d * (pass + 1)), round);
    for (const run of shuffled(runs, random)) {
      if (stopped.aborted) return [];
      const { plan: session } = run.session;
      const of = pieces.get(run)!;
      if (pass >= 0 && !hasTurn(pass, slices, of)) continue;
      const what = pass < 0 ? 'warming up by turns' : `pass ${pass + 1} of ${passes}`;
      events.doing(`${session.entry.id} ${run.cell.id}, ${what}`);
      try {
        await (pass < 0 ? run.rehearse(slices) : run.slice(of, pass));
      } catch (error) {
        if (stopped.aborted) return [];
        runs = runs.filter((other) => other !== run);
        await events.failed(run.session, error as Error);
      }
    }
  }
  const otherCores = others.read();
  for (const run of runs) run.otherCores = otherCores;
  return stopped.aborted ? [] : runs;
}
