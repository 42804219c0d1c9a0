import { OnehopError } from '../core/index.ts';
import type { HeaderTable, ResponseHead } from '../http1/index.ts';
import { BodyReader } from './body-reader.ts';
import type { Exchange } from './exchange.ts';
import { ResponseHeaders } from './headers.ts';
import { type ServerSentEvent, SseParser } from './sse.ts';

/** What a `ClientResponse` is made with. */
export interface ResponseOptions {
  bodyBytesMax: number;
  sseEventCharsMax: number;
}

/**
 * A response, from the moment its head is here. The body must be read (`json`, `text`, `bytes`,
 * `body`, `sse`) or dropped with `discard`: until then it keeps its connection, unless it is so short
 * that it came along with the head.
 */
export class ClientResponse {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly #origin: string;
  readonly #target: string;
  readonly #reader: BodyReader;
  readonly #options: ResponseOptions;
  #trailers: ResponseHeaders | null = null;

  /** @internal */
  constructor(
    exchange: Exchange | null,
    head: ResponseHead,
    origin: string,
    target: string,
    options: ResponseOptions,
    hasBody: boolean,
  ) {
    this.status = head.status;
    this.headers = new ResponseHeaders(head, true);
    this.#origin = origin;
    this.#target = target;
    this.#options = options;
    this.#reader = new BodyReader(exchange, hasBody ? head.contentLength : 0);
  }

  /** @internal */
  get reader(): BodyReader {
    return this.#reader;
  }

  /** @internal */
  setTrailers(trailers: HeaderTable): void {
    this.#trailers = new ResponseHeaders(trailers, false);
  }

  /** The URL that answered: the last one when redirects were followed. */
  get url(): string {
    return this.#origin + this.#target;
  }

  /** The status is 200 to 299. */
  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** The reason phrase; servers may leave it out. */
  get statusText(): string {
    return this.headers.reason;
  }

  /** Whether the body was taken. It can be taken once. */
  get bodyUsed(): boolean {
    return this.#reader.used;
  }

  /** Fields behind a chunked body; null before its end and when there are none. */
  get trailers(): ResponseHeaders | null {
    return this.#trailers;
  }

  /** The whole body. Errors: those of the exchange; RESPONSE_TOO_LARGE beyond `bodyBytesMax`. */
  bytes(): Promise<Uint8Array> {
    return this.#take(wholeOf);
  }

  /** The whole body as UTF-8; a byte order mark is dropped, invalid bytes become U+FFFD. */
  text(): Promise<string> {
    return this.#take(textOf);
  }

  /** The whole body as JSON. Throws a SyntaxError when it is not. */
  json<T = unknown>(): Promise<T> {
    return this.#take(jsonOf) as Promise<T>;
  }

  /** A body that came whole with its head takes one promise. */
  #take<T>(convert: (reader: BodyReader, bytesMax: number) => T): Promise<T> {
    const reader = this.#reader;
    const bytesMax = this.#options.bodyBytesMax;
    try {
      reader.take();
      if (reader.complete) return Promise.resolve(convert(reader, bytesMax));
      return reader.collect(bytesMax).then(() => convert(reader, bytesMax));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The body piece by piece as it arrives; the server is held up while nobody asks. Leaving the loop
   * early gives the rest up.
   */
  get body(): AsyncIterableIterator<Uint8Array> {
    return this.#pieces();
  }

  /** The body as server-sent events. An event longer than the bound: RESPONSE_TOO_LARGE. */
  async *sse(): AsyncGenerator<ServerSentEvent, void, undefined> {
    const type = this.headers.get('content-type') ?? '';
    if (!type.toLowerCase().startsWith('text/event-stream')) {
      throw new OnehopError('RESPONSE_INVALID', 'the response is not an event stream', {
        phase: 'body',
      });
    }
    const parser = new SseParser(this.#options.sseEventCharsMax);
    for await (const piece of this.#pieces()) {
      parser.push(piece);
      for (let event = parser.next(); event !== null; event = parser.next()) yield event;
    }
  }

  async *#pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    this.#reader.take();
    let atEnd = false;
    try {
      for (;;) {
        const piece = await this.#reader.next();
        if (piece === null) {
          atEnd = true;
          return;
        }
        yield piece;
      }
    } finally {
      if (!atEnd) this.#reader.discard();
    }
  }

  /** Drops the body and frees or closes the connection. Safe to call at any time. */
  discard(): void {
    this.#reader.discard();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.discard();
  }
}

const wholeOf = (reader: BodyReader, bytesMax: number): Uint8Array => reader.whole(bytesMax);
const textOf = (reader: BodyReader, bytesMax: number): string => reader.text(bytesMax);
const jsonOf = (reader: BodyReader, bytesMax: number): unknown => JSON.parse(reader.text(bytesMax));
