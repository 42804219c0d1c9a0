/** One connection on Bun's raw sockets, which take what the kernel takes and keep nothing. */
import { connectError, queueFullError, socketError } from '../errors.ts';
import { type Socket, type SocketHandlers, type TlsOptions, WriteStatus } from '../types.ts';
import { abandonedSettled, connectAbandoned } from './abandoned.ts';
import type { BunRawSocket } from './bun-types.ts';
import { freedBytesMin, giveBackRead, partLeft, partQueued } from './reads.ts';

const gatherBufferBytes = 64 * 1024;
/** Writes up to this size are gathered by copying; bigger ones leave as they are. */
const gatherBytesMax = 16 * 1024;

const copyBytes = Buffer.prototype.copy;

/** With the method that `write(text, 'latin1')` comes down to. */
type TextBuffer = Buffer & { latin1Write(text: string, offset: number, length: number): number };

/** Lent to sockets from their first corked write until they flush: a cork never outlives a turn. */
const freeBuffers: TextBuffer[] = [];
const freeBuffersMax = 16;
/**
 * Where text becomes bytes: the runtime would flatten it, encode it into memory of its own and leave
 * both to the collector.
 */
const textBuffer = Buffer.allocUnsafeSlow(gatherBytesMax) as TextBuffer;

function giveBack(bytes: TextBuffer): void {
  if (freeBuffers.length < freeBuffersMax) freeBuffers.push(bytes);
}

/** Whether somebody holds views of the bytes that a `data` handler is being shown. */
let isReadKept = false;

export class BunSocket<State> implements Socket<State> {
  // What each read and each write looks at comes first, side by side.
  state: State;
  readonly #handlers: SocketHandlers<State>;
  #raw: BunRawSocket | null = null;
  #destroyed = false;
  /** Nothing can be written any more: ended, destroyed or failed. */
  #shut = false;
  #opened = false;
  #corked = false;
  /** What the kernel has not taken yet, in bytes; see {@link #queue}. */
  #queuedBytes = 0;

  readonly #target: string;
  readonly #queueBytesMax: number;
  #tls: TlsOptions | null;
  /** Begins TLS on a plain socket; null where none was asked for. */
  readonly #secure: ((plain: BunRawSocket) => TlsOptions) | null;
  #paused = false;
  #refd = true;
  #closed = false;
  /** `end` was delivered. */
  #ended = false;
  #endWanted = false;
  /** What was written since the cork; null before the first of it. */
  #gathering: TextBuffer | null = null;
  #gatheredBytes = 0;
  #wantsDrain = false;
  /** What the kernel has not taken yet: chunks from `#queueHead` on, the first from `#offset`. */
  #queue: Uint8Array[] = [];
  #queueHead = 0;
  #offset = 0;
  #error: unknown = null;
  #remoteAddress = '';
  #probe: { destroy(): void } | null = null;
  /** Given up while it was connecting, and counted as that. */
  #abandoned = false;

  constructor(
    handlers: SocketHandlers<State>,
    state: State,
    target: string,
    queueBytesMax: number,
    tls: TlsOptions | null,
    secure: ((plain: BunRawSocket) => TlsOptions) | null = null,
  ) {
    this.state = state;
    this.#handlers = handlers;
    this.#target = target;
    this.#queueBytesMax = queueBytesMax;
    this.#tls = tls;
    this.#secure = secure;
  }

  get queuedBytes(): number {
    return this.#queuedBytes + this.#gatheredBytes;
  }

  /** Bun makes new bytes for every read. */
  get keepsReads(): boolean {
    return true;
  }

  keepRead(): void {
    isReadKept = true;
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
    const { length } = text;
    if (this.#queuedBytes > 0 || length > textBuffer.length) {
      return this.#send(Buffer.from(text, 'latin1'), 0, length);
    }
    if (length === 0) return WriteStatus.Flushed;
    textBuffer.latin1Write(text, 0, length);
    return this.#sendCopied(textBuffer, length);
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

  startTls(): void {
    const secure = this.#secure;
    if (this.#shut || this.#tls !== null || secure === null) return;
    this.#opened = false;
    try {
      this.#tls = secure(this.#raw!);
    } catch (error) {
      this.fail(error);
    }
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
    if (this.#raw === null) {
      this.#abandon();
      queueMicrotask(() => this.onRawClose(null));
    } else if (reset && this.#opened && this.#tls === null) this.#raw.terminate();
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
    this.#settle();
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
    if (this.#destroyed) return;
    if (bytes.length < freedBytesMin) {
      this.#handlers.data(this, bytes);
      return;
    }
    // Bun shows one read at a time; should it ever show one within another, neither frees the other's.
    const isOuterKept = isReadKept;
    isReadKept = false;
    this.#handlers.data(this, bytes);
    const isKept = isReadKept;
    isReadKept = isOuterKept;
    if (!isKept) giveBackRead(bytes);
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
      partLeft(chunk);
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

  /** What `destroy` closes instead of leaving a connect to the kernel; null when that is under way. */
  asking(probe: { destroy(): void } | null): void {
    this.#probe = probe;
  }

  #abandon(): void {
    if (this.#probe !== null) this.#probe.destroy();
    else {
      this.#abandoned = true;
      connectAbandoned(this.#target);
    }
  }

  #settle(): void {
    if (!this.#abandoned) return;
    this.#abandoned = false;
    abandonedSettled(this.#target);
  }

  fail(error: unknown): void {
    this.#settle();
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
    if (this.#gathering !== null) giveBack(this.#gathering);
    this.#gathering = null;
    this.#gatheredBytes = 0;
    for (let i = this.#queueHead; i < this.#queue.length; i++) partLeft(this.#queue[i]!);
    this.#queue = [];
    this.#queueHead = 0;
    this.#queuedBytes = 0;
  }

  #status(): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.#queuedBytes > 0 ? WriteStatus.Queued : WriteStatus.Flushed;
  }

  #send(bytes: Uint8Array, start: number, end: number): WriteStatus {
    const length = end - start;
    if (length <= 0) return this.#status();
    // Bun's `data` bytes are fresh for every event, so a view of them may wait like any other.
    if (this.#queuedBytes > 0) return this.#enqueue(bytes.subarray(start, end));
    const sent = this.#raw!.write(bytes, start, length);
    if (sent === length) return WriteStatus.Flushed;
    if (sent < 0) return WriteStatus.Closed;
    return this.#enqueue(bytes.subarray(start + sent, end));
  }

  /** {@link #send} of the first `length` of bytes that are about to be written over. */
  #sendCopied(bytes: Uint8Array, length: number): WriteStatus {
    const queued = this.#queuedBytes > 0;
    const sent = queued ? 0 : this.#raw!.write(bytes, 0, length);
    if (sent === length) return WriteStatus.Flushed;
    if (sent < 0) return WriteStatus.Closed;
    return this.#enqueue(Buffer.from(bytes.subarray(sent, length)));
  }

  #enqueue(chunk: Uint8Array): WriteStatus {
    const queuedBytes = this.#queuedBytes + chunk.length;
    if (this.#queuedBytes > 0 && queuedBytes > this.#queueBytesMax) {
      this.fail(queueFullError(queuedBytes, this.#target));
      return WriteStatus.Closed;
    }
    this.#queue.push(chunk);
    this.#queuedBytes = queuedBytes;
    // It may be a view of what is being read, which must not be freed before it is sent.
    partQueued(chunk);
    this.#wantsDrain = true;
    return WriteStatus.Queued;
  }

  #gather(bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (!this.#reserve(length)) return false;
    copyBytes.call(bytes, this.#gathering!, this.#gatheredBytes, start, end);
    this.#gatheredBytes += length;
    return true;
  }

  #gatherText(text: string): boolean {
    const { length } = text;
    if (!this.#reserve(length)) return false;
    this.#gathering!.latin1Write(text, this.#gatheredBytes, length);
    this.#gatheredBytes += length;
    return true;
  }

  /** False when the bytes are too big to be worth copying; what was gathered before is then sent. */
  #reserve(length: number): boolean {
    if (length > gatherBytesMax || this.#gatheredBytes + length > gatherBufferBytes) {
      this.flushGathered();
      if (length > gatherBytesMax || this.#shut) return false;
    }
    this.#gathering ??=
      freeBuffers.pop() ?? (Buffer.allocUnsafeSlow(gatherBufferBytes) as TextBuffer);
    return true;
  }

  flushGathered(): WriteStatus {
    const bytes = this.#gathering;
    if (bytes === null) return this.#status();
    const length = this.#gatheredBytes;
    this.#gathering = null;
    this.#gatheredBytes = 0;
    const status = this.#sendCopied(bytes, length);
    giveBack(bytes);
    return status;
  }
}

const emptyBytes = new Uint8Array(0);
