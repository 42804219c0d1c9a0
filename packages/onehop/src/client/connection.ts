import {
  type ErrorCode,
  type LimitName,
  OnehopError,
  type Phase,
  RingQueue,
} from '../core/index.ts';
import {
  KnownField,
  parseErrorReason,
  Read,
  ResponseParser,
  responseErrorCode,
  responseErrorLimit,
} from '../http1/index.ts';
import { Place, type PoolMember } from '../pool/index.ts';
import { type Socket, type SocketHandlers, WriteStatus } from '../transport/index.ts';
import { Dial } from './dial.ts';
import { type Exchange, Stage, Upload } from './exchange.ts';
import { keepAliveTimeoutMs } from './keep-alive.ts';
import type { Origin } from './origin.ts';
import { ProxyConnect } from './proxy-connect.ts';
import { copiedBodyBytesMax, sendRequest, writeChunk, writeLastChunk } from './request-writer.ts';
import { Tunnel } from './tunnel.ts';

/**
 * The states of a connection. `Dialing` until a socket is open; `Open` with or
 * without an exchange; `Tunnel` after an upgrade; `Closed` for good. There is no way back.
 */
export const ConnectionState = {
  Dialing: 0,
  Open: 1,
  Tunnel: 2,
  Closed: 3,
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

/** One connection to an origin: at most one response is read at a time, in the order of requests. */
export class Connection implements PoolMember<Exchange> {
  readonly origin: Origin;
  state: ConnectionState = ConnectionState.Dialing;
  /** The address it goes to; null before it is decided, and for a Unix socket. */
  address: string | null = null;
  /** That is no address of its origin any more: what it has is its last. */
  leaving = false;
  socket: Socket<Connection> | null = null;
  /** The exchange whose response is being read or awaited. */
  current: Exchange | null = null;
  readonly #parser: ResponseParser;
  /** The last exchange on it ends it: the response said close, or something is in doubt. */
  last = false;

  // For the pool only.
  place: Place = Place.Opening;
  load = 0;
  uses = 0;
  openedAtMs = 0;
  idleSinceMs = 0;
  idleMaxMs = 0;
  openFor: Exchange | null = null;

  /** Exchanges behind the current one; exists only with pipelining. */
  #followers: RingQueue<Exchange> | null = null;
  #corked = false;
  /** The head was held back for the first piece of the body, and could not be written with it. */
  #headLost = false;
  #learned = false;
  readonly #dial: Dial;
  /** While and after the connection is made through a proxy. */
  #proxyConnect: ProxyConnect | null = null;
  #tunnel: Tunnel | null = null;

  constructor(origin: Origin, connectTimeoutMs: number) {
    this.origin = origin;
    this.#parser = new ResponseParser(origin.parserLimits);
    this.#dial = new Dial(this, connectTimeoutMs);
  }

  dial(): void {
    this.#dial.start();
  }

  /** The idle guard: see `PoolOwner.isReusable`. */
  get reusable(): boolean {
    return this.state === ConnectionState.Open && !this.last && !this.leaving;
  }

  /** Another request may be sent behind those under way. */
  get shareable(): boolean {
    return this.reusable && this.current?.shareable === true;
  }

  /**
   * The origin is at other addresses now: one that is dialled goes to them; an open one to none of
   * `wanted` takes no further exchange and closes when those it has are over.
   */
  follow(addresses: readonly string[], wanted: readonly string[]): void {
    if (this.state === ConnectionState.Dialing) this.#dial.redirect(addresses, wanted);
    else if (this.address !== null) this.leaving = !wanted.includes(this.address);
  }

  /** The dial begins anew: whatever a proxy had been asked is forgotten with its socket. */
  startAgain(): void {
    this.address = null;
    this.#proxyConnect = null;
  }

  // Requests.

  /** Sends the request of `exchange`. The connection is idle, or shared with exchanges before it. */
  start(exchange: Exchange): void {
    exchange.connection = this;
    exchange.stage = Stage.Sent;
    exchange.reused = this.uses > 1;
    const socket = this.socket!;
    if (this.current === null) {
      if (this.origin.idleUnref) socket.ref();
      this.#become(exchange);
    } else {
      this.#followers ??= new RingQueue<Exchange>();
      this.#followers.push(exchange);
    }
    if (this.origin.pipelining > 1 && !this.#corked) {
      this.#corked = true;
      socket.cork();
      this.origin.flushLater(this);
    }
    if (exchange.upload === Upload.Ready) this.#corked = true;
    const status = sendRequest(socket, exchange, this.#corked);
    if (status === WriteStatus.Closed) {
      this.#dieUnsent(exchange);
      return;
    }
    exchange.sent = true;
    if (exchange === this.current) exchange.armHead();
    else exchange.armTotal();
    if (exchange.upload === Upload.Streaming) {
      this.#headLost = false;
      this.#askForBody(exchange);
      if (this.state !== ConnectionState.Open || exchange.connection !== this) return;
      if (this.#corked) this.#releaseHead();
      // Behind more pieces it may have left with those before the one that failed.
      if (this.#headLost && exchange.piecesWritten < 2) this.#dieUnsent(exchange);
    }
  }

  /**
   * The head was held back so that head and first piece leave together. Whether it left must be known
   * apart from what follows: a body that fails behind it says nothing of the request being unseen.
   */
  #releaseHead(): void {
    this.#corked = false;
    if (this.socket!.uncork() === WriteStatus.Closed) this.#headLost = true;
  }

  /** Nothing left this machine: any request may be sent again. */
  #dieUnsent(exchange: Exchange): void {
    exchange.sent = false;
    this.#die(
      this.#fault('UPSTREAM_CLOSED', 'the connection was closed before the request', 'request'),
    );
  }

  /** May run within the end of another exchange, which a handler that throws must not cut short. */
  #askForBody(exchange: Exchange): void {
    try {
      exchange.handler.onDrain?.(exchange);
    } catch (error) {
      this.origin.exchangeThrew(exchange, error, 'onDrain of an exchange');
    }
  }

  /**
   * An event of the socket threw, by a callback of the current exchange or of the tunnel or by a bug:
   * what is on the connection fails, and the process lives.
   */
  onThrown(error: unknown, where: string): void {
    const { wheel } = this.origin;
    if (this.state === ConnectionState.Dialing) {
      this.#dial.failThrown(error, where);
      return;
    }
    wheel.report(error, where);
    try {
      // Whoever took the tunnel hears of it by `onClose`, which the socket brings.
      if (this.state === ConnectionState.Tunnel) this.socket!.destroy();
      else this.#die(this.#fault('INTERNAL', `it threw in ${where}`, 'body', error));
      if (this.state === ConnectionState.Closed) this.origin.connectionGone(this);
    } catch (again) {
      wheel.report(again, `the end of a connection after ${where}`);
    }
  }

  /** The close of its socket threw, behind which nothing comes. */
  onCloseThrew(error: unknown): void {
    if (this.state !== ConnectionState.Tunnel) {
      this.onThrown(error, 'the close of a connection');
      return;
    }
    this.origin.wheel.report(error, 'the close of a tunnel');
    this.#tunnelClosed(null);
  }

  /** End of the tick: what pipelined requests wrote leaves in one system call. */
  flush(): void {
    this.#corked = false;
    if (this.state === ConnectionState.Open) this.socket!.uncork();
  }

  #become(exchange: Exchange): void {
    this.current = exchange;
    const { method, upgrade } = exchange.request;
    this.#parser.begin(method === 'HEAD', method === 'CONNECT', upgrade !== undefined);
    if (exchange.paused && exchange.stage !== Stage.Done) this.socket!.pause();
  }

  writeBody(exchange: Exchange, bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (this.state !== ConnectionState.Open) return WriteStatus.Closed;
    if (end <= start)
      return this.socket!.queuedBytes > 0 ? WriteStatus.Queued : WriteStatus.Flushed;
    // Too long to be gathered with the head, which therefore leaves first in any case.
    if (this.#corked && end - start > copiedBodyBytesMax) {
      this.#releaseHead();
      if (this.#headLost) return WriteStatus.Closed;
    }
    return exchange.chunked
      ? writeChunk(this.socket!, bytes, start, end, this.#corked)
      : this.socket!.write(bytes, start, end);
  }

  endBody(exchange: Exchange, trailers: string): void {
    exchange.upload = Upload.Done;
    if (this.state === ConnectionState.Open && exchange.chunked) {
      writeLastChunk(this.socket!, trailers);
    }
  }

  pause(): void {
    this.socket?.pause();
  }

  resume(): void {
    this.socket?.resume();
  }

  // Events of the socket.

  onOpen(socket: Socket<Connection>): void {
    if (this.state !== ConnectionState.Dialing) {
      socket.destroy();
      return;
    }
    if (this.#proxyConnect === null) {
      if (!this.#dial.won(socket)) {
        socket.destroy();
        return;
      }
      if (this.origin.tunnels) {
        this.#proxyConnect = new ProxyConnect(this.origin, socket);
        const error = this.#proxyConnect.start(this.origin);
        if (error !== null) this.#dial.fail(error);
        return;
      }
    } else if (socket !== this.#proxyConnect.socket) {
      socket.destroy();
      return;
    }
    this.socket = socket;
    this.state = ConnectionState.Open;
    this.#dial.finish();
    this.origin.connectionOpened(this);
    if (this.current === null && this.origin.idleUnref) this.socket!.unref();
  }

  onData(socket: Socket<Connection>, bytes: Uint8Array): void {
    if (socket !== this.socket) {
      this.#onEarlyData(socket, bytes);
      return;
    }
    if (this.state === ConnectionState.Open) {
      const exchange = this.current;
      if (exchange === null || !exchange.sent) {
        // Bytes nobody asked for: the next response could not be told from them.
        this.#die(this.#fault('RESPONSE_INVALID', 'bytes arrived without a request', 'idle'));
        return;
      }
      this.#read(exchange, bytes);
    } else if (this.state === ConnectionState.Tunnel) {
      this.#tunnel?.handler?.onData(this.#tunnel, bytes);
    }
  }

  #onEarlyData(socket: Socket<Connection>, bytes: Uint8Array): void {
    if (this.state === ConnectionState.Dialing && socket === this.#proxyConnect?.socket) {
      const error = this.#proxyConnect.onData(bytes);
      if (error !== null) this.#dial.fail(error);
      return;
    }
    socket.destroy(); // speaks before it is chosen; a loser of the race or worse
  }

  #read(first: Exchange, bytes: Uint8Array): void {
    const parser = this.#parser;
    const end = bytes.length;
    let exchange = first;
    let at = 0;
    exchange.responseBytes += end;
    if (exchange.wantsChunks && this.#passChunks(exchange, bytes)) return;
    for (;;) {
      const what = parser.read(bytes, at, end);
      at = parser.position;
      switch (what) {
        case Read.NeedMore:
          if (exchange.stage === Stage.Body) exchange.armIdle();
          else if (exchange.stage === Stage.Head) exchange.armFirstByte();
          else return;
          exchange.handler.onReadEnd?.(exchange);
          return;
        case Read.Head:
          if (!this.#onHead(exchange, bytes, at, end)) return;
          break;
        case Read.Body:
          if (exchange.stage === Stage.Done) break; // given up; the connection is shared, so read on
          exchange.stage = Stage.Body;
          exchange.handler.onBody(exchange, bytes, parser.bodyStart, parser.bodyEnd);
          if (this.state !== ConnectionState.Open) return;
          break;
        case Read.End: {
          this.#finish(exchange, at < end);
          const next = this.current;
          if (next === null || at >= end || this.state !== ConnectionState.Open) return;
          if (next === exchange) return;
          exchange = next;
          exchange.responseBytes += end - at;
          break;
        }
        case Read.Interim:
          if (!this.#onInterim(exchange)) return;
          break;
        default:
          this.#die(
            this.#fault(
              responseErrorCode(parser.errorCode),
              parseErrorReason(parser.errorCode),
              exchange.stage >= Stage.Head ? 'body' : 'head',
              undefined,
              responseErrorLimit(parser.errorCode),
            ),
          );
          return;
      }
    }
  }

  /** Whole chunks and a handler that passes them on as they are: nothing is taken apart. */
  #passChunks(exchange: Exchange, bytes: Uint8Array): boolean {
    if (exchange.stage !== Stage.Body && exchange.stage !== Stage.Head) return false;
    const parser = this.#parser;
    const end = bytes.length;
    const dataBytes = parser.wholeChunks(bytes, 0, end);
    if (dataBytes < 0) return false;
    const nowMs = this.origin.nowMs();
    const { handler } = exchange;
    const lastStart = parser.bodyStart;
    if (!handler.onChunks!(exchange, bytes, 0, end, dataBytes, lastStart, nowMs)) return false;
    parser.takeChunks(dataBytes);
    if (exchange.done) return true;
    exchange.stage = Stage.Body;
    exchange.armIdle(nowMs);
    return true;
  }

  /** Hands the head over; false when the connection is not to be read on. */
  #onHead(exchange: Exchange, bytes: Uint8Array, at: number, end: number): boolean {
    const parser = this.#parser;
    const head = parser.head;
    if (!head.keepAlive) this.last = true;
    if (!this.#learned) {
      this.#learned = true;
      if (head.has(KnownField.KeepAlive)) this.#learnIdleTime(head.valueOf(KnownField.KeepAlive)!);
    }
    if (exchange.stage === Stage.Done) return true;
    if (head.status === 101 || (exchange.request.method === 'CONNECT' && head.status < 300)) {
      this.#upgrade(exchange, bytes, at, end);
      return false;
    }
    exchange.stage = Stage.Head;
    // RFC 9112 section 9.3: whoever refuses and closes does not want the rest of the body.
    if (!head.keepAlive && head.status >= 300) exchange.cutUpload();
    exchange.handler.onHead(exchange, head);
    return this.state === ConnectionState.Open;
  }

  #onInterim(exchange: Exchange): boolean {
    if (exchange.stage === Stage.Done) return true;
    if (this.#parser.head.status === 100) exchange.expects = false;
    exchange.handler.onInterim?.(exchange, this.#parser.head);
    return this.state === ConnectionState.Open;
  }

  /** The server keeps idle connections for so long: retire ours earlier. */
  #learnIdleTime(value: string): void {
    const ms = keepAliveTimeoutMs(value);
    if (ms < this.idleMaxMs) this.idleMaxMs = ms;
  }

  #upgrade(exchange: Exchange, bytes: Uint8Array, at: number, end: number): void {
    const wanted = exchange.request.upgrade !== undefined || exchange.request.method === 'CONNECT';
    const handler = exchange.handler;
    if (!wanted || handler.onUpgrade === undefined || this.#waitingBehind > 0) {
      this.#die(this.#fault('RESPONSE_INVALID', 'the server switched protocols unasked', 'head'));
      return;
    }
    this.state = ConnectionState.Tunnel;
    this.current = null;
    const tunnel = new Tunnel(this.socket!);
    this.#tunnel = tunnel;
    this.origin.exchangeUpgraded(exchange);
    try {
      handler.onUpgrade(exchange, this.#parser.head, tunnel, bytes, at, end);
    } catch (error) {
      this.socket!.destroy();
      this.origin.handlerThrew(exchange, error, 'onUpgrade of an exchange');
    }
  }

  get #waitingBehind(): number {
    return this.#followers === null ? 0 : this.#followers.length;
  }

  /**
   * The response is complete. The connection goes back to the pool only if nothing is in doubt: the
   * request is fully sent, the response allows reuse and nothing came behind it.
   */
  #finish(exchange: Exchange, more: boolean): void {
    const parser = this.#parser;
    const socket = this.socket!;
    const trailers = parser.trailers;
    if (trailers.count > 0 && exchange.stage !== Stage.Done) {
      exchange.handler.onTrailers?.(exchange, trailers);
      if (this.state !== ConnectionState.Open) return;
    }
    const next = this.#followers?.shift() ?? null;
    if (
      this.last ||
      exchange.upload !== Upload.Done ||
      (exchange.request.body !== null && socket.queuedBytes > 0) ||
      (more && (next === null || !next.sent))
    ) {
      this.current = null;
      if (next !== null) this.origin.stopPipelining();
      const rest = this.#takeFollowers(next);
      this.#close();
      this.origin.exchangeEnded(exchange);
      for (const follower of rest) this.origin.resendUnprocessed(follower);
      return;
    }
    if (exchange.paused) socket.resume();
    this.current = null;
    if (next !== null) {
      this.#become(next);
      if (next.stage !== Stage.Done) next.armHead();
      else if (!this.#isWanted()) {
        this.#close();
        this.origin.exchangeEnded(exchange);
        return;
      }
    } else if (this.origin.idleUnref) socket.unref();
    this.origin.connectionFree(this);
    this.origin.exchangeEnded(exchange);
  }

  /**
   * The current exchange was given up. Whether one behind it still waits; the first that does now
   * watches the clock for all.
   */
  #isWanted(): boolean {
    const followers = this.#followers;
    if (followers === null) return false;
    for (let i = 0; i < followers.length; i++) {
      const follower = followers.at(i)!;
      if (follower.stage === Stage.Done) continue;
      follower.armHead();
      return true;
    }
    return false;
  }

  #takeFollowers(next: Exchange | null): Exchange[] {
    const rest: Exchange[] = [];
    if (next !== null) rest.push(next);
    for (let e = this.#followers?.shift(); e !== undefined; e = this.#followers!.shift()) {
      rest.push(e);
    }
    return rest;
  }

  onDrain(): void {
    if (this.state === ConnectionState.Tunnel) {
      this.#tunnel?.handler?.onDrain?.(this.#tunnel);
      return;
    }
    const exchange = this.current;
    if (exchange !== null && exchange.upload === Upload.Streaming) {
      exchange.handler.onDrain?.(exchange);
    }
  }

  onEnd(socket: Socket<Connection>): void {
    if (socket !== this.socket) {
      socket.destroy();
      return;
    }
    if (this.state === ConnectionState.Tunnel) this.#tunnel?.handler?.onEnd(this.#tunnel);
    else this.#peerClosed(null);
  }

  onClose(socket: Socket<Connection>, error: OnehopError | null): void {
    if (this.state === ConnectionState.Dialing) {
      this.#dial.lost(socket, error);
      return;
    }
    if (socket !== this.socket) return;
    if (this.state === ConnectionState.Tunnel) {
      this.#tunnelClosed(error);
      return;
    }
    this.#peerClosed(error);
  }

  #tunnelClosed(error: OnehopError | null): void {
    this.state = ConnectionState.Closed;
    this.origin.connectionGone(this);
    this.#tunnel?.handler?.onClose(this.#tunnel, error);
  }

  /** The peer sends no more. A body that only the close delimits ends here (RFC 9112 section 6.3). */
  #peerClosed(error: OnehopError | null): void {
    if (this.state === ConnectionState.Closed) return;
    const exchange = this.current;
    if (exchange === null) {
      this.#close();
      return;
    }
    this.last = true;
    const what = error === null ? this.#parser.finish() : Read.Error;
    if (what === Read.End) {
      this.#finish(exchange, false);
      return;
    }
    const begun = exchange.responseBytes > 0;
    const code =
      error !== null ? 'UPSTREAM_RESET' : begun ? 'UPSTREAM_TRUNCATED' : 'UPSTREAM_CLOSED';
    const text =
      error !== null
        ? 'the connection was reset'
        : begun
          ? 'the connection closed before the response was complete'
          : 'the connection closed without a response';
    const phase = exchange.stage >= Stage.Head ? 'body' : 'head';
    this.#die(this.#fault(code, text, phase, error ?? undefined));
  }

  // Failure.

  #fault(
    code: ErrorCode,
    message: string,
    phase: Phase,
    cause?: unknown,
    limit?: LimitName,
  ): OnehopError {
    return new OnehopError(code, message, { phase, upstream: this.origin.name, limit, cause });
  }

  /** `exchange` is being failed by its owner: nothing of it may reach the next one. */
  abandon(exchange: Exchange): void {
    if (this.state === ConnectionState.Closed) return;
    if (exchange !== this.current && exchange.sent && exchange.stage === Stage.Done) {
      // Its response comes in its turn and is read past, if anyone still waits for one behind it.
      if (this.current?.stage === Stage.Done && !this.#isWanted()) this.#close();
      return;
    }
    this.current = null;
    const rest = this.#takeFollowers(null);
    this.#close();
    if (rest.length === 0) return;
    const error = this.#fault('UPSTREAM_CLOSED', 'an exchange before it was given up', 'head');
    for (const follower of rest) this.origin.resendUnanswered(follower, error);
  }

  /** The connection is unusable: everything on it fails or is sent again elsewhere. */
  #die(error: OnehopError): void {
    const exchange = this.current;
    this.current = null;
    const rest = this.#takeFollowers(null);
    if (rest.length > 0) this.origin.stopPipelining();
    this.#close(error);
    if (exchange !== null) this.origin.exchangeFailed(exchange, error);
    for (const follower of rest) this.origin.resendUnanswered(follower, error);
  }

  /** Drops the socket and the slot; exchanges have been taken care of, but for one it opens for. */
  #close(error: OnehopError | null = null): void {
    if (this.state === ConnectionState.Closed) return;
    this.state = ConnectionState.Closed;
    // Bytes that the peer does not take would keep the kernel waiting, and a FIN waits behind them.
    this.socket?.destroy(this.socket.queuedBytes > 0);
    this.origin.connectionGone(this, error);
  }

  /** Thrown away by the pool or the origin; no exchange is on it. */
  discard(): void {
    if (this.state === ConnectionState.Closed) return;
    const dialing = this.state === ConnectionState.Dialing;
    this.state = ConnectionState.Closed;
    if (dialing) this.#dial.cancel();
    else this.#dial.finish();
    this.socket?.destroy();
  }

  /** Fails whatever is on it; the origin is being destroyed. */
  destroy(code: ErrorCode, message: string): void {
    if (this.state === ConnectionState.Dialing) {
      this.discard();
      this.origin.connectionGone(this, this.#fault(code, message, 'close'));
      return;
    }
    // Whoever took the tunnel hears of it by `onClose`, which the socket brings.
    if (this.state === ConnectionState.Tunnel) this.socket!.destroy();
    else this.#die(this.#fault(code, message, 'close'));
  }

  dialFailed(error: OnehopError): void {
    if (this.state === ConnectionState.Closed) return;
    this.state = ConnectionState.Closed;
    this.socket?.destroy();
    this.origin.connectionGone(this, error);
  }
}

/** The handlers of every upstream socket; the state of a socket is its {@link Connection}. */
export const connectionHandlers: SocketHandlers<Connection> = {
  open(socket) {
    try {
      socket.state.onOpen(socket);
    } catch (error) {
      socket.state.onThrown(error, 'the opening of a connection');
    }
  },
  data(socket, bytes) {
    const connection = socket.state;
    const { wheel } = connection.origin;
    wheel.beginTurn();
    try {
      connection.onData(socket, bytes);
    } catch (error) {
      connection.onThrown(error, 'a read of a response');
    } finally {
      wheel.endTurn();
    }
  },
  drain(socket) {
    try {
      socket.state.onDrain();
    } catch (error) {
      socket.state.onThrown(error, 'the drain of a connection');
    }
  },
  end(socket) {
    try {
      socket.state.onEnd(socket);
    } catch (error) {
      socket.state.onThrown(error, 'the end of a connection');
    }
  },
  close(socket, error) {
    try {
      socket.state.onClose(socket, error);
    } catch (thrown) {
      socket.state.onCloseThrew(thrown);
    }
  },
};
