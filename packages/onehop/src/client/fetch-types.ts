/** The types of the fetch face that callers see. */
import type { RequestOptions } from './request-options.ts';

/** What onehop adds to `RequestInit`: deadlines in ms, retries, decompression of this one request. */
export interface OnehopInit {
  onehop?: Omit<RequestOptions, 'headers' | 'body' | 'json' | 'query' | 'signal' | 'redirects'>;
}

/** The standard's options and our own. `body` may also be an (async) iterable of bytes or strings. */
export type FetchInit = Omit<RequestInit, 'body' | 'duplex'> &
  OnehopInit & {
    body?:
      | RequestInit['body']
      | AsyncIterable<Uint8Array | string>
      | Iterable<Uint8Array | string>
      | null
      | undefined;
    duplex?: 'half' | undefined;
  };

/** A function with the signature of the standard's `fetch`; the built-in one can be replaced by it. */
export type Fetch = (input: string | URL | Request, init?: FetchInit) => Promise<Response>;
