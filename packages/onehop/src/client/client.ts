import { limits, OnehopError } from '../core/index.ts';
import type { FieldBlock } from '../http1/index.ts';
import { BodyPump } from './body-pump.ts';
import { checkNumbers, mergeTimeouts, timeoutsOf, withQuery } from './client-options.ts';
import { acceptEncoding } from './decoder.ts';
import { Origin } from './origin.ts';
import type { OriginOptions } from './origin-options.ts';
import { Pending, responseHandler } from './pending.ts';
import { parseProxy, proxyFromEnvironment } from './proxy.ts';
import { type Hop, nextHop } from './redirect.ts';
import {
  collectFields,
  fieldBlock,
  type HeadersInput,
  hasField,
  mergeFields,
  prepareBody,
  type RequestOptions,
} from './request-options.ts';
import type { ClientResponse, ResponseOptions } from './response.ts';
import { sseEventCharsMax } from './sse.ts';
import type { DispatchRequest, OriginStats, Timeouts } from './types.ts';
import { isPlainTarget, parseRequestUrl, type RequestUrl } from './url.ts';

/** Options of a client: those of every request, and how connections are made. */
export interface ClientOptions
  extends Partial<Timeouts>,
    Omit<OriginOptions, 'timeouts' | 'proxy' | 'wheel' | 'defer'> {
  /** URLs are resolved against it, as `new URL(url, baseUrl)` does. */
  baseUrl?: string | URL | undefined;
  /** Sent with every request that does not set the same field. */
  headers?: HeadersInput | undefined;
  /** Connect to this Unix socket whatever the URL's host and port. */
  socketPath?: string | undefined;
  /** `env` reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY. Default: no proxy. */
  proxy?: string | null | undefined;
  /** Default 0. */
  redirects?: number | undefined;
  /** Default false. */
  decompress?: boolean | undefined;
  /** Bound of a body that is collected or decompressed, bytes. Default 64 MiB. */
  bodyBytesMax?: number | undefined;
  /** Bound of one server-sent event, characters. Default 1 Mi. */
  sseEventCharsMax?: number | undefined;
}

/** A request with everything in one object. */
export interface ClientRequest extends RequestOptions {
  /** Default GET. */
  method?: string | undefined;
  url: string | URL;
}

/** @internal The parts of a client that another face of it needs. */
export interface ClientCore {
  readonly options: ClientOptions;
  readonly baseUrl: string | undefined;
  /** The client's own header fields: name, value, name, value ... */
  readonly defaultPairs: readonly string[];
  /** The target of a URL on the origin used last that needs no parsing; else null. */
  plainTarget(url: string): string | null;
  /** The origin used last; there is one when `plainTarget` returned a target. */
  lastOrigin(): Origin | null;
  /** Errors: CLIENT_CLOSED. */
  originOf(url: RequestUrl): Origin;
}

const NO_OPTIONS: RequestOptions = {};
/** Beyond this many origins those without connections are forgotten. */
const originsMax = 1000;

/**
 * An HTTP/1.1 client with its own connections.
 *
 * ```ts
 * const client = new Client({ baseUrl: 'http://127.0.0.1:8000' });
 * const answer = await (await client.post('/v1/x', { json: { a: 1 } })).json();
 * await client.close();
 * ```
 * Every method rejects with an `OnehopError`; test its `code`. An abort by a signal rejects with the
 * signal's reason.
 */
export class Client {
  readonly #options: ClientOptions;
  readonly #origins = new Map<string, Origin>();
  readonly #base: RequestUrl | null;
  readonly #baseText: string | undefined;
  /** Path that relative URLs are appended to. */
  readonly #baseFolder: string;
  readonly #defaultPairs: readonly string[];
  readonly #defaultFields: FieldBlock;
  readonly #responseOptions: ResponseOptions;
  readonly #timeouts: Partial<Timeouts>;
  /** The origin used last: most clients have one. */
  #lastOrigin: Origin | null = null;
  #lastKey = '';
  #closed = false;
  #core: ClientCore | null = null;
  /** No option of the client asks for more than the short way can do. */
  readonly #isPlain: boolean;

  /** Errors: ARGUMENT_INVALID for a base URL, header or number that cannot be. */
  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#base = options.baseUrl === undefined ? null : parseRequestUrl(options.baseUrl, undefined);
    this.#baseText = this.#base === null ? undefined : this.#base.origin + this.#base.target;
    const path = this.#base?.target.split('?')[0] ?? '/';
    this.#baseFolder = path.slice(0, path.lastIndexOf('/') + 1);
    checkNumbers(options);
    this.#isPlain = (options.redirects ?? 0) === 0;
    const defaults = collectFields(options.headers).pairs;
    if (options.decompress === true && !hasField(defaults, 'accept-encoding')) {
      defaults.push('accept-encoding', acceptEncoding);
    }
    this.#defaultPairs = defaults;
    this.#defaultFields = fieldBlock(defaults);
    this.#responseOptions = {
      bodyBytesMax: options.bodyBytesMax ?? limits.bodyBytesMax,
      sseEventCharsMax: options.sseEventCharsMax ?? sseEventCharsMax,
    };
    this.#timeouts = timeoutsOf(options);
  }

  get(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('GET', url, options);
  }

  head(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('HEAD', url, options);
  }

  post(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('POST', url, options);
  }

  put(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('PUT', url, options);
  }

  patch(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('PATCH', url, options);
  }

  delete(url: string | URL, options: RequestOptions = NO_OPTIONS): Promise<ClientResponse> {
    return this.#request('DELETE', url, options);
  }

  /** Any method: it is sent as given, in its own case. */
  request(request: ClientRequest): Promise<ClientResponse> {
    return this.#request(request.method ?? 'GET', request.url, request);
  }

  #request(method: string, url: string | URL, options: RequestOptions): Promise<ClientResponse> {
    if (options === NO_OPTIONS && this.#isPlain) {
      const target = this.#plainTarget(url);
      if (target !== null) return this.#sendPlain(method, target);
    }
    return this.#requestWithOptions(method, url, options);
  }

  /** The target of a URL on the origin used last that needs no parsing; else null. */
  #plainTarget(url: string | URL): string | null {
    if (typeof url !== 'string' || this.#lastOrigin === null || this.#closed) return null;
    const key = this.#lastKey;
    const first = url.charCodeAt(0);
    if (first === 47) {
      if (this.#base?.origin !== key || url.charCodeAt(1) === 47) return null;
      return isPlainTarget(url, 0) ? url : null;
    }
    if (url.charCodeAt(key.length) === 47 && url.startsWith(key)) {
      return isPlainTarget(url, key.length) ? url.slice(key.length) : null;
    }
    // Relative to the base: a letter or digit first, no colon that could end a scheme.
    if (this.#base?.origin !== key || !isAlphanumeric(first) || url.includes(':')) return null;
    return isPlainTarget(url, 0) ? this.#baseFolder + url : null;
  }

  /** The short way: no options, no body, a URL that needs no parsing. */
  #sendPlain(method: string, target: string): Promise<ClientResponse> {
    const origin = this.#lastOrigin!;
    const request: DispatchRequest = {
      method,
      target,
      fields: this.#defaultFields,
      body: null,
      host: undefined,
      idempotent: undefined,
      retries: undefined,
      timeouts: undefined,
      upgrade: undefined,
      close: false,
    };
    return new Promise((resolve, reject) => {
      const pending = new Pending(
        resolve,
        reject,
        this.#lastKey,
        target,
        this.#responseOptions,
        this.#options.decompress === true,
        null,
        method === 'HEAD',
      );
      origin.dispatch(request, responseHandler, pending);
    });
  }

  async #requestWithOptions(
    method: string,
    url: string | URL,
    options: RequestOptions,
  ): Promise<ClientResponse> {
    if (options !== NO_OPTIONS) checkNumbers(options);
    let parsed = parseRequestUrl(url, this.#baseText);
    if (options.query !== undefined) parsed = withQuery(parsed, options.query);
    const fields = collectFields(options.headers);
    const prepared = prepareBody(options);
    let pairs = mergeFields(fields.pairs, this.#defaultPairs);
    if (prepared.contentType !== null && !hasField(pairs, 'content-type')) {
      pairs.push('content-type', prepared.contentType);
    }
    const decompress = options.decompress ?? this.#options.decompress ?? false;
    if (decompress && !hasField(pairs, 'accept-encoding')) {
      pairs.push('accept-encoding', acceptEncoding);
    }
    let hop: Hop = { method, url: parsed, pairs, body: prepared.body, host: fields.host };
    let left = options.redirects ?? this.#options.redirects ?? 0;
    const follows = left > 0;
    for (;;) {
      const pump =
        prepared.source === null || hop.body === null ? null : new BodyPump(prepared.source);
      const response = await this.#send(hop, options, decompress, pump, fields.close);
      if (!follows) return response;
      const next = nextHop(hop, response, pump === null || !pump.started, left);
      if (next === null) return response;
      response.discard();
      left--;
      hop = next;
      pairs = hop.pairs;
    }
  }

  #send(
    hop: Hop,
    options: RequestOptions,
    decompress: boolean,
    pump: BodyPump | null,
    close: boolean,
  ): Promise<ClientResponse> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const origin = this.#originOf(hop.url);
    const request: DispatchRequest = {
      method: hop.method,
      target: hop.url.target,
      fields: fieldBlock(hop.pairs),
      body: hop.body,
      host: hop.host,
      idempotent: options.idempotent,
      retries: options.retries,
      timeouts: mergeTimeouts(origin.timeouts, options),
      upgrade: undefined,
      close,
    };
    const responseOptions =
      options.bodyBytesMax === undefined
        ? this.#responseOptions
        : { ...this.#responseOptions, bodyBytesMax: options.bodyBytesMax };
    return new Promise((resolve, reject) => {
      const pending = new Pending(
        resolve,
        reject,
        hop.url.origin,
        hop.url.target,
        responseOptions,
        decompress,
        pump,
        hop.method === 'HEAD',
      );
      const exchange = origin.dispatch(request, responseHandler, pending);
      if (signal !== undefined && !exchange.done) {
        pending.signal = signal;
        pending.onAbort = () => exchange.abort(signal.reason);
        try {
          signal.addEventListener('abort', pending.onAbort, { once: true });
        } catch (error) {
          // No real signal: nobody is to wait for what cannot be given up as asked.
          pending.signal = null;
          exchange.abort(error);
        }
      }
    });
  }

  /** @internal What the fetch face builds on; see `ClientCore`. */
  get core(): ClientCore {
    this.#core ??= {
      options: this.#options,
      baseUrl: this.#baseText,
      defaultPairs: this.#defaultPairs,
      plainTarget: (url) => this.#plainTarget(url),
      lastOrigin: () => this.#lastOrigin,
      originOf: (url) => this.#originOf(url),
    };
    return this.#core;
  }

  #originOf(url: RequestUrl): Origin {
    if (url.origin === this.#lastKey && this.#lastOrigin !== null) return this.#lastOrigin;
    let origin = this.#origins.get(url.origin);
    if (origin === undefined) {
      if (this.#closed) throw new OnehopError('CLIENT_CLOSED', 'the client is closed');
      if (this.#origins.size >= originsMax) this.#forgetIdleOrigins();
      origin = this.#makeOrigin(url);
      this.#origins.set(url.origin, origin);
    }
    this.#lastOrigin = origin;
    this.#lastKey = url.origin;
    return origin;
  }

  #makeOrigin(url: RequestUrl): Origin {
    const { proxy, socketPath } = this.#options;
    const address = { ...url.address, socketPath };
    let used = null;
    if (proxy === 'env') used = proxyFromEnvironment(address);
    else if (typeof proxy === 'string') used = parseProxy(proxy);
    const { baseUrl: _, headers: __, ...rest } = this.#options;
    return new Origin(address, { ...rest, proxy: used, timeouts: this.#timeouts });
  }

  #forgetIdleOrigins(): void {
    for (const [key, origin] of this.#origins) {
      const { active, connections } = origin.stats();
      if (active > 0 || connections.idle + connections.busy + connections.opening > 0) continue;
      this.#origins.delete(key);
    }
    this.#lastOrigin = null;
    this.#lastKey = '';
  }

  /** Counters of each origin by its URL. */
  stats(): Record<string, OriginStats> {
    const all: Record<string, OriginStats> = {};
    for (const [key, origin] of this.#origins) all[key] = origin.stats();
    return all;
  }

  /** Takes no more requests, waits for those under way, closes the connections. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#origins.values()].map((origin) => origin.close()));
  }

  /** Fails what is under way with CLIENT_CLOSED and drops every connection. */
  destroy(): void {
    this.#closed = true;
    for (const origin of this.#origins.values()) origin.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function isAlphanumeric(c: number): boolean {
  return (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122);
}
