/**
 * A first-in first-out queue in one array that is used as a ring: `push` and `shift` are O(1) and
 * allocate nothing once the array has grown to the longest length seen.
 */
export class RingQueue<T> {
  #slots: (T | undefined)[];
  #mask: number;
  #head = 0;
  #length = 0;

  /** `capacity` is only the starting size; it is rounded up to a power of two. */
  constructor(capacity = 8) {
    let size = 2;
    while (size < capacity) size *= 2;
    this.#slots = new Array<T | undefined>(size).fill(undefined);
    this.#mask = size - 1;
  }

  get length(): number {
    return this.#length;
  }

  push(item: T): void {
    if (this.#length > this.#mask) this.#grow();
    this.#slots[(this.#head + this.#length) & this.#mask] = item;
    this.#length++;
  }

  /** Removes and returns the oldest item; undefined when the queue is empty. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#slots[this.#head];
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & this.#mask;
    this.#length--;
    return item;
  }

  /** The oldest item, left where it is; undefined when the queue is empty. */
  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#slots[this.#head];
  }

  /** Puts `item` in the place of the oldest one: what is left of it, say. Not on an empty queue. */
  replaceFirst(item: T): void {
    if (this.#length > 0) this.#slots[this.#head] = item;
  }

  /** The item `index` places behind the oldest one; undefined beyond the end. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined;
    return this.#slots[(this.#head + index) & this.#mask];
  }

  /** Takes the oldest occurrence of `item` out of line, O(n). False when it is not queued. */
  remove(item: T): boolean {
    for (let i = 0; i < this.#length; i++) {
      if (this.#slots[(this.#head + i) & this.#mask] !== item) continue;
      for (let j = i + 1; j < this.#length; j++) {
        this.#slots[(this.#head + j - 1) & this.#mask] = this.#slots[(this.#head + j) & this.#mask];
      }
      this.#length--;
      this.#slots[(this.#head + this.#length) & this.#mask] = undefined;
      return true;
    }
    return false;
  }

  clear(): void {
    this.#slots.fill(undefined);
    this.#head = 0;
    this.#length = 0;
  }

  #grow(): void {
    const old = this.#slots;
    const slots = new Array<T | undefined>(old.length * 2).fill(undefined);
    for (let i = 0; i < this.#length; i++) slots[i] = old[(this.#head + i) & this.#mask];
    this.#slots = slots;
    this.#mask = slots.length - 1;
    this.#head = 0;
  }
}
