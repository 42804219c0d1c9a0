/**
 * Who may be sent on now, who waits in line and who is refused (503 or 429 with Retry-After): the breaker,
 * the limits and the queue of an upstream.
 */
import { OnehopError } from '../core/index.ts';
import { dispatch } from './attempt.ts';
import { type Breaker, Pass } from './balancing/breaker.ts';
import { type GatewayExchange, timerKind } from './exchange.ts';
import { failInternal } from './fault.ts';
import { failExchange, refuseBusy } from './refusal.ts';
import type { Member, Upstream } from './upstream.ts';

/** Lets the exchange in, makes it wait, or refuses it (503 or 429 with Retry-After). */
export function admit(exchange: GatewayExchange, nowMs = exchange.gateway.nowMs()): void {
  const upstream = exchange.upstream!;
  // A place may have come free unheard, by the end of an ejection for one: first come, first served.
  if (upstream.queue.length > 0) admitWaiting(upstream);
  if (upstream.breaker !== null) {
    const pass = upstream.breaker.tryPass(nowMs);
    if (pass === Pass.No) {
      refuseOpen(exchange, upstream.breaker, nowMs);
      return;
    }
    exchange.isProbe = pass === Pass.Probe;
  }
  if (upstream.pending < upstream.config.limits.pendingMax) {
    const member = choose(upstream, exchange, nowMs);
    if (member !== null) {
      letIn(exchange, upstream, member);
      return;
    }
    if (!upstream.hasMemberUp(nowMs)) {
      leaveBreaker(exchange, upstream);
      refuseBusy(exchange, 'NO_TARGET', 'No target of this upstream is healthy.', 1000);
      return;
    }
  }
  leaveBreaker(exchange, upstream);
  enqueue(exchange, upstream, nowMs);
}

/** Whoever can take it; where nobody is up, one that was ejected for failures of requests. */
function choose(upstream: Upstream, exchange: GatewayExchange, nowMs: number): Member | null {
  const member = upstream.pick(nowMs, 0, exchange.keyHash);
  return member !== null || upstream.hasMemberUp(nowMs) ? member : upstream.pickEjected(0);
}

function letIn(exchange: GatewayExchange, upstream: Upstream, member: Member): void {
  exchange.admitted = true;
  upstream.pending++;
  exchange.member = member;
  dispatch(exchange);
}

/** Too many recent requests failed: the answer while the breaker is open. */
function refuseOpen(exchange: GatewayExchange, breaker: Breaker, nowMs: number): void {
  refuseBusy(
    exchange,
    'BREAKER_OPEN',
    'Too many recent requests to this upstream failed.',
    breaker.retryAfterMs(nowMs),
  );
}

/** The exchange does not try the upstream now, or not to an end: if it was the probe, another may be. */
function leaveBreaker(exchange: GatewayExchange, upstream: Upstream): void {
  if (!exchange.isProbe) return;
  exchange.isProbe = false;
  upstream.breaker!.onProbeCancelled();
}

function enqueue(exchange: GatewayExchange, upstream: Upstream, nowMs: number): void {
  const { queueLengthMax, queueTimeoutMs } = upstream.config.limits;
  if (upstream.queue.length >= queueLengthMax) {
    failExchange(
      exchange,
      new OnehopError('QUEUE_FULL', 'the queue of the upstream is full', { phase: 'queue' }),
    );
    return;
  }
  exchange.queued = true;
  exchange.queuedMs = nowMs;
  upstream.queue.push(exchange);
  exchange.arm(timerKind.queue, queueTimeoutMs);
}

/** A place came free, or a target is back: the longest waiting exchange takes it. */
export function admitWaiting(upstream: Upstream): void {
  // What is let in may end at once and call this again; the loop goes on all the same.
  if (upstream.admitting) return;
  upstream.admitting = true;
  try {
    while (upstream.queue.length > 0 && admitNext(upstream));
  } finally {
    upstream.admitting = false;
  }
}

/** Lets the first in line in, or refuses it while the breaker is open; false when it has to wait. */
function admitNext(upstream: Upstream): boolean {
  const { breaker, queue } = upstream;
  if (upstream.pending >= upstream.config.limits.pendingMax) return false;
  const next = queue.peek()!;
  const nowMs = next.gateway.nowMs();
  const pass = breaker === null ? Pass.Yes : breaker.tryPass(nowMs);
  const member = pass === Pass.No ? null : choose(upstream, next, nowMs);
  next.isProbe = pass === Pass.Probe;
  if (pass !== Pass.No && member === null) {
    leaveBreaker(next, upstream);
    return false;
  }
  queue.shift();
  next.queueWaitMs = nowMs - next.queuedMs;
  next.queued = false;
  next.disarm();
  // Whose end made the place is not to suffer from what the next in line throws.
  try {
    if (member === null) refuseOpen(next, breaker!, nowMs);
    else letIn(next, upstream, member);
  } catch (error) {
    failInternal(next, error, 'the admission of a waiting request');
  }
  return true;
}
