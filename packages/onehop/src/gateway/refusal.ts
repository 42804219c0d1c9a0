/** What a caller is told when its request is not forwarded or failed, in its own dialect. */
import type { OnehopError } from '../core/index.ts';
import { FieldBlock } from '../http1/index.ts';
import { dialectOfPath, errorBody, errorFacts } from './error-body.ts';
import type { GatewayExchange } from './exchange.ts';

/** Ends the exchange with an error: an answer when none has begun, else a visible truncation. */
export function failExchange(exchange: GatewayExchange, error: OnehopError): void {
  const { downstream } = exchange;
  exchange.error ??= error;
  if (downstream.finished) return;
  // A step that threw may have been about to begin the response.
  if (exchange.committed && downstream.responseStarted) {
    downstream.truncate(error);
    return;
  }
  const name = exchange.upstream?.name ?? null;
  const status = statusOf(exchange, error);
  const facts = { ...errorFacts(error, name, exchange.requestId), status };
  answerError(
    exchange,
    status,
    error.code,
    errorBody(dialectOf(exchange), facts),
    error.status === 503 ? 1000 : 0,
    [],
  );
}

/** The table's, but for a queue without a place, of which the configuration says what it is called. */
function statusOf({ upstream }: GatewayExchange, error: OnehopError): number {
  if (upstream === null) return error.status;
  const { queueFullStatus, queueTimeoutStatus } = upstream.config.limits;
  if (error.code === 'QUEUE_FULL') return queueFullStatus;
  return error.code === 'QUEUE_TIMEOUT' ? queueTimeoutStatus : error.status;
}

const dialectOf = (exchange: GatewayExchange) =>
  exchange.upstream === null || exchange.upstream.config.protocol === 'custom'
    ? dialectOfPath(exchange.path)
    : exchange.upstream.config.protocol;

/** Refuses a request for a reason that is no failure of anything. */
export function refuse(
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

export function refuseBusy(
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
