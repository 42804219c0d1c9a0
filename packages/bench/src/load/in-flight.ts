/** How many requests are under way, at most and in the mean. */
export class InFlight {
  count = 0;
  peak = 0;
  private sinceMs = 0;
  private area = 0;

  begin(nowMs: number): void {
    this.count = 0;
    this.peak = 0;
    this.sinceMs = nowMs;
    this.area = 0;
  }

  change(nowMs: number, by: number): void {
    this.area += this.count * (nowMs - this.sinceMs);
    this.sinceMs = nowMs;
    this.count += by;
    if (this.count > this.peak) this.peak = this.count;
  }

  /** One more that was wanted, hence under way, since `fromMs`. */
  add(fromMs: number, nowMs: number): void {
    this.change(nowMs, 1);
    this.area += nowMs - fromMs;
  }

  mean(durationMs: number): number {
    return this.area / durationMs;
  }
}
