/** A web stream that is sent as a request body. */
import { type StoppableSource, stopSource } from './body-pump.ts';

type Piece = IteratorResult<Uint8Array, undefined>;

/**
 * The pieces of a stream, which the standard lets be nothing but `Uint8Array`. The stream is locked when
 * the first one is asked for. No generator: that could not be stopped while it waits.
 */
export class StreamBytes implements AsyncIterableIterator<Uint8Array, undefined>, StoppableSource {
  readonly #stream: ReadableStream<unknown>;
  #reader: ReadableStreamDefaultReader<unknown> | null = null;
  readonly #putBack: (Piece | Promise<Piece>)[] = [];

  constructor(stream: ReadableStream<unknown>) {
    this.#stream = stream;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<Piece> {
    const known = this.#putBack.shift();
    if (known !== undefined) return known;
    this.#reader ??= this.#stream.getReader();
    const { done, value } = await this.#reader.read();
    if (done) return { done, value: undefined };
    if (value instanceof Uint8Array) return { done: false, value };
    this[stopSource]();
    throw new TypeError('Received non-Uint8Array chunk');
  }

  async return(): Promise<Piece> {
    this[stopSource]();
    return { done: true, value: undefined };
  }

  /** What was asked for already comes again, in this order. */
  putBack(...pieces: (Piece | Promise<Piece>)[]): void {
    this.#putBack.push(...pieces);
  }

  /** Cancels the stream, if it was begun: a read under way ends, and whoever makes the pieces hears it. */
  [stopSource](): void {
    this.#reader?.cancel().catch(() => {});
  }
}
