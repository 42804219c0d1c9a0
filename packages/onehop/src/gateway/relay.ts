/**
 * The response on its way down. Every read of the upstream's socket leaves in one write to the
 * caller's; what the caller does not take holds the upstream up. Nothing waits for a timer, but for
 * the last event of a stream (design rule 7).
 */
import type { ExchangeHandler, Tunnel, Exchange as UpstreamExchange } from '../client/index.ts';
import { OnehopError } from '../core/index.ts';
import { HeadWriter, KnownField, type ResponseHead } from '../http1/index.ts';
import type { TunnelHandler } from '../server/index.ts';
import { unknownLength } from '../server/index.ts';
import { WriteStatus } from '../transport/index.ts';
import { leaveMember, moveFromBusy, retryOrFail, sendUnexpecting, verdictOf } from './attempt.ts';
import { BodyPlan, EventStream, type GatewayExchange, timerKind } from './exchange.ts';
import { beginUpload, refuseUpload, sendCollected } from './expectation.ts';
import { failInternal } from './fault.ts';
import {
  interimFields,
  isEventStream,
  keptReply,
  responseFields,
  trailerFields,
} from './fields.ts';
import { dropPieces, sendPieces } from './kept-body.ts';
import { failExchange } from './refusal.ts';

const writer = new HeadWriter();

/** How long the last event of a stream may wait for the end of the response. */
const tailHoldMs = 5;
const doneEvent = Buffer.from('data: [DONE]\n\n', 'latin1');
const keepAliveComment = Buffer.from(': keep-alive\n\n', 'latin1');

const stateOf = (upstream: UpstreamExchange): GatewayExchange => {
  const exchange = upstream.context as GatewayExchange;
  exchange.upstreamExchange = upstream;
  return exchange;
};

/** Callbacks of the client half; one object for all exchanges. */
export const relayHandler: ExchangeHandler = {
  onDrain(upstream) {
    const exchange = stateOf(upstream);
    if (exchange.bodyPlan !== BodyPlan.Stream) {
      if (exchange.bodyPlan === BodyPlan.Collect) sendCollected(exchange, upstream);
      return;
    }
    if (exchange.pieceBytes > 0 && !sendPieces(exchange, upstream)) return;
    if (exchange.requestEnded) upstream.endBody(exchange.trailers);
    else exchange.downstream.resume();
  },

  onInterim(upstream, head) {
    const exchange = stateOf(upstream);
    if (head.status === 100) {
      // It is between the upstream and us, unless the caller waits for it.
      beginUpload(exchange);
      return;
    }
    const fields = interimFields(head, exchange.route!.response);
    exchange.downstream.sendInterim(head.status, fields);
  },

  onHead(upstream, head) {
    const exchange = stateOf(upstream);
    exchange.headMs = exchange.gateway.wheel.turnMs();
    exchange.headJustRead = true;
    exchange.attempts += upstream.attempt - 1;
    exchange.freeAttempts += upstream.attempt - 1;
    if (
      (head.status === 503 || head.status === 429) &&
      head.has(KnownField.RetryAfter) &&
      moveFromBusy(exchange, upstream)
    ) {
      return;
    }
    if (head.status === 417 && upstream.expects && upstream.bodyReplayable) {
      sendUnexpecting(exchange, upstream);
      return;
    }
    if (exchange.bodyPlan === BodyPlan.Expect) refuseUpload(exchange, upstream);
    exchange.committed = true;
    exchange.forgetBody();
    exchange.upstreamStatus = head.status;
    sendHead(exchange, upstream, head);
    if (upstream.uploadCut) dropUpload(exchange);
    if (!isEventStream(head, exchange.route!.response)) return;
    // A comment or an error event would break a length and a coded body.
    const mayInsert = head.contentLength < 0 && !head.has(KnownField.ContentEncoding);
    exchange.stream = new EventStream(mayInsert);
    armKeepAlive(exchange, exchange.stream);
  },

  onBody(upstream, bytes, start, end) {
    const exchange = stateOf(upstream);
    const { downstream, stream } = exchange;
    if (exchange.firstByteMs === 0) {
      exchange.firstByteMs = exchange.headJustRead
        ? exchange.headMs
        : exchange.gateway.wheel.turnMs();
    }
    downstream.cork();
    if (stream !== null) {
      stream.unobserved = true;
      relayEvents(exchange, stream, bytes, start, end);
    } else if (downstream.write(bytes, start, end) === WriteStatus.Queued) upstream.pause();
  },

  onChunks(upstream, bytes, start, end, dataBytes, lastStart, nowMs) {
    const exchange = upstream.context as GatewayExchange;
    const { stream } = exchange;
    if (stream !== null) {
      if (stream.tail !== null || endsDone(bytes, lastStart, end - 2)) return false;
      const short = end - 2 - lastStart <= 2;
      const line = short && lineEndBefore(bytes, start, lastStart, stream.atLineEnd);
      stream.atEventBoundary = endsEvent(bytes, lastStart, end - 2, line);
      stream.atLineEnd = bytes[end - 3] === 0x0a;
    }
    if (exchange.firstByteMs === 0) exchange.firstByteMs = nowMs;
    const status = exchange.downstream.writeChunks(bytes, start, end, dataBytes);
    if (status === WriteStatus.Queued) upstream.pause();
    exchange.headJustRead = false;
    if (stream !== null) {
      exchange.gateway.observer.onStreamRead(exchange, stream, nowMs);
      stream.lastByteMs = nowMs;
      armKeepAlive(exchange, stream);
    }
    return true;
  },

  onReadEnd(upstream) {
    const exchange = stateOf(upstream);
    exchange.headJustRead = false;
    if (exchange.downstream.uncork() === WriteStatus.Queued) upstream.pause();
    const { stream } = exchange;
    if (stream === null || exchange.firstByteMs === 0) return;
    observeRead(exchange, stream);
    if (stream.tail !== null) exchange.arm(timerKind.tail, tailHoldMs);
    else armKeepAlive(exchange, stream);
  },

  onTrailers(upstream, trailers) {
    const exchange = stateOf(upstream);
    // RFC 9110 section 6.5.1: only to a caller that said it takes them.
    if (!exchange.takesTrailers) return;
    exchange.responseTrailers = trailerFields(trailers, exchange.route!.response);
  },

  onEnd(upstream) {
    const exchange = stateOf(upstream);
    const { downstream, stream } = exchange;
    const tail = stream === null ? null : stream.tail;
    exchange.endMs = exchange.gateway.nowMs();
    leaveMember(exchange, exchange.upstreamStatus < 500, exchange.endMs);
    if (stream?.unobserved === true) observeRead(exchange, stream);
    downstream.cork();
    const trailers = exchange.responseTrailers;
    if (trailers !== null) {
      if (stream !== null) flushTail(exchange, stream);
      downstream.end(trailers);
    } else if (tail === null) downstream.end();
    else {
      stream!.tail = null;
      downstream.endWith(tail, 0, tail.length);
    }
    downstream.uncork();
  },

  onError(upstream, error) {
    const exchange = upstream.context as GatewayExchange | null;
    if (exchange === null) return; // given up by moveFromBusy
    if (!exchange.committed) {
      retryOrFail(exchange, upstream, error);
      return;
    }
    leaveMember(exchange, verdictOf(error));
    if (exchange.downstream.finished) return;
    const { stream } = exchange;
    if (stream !== null) {
      flushTail(exchange, stream);
      if (stream.mayInsert && stream.atEventBoundary) sendErrorEvent(exchange, error);
    }
    failExchange(exchange, error);
    // Thrown between the cork of a read and its end.
    if (error.code === 'INTERNAL') exchange.downstream.uncork();
  },

  onFault(upstream, error) {
    const exchange = upstream.context as GatewayExchange | null;
    if (exchange !== null) failInternal(exchange, error, 'the end of a response');
  },

  onUpgrade(upstream, head, tunnel, bytes, start, end) {
    const exchange = stateOf(upstream);
    exchange.headMs = exchange.gateway.nowMs();
    const protocol = head.valueOf(KnownField.Upgrade);
    if (protocol?.toLowerCase() !== exchange.upgrade?.toLowerCase()) {
      // RFC 9110 section 7.8: only to a protocol that the caller offered.
      tunnel.destroy();
      leaveMember(exchange, false);
      failExchange(
        exchange,
        new OnehopError('RESPONSE_INVALID', 'the upstream switched to a protocol nobody offered', {
          phase: 'head',
        }),
      );
      return;
    }
    exchange.committed = true;
    exchange.upstreamStatus = 101;
    openTunnel(exchange, head, tunnel);
    if (end > start) exchange.downstream.write(bytes, start, end);
  },
};

/** The upstream wants no more of the body: the caller, which may send it all before it reads, is not held up. */
function dropUpload(exchange: GatewayExchange): void {
  exchange.uploadClosed = true;
  if (exchange.pieces !== null) dropPieces(exchange);
  exchange.downstream.resume();
}

/** Tells of a read that brought a piece of an event stream. */
function observeRead(exchange: GatewayExchange, stream: EventStream): void {
  const nowMs = exchange.gateway.nowMs();
  stream.unobserved = false;
  exchange.gateway.observer.onStreamRead(exchange, stream, nowMs);
  stream.lastByteMs = nowMs;
}

function sendHead(exchange: GatewayExchange, upstream: UpstreamExchange, head: ResponseHead): void {
  const { downstream } = exchange;
  const table = exchange.route!;
  // Nothing of our own is in it but the id.
  const plain = exchange.attempts === 1 && !table.serverTiming;
  const kept = plain ? keptReply(head, table.response) : null;
  downstream.cork();
  if (kept !== null && downstream.startAgain(kept, exchange.requestId)) {
    upstream.wantsChunks = downstream.takesChunks;
    return;
  }
  let extra = exchange.idLine;
  if (exchange.attempts > 1) extra += `x-onehop-attempts: ${exchange.attempts}\r\n`;
  if (table.serverTiming) extra += serverTiming(exchange);
  writer.beginResponse(head.status, null, downstream.versionMinor);
  writer.block(responseFields(head, table.response, extra));
  const length = head.contentLength >= 0 ? head.contentLength : unknownLength;
  const hasDate = head.has(KnownField.Date);
  const { requestId } = exchange;
  const status = downstream.startHead(head.status, writer, length, hasDate, kept, requestId);
  if (status === WriteStatus.Queued) upstream.pause();
  upstream.wantsChunks = downstream.takesChunks;
}

function serverTiming(exchange: GatewayExchange): string {
  const own = exchange.dispatchedMs - exchange.startMs;
  const upstream = exchange.headMs - exchange.dispatchedMs;
  return `server-timing: onehop;dur=${own.toFixed(3)}, upstream;dur=${upstream.toFixed(3)}\r\n`;
}

/** Sends on all but a final `[DONE]`, which waits for the end of the response. */
function relayEvents(
  exchange: GatewayExchange,
  stream: EventStream,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const upstream = exchange.upstreamExchange!;
  flushTail(exchange, stream);
  if (endsDone(bytes, start, end)) {
    const at = end - doneEvent.length;
    stream.tail = Uint8Array.prototype.slice.call(bytes, at, end);
    stream.atEventBoundary = true;
    if (at > start && exchange.downstream.write(bytes, start, at) === WriteStatus.Queued)
      upstream.pause();
    return;
  }
  stream.atEventBoundary = endsEvent(bytes, start, end, stream.atLineEnd);
  stream.atLineEnd = bytes[end - 1] === 0x0a;
  if (exchange.downstream.write(bytes, start, end) === WriteStatus.Queued) upstream.pause();
}

/** Whether the bytes end with the event that says that there are no more. */
function endsDone(bytes: Uint8Array, start: number, end: number): boolean {
  const at = end - doneEvent.length;
  // The bracket before the line ends is cheap to look at and rare in other events.
  return at >= start && bytes[end - 3] === 0x5d && doneEvent.compare(bytes, at, end) === 0;
}

/** Whether the data in front of the last of these chunks ended a line; its data begins at `lastStart`. */
function lineEndBefore(
  bytes: Uint8Array,
  start: number,
  lastStart: number,
  atLineEnd: boolean,
): boolean {
  let at = lastStart - 3;
  while (at >= start && bytes[at] !== 0x0a) at--;
  return at < start ? atLineEnd : bytes[at - 2] === 0x0a;
}

/**
 * Whether the bytes end with an empty line; CR LF and LF both end lines in an event stream.
 * `atLineEnd`: those before them ended a line.
 */
function endsEvent(bytes: Uint8Array, start: number, end: number, atLineEnd: boolean): boolean {
  if (bytes[end - 1] !== 0x0a) return false;
  const line = end - start >= 2 && bytes[end - 2] === 0x0d ? end - 2 : end - 1;
  return line === start ? atLineEnd : bytes[line - 1] === 0x0a;
}

function flushTail(exchange: GatewayExchange, stream: EventStream): void {
  const { tail } = stream;
  if (tail === null) return;
  stream.tail = null;
  exchange.downstream.write(tail, 0, tail.length);
}

function armKeepAlive(exchange: GatewayExchange, stream: EventStream): void {
  const { sseKeepAliveMs } = exchange.route!;
  if (sseKeepAliveMs > 0 && stream.mayInsert) exchange.arm(timerKind.keepAlive, sseKeepAliveMs);
}

/** The exchange's timer fired while its stream is open. */
export function onStreamTimer(exchange: GatewayExchange, kind: number): void {
  const { stream } = exchange;
  if (stream === null || exchange.downstream.finished) return;
  if (kind === timerKind.tail) {
    flushTail(exchange, stream);
    armKeepAlive(exchange, stream);
    return;
  }
  if (stream.atEventBoundary && !exchange.downstream.writeBlocked) {
    exchange.downstream.write(keepAliveComment, 0, keepAliveComment.length);
  }
  armKeepAlive(exchange, stream);
}

/** A stream that dies says so in its own way before it is cut. */
function sendErrorEvent(exchange: GatewayExchange, error: OnehopError): void {
  const body = exchange.gateway.errorEvent(exchange, error);
  const event = Buffer.from(`data: ${body}\n\n`, 'latin1');
  exchange.downstream.write(event, 0, event.length);
}

/**
 * Joins both sides after 101. When either closes, or only half-closes, both do once what came from
 * it is passed on (RFC 9110 section 9.3.6): nothing tells a half-close from a peer that is gone.
 */
function openTunnel(exchange: GatewayExchange, head: ResponseHead, tunnel: Tunnel): void {
  const { downstream } = exchange;
  exchange.tunnel = tunnel;
  tunnel.handler = {
    onData(_, bytes) {
      if (downstream.write(bytes, 0, bytes.length) === WriteStatus.Queued) tunnel.pause();
    },
    onDrain() {
      if (exchange.callerEnded) endTunnel(exchange);
      else downstream.resume();
    },
    onEnd: () => endTunnel(exchange),
    onClose(_, error) {
      try {
        if (error === null) endTunnel(exchange);
        else {
          leaveMember(exchange, true);
          downstream.abort(error);
        }
      } catch (thrown) {
        // Nothing comes after it that would end the other side.
        failInternal(exchange, thrown, 'the end of a tunnel');
      }
    },
  };
  const extra = `x-request-id: ${exchange.requestId}\r\n`;
  downstream.upgrade(
    exchange.upgrade!,
    responseFields(head, exchange.route!.response, extra),
    tunnelHandler,
  );
}

const tunnelHandler: TunnelHandler<GatewayExchange> = {
  data(downstream, bytes, start, end) {
    const { tunnel } = downstream.state!;
    if (tunnel!.write(bytes, start, end) === WriteStatus.Queued) downstream.pause();
  },
  drain: (downstream) => downstream.state!.tunnel!.resume(),
  end(downstream) {
    const exchange = downstream.state!;
    exchange.callerEnded = true;
    if (exchange.tunnel!.queuedBytes === 0) endTunnel(exchange);
  },
};

/** Closes both sides; what is queued for the caller is still delivered. */
function endTunnel(exchange: GatewayExchange): void {
  leaveMember(exchange, true);
  exchange.downstream.endTunnel();
}
