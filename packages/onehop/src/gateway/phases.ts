/**
 * The life of one request, in order. Open this file first.
 *
 *   onRequestHead → route → (scan the body for the model) → admit → pick → dispatch
 *     → relay (relay.ts) → finish
 *
 * A failure anywhere ends in {@link failExchange}: another attempt, or an answer in the caller's
 * dialect. `finish` runs exactly once for every exchange, whatever happened.
 */
import { decideRetry, isIdempotent, type Exchange as UpstreamExchange } from '../client/index.ts';
import { OnehopError } from '../core/index.ts';
import { FieldBlock, Framing, KnownField, type RequestHead, TargetForm } from '../http1/index.ts';
import type { Exchange as DownstreamExchange } from '../server/index.ts';
import { WriteStatus } from '../transport/index.ts';
import { triedBit } from './balancing/balancer.ts';
import { hashText } from './balancing/hash.ts';
import { dialectOfPath, errorBody, errorFacts } from './error-body.ts';
import { BodyPlan, GatewayExchange, noPieces, timerKind } from './exchange.ts';
import { plainAddress, requestFields, trailerFields } from './fields.ts';
import type { Gateway } from './gateway.ts';
import { relayHandler } from './relay.ts';
import { requestIdFor } from './request-id.ts';
import { JsonScanner, ScanState } from './routing/json-scanner.ts';
import { type NormalisedPath, normalisePath, PathProblem } from './routing/path.ts';
import {
  pathParam,
  type RoutableRequest,
  type Route,
  RouteMiss,
  rewriteTarget,
} from './routing/router.ts';
import type { Upstream } from './upstream.ts';

/** Bodies up to this size are kept whole before they are sent on, so that they can be sent again. */
const collectBytesMax = 64 * 1024;

const normalised: NormalisedPath = { path: '', problem: PathProblem.None };

/** What routing asks about the request at hand; one object for all of them. */
class HeadView implements RoutableRequest {
  method = '';
  path = '';
  head!: RequestHead;
  #host: string | null = null;

  look(head: RequestHead, method: string, path: string): this {
    this.head = head;
    this.method = method;
    this.path = path;
    this.#host = null;
    return this;
  }

  get host(): string {
    if (this.#host === null) {
      const authority = this.head.authority.toLowerCase();
      const colon = authority.lastIndexOf(':');
      this.#host = colon > authority.lastIndexOf(']') ? authority.slice(0, colon) : authority;
    }
    return this.#host;
  }

  header(name: string): string | null {
    return this.head.get(name);
  }
}

const view = new HeadView();

// ---- Phase 1: the head ------------------------------------------------------------------------

/** The server half has a complete request head. */
export function onRequestHead(
  gateway: Gateway,
  downstream: DownstreamExchange<GatewayExchange>,
): void {
  const exchange = new GatewayExchange(gateway, gateway.tables, downstream, gateway.nowMs());
  downstream.state = exchange;
  const head = downstream.request;
  exchange.method = head.method;
  exchange.requestId = requestIdFor(
    head.has(KnownField.XRequestId) ? head.valueOf(KnownField.XRequestId) : null,
  );
  if (!acceptMethod(exchange, head) || !readTarget(exchange, head)) return;
  route(exchange, head);
}

/** Methods that are not forwarded, and the ones that stop here (RFC 9110 sections 7.6.2, 9.3). */
function acceptMethod(exchange: GatewayExchange, head: RequestHead): boolean {
  const { method } = exchange;
  if (method === 'CONNECT' || method === 'TRACE') {
    refuse(exchange, 405, 'METHOD_NOT_ALLOWED', `${method} is not forwarded`, [
      'Allow',
      'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
    ]);
    return false;
  }
  if (method !== 'OPTIONS') return true;
  if (head.targetForm === TargetForm.Asterisk || head.valueOf(KnownField.MaxForwards) === '0') {
    exchange.downstream.respond(
      204,
      new FieldBlock([
        'Allow',
        'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
        'X-Request-Id',
        exchange.requestId,
      ]),
    );
    return false;
  }
  return true;
}

/** Path and query as received, and the path that routing looks at. */
function readTarget(exchange: GatewayExchange, head: RequestHead): boolean {
  const target = head.path;
  const query = target.indexOf('?');
  normalisePath(query === -1 ? target : target.slice(0, query), normalised);
  exchange.target = target;
  exchange.path = normalised.path;
  if (normalised.problem === PathProblem.None) return true;
  refuse(
    exchange,
    400,
    'PATH_AMBIGUOUS',
    'The path has a dot segment, an encoded separator, a backslash or a bad escape.',
  );
  return false;
}

// ---- Phase 2: the route -----------------------------------------------------------------------

function route(exchange: GatewayExchange, head: RequestHead): void {
  const { router } = exchange.tables;
  const found = router.match(view.look(head, exchange.method, exchange.path));
  if (typeof found === 'object') {
    takeRoute(exchange, head, found);
    planBody(exchange, head);
    return;
  }
  if (found === RouteMiss.NeedsModel && head.framing !== Framing.None) {
    // The table borrows the read buffer; it is needed again once the model is known.
    exchange.downstream.keepHead();
    exchange.downstream.setBodyBytesMax(exchange.tables.config.limits.bodyBytesMax);
    exchange.scanner = new JsonScanner();
    exchange.bodyPlan = BodyPlan.Scan;
    return;
  }
  missRoute(exchange, found === RouteMiss.NeedsModel ? router.match(view, null) : found);
}

function missRoute(exchange: GatewayExchange, miss: Route | RouteMiss): void {
  if (miss === RouteMiss.MethodNotAllowed) {
    const allow = exchange.tables.router.allowedMethods(view).join(', ');
    refuse(exchange, 405, 'METHOD_NOT_ALLOWED', 'The route does not take this method.', [
      'Allow',
      allow,
    ]);
  } else {
    const model = exchange.model === null ? '' : ` and model ${JSON.stringify(exchange.model)}`;
    refuse(exchange, 404, 'ROUTE_NOT_FOUND', `No route takes this host and path${model}.`);
  }
}

/** Fixes everything the route decides: upstream, target, fields, deadlines. */
function takeRoute(exchange: GatewayExchange, head: RequestHead, found: Route): void {
  const table = exchange.tables.routes[found.index]!;
  const { config } = table.upstream;
  exchange.route = table;
  exchange.upstream = table.upstream;
  exchange.timeouts = table.timeouts;
  const { tables, downstream } = exchange;
  const address = downstream.remoteAddress;
  exchange.remoteAddress = address;
  const trusted = tables.trustedPeers.size > 0 && tables.trustedPeers.has(plainAddress(address));
  exchange.fields = requestFields(head, table.request, address, exchange.requestId, trusted);
  exchange.host =
    config.preserveHost && head.authorityEnd > head.authorityStart ? head.authority : undefined;
  if (config.balance === 'hash') exchange.keyHash = affinityKey(exchange, head, found);
  if (head.has(KnownField.TE)) {
    exchange.takesTrailers = /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(
      head.valueOf(KnownField.TE)!,
    );
  }
  if (exchange.method === 'GET' && head.upgrade && head.framing === Framing.None) {
    // Only this one: h2c and lists that hide it are how requests are smuggled past a gateway.
    const protocol = head.valueOf(KnownField.Upgrade);
    if (protocol !== null && protocol.toLowerCase() === 'websocket') exchange.upgrade = protocol;
  }
}

function affinityKey(exchange: GatewayExchange, head: RequestHead, found: Route): number {
  const hash = exchange.upstream!.config.hash!;
  const key =
    'header' in hash ? head.get(hash.header) : pathParam(found, exchange.path, hash.param);
  // Without a key each request is its own: spread them.
  return hashText(key ?? exchange.requestId);
}

/** Decides how the body travels and starts what can start now. */
function planBody(exchange: GatewayExchange, head: RequestHead): void {
  const { downstream } = exchange;
  const table = exchange.route!;
  if (head.framing === Framing.None) {
    admit(exchange, exchange.startMs);
    return;
  }
  if (head.contentLength > table.bodyBytesMax) {
    failExchange(
      exchange,
      new OnehopError('REQUEST_TOO_LARGE', 'Content-Length exceeds the limit', {
        phase: 'request',
      }),
    );
    return;
  }
  downstream.setBodyBytesMax(table.bodyBytesMax);
  const collect = head.framing === Framing.Length && head.contentLength <= collectBytesMax;
  exchange.bodyPlan = collect ? BodyPlan.Collect : BodyPlan.Stream;
  exchange.body = collect
    ? null
    : { length: head.framing === Framing.Length ? head.contentLength : null };
  // A streamed body is dispatched with its first bytes: head and they leave in one write.
}

// ---- Phase 3: the body ------------------------------------------------------------------------

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
    case BodyPlan.Scan:
      keepPiece(exchange, bytes, start, end);
      scan(exchange, bytes.subarray(start, end));
      return;
    case BodyPlan.Stream: {
      const upstream = exchange.upstreamExchange;
      if (upstream === null || exchange.pieceBytes > 0) {
        keepPiece(exchange, bytes, start, end);
        if (upstream === null && !exchange.admitted && !exchange.queued) admit(exchange);
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

function keepPiece(exchange: GatewayExchange, bytes: Uint8Array, start: number, end: number): void {
  if (exchange.pieces === noPieces) exchange.pieces = [];
  exchange.pieces.push(Uint8Array.prototype.slice.call(bytes, start, end));
  exchange.pieceBytes += end - start;
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
        exchange.upstreamExchange.endBody(requestTrailers(exchange.downstream));
      } else keepTrailers(exchange);
      return;
    default:
      return;
  }
}

/** End of a chunked body with its trailer fields, empty without any; the parser has dropped those that must not come late. */
function requestTrailers(downstream: DownstreamExchange<GatewayExchange>): string {
  const { trailers } = downstream;
  return trailers.count === 0 ? '' : `0\r\n${trailerFields(trailers).text}\r\n`;
}

/** The upstream is not ready for the end of the body: what follows it is kept. */
function keepTrailers(exchange: GatewayExchange): void {
  exchange.trailers = requestTrailers(exchange.downstream);
}

function scan(exchange: GatewayExchange, bytes: Uint8Array): void {
  const scanner = exchange.scanner!;
  const state = scanner.feed(bytes);
  if (state === ScanState.Invalid) resolveModel(exchange, true);
  else if (state === ScanState.Done || scanner.model !== null) resolveModel(exchange, false);
}

/** Routes by the model that was found, or says why the body is no use. */
function resolveModel(exchange: GatewayExchange, invalid: boolean): void {
  const head = exchange.downstream.request;
  exchange.bodyPlan = BodyPlan.Collect;
  exchange.model = exchange.scanner!.model;
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
  const table = exchange.route!;
  exchange.downstream.setBodyBytesMax(table.bodyBytesMax);
  if (exchange.pieceBytes > table.bodyBytesMax || head.contentLength > table.bodyBytesMax) {
    failExchange(
      exchange,
      new OnehopError('REQUEST_TOO_LARGE', 'the body exceeds the limit', { phase: 'request' }),
    );
    return;
  }
  if (exchange.requestEnded) {
    exchange.body = exchange.takePieces();
    admit(exchange);
  } else if (head.framing !== Framing.Length || head.contentLength > collectBytesMax) {
    exchange.bodyPlan = BodyPlan.Stream;
    exchange.body = { length: head.framing === Framing.Length ? head.contentLength : null };
    admit(exchange);
    if (exchange.pieceBytes > 0) exchange.downstream.pause();
  }
}

// ---- Phase 4: limits, the member, the attempt -------------------------------------------------

/** Lets the exchange in, makes it wait, or refuses it (503 with Retry-After). */
export function admit(exchange: GatewayExchange, nowMs = exchange.gateway.nowMs()): void {
  const upstream = exchange.upstream!;
  if (upstream.breaker !== null && !upstream.breaker.tryPass(nowMs)) {
    refuseBusy(
      exchange,
      'BREAKER_OPEN',
      'Too many recent requests to this upstream failed.',
      upstream.breaker.retryAfterMs(nowMs),
    );
    return;
  }
  if (upstream.pending < upstream.config.limits.pendingMax) {
    const member = upstream.pick(nowMs, 0, exchange.keyHash);
    if (member !== null) {
      exchange.admitted = true;
      upstream.pending++;
      exchange.member = member;
      dispatch(exchange);
      return;
    }
    if (!upstream.hasMemberUp(nowMs)) {
      const ejected = upstream.pickEjected(0);
      if (ejected !== null) {
        exchange.admitted = true;
        upstream.pending++;
        exchange.member = ejected;
        dispatch(exchange);
        return;
      }
      upstream.breaker?.onCancelled();
      refuseBusy(exchange, 'NO_TARGET', 'No target of this upstream is healthy.', 1000);
      return;
    }
  }
  upstream.breaker?.onCancelled();
  enqueue(exchange, upstream, nowMs);
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

/** A place came free: the longest waiting exchange takes it. */
export function admitWaiting(upstream: Upstream): void {
  while (upstream.queue.length > 0 && upstream.pending < upstream.config.limits.pendingMax) {
    const next = upstream.queue.peek()!;
    if (!next.queued) {
      upstream.queue.shift();
      continue;
    }
    const nowMs = next.gateway.nowMs();
    const member = upstream.pick(nowMs, 0, next.keyHash);
    if (member === null) return;
    upstream.queue.shift();
    next.queueWaitMs = nowMs - next.queuedMs;
    next.queued = false;
    next.disarm();
    next.admitted = true;
    upstream.pending++;
    next.member = member;
    dispatch(next);
  }
}

/** One attempt at the chosen member. */
function dispatch(exchange: GatewayExchange): void {
  const member = exchange.member!;
  exchange.attempts++;
  exchange.tried |= triedBit(member.index);
  exchange.dispatchedMs = exchange.gateway.nowMs();
  exchange.uploadClosed = false;
  // Taken back in leaveMember, and only there.
  member.pending++;
  const table = exchange.route!;
  // What the origin may add by itself: a stale connection, never more than the attempts left.
  exchange.retries = exchange.attempts < table.attemptsMax ? 1 : 0;
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
  exchange.upstreamExchange = null;
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
    if (ok === null) upstream.breaker.onCancelled();
    else upstream.breaker.onResult(ok, nowMs);
  }
}

// ---- Failure ----------------------------------------------------------------------------------

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
  // A try that reached nobody is none: as long as there are members left, one of them gets it.
  if (!failed.sent && error.code !== 'CONNECT_TIMEOUT') exchange.freeAttempts++;
  if (upstream !== null && mayRetry(exchange, failed, error) && moveOn(exchange, error)) return;
  failExchange(exchange, error);
}

/** Another member takes the exchange over, if there is one and the budget allows it. */
function moveOn(exchange: GatewayExchange, error: OnehopError): boolean {
  const upstream = exchange.upstream!;
  const next =
    upstream.pick(exchange.gateway.nowMs(), exchange.tried, exchange.keyHash) ??
    upstream.pickEjected(exchange.tried);
  if (next === null || !upstream.budget.spend()) return false;
  exchange.gateway.observer.onRetry(exchange, error);
  exchange.member = next;
  dispatch(exchange);
  return true;
}

/**
 * The member answered 429 or 503 with Retry-After: it did not do the work and says so. Hands the
 * request to another member, whatever its method; false when there is none or it cannot be sent
 * again, and the answer goes to the caller.
 */
export function moveFromBusy(exchange: GatewayExchange, busy: UpstreamExchange): boolean {
  const { upstream, member } = exchange;
  if (upstream === null || member === null || !busy.bodyReplayable) return false;
  const attemptsMax = exchange.route!.attemptsMax + exchange.freeAttempts;
  if (exchange.attempts >= attemptsMax || attemptsMax < 2) return false;
  if (upstream.pick(exchange.gateway.nowMs(), exchange.tried, exchange.keyHash) === null)
    return false;
  if (!upstream.budget.spend()) return false;
  // Nobody reads the rest of the answer; its connection is not used again.
  busy.context = null;
  busy.abort();
  leaveMember(exchange, null);
  const next = upstream.pick(exchange.gateway.nowMs(), exchange.tried, exchange.keyHash);
  const error = new OnehopError('UPSTREAM_BUSY', 'the target asks to be left alone for a while', {
    phase: 'head',
    upstream: member.label,
  });
  if (next === null) {
    failExchange(exchange, error);
    return true;
  }
  exchange.gateway.observer.onRetry(exchange, error);
  exchange.member = next;
  dispatch(exchange);
  return true;
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

/** Ends the exchange with an error: an answer when none has begun, else a visible truncation. */
export function failExchange(exchange: GatewayExchange, error: OnehopError): void {
  const { downstream } = exchange;
  exchange.error ??= error;
  if (downstream.finished) return;
  if (exchange.committed) {
    downstream.truncate(error);
    return;
  }
  const name = exchange.upstream?.name ?? null;
  const facts = errorFacts(error, name, exchange.requestId);
  answerError(
    exchange,
    facts.status,
    error.code,
    errorBody(dialectOf(exchange), facts),
    error.status === 503 ? 1000 : 0,
    [],
  );
}

const dialectOf = (exchange: GatewayExchange) =>
  exchange.upstream === null || exchange.upstream.config.protocol === 'custom'
    ? dialectOfPath(exchange.path)
    : exchange.upstream.config.protocol;

/** Refuses a request for a reason that is no failure of anything. */
function refuse(
  exchange: GatewayExchange,
  status: number,
  code: string,
  message: string,
  fields: string[] = [],
  retryAfterMs = 0,
): void {
  const upstream = exchange.upstream?.name ?? null;
  const facts = { status, code, message, phase: null, upstream, requestId: exchange.requestId };
  exchange.refusal = code;
  answerError(exchange, status, code, errorBody(dialectOf(exchange), facts), retryAfterMs, fields);
}

function refuseBusy(
  exchange: GatewayExchange,
  code: string,
  message: string,
  retryAfterMs: number,
): void {
  refuse(exchange, 503, code, message, [], Math.max(1, Math.ceil(retryAfterMs)));
}

function answerError(
  exchange: GatewayExchange,
  status: number,
  code: string,
  body: string,
  retryAfterMs: number,
  fields: string[],
): void {
  const pairs = [
    'Content-Type',
    'application/json',
    'X-Request-Id',
    exchange.requestId,
    'X-Onehop-Error',
    code,
  ];
  if (exchange.upstream !== null) pairs.push('X-Onehop-Upstream', exchange.upstream.name);
  if (exchange.attempts > 0) pairs.push('X-Onehop-Attempts', String(exchange.attempts));
  // What we already sent twice must not be sent again by the caller's SDK.
  if (exchange.attempts > 1) pairs.push('X-Should-Retry', 'false');
  if (retryAfterMs > 0) {
    pairs.push(
      'Retry-After',
      String(Math.ceil(retryAfterMs / 1000)),
      'Retry-After-Ms',
      String(retryAfterMs),
    );
  }
  exchange.downstream.respond(status, new FieldBlock([...pairs, ...fields]), body);
}

// ---- The caller -------------------------------------------------------------------------------

/** The caller left: whatever phase it is in, the upstream hears it now. */
export function onCallerGone(exchange: GatewayExchange, error: OnehopError): void {
  exchange.error ??= error;
  const upstream = exchange.upstreamExchange;
  if (upstream !== null && !upstream.done) {
    const { gateway } = exchange;
    exchange.cancelledMs = gateway.nowMs();
    upstream.abort(error);
    gateway.observer.onCancel?.(exchange, gateway.nowMs());
  }
  exchange.tunnel?.destroy();
}

/** The gateway shuts down and waits no longer. */
export function endExchange(exchange: GatewayExchange): void {
  const error = new OnehopError('DRAINING', 'the gateway shuts down', { phase: 'close' });
  const { upstreamExchange, tunnel } = exchange;
  if (tunnel !== null) tunnel.destroy();
  else if (upstreamExchange !== null && !upstreamExchange.done) {
    upstreamExchange.fail('DRAINING', error.message);
  } else failExchange(exchange, error);
}

/** Exactly once, last: every count and gauge is settled here. */
export function finish(exchange: GatewayExchange): void {
  const { upstream } = exchange;
  exchange.disarm();
  if (exchange.queued) {
    // Who gave up must not keep a place in line.
    exchange.queued = false;
    exchange.queueWaitMs = exchange.gateway.nowMs() - exchange.queuedMs;
    upstream!.queue.remove(exchange);
  }
  exchange.pieces = noPieces;
  exchange.tunnel?.destroy();
  if (exchange.member !== null) leaveMember(exchange, null);
  if (exchange.admitted) {
    exchange.admitted = false;
    upstream!.pending--;
    if (exchange.error === null) upstream!.budget.earn();
  }
  exchange.gateway.observer.onFinish(exchange);
  if (upstream !== null && upstream.queue.length > 0) admitWaiting(upstream);
}
