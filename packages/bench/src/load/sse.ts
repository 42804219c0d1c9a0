/** Counts and times server-sent events in a body that arrives in any pieces. */
const LF = 0x0a;
const CR = 0x0d;

export class EventTimer {
  /** Line ends since the last other byte: two of them end an event. */
  private lineEnds = 2;
  private afterCr = false;
  private lastEventMs = -1;
  events = 0;

  /** For the next response. */
  reset(): void {
    this.lineEnds = 2;
    this.afterCr = false;
    this.lastEventMs = -1;
    this.events = 0;
  }

  /**
   * Takes `bytes[start, end)` that arrived at `nowMs` and calls `gap` with the time since the event
   * before for each event that ends in them (0 for events that came together).
   */
  take(
    bytes: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
    gap: { push(ms: number): void },
  ): void {
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === LF && this.afterCr) {
        this.afterCr = false;
        continue;
      }
      this.afterCr = byte === CR;
      if (byte !== LF && byte !== CR) {
        this.lineEnds = 0;
        continue;
      }
      // An empty line only ends an event when lines came before it.
      if (++this.lineEnds !== 2) continue;
      this.events++;
      if (this.lastEventMs >= 0) gap.push(nowMs - this.lastEventMs);
      this.lastEventMs = nowMs;
    }
  }
}
