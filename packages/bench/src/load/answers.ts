/** What becomes of an answer: checked against the plan, written into the recorder of the phase. */
import { BodyCheck } from './body-check.ts';
import type { Recorder } from './recorder.ts';
import type { Slot } from './slot.ts';
import type { LoadPlan } from './types.ts';

export class Answers {
  private readonly check: BodyCheck | null;
  private recorder!: Recorder;
  private startMs = 0;
  private recordedMs = 0;
  private openLoop = false;

  constructor(plan: LoadPlan) {
    this.check = BodyCheck.of(plan);
  }

  /** Answers from now on belong to a phase that began at `startMs`, `recordedMs` into the record. */
  begin(recorder: Recorder, startMs: number, recordedMs: number, openLoop: boolean): void {
    this.recorder = recorder;
    this.startMs = startMs;
    this.recordedMs = recordedMs;
    this.openLoop = openLoop;
  }

  /** `bytes[start, end)` of the slot's body. */
  body(slot: Slot, bytes: Uint8Array, start: number, end: number, nowMs: number): void {
    if (end === start) return;
    if (slot.firstByteMs < 0) slot.firstByteMs = nowMs - this.servedFromMs(slot);
    if (slot.events !== null) slot.events.take(bytes, start, end, nowMs, this.recorder.sseGap);
    if (this.check !== null) this.check.take(slot, bytes, start, end);
    slot.bodyBytes += end - start;
  }

  /** The slot's answer is complete. */
  record(slot: Slot, nowMs: number): void {
    const { recorder } = this;
    const good = slot.status >= 200 && slot.status < 300;
    const right = this.check === null || this.check.isRight(slot);
    if (!right) recorder.invalidBodies++;
    if (good && right) recorder.valid++;
    if (slot.events !== null) recorder.sseEvents += slot.events.events;
    recorder.record(
      nowMs - this.startMs + this.recordedMs,
      nowMs - slot.fromMs,
      nowMs - this.servedFromMs(slot),
      slot.firstByteMs,
      slot.status,
      slot.connectMs,
      slot.cold,
      slot.bodyBytes,
    );
  }

  /** In a closed loop a request is sent when it is wanted. */
  private servedFromMs(slot: Slot): number {
    return this.openLoop ? slot.sentMs : slot.fromMs;
  }
}
