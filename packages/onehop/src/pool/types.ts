/** What a pool is made with, and what it keeps on its members and waiters. */

/** Where a member stands. Owned by the pool; others may read it. */
export const Place = { Opening: 0, Idle: 1, Busy: 2, Gone: 3 } as const;
export type Place = (typeof Place)[keyof typeof Place];

/** The fields a pool keeps on each connection. */
export interface PoolMember<W> {
  place: Place;
  /** Waiters it serves now; above 1 only when `depth` is. */
  load: number;
  /** How many waiters it was ever given to. */
  uses: number;
  openedAtMs: number;
  idleSinceMs: number;
  /** How long it may lie idle; starts as the pool's, the owner lowers it when the peer says so. */
  idleMaxMs: number;
  /** The waiter whose arrival opened this member, while it is opening. */
  openFor: W | null;
}

/** The fields a pool keeps on each waiter. All start null, false or 0. */
export interface PoolWaiter<M, W> {
  /** Wants a member never used before: a retry after a stale connection. */
  fresh: boolean;
  /** May share a member with others (`depth` above 1). */
  shareable: boolean;
  waiting: boolean;
  waitSinceMs: number;
  /** The member being opened on its behalf, if any. */
  opening: M | null;
  nextWaiter: W | null;
  previousWaiter: W | null;
}

/** What the pool asks of its owner. None of these may throw. */
export interface PoolOwner<M, W> {
  nowMs(): number;
  /** Starts opening a member and returns it at once; `opened` or `remove` follows, never inside. */
  open(waiter: W): M;
  /** The idle guard: false when the member has unread bytes, a pending end or an error. */
  isReusable(member: M): boolean;
  /** May one more waiter ride on this busy member? Asked only when `depth` is above 1. */
  isShareable(member: M): boolean;
  /** Throw the member away. It is out of the pool already: `remove` need not be called. */
  discard(member: M): void;
  /** A waiter that had to wait gets its member. */
  assign(member: M, waiter: W): void;
  /** The member opened for `waiter` failed before it was served. The waiter has left the queue. */
  openFailed(waiter: W, error: unknown): void;
}

export interface PoolOptions {
  /** Members at once, those still opening included. */
  connectionsMax: number;
  /** Waiters one member may serve at once. 1: no sharing. */
  depth: number;
  /** Waiters for whom nothing is being opened. */
  waitingMax: number;
  idleMaxMs: number;
  /** A member older than this is not used again. */
  ageMaxMs: number;
}

export interface PoolStats {
  /** Members now, by place. */
  opening: number;
  idle: number;
  busy: number;
  waiting: number;
  /** Totals since the start. */
  opened: number;
  reused: number;
  discarded: number;
  /** How many waiters could not be served at once, and for how long they waited in all. */
  waits: number;
  waitMs: number;
  refused: number;
}
