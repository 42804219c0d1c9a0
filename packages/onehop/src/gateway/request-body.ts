/**
 * The request body on its way up: kept whole when it is small, so that it can be sent again; scanned
 * for the model where routes ask for it; else passed on as it comes.
 */
import type { Exchange as UpstreamExchange } from '../client/index.ts';
import { Framing } from '../http1/index.ts';
import { WriteStatus } from '../transport/index.ts';
import { admit } from './admission.ts';
import { BodyPlan, type GatewayExchange, noPieces } from './exchange.ts';
import { trailerFields } from './fields.ts';
import { view } from './head-view.ts';
import { isCollected, limitBody, missRoute, takeRoute } from './phases.ts';
import { refuse } from './refusal.ts';
import { ScanState } from './routing/json-scanner.ts';

/** Bodies up to this size are kept whole before they are sent on, so that they can be sent again. */
export const collectBytesMax = 64 * 1024;

/** Bytes of the request body; borrowed. */
export function onRequestBody(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  switch (exchange.bodyPlan) {
    case BodyPlan.Collect:
      keepPiece(exchange, bytes, start, end);
      return;
    case BodyPlan.Scan: {
      const piece = lendPiece(exchange, bytes, start, end);
      scan(exchange, piece);
      keepLent(exchange, piece);
      return;
    }
    case BodyPlan.Stream: {
      const upstream = exchange.upstreamExchange;
      if (upstream === null || exchange.pieceBytes > 0) {
        const piece = lendPiece(exchange, bytes, start, end);
        if (upstream === null && !exchange.admitted && !exchange.queued) admit(exchange);
        keepLent(exchange, piece);
        if (exchange.pieceBytes > 0) exchange.downstream.pause();
        return;
      }
      relayUpload(exchange, upstream, bytes, start, end);
      return;
    }
    default:
      return;
  }
}

function addPiece(exchange: GatewayExchange, piece: Uint8Array): void {
  if (exchange.pieces === noPieces) exchange.pieces = [];
  exchange.pieces.push(piece);
  exchange.pieceBytes += piece.length;
}

function keepPiece(exchange: GatewayExchange, bytes: Uint8Array, start: number, end: number): void {
  addPiece(exchange, Uint8Array.prototype.slice.call(bytes, start, end));
}

/**
 * Adds a view of borrowed bytes to the pieces: what is sent on before the call returns, as the start
 * of a long body mostly is, need not be copied. {@link keepLent} follows.
 */
function lendPiece(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): Uint8Array {
  const piece = bytes.subarray(start, end);
  addPiece(exchange, piece);
  return piece;
}

/** Copies the lent piece if it has to wait; it is the last. */
function keepLent({ pieces }: GatewayExchange, piece: Uint8Array): void {
  const last = pieces.length - 1;
  if (pieces[last] === piece) pieces[last] = Uint8Array.prototype.slice.call(piece);
}

/** Hands body bytes on; the caller is held up while the upstream does not take them. */
function relayUpload(
  exchange: GatewayExchange,
  upstream: UpstreamExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  if (exchange.uploadClosed) return;
  const status = upstream.write(bytes, start, end);
  if (status === WriteStatus.Queued) exchange.downstream.pause();
  else if (status === WriteStatus.Closed) exchange.uploadClosed = true;
}

/** The request is complete. */
export function onRequestEnd(exchange: GatewayExchange): void {
  exchange.requestEnded = true;
  switch (exchange.bodyPlan) {
    case BodyPlan.Collect:
      exchange.bodyEndMs = exchange.gateway.nowMs();
      exchange.body = exchange.takePieces();
      admit(exchange);
      return;
    case BodyPlan.Scan:
      exchange.bodyEndMs = exchange.gateway.nowMs();
      // No model to be found any more: routes without one may still match.
      resolveModel(exchange, exchange.scanner!.state === ScanState.Invalid);
      return;
    case BodyPlan.Stream:
      if (exchange.upstreamExchange === null) {
        keepTrailers(exchange);
        if (!exchange.admitted && !exchange.queued) admit(exchange);
      } else if (exchange.pieceBytes === 0) {
        exchange.upstreamExchange.endBody(requestTrailers(exchange));
      } else keepTrailers(exchange);
      return;
    default:
      return;
  }
}

/** End of a chunked body with its trailer fields, empty without any; the parser has dropped those that must not come late. */
function requestTrailers({ downstream, route }: GatewayExchange): string {
  const { trailers } = downstream;
  if (trailers.count === 0) return '';
  return `0\r\n${trailerFields(trailers, route!.request).text}\r\n`;
}

/** The upstream is not ready for the end of the body: what follows it is kept. */
function keepTrailers(exchange: GatewayExchange): void {
  exchange.trailers = requestTrailers(exchange);
}

function scan(exchange: GatewayExchange, bytes: Uint8Array): void {
  const scanner = exchange.scanner!;
  const state = scanner.feed(bytes);
  if (state === ScanState.Invalid) resolveModel(exchange, true);
  else if (state === ScanState.Done) resolveModel(exchange, false);
  else if (scanner.model !== null && !isCollected(exchange.downstream.request)) {
    // What is kept whole anyway is read to its end, so that a second model does not get through;
    // a long body goes on its way at once.
    resolveModel(exchange, false);
  }
}

/** Routes by the model that was found, or says why the body is no use. */
function resolveModel(exchange: GatewayExchange, invalid: boolean): void {
  const head = exchange.downstream.request;
  exchange.bodyPlan = BodyPlan.Collect;
  exchange.model = invalid ? null : exchange.scanner!.model;
  exchange.scanner = null;
  const found = exchange.tables.router.match(
    view.look(head, exchange.method, exchange.path),
    exchange.model,
  );
  if (typeof found !== 'object') {
    if (invalid)
      refuse(exchange, 400, 'BODY_INVALID', 'The body is no JSON object with one model.');
    else missRoute(exchange, found);
    return;
  }
  takeRoute(exchange, head, found);
  if (!limitBody(exchange, head, exchange.route!.bodyBytesMax)) return;
  if (exchange.requestEnded) {
    exchange.body = exchange.takePieces();
    admit(exchange);
  } else if (!isCollected(head)) {
    exchange.bodyPlan = BodyPlan.Stream;
    exchange.body = { length: head.framing === Framing.Length ? head.contentLength : null };
    admit(exchange);
    if (exchange.pieceBytes > 0) exchange.downstream.pause();
  }
}
