/** Where the time of a study goes. */
export class Phases {
  readonly #spentMs = new Map<string, number>();

  /** Runs `action` and counts its time to a phase. Phases must not overlap. */
  async time<Result>(phase: string, action: () => Promise<Result>): Promise<Result> {
    const startedMs = performance.now();
    try {
      return await action();
    } finally {
      const spent = this.#spentMs.get(phase) ?? 0;
      this.#spentMs.set(phase, spent + performance.now() - startedMs);
    }
  }

  /** `audit 15.2 s, turns 61.0 s`, in order of first appearance. */
  text(): string {
    const parts = [...this.#spentMs].map(([phase, ms]) => `${phase} ${(ms / 1000).toFixed(1)} s`);
    return parts.join(', ');
  }
}
