/**
 * When a failed request may be sent again: pure decisions, no state but the budget. The rule is
 * RFC 9110 section 9.2.2: never resend what may have been processed, unless its method is idempotent.
 */
import { ERRORS, type ErrorCode, limits } from '../core/index.ts';

/** What is known about the attempt that failed. */
export interface RetryContext {
  /** The method is idempotent by RFC 9110 section 9.2.2, or the caller vouched for it. */
  idempotent: boolean;
  /** The connection had served an earlier exchange. */
  reused: boolean;
  /** At least one byte of the request was handed to the socket. */
  sent: boolean;
  /** Bytes of a response that came back, interim responses and partial heads included. */
  responseBytes: number;
  /** The request body is absent, in memory, or not yet begun. */
  bodyReplayable: boolean;
  /** Attempts made so far, the failed one included. */
  attempt: number;
  attemptsMax: number;
  /**
   * The next attempt goes to another server. To the same one a deadline that passed or a refused
   * connection is not tried again: it would only double the caller's wait.
   */
  elsewhere: boolean;
}

const SAFE_OR_IDEMPOTENT = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'];

/** Whether RFC 9110 section 9.2.2 calls the method idempotent. Methods are case-sensitive. */
export function isIdempotent(method: string): boolean {
  return method === 'GET' || SAFE_OR_IDEMPOTENT.includes(method);
}

const pointless = (code: ErrorCode): boolean =>
  code === 'CONNECT_REFUSED' ||
  code === 'CONNECT_TIMEOUT' ||
  code === 'RESOLVE_FAILED' ||
  code === 'TLS_FAILED' ||
  code === 'QUEUE_FULL' ||
  code === 'QUEUE_TIMEOUT' ||
  code === 'CLIENT_CLOSED' ||
  code === 'HEAD_TIMEOUT' ||
  code === 'FIRST_BYTE_TIMEOUT' ||
  code === 'IDLE_TIMEOUT' ||
  code === 'RESPONSE_INVALID';

/**
 * May the request be sent once more? True only if it provably was not processed, or processing it
 * twice does no harm. See design: one attempt loop with a commit point, which is the first response
 * byte.
 */
export function decideRetry(code: ErrorCode, context: RetryContext): boolean {
  if (context.attempt >= context.attemptsMax) return false;
  if (!context.bodyReplayable) return false;
  // A server that began to answer has worked on it. Asking another one is a second execution, which
  // only an idempotent method allows; what was received so far was shown to nobody.
  if (context.responseBytes > 0 && !(context.elsewhere && context.idempotent)) return false;
  if (!context.elsewhere && pointless(code)) return false;
  switch (ERRORS[code].retry) {
    case 'never':
      return false;
    case 'always':
      return true;
    case 'if-reused':
      // Unsent: the connection was found dead before the write. Sent: only a stale reused connection
      // makes it likely that the server never saw it, and only an idempotent method may rely on that.
      // Another server may do it in any case if doing it twice does no harm.
      return !context.sent || (context.idempotent && (context.reused || context.elsewhere));
    case 'if-idempotent':
      return !context.sent || context.idempotent;
  }
}

/**
 * Keeps retries a bounded share of the traffic, so that a failing server is not hit twice as hard.
 * Every first attempt earns `ratio` of a retry, up to `reserveMax`; a few are always there.
 */
export class RetryBudget {
  readonly #ratio: number;
  readonly #reserveMax: number;
  #reserve: number;

  constructor(
    ratio: number = limits.retryBudgetRatio,
    reserveMin: number = limits.retryBudgetMin,
    reserveMax = 100,
  ) {
    this.#ratio = ratio;
    this.#reserveMax = Math.max(reserveMax, reserveMin);
    this.#reserve = reserveMin;
  }

  /** A first attempt was made. */
  earn(): void {
    if (this.#reserve < this.#reserveMax) this.#reserve += this.#ratio;
  }

  /** Takes one retry out; false when the budget is used up. */
  spend(): boolean {
    if (this.#reserve < 1) return false;
    this.#reserve -= 1;
    return true;
  }
}
