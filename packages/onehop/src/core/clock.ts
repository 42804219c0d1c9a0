/**
 * Time as the layers above see it. The runtime's clock is {@link systemClock}; the simulated
 * transport brings a virtual one, so nothing outside this file and `transport/` may call
 * `Date.now`, `performance.now` or `setTimeout` on the data path.
 */
export interface Clock {
  /** Monotonic milliseconds with a fraction, from an arbitrary start. */
  nowMs(): number;
  /** Calls `callback` once after `delayMs`. Does not keep the process alive. */
  setTimer(callback: () => void, delayMs: number): TimerHandle;
  clearTimer(handle: TimerHandle): void;
}

/** Opaque to everyone but the clock that made it. */
export type TimerHandle = unknown;

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return timer;
  },
  clearTimer(handle) {
    clearTimeout(handle as NodeJS.Timeout);
  },
};
