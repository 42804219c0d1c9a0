import { limits, OnehopError } from '../core/index.ts';
import type { Transport } from '../transport/index.ts';
import { BodyDecoder, type DecoderEvents } from './decoder.ts';
import type { Exchange } from './exchange.ts';
import { decodeUtf8 } from './utf8.ts';

/** Copies a range without making a view of it first. */
const copyBytes = Buffer.prototype.copy;
const EMPTY: Buffer = Buffer.alloc(0);
/** Bytes that may lie unread before the server is held up. */
const unreadBytesMax = 2 * limits.relayBufferBytesMax;
/** A body shorter than this is read to its end to save the connection when nobody wants it. */
const drainBytesMax = 64 * 1024;
/** A collected body of announced length up to this is put into one buffer made for it. */
const preparedBytesMax = 4 * 1024 * 1024;
/** With less than this to come, one ordinary read brings it: reading straight into place saves nothing. */
const directBytesMin = 64 * 1024;
/** A shorter piece is cheaper to copy than to make a view of. */
const viewBytesMin = 4 * 1024;
/**
 * The body of one response between the connection, which pushes, and the caller, who pulls: collected
 * whole or read piece by piece, with back-pressure. Nothing but a reference is kept until it is used.
 */
export class BodyReader implements DecoderEvents {
  /** Unread pieces; the first one alone in the common case. */
  #first: Uint8Array | null = null;
  #more: Uint8Array[] | null = null;
  #unreadBytes = 0;
  #ended = false;
  #error: unknown = null;
  #used = false;
  /** Nobody wants it any more: what comes is read past. */
  #dropped = false;
  /** A buffer of the announced length that is being filled, instead of pieces. */
  #whole: Buffer | null = null;
  #wholeLength = 0;
  /** How much of it has been read. */
  #wholeTaken = 0;
  /** The socket was asked to read straight into it. */
  #direct = false;
  #collecting = false;
  #collectBytesMax = 0;
  #resolve: (() => void) | null = null;
  /** Set when there are pieces that are views of reads; they belong to this transport. */
  #transport: Transport | null = null;
  /** There are pieces that are copies, or views of reads that others look at. */
  #hasCopies = false;
  #decoder: BodyDecoder | null = null;
  /** Codings to undo from the first byte on. */
  #codings: readonly string[] | null = null;
  #decodedBytesMax = 0;
  #exchange: Exchange | null = null;
  /** Value of Content-Length, or -1. */
  readonly announced: number;
  /** Told at once when the body fails; a reader who waits in `next` or `collect` hears it anyway. */
  failed: ((error: unknown) => void) | null = null;

  constructor(exchange: Exchange | null, announced: number) {
    this.#exchange = exchange;
    this.announced = announced;
  }

  /** The body was handed out already: it can be read once only. */
  get used(): boolean {
    return this.#used;
  }

  /** Undo these content codings; before the first byte. */
  decode(codings: readonly string[], bytesMax: number): void {
    this.#codings = codings;
    this.#decodedBytesMax = bytesMax;
  }

  // From the connection.

  onBody(bytes: Uint8Array, start: number, end: number): void {
    if (this.#dropped) return;
    if (this.#codings !== null) {
      // Made at the first byte: an empty body has no coding to undo.
      this.#decoder ??= new BodyDecoder(this.#codings, this.#decodedBytesMax, this, bytes[start]!);
      if (!this.#decoder.write(this.#keep(bytes, start, end))) this.#exchange?.pause();
      return;
    }
    if (this.#whole === null && this.#isWorthKeeping(bytes, start, end)) {
      const { origin } = this.#exchange!;
      // Pipelined, the next response may lie in the same read: it cannot be given back.
      if (origin.pipelining === 1) this.#transport = origin.transport;
      else this.#hasCopies = true;
      this.#push(bytes.subarray(start, end));
      return;
    }
    const isFirst = this.#first === null && this.#whole === null && this.#transport === null;
    if (isFirst && this.#isPrepared(end - start)) this.#whole = this.#buffer(this.announced);
    const whole = this.#whole;
    if (whole !== null && this.#wholeLength + end - start <= whole.length) {
      this.#fill(whole, bytes, start, end);
      return;
    }
    this.#hasCopies = true;
    this.#push(copyOf(bytes, start, end));
  }

  /**
   * Whether to make one buffer for the whole body at its first piece, copied into once: not much is to
   * come, and what is here is not a short body by itself, for which the runtime has a pool.
   */
  #isPrepared(length: number): boolean {
    const { announced } = this;
    if (length > announced || announced > unreadBytesMax) return false;
    return length < announced || length >= viewBytesMin;
  }

  #fill(whole: Buffer, bytes: Uint8Array, start: number, end: number): void {
    const at = this.#wholeLength;
    this.#wholeLength = at + end - start;
    const isInPlace =
      this.#direct &&
      bytes.buffer === whole.buffer &&
      bytes.byteOffset + start === whole.byteOffset + at;
    if (!isInPlace) {
      copyBytes.call(bytes as Buffer, whole, at, start, end);
      this.#askDirect(whole);
    }
    this.#wake();
  }

  /** Has the rest read straight into place when it is long; else puts an end to that. */
  #askDirect(whole: Buffer): void {
    const at = this.#wholeLength;
    if (!this.#direct && whole.length - at < directBytesMin) return;
    this.#direct = this.#exchange?.readInto(whole, at) === true;
  }

  /**
   * Whether to keep a view: the transport lets us, and most of what it pins is wanted. A body that is
   * being collected wants all of it.
   */
  #isWorthKeeping(bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    return (
      ((length >= viewBytesMin && length * 2 >= bytes.length) ||
        (this.#collecting && this.#codings === null)) &&
      this.#exchange !== null &&
      this.#exchange.keepRead()
    );
  }

  #keep(bytes: Uint8Array, start: number, end: number): Uint8Array {
    return this.#isWorthKeeping(bytes, start, end)
      ? bytes.subarray(start, end)
      : copyOf(bytes, start, end);
  }

  #buffer(byteLength: number): Buffer {
    const exchange = this.#exchange;
    return exchange === null
      ? Buffer.allocUnsafeSlow(byteLength)
      : exchange.origin.transport.bodyBuffer(byteLength);
  }

  onEnd(): void {
    if (this.#decoder !== null) this.#decoder.end();
    else this.#finish();
  }

  /** The body fails with `error`: what the exchange failed with, or a caller's reason to abort. */
  onError(error: unknown): void {
    if (this.#ended || this.#error !== null) return;
    this.#error = error ?? new OnehopError('ABORTED', 'the exchange was aborted');
    this.#exchange = null;
    this.#decoder?.destroy();
    this.#wake();
    this.failed?.(this.#error);
  }

  // From the decoder.

  onDecoded(bytes: Uint8Array): void {
    this.#push(bytes);
  }

  onDecodedEnd(): void {
    this.#finish();
  }

  onDecodeError(error: OnehopError): void {
    const exchange = this.#exchange;
    this.onError(error);
    exchange?.abort(error);
  }

  onDecoderDrain(): void {
    this.#exchange?.resume();
  }

  #finish(): void {
    this.#ended = true;
    this.#exchange = null;
    this.#wake();
  }

  #push(bytes: Uint8Array): void {
    if (this.#first === null) this.#first = bytes;
    else if (this.#more === null) this.#more = [bytes];
    else this.#more.push(bytes);
    this.#unreadBytes += bytes.length;
    if (this.#collecting) {
      if (this.#unreadBytes > this.#collectBytesMax) this.#tooLarge();
      return;
    }
    // What lay here before counts, not the newest piece, which may be long by itself: whoever collects
    // the body asks for it right after this read, and to pause and resume costs two system calls.
    if (this.#unreadBytes - bytes.length > unreadBytesMax) {
      if (this.#decoder !== null) this.#decoder.pause();
      else this.#exchange?.pause();
    }
    this.#wake();
  }

  #tooLarge(): void {
    this.onDecodeError(tooLargeError(this.#collectBytesMax));
  }

  #wake(): void {
    const resolve = this.#resolve;
    if (resolve === null) return;
    if (this.#collecting && !this.#ended && this.#error === null) return;
    this.#resolve = null;
    resolve();
  }

  // From the caller.

  /** Marks the body as taken. Errors: BODY_NOT_REPLAYABLE the second time. */
  take(): void {
    if (this.#used) {
      throw new OnehopError('BODY_NOT_REPLAYABLE', 'the response body was already read', {
        phase: 'body',
      });
    }
    this.#used = true;
  }

  /** Whether everything is here and no waiting is needed. */
  get complete(): boolean {
    return this.#ended;
  }

  /**
   * The body in one piece; only when {@link complete}. Throws what it failed with; RESPONSE_TOO_LARGE
   * for one beyond `bytesMax` that was here before anybody asked for it.
   */
  whole(bytesMax: number = Number.POSITIVE_INFINITY): Uint8Array {
    if (this.#error !== null) throw this.#error;
    const body = this.#joined();
    if (body.length > bytesMax) throw tooLargeError(bytesMax);
    return body;
  }

  #joined(): Uint8Array {
    const whole = this.#whole;
    const first = this.#first;
    const more = this.#more;
    this.#first = null;
    this.#more = null;
    this.#whole = null;
    if (whole !== null) {
      return this.#wholeLength === whole.length ? whole : whole.subarray(0, this.#wholeLength);
    }
    if (more === null) return first ?? EMPTY;
    more.unshift(first!);
    return this.#transport !== null && !this.#hasCopies
      ? this.#transport.joinReads(more)
      : Buffer.concat(more);
  }

  /** As {@link whole}; views of reads are copied and the reads given back. */
  exact(): Uint8Array {
    const isView = this.#more === null && this.#transport !== null && !this.#hasCopies;
    const transport = this.#transport;
    const body = this.whole();
    return isView && transport !== null && body.length > 0 ? transport.joinReads([body]) : body;
  }

  /** The body as text; what it was made of is given back. Errors: as {@link whole}. */
  text(bytesMax: number = Number.POSITIVE_INFINITY): string {
    const body = this.whole(bytesMax);
    const text = decodeUtf8(body);
    if (this.#transport !== null && !this.#hasCopies) this.#transport.dropReads([body]);
    return text;
  }

  /** Reads to the end, at most `bytesMax` bytes; then {@link whole} has it, or throws. */
  collect(bytesMax: number): Promise<void> {
    this.#collectBytesMax = bytesMax;
    if (this.#unreadBytes > bytesMax || this.announced > bytesMax) this.#tooLarge();
    if (this.#ended || this.#error !== null) return Promise.resolve();
    this.#collecting = true;
    if (
      this.#codings === null &&
      this.#whole === null &&
      this.#transport === null &&
      this.announced > 0 &&
      this.announced <= preparedBytesMax
    ) {
      this.#gather();
    }
    this.#flow();
    return new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Moves what is here into a buffer that will hold the rest as well. */
  #gather(): void {
    const whole = this.#buffer(this.announced);
    let length = 0;
    for (let piece = this.#shift(); piece !== null; piece = this.#shift()) {
      whole.set(piece, length);
      length += piece.length;
    }
    this.#whole = whole;
    this.#wholeLength = length;
    this.#askDirect(whole);
  }

  /** The next piece; null at the end. Throws what the body failed with. */
  async next(): Promise<Uint8Array | null> {
    for (;;) {
      const piece = this.#shift();
      if (piece !== null) {
        if (this.#unreadBytes <= unreadBytesMax / 2) this.#flow();
        return piece;
      }
      if (this.#error !== null) throw this.#error;
      if (this.#ended) return null;
      this.#flow();
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
    }
  }

  #shift(): Uint8Array | null {
    const whole = this.#whole;
    if (whole !== null) {
      const from = this.#wholeTaken;
      if (from === this.#wholeLength) return null;
      this.#wholeTaken = this.#wholeLength;
      // While it is filled, the kernel may write to it at any time: a caller who has a view of it could
      // transfer its memory to another owner (postMessage, a stream), who would find our bytes in his.
      if (from === 0 && this.#wholeLength === whole.length) return whole;
      const length = this.#wholeLength - from;
      if (length < viewBytesMin) return copyOf(whole, from, this.#wholeLength);
      // Not from the runtime's pool: what is its own can be transferred, and passed on without a copy.
      const part = this.#buffer(length);
      copyBytes.call(whole, part, 0, from, this.#wholeLength);
      return part;
    }
    const piece = this.#first;
    if (piece === null) return null;
    this.#first = null;
    if (this.#more !== null) {
      this.#first = this.#more.shift()!;
      if (this.#more.length === 0) this.#more = null;
    }
    this.#unreadBytes -= piece.length;
    return piece;
  }

  #flow(): void {
    if (this.#decoder !== null) this.#decoder.resume();
    else this.#exchange?.resume();
  }

  /** Drops the rest: reads a short one to save the connection, gives a long one up. */
  discard(): void {
    this.#drop();
    const exchange = this.#exchange;
    if (exchange === null) return;
    if (this.announced >= 0 && this.announced <= drainBytesMax) exchange.resume();
    else exchange.abort();
  }

  /** Forgets what is here, and with it whatever would still come. */
  #drop(): void {
    this.#used = true;
    this.#dropped = true;
    this.#first = null;
    this.#more = null;
    this.#whole = null;
    this.#unreadBytes = 0;
    this.#decoder?.destroy();
    this.#decoder = null;
    if (this.#resolve === null) return;
    this.#error ??= new OnehopError('ABORTED', 'the body was discarded', { phase: 'body' });
    this.#wake();
  }

  /** Drops the rest and ends the exchange, however little is left. */
  abort(reason?: unknown): void {
    this.#drop();
    this.#exchange?.abort(reason);
  }
}

function tooLargeError(bytesMax: number): OnehopError {
  return new OnehopError('RESPONSE_TOO_LARGE', `the body is longer than ${bytesMax} bytes`, {
    phase: 'body',
  });
}

/** A copy of borrowed bytes, from the runtime's pool when short. */
function copyOf(bytes: Uint8Array, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  copyBytes.call(bytes as Buffer, copy, 0, start, end);
  return copy;
}
