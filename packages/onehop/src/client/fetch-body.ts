/** Request bodies of the fetch face ("extract a body" of the fetch standard). */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { BodySource } from './body-pump.ts';
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
    return streamed(bytesOnly(value), null, false, null);
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
  return { body: { length }, source, repeats, contentType };
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

/** The standard lets a stream carry nothing but `Uint8Array`. */
async function* bytesOnly(stream: ReadableStream<unknown>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let atEnd = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        atEnd = true;
        return;
      }
      if (!(value instanceof Uint8Array)) throw new TypeError('Received non-Uint8Array chunk');
      yield value;
    }
  } finally {
    if (!atEnd) await reader.cancel().catch(() => {});
  }
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
      else yield* bytesOnly(part.stream());
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
 * with its length, as it was given; anything else is streamed.
 */
export async function bodyOfRequest(stream: ReadableStream<unknown>): Promise<FetchBody> {
  if (stream.locked || isDisturbed(stream)) {
    throw new TypeError(
      'Cannot construct a Request with a Request object that has already been used.',
    );
  }
  const source = bytesOnly(stream);
  const first = await source.next();
  if (first.done) return whole(new Uint8Array(0), null);
  const second = source.next();
  const turn = new Promise<null>((resolve) => setImmediate(() => resolve(null)));
  const soon = await Promise.race([second, turn]);
  if (soon?.done) return whole(first.value, null);
  return streamed(putBack(source, first.value, second), null, false, null);
}

async function* putBack(
  source: AsyncGenerator<Uint8Array>,
  first: Uint8Array,
  second: Promise<IteratorResult<Uint8Array, void>>,
): AsyncGenerator<Uint8Array> {
  try {
    yield first;
    const next = await second;
    if (next.done) return;
    yield next.value;
    yield* source;
  } finally {
    await source.return(undefined);
  }
}
