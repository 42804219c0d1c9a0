/**
 * The seam between what is measured and how it gets onto the network. The engine decides when a
 * request starts and what its answer counts as; a wire, one for each protocol, opens connections,
 * sends and reads. Instants are passed along, for the clock is read once per readiness event.
 */
import type { LoadOrigin } from './request.ts';
import type { Slot } from './slot.ts';

/** What HTTP/2 alone can tell of a run, warm-up included. */
export interface Http2Figures {
  /** Streams that the server reset (RST_STREAM); each is an error of the run, too. */
  streamsReset: number;
  /** GOAWAY frames: the server wanted a new connection. */
  goaways: number;
  /** Requests that a GOAWAY said were not processed, sent again on a new connection. */
  sentAgain: number;
  /** Streams at once that a server allows on a connection (the least seen); null: no limit. */
  streamsAllowed: number | null;
}

export interface Wire<S extends Slot> {
  /** Connections that were opened so far. */
  readonly established: number;
  /** A place for one request at a time. */
  newSlot(): S;
  /** Whether this is the slot that opens its connection when that is done ahead of the clock. */
  opensConnection(slot: S): boolean;
  /** Whether the slot can send to `origin` at once. */
  isOpen(slot: S, origin: LoadOrigin): boolean;
  /** Answered by `opened` or by `failed`, never before this returns. */
  connect(slot: S, origin: LoadOrigin): void;
  /** Sends the slot's request. Answered by `answered` or by `failed`. */
  send(slot: S, nowMs: number): void;
  /** Breaks off whatever the slot has under way; nothing is reported of it any more. */
  drop(slot: S): void;
  /** Closes everything. */
  shutdown(): void;
  http2Figures(): Http2Figures | null;
}

/** What a wire reports; `head` and `body` only between `send` and its answer. */
export interface WireEvents<S extends Slot> {
  opened(slot: S, nowMs: number): void;
  head(slot: S, status: number, location: string | null): void;
  /** `bytes[start, end)` are borrowed. */
  body(slot: S, bytes: Uint8Array, start: number, end: number, nowMs: number): void;
  answered(slot: S, nowMs: number): void;
  /** The request, or the opening of the connection, failed. */
  failed(slot: S, text: string, nowMs: number): void;
  /** Once for each connection that could not be opened, ahead of `failed`. */
  connectFailed(text: string): void;
  /** The server said that it did not look at the request: it wants a connection again. */
  sendAgain(slot: S, nowMs: number): void;
}

/** Makes a wire that reports to `events`. */
export type WireMaker<S extends Slot> = (events: WireEvents<S>) => Wire<S>;
