import { invalid, type RequestOptions } from './request-options.ts';
import type { Timeouts } from './types.ts';
import type { RequestUrl } from './url.ts';

const NUMBERS = [
  'connectTimeoutMs',
  'headTimeoutMs',
  'firstByteTimeoutMs',
  'idleTimeoutMs',
  'totalTimeoutMs',
  'queueTimeoutMs',
  'retries',
  'redirects',
  'bodyBytesMax',
  'connectionsMax',
  'pipelining',
  'connectionIdleMaxMs',
  'connectionAgeMaxMs',
  'dnsRefreshMs',
  'queueLengthMax',
] as const;

/** Errors: ARGUMENT_INVALID. */
export function checkNumbers(options: object): void {
  const values = options as Record<string, unknown>;
  for (const name of NUMBERS) {
    const value = values[name];
    if (value === undefined) continue;
    const least = name === 'connectionsMax' || name === 'pipelining' ? 1 : 0;
    if (typeof value !== 'number' || !(value >= least)) {
      throw invalid(`${name} must be a number of at least ${least}`);
    }
  }
}

const TIMEOUTS = [
  'connectTimeoutMs',
  'headTimeoutMs',
  'firstByteTimeoutMs',
  'idleTimeoutMs',
  'totalTimeoutMs',
  'queueTimeoutMs',
] as const;

/** The deadlines among the options. */
export function timeoutsOf(options: Partial<Timeouts>): Partial<Timeouts> {
  const timeouts: { -readonly [K in keyof Timeouts]?: number } = {};
  for (const name of TIMEOUTS) if (options[name] !== undefined) timeouts[name] = options[name];
  return timeouts;
}

/** A request's own deadlines over its origin's; undefined when it has none. */
export function mergeTimeouts(base: Timeouts, options: RequestOptions): Timeouts | undefined {
  for (const name of TIMEOUTS) {
    if (options[name] !== undefined) return { ...base, ...timeoutsOf(options) };
  }
  return undefined;
}

/** Adds query parameters. */
export function withQuery(
  url: RequestUrl,
  query: NonNullable<RequestOptions['query']>,
): RequestUrl {
  const params =
    query instanceof URLSearchParams
      ? query
      : new URLSearchParams(
          Object.entries(query).map(([name, value]) => [name, String(value)] as [string, string]),
        );
  const text = params.toString();
  if (text === '') return url;
  const target = `${url.target}${url.target.includes('?') ? '&' : '?'}${text}`;
  return { ...url, target };
}
