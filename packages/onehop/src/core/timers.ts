/**
 * Coarse deadlines for everything above the transport. A deadline is armed and disarmed for every
 * exchange but hardly ever fires, so arming must cost next to nothing: a hierarchical timing wheel
 * of intrusive lists, with one runtime timer for all of them.
 *
 * Level 0 has slots of one tick, each level above slots 64 times as wide. A deadline waits in the
 * narrowest level that reaches it and moves down when its slot begins, so a 15 minute deadline is as
 * exact as one of 20 ms. The runtime timer sleeps until the next slot that holds anything; there is
 * no periodic tick.
 */
import type { Clock, TimerHandle } from './clock.ts';
import { type FaultReport, reportFault } from './guard.ts';

export interface DeadlineOwner {
  /** `kind` is the number the deadline was made with; it is no longer armed when this runs. */
  onDeadline(kind: number): void;
  /**
   * {@link onDeadline} threw: to report it and to end what the deadline was for, or to look again
   * later. Without it the wheel reports it. What it throws itself is reported, too.
   */
  onDeadlineThrew?(kind: number, error: unknown): void;
}

/** Links of a circular list; a bucket is a link that points to itself when empty. */
class Link {
  prev: Link = this;
  next: Link = this;
}

function unlink(link: Link): void {
  link.prev.next = link.next;
  link.next.prev = link.prev;
  link.prev = link;
  link.next = link;
}

/** Made once with its owner, then armed and disarmed on one {@link DeadlineWheel} as often as needed. */
export class Deadline extends Link {
  readonly owner: DeadlineOwner;
  readonly kind: number;
  /** First tick at which it may fire; -1 when not armed. For the wheel only. */
  dueTick = -1;

  constructor(owner: DeadlineOwner, kind: number) {
    super();
    this.owner = owner;
    this.kind = kind;
  }

  get armed(): boolean {
    return this.dueTick >= 0;
  }
}

const SLOTS = 64;
/** Ticks per slot of each level: at 4 ms a tick, 4 ms, 256 ms, 16 s and 17 min; 18 h in all. */
const SPANS = [1, 64, 4096, 262_144] as const;
const LEVELS = SPANS.length;

/**
 * Never fires early, except by what a turn had taken before it was armed within it (`beginTurn`); late
 * by at most one tick plus what the event loop adds. `arm` and `disarm` are
 * O(1) and allocate nothing. A timer that has become pointless is left to lapse instead of being
 * cleared, and it never keeps the process alive.
 */
export class DeadlineWheel {
  readonly clock: Clock;
  readonly tickMs: number;
  /** Takes what is thrown in timers, and what others that have the wheel catch. */
  readonly report: FaultReport;
  readonly #startMs: number;
  readonly #buckets: Link[] = [];
  /** Every deadline due at or before this tick has fired. */
  #tick = 0;
  #armed = 0;
  #timer: TimerHandle = null;
  /** Tick the runtime timer is set for; Infinity without one. */
  #wakeTick = Number.POSITIVE_INFINITY;
  #advancing = false;
  /** The clock as last read in the turn under way; 0 outside of turns. */
  #turnMs = 0;
  readonly #onTimer = (): void => {
    this.#timer = null;
    this.#wakeTick = Number.POSITIVE_INFINITY;
    this.#advance();
  };

  /** `tickMs` is the precision in milliseconds; `report` must not throw. */
  constructor(clock: Clock, tickMs = 4, report: FaultReport = reportFault) {
    if (!(tickMs > 0)) throw new RangeError('tickMs must be positive');
    this.clock = clock;
    this.tickMs = tickMs;
    this.report = report;
    this.#startMs = clock.nowMs();
    for (let i = 0; i < LEVELS * SLOTS; i++) this.#buckets.push(new Link());
  }

  /** Number of armed deadlines. */
  get armedCount(): number {
    return this.#armed;
  }

  /**
   * Monotonic milliseconds of the wheel's clock. Reads the clock: that costs some tens of ns, and a
   * cached time would be as old as the last event whenever the wheel sleeps.
   */
  nowMs(): number {
    const nowMs = this.clock.nowMs();
    if (this.#turnMs !== 0) this.#turnMs = nowMs;
    return nowMs;
  }

  /**
   * Begins a turn: one event of a socket, handled without waiting. Until {@link endTurn}, which must
   * follow whatever happens, {@link turnMs} and {@link arm} take the clock as it was last read.
   */
  beginTurn(): void {
    this.#turnMs = this.clock.nowMs();
  }

  endTurn(): void {
    this.#turnMs = 0;
  }

  /** The time for deadlines and idle times: within a turn as last read, else {@link nowMs}. */
  turnMs(): number {
    return this.#turnMs === 0 ? this.clock.nowMs() : this.#turnMs;
  }

  /**
   * Fires `deadline` once, `delayMs` from now. Arming an armed deadline moves it; moving it to a
   * later time only stores the new time, which is what an idle timeout does on every chunk. Whoever
   * has just read the clock passes `nowMs` and saves reading it again.
   */
  arm(deadline: Deadline, delayMs: number, nowMs: number = this.turnMs()): void {
    const elapsedMs = nowMs - this.#startMs;
    let due = Math.ceil((elapsedMs + Math.max(delayMs, 0)) / this.tickMs);
    if (deadline.dueTick >= 0) {
      if (due >= deadline.dueTick) {
        deadline.dueTick = due;
        return;
      }
      unlink(deadline);
      this.#armed--;
    }
    if (!this.#advancing) this.#catchUp(elapsedMs);
    // Not in the slot being fired now, or a delay of 0 would fire for ever.
    if (due <= this.#tick) due = this.#tick + 1;
    deadline.dueTick = due;
    this.#armed++;
    const startTick = this.#place(deadline, due);
    if (!this.#advancing && startTick < this.#wakeTick) this.#sleepUntil(startTick, elapsedMs);
  }

  disarm(deadline: Deadline): void {
    if (deadline.dueTick < 0) return;
    deadline.dueTick = -1;
    unlink(deadline);
    this.#armed--;
  }

  /** Moves the position forward over slots known to be empty, so that short delays land in level 0. */
  #catchUp(elapsedMs: number): void {
    const tick = Math.min(Math.floor(elapsedMs / this.tickMs), this.#wakeTick - 1);
    if (tick > this.#tick) this.#tick = tick;
  }

  /** Links the deadline into its bucket and returns the tick at which that bucket begins. */
  #place(deadline: Deadline, due: number): number {
    for (let level = 0; level < LEVELS; level++) {
      const span = SPANS[level]!;
      const base = Math.floor(this.#tick / span);
      let slot = Math.floor(due / span);
      if (slot - base >= SLOTS) {
        if (level < LEVELS - 1) continue;
        slot = base + SLOTS - 1; // beyond the last level: wait there and be placed again
      }
      const bucket = this.#buckets[level * SLOTS + (slot % SLOTS)]!;
      const last = bucket.prev;
      deadline.prev = last;
      deadline.next = bucket;
      last.next = deadline;
      bucket.prev = deadline;
      return slot * span;
    }
    return due;
  }

  /** Level and slot of the earliest bucket that holds anything, by its first tick; else Infinity. */
  #nextTick(): number {
    let first = Number.POSITIVE_INFINITY;
    for (let level = 0; level < LEVELS; level++) {
      const span = SPANS[level]!;
      const base = Math.floor(this.#tick / span);
      for (let i = 0; i < SLOTS; i++) {
        const bucket = this.#buckets[level * SLOTS + ((base + i) % SLOTS)]!;
        if (bucket.next === bucket) continue;
        const startTick = (base + i) * span;
        if (startTick < first) first = startTick;
        break;
      }
    }
    return first;
  }

  #advance(): void {
    this.#advancing = true;
    try {
      for (;;) {
        const next = this.#nextTick();
        if (next > (this.clock.nowMs() - this.#startMs) / this.tickMs) break;
        if (next > this.#tick) this.#tick = next;
        this.#empty(next);
      }
    } finally {
      this.#advancing = false;
      if (this.#armed > 0) {
        this.#sleepUntil(this.#nextTick(), this.clock.nowMs() - this.#startMs);
      }
    }
  }

  /** Takes everything out of the buckets that begin at `tick`: fires what is due, places the rest. */
  #empty(tick: number): void {
    for (let level = LEVELS - 1; level >= 0; level--) {
      const span = SPANS[level]!;
      if (tick % span !== 0) continue;
      const bucket = this.#buckets[level * SLOTS + ((tick / span) % SLOTS)]!;
      // Placing may put an entry back into this bucket only when it is due a whole turn later,
      // which #place rules out; so the loop ends.
      while (bucket.next !== bucket) {
        const deadline = bucket.next as Deadline;
        unlink(deadline);
        if (deadline.dueTick > tick) {
          this.#place(deadline, deadline.dueTick);
          continue;
        }
        deadline.dueTick = -1;
        this.#armed--;
        try {
          deadline.owner.onDeadline(deadline.kind);
        } catch (error) {
          this.#threw(deadline, error);
        }
      }
    }
  }

  /** One owner threw: the others' deadlines go on. */
  #threw({ owner, kind }: Deadline, error: unknown): void {
    try {
      if (owner.onDeadlineThrew === undefined) this.report(error, 'a deadline');
      else owner.onDeadlineThrew(kind, error);
    } catch (again) {
      this.report(error, 'a deadline');
      this.report(again, 'the end of what a deadline was for');
    }
  }

  /**
   * A timer for what happens seldom, on the wheel's clock: `callback` runs once after `delayMs`. What
   * it throws is reported as of `where`; then `threw` runs, for what has to go on all the same.
   */
  setTimer(
    where: string,
    callback: () => void,
    delayMs: number,
    threw?: (error: unknown) => void,
  ): TimerHandle {
    return this.clock.setTimer(() => {
      try {
        callback();
      } catch (error) {
        this.report(error, where);
        try {
          threw?.(error);
        } catch (again) {
          this.report(again, where);
        }
      }
    }, delayMs);
  }

  clearTimer(handle: TimerHandle): void {
    this.clock.clearTimer(handle);
  }

  #sleepUntil(tick: number, elapsedMs: number): void {
    if (this.#timer !== null) this.clock.clearTimer(this.#timer);
    this.#wakeTick = tick;
    const delayMs = Math.ceil(tick * this.tickMs - elapsedMs);
    this.#timer = this.clock.setTimer(this.#onTimer, Math.max(delayMs, 1));
  }
}
