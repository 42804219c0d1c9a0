/**
 * The request body on its way up: kept whole when it is small, so that it can be sent again; scanned
 * for the model where routes ask for it; else passed on as it comes.
 */
import type { StreamedBody, Exchange as UpstreamExchange } from '../client/index.ts';
import { OnehopError } from '../core/index.ts';
import { Framing, type RequestHead } from '../http1/index.ts';
import { WriteStatus } from '../transport/index.ts';
import { admit } from './admission.ts';
import { BodyPlan, collectBytesMax, type GatewayExchange } from './exchange.ts';
import { beginUpload, sendCollected } from './expectation.ts';
import { trailerFields } from './fields.ts';
import { view } from './head-view.ts';
import { dropPieces, KeptBody } from './kept-body.ts';
import { isCollected, limitBody, missRoute, takeRoute } from './phases.ts';
import { failExchange, refuse, refuseBusy } from './refusal.ts';
import { ScanState } from './routing/json-scanner.ts';

const noBody = new Uint8Array(0);

/** Bytes of the request body; borrowed. */
export function onRequestBody(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  switch (exchange.bodyPlan) {
    case BodyPlan.Collect:
      collect(exchange, bytes, start, end);
      return;
    case BodyPlan.Scan:
      scan(exchange, bytes, start, end);
      return;
    case BodyPlan.Stream: {
      // What goes nowhere is not judged either: the answer under way is the upstream's.
      if (exchange.uploadClosed) return;
      if (exchange.scanner !== null && !hasOneModel(exchange, bytes, start, end)) return;
      const upstream = exchange.upstreamExchange;
      // A head that is offered ahead may still wait for its connection.
      if (upstream === null || exchange.pieceBytes > 0 || !upstream.sent) {
        exchange.pieces ??= new KeptBody();
        exchange.pieces.lend(bytes, start, end);
        if (upstream === null && !exchange.admitted && !exchange.queued) admit(exchange);
        settlePieces(exchange);
        return;
      }
      relayUpload(exchange, upstream, bytes, start, end);
      return;
    }
    case BodyPlan.Expect:
      // The caller does not wait to be asked.
      beginUpload(exchange);
      onRequestBody(exchange, bytes, start, end);
      return;
    default:
      return;
  }
}

/** Mostly all of it comes at once. */
function collect(exchange: GatewayExchange, bytes: Uint8Array, start: number, end: number): void {
  if (exchange.pieces === null) {
    const first = exchange.body;
    if (first === null) {
      exchange.body = Uint8Array.prototype.slice.call(bytes, start, end);
      return;
    }
    exchange.pieces = new KeptBody();
    // Else its head went ahead, and what stands for it there is no part of it.
    if (first instanceof Uint8Array) {
      exchange.pieces.add(first, 0, first.length);
      exchange.body = null;
    }
  }
  exchange.pieces.add(bytes, start, end);
}

/** What could not be sent on at once is copied, and no more is read until it was. */
function settlePieces(exchange: GatewayExchange): void {
  if (exchange.pieceBytes === 0) return;
  exchange.pieces!.settle();
  exchange.downstream.pause();
}

/** Hands body bytes on; the caller is held up while the upstream does not take them. */
function relayUpload(
  exchange: GatewayExchange,
  upstream: UpstreamExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const status = upstream.write(bytes, start, end);
  if (status === WriteStatus.Queued) exchange.downstream.pause();
  else if (status === WriteStatus.Closed) {
    // As long as nothing of it was taken, another attempt may begin with it.
    if (upstream.bodyReplayable) {
      exchange.pieces ??= new KeptBody();
      exchange.pieces.add(bytes, start, end);
      exchange.downstream.pause();
    } else exchange.uploadClosed = true;
  }
}

/** The request is complete. */
export function onRequestEnd(exchange: GatewayExchange): void {
  exchange.requestEnded = true;
  beginUpload(exchange);
  switch (exchange.bodyPlan) {
    case BodyPlan.Collect:
      if (exchange.pieces !== null) exchange.body = exchange.pieces.join();
      else if (!(exchange.body instanceof Uint8Array)) exchange.body = noBody;
      if (exchange.admitted || exchange.queued) {
        // Its head went ahead, or is about to.
        if (exchange.upstreamExchange !== null) sendCollected(exchange, exchange.upstreamExchange);
        return;
      }
      exchange.bodyEndMs = exchange.gateway.nowMs();
      admit(exchange);
      return;
    case BodyPlan.Scan:
      exchange.bodyEndMs = exchange.gateway.nowMs();
      // No model to be found any more: routes without one may still match.
      exchange.scanner!.end();
      resolveModel(exchange);
      return;
    case BodyPlan.Stream:
      if (exchange.uploadClosed) return;
      if (exchange.scanner !== null && exchange.scanner.end() === ScanState.Invalid) {
        cutBody(exchange);
        return;
      }
      if (exchange.upstreamExchange === null) {
        keepTrailers(exchange);
        if (!exchange.admitted && !exchange.queued) admit(exchange);
      } else if (exchange.pieceBytes === 0 && exchange.upstreamExchange.sent) {
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

// ---- Routes by model ----------------------------------------------------------------------------

/** Whether the bytes handed over last end a body whose length was announced. */
const isComplete = ({ downstream }: GatewayExchange, length: number | null): boolean =>
  length !== null && downstream.requestBytes >= length;

const announced = (head: RequestHead): number | null =>
  head.framing === Framing.Length ? head.contentLength : null;

function scan(exchange: GatewayExchange, bytes: Uint8Array, start: number, end: number): void {
  const scanner = exchange.scanner!;
  const head = exchange.downstream.request;
  scanner.feed(bytes, start, end);
  if (isCollected(head)) {
    // Kept whole anyway, so it is read to its end before anything is decided. One that came at once
    // waits for nothing and is not counted.
    if (exchange.pieces === null && isComplete(exchange, head.contentLength)) {
      exchange.body = Uint8Array.prototype.slice.call(bytes, start, end);
    } else if (!keepScanned(exchange, bytes, start, end)) return;
    if (scanner.state === ScanState.Invalid) resolveModel(exchange);
    return;
  }
  if (isComplete(exchange, announced(head))) scanner.end();
  if (scanner.state === ScanState.More && scanner.model === null) {
    keepScanned(exchange, bytes, start, end);
    return;
  }
  // A long body goes on its way at once, and is read on for a second model.
  exchange.pieces ??= new KeptBody(exchange.gateway.scans);
  exchange.pieces.lend(bytes, start, end);
  resolveModel(exchange);
  settlePieces(exchange);
}

/** Keeps bytes of a body that waits for its model; false when it may not, which is then answered. */
function keepScanned(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const { scans } = exchange.gateway;
  exchange.pieces ??= new KeptBody(scans);
  const { pieces } = exchange;
  const { scanBytesMax } = scans.limits;
  if (exchange.scanner!.model === null && pieces.bytes + end - start > scanBytesMax) {
    const text = `The body names no model in its first ${scanBytesMax} bytes (limits.scan).`;
    refuse(exchange, 413, 'SCAN_TOO_LONG', text);
    exchange.gateway.limits.exchangeRefused(exchange, 'scanBytesMax', 413);
    return false;
  }
  const growth = pieces.growth(end - start);
  while (!scans.hasRoom(growth)) {
    const longest = scans.longest(exchange.gateway.nowMs());
    refuseScan(longest ?? exchange);
    if (longest === null || longest === exchange) return false;
  }
  pieces.add(bytes, start, end);
  if (pieces.bytes > collectBytesMax) scans.enter(exchange);
  return true;
}

/** All scans together hold what they may: this one gives way. */
function refuseScan(exchange: GatewayExchange): void {
  const text = 'Too many bodies wait for their model to come (limits.scans).';
  refuseBusy(exchange, 'SCANS_FULL', text, 1000);
  exchange.gateway.limits.exchangeRefused(exchange, 'scansBytesMax', 503);
  if (exchange.pieces !== null) dropPieces(exchange);
}

/** Routes by the model that was found, or says why the body is no use. */
function resolveModel(exchange: GatewayExchange): void {
  const head = exchange.downstream.request;
  const scanner = exchange.scanner!;
  exchange.bodyPlan = BodyPlan.Collect;
  exchange.model = scanner.model;
  exchange.scanner = null;
  exchange.gateway.scans.leave(exchange);
  const found = exchange.tables.router.match(
    view.look(head, exchange.method, exchange.path),
    exchange.model,
  );
  if (scanner.refuses(typeof found === 'object')) {
    failExchange(exchange, bodyInvalid());
    return;
  }
  if (typeof found !== 'object') {
    missRoute(exchange, found);
    return;
  }
  takeRoute(exchange, head, found);
  if (!limitBody(exchange, head, exchange.route!.bodyBytesMax)) return;
  if (exchange.requestEnded && exchange.pieceBytes <= collectBytesMax) {
    if (exchange.pieces !== null) exchange.body = exchange.pieces.join();
    else exchange.body ??= noBody;
    admit(exchange);
  } else if (!isCollected(head)) {
    exchange.bodyPlan = BodyPlan.Stream;
    exchange.body = { length: exchange.requestEnded ? exchange.pieceBytes : announced(head) };
    // Nothing more has to hold where the model did not decide.
    if (scanner.model !== null) exchange.scanner = scanner;
    admit(exchange);
  }
}

const bodyInvalid = (): OnehopError =>
  new OnehopError('BODY_INVALID', 'the body is no JSON object with exactly one model', {
    phase: 'request',
  });

/**
 * Bytes behind the model of a long body, before any of them is sent on: false when there is a second
 * one, or what could hide one. Then the upstream must never have the whole of it.
 */
function hasOneModel(
  exchange: GatewayExchange,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const scanner = exchange.scanner!;
  scanner.feed(bytes, start, end);
  if (isComplete(exchange, (exchange.body as StreamedBody).length)) scanner.end();
  if (scanner.state !== ScanState.Invalid) return true;
  cutBody(exchange);
  return false;
}

/** The upstream's connection is closed, so that the body stays incomplete; 400, or the response is cut, too. */
function cutBody(exchange: GatewayExchange): void {
  const error = bodyInvalid();
  const upstream = exchange.upstreamExchange;
  if (upstream === null || upstream.done) failExchange(exchange, error);
  else upstream.fail(error.code, error.message);
}
