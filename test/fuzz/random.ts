/** Small seeded generator (mulberry32): the same seed gives the same messages on every runtime. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** A generator of its own for item `index` of a run, so that one item can be replayed alone. */
  static at(seed: number, index: number): Random {
    const mixed = Math.imul(seed ^ Math.imul(index + 1, 0x9e3779b1), 0x85ebca6b);
    const random = new Random(mixed ^ (mixed >>> 15));
    random.next();
    return random;
  }

  /** 32 random bits. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** 0 <= result < bound. */
  below(bound: number): number {
    return this.next() % bound;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.next() % times === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.next() % items.length]!;
  }
}
