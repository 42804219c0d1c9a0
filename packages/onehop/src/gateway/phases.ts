/**
 * The life of one request, in order. Open this file first.
 *
 *   onRequestHead → route → the body (request-body.ts) → admit (admission.ts)
 *     → dispatch (attempt.ts) → relay (relay.ts) → finish
 *
 * A failure anywhere ends in another attempt (attempt.ts) or an answer in the caller's dialect
 * (refusal.ts). `finish` runs exactly once for every exchange, whatever happened. A head that comes
 * again on its connection takes the short way of head-plan.ts through the first two phases.
 */
import { OnehopError } from '../core/index.ts';
import { FieldBlock, Framing, KnownField, type RequestHead, TargetForm } from '../http1/index.ts';
import type { Exchange as DownstreamExchange } from '../server/index.ts';
import { admit, admitWaiting } from './admission.ts';
import { leaveMember } from './attempt.ts';
import { hashText } from './balancing/hash.ts';
import { BodyPlan, collectBytesMax, GatewayExchange } from './exchange.ts';
import { offersHead } from './expectation.ts';
import { plainAddress, requestFields } from './fields.ts';
import type { Gateway } from './gateway.ts';
import { idFor, keepPlan, usePlan } from './head-plan.ts';
import { view } from './head-view.ts';
import { dropPieces } from './kept-body.ts';
import { failExchange, refuse } from './refusal.ts';
import { JsonScanner } from './routing/json-scanner.ts';
import { type NormalisedPath, normalisePath, PathProblem } from './routing/path.ts';
import { pathParam, type Route, RouteMiss } from './routing/router.ts';
import type { Upstream } from './upstream.ts';

const normalised: NormalisedPath = { path: '', problem: PathProblem.None };

// ---- Phase 1: the head ------------------------------------------------------------------------

/** The server half has a complete request head. */
export function onRequestHead(
  gateway: Gateway,
  downstream: DownstreamExchange<GatewayExchange>,
): void {
  const exchange = new GatewayExchange(gateway, gateway.tables, downstream, gateway.wheel.turnMs());
  downstream.state = exchange;
  const head = downstream.request;
  if (usePlan(exchange, head)) {
    planBody(exchange, head);
    return;
  }
  exchange.method = head.method;
  exchange.requestId = idFor(head);
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
  // Without a body there is no model, which is known already.
  const model = head.framing === Framing.None ? null : undefined;
  const found = router.match(view.look(head, exchange.method, exchange.path), model);
  if (typeof found === 'object') {
    const keyed = takeRoute(exchange, head, found);
    keepPlan(exchange, head, keyed);
    planBody(exchange, head);
    return;
  }
  if (found === RouteMiss.NeedsModel) {
    // The table borrows the read buffer; it is needed again once the model is known.
    exchange.downstream.keepHead();
    if (!limitBody(exchange, head, exchange.tables.bodyBytesMax)) return;
    exchange.scanner = new JsonScanner();
    exchange.bodyPlan = BodyPlan.Scan;
    // Which upstream to ask is known from the body only.
    exchange.downstream.sendContinue();
    return;
  }
  missRoute(exchange, found);
}

export function missRoute(exchange: GatewayExchange, miss: RouteMiss): void {
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

/**
 * Fixes everything the route decides: upstream, target, fields, deadlines. False when something in
 * it is this request's own although the head does not say so: the key of one that brings none.
 */
export function takeRoute(exchange: GatewayExchange, head: RequestHead, found: Route): boolean {
  const table = exchange.tables.routes[found.index]!;
  const { config } = table.upstream;
  exchange.route = table;
  exchange.upstream = table.upstream;
  exchange.timeouts = table.timeouts;
  const { tables, downstream } = exchange;
  const address = downstream.remoteAddress;
  exchange.remoteAddress = address;
  const trusted = tables.trustedPeers.size > 0 && tables.trustedPeers.has(plainAddress(address));
  exchange.fieldsText = requestFields(head, table.request, address, trusted);
  exchange.host =
    config.preserveHost && head.authorityEnd > head.authorityStart ? head.authority : undefined;
  const key = config.balance === 'hash' ? affinityKey(exchange, head, found) : '';
  // Without a key each request is its own: spread them.
  if (config.balance === 'hash') exchange.keyHash = hashText(key ?? exchange.requestId);
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
  return key !== null;
}

/** The body is small and of known length: it is kept whole and can be sent again. */
export const isCollected = (head: RequestHead): boolean =>
  head.framing === Framing.Length && head.contentLength <= collectBytesMax;

function affinityKey(exchange: GatewayExchange, head: RequestHead, found: Route): string | null {
  const hash = exchange.upstream!.config.hash!;
  return 'header' in hash ? head.get(hash.header) : pathParam(found, exchange.path, hash.param);
}

/** Decides how the body travels and starts what can start now. */
function planBody(exchange: GatewayExchange, head: RequestHead): void {
  if (head.framing === Framing.None) {
    admit(exchange, exchange.startMs);
    return;
  }
  if (!limitBody(exchange, head, exchange.route!.bodyBytesMax)) return;
  const length = head.framing === Framing.Length ? head.contentLength : null;
  if (offersHead(exchange, length)) {
    admit(exchange, exchange.startMs);
    return;
  }
  const collect = isCollected(head);
  exchange.bodyPlan = collect ? BodyPlan.Collect : BodyPlan.Stream;
  exchange.body = collect ? null : { length, keepsUnsent: true };
  // A streamed body is dispatched with its first bytes: head and they leave in one write.
}

/** Bounds the body. False when it is already too long, which is then answered (413). */
export function limitBody(exchange: GatewayExchange, head: RequestHead, bytesMax: number): boolean {
  exchange.downstream.setBodyBytesMax(bytesMax);
  if (head.contentLength <= bytesMax && exchange.pieceBytes <= bytesMax) return true;
  failExchange(
    exchange,
    new OnehopError('REQUEST_TOO_LARGE', 'the body exceeds the limit', { phase: 'request' }),
  );
  return false;
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

/** Exactly once, last. */
export function finish(exchange: GatewayExchange): void {
  settle(exchange);
  const { gateway, upstream } = exchange;
  gateway.observer.onFinish(exchange);
  try {
    if (exchange.error !== null || exchange.retryDenied !== null) {
      gateway.limits.exchangeEnded(exchange);
    }
  } finally {
    // Who waits for its place does not wait for what is told of its end.
    if (upstream !== null) letIn(exchange, upstream);
  }
}

/** Who waits for the place that came free: after a reload it may have been one of the upstream in force. */
function letIn({ gateway, tables }: GatewayExchange, upstream: Upstream): void {
  if (upstream.queue.length > 0) admitWaiting(upstream);
  if (tables === gateway.tables) return;
  const current = gateway.tables.upstreams.get(upstream.name);
  if (current !== undefined && current.queue.length > 0) admitWaiting(current);
}

/** Every count and gauge is settled here; nothing is when it was before. */
export function settle(exchange: GatewayExchange): void {
  const { upstream, upstreamExchange } = exchange;
  exchange.disarm();
  if (exchange.queued) {
    // Who gave up must not keep a place in line.
    exchange.queued = false;
    exchange.queueWaitMs = exchange.gateway.nowMs() - exchange.queuedMs;
    upstream!.queue.remove(exchange);
  }
  if (exchange.pieces !== null) dropPieces(exchange);
  exchange.tunnel?.destroy();
  if (exchange.member !== null) leaveMember(exchange, null);
  // Only behind a step that threw: nobody is left whom its response is for.
  if (upstreamExchange !== null && !upstreamExchange.done) upstreamExchange.abort(exchange.error);
  if (exchange.admitted) {
    exchange.admitted = false;
    upstream!.pending--;
    if (exchange.error === null) upstream!.budget.earn();
  }
}
