/**
 * The one table of everything that can go wrong with an exchange, and the one class that carries it.
 * Test by `error.code`, never by `instanceof` a subclass or by message text. A code once released is
 * never given another meaning. `docs/reference/errors.md` is generated from this table.
 */

import type * as limits from './limits.ts';

/** A bound of `core/limits.ts`, or that of all downstream connections. */
export type LimitName = keyof typeof limits | 'connectionsMax';

/** Who is to blame: the caller, the service behind us, or onehop itself. */
export type ErrorSide = 'downstream' | 'upstream' | 'internal';

/**
 * Whether the request that failed so may be sent again.
 * `always`: provably not processed. `if-reused`: not processed when the socket had served an earlier
 * exchange and no response byte came back. `if-idempotent`: only for idempotent methods.
 */
export type RetryRule = 'never' | 'always' | 'if-reused' | 'if-idempotent';

/** Where in an exchange the failure happened. */
export type Phase =
  | 'config'
  | 'resolve'
  | 'queue'
  | 'connect'
  | 'request'
  | 'head'
  | 'body'
  | 'idle'
  | 'close';

export interface ErrorSpec {
  readonly side: ErrorSide;
  /** HTTP status a gateway answers with; 499 is only ever logged. */
  readonly status: number;
  readonly retry: RetryRule;
  readonly help: string;
}

const spec = (side: ErrorSide, status: number, retry: RetryRule, help: string): ErrorSpec => ({
  side,
  status,
  retry,
  help,
});

export const ERRORS = {
  // Reaching the upstream. Nothing was sent.
  RESOLVE_FAILED: spec('upstream', 502, 'always', 'The host name has no address.'),
  CONNECT_REFUSED: spec('upstream', 502, 'always', 'Nothing listens at the upstream address.'),
  CONNECT_FAILED: spec('upstream', 502, 'always', 'The connection could not be opened.'),
  CONNECT_TIMEOUT: spec(
    'upstream',
    504,
    'always',
    'TCP or TLS did not finish in connectTimeoutMs.',
  ),
  TLS_FAILED: spec('upstream', 502, 'always', 'The TLS handshake or certificate check failed.'),
  PROXY_REFUSED: spec('upstream', 502, 'never', 'The proxy refused to connect to the upstream.'),
  // Waiting for a slot. Nothing was sent.
  QUEUE_FULL: spec('internal', 503, 'always', 'Too many requests wait for a connection.'),
  QUEUE_TIMEOUT: spec('internal', 503, 'always', 'No connection came free in queueTimeoutMs.'),
  CLIENT_CLOSED: spec('internal', 503, 'always', 'The client was closed before the request ran.'),
  // The exchange itself.
  UPSTREAM_CLOSED: spec('upstream', 502, 'if-reused', 'The upstream closed before it answered.'),
  UPSTREAM_RESET: spec('upstream', 502, 'if-reused', 'The upstream reset the connection.'),
  UPSTREAM_TRUNCATED: spec(
    'upstream',
    502,
    'if-idempotent',
    'The response ended before its framing said.',
  ),
  UPSTREAM_BUSY: spec(
    'upstream',
    503,
    'always',
    'The upstream answered 429 or 503 and Retry-After.',
  ),
  HEAD_TIMEOUT: spec('upstream', 504, 'if-idempotent', 'No response head in headTimeoutMs.'),
  FIRST_BYTE_TIMEOUT: spec('upstream', 504, 'if-idempotent', 'No body byte in firstByteTimeoutMs.'),
  IDLE_TIMEOUT: spec('upstream', 504, 'if-idempotent', 'No body byte for idleTimeoutMs.'),
  TOTAL_TIMEOUT: spec('upstream', 504, 'never', 'The exchange took longer than totalTimeoutMs.'),
  RESPONSE_INVALID: spec('upstream', 502, 'if-idempotent', 'The response is not valid HTTP.'),
  RESPONSE_TOO_LARGE: spec('upstream', 502, 'never', 'The response exceeds a configured limit.'),
  DECODE_FAILED: spec('upstream', 502, 'never', 'The response body could not be decompressed.'),
  REDIRECT_FAILED: spec(
    'upstream',
    502,
    'never',
    'A redirect was refused, malformed or one too many.',
  ),
  // The caller.
  REQUEST_INVALID: spec('downstream', 400, 'never', 'The request is not valid HTTP.'),
  REQUEST_TOO_LARGE: spec('downstream', 413, 'never', 'The request body exceeds bodyBytesMax.'),
  BODY_INVALID: spec(
    'downstream',
    400,
    'never',
    'The body is no JSON object with exactly one model.',
  ),
  URI_TOO_LONG: spec('downstream', 414, 'never', 'The request line exceeds requestLineBytesMax.'),
  HEAD_TOO_LARGE: spec('downstream', 431, 'never', 'The request head exceeds a configured limit.'),
  REQUEST_TIMEOUT: spec('downstream', 408, 'never', 'The request did not arrive in time.'),
  BODY_LENGTH_MISMATCH: spec(
    'downstream',
    400,
    'never',
    'The body is not as long as Content-Length says.',
  ),
  BODY_NOT_REPLAYABLE: spec(
    'downstream',
    400,
    'never',
    'The body was already used and cannot be sent again.',
  ),
  ABORTED: spec('downstream', 499, 'never', 'The caller went away or aborted.'),
  UNSUPPORTED: spec('downstream', 501, 'never', 'The requested option or coding is not supported.'),
  ARGUMENT_INVALID: spec(
    'downstream',
    400,
    'never',
    'An argument is of the wrong type or out of range.',
  ),
  SEND_QUEUE_FULL: spec(
    'internal',
    502,
    'never',
    'More was written to a connection than its peer takes and sendQueueBytesMax allows.',
  ),
  // Listening.
  ADDRESS_IN_USE: spec('internal', 500, 'never', 'Another process listens on that address.'),
  LISTEN_FAILED: spec('internal', 500, 'never', 'The listener could not be opened.'),
  DRAINING: spec('internal', 503, 'never', 'The gateway shuts down and could wait no longer.'),
  INTERNAL: spec('internal', 500, 'never', 'A bug in onehop; please report it.'),
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

export interface OnehopErrorOptions {
  phase?: Phase;
  /** Origin or target the exchange was meant for, for example `http://10.0.0.1:8000`. */
  upstream?: string;
  /** The limit that was exceeded, where the code alone does not say which. */
  limit?: LimitName | undefined;
  cause?: unknown;
}

/** Every failure onehop reports. `side`, `status` and `retry` come from {@link ERRORS}. */
export class OnehopError extends Error {
  override readonly name = 'OnehopError';
  readonly code: ErrorCode;
  readonly phase: Phase | null;
  readonly upstream: string | null;
  /** The limit of which this is the breach, where the code alone does not say which. */
  readonly limit: LimitName | null;

  constructor(code: ErrorCode, message: string, options: OnehopErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.phase = options.phase ?? null;
    this.upstream = options.upstream ?? null;
    this.limit = options.limit ?? null;
  }

  get side(): ErrorSide {
    return ERRORS[this.code].side;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retry(): RetryRule {
    return ERRORS[this.code].retry;
  }
}
