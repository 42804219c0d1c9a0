import type { BodyReader } from './body-reader.ts';
import { FetchHeaders } from './fetch-headers.ts';
import {
  BranchSource,
  bodyError,
  ownBuffer,
  ownBytes,
  ReaderSource,
  readAll,
  type StreamSource,
  spentStream,
} from './fetch-stream.ts';
import { inspectWith, pickUp } from './fetch-web.ts';
import type { ResponseHeaders } from './headers.ts';
import { decodeUtf8 } from './utf8.ts';

const EMPTY: Uint8Array = new Uint8Array(0);
const Kind = { Text: 0, Json: 1, Bytes: 2, ArrayBuffer: 3, Blob: 4, FormData: 5 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** What a response is made with; all of it is known when the head is here. */
export interface FetchResponseParts {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** Null: the status or the method leaves no body, and `body` is null. */
  readonly reader: BodyReader | null;
  readonly origin: string;
  readonly target: string;
  readonly redirected: boolean;
  /** A redirect led to another origin. */
  readonly isCrossOrigin: boolean;
  readonly signal: AbortSignal | null;
  readonly bodyBytesMax: number;
}

/**
 * A `Response` that costs what it holds: headers, streams and strings are made when they are asked
 * for. `instanceof Response` is true; the constructor of `Response` never runs.
 */
export class FetchResponse {
  readonly #parts: FetchResponseParts;
  #headers: FetchHeaders | null = null;
  /** Exists once `body` was asked for. */
  #source: StreamSource | null = null;
  #spent: ReadableStream<Uint8Array> | null = null;
  #used = false;

  constructor(parts: FetchResponseParts) {
    this.#parts = parts;
  }

  get type(): 'basic' | 'cors' {
    return this.#parts.isCrossOrigin ? 'cors' : 'basic';
  }

  get url(): string {
    return this.#parts.origin + this.#parts.target;
  }

  get redirected(): boolean {
    return this.#parts.redirected;
  }

  get status(): number {
    return this.#parts.status;
  }

  get ok(): boolean {
    return this.#parts.status >= 200 && this.#parts.status <= 299;
  }

  get statusText(): string {
    return this.#parts.headers.reason;
  }

  get headers(): FetchHeaders {
    this.#headers ??= new FetchHeaders(this.#parts.headers);
    return this.#headers;
  }

  get body(): ReadableStream<Uint8Array> | null {
    const { reader, signal } = this.#parts;
    if (reader === null) return null;
    if (this.#source !== null) return this.#source.stream;
    if (this.#used) {
      this.#spent ??= spentStream(reader.complete);
      return this.#spent;
    }
    this.#source = new ReaderSource(reader, signal);
    return this.#source.stream;
  }

  get bodyUsed(): boolean {
    return this.#used || this.#source?.disturbed === true;
  }

  text(): Promise<string> {
    return this.#consume(Kind.Text) as Promise<string>;
  }

  json(): Promise<unknown> {
    return this.#consume(Kind.Json);
  }

  bytes(): Promise<Uint8Array> {
    return this.#consume(Kind.Bytes) as Promise<Uint8Array>;
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#consume(Kind.ArrayBuffer) as Promise<ArrayBuffer>;
  }

  blob(): Promise<Blob> {
    return this.#consume(Kind.Blob) as Promise<Blob>;
  }

  formData(): Promise<FormData> {
    return this.#consume(Kind.FormData) as Promise<FormData>;
  }

  clone(): FetchResponse {
    const parts = this.#parts;
    const { reader } = parts;
    if (reader === null) return new FetchResponse(parts);
    if (this.bodyUsed || this.#source?.stream.locked) {
      throw new TypeError('Response.clone: Body has already been consumed.');
    }
    const body = this.body!;
    const [own, other] = body.tee();
    this.#source = new BranchSource(own);
    const copy = new FetchResponse(parts);
    copy.#source = new BranchSource(other);
    return copy;
  }

  [inspectWith](): object {
    const { status, statusText, headers, bodyUsed, ok, redirected, type, url } = this;
    return { status, statusText, headers, bodyUsed, ok, redirected, type, url };
  }

  /** A response that came whole with its head takes this way: one promise, nothing else. */
  #consume(kind: Kind): Promise<unknown> {
    const { reader, signal } = this.#parts;
    if (reader === null || !reader.complete || this.#used || this.#source !== null) {
      return this.#consumeSlowly(kind);
    }
    this.#used = true;
    if (signal?.aborted) return Promise.reject(signal.reason);
    reader.take();
    try {
      return Promise.resolve(this.#take(kind, reader));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #consumeSlowly(kind: Kind): Promise<unknown> {
    const { reader, signal, bodyBytesMax } = this.#parts;
    if (reader === null) return this.#convert(kind, EMPTY);
    if (this.bodyUsed || this.#source?.stream.locked) {
      throw new TypeError('Body is unusable: Body has already been read');
    }
    this.#used = true;
    if (this.#source !== null) {
      return this.#convert(kind, await readAll(this.#source.stream, bodyBytesMax));
    }
    if (signal?.aborted) throw signal.reason;
    reader.take();
    try {
      await reader.collect(bodyBytesMax);
      return this.#take(kind, reader);
    } catch (error) {
      throw bodyError(error);
    }
  }

  /** What a reader that has everything holds, as the caller wants it. */
  #take(kind: Kind, reader: BodyReader): unknown {
    if (kind === Kind.Text) return reader.text();
    if (kind === Kind.Json) return JSON.parse(reader.text());
    return this.#convert(kind, reader.exact());
  }

  #convert(kind: Kind, bytes: Uint8Array): unknown {
    switch (kind) {
      case Kind.Text:
        return decodeUtf8(bytes);
      case Kind.Json:
        return JSON.parse(decodeUtf8(bytes));
      case Kind.Bytes:
        return ownBytes(bytes);
      case Kind.ArrayBuffer:
        return ownBuffer(bytes);
      default: {
        const type = this.#parts.headers.get('content-type');
        if (kind === Kind.Blob) {
          return new Blob([ownBytes(bytes)], {
            type: type?.toLowerCase().replace(/\s*;\s*/g, ';') ?? '',
          });
        }
        const whole = new Response(ownBytes(bytes), {
          headers: type === null ? {} : { 'content-type': type },
        });
        return whole.formData();
      }
    }
  }
}

/** Makes `FetchResponse` a kind of the runtime's `Response`. */
export function becomeResponse(): void {
  pickUp(FetchResponse.prototype, Response, (own) => {
    const { body, headers } = own as FetchResponse;
    return new Response(body, { headers: [...headers] as [string, string][] });
  });
}
