/**
 * Circuit breaker of one upstream: when too large a share of its recent exchanges failed, it answers
 * at once for a while instead of adding to the trouble, then lets single exchanges probe.
 */
export interface BreakerRules {
  readonly errorShare: number;
  readonly requestsMin: number;
  readonly windowMs: number;
  readonly openForMs: number;
}

const SLOTS = 10;

/** Answer of {@link Breaker.tryPass}: a probe is the one exchange that a half-open breaker waits for. */
export const Pass = { No: 0, Yes: 1, Probe: 2 } as const;
export type Pass = (typeof Pass)[keyof typeof Pass];

export const BreakerState = { Closed: 0, Open: 1, HalfOpen: 2 } as const;
export type BreakerState = (typeof BreakerState)[keyof typeof BreakerState];

export class Breaker {
  readonly #rules: BreakerRules;
  readonly #slotMs: number;
  /** A ring of time slots, so that old exchanges are forgotten without a timer. */
  readonly #totals = new Uint32Array(SLOTS);
  readonly #errors = new Uint32Array(SLOTS);
  #slot = 0;
  #slotStartMs = Number.NEGATIVE_INFINITY;
  #openUntilMs = 0;
  #state: BreakerState = BreakerState.Closed;
  #probing = false;

  constructor(rules: BreakerRules) {
    this.#rules = rules;
    this.#slotMs = rules.windowMs / SLOTS;
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** Whether an exchange may start now. A half-open breaker lets one through at a time. */
  tryPass(nowMs: number): Pass {
    if (this.#state === BreakerState.Closed) return Pass.Yes;
    if (this.#state === BreakerState.Open) {
      if (nowMs < this.#openUntilMs) return Pass.No;
      this.#state = BreakerState.HalfOpen;
      this.#probing = false;
    }
    if (this.#probing) return Pass.No;
    this.#probing = true;
    return Pass.Probe;
  }

  /** Milliseconds until it is worth trying again: for Retry-After. */
  retryAfterMs(nowMs: number): number {
    return this.#state === BreakerState.Open ? Math.max(0, this.#openUntilMs - nowMs) : 0;
  }

  /** Those it opened for are gone and others are there: one exchange may try them at once. */
  tryNow(nowMs: number): void {
    if (this.#state === BreakerState.Open) this.#openUntilMs = nowMs;
  }

  /** The probe was cancelled: it says nothing about the upstream, but frees its place. */
  onProbeCancelled(): void {
    this.#probing = false;
  }

  /** An exchange ended. While the breaker is half open only the probe's result counts. */
  onResult(ok: boolean, nowMs: number, isProbe: boolean): void {
    if (this.#state === BreakerState.HalfOpen) {
      // Those that began before it opened tell of the past.
      if (!isProbe) return;
      this.#probing = false;
      if (ok) {
        this.#state = BreakerState.Closed;
        this.#totals.fill(0);
        this.#errors.fill(0);
      } else {
        this.#open(nowMs);
      }
      return;
    }
    this.#advance(nowMs);
    this.#totals[this.#slot]!++;
    if (!ok) this.#errors[this.#slot]!++;
    if (ok || this.#state === BreakerState.Open) return;
    let total = 0;
    let errors = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      total += this.#totals[slot]!;
      errors += this.#errors[slot]!;
    }
    if (total >= this.#rules.requestsMin && errors / total >= this.#rules.errorShare) {
      this.#open(nowMs);
    }
  }

  #open(nowMs: number): void {
    this.#state = BreakerState.Open;
    this.#openUntilMs = nowMs + this.#rules.openForMs;
  }

  #advance(nowMs: number): void {
    let steps = Math.floor((nowMs - this.#slotStartMs) / this.#slotMs);
    if (steps < 1) return;
    this.#slotStartMs = nowMs;
    for (steps = Math.min(steps, SLOTS); steps > 0; steps--) {
      this.#slot = (this.#slot + 1) % SLOTS;
      this.#totals[this.#slot] = 0;
      this.#errors[this.#slot] = 0;
    }
  }
}
