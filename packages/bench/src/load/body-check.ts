import type { Slot } from './slot.ts';
import type { LoadPlan } from './types.ts';

/** Compares bodies with what the plan expects, piece by piece as they come. */
export class BodyCheck {
  private readonly expected: Buffer | null;
  private readonly pattern: RegExp | null;

  private constructor(expected: Buffer | null, pattern: RegExp | null) {
    this.expected = expected;
    this.pattern = pattern;
  }

  /** Null when the plan takes any body. */
  static of(plan: LoadPlan): BodyCheck | null {
    const { expectBody, expectBodyPattern } = plan;
    if (expectBody === null && expectBodyPattern === null) return null;
    return new BodyCheck(
      expectBody === null ? null : Buffer.from(expectBody),
      expectBodyPattern === null ? null : new RegExp(expectBodyPattern),
    );
  }

  /** Takes `bytes[start, end)`, which follow the slot's `bodyBytes` that came before. */
  take(slot: Slot, bytes: Uint8Array, start: number, end: number): void {
    if (this.pattern !== null) slot.bodyParts.push(Buffer.from(bytes.subarray(start, end)));
    const { expected } = this;
    if (expected === null || !slot.bodyMatches) return;
    const offset = slot.bodyBytes;
    const until = offset + end - start;
    slot.bodyMatches =
      until <= expected.length && expected.compare(bytes, start, end, offset, until) === 0;
  }

  /** Whether the whole body was right. */
  isRight(slot: Slot): boolean {
    if (this.expected !== null) {
      if (!slot.bodyMatches || slot.bodyBytes !== this.expected.length) return false;
    }
    if (this.pattern === null) return true;
    const text = Buffer.concat(slot.bodyParts).toString('utf8');
    slot.bodyParts.length = 0;
    return this.pattern.test(text);
  }
}
