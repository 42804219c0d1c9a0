/**
 * `Expect: 100-continue` (RFC 9110 section 10.1.1): the head is offered to the upstream without the
 * body, so that a refusal costs the caller no upload. The upstream's 100, or the end of a bounded
 * wait, asks the caller for its body; a final response takes its place.
 */
import type { StreamedBody, Exchange as UpstreamExchange } from '../client/index.ts';
import { BodyPlan, collectBytesMax, type GatewayExchange, timerKind } from './exchange.ts';

/**
 * Whether the head goes ahead of its body, of `length` bytes or chunked (null). Else the caller is
 * asked for the body at once, if it waits to be: the upstream is not to be asked, or the body is here.
 */
export function offersHead(exchange: GatewayExchange, length: number | null): boolean {
  const { downstream } = exchange;
  if (!downstream.continueNeeded) return false;
  const { expect, expectWaitMs } = exchange.upstream!.config;
  if (expect === 'answer' || expectWaitMs === 0) {
    downstream.sendContinue();
    return false;
  }
  exchange.bodyPlan = BodyPlan.Expect;
  exchange.body = { length, keepsUnsent: true };
  return true;
}

/** An attempt begins; while it waits for the upstream's word, so does the caller, but not for ever. */
export function armExpectation(exchange: GatewayExchange): void {
  if (exchange.bodyPlan !== BodyPlan.Expect) return;
  exchange.arm(timerKind.expect, exchange.upstream!.config.expectWaitMs);
}

/** In line and between two attempts the one timer is another's, which the body does not end. */
function disarmExpectation(exchange: GatewayExchange): void {
  if (exchange.timer !== null && exchange.timer.kind === timerKind.expect) exchange.disarm();
}

/**
 * The body may come: the upstream said so, took too long to say anything, or the caller does not
 * wait. A small one is kept whole, so that it can be sent again.
 */
export function beginUpload(exchange: GatewayExchange): void {
  if (exchange.bodyPlan !== BodyPlan.Expect) return;
  const { length } = exchange.body as StreamedBody;
  const isSmall = length !== null && length <= collectBytesMax;
  exchange.bodyPlan = isSmall ? BodyPlan.Collect : BodyPlan.Stream;
  disarmExpectation(exchange);
  exchange.downstream.sendContinue();
}

/** The upstream answered without having asked for the body: what the caller may still send is dropped. */
export function refuseUpload(exchange: GatewayExchange, upstream: UpstreamExchange): void {
  exchange.bodyPlan = BodyPlan.Stream;
  exchange.uploadClosed = true;
  disarmExpectation(exchange);
  upstream.cutUpload();
}

/** A small body whose head is at the upstream already follows it, once it is here whole. */
export function sendCollected(exchange: GatewayExchange, upstream: UpstreamExchange): void {
  if (!exchange.requestEnded || !upstream.sent) return;
  const bytes = exchange.body as Uint8Array;
  if (upstream.piecesWritten === 0) upstream.write(bytes, 0, bytes.length);
  upstream.endBody();
}
