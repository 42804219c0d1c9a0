import { OnehopError } from '../core/index.ts';
import type { OriginAddress } from './types.ts';

/** A URL taken apart for dispatch. */
export interface RequestUrl {
  readonly address: OriginAddress;
  /** `http://host:port`, default port left out, as `URL.origin` has it. */
  readonly origin: string;
  /** Path and query. */
  readonly target: string;
}

/** Characters that neither need encoding nor mean anything but themselves in a path or query. */
const PLAIN: Uint8Array = (() => {
  const table = new Uint8Array(256);
  const chars = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&()*+,;=:@/?%';
  for (const char of chars) table[char.charCodeAt(0)] = 1;
  return table;
})();

/**
 * Whether `url` from `start` on is a path and query that a URL parser would leave as it is: no
 * fragment, no dot segment, nothing to encode. Then parsing can be saved.
 */
export function isPlainTarget(url: string, start: number): boolean {
  let previous = 0;
  for (let i = start; i < url.length; i++) {
    const c = url.charCodeAt(i);
    if (c > 255 || PLAIN[c] === 0) return false;
    if (c === 46 && previous === 47) return false;
    // `%2e` is a dot to a URL parser.
    if (c === 37 && previous === 47) return false;
    previous = c;
  }
  return true;
}

/**
 * Takes a URL apart. Errors: ARGUMENT_INVALID when it is not an absolute http or https URL, or holds
 * user name or password (put them into an Authorization header).
 */
export function parseRequestUrl(url: string | URL, base: string | undefined): RequestUrl {
  let parsed: URL;
  try {
    parsed = typeof url === 'string' ? new URL(url, base) : url;
  } catch {
    // The text is not repeated: it may hold a secret.
    throw new OnehopError('ARGUMENT_INVALID', 'the URL is not valid');
  }
  const { protocol } = parsed;
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new OnehopError(
      'ARGUMENT_INVALID',
      `cannot request ${protocol} URLs, only http and https`,
    );
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new OnehopError('ARGUMENT_INVALID', 'user information in a URL: use a header instead');
  }
  const secure = protocol === 'https:';
  const host = parsed.hostname.startsWith('[') ? parsed.hostname.slice(1, -1) : parsed.hostname;
  return {
    address: {
      scheme: secure ? 'https' : 'http',
      host,
      port: parsed.port === '' ? (secure ? 443 : 80) : Number(parsed.port),
    },
    origin: parsed.origin,
    target: parsed.pathname + parsed.search,
  };
}
