/**
 * Wakes an open loop at its due instants. Timers of both runtimes are coarse (1 ms and often late),
 * so a timer covers the distance and turns of the event loop the last stretch. Far from the next due
 * instant the process sleeps.
 */

/** Below this distance the pacer spins; a timer may be that late. */
const SPIN_MS = 1.2;

export interface Pacer {
  stop(): void;
}

/** Calls `wake` when `dueMs()` (on the clock of `nowMs`) has come, until stopped. */
export function startPacer(nowMs: () => number, dueMs: () => number, wake: () => void): Pacer {
  let stopped = false;
  let timer: NodeJS.Timeout | null = null;
  const step = (): void => {
    timer = null;
    if (stopped) return;
    const wait = dueMs() - nowMs();
    if (wait <= 0) wake();
    if (stopped) return;
    const next = dueMs() - nowMs();
    if (next === Number.POSITIVE_INFINITY) timer = setTimeout(step, 50);
    else if (next > SPIN_MS + 1) timer = setTimeout(step, Math.floor(next - SPIN_MS));
    else setImmediate(step);
  };
  step();
  return {
    stop() {
      stopped = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}
