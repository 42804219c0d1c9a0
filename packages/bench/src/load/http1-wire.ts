/** HTTP/1.1 on the transport and the response parser, nothing between. */
import type { OnehopError } from 'onehop/core';
import { Framing, Read, ResponseParser } from 'onehop/http1';
import { type Socket, type SocketHandlers, type Transport, WriteStatus } from 'onehop/transport';
import { errorText } from './errors.ts';
import type { LoadOrigin } from './request.ts';
import { Slot, SlotPhase } from './slot.ts';
import type { LoadPlan } from './types.ts';
import type { Wire, WireEvents, WireMaker } from './wire.ts';

/** What the generator needs of a transport. */
export type LoadTransport = Pick<Transport, 'clock' | 'connect'>;

/** A slot is a connection. */
export class Http1Slot extends Slot {
  socket: Socket<Http1Slot> | null = null;
  /** Where `socket` leads. */
  origin: LoadOrigin | null = null;
  readonly parser = new ResponseParser();
}

class Http1Wire implements Wire<Http1Slot> {
  established = 0;
  private readonly plan: LoadPlan;
  private readonly transport: LoadTransport;
  private readonly events: WireEvents<Http1Slot>;
  private readonly handlers: SocketHandlers<Http1Slot>;
  private readonly slots: Http1Slot[] = [];

  constructor(plan: LoadPlan, transport: LoadTransport, events: WireEvents<Http1Slot>) {
    this.plan = plan;
    this.transport = transport;
    this.events = events;
    this.handlers = {
      open: (socket) => this.opened(socket),
      data: (socket, bytes) => this.received(socket, bytes),
      drain: () => {},
      end: (socket) => this.halfClosed(socket),
      close: (socket, error) => this.closed(socket, error),
    };
  }

  newSlot(): Http1Slot {
    const slot = new Http1Slot(this.plan.sse);
    this.slots.push(slot);
    return slot;
  }

  opensConnection(): boolean {
    return true;
  }

  isOpen(slot: Http1Slot, origin: LoadOrigin): boolean {
    return slot.socket !== null && slot.origin === origin;
  }

  connect(slot: Http1Slot, origin: LoadOrigin): void {
    this.drop(slot);
    slot.origin = origin;
    slot.socket = this.transport.connect(origin.connect, this.handlers, slot);
  }

  send(slot: Http1Slot, nowMs: number): void {
    const request = slot.request!;
    slot.parser.begin(request.isHead);
    if (slot.socket!.write(request.bytes, 0, request.bytes.length) === WriteStatus.Closed) {
      // Nothing was sent. The transport closes once it returns to the event loop.
      if (slot.socket !== null) this.events.failed(slot, errorText('UPSTREAM_CLOSED'), nowMs);
    }
  }

  drop(slot: Http1Slot): void {
    const { socket } = slot;
    slot.socket = null;
    slot.origin = null;
    if (socket !== null) socket.destroy();
  }

  shutdown(): void {
    for (const slot of this.slots) this.drop(slot);
  }

  http2Figures(): null {
    return null;
  }

  private opened(socket: Socket<Http1Slot>): void {
    const slot = socket.state;
    if (slot.socket !== socket || slot.phase !== SlotPhase.Connecting) return;
    this.established++;
    this.events.opened(slot, this.transport.clock.nowMs());
  }

  private received(socket: Socket<Http1Slot>, bytes: Uint8Array): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    const nowMs = this.transport.clock.nowMs();
    if (slot.phase !== SlotPhase.Waiting) {
      // Bytes nobody asked for: the connection cannot be trusted any more.
      this.drop(slot);
      return;
    }
    const { parser } = slot;
    let at = 0;
    for (;;) {
      const read = parser.read(bytes, at, bytes.length);
      at = parser.position;
      switch (read) {
        case Read.Head:
          this.head(slot);
          break;
        case Read.Interim:
          break;
        case Read.Body:
          this.events.body(slot, bytes, parser.bodyStart, parser.bodyEnd, nowMs);
          break;
        case Read.End:
          this.answered(slot, nowMs, at < bytes.length);
          return;
        case Read.NeedMore:
          return;
        default:
          this.events.failed(slot, errorText('RESPONSE_INVALID'), nowMs);
          return;
      }
    }
  }

  private head(slot: Http1Slot): void {
    const { head } = slot.parser;
    const redirect = head.status >= 300 && head.status < 400 && this.plan.redirectsMax > 0;
    this.events.head(slot, head.status, redirect ? head.get('location') : null);
  }

  private answered(slot: Http1Slot, nowMs: number, extraBytes: boolean): void {
    const { head } = slot.parser;
    const reusable =
      head.keepAlive && head.framing !== Framing.Tunnel && this.plan.keepAlive && !extraBytes;
    if (!reusable) this.drop(slot);
    this.events.answered(slot, nowMs);
  }

  private halfClosed(socket: Socket<Http1Slot>): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    if (slot.phase !== SlotPhase.Waiting) {
      this.drop(slot);
      return;
    }
    const nowMs = this.transport.clock.nowMs();
    if (slot.parser.finish() === Read.End) {
      this.answered(slot, nowMs, true);
      return;
    }
    const begun = slot.bodyBytes > 0 || slot.parser.inHead;
    this.events.failed(slot, errorText(begun ? 'UPSTREAM_TRUNCATED' : 'UPSTREAM_CLOSED'), nowMs);
  }

  private closed(socket: Socket<Http1Slot>, error: OnehopError | null): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    if (slot.phase === SlotPhase.Idle) {
      slot.socket = null;
      return;
    }
    const text = errorText(error?.code ?? 'UPSTREAM_CLOSED');
    if (slot.phase === SlotPhase.Connecting && error !== null) this.events.connectFailed(text);
    this.events.failed(slot, text, this.transport.clock.nowMs());
  }
}

/** The wire of HTTP/1.1. */
export function http1Wire(plan: LoadPlan, transport: LoadTransport): WireMaker<Http1Slot> {
  return (events) => new Http1Wire(plan, transport, events);
}
