import type { PreparedRequest } from './request.ts';
import { EventTimer } from './sse.ts';

export const SlotPhase = { Idle: 0, Connecting: 1, Waiting: 2 } as const;
export type SlotPhase = (typeof SlotPhase)[keyof typeof SlotPhase];

/** What is kept of the one request that is under way in a slot. Reused for the whole run. */
export class Slot {
  phase: SlotPhase = SlotPhase.Idle;
  request: PreparedRequest | null = null;
  /** Waiting for the connection with a request to send; false when connecting ahead of the clock. */
  loaded = false;
  /** In an open loop: lies in the list of free slots. */
  free = false;
  /** Latency counts from here: the intended instant, or the start in a closed loop. */
  fromMs = 0;
  sentMs = 0;
  connectFromMs = 0;
  /** Time to connect that the current request bears; -1 when the connection was there. */
  connectMs = -1;
  /** The connection is the first of the slot, or none is kept: a cold start, not a reconnect. */
  cold = false;
  connectedBefore = false;
  firstByteMs = -1;
  status = 0;
  bodyBytes = 0;
  bodyMatches = true;
  bodyParts: Buffer[] = [];
  redirects = 0;
  location: string | null = null;
  readonly events: EventTimer | null;

  constructor(sse: boolean) {
    this.events = sse ? new EventTimer() : null;
  }

  /** For the answer to the request that is sent now. */
  expectAnswer(nowMs: number): void {
    this.phase = SlotPhase.Waiting;
    this.sentMs = nowMs;
    this.firstByteMs = -1;
    this.status = 0;
    this.bodyBytes = 0;
    this.bodyMatches = true;
    this.bodyParts.length = 0;
    this.location = null;
    this.events?.reset();
  }
}
