/** Starts requests at the instants of a schedule, whatever the server does. */
import type { Clock } from 'onehop/core';
import type { Pacer } from './pacer.ts';
import type { Recorder } from './recorder.ts';
import type { Schedule } from './schedule.ts';
import type { Slot } from './slot.ts';

const Never = Number.POSITIVE_INFINITY;

export interface OpenLoopHost<S extends Slot> {
  /** A slot beyond those there are; null when no more requests may be under way. */
  addSlot(): S | null;
  begin(slot: S, fromMs: number, nowMs: number): void;
  /** The schedule is over; called whenever an answer may have been the last one. */
  scheduleOver(): void;
}

export interface OpenLoopOptions {
  clock: Clock;
  schedule: Schedule;
  pacer: Pacer;
  recorder: Recorder;
  startMs: number;
  deadlineMs: number;
  requests: number;
}

export class OpenLoop<S extends Slot> {
  private readonly options: OpenLoopOptions;
  private readonly host: OpenLoopHost<S>;
  private readonly freeSlots: S[] = [];
  private requestsLeft: number;
  private dueMs: number;

  constructor(options: OpenLoopOptions, host: OpenLoopHost<S>) {
    this.options = options;
    this.host = host;
    this.requestsLeft = options.requests;
    this.dueMs = options.startMs + options.schedule.dueMs;
  }

  start(slots: readonly S[]): void {
    for (const slot of slots) {
      slot.free = false;
      this.release(slot);
    }
    const { clock, pacer } = this.options;
    pacer.start(
      () => clock.nowMs(),
      () => this.dueMs,
      () => this.dispatchDue(),
    );
  }

  /** Nothing is due any more. */
  stop(): void {
    this.dueMs = Never;
  }

  /** The slot has nothing under way any more: it serves what is due by now. */
  settled(slot: S, nowMs: number): void {
    this.release(slot);
    if (nowMs >= this.dueMs) this.dispatchDue();
    else if (this.dueMs === Never) this.host.scheduleOver();
  }

  private dispatchDue(): void {
    const { clock, recorder } = this.options;
    let nowMs = clock.nowMs();
    while (this.dueMs <= nowMs) {
      const intendedMs = this.dueMs;
      this.requestsLeft--;
      this.advanceSchedule();
      recorder.scheduleLag.push(nowMs - intendedMs);
      const slot = this.freeSlot();
      if (slot === null) recorder.dropped++;
      else this.host.begin(slot, intendedMs, nowMs);
      nowMs = clock.nowMs();
    }
    if (this.dueMs === Never) this.host.scheduleOver();
  }

  private advanceSchedule(): void {
    const { schedule, startMs, deadlineMs } = this.options;
    schedule.advance();
    const dueMs = startMs + schedule.dueMs;
    this.dueMs = this.requestsLeft <= 0 || dueMs >= deadlineMs ? Never : dueMs;
  }

  /** The connection used last comes first: it is warm. A new one when all are busy. */
  private freeSlot(): S | null {
    const slot = this.freeSlots.pop();
    if (slot === undefined) return this.host.addSlot();
    slot.free = false;
    return slot;
  }

  private release(slot: S): void {
    if (slot.free) return;
    slot.free = true;
    this.freeSlots.push(slot);
  }
}
