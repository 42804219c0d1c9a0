/** Why a failed attempt was not made again, for the access log. Only ever asked after a failure. */
import { isIdempotent, type Exchange as UpstreamExchange } from '../client/index.ts';
import { ERRORS, type OnehopError } from '../core/index.ts';
import type { GatewayExchange } from './exchange.ts';

/**
 * `committed`: response bytes were on their way to the caller. `never`: the failure would repeat
 * itself. `attempts`: no try is left. `body`: it was passed on and is gone. `method`: the upstream
 * may have done the work, and doing it twice may do harm. `target`: there is no other. `budget`: too
 * many requests are retries already.
 */
export type RetryDenied =
  | 'committed'
  | 'never'
  | 'attempts'
  | 'body'
  | 'method'
  | 'target'
  | 'budget';

/** A rule of `decideRetry` that said no; `attempts` where nothing else did. */
export function retryDenied(
  exchange: GatewayExchange,
  failed: UpstreamExchange,
  error: OnehopError,
): RetryDenied {
  if (ERRORS[error.code].retry === 'never') return 'never';
  if (!failed.bodyReplayable) return 'body';
  if (!isIdempotent(exchange.method) && failed.sent) return 'method';
  return 'attempts';
}
