/** What becomes of an exchange when a step of it threw: a bug, of which only this one may suffer. */
import { OnehopError } from '../core/index.ts';
import { leaveMember } from './attempt.ts';
import type { GatewayExchange } from './exchange.ts';
import { failExchange } from './refusal.ts';

/**
 * Reports what was thrown and ends the exchange on both sides: with a 500 in the caller's dialect, or
 * cut where its response has begun. Does not throw, and leaves nothing that waits.
 */
export function failInternal(exchange: GatewayExchange, thrown: unknown, where: string): void {
  const { downstream } = exchange;
  const { observer } = exchange.gateway;
  observer.onInternalError(thrown, where);
  const error = new OnehopError('INTERNAL', `it threw in ${where}`, { cause: thrown });
  try {
    exchange.error ??= error;
    const { upstreamExchange } = exchange;
    if (upstreamExchange !== null && !upstreamExchange.done) {
      // Comes back as onError of the relay, which answers the caller.
      upstreamExchange.fail('INTERNAL', error.message, thrown);
    }
    if (exchange.member !== null) leaveMember(exchange, null);
    if (downstream.writable) failExchange(exchange, error);
    // It may have been held back when the step threw.
    downstream.uncork();
  } catch (again) {
    observer.onInternalError(again, `the end of an exchange after ${where}`);
  }
  try {
    if (downstream.writable || exchange.tunnel !== null) downstream.abort(error);
  } catch (again) {
    observer.onInternalError(again, `the end of a connection after ${where}`);
  }
}
