/**
 * HTTP/2 on node:http2. A slot is one of the lanes of a connection: it has one stream at a time, and
 * a connection has as many lanes as the plan says.
 */
import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import { constants } from 'node:http2';
import type { Clock } from 'onehop/core';
import { errorText } from './errors.ts';
import {
  codeName,
  Http2Connection,
  type Http2ConnectionEvents,
  sessionText,
  streamsUnlimited,
} from './http2-connection.ts';
import type { LoadOrigin } from './request.ts';
import { Slot } from './slot.ts';
import type { LoadPlan } from './types.ts';
import type { Http2Figures, Wire, WireEvents, WireMaker } from './wire.ts';

/** A server that never looks at a request is not asked more often than this. */
const sendAgainMax = 5;

type ResponseHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader;

/** The lanes that share a connection, one connection after the other. */
interface LaneGroup {
  lanes: number;
  connection: Http2Connection | null;
  /** Lanes that wait for `connection` to open. */
  waiting: Http2Slot[];
}

export class Http2Slot extends Slot {
  readonly group: LaneGroup;
  /** Its number in the group; the first opens the connection. */
  readonly lane: number;
  stream: ClientHttp2Stream | null = null;
  /** Where `stream` is. */
  connection: Http2Connection | null = null;
  /** Content-Length of the answer; -1 without one. */
  expectedBytes = -1;
  sentAgain = 0;

  constructor(sse: boolean, group: LaneGroup) {
    super(sse);
    this.group = group;
    this.lane = group.lanes++;
  }
}

class Http2Wire implements Wire<Http2Slot>, Http2ConnectionEvents {
  established = 0;
  private readonly plan: LoadPlan;
  private readonly clock: Clock;
  private readonly events: WireEvents<Http2Slot>;
  private readonly groups: LaneGroup[] = [];
  /** All that are not gone, those that drain after a GOAWAY included. */
  private readonly connections = new Map<Http2Connection, LaneGroup>();
  private readonly figures: Http2Figures = {
    streamsReset: 0,
    goaways: 0,
    sentAgain: 0,
    streamsAllowed: null,
  };

  constructor(plan: LoadPlan, clock: Clock, events: WireEvents<Http2Slot>) {
    this.plan = plan;
    this.clock = clock;
    this.events = events;
  }

  newSlot(): Http2Slot {
    let group = this.groups.at(-1);
    if (group === undefined || group.lanes >= this.plan.streamsPerConnection) {
      group = { lanes: 0, connection: null, waiting: [] };
      this.groups.push(group);
    }
    return new Http2Slot(this.plan.sse, group);
  }

  opensConnection(slot: Http2Slot): boolean {
    return slot.lane === 0;
  }

  isOpen(slot: Http2Slot): boolean {
    return slot.group.connection?.usable === true;
  }

  connect(slot: Http2Slot, origin: LoadOrigin): void {
    const { group } = slot;
    group.waiting.push(slot);
    if (group.waiting.length > 1) return;
    const connection = new Http2Connection(origin, this);
    group.connection = connection;
    this.connections.set(connection, group);
  }

  send(slot: Http2Slot, nowMs: number): void {
    const { fields, body } = slot.request!.http2!;
    const connection = slot.group.connection!;
    let stream: ClientHttp2Stream;
    try {
      stream = connection.session!.request(fields, { endStream: body === null });
    } catch {
      // The connection ended after it was looked at.
      slot.group.connection = null;
      this.notProcessed(slot, nowMs);
      return;
    }
    slot.stream = stream;
    slot.connection = connection;
    slot.expectedBytes = -1;
    this.listen(slot, stream);
    if (body !== null) stream.end(body);
  }

  drop(slot: Http2Slot): void {
    const { stream, group } = slot;
    slot.stream = null;
    slot.connection = null;
    slot.sentAgain = 0;
    stream?.close(constants.NGHTTP2_CANCEL);
    const at = group.waiting.indexOf(slot);
    if (at === -1) return;
    group.waiting.splice(at, 1);
    if (group.waiting.length === 0) this.forget(group);
  }

  shutdown(): void {
    for (const connection of this.connections.keys()) connection.destroy();
    this.connections.clear();
  }

  http2Figures(): Http2Figures {
    return { ...this.figures };
  }

  // ---- connections ------------------------------------------------------------------------

  opened(connection: Http2Connection, streamsAllowed: number): void {
    this.established++;
    if (streamsAllowed < streamsUnlimited) {
      const { figures } = this;
      figures.streamsAllowed = Math.min(figures.streamsAllowed ?? streamsAllowed, streamsAllowed);
    }
    const nowMs = this.clock.nowMs();
    for (const slot of this.connections.get(connection)!.waiting.splice(0)) {
      this.events.opened(slot, nowMs);
    }
  }

  openFailed(connection: Http2Connection, text: string): void {
    const group = this.connections.get(connection);
    if (group === undefined) return;
    this.connections.delete(connection);
    group.connection = null;
    this.events.connectFailed(text);
    const nowMs = this.clock.nowMs();
    for (const slot of group.waiting.splice(0)) this.events.failed(slot, text, nowMs);
  }

  goaway(): void {
    // The next stream of its lanes finds it unusable; those under way go on.
    this.figures.goaways++;
  }

  closed(connection: Http2Connection): void {
    this.connections.delete(connection);
  }

  /** Nobody waits any more for a connection that did not open in time. */
  private forget(group: LaneGroup): void {
    const { connection } = group;
    group.connection = null;
    if (connection === null) return;
    this.connections.delete(connection);
    connection.destroy();
  }

  // ---- streams ----------------------------------------------------------------------------

  private listen(slot: Http2Slot, stream: ClientHttp2Stream): void {
    stream.on('response', (headers: ResponseHeaders) => {
      if (slot.stream !== stream) return;
      const length = headers['content-length'];
      slot.expectedBytes = length === undefined || slot.request!.isHead ? -1 : Number(length);
      this.events.head(slot, headers[':status'] ?? 0, null);
    });
    stream.on('data', (bytes: Buffer) => {
      if (slot.stream !== stream) return;
      this.events.body(slot, bytes, 0, bytes.length, this.clock.nowMs());
    });
    stream.on('end', () => {
      if (slot.stream === stream) this.ended(slot, stream);
    });
    let error: NodeJS.ErrnoException | null = null;
    stream.on('error', (reason) => {
      error = reason;
    });
    stream.on('close', () => {
      if (slot.stream === stream) this.broken(slot, stream, error);
    });
  }

  private ended(slot: Http2Slot, stream: ClientHttp2Stream): void {
    // Also a stream that was reset ends; what came of it is told by `close`.
    if (slot.status === 0 || stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    const nowMs = this.clock.nowMs();
    if (slot.expectedBytes !== -1 && slot.expectedBytes !== slot.bodyBytes) {
      this.release(slot);
      this.events.failed(slot, errorText('UPSTREAM_TRUNCATED'), nowMs);
      return;
    }
    this.release(slot);
    slot.sentAgain = 0;
    this.events.answered(slot, nowMs);
  }

  /** The stream closed without a whole answer. */
  private broken(
    slot: Http2Slot,
    stream: ClientHttp2Stream,
    error: NodeJS.ErrnoException | null,
  ): void {
    const nowMs = this.clock.nowMs();
    const { lastStreamId } = slot.connection!;
    // RFC 9113 section 8.7: only then is it sure that nothing came of the request.
    const untouched =
      lastStreamId !== null && (stream.id === undefined || stream.id > lastStreamId);
    if (untouched && slot.status === 0) {
      this.release(slot);
      this.notProcessed(slot, nowMs);
      return;
    }
    const text = this.reasonOf(slot, stream, error);
    this.release(slot);
    this.events.failed(slot, text, nowMs);
  }

  private reasonOf(
    slot: Http2Slot,
    { rstCode = constants.NGHTTP2_NO_ERROR }: ClientHttp2Stream,
    error: NodeJS.ErrnoException | null,
  ): string {
    const connection = slot.connection!;
    if (connection.endText !== null) return connection.endText;
    const early = errorText(slot.status === 0 ? 'UPSTREAM_CLOSED' : 'UPSTREAM_TRUNCATED');
    // Without an error: the session went and took its streams along, or the server cancelled this one.
    const gone = connection.session === null || connection.session.destroyed;
    if (error === null && gone) return early;
    if (error !== null && error.code !== 'ERR_HTTP2_STREAM_ERROR') return sessionText(error);
    // A body that ends before its length is an error of the protocol to node:http2.
    const short = slot.expectedBytes > slot.bodyBytes;
    if (short && rstCode === constants.NGHTTP2_PROTOCOL_ERROR) return early;
    this.figures.streamsReset++;
    return `stream reset: ${codeName(rstCode)}`;
  }

  private notProcessed(slot: Http2Slot, nowMs: number): void {
    if (slot.sentAgain >= sendAgainMax) {
      slot.sentAgain = 0;
      this.events.failed(slot, 'refused by GOAWAY again and again', nowMs);
      return;
    }
    slot.sentAgain++;
    this.figures.sentAgain++;
    this.events.sendAgain(slot, nowMs);
  }

  private release(slot: Http2Slot): void {
    slot.stream = null;
    slot.connection = null;
  }
}

/** The wire of HTTP/2. */
export function http2Wire(plan: LoadPlan, clock: Clock): WireMaker<Http2Slot> {
  return (events) => new Http2Wire(plan, clock, events);
}
