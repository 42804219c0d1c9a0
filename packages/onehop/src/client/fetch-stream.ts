/** Response bodies of the fetch face as web streams. */
import type { UnderlyingByteSource } from 'node:stream/web';

import { OnehopError } from '../core/index.ts';
import type { BodyReader } from './body-reader.ts';
import { watchStream } from './fetch-forgotten.ts';

type Controller = ReadableByteStreamController;

/** What a body read fails with: a caller's own reason as it is, else as the standard wants it. */
export function bodyError(error: unknown): unknown {
  return error instanceof OnehopError ? new TypeError('terminated', { cause: error }) : error;
}

/** The bytes in a buffer of their own, which a stream may transfer and a caller may keep. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  return bytes.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer)
    : new Uint8Array(bytes);
}

/** As {@link ownBytes}, without a view: on Bun each look at `buffer` costs as much as a small copy. */
export function ownBuffer(bytes: Uint8Array): ArrayBuffer {
  const { buffer } = bytes;
  return bytes.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer
    ? buffer
    : new Uint8Array(bytes).buffer;
}

/** Tells whether anything was asked of a stream. */
export interface StreamSource {
  readonly stream: ReadableStream<Uint8Array>;
  disturbed: boolean;
}

/** The body as it comes from the connection; the server is held up while nobody reads. */
export class ReaderSource implements StreamSource {
  readonly type = 'bytes';
  readonly stream: ReadableStream<Uint8Array>;
  disturbed = false;
  readonly #reader: BodyReader;
  readonly #signal: AbortSignal | null;
  #controller!: Controller;

  constructor(reader: BodyReader, signal: AbortSignal | null) {
    this.#reader = reader;
    this.#signal = signal;
    reader.take();
    reader.failed = failWeakly(new WeakRef(this));
    this.stream = byteStream(this);
    watchStream(this.stream, reader);
    if (signal?.aborted && !reader.complete) this.#controller.error(signal.reason);
  }

  start(controller: Controller): void {
    this.#controller = controller;
  }

  fail(error: unknown): void {
    this.#controller.error(bodyError(error));
  }

  async pull(controller: Controller): Promise<void> {
    this.disturbed = true;
    try {
      let piece = await this.#reader.next();
      while (piece !== null && piece.length === 0) piece = await this.#reader.next();
      if (this.#signal?.aborted) {
        controller.error(this.#signal.reason);
      } else if (piece === null) {
        controller.close();
        (controller.byobRequest as { respond(bytes: number): void } | null)?.respond(0);
      } else controller.enqueue(ownBytes(piece));
    } catch (error) {
      controller.error(bodyError(error));
    }
  }

  cancel(reason: unknown): void {
    this.disturbed = true;
    this.#reader.failed = null;
    this.#reader.abort(reason);
  }
}

/** The connection leads to the reader: through this it must not hold a stream that is forgotten. */
function failWeakly(source: WeakRef<ReaderSource>): (error: unknown) => void {
  return (error) => source.deref()?.fail(error);
}

/** One of two streams that share a body: `clone`. */
export class BranchSource implements StreamSource {
  readonly type = 'bytes';
  readonly stream: ReadableStream<Uint8Array>;
  disturbed = false;
  readonly #from: ReadableStreamDefaultReader<Uint8Array>;

  constructor(branch: ReadableStream<Uint8Array>) {
    this.#from = branch.getReader();
    this.stream = byteStream(this);
  }

  async pull(controller: Controller): Promise<void> {
    this.disturbed = true;
    const { done, value } = await this.#from.read();
    if (done) {
      controller.close();
      (controller.byobRequest as { respond(bytes: number): void } | null)?.respond(0);
    } else controller.enqueue(ownBytes(value));
  }

  cancel(reason: unknown): Promise<void> {
    this.disturbed = true;
    return this.#from.cancel(reason);
  }
}

/** A stream whose content went another way: locked for good, as the standard leaves it. */
export function spentStream(isOver: boolean): ReadableStream<Uint8Array> {
  const stream = byteStream({
    type: 'bytes',
    start(controller) {
      if (isOver) controller.close();
    },
  });
  stream.getReader();
  return stream;
}

function byteStream(source: UnderlyingByteSource): ReadableStream<Uint8Array> {
  return new ReadableStream(source, { highWaterMark: 0 });
}

/** Reads a stream to its end. Bound: `bytesMax`. */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  bytesMax: number,
): Promise<Uint8Array> {
  const reader = stream.getReader();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    bytes += value.length;
    if (bytes > bytesMax) {
      const error = new OnehopError(
        'RESPONSE_TOO_LARGE',
        `the body is longer than ${bytesMax} bytes`,
        {
          phase: 'body',
        },
      );
      void reader.cancel(error).catch(() => {});
      throw bodyError(error);
    }
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, bytes);
}
