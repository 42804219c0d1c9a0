/**
 * Wakes an open loop at its due instants. Timers of both runtimes come a millisecond or more late,
 * and spinning would cost a core that the server under test may need. So a thread sleeps in the
 * kernel until shortly before the instant and sends a message; turns of the event loop cover the
 * rest, for at most a fifth of the distance between two requests.
 */
import { Worker } from 'node:worker_threads';

/** What the way from the sleeping thread to our event loop takes, about. */
const WAKE_MS = 0.07;
const SPIN_MS_MAX = 0.12;
const SPIN_SHARE = 0.2;
/** A wake-up that got lost on a starved machine is made up for after this long at most. */
const WATCHDOG_MS = 4;
/** A thread that does not start in this time never will, on a machine of any speed. */
const READY_MS = 30_000;

export interface Pacer {
  /** Starts calling `wake` whenever `dueMs()` has come; `wake` must move `dueMs` on. */
  start(nowMs: () => number, dueMs: () => number, wake: () => void): void;
  stop(): void;
}

/** `gapMs`: mean distance between two requests. Resolves when the sleeping thread is ready. */
export async function createPacer(gapMs: number): Promise<Pacer> {
  const shared = new SharedArrayBuffer(16);
  const worker = new Worker(new URL('./pacer-thread.js', import.meta.url), {
    workerData: { shared },
  });
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the pacing thread did not start')), READY_MS);
    worker.once('error', reject);
    worker.once('message', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  await ready;
  return new ThreadPacer(worker, shared, Math.min(SPIN_MS_MAX, SPIN_SHARE * gapMs));
}

class ThreadPacer implements Pacer {
  private readonly worker: Worker;
  private readonly words: Int32Array;
  private readonly sleepMs: Float64Array;
  private readonly spinMs: number;
  private nowMs: () => number = () => 0;
  private dueMs: () => number = () => 0;
  private wake: () => void = () => {};
  private stopped = false;
  private watchdog: NodeJS.Timeout | null = null;
  /** The instant the thread sleeps for. */
  private armedForMs = Number.NaN;
  private readonly step: () => void;

  constructor(worker: Worker, shared: SharedArrayBuffer, spinMs: number) {
    this.worker = worker;
    this.words = new Int32Array(shared, 0, 2);
    this.sleepMs = new Float64Array(shared, 8, 1);
    this.spinMs = spinMs;
    this.step = () => this.advance();
    worker.on('message', () => {
      // It may have come early, or for an instant that was served meanwhile: sleep again then.
      this.armedForMs = Number.NaN;
      this.advance();
    });
  }

  start(nowMs: () => number, dueMs: () => number, wake: () => void): void {
    this.nowMs = nowMs;
    this.dueMs = dueMs;
    this.wake = wake;
    this.watchdog = setInterval(() => {
      if (this.dueMs() > this.nowMs()) return;
      this.armedForMs = Number.NaN;
      this.advance();
    }, WATCHDOG_MS);
    this.advance();
  }

  private advance(): void {
    if (this.stopped) return;
    if (this.dueMs() <= this.nowMs()) this.wake();
    // `wake` may have ended the run.
    if (this.stopped) return;
    const due = this.dueMs();
    if (due === Number.POSITIVE_INFINITY) return;
    const sleepMs = due - this.nowMs() - this.spinMs - WAKE_MS;
    if (sleepMs <= 0.01) {
      setImmediate(this.step);
      return;
    }
    if (this.armedForMs === due) return;
    this.armedForMs = due;
    this.sleepMs[0] = sleepMs;
    Atomics.add(this.words, 0, 1);
    Atomics.notify(this.words, 0);
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    if (this.watchdog !== null) clearInterval(this.watchdog);
    Atomics.store(this.words, 1, 1);
    Atomics.add(this.words, 0, 1);
    Atomics.notify(this.words, 0);
    this.worker.unref();
  }
}
