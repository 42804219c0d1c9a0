/** Why a forward failed, in words a reader of a 502 can use, whichever client reported it. */
import { OnehopError } from 'onehop/core';

/** Where the exchange with the upstream failed. */
export type FailurePhase = 'connect' | 'exchange' | 'timeout' | 'status' | 'body';

/** The upstream answered, but not with 2xx. */
export class UpstreamStatusError extends Error {
  override readonly name = 'UpstreamStatusError';
  readonly status: number;

  constructor(status: number) {
    super(`the upstream answered with status ${status}`);
    this.status = status;
  }
}

/** The upstream answered 2xx, but its body is not what was agreed. */
export class UpstreamBodyError extends Error {
  override readonly name = 'UpstreamBodyError';
}

/** Throws {@link UpstreamStatusError} unless `status` is 2xx; redirects are failures, too. */
export function checkStatus(status: number): void {
  if (status < 200 || status > 299) throw new UpstreamStatusError(status);
}

const connectCodes =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ConnectionRefused|FailedToOpenSocket)$/;
const timeoutCodes =
  /^(ETIMEDOUT|ESOCKETTIMEDOUT|ECONNABORTED|ERR_BODY_TIMEOUT|UND_ERR_HEADERS_TIMEOUT|UND_ERR_BODY_TIMEOUT|ERR_CANCELED)$/;

/** The error, its causes and, of an aggregate, its parts; at most 12 so that loops end. */
function chain(error: unknown): unknown[] {
  const found: unknown[] = [error];
  for (let i = 0; i < found.length && found.length < 12; i++) {
    const item = found[i];
    if (typeof item !== 'object' || item === null) continue;
    if ('cause' in item && item.cause !== undefined && item.cause !== null) found.push(item.cause);
    if (item instanceof AggregateError) found.push(...item.errors.slice(0, 4));
  }
  return found;
}

function phaseOf(item: unknown): FailurePhase | null {
  if (item instanceof UpstreamStatusError) return 'status';
  if (item instanceof UpstreamBodyError) return 'body';
  if (item instanceof OnehopError) {
    if (/TIMEOUT$/.test(item.code) && item.code !== 'CONNECT_TIMEOUT') return 'timeout';
    return /^(CONNECT|RESOLVE|TLS)_/.test(item.code) ? 'connect' : 'exchange';
  }
  if (typeof item !== 'object' || item === null) return null;
  const code = 'code' in item && typeof item.code === 'string' ? item.code : '';
  const name = 'name' in item && typeof item.name === 'string' ? item.name : '';
  if (connectCodes.test(code)) return 'connect';
  if (timeoutCodes.test(code) || name === 'TimeoutError') return 'timeout';
  // Clients that check the status themselves carry the response on their error.
  const response = 'response' in item ? item.response : undefined;
  if (typeof response === 'object' && response !== null && /HTTPError|AxiosError/.test(name)) {
    return 'status';
  }
  if (item instanceof SyntaxError || name === 'ParseError' || name === 'SyntaxError') return 'body';
  return null;
}

/** The first phase that the error or one of its causes gives away; `exchange` when none does. */
export function describeFailure(error: unknown): { phase: FailurePhase; message: string } {
  const items = chain(error);
  let phase: FailurePhase | null = null;
  for (const item of items) phase ??= phaseOf(item);
  const messages = items
    .map((item) => (item instanceof Error ? item.message : String(item)))
    // Many an error says in its own words what its cause says.
    .filter(
      (text, index, all) =>
        text !== '' && !all.slice(0, index).some((before) => before.includes(text)),
    );
  return { phase: phase ?? 'exchange', message: messages.join(': ') || 'unknown error' };
}
