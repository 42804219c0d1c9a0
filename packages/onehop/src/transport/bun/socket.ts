/** One connection on Bun's raw sockets, which take what the kernel takes and keep nothing. */
import { connectError, queueFullError, socketError } from '../errors.ts';
import { type Socket, type SocketHandlers, type TlsOptions, WriteStatus } from '../types.ts';
import type { BunRawSocket } from './bun-types.ts';

const gatherBufferBytes = 64 * 1024;
/** Writes up to this size are gathered by copying; bigger ones leave as they are. */
const gatherBytesMax = 16 * 1024;

/** Corked pieces up to this size are joined as text, up to that many bytes in all. */
const textPieceBytesMax = 2 * 1024;
const textBytesMax = 32 * 1024;
const latin1Slice = Buffer.prototype.latin1Slice;

/** Where corked writes are gathered; one for all sockets, since a cork never outlives a turn. */
const gatherBuffer = Buffer.allocUnsafeSlow(gatherBufferBytes);
let gatherOwner: BunSocket<unknown> | null = null;
let gatheredBytes = 0;

export class BunSocket<State> implements Socket<State> {
  state: State;
  readonly #handlers: SocketHandlers<State>;
  readonly #target: string;
  readonly #queueBytesMax: number;
  readonly #tls: TlsOptions | null;
  #raw: BunRawSocket | null = null;
  #opened = false;
  #paused = false;
  #refd = true;
  /** Nothing can be written any more: ended, destroyed or failed. */
  #shut = false;
  #destroyed = false;
  #closed = false;
  /** `end` was delivered. */
  #ended = false;
  #endWanted = false;
  #corked = false;
  #wantsDrain = false;
  /** What the kernel has not taken yet: chunks from `#queueHead` on, the first from `#offset`. */
  #queue: Uint8Array[] = [];
  #queueHead = 0;
  #offset = 0;
  #queuedBytes = 0;
  #error: unknown = null;
  #remoteAddress = '';
  /** Corked text and small pieces, as one string: cheaper than copying them into a buffer. */
  #text = '';

  constructor(
    handlers: SocketHandlers<State>,
    state: State,
    target: string,
    queueBytesMax: number,
    tls: TlsOptions | null,
  ) {
    this.state = state;
    this.#handlers = handlers;
    this.#target = target;
    this.#queueBytesMax = queueBytesMax;
    this.#tls = tls;
  }

  get queuedBytes(): number {
    return (
      this.#queuedBytes +
      this.#text.length +
      (gatherOwner === (this as unknown) ? gatheredBytes : 0)
    );
  }

  /** Bun makes new bytes for every read. */
  get keepsReads(): boolean {
    return true;
  }

  get remoteAddress(): string {
    // A getter of the runtime that makes a string each time.
    if (this.#remoteAddress === '') this.#remoteAddress = this.#raw?.remoteAddress ?? '';
    return this.#remoteAddress;
  }

  get alpnProtocol(): string {
    const name = this.#tls === null ? '' : this.#raw?.alpnProtocol;
    return typeof name === 'string' ? name : '';
  }

  write(bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    if (this.#corked && this.#gather(bytes, start, end)) return WriteStatus.Flushed;
    return this.#send(bytes, start, end);
  }

  writeLatin1(text: string): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    if (this.#corked && this.#gatherText(text)) return WriteStatus.Flushed;
    return this.#sendText(text);
  }

  #sendText(text: string): WriteStatus {
    if (this.#queuedBytes > 0) return this.#enqueue(Buffer.from(text, 'latin1'));
    if (text.length === 0) return WriteStatus.Flushed;
    const sent = this.#raw!.write(text, 'latin1');
    if (sent === text.length) return WriteStatus.Flushed;
    if (sent < 0) return WriteStatus.Closed;
    return this.#enqueue(Buffer.from(sent === 0 ? text : text.slice(sent), 'latin1'));
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): WriteStatus {
    this.#corked = false;
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.flushGathered();
  }

  pause(): void {
    if (this.#paused || this.#destroyed) return;
    this.#paused = true;
    this.#raw?.pause();
  }

  resume(): void {
    if (!this.#paused || this.#destroyed) return;
    this.#paused = false;
    this.#raw?.resume();
  }

  readInto(): boolean {
    return false;
  }

  end(): void {
    if (this.#shut) return;
    this.flushGathered();
    this.#shut = true;
    if (!this.#opened) this.destroy();
    else if (this.#queuedBytes > 0) this.#endWanted = true;
    else this.#raw!.shutdown();
  }

  destroy(reset = false): void {
    if (this.#destroyed) return;
    this.#release();
    // Not yet connected: onRawOpen finds `#destroyed` and drops the socket; the caller need not wait.
    if (this.#raw === null) queueMicrotask(() => this.onRawClose(null));
    else if (reset && this.#opened && this.#tls === null) this.#raw.terminate();
    else this.#raw.end();
  }

  ref(): void {
    this.#refd = true;
    this.#raw?.ref();
  }

  unref(): void {
    this.#refd = false;
    this.#raw?.unref();
  }

  // For the adapter only, from here on.

  /** TCP is connected. False when the caller has given up in the meantime. */
  onRawOpen(raw: BunRawSocket): boolean {
    this.#raw = raw;
    if (this.#destroyed) {
      raw.terminate();
      return false;
    }
    raw.setNoDelay(true);
    if (!this.#refd) raw.unref();
    if (this.#paused) raw.pause();
    return true;
  }

  onOpen(): void {
    if (this.#destroyed) return;
    this.#opened = true;
    this.#handlers.open(this);
  }

  onBytes(bytes: Uint8Array): void {
    if (!this.#destroyed) this.#handlers.data(this, bytes);
  }

  onDrain(): void {
    if (this.#destroyed || this.#queuedBytes === 0) return;
    const raw = this.#raw!;
    while (this.#queuedBytes > 0) {
      const chunk = this.#queue[this.#queueHead]!;
      const left = chunk.length - this.#offset;
      const sent = raw.write(chunk, this.#offset, left);
      if (sent < 0) return;
      this.#queuedBytes -= sent;
      if (sent < left) {
        this.#offset += sent;
        return;
      }
      this.#offset = 0;
      // Keep no chunk alive that is sent; compact when the front has grown long.
      this.#queue[this.#queueHead++] = emptyBytes;
      if (this.#queueHead === this.#queue.length || this.#queueHead > 1024) {
        this.#queue.splice(0, this.#queueHead);
        this.#queueHead = 0;
      }
    }
    if (this.#endWanted) {
      this.#endWanted = false;
      raw.shutdown();
    }
    if (!this.#wantsDrain) return;
    this.#wantsDrain = false;
    this.#handlers.drain(this);
  }

  onEnd(): void {
    if (this.#destroyed || this.#ended) return;
    this.#ended = true;
    this.#handlers.end(this);
  }

  /** The handshake failed, or it is done and the certificate was not good enough. */
  onRefused(raw: BunRawSocket, error: unknown): void {
    const done = Object.keys(raw.getPeerCertificate() ?? {}).length > 0;
    if (done && this.#tls?.rejectUnauthorized === false) this.onOpen();
    else this.fail(error ?? new Error('the TLS handshake failed'));
  }

  fail(error: unknown): void {
    if (this.#destroyed) return;
    this.#error = error;
    this.#release();
    if (this.#raw === null) queueMicrotask(() => this.onRawClose(null));
    else this.#raw.terminate();
  }

  onRawClose(error: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#destroyed) this.#error ??= error ?? null;
    // After our own half-close Bun reports the peer's as `close` at once.
    if (this.#opened && this.#error === null) this.onEnd();
    const wanted = this.#destroyed && this.#error === null;
    this.#release();
    if (wanted || (this.#opened && this.#error === null)) this.#handlers.close(this, null);
    else if (this.#opened) this.#handlers.close(this, socketError(this.#error, this.#target));
    else this.#handlers.close(this, connectError(this.#error, this.#target, this.#tls !== null));
  }

  #release(): void {
    this.#shut = true;
    this.#destroyed = true;
    if (gatherOwner === (this as unknown)) gatherOwner = null;
    this.#queue = [];
    this.#queueHead = 0;
    this.#queuedBytes = 0;
    this.#text = '';
  }

  #status(): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.#queuedBytes > 0 ? WriteStatus.Queued : WriteStatus.Flushed;
  }

  #send(bytes: Uint8Array, start: number, end: number): WriteStatus {
    const length = end - start;
    if (length <= 0) return this.#status();
    if (this.#queuedBytes > 0) return this.#enqueue(this.#keep(bytes, start, end));
    const sent = this.#raw!.write(bytes, start, length);
    if (sent === length) return WriteStatus.Flushed;
    if (sent < 0) return WriteStatus.Closed;
    return this.#enqueue(this.#keep(bytes, start + sent, end));
  }

  /** Bun's `data` bytes are fresh for every event, so a view of them may wait like any other. */
  #keep(bytes: Uint8Array, start: number, end: number): Uint8Array {
    return bytes.buffer === gatherBuffer.buffer
      ? Buffer.from(bytes.subarray(start, end))
      : bytes.subarray(start, end);
  }

  #enqueue(chunk: Uint8Array): WriteStatus {
    const queuedBytes = this.#queuedBytes + chunk.length;
    if (this.#queuedBytes > 0 && queuedBytes > this.#queueBytesMax) {
      this.fail(queueFullError(queuedBytes, this.#target));
      return WriteStatus.Closed;
    }
    this.#queue.push(chunk);
    this.#queuedBytes = queuedBytes;
    this.#wantsDrain = true;
    return WriteStatus.Queued;
  }

  #gather(bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (length <= textPieceBytesMax && this.#fitsText(length)) {
      this.#text += latin1Slice.call(bytes, start, end);
      return true;
    }
    this.#textToBuffer();
    if (!this.#reserve(end - start)) return false;
    gatherBuffer.set(bytes.subarray(start, end), gatheredBytes);
    gatheredBytes += end - start;
    return true;
  }

  #gatherText(text: string): boolean {
    if (this.#fitsText(text.length)) {
      this.#text += text;
      return true;
    }
    this.#textToBuffer();
    return this.#gatherTextBytes(text);
  }

  /** Whether more may be kept as text: only in front of anything in the buffer. */
  #fitsText(length: number): boolean {
    return gatherOwner !== (this as unknown) && this.#text.length + length <= textBytesMax;
  }

  #textToBuffer(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    if (!this.#gatherTextBytes(text)) this.#sendText(text);
  }

  #gatherTextBytes(text: string): boolean {
    if (!this.#reserve(text.length)) return false;
    gatheredBytes += gatherBuffer.write(text, gatheredBytes, text.length, 'latin1');
    return true;
  }

  /** False when the bytes are too big to be worth copying; what was gathered before is then sent. */
  #reserve(length: number): boolean {
    if (gatherOwner !== (this as unknown)) {
      // Two sockets corked at once is rare and costs the other one an early write.
      gatherOwner?.flushGathered();
      gatherOwner = this as BunSocket<unknown>;
      gatheredBytes = 0;
    }
    if (length <= gatherBytesMax && gatheredBytes + length <= gatherBufferBytes) return true;
    this.flushGathered();
    if (length > gatherBytesMax || this.#shut) return false;
    gatherOwner = this as BunSocket<unknown>;
    return true;
  }

  flushGathered(): WriteStatus {
    if (this.#text !== '') {
      const text = this.#text;
      this.#text = '';
      return this.#sendText(text);
    }
    if (gatherOwner !== (this as unknown)) return this.#status();
    const bytes = gatheredBytes;
    gatherOwner = null;
    gatheredBytes = 0;
    return this.#send(gatherBuffer, 0, bytes);
  }
}

const emptyBytes = new Uint8Array(0);
