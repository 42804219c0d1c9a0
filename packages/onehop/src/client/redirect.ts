/** Redirects, followed only when asked (RFC 9110 section 15.4). */
import { OnehopError } from '../core/index.ts';
import type { ClientResponse } from './response.ts';
import type { RequestBody } from './types.ts';
import { parseRequestUrl, type RequestUrl } from './url.ts';

/** One request of a chain. */
export interface Hop {
  readonly method: string;
  readonly url: RequestUrl;
  readonly pairs: string[];
  readonly body: RequestBody;
  readonly host: string | undefined;
}

/** Fields that another origin must not see. */
const SECRET = ['authorization', 'cookie', 'proxy-authorization', 'x-api-key', 'api-key'];
/** Fields about a body that is not sent any more. */
const ABOUT_BODY = ['content-type', 'content-encoding', 'content-language', 'content-location'];

function failed(message: string): OnehopError {
  return new OnehopError('REDIRECT_FAILED', message, { phase: 'head' });
}

/**
 * The request that follows a response, or null when the response is the answer. 303 turns everything
 * but HEAD into GET, 301 and 302 turn POST into GET; 307 and 308 repeat method and body. Errors:
 * REDIRECT_FAILED for one too many, a bad Location or a body that cannot be sent twice.
 */
export function nextHop(
  hop: Hop,
  response: ClientResponse,
  bodyReplayable: boolean,
  left: number,
): Hop | null {
  const { status } = response;
  if (status !== 301 && status !== 302 && status !== 303 && status !== 307 && status !== 308) {
    return null;
  }
  const location = response.headers.get('location');
  if (location === null) return null;
  try {
    if (left <= 0) throw failed('too many redirects');
    return redirectedHop(hop, status, location, bodyReplayable);
  } catch (error) {
    response.discard();
    throw error;
  }
}

/** As {@link nextHop}, for a response that is known to be a redirect with a Location. */
export function redirectedHop(
  hop: Hop,
  status: number,
  location: string,
  bodyReplayable: boolean,
): Hop {
  let url: RequestUrl;
  try {
    url = parseRequestUrl(location, hop.url.origin + hop.url.target);
  } catch (error) {
    throw new OnehopError('REDIRECT_FAILED', 'the redirect leads to a URL that cannot be used', {
      phase: 'head',
      cause: error,
    });
  }
  const toGet =
    (status === 303 && hop.method !== 'HEAD' && hop.method !== 'GET') ||
    ((status === 301 || status === 302) && hop.method === 'POST');
  if (!toGet && hop.body !== null && !bodyReplayable) {
    throw failed('the redirect asks for the body again, which was streamed');
  }
  const crosses = url.origin !== hop.url.origin;
  const drop = [...(toGet ? ABOUT_BODY : []), ...(crosses ? SECRET : [])];
  return {
    method: toGet ? 'GET' : hop.method,
    url,
    pairs: without(hop.pairs, drop),
    body: toGet ? null : hop.body,
    host: crosses ? undefined : hop.host,
  };
}

function without(pairs: readonly string[], names: readonly string[]): string[] {
  if (names.length === 0) return [...pairs];
  const kept: string[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    if (!names.includes(pairs[i]!.toLowerCase())) kept.push(pairs[i]!, pairs[i + 1]!);
  }
  return kept;
}
