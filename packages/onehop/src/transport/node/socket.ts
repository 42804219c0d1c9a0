/** One connection on `node:net` or `node:tls`. */
import type { Socket as NetSocket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { getSystemErrorName } from 'node:util';
import { connectError, queueFullError, socketError } from '../errors.ts';
import { type Socket, type SocketHandlers, WriteStatus } from '../types.ts';
import {
  claimRequest,
  handleOf,
  knowsWrites,
  learnWrites,
  makeRequest,
  type StreamHandle,
  type WriteRequest,
  type WriteWaiter,
} from './handle.ts';

/** Holds a body of 64 KB with its head: in 64 KB it would take two reads, two calls and a promise more. */
const readBufferBytes = 80 * 1024;
const gatherBufferBytes = 64 * 1024;
/** Writes up to this size are gathered by copying; bigger ones leave as they are. */
const gatherBytesMax = 16 * 1024;

/**
 * Every socket reads into this one buffer: a read and the `data` call it leads to are one
 * synchronous step, so two sockets never need it at once, and 10,000 idle connections hold no
 * buffers. On Windows a read is posted with its buffer long before it completes, so there each
 * socket needs its own.
 */
const sharedReadBuffer = Buffer.allocUnsafeSlow(readBufferBytes);
const hasOwnBuffers = process.platform === 'win32';

export function readBuffer(): Buffer {
  return hasOwnBuffers ? Buffer.allocUnsafeSlow(readBufferBytes) : sharedReadBuffer;
}

/**
 * Where a long read is copied to be written, for the shared buffer is read into again; replaced when
 * the kernel did not take all of it. A copy of its own for each read is what the collector then pays.
 */
let copyBuffer = Buffer.allocUnsafeSlow(readBufferBytes);
/** Shorter reads get copies of their own: one that waits would keep all of the buffer. */
const sharedCopyBytesMin = readBufferBytes / 2;

function copyRead(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length < sharedCopyBytesMin || length > copyBuffer.length) return Buffer.from(bytes);
  copyBuffer.set(bytes);
  return length === copyBuffer.length ? copyBuffer : copyBuffer.subarray(0, length);
}

/** Where corked writes are gathered; replaced when the kernel did not take all of it. */
let gatherBuffer = Buffer.allocUnsafeSlow(gatherBufferBytes);
/** The socket whose corked bytes are in {@link gatherBuffer}; they never span two turns unflushed. */
let gatherOwner: NodeSocket<unknown> | null = null;
let gatheredBytes = 0;

/** The net.Socket's way back to ours. */
export interface Owned {
  onehop: NodeSocket<unknown>;
}

export class NodeSocket<State> implements Socket<State>, WriteWaiter {
  state: State;
  #net: NetSocket;
  readonly #handlers: SocketHandlers<State>;
  readonly #target: string;
  readonly #queueBytesMax: number;
  #tls: boolean;
  /** Wraps the plain socket when TLS is to begin. */
  readonly #secure: ((plain: NetSocket) => TLSSocket) | null;
  readonly #direct: boolean;
  /** Made by `connect`: an answer may come from a peer that takes no more. */
  readonly #dialed: boolean;
  /** Reads land here, from `#intoAt` on, instead of in the shared buffer; see `readInto`. */
  #into: Uint8Array | null = null;
  #intoAt = 0;
  /** The runtime was told of `#into`, and the next read fills it from `#intoAt` on. */
  #isPlaced = false;
  /** What the runtime was last told to read into; null before the first time. */
  #readTarget: Uint8Array | null = null;
  /** A read was told, and the runtime has not asked yet where the next one is to go. */
  #isBehindRead = false;
  #handle: StreamHandle | null = null;
  #opened = false;
  #paused = false;
  /** The runtime ended, or even closed, a paused socket: told after `resume`. */
  #endHeld = false;
  #closeHeld = false;
  /** Nothing can be written any more: ended, destroyed or failed. */
  #shut = false;
  /** To be half-closed once the queue is flushed. */
  #endWanted = false;
  #destroyed = false;
  #wantsDrain = false;
  #corked = false;
  #pendingWrites = 0;
  #remoteAddress = '';
  #error: unknown = null;
  /** A write failed, and what the peer said before is still to be read; see {@link #fail}. */
  #writeError: NodeJS.ErrnoException | null = null;
  #onWritten: ((error?: Error | null) => void) | null = null;

  constructor(
    net: NetSocket,
    handlers: SocketHandlers<State>,
    state: State,
    target: string,
    queueBytesMax: number,
    tls: boolean,
    direct: boolean,
    secure: ((plain: NetSocket) => TLSSocket) | null = null,
  ) {
    this.state = state;
    this.#net = net;
    this.#handlers = handlers;
    this.#target = target;
    this.#queueBytesMax = queueBytesMax;
    this.#tls = tls;
    this.#direct = direct;
    this.#secure = secure;
    this.#dialed = net.pending;
    this.#watch(net);
  }

  #watch(net: NetSocket): void {
    (net as unknown as Owned).onehop = this as NodeSocket<unknown>;
    net.on('end', onEnd);
    net.on('error', onError);
    net.on('close', onClose);
  }

  get queuedBytes(): number {
    const corked = gatherOwner === (this as unknown) ? gatheredBytes : 0;
    if (this.#handle !== null) {
      // A handle that the runtime has closed has no size any more.
      return corked + (this.#destroyed ? 0 : (this.#handle.writeQueueSize ?? 0));
    }
    return corked + this.#net.writableLength;
  }

  /** Reads share one buffer. */
  get keepsReads(): boolean {
    return false;
  }

  keepRead(): void {}

  get remoteAddress(): string {
    if (this.#remoteAddress === '') this.#remoteAddress = this.#net.remoteAddress ?? '';
    return this.#remoteAddress;
  }

  get alpnProtocol(): string {
    if (!this.#tls) return '';
    const { alpnProtocol } = this.#net as TLSSocket;
    return typeof alpnProtocol === 'string' ? alpnProtocol : '';
  }

  write(bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    if (this.#corked && this.#gather(bytes, start, end)) return WriteStatus.Flushed;
    return this.#send(bytes, start, end);
  }

  writeLatin1(text: string): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    if (this.#corked && this.#gatherText(text)) return WriteStatus.Flushed;
    const handle = this.#handle;
    if (handle === null && !this.#goDirect()) return this.#sendSlowly(text, text.length);
    if (this.#pendingWrites > 0 && this.#overflows(text.length)) return WriteStatus.Closed;
    const direct = this.#handle!;
    const request = makeRequest();
    const result = direct.writeLatin1String(request, text);
    return result === 0 && direct.writeQueueSize === 0
      ? WriteStatus.Flushed
      : this.#afterWrite(request, result, null);
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): WriteStatus {
    if (!this.#corked) return this.#status();
    this.#corked = false;
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.#flushGathered();
  }

  pause(): void {
    if (this.#paused || this.#destroyed) return;
    this.#paused = true;
    this.#net.pause();
  }

  resume(): void {
    if (!this.#paused || this.#destroyed) return;
    this.#paused = false;
    this.#net.resume();
    if (this.#endHeld) process.nextTick(onHeldEnd, this);
  }

  readInto(bytes: Uint8Array, start: number): boolean {
    // No target yet: accepted sockets, TLS and the documented path do not ask where to read to.
    if (this.#readTarget === null || hasOwnBuffers) return false;
    this.#into = start < bytes.length ? bytes : null;
    this.#intoAt = start;
    this.#isPlaced = false;
    return true;
  }

  startTls(): void {
    if (this.#shut || this.#tls || this.#secure === null) return;
    const plain = this.#net;
    plain.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
    this.#opened = false;
    this.#tls = true;
    this.#onWritten = null;
    try {
      const secured = this.#secure(plain);
      this.#net = secured;
      this.#watch(secured);
      // The runtime tells the plain socket of some failures only.
      plain.on('error', (error) => secured.destroy(error));
      secured.once('secureConnect', onOpen);
      secured.on('data', onData);
    } catch (error) {
      this.#watch(plain);
      plain.destroy(error as Error);
    }
  }

  end(): void {
    if (this.#shut) return;
    if (gatherOwner === (this as unknown)) this.#flushGathered();
    this.#shut = true;
    // A handle that waits to half-close behind a queue cannot be reset any more: see `destroy`.
    if (this.#pendingWrites > 0) this.#endWanted = true;
    else this.#net.end();
  }

  destroy(reset = false): void {
    if (this.#destroyed) return;
    this.#shut = true;
    this.#destroyed = true;
    if (gatherOwner === (this as unknown)) gatherOwner = null;
    if (this.#closeHeld) {
      process.nextTick(onHeldEnd, this);
      return;
    }
    if (reset && this.#canReset()) this.#net.resetAndDestroy();
    else this.#net.destroy();
  }

  /**
   * libuv refuses to reset a handle that is about to half-close, and the runtime then forgets the
   * handle: the descriptor stays open for good and `close` never comes. Nothing waits in our queue by
   * then (see `end`), so a plain close loses nothing either.
   */
  #canReset(): boolean {
    const net = this.#net;
    const isEnding = net.writableEnded && net.writableLength === 0 && !net.writableFinished;
    return this.#opened && !this.#tls && !isEnding && net.remotePort !== undefined;
  }

  ref(): void {
    this.#net.ref();
  }

  unref(): void {
    this.#net.unref();
  }

  // For the adapter only, from here on.

  onOpen(): void {
    if (this.#destroyed) return;
    this.#opened = true;
    this.#handlers.open(this);
  }

  onBytes(bytes: Uint8Array): void {
    if (!this.#destroyed) this.#handlers.data(this, bytes);
  }

  /** `target` was filled with so many bytes. */
  onRead(target: Uint8Array, bytesRead: number): void {
    this.#isBehindRead = true;
    if (this.#into !== null) {
      if (this.#isPlaced) this.#intoAt += bytesRead;
      // What came lies elsewhere; it is asked again within the call, or not at all.
      if (!this.#isPlaced || this.#intoAt >= this.#into.length) this.#into = null;
    }
    this.onBytes(target.subarray(0, bytesRead));
  }

  /**
   * Where to read to from now on; null for where the last read went. The runtime keeps no more of it
   * than an address, and reads there until it is told otherwise: so `#readTarget` holds the bytes, and
   * nobody may be given them before they are full (see `readInto`). It asks behind each read and for
   * each handle: a name with several addresses has one after the other, and one that is told "as
   * before" would read elsewhere and have us hand out what another connection left in the buffer.
   */
  nextReadTarget(): Uint8Array | null {
    const isBehindRead = this.#isBehindRead;
    this.#isBehindRead = false;
    const into = this.#into;
    // Bytes that were transferred away have no length any more, and a read of nothing fails.
    if (into !== null && this.#intoAt < into.length) {
      this.#readTarget = into.subarray(this.#intoAt);
      this.#isPlaced = true;
      return this.#readTarget;
    }
    this.#into = null;
    this.#isPlaced = false;
    const before = this.#readTarget;
    this.#readTarget = hasOwnBuffers && before !== null ? before : readBuffer();
    return isBehindRead && this.#readTarget === before ? null : this.#readTarget;
  }

  onEnd(): void {
    if (this.#destroyed) return;
    if (!this.#opened) {
      // Within the handshake: a failed connect, of which the runtime may have told already.
      this.#net.destroy(new Error('the peer closed within the TLS handshake'));
      return;
    }
    if (this.#paused) {
      this.#endHeld = true;
      return;
    }
    this.#endHeld = false;
    const error = this.#writeError;
    // EPIPE: there was a FIN. A reset without one may have cut short what was said.
    if (error === null || error.code === 'EPIPE') this.#handlers.end(this);
    if (error !== null && !this.#destroyed) this.#net.destroy(error);
  }

  onHeldEnd(): void {
    if (this.#endHeld) this.onEnd();
    if (!this.#closeHeld || (this.#paused && !this.#destroyed)) return;
    this.#closeHeld = false;
    this.onClose();
  }

  onError(error: unknown): void {
    this.#shut = true;
    if (!this.#destroyed) this.#error = error;
    this.#destroyed = true;
    // A TLS alert behind the handshake (a client certificate refused) leaves the socket open.
    this.#net.destroy();
  }

  onClose(): void {
    this.#shut = true;
    if (this.#endHeld && this.#paused && !this.#destroyed) {
      this.#closeHeld = true;
      return;
    }
    const wanted = this.#destroyed && this.#error === null;
    this.#destroyed = true;
    if (gatherOwner === (this as unknown)) gatherOwner = null;
    if (wanted || (this.#opened && this.#error === null)) this.#handlers.close(this, null);
    else if (this.#opened) this.#handlers.close(this, socketError(this.#error, this.#target));
    else this.#handlers.close(this, connectError(this.#error, this.#target, this.#tls));
  }

  onWriteComplete(status: number): void {
    this.#pendingWrites--;
    if (this.#destroyed) return;
    if (status < 0) this.#fail(status);
    else if (this.#pendingWrites === 0) {
      if (this.#endWanted) this.#net.end();
      this.#onFlushed();
    }
  }

  // Sending.

  #status(): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.#wantsDrain ? WriteStatus.Queued : WriteStatus.Flushed;
  }

  #send(bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (end <= start) return this.#status();
    let chunk = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
    // The read buffer is about to be read into again, so what might wait must be a copy.
    const isRead = bytes.buffer === sharedReadBuffer.buffer;
    if (this.#handle === null && !this.#goDirect()) {
      return this.#sendSlowly(isRead ? Buffer.from(chunk) : chunk, end - start);
    }
    if (this.#pendingWrites > 0 && this.#overflows(end - start)) return WriteStatus.Closed;
    if (isRead) chunk = copyRead(chunk);
    const direct = this.#handle!;
    const request = makeRequest();
    const result = direct.writeBuffer(request, chunk);
    if (result === 0 && direct.writeQueueSize === 0) return WriteStatus.Flushed;
    // The queue still reads from it.
    if (chunk.buffer === copyBuffer.buffer) copyBuffer = Buffer.allocUnsafeSlow(readBufferBytes);
    return this.#afterWrite(request, result, chunk);
  }

  /** Switches to writing on the handle once that is possible and no slower write is under way. */
  #goDirect(): boolean {
    if (!this.#direct || this.#tls || this.#net.writableLength > 0) return false;
    const handle = handleOf(this.#net);
    if (handle === null) return false;
    if (!knowsWrites()) {
      learnWrites(handle);
      return false;
    }
    this.#handle = handle;
    return true;
  }

  /** The write failed, or something is left over: of it, or of one before it. */
  #afterWrite(
    request: WriteRequest | null,
    result: number | WriteRequest,
    chunk: Uint8Array | null,
  ): WriteStatus {
    if (typeof result === 'number' && result !== 0) {
      this.#fail(result);
      return WriteStatus.Closed;
    }
    // Where requests are returned, none means that nothing of this write was left over. Where they
    // are given, a queue that is not empty has this write in it: behind another or by itself.
    if (result === 0 && request === null) return this.#status();
    claimRequest(request, result, this, chunk);
    this.#pendingWrites++;
    this.#wantsDrain = true;
    return WriteStatus.Queued;
  }

  /** The documented path: TLS, and the first write of the process. */
  #sendSlowly(chunk: Uint8Array | string, length: number): WriteStatus {
    const net = this.#net;
    if (net.writableLength > 0 && this.#overflows(length)) return WriteStatus.Closed;
    this.#onWritten ??= (error): void => {
      // Told a tick late: what was written on the handle since then may still wait.
      const isFlushed = net.writableLength === 0 && this.#pendingWrites === 0;
      if (!error && isFlushed && !this.#destroyed) this.#onFlushed();
    };
    net.write(chunk as string, 'latin1', this.#onWritten);
    if (this.#shut) return WriteStatus.Closed;
    if (net.writableLength === 0) return WriteStatus.Flushed;
    this.#wantsDrain = true;
    return WriteStatus.Queued;
  }

  #overflows(bytes: number): boolean {
    const queuedBytes = this.queuedBytes + bytes;
    if (queuedBytes <= this.#queueBytesMax) return false;
    this.#shut = true;
    this.#net.destroy(queueFullError(queuedBytes, this.#target));
    return true;
  }

  /**
   * A write failed. What a server said before it closed may be here unread: it is read first, and its
   * end, or the error of a read, then ends the socket.
   */
  #fail(status: number): void {
    this.#shut = true;
    const name = getSystemErrorName(status);
    const error = Object.assign(new Error(`write ${name}`), { code: name, syscall: 'write' });
    const isGone = name === 'EPIPE' || name === 'ECONNRESET';
    if (isGone && this.#dialed && (this.#endHeld || !this.#net.readableEnded)) {
      this.#writeError ??= error;
    } else this.#net.destroy(error);
  }

  #onFlushed(): void {
    if (!this.#wantsDrain) return;
    this.#wantsDrain = false;
    this.#handlers.drain(this);
  }

  /** False when the bytes are too big to be worth copying; what was gathered before is then sent. */
  #gather(bytes: Uint8Array, start: number, end: number): boolean {
    if (!this.#reserve(end - start)) return false;
    gatherBuffer.set(
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
      gatheredBytes,
    );
    gatheredBytes += end - start;
    return true;
  }

  #gatherText(text: string): boolean {
    if (!this.#reserve(text.length)) return false;
    gatherBuffer.write(text, gatheredBytes, text.length, 'latin1');
    gatheredBytes += text.length;
    return true;
  }

  #reserve(length: number): boolean {
    if (gatherOwner !== (this as unknown)) {
      gatherOwner?.flushForeign();
      gatherOwner = this as NodeSocket<unknown>;
      gatheredBytes = 0;
    }
    if (length > gatherBytesMax || gatheredBytes + length > gatherBuffer.length) {
      this.#flushGathered();
      if (length > gatherBytesMax) return false;
      gatherOwner = this as NodeSocket<unknown>;
    }
    return true;
  }

  /** Another socket needs the gather buffer: rare (two sockets corked at once), costs one write. */
  flushForeign(): void {
    this.#flushGathered();
  }

  #flushGathered(): WriteStatus {
    if (gatherOwner !== (this as unknown)) return this.#status();
    const bytes = gatheredBytes;
    gatherOwner = null;
    gatheredBytes = 0;
    const buffer = gatherBuffer;
    const status = this.#send(buffer, 0, bytes);
    // The kernel or the queue still reads from it.
    if (status === WriteStatus.Queued) gatherBuffer = Buffer.allocUnsafeSlow(gatherBufferBytes);
    return status;
  }
}

/**
 * A `data` callback with `this` as the runtime calls it: see `onread` in node:net. Where it throws, the
 * runtime does not ask where to read to: what comes next would land on bytes that were handed over. An
 * exception of our own code; nothing of this socket can be trusted any more.
 */
export function onRead(this: NetSocket, bytesRead: number, buffer: Uint8Array): boolean {
  const { onehop } = this as unknown as Owned;
  try {
    onehop.onRead(buffer, bytesRead);
  } catch (error) {
    onehop.onError(error);
    throw error;
  }
  return true;
}

export function onData(this: NetSocket, bytes: Uint8Array): void {
  const { onehop } = this as unknown as Owned;
  try {
    onehop.onBytes(bytes);
  } catch (error) {
    onehop.onError(error);
    throw error;
  }
}

export function onOpen(this: NetSocket): void {
  (this as unknown as Owned).onehop.onOpen();
}

function onEnd(this: NetSocket): void {
  (this as unknown as Owned).onehop.onEnd();
}

function onError(this: NetSocket, error: Error): void {
  (this as unknown as Owned).onehop.onError(error);
}

function onClose(this: NetSocket): void {
  (this as unknown as Owned).onehop.onClose();
}

function onHeldEnd(socket: { onHeldEnd(): void }): void {
  socket.onHeldEnd();
}
