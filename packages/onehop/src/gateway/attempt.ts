/**
 * Attempts: one request is sent to a member, and to another when that failed and it is safe, allowed
 * and within the budget (design rule 5).
 */
import { decideRetry, isIdempotent, type Exchange as UpstreamExchange } from '../client/index.ts';
import { OnehopError } from '../core/index.ts';
import { triedBit } from './balancing/balancer.ts';
import { type GatewayExchange, Retrying, timerKind } from './exchange.ts';
import { armExpectation, beginUpload } from './expectation.ts';
import { failExchange } from './refusal.ts';
import { relayHandler } from './relay.ts';
import { retryDenied } from './retry-denied.ts';
import { rewriteTarget } from './routing/router.ts';
import type { Member } from './upstream.ts';

/** One attempt at the chosen member. */
export function dispatch(exchange: GatewayExchange): void {
  const member = exchange.member!;
  // Taken back in leaveMember, and only there; first, so that nothing can throw before it.
  member.pending++;
  exchange.attempts++;
  exchange.tried |= triedBit(member.index);
  exchange.dispatchedMs = exchange.gateway.nowMs();
  exchange.uploadClosed = false;
  const table = exchange.route!;
  // What the origin may add by itself: a stale connection, never more than the attempts left.
  exchange.retries = exchange.attempts - exchange.freeAttempts < table.attemptsMax ? 1 : 0;
  const { pathPrefix } = member.config;
  const target = rewriteTarget(table.route, exchange.received ?? exchange.target);
  if (target === null) {
    failExchange(
      exchange,
      new OnehopError('REQUEST_INVALID', 'the path cannot be rewritten', { phase: 'request' }),
    );
    return;
  }
  exchange.received ??= exchange.target;
  exchange.target = pathPrefix === '' ? target : pathPrefix + target;
  if (!table.upstream.config.preserveHost) exchange.host = undefined;
  if ((exchange.attempts > 1 || exchange.queuedMs > 0) && !limitTotal(exchange)) return;
  const { plan } = exchange;
  exchange.kept = plan === null || exchange.expectContinue ? null : plan.keptFor(member.index);
  exchange.upstreamExchange = null;
  armExpectation(exchange);
  const upstreamExchange = member.origin.dispatch(
    exchange,
    relayHandler,
    exchange,
    exchange.dispatchedMs,
  );
  // It may have failed, been answered and been tried again before this returns.
  if (!upstreamExchange.done) exchange.upstreamExchange = upstreamExchange;
}

/** The total deadline goes on over attempts and the wait in line; false when it has passed. */
function limitTotal(exchange: GatewayExchange): boolean {
  const { timeouts } = exchange.route!;
  if (timeouts.totalTimeoutMs === 0) return true;
  const elapsedMs = exchange.gateway.nowMs() - exchange.startMs;
  const leftMs = Math.ceil(timeouts.totalTimeoutMs - elapsedMs);
  if (leftMs <= 0) {
    leaveMember(exchange, null);
    failExchange(exchange, new OnehopError('TOTAL_TIMEOUT', 'no time is left', { phase: 'queue' }));
    return false;
  }
  exchange.timeouts = { ...timeouts, totalTimeoutMs: leftMs };
  return true;
}

/** The member is done with the attempt. `ok` null: it says nothing about the member. */
export function leaveMember(
  exchange: GatewayExchange,
  ok: boolean | null,
  nowMs = exchange.gateway.nowMs(),
): void {
  const { member, upstream } = exchange;
  exchange.upstreamExchange = null;
  if (member === null || upstream === null) return;
  exchange.member = null;
  exchange.lastMember = member;
  member.pending--;
  exchange.upstreamMs += nowMs - exchange.dispatchedMs;
  if (ok === true) member.onSuccess();
  else if (ok === false && member.onFailure(nowMs, upstream.mayEject(member, nowMs))) {
    exchange.gateway.observer.onEjection(upstream, member);
  }
  if (upstream.breaker !== null) {
    const { isProbe } = exchange;
    exchange.isProbe = false;
    if (ok !== null) upstream.breaker.onResult(ok, nowMs, isProbe);
    else if (isProbe) upstream.breaker.onProbeCancelled();
  }
}

/**
 * What a failed attempt says about the member: `false` counts against its health, null says nothing
 * (the caller left, its own queue was full, its answer is too large for us).
 */
export const verdictOf = (error: OnehopError): false | null =>
  error.side === 'upstream' && error.code !== 'RESPONSE_TOO_LARGE' ? false : null;

/**
 * An attempt failed before a byte of its response went downstream. Tries another member when that is
 * safe, allowed and within the budget; else answers the caller.
 */
export function retryOrFail(
  exchange: GatewayExchange,
  failed: UpstreamExchange,
  error: OnehopError,
): void {
  const { upstream } = exchange;
  exchange.attempts += failed.attempt - 1;
  exchange.freeAttempts += failed.attempt - 1;
  leaveMember(exchange, verdictOf(error));
  if (exchange.downstream.finished) return;
  if (error.code === 'CLIENT_CLOSED' && !failed.sent && upstream !== null) {
    passOn(exchange, error);
    return;
  }
  // A try that reached nobody is none: as long as there are members left, one of them gets it.
  if (!failed.sent && error.code !== 'CONNECT_TIMEOUT') exchange.freeAttempts++;
  if (upstream !== null) {
    if (!mayRetry(exchange, failed, error)) {
      exchange.retryDenied = retryDenied(exchange, failed, error);
    } else if (moveOn(exchange, error, failed.sent)) return;
  }
  failExchange(exchange, error);
}

/**
 * The address of its member left the name before the exchange had a connection: nothing was tried, so
 * whoever is there takes it over without an attempt being counted. After a reload that may be a member
 * of the upstream in force: the old one is not told of addresses any more.
 */
function passOn(exchange: GatewayExchange, error: OnehopError): void {
  const { gateway, upstream } = exchange;
  const current = gateway.tables.upstreams.get(upstream!.name) ?? upstream!;
  const heir = current.pickHeir(gateway.nowMs());
  if (heir === null || heir.origin.isClosing) {
    failExchange(exchange, error);
    return;
  }
  exchange.attempts--;
  exchange.member = heir;
  dispatch(exchange);
}

/** Another member takes the exchange over, at once where nobody was reached, if there is one and the budget allows it. */
function moveOn(exchange: GatewayExchange, error: OnehopError, reached: boolean): boolean {
  const upstream = exchange.upstream!;
  const next =
    upstream.pick(exchange.gateway.nowMs(), exchange.tried, exchange.keyHash) ??
    upstream.pickEjected(exchange.tried);
  // The budget keeps retries from adding load; a refused connect added none.
  const costs = reached || error.code === 'CONNECT_TIMEOUT';
  if (next === null || (costs && !upstream.budget.spend())) {
    exchange.retryDenied = next === null ? 'target' : 'budget';
    return false;
  }
  sendAgain(exchange, next, error, reached);
  return true;
}

/**
 * The next attempt, at `next`, after one that failed with `error`. With `pause` it waits a random
 * part of the back-off first, so that the callers of a target that died do not move on together.
 */
function sendAgain(
  exchange: GatewayExchange,
  next: Member,
  error: OnehopError,
  pause: boolean,
): void {
  exchange.retrying ??= new Retrying();
  const { retrying } = exchange;
  const { backoffMs } = exchange.upstream!.config.retry;
  if (!pause || backoffMs === 0) {
    again(exchange, next, error);
    return;
  }
  const tries = Math.max(0, exchange.attempts - exchange.freeAttempts - 1);
  retrying.error = error;
  retrying.member = next;
  retrying.pausedAtMs = exchange.gateway.nowMs();
  exchange.arm(timerKind.retry, exchange.gateway.random() * backoffMs * 2 ** tries);
}

/** Counted when it is made: in a pause before it the caller may leave, or the last target go down. */
function again(exchange: GatewayExchange, next: Member, error: OnehopError): void {
  exchange.retrying!.codes.push(error.code);
  exchange.gateway.observer.onRetry(exchange, error);
  exchange.member = next;
  dispatch(exchange);
}

/** The pause before another attempt is over; who is up may have changed in it. */
export function onRetryTimer(exchange: GatewayExchange): void {
  const { retrying } = exchange;
  const error = retrying === null ? null : retrying.error;
  if (error === null || exchange.downstream.finished) return;
  retrying!.error = null;
  const upstream = exchange.upstream!;
  const nowMs = exchange.gateway.nowMs();
  retrying!.pausedMs += nowMs - retrying!.pausedAtMs;
  // Whose turn it was before the pause, if it still can: picking twice would pass over one.
  let next = retrying!.member;
  if (next === null || !upstream.canTake(next, nowMs)) {
    next =
      upstream.pick(nowMs, exchange.tried, exchange.keyHash) ??
      upstream.pickEjected(exchange.tried);
  }
  if (next === null) {
    exchange.retryDenied = 'target';
    failExchange(exchange, error);
    return;
  }
  again(exchange, next, error);
}

/**
 * The member answered 429 or 503 with Retry-After: it did not do the work and says so. Hands the
 * request to another member, whatever its method; false when there is none or it cannot be sent
 * again, and the answer goes to the caller.
 */
export function moveFromBusy(exchange: GatewayExchange, busy: UpstreamExchange): boolean {
  const { upstream, member } = exchange;
  if (upstream === null || member === null) return false;
  const attemptsMax = exchange.route!.attemptsMax + exchange.freeAttempts;
  let next: Member | null = null;
  if (!busy.bodyReplayable) exchange.retryDenied = 'body';
  else if (exchange.attempts >= attemptsMax || attemptsMax < 2) exchange.retryDenied = 'attempts';
  else {
    next = upstream.pick(exchange.gateway.nowMs(), exchange.tried, exchange.keyHash);
    if (next === null) exchange.retryDenied = 'target';
    else if (!upstream.budget.spend()) exchange.retryDenied = 'budget';
  }
  if (next === null || exchange.retryDenied !== null) return false;
  // Nobody reads the rest of the answer; its connection is not used again.
  busy.context = null;
  busy.abort();
  exchange.headMs = 0;
  leaveMember(exchange, null);
  const error = new OnehopError('UPSTREAM_BUSY', 'the target asks to be left alone for a while', {
    phase: 'head',
    upstream: member.label,
  });
  sendAgain(exchange, next, error, true);
  return true;
}

/**
 * The member does not know `Expect` and says so (417): the same request again without it, which RFC 9110
 * section 10.1.1 allows, for it did nothing and the body is at hand. The caller is asked for it now, unless
 * it did not wait to be. What the breaker probes with goes on as its probe.
 */
export function sendUnexpecting(exchange: GatewayExchange, refused: UpstreamExchange): void {
  const { member, isProbe } = exchange;
  refused.context = null;
  refused.abort();
  exchange.headMs = 0;
  exchange.isProbe = false;
  leaveMember(exchange, null);
  exchange.freeAttempts++;
  beginUpload(exchange);
  exchange.isProbe = isProbe;
  exchange.member = member;
  dispatch(exchange);
}

function mayRetry(
  exchange: GatewayExchange,
  failed: UpstreamExchange,
  error: OnehopError,
): boolean {
  const { attemptsMax } = exchange.route!;
  return decideRetry(error.code, {
    idempotent: isIdempotent(exchange.method),
    reused: failed.reused,
    sent: failed.sent,
    responseBytes: failed.responseBytes,
    bodyReplayable: failed.bodyReplayable,
    attempt: exchange.attempts,
    attemptsMax: attemptsMax < 2 ? attemptsMax : attemptsMax + exchange.freeAttempts,
    elsewhere: true,
  });
}
