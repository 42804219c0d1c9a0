/** One call of `fetch` on its way from request to response, redirects included. */
import { OnehopError } from '../core/index.ts';
import { type FieldBlock, Framing, KnownField, type ResponseHead } from '../http1/index.ts';
import { BodyPump } from './body-pump.ts';
import { BodyReader } from './body-reader.ts';
import type { ClientCore } from './client.ts';
import { mergeTimeouts } from './client-options.ts';
import { codingsOf } from './decoder.ts';
import type { Exchange } from './exchange.ts';
import { watchResponse } from './fetch-forgotten.ts';
import { type FetchPlan, failed, redirectsMax } from './fetch-init.ts';
import { FetchResponse } from './fetch-response.ts';
import { ResponseHeaders } from './headers.ts';
import type { Origin } from './origin.ts';
import { type Hop, redirectedHop } from './redirect.ts';
import { fieldBlock } from './request-options.ts';
import type { DispatchRequest, ExchangeHandler } from './types.ts';
import { parseRequestUrl } from './url.ts';

/** What all calls of one fetch share. */
export interface FetchFace {
  readonly core: ClientCore;
  readonly decompress: boolean;
  readonly bodyBytesMax: number;
  /** Fields of a request that brings none of its own. */
  readonly plainPairs: { readonly http: readonly string[]; readonly https: readonly string[] };
}

const settled = (): void => {};

const isRedirect = (status: number): boolean =>
  status === 301 || status === 302 || status === 303 || status === 307 || status === 308;

/** The body of a response that only redirects: read away, or given up with its connection. */
class Dropped {
  readonly reader: BodyReader;

  constructor(reader: BodyReader) {
    this.reader = reader;
  }
}

export class FetchCall {
  readonly face: FetchFace;
  /** Forgotten once used: through its promise it would keep the response from being collected. */
  resolve: (response: Response) => void;
  reject: (error: unknown) => void;
  /** Null for the plain way: GET, nothing asked for. */
  readonly plan: FetchPlan | null;
  origin: Origin;
  target: string;
  reader: BodyReader | null = null;
  pump: BodyPump | null = null;
  exchange: Exchange | null = null;
  /** Set from head to the end of the first read: then it is watched or over. */
  response: FetchResponse | null = null;
  #hop: Hop | null = null;
  #redirects = 0;
  #isCrossOrigin = false;
  #isListening = false;

  constructor(
    face: FetchFace,
    plan: FetchPlan | null,
    origin: Origin,
    target: string,
    resolve: (response: Response) => void,
    reject: (error: unknown) => void,
  ) {
    this.face = face;
    this.plan = plan;
    this.origin = origin;
    this.target = target;
    this.resolve = resolve;
    this.reject = reject;
  }

  /** The plain way: `request` is what {@link plainRequest} made. */
  sendPlain(request: DispatchRequest): void {
    this.exchange = this.origin.dispatch(request, fetchHandler, this);
  }

  send(): void {
    const plan = this.plan!;
    const { signal } = plan;
    if (signal !== null) {
      this.#isListening = true;
      signal.addEventListener('abort', this);
    }
    this.#dispatch(plan.method, plan.fields, plan.body.body, plan.host);
  }

  /** The signal aborts: the call itself is its listener, which saves a closure. */
  handleEvent(): void {
    this.exchange?.abort(this.plan!.signal!.reason);
  }

  #dispatch(
    method: string,
    fields: FieldBlock,
    body: DispatchRequest['body'],
    host: string | undefined,
  ): void {
    const { plan } = this;
    const source = plan?.body.source ?? null;
    this.pump = source === null || body === null ? null : new BodyPump(source);
    const request: DispatchRequest = {
      method,
      target: this.target,
      fields,
      body,
      host,
      idempotent: plan?.options?.idempotent,
      retries: plan?.options?.retries,
      timeouts:
        plan?.options === undefined ? undefined : mergeTimeouts(this.origin.timeouts, plan.options),
      upgrade: undefined,
      close: plan?.close,
    };
    const exchange = this.origin.dispatch(request, fetchHandler, this);
    // A redirect within `dispatch` has set the one that counts already.
    if (exchange.context === this) this.exchange = exchange;
  }

  onHead(exchange: Exchange, head: ResponseHead): void {
    const { face, plan } = this;
    const { status } = head;
    if (status >= 301 && isRedirect(status) && plan?.redirect !== 'manual') {
      const location = head.valueOf(KnownField.Location);
      if (location !== null) {
        this.#redirect(exchange, head, location);
        return;
      }
    }
    const headers = new ResponseHeaders(head, true);
    const isHead = exchange.request.method === 'HEAD';
    const hasBytes = head.framing !== Framing.None && !isHead;
    const reader = new BodyReader(exchange, hasBytes ? head.contentLength : 0);
    const isBare = isHead || status === 204 || status === 205 || status === 304;
    this.reader = reader;
    const bodyBytesMax = plan?.options?.bodyBytesMax ?? face.bodyBytesMax;
    const decompress = plan?.options?.decompress ?? face.decompress;
    if (decompress && hasBytes && head.has(KnownField.ContentEncoding)) {
      const codings = codingsOf(headers.get('content-encoding'));
      if (codings !== null && codings.length > 0) reader.decode(codings, bodyBytesMax);
    }
    const response = new FetchResponse({
      status,
      headers,
      reader: isBare ? null : reader,
      origin: this.origin.name,
      target: this.target,
      redirected: this.#redirects > 0,
      isCrossOrigin: this.#isCrossOrigin,
      signal: plan === null ? null : plan.signal,
      bodyBytesMax,
    });
    this.response = response;
    this.resolve(response as unknown as Response);
    this.resolve = settled;
    this.reject = settled;
    if (isBare && hasBytes) reader.discard();
  }

  /** The read that brought the head did not bring the whole body. */
  onReadEnd(): void {
    const { response, reader } = this;
    if (response === null) return;
    this.response = null;
    if (reader !== null && !reader.used) watchResponse(response, reader);
  }

  onEnd(): void {
    this.#over();
    this.reader?.onEnd();
  }

  onError(error: OnehopError): void {
    this.#over();
    const signal = this.plan?.signal;
    const shown = error.code === 'ABORTED' && signal?.aborted ? signal.reason : error;
    if (this.reader === null) this.reject(shown === error ? failed(error) : shown);
    else this.reader.onError(shown);
  }

  /** Its end threw on the way to whoever waits. */
  onFault(error: unknown): void {
    if (this.reader === null) this.reject(failed(error));
    else this.reader.onError(error);
  }

  #over(): void {
    this.pump?.stop();
    this.response = null;
    if (!this.#isListening) return;
    this.#isListening = false;
    this.plan!.signal!.removeEventListener('abort', this);
  }

  #fail(error: unknown): void {
    this.#over();
    this.reject(failed(error));
  }

  #redirect(exchange: Exchange, head: ResponseHead, location: string): void {
    const { status } = head;
    const reader = new BodyReader(exchange, head.framing === Framing.None ? 0 : head.contentLength);
    exchange.context = new Dropped(reader);
    this.pump?.stop();
    const { redirect, body } = this.plan ?? { redirect: 'follow', body: null };
    try {
      if (redirect === 'error') throw refusedRedirect('the response redirects');
      if (this.#redirects++ === redirectsMax) throw refusedRedirect('redirect count exceeded');
      const hop = redirectedHop(this.#lastHop(), status, location, body?.repeats ?? true);
      reader.discard();
      this.#hop = hop;
      if (hop.url.origin !== this.origin.name) this.#isCrossOrigin = true;
      this.origin = this.face.core.originOf(hop.url);
      this.target = hop.url.target;
      this.#dispatch(hop.method, fieldBlock(hop.pairs), hop.body, hop.host);
    } catch (error) {
      reader.discard();
      this.#fail(error);
    }
  }

  /** The request that was answered, in the terms of redirects. */
  #lastHop(): Hop {
    if (this.#hop !== null) return this.#hop;
    const { plan, face } = this;
    if (plan !== null) {
      const { method, url, pairs, body, host } = plan;
      return { method, url, pairs: [...pairs], body: body.body, host };
    }
    const url = parseRequestUrl(this.origin.name + this.target, undefined);
    const pairs = [...face.plainPairs[this.origin.address.scheme]];
    return { method: 'GET', url, pairs, body: null, host: undefined };
  }
}

function refusedRedirect(message: string): OnehopError {
  return new OnehopError('REDIRECT_FAILED', message, { phase: 'head' });
}

/** A request with the client's defaults and no body. */
export function plainRequest(target: string, fields: FieldBlock): DispatchRequest {
  return {
    method: 'GET',
    target,
    fields,
    body: null,
    host: undefined,
    idempotent: undefined,
    retries: undefined,
    timeouts: undefined,
    upgrade: undefined,
    close: undefined,
  };
}

/** Shared by all calls: what belongs to one is the context of its exchange. */
const fetchHandler: ExchangeHandler = {
  onHead(exchange, head) {
    (exchange.context as FetchCall).onHead(exchange, head);
  },
  onBody(exchange, bytes, start, end) {
    (exchange.context as FetchCall | Dropped).reader!.onBody(bytes, start, end);
  },
  onReadEnd(exchange) {
    const { context } = exchange;
    if (context instanceof FetchCall) context.onReadEnd();
  },
  onEnd(exchange) {
    const { context } = exchange;
    if (context instanceof FetchCall) context.onEnd();
    else (context as Dropped).reader.onEnd();
  },
  onError(exchange, error) {
    const { context } = exchange;
    if (context instanceof FetchCall) context.onError(error);
    else (context as Dropped).reader.onError(error);
  },
  onFault(exchange, error) {
    const { context } = exchange;
    if (context instanceof FetchCall) context.onFault(error);
    else (context as Dropped).reader.onError(error);
  },
  onDrain(exchange) {
    const { context } = exchange;
    if (context instanceof FetchCall) context.pump?.onDrain(exchange);
  },
};
