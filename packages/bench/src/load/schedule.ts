/** When each request of an open loop is due: decided by the plan and its seed alone. */
import { type Random, seededRandom } from '../stats/random.ts';
import type { LoadPlan } from './types.ts';

export interface Schedule {
  /** Milliseconds after the start at which the next request is due. */
  dueMs: number;
  /** Moves on to the request after that. */
  advance(): void;
  /** Offered requests per second. */
  readonly ratePerS: number;
}

class ConstantSchedule implements Schedule {
  dueMs = 0;
  readonly ratePerS: number;
  private index = 0;

  constructor(ratePerS: number) {
    this.ratePerS = ratePerS;
  }

  advance(): void {
    // From the index, not by adding: additions would drift over millions of requests.
    this.index++;
    this.dueMs = (this.index * 1_000) / this.ratePerS;
  }
}

class PoissonSchedule implements Schedule {
  dueMs = 0;
  readonly ratePerS: number;
  private readonly random: Random;

  constructor(ratePerS: number, seed: number) {
    this.ratePerS = ratePerS;
    this.random = seededRandom(seed);
    this.advance();
  }

  advance(): void {
    this.dueMs += (-Math.log(1 - this.random()) * 1_000) / this.ratePerS;
  }
}

class BurstSchedule implements Schedule {
  dueMs: number;
  readonly ratePerS: number;
  private readonly delayMs: number;
  private readonly requests: number;
  private index = 0;

  constructor(delayMs: number, requests: number) {
    this.delayMs = delayMs;
    this.requests = requests;
    this.dueMs = delayMs;
    this.ratePerS = (requests * 1_000) / delayMs;
  }

  advance(): void {
    this.index++;
    this.dueMs = this.delayMs * (1 + Math.floor(this.index / this.requests));
  }
}

/** The schedule of a plan; null for a closed loop. */
export function scheduleOf(plan: LoadPlan): Schedule | null {
  if (plan.burst !== null) return new BurstSchedule(plan.burst.delayMs, plan.burst.requests);
  if (plan.ratePerS === null) return null;
  return plan.arrivals === 'poisson'
    ? new PoissonSchedule(plan.ratePerS, plan.seed)
    : new ConstantSchedule(plan.ratePerS);
}
