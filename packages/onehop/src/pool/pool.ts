/**
 * A bounded pool of connections to one origin. It knows no HTTP and no sockets: members are whatever
 * the owner opens. Idle members form a stack, so the one used last (its socket and caches warm) goes
 * out first and the others grow old and retire. Waiters are served strictly oldest first.
 *
 * A slot is taken in `#open` and given back in `#leave`, and nowhere else.
 */

import {
  Place,
  type PoolMember,
  type PoolOptions,
  type PoolOwner,
  type PoolStats,
  type PoolWaiter,
} from './types.ts';

/** `acquire` could not be served and must not wait: the queue is full. */
export const PoolFull: unique symbol = Symbol('PoolFull');

export class Pool<M extends PoolMember<W>, W extends PoolWaiter<M, W>> {
  readonly options: PoolOptions;
  readonly #owner: PoolOwner<M, W>;
  /** Idle members, the last one used on top. */
  readonly #idle: M[] = [];
  /** Every member; kept only to find one to share, hence only when `depth` is above 1. */
  readonly #members: M[] = [];
  #cursor = 0;
  #slots = 0;
  #opening = 0;
  #first: W | null = null;
  #last: W | null = null;
  #waiting = 0;
  #opened = 0;
  #reused = 0;
  #discarded = 0;
  #waits = 0;
  #waitMs = 0;
  #refused = 0;

  constructor(options: PoolOptions, owner: PoolOwner<M, W>) {
    this.options = options;
    this.#owner = owner;
  }

  /** Slots taken: members opening, idle and busy. */
  get size(): number {
    return this.#slots;
  }

  get waitingCount(): number {
    return this.#waiting;
  }

  /**
   * A member for `waiter` at once; or null, and `assign` or `openFailed` follows unless `cancel`
   * comes first; or {@link PoolFull} when `waitingMax` others wait already.
   */
  acquire(waiter: W): M | null | typeof PoolFull {
    if (!waiter.fresh) {
      const idle = this.#takeIdle();
      if (idle !== null) return idle;
    }
    if (this.#slots >= this.options.connectionsMax && waiter.fresh) this.#evictIdle();
    if (this.#slots >= this.options.connectionsMax) {
      if (this.#waiting === 0 && waiter.shareable && !waiter.fresh) {
        const shared = this.#takeShared();
        if (shared !== null) return shared;
      }
      // One for whom a member is being opened is as good as served.
      if (this.#waiting - this.#opening >= this.options.waitingMax) {
        this.#refused++;
        return PoolFull;
      }
      this.#enqueue(waiter);
      return null;
    }
    this.#enqueue(waiter);
    this.#open(waiter);
    return null;
  }

  /** A member has finished opening: it goes to the oldest waiter, or idle. */
  opened(member: M): void {
    if (member.place !== Place.Opening) return;
    this.#opening--;
    this.#opened++;
    const meant = member.openFor;
    member.openFor = null;
    if (meant !== null) meant.opening = null;
    member.openedAtMs = this.#owner.nowMs();
    const waiter = this.#first;
    if (waiter === null) {
      this.#rest(member);
      return;
    }
    // The oldest is served first; whoever this member was opened for inherits the oldest's own.
    if (meant !== null && waiter !== meant && waiter.opening !== null) {
      meant.opening = waiter.opening;
      waiter.opening.openFor = meant;
      waiter.opening = null;
    }
    this.#serve(member, waiter);
    this.#fill(member);
    this.#pump();
  }

  /** A waiter is done with its member, which may be used again. */
  release(member: M): void {
    if (member.place !== Place.Busy) return;
    member.load--;
    const nowMs = this.#owner.nowMs();
    if (nowMs - member.openedAtMs >= this.options.ageMaxMs || !this.#owner.isReusable(member)) {
      // Others may still be riding on it: then the owner lets them finish and removes it.
      if (member.load === 0) this.#discard(member);
      this.#pump();
      return;
    }
    let waiter = this.#first;
    // One that wants an unused member and has it coming is not our concern.
    while (waiter?.fresh && waiter.opening !== null) waiter = waiter.nextWaiter;
    if (waiter === null) {
      if (member.load === 0) this.#rest(member, nowMs);
      return;
    }
    if (waiter.fresh) {
      // Nothing is coming because every slot is taken: make room for a new member.
      if (member.load === 0) this.#discard(member);
      this.#pump();
      return;
    }
    if (member.load === 0) {
      this.#inherit(waiter);
      this.#serve(member, waiter);
    }
    this.#fill(member);
  }

  /**
   * A member is gone, whatever it was doing: its slot is free. Safe to call twice. `error` reaches
   * the waiter it was being opened for.
   */
  remove(member: M, error: unknown = null): void {
    const place = member.place;
    if (place === Place.Gone) return;
    this.#leave(member);
    if (place === Place.Opening) {
      const waiter = member.openFor;
      member.openFor = null;
      if (waiter !== null) {
        waiter.opening = null;
        this.#dequeue(waiter);
        this.#owner.openFailed(waiter, error);
      }
    }
    this.#pump();
  }

  /**
   * A waiter gives up. The member being opened for it is left to the next one; without one it is
   * discarded, or callers that leave while a peer is deaf would take every slot.
   */
  cancel(waiter: W): void {
    if (!waiter.waiting) return;
    this.#dequeue(waiter);
    const member = waiter.opening;
    this.#inherit(waiter);
    if (member !== null && member.openFor === null) this.#discard(member);
  }

  /** Discards idle members past their time; returns when to look again (Infinity: nothing idle). */
  sweep(): number {
    const nowMs = this.#owner.nowMs();
    let nextMs = Infinity;
    for (let i = this.#idle.length - 1; i >= 0; i--) {
      const member = this.#idle[i]!;
      const endMs = this.#idleEndMs(member);
      if (endMs <= nowMs) this.#discard(member);
      else if (endMs < nextMs) nextMs = endMs;
    }
    this.#pump();
    return nextMs;
  }

  /**
   * The owner no longer wants a member, and says so in `isReusable`: idle, it goes at once; busy, when
   * those it serves are done with it.
   */
  retire(member: M): void {
    if (member.place !== Place.Idle) return;
    this.#discard(member);
    this.#pump();
  }

  /** Discards every idle member. */
  discardIdle(): void {
    while (this.#idle.length > 0) this.#discard(this.#idle[this.#idle.length - 1]!);
  }

  /** The oldest waiter, for an owner that is shutting down and fails them one by one. */
  firstWaiter(): W | null {
    return this.#first;
  }

  stats(): PoolStats {
    return {
      opening: this.#opening,
      idle: this.#idle.length,
      busy: this.#slots - this.#opening - this.#idle.length,
      waiting: this.#waiting,
      opened: this.#opened,
      reused: this.#reused,
      discarded: this.#discarded,
      waits: this.#waits,
      waitMs: this.#waitMs,
      refused: this.#refused,
    };
  }

  #idleEndMs(member: M): number {
    const byIdle = member.idleSinceMs + member.idleMaxMs;
    const byAge = member.openedAtMs + this.options.ageMaxMs;
    return Math.min(byIdle, byAge);
  }

  #takeIdle(): M | null {
    const idle = this.#idle;
    if (idle.length === 0) return null;
    const nowMs = this.#owner.nowMs();
    while (idle.length > 0) {
      const member = idle[idle.length - 1]!;
      if (this.#idleEndMs(member) <= nowMs || !this.#owner.isReusable(member)) {
        this.#discard(member);
        continue;
      }
      idle.pop();
      this.#occupy(member);
      return member;
    }
    return null;
  }

  /** The next busy member, in turn, that has room for one more. */
  #takeShared(): M | null {
    if (this.options.depth <= 1) return null;
    const members = this.#members;
    for (let i = 0; i < members.length; i++) {
      if (this.#cursor >= members.length) this.#cursor = 0;
      const member = members[this.#cursor++]!;
      if (this.#hasRoom(member)) {
        this.#occupy(member);
        return member;
      }
    }
    return null;
  }

  #hasRoom(member: M): boolean {
    return (
      member.place === Place.Busy &&
      member.load < this.options.depth &&
      this.#owner.isShareable(member)
    );
  }

  #occupy(member: M): void {
    member.place = Place.Busy;
    member.load++;
    if (member.uses++ > 0) this.#reused++;
  }

  #rest(member: M, nowMs = this.#owner.nowMs()): void {
    member.place = Place.Idle;
    member.idleSinceMs = nowMs;
    this.#idle.push(member);
  }

  #discard(member: M): void {
    this.#discarded++;
    // Out of the pool first, so that whatever the owner does next finds a consistent pool.
    this.#leave(member);
    this.#owner.discard(member);
  }

  /** The one place where a slot is given back. */
  #leave(member: M): void {
    const place = member.place;
    member.place = Place.Gone;
    this.#slots--;
    if (place === Place.Opening) this.#opening--;
    if (place === Place.Idle) {
      const at = this.#idle.lastIndexOf(member);
      if (at >= 0) this.#idle.splice(at, 1);
    }
    if (this.options.depth > 1) {
      const at = this.#members.indexOf(member);
      if (at >= 0) this.#members.splice(at, 1);
    }
  }

  #evictIdle(): void {
    if (this.#idle.length > 0) this.#discard(this.#idle[0]!);
  }

  #open(waiter: W): void {
    this.#slots++;
    this.#opening++;
    const member = this.#owner.open(waiter);
    member.place = Place.Opening;
    member.idleMaxMs = this.options.idleMaxMs;
    member.openFor = waiter;
    waiter.opening = member;
    if (this.options.depth > 1) this.#members.push(member);
  }

  #serve(member: M, waiter: W): void {
    this.#dequeue(waiter);
    this.#waitMs += this.#owner.nowMs() - waiter.waitSinceMs;
    this.#occupy(member);
    this.#owner.assign(member, waiter);
  }

  /** Gives more waiters to a member that may be shared. */
  #fill(member: M): void {
    if (this.options.depth <= 1) return;
    for (;;) {
      const waiter = this.#first;
      if (waiter === null || !waiter.shareable || waiter.fresh || !this.#hasRoom(member)) return;
      this.#inherit(waiter);
      this.#serve(member, waiter);
    }
  }

  /** What was being opened for `waiter` is now opened for the oldest that has nothing coming. */
  #inherit(waiter: W): void {
    const member = waiter.opening;
    if (member === null) return;
    waiter.opening = null;
    let heir = this.#first;
    while (heir !== null && (heir.opening !== null || heir === waiter)) heir = heir.nextWaiter;
    member.openFor = heir;
    if (heir !== null) heir.opening = member;
  }

  /** Opens members for waiters that have nothing coming, as far as slots allow. */
  #pump(): void {
    if (this.#waiting === 0) return;
    let waiter = this.#first;
    while (waiter !== null) {
      const next: W | null = waiter.nextWaiter;
      if (waiter.opening === null) {
        if (this.#slots >= this.options.connectionsMax && waiter.fresh) this.#evictIdle();
        if (this.#slots >= this.options.connectionsMax) return;
        this.#open(waiter);
      }
      waiter = next;
    }
  }

  #enqueue(waiter: W): void {
    this.#waits++;
    this.#waiting++;
    waiter.waiting = true;
    waiter.waitSinceMs = this.#owner.nowMs();
    waiter.nextWaiter = null;
    waiter.previousWaiter = this.#last;
    if (this.#last === null) this.#first = waiter;
    else this.#last.nextWaiter = waiter;
    this.#last = waiter;
  }

  #dequeue(waiter: W): void {
    if (!waiter.waiting) return;
    this.#waiting--;
    waiter.waiting = false;
    const { previousWaiter, nextWaiter } = waiter;
    if (previousWaiter === null) this.#first = nextWaiter;
    else previousWaiter.nextWaiter = nextWaiter;
    if (nextWaiter === null) this.#last = previousWaiter;
    else nextWaiter.previousWaiter = previousWaiter;
    waiter.previousWaiter = null;
    waiter.nextWaiter = null;
  }
}
