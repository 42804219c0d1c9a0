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
import { type GatewayExchange, timerKind } from './exchange.ts';
import { interimFields, responseFields, trailerFields } from './fields.ts';
import { failExchange, leaveMember, moveFromBusy, retryOrFail, verdictOf } from './phases.ts';

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
    if (exchange.pieceBytes > 0) {
      const bytes = exchange.takePieces();
      const status = upstream.write(bytes, 0, bytes.length);
      if (status === WriteStatus.Closed) exchange.uploadClosed = true;
      if (status === WriteStatus.Queued) return;
    }
    if (exchange.requestEnded) upstream.endBody(exchange.trailers);
    else exchange.downstream.resume();
  },

  onInterim(upstream, head) {
    const exchange = stateOf(upstream);
    // 100 is between the upstream and us: the caller has had its own.
    if (head.status !== 100) exchange.downstream.sendInterim(head.status, interimFields(head));
  },

  onHead(upstream, head) {
    const exchange = stateOf(upstream);
    exchange.headMs = exchange.gateway.nowMs();
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
    exchange.committed = true;
    exchange.upstreamStatus = head.status;
    const type = head.valueOf(KnownField.ContentType);
    exchange.isEventStream = type?.startsWith('text/event-stream') === true;
    // A comment or an error event would break a length and a coded body.
    exchange.mayInsert =
      exchange.isEventStream && head.contentLength < 0 && !head.has(KnownField.ContentEncoding);
    sendHead(exchange, upstream, head);
    if (exchange.isEventStream) armKeepAlive(exchange);
  },

  onBody(upstream, bytes, start, end) {
    const exchange = stateOf(upstream);
    const { downstream } = exchange;
    if (exchange.firstByteMs === 0) {
      exchange.firstByteMs = exchange.headJustRead ? exchange.headMs : exchange.gateway.nowMs();
    }
    downstream.cork();
    if (exchange.isEventStream) {
      exchange.unobserved = true;
      relayEvents(exchange, bytes, start, end);
    } else if (downstream.write(bytes, start, end) === WriteStatus.Queued) upstream.pause();
  },

  onReadEnd(upstream) {
    const exchange = stateOf(upstream);
    exchange.headJustRead = false;
    if (exchange.downstream.uncork() === WriteStatus.Queued) upstream.pause();
    if (!exchange.isEventStream || exchange.firstByteMs === 0) return;
    observeRead(exchange);
    if (exchange.tail !== null) exchange.arm(timerKind.tail, tailHoldMs);
    else armKeepAlive(exchange);
  },

  onTrailers(upstream, trailers) {
    const exchange = stateOf(upstream);
    // RFC 9110 section 6.5.1: only to a caller that said it takes them.
    if (exchange.takesTrailers) exchange.responseTrailers = trailerFields(trailers);
  },

  onEnd(upstream) {
    const exchange = stateOf(upstream);
    const { downstream } = exchange;
    const { tail } = exchange;
    exchange.endMs = exchange.gateway.nowMs();
    leaveMember(exchange, exchange.upstreamStatus < 500, exchange.endMs);
    if (exchange.unobserved) observeRead(exchange);
    downstream.cork();
    const trailers = exchange.responseTrailers;
    if (trailers !== null) {
      flushTail(exchange);
      downstream.end(trailers);
    } else if (tail === null) downstream.end();
    else {
      exchange.tail = null;
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
    flushTail(exchange);
    if (exchange.mayInsert && exchange.atEventBoundary) sendErrorEvent(exchange, error);
    failExchange(exchange, error);
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

/** Tells of a read that brought a piece of an event stream. */
function observeRead(exchange: GatewayExchange): void {
  const nowMs = exchange.gateway.nowMs();
  exchange.unobserved = false;
  exchange.gateway.observer.onStreamRead(exchange, nowMs);
  exchange.lastByteMs = nowMs;
}

function sendHead(exchange: GatewayExchange, upstream: UpstreamExchange, head: ResponseHead): void {
  const { downstream } = exchange;
  const table = exchange.route!;
  let extra = `x-request-id: ${exchange.requestId}\r\n`;
  if (exchange.attempts > 1) extra += `x-onehop-attempts: ${exchange.attempts}\r\n`;
  if (table.serverTiming) extra += serverTiming(exchange);
  writer.beginResponse(head.status, null, downstream.versionMinor);
  writer.block(responseFields(head, table.response, extra));
  const length = head.contentLength >= 0 ? head.contentLength : unknownLength;
  downstream.cork();
  const status = downstream.startHead(head.status, writer, length, head.has(KnownField.Date));
  if (status === WriteStatus.Queued) upstream.pause();
}

function serverTiming(exchange: GatewayExchange): string {
  const own = exchange.dispatchedMs - exchange.startMs;
  const upstream = exchange.headMs - exchange.dispatchedMs;
  return `server-timing: onehop;dur=${own.toFixed(3)}, upstream;dur=${upstream.toFixed(3)}\r\n`;
}

/** Sends on all but a final `[DONE]`, which waits for the end of the response. */
function relayEvents(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const upstream = exchange.upstreamExchange!;
  flushTail(exchange);
  const at = end - doneEvent.length;
  // The bracket before the line ends is cheap to look at and rare in other events.
  if (at >= start && bytes[end - 3] === 0x5d && doneEvent.compare(bytes, at, end) === 0) {
    exchange.tail = Uint8Array.prototype.slice.call(bytes, at, end);
    exchange.atEventBoundary = true;
    if (at > start && exchange.downstream.write(bytes, start, at) === WriteStatus.Queued)
      upstream.pause();
    return;
  }
  exchange.atEventBoundary = endsEvent(bytes, start, end);
  if (exchange.downstream.write(bytes, start, end) === WriteStatus.Queued) upstream.pause();
}

/** Whether the bytes end with an empty line; CR LF and LF both end lines in an event stream. */
function endsEvent(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < 2 || bytes[end - 1] !== 0x0a) return false;
  if (bytes[end - 2] === 0x0a) return true;
  return end - start >= 4 && bytes[end - 2] === 0x0d && bytes[end - 3] === 0x0a;
}

function flushTail(exchange: GatewayExchange): void {
  const { tail } = exchange;
  if (tail === null) return;
  exchange.tail = null;
  exchange.downstream.write(tail, 0, tail.length);
}

function armKeepAlive(exchange: GatewayExchange): void {
  const { sseKeepAliveMs } = exchange.route!;
  if (sseKeepAliveMs > 0 && exchange.mayInsert) exchange.arm(timerKind.keepAlive, sseKeepAliveMs);
}

/** The exchange's timer fired while its stream is open. */
export function onStreamTimer(exchange: GatewayExchange, kind: number): void {
  if (exchange.downstream.finished) return;
  if (kind === timerKind.tail) {
    flushTail(exchange);
    armKeepAlive(exchange);
    return;
  }
  if (exchange.atEventBoundary && !exchange.downstream.writeBlocked) {
    exchange.downstream.write(keepAliveComment, 0, keepAliveComment.length);
  }
  armKeepAlive(exchange);
}

/** A stream that dies says so in its own way before it is cut. */
function sendErrorEvent(exchange: GatewayExchange, error: OnehopError): void {
  const body = exchange.gateway.errorEvent(exchange, error);
  const event = Buffer.from(`data: ${body}\n\n`, 'latin1');
  exchange.downstream.write(event, 0, event.length);
}

/** Joins both sides after 101; they close as a pair (RFC 9110 section 9.3.6). */
function openTunnel(exchange: GatewayExchange, head: ResponseHead, tunnel: Tunnel): void {
  const { downstream } = exchange;
  exchange.tunnel = tunnel;
  tunnel.handler = {
    onData(_, bytes) {
      if (downstream.write(bytes, 0, bytes.length) === WriteStatus.Queued) tunnel.pause();
    },
    onDrain: () => downstream.resume(),
    onEnd: () => downstream.end(),
    onClose(_, error) {
      leaveMember(exchange, true);
      if (!downstream.finished) {
        if (error === null) downstream.end();
        else downstream.abort(error);
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
  end: (downstream) => downstream.state!.tunnel!.end(),
};
