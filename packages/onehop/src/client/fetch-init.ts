/** What a caller hands to `fetch`, checked and put into the core's terms. */
import { OnehopError } from '../core/index.ts';
import { FieldBlock, isToken, parseErrorReason } from '../http1/index.ts';
import { checkNumbers } from './client-options.ts';
import { bodyOfRequest, type FetchBody, fetchBody, noBody } from './fetch-body.ts';
import { collectFetchFields } from './fetch-headers.ts';
import type { FetchInit, OnehopInit } from './fetch-types.ts';
import { parseRequestUrl, type RequestUrl } from './url.ts';

type OnehopOptions = NonNullable<OnehopInit['onehop']>;

export const redirectsMax = 20;

/** One request as it stands before anything is sent. */
export interface FetchPlan {
  readonly method: string;
  readonly url: RequestUrl;
  readonly pairs: readonly string[];
  readonly fields: FieldBlock;
  readonly host: string | undefined;
  readonly close: boolean;
  readonly signal: AbortSignal | null;
  readonly redirect: 'follow' | 'manual' | 'error';
  readonly options: OnehopOptions | undefined;
  body: FetchBody;
}

/** Defaults that a client gives its fetch. */
export interface FetchDefaults {
  readonly baseUrl: string | undefined;
  /** The client's own fields, and the standard's, by scheme. */
  readonly pairs: { readonly http: readonly string[]; readonly https: readonly string[] };
  /** The same, checked. */
  readonly fields: { readonly http: FieldBlock; readonly https: FieldBlock };
  readonly decompress: boolean;
}

/** Options of other implementations that say where a request goes: never ignored in silence. */
const ELSEWHERE = ['dispatcher', 'agent', 'proxy', 'tls', 'unix'];
const UPPER = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT']);
const FORBIDDEN = new Set(['CONNECT', 'TRACE', 'TRACK']);

function isRequest(input: unknown): input is Request {
  return typeof input === 'object' && input !== null && 'url' in input && 'method' in input;
}

/** `known`: the URL taken apart already. Throws a TypeError, as the standard's `fetch` would reject with one. */
export function planOf(
  input: string | URL | Request,
  init: FetchInit,
  defaults: FetchDefaults,
  known: RequestUrl | null,
): FetchPlan | Promise<FetchPlan> {
  const from = isRequest(input) ? input : null;
  refuseUnsupported(init as Record<string, unknown>);
  const url = known ?? urlOf(from === null ? (input as string | URL) : from.url, defaults.baseUrl);
  const method = methodOf(init.method ?? from?.method);
  const signal = signalOf(init.signal === undefined ? from?.signal : init.signal);
  const redirect = init.redirect ?? from?.redirect ?? 'follow';
  if (redirect !== 'follow' && redirect !== 'manual' && redirect !== 'error') {
    throw new TypeError(`redirect cannot be ${String(redirect)}`);
  }
  const options = init.onehop;
  if (options !== undefined) checkNumbers(options);
  const bodyGiven = init.body ?? null;
  const hasBody = bodyGiven !== null || (from !== null && from.body !== null);
  if (hasBody && (method === 'GET' || method === 'HEAD')) {
    throw new TypeError('Request with GET/HEAD method cannot have body.');
  }
  const headers = collectFetchFields(init.headers ?? from?.headers);
  if (options?.contentLength !== undefined) headers.contentLength = options.contentLength;
  const body = bodyGiven === null ? noBody : fetchBody(bodyGiven, init.duplex);
  const { cache } = init as { cache?: unknown };
  const checked = { method, url, signal, redirect, options, body, cache } as const;
  const plan = finish(headers, checked, defaults);
  const stream = bodyGiven === null ? (from?.body ?? null) : null;
  if (stream === null) return plan;
  return bodyOfRequest(stream as ReadableStream<unknown>, signal).then((own) => {
    plan.body = withLength(own, headers.contentLength);
    return plan;
  });
}

interface Checked
  extends Pick<FetchPlan, 'method' | 'url' | 'signal' | 'redirect' | 'options' | 'body'> {
  cache: unknown;
}

function finish(
  headers: ReturnType<typeof collectFetchFields>,
  checked: Checked,
  defaults: FetchDefaults,
): FetchPlan {
  const { pairs, seen, host, close, contentLength } = headers;
  const { contentType } = checked.body;
  const { method, url, signal, redirect, options, cache } = checked;
  const body = withLength(checked.body, contentLength);
  const fixed = { method, url, signal, redirect, options, host, close, body };
  if (pairs.length === 0 && contentType === null && !options && !cache) {
    const { scheme } = url.address;
    return { ...fixed, pairs: defaults.pairs[scheme], fields: defaults.fields[scheme] };
  }
  if (contentType !== null && !seen.includes('content-type')) {
    pairs.push('content-type', contentType);
  }
  pairs.push(...cachePairs(cache, pairs));
  const decompress = options?.decompress ?? defaults.decompress;
  const standard = defaults.pairs[url.address.scheme];
  for (let i = 0; i < standard.length; i += 2) {
    const name = standard[i]!;
    if (name === 'accept-encoding' && !decompress) continue;
    if (!isAmong(name, pairs, seen)) pairs.push(name, standard[i + 1]!);
  }
  const fields = new FieldBlock(pairs);
  if (fields.errorCode !== 0) {
    throw failed(new OnehopError('ARGUMENT_INVALID', parseErrorReason(fields.errorCode)));
  }
  return { ...fixed, pairs, fields };
}

/** What the cache modes ask of caches on the way; there is none here. */
function cachePairs(mode: unknown, own: readonly string[]): string[] {
  if (mode !== 'no-store' && mode !== 'reload' && mode !== 'no-cache') return [];
  const isMissing = (name: string): boolean => !isAmong(name, own, []);
  if (mode === 'no-cache') return isMissing('cache-control') ? ['cache-control', 'max-age=0'] : [];
  return [
    ...(isMissing('pragma') ? ['pragma', 'no-cache'] : []),
    ...(isMissing('cache-control') ? ['cache-control', 'no-cache'] : []),
  ];
}

/** Whether the caller's own fields hold one of that name, which is lower case. */
function isAmong(name: string, pairs: readonly string[], seen: readonly string[]): boolean {
  if (name === 'accept' || name === 'accept-encoding' || name === 'user-agent') {
    return seen.includes(name);
  }
  for (let i = 0; i < pairs.length; i += 2) {
    const own = pairs[i]!;
    if (own.length === name.length && own.toLowerCase() === name) return true;
  }
  return false;
}

/** A Content-Length that the caller gave: what a stream is held to, and what else must agree with. */
function withLength(given: FetchBody, contentLength: number): FetchBody {
  if (contentLength < 0) return given;
  const { body } = given;
  if (body !== null && typeof body === 'object' && !(body instanceof Uint8Array)) {
    if (body.length === null)
      return { ...given, body: { length: contentLength, keepsUnsent: true } };
    if (body.length === contentLength) return given;
  } else {
    const length =
      body === null ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.length;
    if (length === contentLength) return given;
  }
  throw failed(new OnehopError('BODY_LENGTH_MISMATCH', 'Content-Length is not the body’s'));
}

/** The one shape in which the standard reports that a request did not work out. */
export function failed(cause: unknown): TypeError {
  return new TypeError('fetch failed', { cause });
}

function refuseUnsupported(init: Record<string, unknown>): void {
  for (const name of ELSEWHERE) {
    if (init[name] !== undefined && init[name] !== null) {
      throw new TypeError(`${name} is not an option here: use createFetch(new Client(...))`);
    }
  }
  if (typeof init['integrity'] === 'string' && init['integrity'] !== '') {
    throw new TypeError('integrity is not supported');
  }
  if (init['cache'] === 'only-if-cached') {
    throw new TypeError("cache 'only-if-cached' is not supported: there is no cache");
  }
  if (init['mode'] === 'navigate' || init['mode'] === 'websocket') {
    throw new TypeError(`mode '${init['mode']}' is not supported`);
  }
  if (init['duplex'] !== undefined && init['duplex'] !== 'half') {
    throw new TypeError("duplex can only be 'half'");
  }
}

function urlOf(input: string | URL, baseUrl: string | undefined): RequestUrl {
  let url: URL;
  try {
    url = input instanceof URL ? input : new URL(String(input), baseUrl);
  } catch (cause) {
    throw new TypeError('Failed to parse URL', { cause });
  }
  try {
    return parseRequestUrl(url, undefined);
  } catch (cause) {
    if (url.username !== '' || url.password !== '') {
      throw new TypeError('Request cannot be constructed from a URL that includes credentials', {
        cause,
      });
    }
    throw failed(cause);
  }
}

function methodOf(given: unknown): string {
  if (given === undefined) return 'GET';
  const method = String(given);
  const upper = method.toUpperCase();
  if (UPPER.has(upper)) return upper;
  if (!isToken(method) || FORBIDDEN.has(upper)) {
    throw new TypeError(`'${method}' is not a valid HTTP method.`);
  }
  return method;
}

function signalOf(given: unknown): AbortSignal | null {
  if (given === undefined || given === null) return null;
  if (given instanceof AbortSignal) return given;
  if (typeof given === 'object' && 'aborted' in given && 'addEventListener' in given) {
    return given as AbortSignal;
  }
  throw new TypeError('Expected signal to be an instance of AbortSignal.');
}
