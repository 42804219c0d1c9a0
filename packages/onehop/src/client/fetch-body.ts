/** Request bodies of the fetch face ("extract a body" of the fetch standard). */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { type BodySource, stopSource } from './body-pump.ts';
import { StreamBytes } from './stream-bytes.ts';
import type { RequestBody } from './types.ts';

/** A body in the core's terms. */
export interface FetchBody {
  readonly body: RequestBody;
  /** Where a streamed body comes from. */
  readonly source: BodySource | null;
  /** The source can be read again from its start. */
  readonly repeats: boolean;
  /** Content type to send unless the caller names one. */
  readonly contentType: string | null;
}

export const noBody: FetchBody = { body: null, source: null, repeats: true, contentType: null };

const whole = (body: string | Uint8Array, contentType: string | null): FetchBody => ({
  body,
  source: null,
  repeats: true,
  contentType,
});

/**
 * Turns `init.body` into what the core sends. Bytes are copied, as the standard wants. Throws a
 * TypeError for a stream that is used already, or without `duplex: 'half'`.
 */
export function fetchBody(value: unknown, duplex: unknown): FetchBody {
  if (typeof value === 'string') return whole(value, 'text/plain;charset=UTF-8');
  if (value === null || value === undefined) return noBody;
  if (typeof value !== 'object') return whole(String(value), 'text/plain;charset=UTF-8');
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return whole(new Uint8Array(bytes), null);
  }
  if (value instanceof ArrayBuffer || isSharedBuffer(value)) {
    return whole(new Uint8Array(new Uint8Array(value)), null);
  }
  if (value instanceof URLSearchParams) {
    return whole(value.toString(), 'application/x-www-form-urlencoded;charset=UTF-8');
  }
  if (value instanceof Blob) {
    const type = value.type === '' ? null : value.type;
    return streamed(new Parts([value]), value.size, true, type);
  }
  if (value instanceof FormData) return formBody(value);
  if (isStream(value)) {
    if (value.locked || isDisturbed(value)) {
      throw new TypeError('Response body object should not be disturbed or locked');
    }
    needsDuplex(duplex);
    return streamed(new StreamBytes(value), null, false, null);
  }
  if (Symbol.asyncIterator in value || (Symbol.iterator in value && !(value instanceof String))) {
    needsDuplex(duplex);
    return streamed(value as BodySource, null, false, null);
  }
  return whole(String(value), 'text/plain;charset=UTF-8');
}

function needsDuplex(duplex: unknown): void {
  if (duplex === 'half') return;
  throw new TypeError('RequestInit: duplex option is required when sending a body.');
}

function streamed(
  source: BodySource,
  length: number | null,
  repeats: boolean,
  contentType: string | null,
): FetchBody {
  return { body: { length, keepsUnsent: true }, source, repeats, contentType };
}

function isSharedBuffer(value: object): value is ArrayBuffer {
  return typeof SharedArrayBuffer !== 'undefined' && value instanceof SharedArrayBuffer;
}

function isStream(value: object): value is ReadableStream<unknown> {
  return value instanceof ReadableStream;
}

function isDisturbed(stream: ReadableStream<unknown>): boolean {
  const { isDisturbed: ask } = Readable as unknown as { isDisturbed?: (stream: object) => boolean };
  return ask?.(stream) === true;
}

/** Strings and blobs one after the other, as often as wanted. */
class Parts implements AsyncIterable<Uint8Array | string> {
  readonly #parts: readonly (string | Blob)[];

  constructor(parts: readonly (string | Blob)[]) {
    this.#parts = parts;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array | string> {
    for (const part of this.#parts) {
      if (typeof part === 'string') yield part;
      else yield* new StreamBytes(part.stream());
    }
  }
}

/** A form as `multipart/form-data` (RFC 7578), its length known beforehand. */
function formBody(form: FormData): FetchBody {
  const boundary = `----formdata-onehop-${randomUUID()}`;
  const parts: (string | Blob)[] = [];
  let head = '';
  for (const [name, value] of form as Iterable<[string, string | File]>) {
    head += `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(lines(name))}"`;
    if (typeof value === 'string') {
      head += `\r\n\r\n${lines(value)}\r\n`;
      continue;
    }
    const type = value.type === '' ? 'application/octet-stream' : value.type;
    head += `; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`;
    parts.push(head, value);
    head = '\r\n';
  }
  parts.push(`${head}--${boundary}--\r\n`);
  const contentType = `multipart/form-data; boundary=${boundary}`;
  if (parts.length === 1) return whole(parts[0] as string, contentType);
  const length = parts.reduce(
    (sum, part) => sum + (typeof part === 'string' ? Buffer.byteLength(part) : part.size),
    0,
  );
  return streamed(new Parts(parts), length, true, contentType);
}

/** Line ends as CRLF, which the standard demands of names and values. */
const lines = (text: string): string => text.replace(/\r\n|\r|\n/g, '\r\n');

const quoted = (text: string): string =>
  text.replace(/\n/g, '%0A').replace(/\r/g, '%0D').replace(/"/g, '%22');

/**
 * The body of a `Request`, which does not tell its length. One that is a single piece at hand is sent
 * with its length, as it was given; anything else is streamed. Throws the reason of `signal` when that
 * aborts before there is anything.
 */
export async function bodyOfRequest(
  stream: ReadableStream<unknown>,
  signal: AbortSignal | null,
): Promise<FetchBody> {
  if (stream.locked || isDisturbed(stream)) {
    throw new TypeError(
      'Cannot construct a Request with a Request object that has already been used.',
    );
  }
  if (signal?.aborted) throw signal.reason;
  const source = new StreamBytes(stream);
  const first = await firstPiece(source, signal);
  if (signal?.aborted && first.done) throw signal.reason;
  if (first.done) return whole(new Uint8Array(0), null);
  const second = source.next();
  const turn = new Promise<null>((resolve) => setImmediate(() => resolve(null)));
  const soon = await Promise.race([second, turn]);
  if (soon?.done) return whole(first.value, null);
  // Nobody may ask for it: the connection may fail first.
  second.catch(() => {});
  source.putBack(first, second);
  return streamed(source, null, false, null);
}

/** Whatever makes the stream may take its time: an abort ends the wait, and with it the stream. */
async function firstPiece(
  source: StreamBytes,
  signal: AbortSignal | null,
): Promise<IteratorResult<Uint8Array, undefined>> {
  const stop = (): void => source[stopSource]();
  signal?.addEventListener('abort', stop);
  try {
    return await source.next();
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
