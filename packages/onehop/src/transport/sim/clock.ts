import type { Clock, TimerHandle } from '../../core/index.ts';

interface Event {
  atMs: number;
  /** Events of one instant run in the order they were made. */
  order: number;
  callback: (() => void) | null;
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/**
 * Virtual time: it stands still until told to move, and everything the simulated network does is an
 * event on it. `run` and `advance` run callbacks synchronously; code under test that awaits promises
 * needs `runAsync`, which lets the promises settle between events.
 */
export class SimClock implements Clock {
  #nowMs = 0;
  #made = 0;
  /** A binary heap, earliest first. */
  #heap: Event[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  /** Events waiting, cancelled ones not yet reached included. */
  get pending(): number {
    return this.#heap.length;
  }

  setTimer(callback: () => void, delayMs: number): TimerHandle {
    const event = { atMs: this.#nowMs + Math.max(delayMs, 0), order: this.#made++, callback };
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
    return event;
  }

  clearTimer(handle: TimerHandle): void {
    (handle as Event).callback = null;
  }

  /** Runs the earliest event; false when nothing is left up to `untilMs`. */
  step(untilMs = Number.POSITIVE_INFINITY): boolean {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.atMs > untilMs) return false;
      this.#pop();
      if (first.callback === null) continue;
      this.#nowMs = first.atMs;
      first.callback();
      return true;
    }
  }

  /** Runs until nothing is left and returns how many events ran; throws after `eventsMax`. */
  run(eventsMax = 10_000_000): number {
    let events = 0;
    while (this.step()) {
      if (++events > eventsMax) throw new Error(`the simulation does not end: ${events} events`);
    }
    return events;
  }

  /** Moves time by `ms`, running what falls into it. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.step(untilMs)) {}
    this.#nowMs = untilMs;
  }

  /**
   * Like `run`, but promise callbacks run between events. Ends when `until` returns true, or when
   * nothing is left.
   */
  async runAsync(until: () => boolean = () => false, eventsMax = 10_000_000): Promise<void> {
    for (let events = 0; events <= eventsMax; events++) {
      await settle();
      if (until() || !this.step()) return;
    }
    throw new Error(`the simulation does not end: ${eventsMax} events`);
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

/** Chains of promises a few links long get to run. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await null;
}
