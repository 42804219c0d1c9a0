/** Content codings, undone only when asked (RFC 9110 section 8.4.1). */
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { OnehopError } from '../core/index.ts';

type Create = () => Transform;

/** Codings one after the other that are accepted; more is an attack or a mistake. */
const codingsMax = 3;

function creators(): Map<string, Create> {
  const map = new Map<string, Create>([
    ['gzip', () => zlib.createGunzip()],
    ['x-gzip', () => zlib.createGunzip()],
    ['deflate', () => zlib.createInflate()],
    ['br', () => zlib.createBrotliDecompress()],
  ]);
  const zstd = (zlib as unknown as { createZstdDecompress?: Create }).createZstdDecompress;
  if (zstd !== undefined) map.set('zstd', () => zstd());
  return map;
}

const CREATORS = creators();

/** Value of Accept-Encoding for what this runtime can undo. */
export const acceptEncoding: string = ['gzip', 'deflate', 'br', 'zstd']
  .filter((name) => CREATORS.has(name))
  .join(', ');

export interface DecoderEvents {
  /** Decoded bytes, the receiver's to keep. */
  onDecoded(bytes: Uint8Array): void;
  onDecodedEnd(): void;
  onDecodeError(error: OnehopError): void;
  /** The decoder has room again after `write` returned false. */
  onDecoderDrain(): void;
}

/** Undoes the codings of one body. Stops with RESPONSE_TOO_LARGE beyond `bytesMax` decoded bytes. */
export class BodyDecoder {
  readonly #first: Transform;
  readonly #chain: Transform[];
  readonly #events: DecoderEvents;
  readonly #bytesMax: number;
  #bytes = 0;
  #over = false;

  /** `firstByte` of the body tells `deflate` without the zlib wrapper, which some servers send. */
  constructor(
    codings: readonly string[],
    bytesMax: number,
    events: DecoderEvents,
    firstByte: number,
  ) {
    this.#events = events;
    this.#bytesMax = bytesMax;
    // The last coding in the field was applied last, so it is undone first.
    this.#chain = [...codings].reverse().map((name) => CREATORS.get(name)!());
    if (codings[codings.length - 1] === 'deflate' && (firstByte & 15) !== 8) {
      this.#chain[0] = zlib.createInflateRaw();
    }
    this.#first = this.#chain[0]!;
    let last = this.#first;
    for (const next of this.#chain.slice(1)) {
      last.pipe(next);
      last = next;
    }
    for (const transform of this.#chain) transform.on('error', (error) => this.#fail(error));
    // A stream throws on what its listeners throw, into nobody's hands.
    const on = (stream: Transform, event: string, hear: (bytes: Uint8Array) => void): void => {
      stream.on(event, (bytes: Uint8Array) => {
        try {
          hear(bytes);
        } catch (error) {
          this.#fail(error as Error);
        }
      });
    };
    on(last, 'data', (bytes) => this.#onData(bytes));
    on(last, 'end', () => {
      if (this.#over) return;
      this.#over = true;
      events.onDecodedEnd();
    });
    on(this.#first, 'drain', () => events.onDecoderDrain());
  }

  /** `bytes` must stay as they are. False: wait for `onDecoderDrain`. */
  write(bytes: Uint8Array): boolean {
    return this.#over || this.#first.write(bytes);
  }

  end(): void {
    if (!this.#over) this.#first.end();
  }

  destroy(): void {
    this.#over = true;
    for (const transform of this.#chain) transform.destroy();
  }

  /** Holds decoded bytes back until `resume`. */
  pause(): void {
    this.#chain[this.#chain.length - 1]!.pause();
  }

  resume(): void {
    this.#chain[this.#chain.length - 1]!.resume();
  }

  #onData(bytes: Uint8Array): void {
    if (this.#over) return;
    this.#bytes += bytes.length;
    if (this.#bytes > this.#bytesMax) {
      this.destroy();
      this.#events.onDecodeError(
        new OnehopError(
          'RESPONSE_TOO_LARGE',
          `the decompressed body is longer than ${this.#bytesMax} bytes`,
          { phase: 'body' },
        ),
      );
      return;
    }
    this.#events.onDecoded(bytes);
  }

  #fail(cause: Error): void {
    if (this.#over) return;
    this.destroy();
    this.#events.onDecodeError(
      new OnehopError('DECODE_FAILED', 'the body is not what Content-Encoding says', {
        phase: 'body',
        cause,
      }),
    );
  }
}

/**
 * The codings in a Content-Encoding value that are to be undone; empty for none. Null when one of
 * them is unknown here or there are too many: the body is then left as it is.
 */
export function codingsOf(value: string | null): string[] | null {
  if (value === null) return [];
  const names = value
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'identity');
  if (names.length > codingsMax) return null;
  return names.every((name) => CREATORS.has(name)) ? names : null;
}
