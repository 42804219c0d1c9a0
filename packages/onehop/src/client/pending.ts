import type { OnehopError } from '../core/index.ts';
import { Framing, type HeaderTable, type ResponseHead } from '../http1/index.ts';
import type { BodyPump } from './body-pump.ts';
import { codingsOf } from './decoder.ts';
import type { Exchange } from './exchange.ts';
import { ClientResponse, type ResponseOptions } from './response.ts';
import type { ExchangeHandler } from './types.ts';

/** One request on its way to its response. */
export class Pending {
  readonly resolve: (response: ClientResponse) => void;
  readonly reject: (error: unknown) => void;
  /** Origin and target; joined only when somebody asks for the URL. */
  readonly origin: string;
  readonly target: string;
  readonly responseOptions: ResponseOptions;
  readonly decompress: boolean;
  readonly pump: BodyPump | null;
  readonly isHead: boolean;
  response: ClientResponse | null = null;
  signal: AbortSignal | null = null;
  onAbort: (() => void) | null = null;

  constructor(
    resolve: (response: ClientResponse) => void,
    reject: (error: unknown) => void,
    origin: string,
    target: string,
    responseOptions: ResponseOptions,
    decompress: boolean,
    pump: BodyPump | null,
    isHead: boolean,
  ) {
    this.resolve = resolve;
    this.reject = reject;
    this.origin = origin;
    this.target = target;
    this.responseOptions = responseOptions;
    this.decompress = decompress;
    this.pump = pump;
    this.isHead = isHead;
  }

  over(): void {
    if (this.signal !== null) this.signal.removeEventListener('abort', this.onAbort!);
    this.pump?.stop();
  }
}

/** Shared by all exchanges of all clients: what belongs to one is its context. */
export const responseHandler: ExchangeHandler = {
  onHead(exchange, head) {
    const pending = exchange.context as Pending;
    pending.response = makeResponse(exchange, head, pending);
    pending.resolve(pending.response);
  },
  onBody(exchange, bytes, start, end) {
    (exchange.context as Pending).response!.reader.onBody(bytes, start, end);
  },
  onTrailers(exchange, trailers: HeaderTable) {
    (exchange.context as Pending).response!.setTrailers(trailers);
  },
  onEnd(exchange) {
    const pending = exchange.context as Pending;
    pending.over();
    pending.response!.reader.onEnd();
  },
  onError(exchange, error) {
    const pending = exchange.context as Pending;
    pending.over();
    // A caller's own reason comes back as it is, as with fetch.
    const shown = error.code === 'ABORTED' && pending.signal?.aborted ? abortReason(error) : error;
    if (pending.response === null) pending.reject(shown);
    else pending.response.reader.onError(shown);
  },
  onFault(exchange, error) {
    const pending = exchange.context as Pending;
    if (pending.response === null) pending.reject(error);
    else pending.response.reader.onError(error);
  },
  onDrain(exchange) {
    (exchange.context as Pending).pump?.onDrain(exchange);
  },
};

function abortReason(error: OnehopError): unknown {
  return error.cause ?? error;
}

function makeResponse(exchange: Exchange, head: ResponseHead, pending: Pending): ClientResponse {
  const hasBody = head.framing !== Framing.None && !pending.isHead;
  const response = new ClientResponse(
    exchange,
    head,
    pending.origin,
    pending.target,
    pending.responseOptions,
    hasBody,
  );
  if (pending.decompress && hasBody) {
    const codings = codingsOf(response.headers.get('content-encoding'));
    if (codings !== null && codings.length > 0) {
      response.reader.decode(codings, pending.responseOptions.bodyBytesMax);
    }
  }
  return response;
}
