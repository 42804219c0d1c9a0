import { Deadline, type DeadlineOwner, OnehopError } from '../core/index.ts';
import {
  errorReplyOfStatus,
  errorReplyStatus,
  type ForeignHello,
  Framing,
  foreignHello,
  KnownField,
  parseErrorReason,
  Read,
  type RequestHead,
  RequestParser,
  requestErrorCode,
  requestErrorLimit,
  TargetForm,
} from '../http1/index.ts';
import { type Socket, WriteStatus } from '../transport/index.ts';
import { Exchange } from './exchange.ts';
import type { ServerCore } from './server.ts';
import type { TunnelHandler } from './types.ts';

/** The state machine of one downstream connection. Values from `Lingering` on parse nothing more. */
export const Phase = {
  /** No byte of the next request has arrived. */
  Idle: 0,
  /** Part of a request head has arrived. */
  Head: 1,
  /** The head was handed over; its body is arriving. */
  Body: 2,
  /** The request is complete, its response is not. */
  Waiting: 3,
  /** The response is complete; the rest of the request body is read and dropped. */
  Draining: 4,
  /** Half-closed by us; what still arrives is dropped, so that the caller can read our answer. */
  Lingering: 5,
  /** Handed over by `upgrade`. */
  Tunnel: 6,
  Closed: 7,
} as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

const noBytes = new Uint8Array(0);
/** A reset comes back within a round trip, whatever that is. */
const probeDelaysMs = [1, 4, 15, 50, 250, 1000];

/** How often it is looked whether a caller that is held up is still there. */
const stalledLookMs = 1000;

/** A caller that goes on sending behind its answer is given so many times `lingerTimeoutMs`. */
const lingerTimesMax = 30;

const readDeadline = 0;
const writeDeadline = 1;

/** One accepted socket. Everything here is for `server/` only; handlers see {@link Exchange}. */
export class Connection<State> implements DeadlineOwner {
  // What each write looks at comes first, side by side.
  readonly server: ServerCore<State>;
  socket: Socket<Connection<State>> | null = null;
  phase: Phase = Phase.Idle;
  /** The last write was queued; `drain` will follow. */
  writeBlocked = false;
  private writtenBytes = 0;

  readonly parser: RequestParser;
  exchange: Exchange<State> | null = null;
  tunnel: TunnelHandler<State> | null = null;
  requests = 0;
  /** Index in the server's list of open connections. */
  slot = -1;
  /** The address it is counted under; empty before it is counted. */
  countedAddress = '';
  /** It was answered with 503 or 429 at once and takes no place. */
  refused = false;
  /** The caller half-closed, behind everything that was received. */
  peerEnded = false;

  /** Bytes behind what was parsed: pipelined requests, or a body the handler does not want yet. */
  private held: Uint8Array | null = null;
  private heldStart = 0;
  /** {@link held} is a view of what the socket read, to be given back. */
  private heldIsRead = false;
  private consuming = false;
  private bodyPaused = false;
  private socketPaused = false;
  /** It was held up for long and may hold more than others. */
  private readsFurther = false;
  private closeAfter = false;
  private corked = false;
  private dropped = 0;
  /** Lingering: how much is dropped at most, how much was at the last look, and how many those were. */
  private lingerBytes = 0;
  private lookedBytes = 0;
  private lingered = 0;
  private bodyBytes = 0;
  private bodyStartMs = 0;
  /** How much of it the caller had taken when it was last looked at. */
  private takenBytes = 0;
  private readonly readDeadline: Deadline = new Deadline(this, readDeadline);
  private readonly writeDeadline: Deadline = new Deadline(this, writeDeadline);

  constructor(server: ServerCore<State>) {
    this.server = server;
    this.parser = new RequestParser(server.parserLimits);
  }

  // ---- Events of the socket -----------------------------------------------------------------

  opened(socket: Socket<Connection<State>>): void {
    this.socket = socket;
    this.parser.begin();
    this.server.wheel.arm(this.readDeadline, this.server.timeouts.firstRequestTimeoutMs);
  }

  received(bytes: Uint8Array): void {
    const length = bytes.length;
    this.server.counters.bytesIn += length;
    if (this.phase >= Phase.Lingering) {
      if (this.phase === Phase.Tunnel) this.receivedTunnel(bytes);
      else this.drop(length);
      return;
    }
    if (this.held !== null || this.isBlocked()) this.hold(bytes, 0);
    else this.consume(bytes, 0, false);
  }

  drained(): void {
    this.writeBlocked = false;
    this.server.wheel.disarm(this.writeDeadline);
    if (this.phase === Phase.Tunnel) this.tunnel!.drain(this.exchange!);
    else if (this.exchange !== null) this.server.callDrain(this.exchange);
    this.pump();
  }

  /** The caller half-closed: behind everything it sent, held bytes included. */
  ended(): void {
    this.peerEnded = true;
    switch (this.phase) {
      case Phase.Idle:
        if (this.held === null) this.closeGracefully();
        break;
      case Phase.Head:
        if (this.held === null) this.finishInput();
        break;
      case Phase.Draining:
        this.finishInput();
        break;
      case Phase.Body:
        // What is held back may complete the body.
        if ((this.held === null && !this.bodyPaused) || !this.holdsRest()) this.finishInput();
        else if (!this.mayBeHalfClosed()) this.abandon();
        break;
      case Phase.Waiting:
        if (!this.mayBeHalfClosed()) this.abandon();
        else if (this.held === null) this.closeAfter = true;
        break;
      case Phase.Lingering:
        // Both sides are through once our last bytes are out.
        if (this.socket!.queuedBytes === 0) this.destroy(false);
        break;
      case Phase.Tunnel:
        this.tunnel!.end(this.exchange!);
        break;
      case Phase.Closed:
        break;
    }
  }

  closed(error: OnehopError | null): void {
    const exchange = this.exchange;
    this.phase = Phase.Closed;
    this.held = null;
    this.readNoFurther();
    this.server.wheel.disarm(this.readDeadline);
    this.server.wheel.disarm(this.writeDeadline);
    this.server.forget(this);
    if (exchange !== null) {
      this.endExchange(
        exchange,
        exchange.responseEnded && this.tunnel !== null && error === null
          ? null
          : new OnehopError('ABORTED', 'the caller closed the connection', {
              phase: 'close',
              cause: error ?? undefined,
            }),
      );
    }
  }

  onDeadlineThrew(_kind: number, error: unknown): void {
    this.threw(error);
  }

  /** One bad peer or one bug in a handler must not end the process: only this connection. */
  threw(error: unknown): void {
    const { server, exchange } = this;
    server.report(error, exchange);
    try {
      this.destroy(false);
    } catch (again) {
      server.report(again, exchange);
    }
  }

  /** The close of its socket threw, behind which nothing comes. */
  closeThrew(error: unknown): void {
    this.server.report(error, this.exchange);
    try {
      this.closed(null);
    } catch (again) {
      this.server.report(again, this.exchange);
      this.server.forget(this);
    }
  }

  onDeadline(kind: number): void {
    if (kind === writeDeadline) this.writeStalled();
    else this.readLate();
  }

  // ---- Reading ------------------------------------------------------------------------------

  private isBlocked(): boolean {
    return (
      this.phase === Phase.Waiting ||
      this.bodyPaused ||
      // Answers nobody reads must not pile up: no next request before they are gone.
      (this.writeBlocked && this.phase <= Phase.Head)
    );
  }

  /** Parses from `start` on until the bytes are used up or something must happen first. */
  private consume(bytes: Uint8Array, start: number, owned: boolean): void {
    const parser = this.parser;
    const end = bytes.length;
    let at = start;
    this.consuming = true;
    try {
      for (;;) {
        const read = parser.read(bytes, at, end);
        at = parser.position;
        if (read === Read.Head) this.onHead(at < end);
        else if (read === Read.Body) this.onBody(bytes);
        else if (read === Read.End) this.onRequestEnd();
        else if (read === Read.Error) this.failParse(parser.errorCode, bytes);
        else {
          this.onPartial();
          break;
        }
        if (this.phase >= Phase.Lingering) {
          // When lingering, what is here already is not worth counting.
          if (this.phase === Phase.Tunnel) this.keep(bytes, at, owned);
          break;
        }
        if (this.isBlocked()) {
          this.keep(bytes, at, owned);
          break;
        }
        if (at === end && read === Read.End) break;
      }
    } catch (error) {
      this.server.report(error, this.exchange);
      this.failInternal();
    } finally {
      this.consuming = false;
    }
    this.afterConsume();
  }

  /** What had to wait until no parser loop is on the stack. */
  private afterConsume(): void {
    if (this.corked) {
      this.corked = false;
      if (this.phase !== Phase.Closed) this.wrote(this.socket!.uncork());
    }
    if (this.phase === Phase.Tunnel && this.held !== null) this.releaseToTunnel();
    if (this.peerEnded && this.held === null && this.phase < Phase.Lingering) {
      if (this.phase === Phase.Waiting) this.closeAfter = true;
      else if (this.phase === Phase.Idle) this.closeGracefully();
      // Held up at its last byte, a whole request only has to be told so.
      else if (!this.bodyPaused || !this.holdsRest()) this.finishInput();
    }
  }

  private onHead(more: boolean): void {
    const parser = this.parser;
    const head = parser.head;
    this.requests++;
    this.server.counters.requests++;
    this.server.counters.exchangesOpen++;
    this.phase = Phase.Body;
    this.bodyBytes = 0;
    this.closeAfter = !head.keepAlive || asksForTunnel(head);
    const exchange = new Exchange<State>(this, head);
    this.exchange = exchange;
    if (head.framing !== Framing.None) {
      this.armBody();
      // It does not wait: the body is here.
      if (more) exchange.continueNeeded = false;
    } else if (more && !this.corked) {
      // Another request is behind this one: their answers leave in one write.
      this.corked = true;
      this.socket!.cork();
    }
    this.server.handler.onRequest(exchange);
    exchange.headReadable = false;
    if (
      exchange.continueNeeded &&
      this.server.autoContinue &&
      this.exchange === exchange &&
      !exchange.responseStarted
    ) {
      exchange.sendContinue();
    }
  }

  /** The caller was asked for its body: its time begins now. */
  bodyAsked(): void {
    if (this.phase === Phase.Body && !this.bodyPaused) this.armBody();
  }

  private armBody(): void {
    const { wheel, timeouts } = this.server;
    this.bodyStartMs = wheel.turnMs();
    wheel.arm(this.readDeadline, timeouts.requestBodyGapTimeoutMs);
  }

  private onBody(bytes: Uint8Array): void {
    const { bodyStart, bodyEnd } = this.parser;
    const length = bodyEnd - bodyStart;
    const exchange = this.exchange;
    this.bodyBytes += length;
    if (exchange === null) {
      this.dropped += length;
      if (this.dropped > this.server.limits.lingerBytesMax) this.closeGracefully();
      return;
    }
    exchange.requestBytes += length;
    exchange.continueNeeded = false;
    this.server.handler.onBody?.(exchange, bytes, bodyStart, bodyEnd);
  }

  private onRequestEnd(): void {
    const exchange = this.exchange;
    if (exchange === null) {
      this.nextRequest(); // the unwanted body is through
      return;
    }
    this.phase = Phase.Waiting;
    if (this.socketPaused) this.armLook();
    exchange.requestEnded = true;
    if (!exchange.responseEnded) this.server.handler.onEnd?.(exchange);
    if (this.exchange === exchange && exchange.responseEnded && this.phase === Phase.Waiting) {
      this.exchangeDone(exchange);
    }
  }

  /** Everything was taken and more is needed. */
  private onPartial(): void {
    const { wheel, timeouts } = this.server;
    if (this.phase === Phase.Idle) {
      if (!this.parser.inHead) return;
      this.phase = Phase.Head;
      // Absolute: the bytes that follow do not move it.
      wheel.disarm(this.readDeadline);
      wheel.arm(this.readDeadline, timeouts.requestHeadTimeoutMs);
    } else if (this.phase === Phase.Body && !this.bodyPaused) {
      const elapsedMs = wheel.turnMs() - this.bodyStartMs;
      if (
        elapsedMs > timeouts.requestBodyGraceMs &&
        this.bodyBytes * 1000 < timeouts.requestBodyBytesPerSecondMin * elapsedMs
      ) {
        this.fail(
          408,
          new OnehopError('REQUEST_TIMEOUT', 'the request body comes too slowly', {
            phase: 'request',
            limit: 'requestBodyBytesPerSecondMin',
          }),
        );
      } else {
        wheel.arm(this.readDeadline, timeouts.requestBodyGapTimeoutMs);
      }
    }
  }

  /** Keeps what is left of `bytes` for later; copies unless they are ours already. */
  private keep(bytes: Uint8Array, at: number, owned: boolean): void {
    if (at >= bytes.length) return;
    if (owned) {
      this.held = bytes;
      this.heldStart = at;
    } else {
      this.hold(bytes, at);
    }
  }

  private hold(bytes: Uint8Array, from: number): void {
    const extra = bytes.length - from;
    if (extra === 0) return;
    const old = this.held;
    const added = from === 0 ? bytes : bytes.subarray(from);
    if (old !== null) {
      const oldLength = old.length - this.heldStart;
      // In place only in our own memory: a read is given back below, and what is behind its bytes with it.
      const inPlace = !this.heldIsRead;
      const joined = withRoom(old, this.heldStart, oldLength + extra, inPlace);
      joined.set(added, oldLength);
      this.held = joined;
      this.giveBack(old);
    } else if (
      this.socket!.keepsReads &&
      // A tunnel may take it within the call that brought it, when it cannot be given back yet.
      this.phase !== Phase.Tunnel &&
      extra >= keptReadBytesMin &&
      extra >= bytes.length - extra
    ) {
      this.socket!.keepRead();
      this.heldIsRead = true;
      this.held = added;
    } else {
      // Not `bytes.slice`: what Node lends is a Buffer, whose slice is no copy.
      this.held = new Uint8Array(extra);
      this.held.set(added);
    }
    this.heldStart = 0;
    const { readAheadBytesMax, stalledReadAheadBytesMax } = this.server.limits;
    const heldMax = this.readsFurther ? stalledReadAheadBytesMax : readAheadBytesMax;
    if (!this.socketPaused && this.held.length >= heldMax) {
      this.socketPaused = true;
      this.socket!.pause();
      if (this.bodyPaused || this.phase === Phase.Waiting) this.armLook();
    }
  }

  /** Goes on with held bytes once nothing blocks. */
  pump(): void {
    if (this.consuming) return;
    while (this.held !== null && this.phase < Phase.Lingering && !this.isBlocked()) {
      const bytes = this.held;
      const start = bytes === noBytes ? 0 : this.heldStart;
      this.held = null;
      this.consume(bytes, start, true);
      if (this.held !== bytes) this.giveBack(bytes);
    }
    if (this.held === null) {
      this.readNoFurther();
      if (this.socketPaused && this.phase !== Phase.Closed) {
        this.socketPaused = false;
        this.socket!.resume();
      }
    }
  }

  /** What was held is used up, or copied elsewhere. */
  private giveBack(bytes: Uint8Array): void {
    if (!this.heldIsRead) return;
    this.heldIsRead = false;
    this.server.dropReads([bytes]);
  }

  private armLook(): void {
    this.server.wheel.arm(this.readDeadline, stalledLookMs);
  }

  /**
   * Whether a caller is still there whose socket has not been read for a while, because the handler
   * takes no more of it (design rule 1). Of its reset some runtimes tell a paused socket only when
   * it is written to; nothing is enough. Its FIN stands behind its bytes, and those may fill the
   * window: only reading them tells, so that much more is read, of so many callers at a time.
   */
  private lookForCaller(): void {
    if (!this.socketPaused) return;
    const { server } = this;
    const socket = this.socket!;
    if (socket.queuedBytes === 0 && socket.writeLatin1('') === WriteStatus.Closed) return;
    const { stalledReadAheadBytesMax, stalledReadersMax } = server.limits;
    const heldBytes = this.held === null ? 0 : this.held.length - this.heldStart;
    if (
      this.readsFurther ||
      this.phase === Phase.Tunnel ||
      heldBytes >= stalledReadAheadBytesMax ||
      server.stalledReaders >= stalledReadersMax
    ) {
      this.armLook();
      return;
    }
    this.readsFurther = true;
    server.stalledReaders++;
    this.socketPaused = false;
    socket.resume();
  }

  private readNoFurther(): void {
    if (!this.readsFurther) return;
    this.readsFurther = false;
    this.server.stalledReaders--;
  }

  pauseBody(): void {
    // Once the request is complete there is nothing to hold up but the next one, which is not ours.
    if (this.bodyPaused || this.phase === Phase.Closed || this.phase === Phase.Waiting) return;
    this.bodyPaused = true;
    this.server.wheel.disarm(this.readDeadline);
    if (this.phase === Phase.Tunnel) {
      this.socketPaused = true;
      this.socket!.pause();
    }
    if (this.socketPaused) this.armLook();
  }

  resumeBody(): void {
    if (!this.bodyPaused) return;
    this.bodyPaused = false;
    if (this.phase === Phase.Body) {
      // The time the handler took is not the caller's slowness.
      this.bodyBytes = 0;
      this.armBody();
    }
    if (this.phase === Phase.Tunnel) {
      if (!this.consuming) this.releaseToTunnel();
      if (this.socketPaused && !this.bodyPaused) {
        this.socketPaused = false;
        this.socket?.resume();
      }
    } else {
      if (this.phase === Phase.Body) this.askForEnd();
      this.pump();
    }
  }

  /** The end of a body needs no further byte, but the parser was not asked for it while paused. */
  private askForEnd(): void {
    if (this.held === null && !this.consuming) this.held = noBytes;
  }

  /** Whether the rest of the request is among the bytes that are held back. */
  private holdsRest(): boolean {
    const held = this.held ?? noBytes;
    return this.parser.endsWithin(held, held === noBytes ? 0 : this.heldStart, held.length);
  }

  /** Whether a caller that half-closed behind a whole request may still await its response. */
  private mayBeHalfClosed(): boolean {
    const { allowHalfOpen } = this.server;
    return allowHalfOpen === true || (allowHalfOpen === 'probe' && this.probeHalfClose());
  }

  /**
   * A FIN while a response is awaited is a half-close (RFC 9112 section 9.6) or a caller that is
   * gone; only writing tells. An unasked 100 is harmless to a caller that still reads (RFC 9110
   * section 15.2.1); of one that is gone the kernel answers with a reset, which aborts the exchange.
   * Where a runtime no longer reads behind a FIN, the reset shows at the next probe. False when no
   * interim response may be sent: then the caller counts as gone.
   */
  private probeHalfClose(attempt = 0): boolean {
    const exchange = this.exchange;
    if (exchange === null || exchange.responseStarted || exchange.versionMinor === 0) return false;
    if (exchange.sendInterim(100) === WriteStatus.Closed) return false;
    const delayMs = probeDelaysMs[attempt];
    if (delayMs !== undefined) {
      const again = (): void => {
        // A write that finds the reset closes the socket, and that ends the exchange.
        if (this.exchange === exchange) this.probeHalfClose(attempt + 1);
      };
      this.server.wheel.setTimer('a probe of a half-closed caller', again, delayMs, () =>
        this.destroy(false),
      );
    }
    return true;
  }

  /** The caller will send nothing more; says so to the parser. */
  private finishInput(): void {
    if (this.parser.finish() === Read.Error) this.failParse(this.parser.errorCode);
    else if (this.exchange === null) this.closeGracefully();
    else this.abandon();
  }

  private drop(length: number): void {
    this.dropped += length;
    if (this.dropped > this.lingerBytes) this.destroy(false);
  }

  /**
   * What may still come of the request under way: no more than its route would have taken. A caller that
   * sends before it reads loses its answer to a reset, so the rest of its body is waited for, dropped.
   */
  private get restBytes(): number {
    if (this.phase !== Phase.Body && this.phase !== Phase.Draining) return 0;
    const { head, bodyBytesMax } = this.parser;
    if (head.framing === Framing.None) return 0;
    const whole = head.framing === Framing.Length ? head.contentLength : bodyBytesMax;
    return Math.min(whole, bodyBytesMax);
  }

  // ---- Upgraded connections -----------------------------------------------------------------

  enterTunnel(tunnel: TunnelHandler<State>): void {
    this.tunnel = tunnel;
    this.phase = Phase.Tunnel;
    this.server.wheel.disarm(this.readDeadline);
    if (!this.consuming) this.releaseToTunnel();
  }

  endTunnel(exchange: Exchange<State>): void {
    this.endExchange(exchange, null);
    this.closeGracefully();
  }

  private receivedTunnel(bytes: Uint8Array): void {
    if (this.held !== null || this.bodyPaused) this.hold(bytes, 0);
    else this.tunnel!.data(this.exchange!, bytes, 0, bytes.length);
  }

  private releaseToTunnel(): void {
    const bytes = this.held;
    if (bytes === null || this.bodyPaused) return;
    this.held = null;
    this.readNoFurther();
    this.tunnel!.data(this.exchange!, bytes, this.heldStart, bytes.length);
    if (this.held !== bytes) this.giveBack(bytes);
    if (this.socketPaused && !this.bodyPaused && this.held === null) {
      this.socketPaused = false;
      this.socket?.resume();
    }
  }

  // ---- Ending exchanges ---------------------------------------------------------------------

  /**
   * Whether the connection can serve another request after a response whose head is written now.
   * `complete` says that the whole response is at hand.
   */
  mayKeepAlive(exchange: Exchange<State>, complete: boolean): boolean {
    if (
      this.closeAfter ||
      this.server.closing ||
      this.requests >= this.server.limits.requestsPerConnectionMax
    ) {
      return false;
    }
    if (exchange.requestEnded || this.phase !== Phase.Body) return true;
    const head = this.parser.head;
    if (head.framing === Framing.None) return true;
    // A caller that still waits for 100 may or may not send its body: only closing is clear.
    if (exchange.continueNeeded) return false;
    // Who answers before the body is through will not read the rest of it.
    return (
      !complete ||
      (head.framing === Framing.Length &&
        head.contentLength - exchange.requestBytes <= this.server.limits.lingerBytesMax)
    );
  }

  get closesAfter(): boolean {
    return this.closeAfter;
  }

  setCloseAfter(): void {
    this.closeAfter = true;
  }

  /** The response is complete. */
  responseDone(exchange: Exchange<State>): void {
    // Within the parser loop `End` comes next by itself, at once for a request without a body.
    if (exchange.requestEnded) this.exchangeDone(exchange);
    else if (!this.consuming || this.parser.head.framing !== Framing.None) this.dropBody(exchange);
    else this.bodyPaused = false;
  }

  /** Answered before the request was complete: drop a bounded rest, or close. */
  private dropBody(exchange: Exchange<State>): void {
    const wasPaused = this.bodyPaused;
    this.bodyPaused = false;
    this.phase = Phase.Draining;
    this.dropped = 0;
    this.endExchange(exchange, null);
    if (this.closeAfter || exchange.continueNeeded) {
      this.closeGracefully();
      return;
    }
    this.server.wheel.disarm(this.readDeadline);
    this.server.wheel.arm(this.readDeadline, this.server.timeouts.lingerTimeoutMs);
    if (wasPaused) {
      this.askForEnd();
      this.pump();
    }
  }

  private exchangeDone(exchange: Exchange<State>): void {
    this.endExchange(exchange, null);
    if (this.phase === Phase.Waiting) this.nextRequest();
  }

  private nextRequest(): void {
    if (this.closeAfter) {
      this.closeGracefully();
      return;
    }
    const { wheel, timeouts, closing, closingIdleMs } = this.server;
    this.phase = Phase.Idle;
    this.parser.begin();
    wheel.arm(this.readDeadline, closing ? closingIdleMs : timeouts.keepAliveTimeoutMs);
    if (!this.consuming) this.pump();
  }

  /** The one place where an exchange ends. */
  private endExchange(exchange: Exchange<State>, error: OnehopError | null): void {
    if (exchange.finished) return;
    exchange.finished = true;
    if (this.exchange === exchange) this.exchange = null;
    const { counters } = this.server;
    counters.exchangesOpen--;
    if (error !== null) counters.aborts++;
    this.server.callFinish(exchange, error);
  }

  // ---- Failing and closing ------------------------------------------------------------------

  /** `bytes`: the read that the parser refused. */
  private failParse(code: number, bytes: Uint8Array = noBytes): void {
    if (this.phase === Phase.Draining) {
      this.closeGracefully();
      return;
    }
    const foreign = this.requests === 0 ? this.foreignHello(code, bytes) : null;
    const error = new OnehopError(
      requestErrorCode(code),
      foreign === null ? parseErrorReason(code) : foreign.reason,
      { phase: 'request', limit: requestErrorLimit(code) },
    );
    this.fail(errorReplyStatus(code), error, foreign === null ? null : foreign.reply);
  }

  private foreignHello(code: number, bytes: Uint8Array): ForeignHello | null {
    const { parser } = this;
    return foreignHello(code, parser.head, parser.requestLine(), bytes, parser.position);
  }

  private failInternal(): void {
    if (this.phase >= Phase.Lingering) this.destroy(false);
    else this.fail(500, new OnehopError('INTERNAL', 'a handler of the server failed'));
  }

  /** Ends the exchange badly; answers with a prepared reply when nothing was sent for it yet. */
  private fail(status: number, error: OnehopError, ownReply: Uint8Array | null = null): void {
    const exchange = this.exchange;
    const answered = exchange?.responseStarted ?? false;
    this.server.counters.protocolErrors++;
    if (exchange === null) this.server.refused(this, status, error);
    else {
      // Whoever hears of its end is to know what the caller was told.
      if (!answered) exchange.status = status;
      this.endExchange(exchange, error);
    }
    if (this.phase === Phase.Closed) return;
    if (answered) {
      // Answers to earlier requests may still be gathered with what was written of this one.
      this.uncork();
      if (exchange!.responseEnded && this.tunnel === null) this.closeGracefully();
      else this.destroy(false);
      return;
    }
    const reply = ownReply ?? errorReplyOfStatus(status);
    this.write(reply, 0, reply.length);
    this.closeGracefully();
  }

  /** The caller is gone, or its exchange is to be cut off. */
  private abandon(): void {
    this.destroy(false);
  }

  /** Cuts the connection: queued bytes are lost, the exchange ends by `onAbort`. */
  destroy(reset: boolean): void {
    if (this.phase === Phase.Closed) return;
    const exchange = this.exchange;
    this.phase = Phase.Closed;
    this.held = null;
    this.socket!.destroy(reset);
    if (exchange !== null) {
      this.endExchange(exchange, new OnehopError('ABORTED', 'the caller closed the connection'));
    }
  }

  /** The handler gives up on a response it has begun: the caller must see that it is cut short. */
  cut(exchange: Exchange<State>, error: OnehopError): void {
    this.endExchange(exchange, error);
    this.destroy(true);
  }

  /** The same, but what was written is still delivered. */
  truncate(exchange: Exchange<State>, error: OnehopError): void {
    this.endExchange(exchange, error);
    this.uncork();
    // A tunnel or a body that only the end of the connection delimits would look complete.
    if (this.phase === Phase.Tunnel || exchange.endsByClose) this.destroy(true);
    else this.closeGracefully();
  }

  uncork(): WriteStatus {
    if (this.phase === Phase.Closed) return WriteStatus.Closed;
    return this.wrote(this.socket!.uncork());
  }

  /** Half-closes behind everything written and waits a while for the caller to do the same. */
  closeGracefully(): void {
    if (this.phase >= Phase.Lingering && this.phase !== Phase.Tunnel) return;
    this.lingerBytes = this.server.limits.lingerBytesMax + this.restBytes;
    this.phase = Phase.Lingering;
    this.held = null;
    this.bodyPaused = false;
    this.dropped = 0;
    this.lingered = 0;
    this.lookedBytes = 0;
    const socket = this.socket!;
    socket.end();
    if (this.peerEnded && socket.queuedBytes === 0) {
      this.destroy(false);
      return;
    }
    if (this.socketPaused) {
      this.socketPaused = false;
      socket.resume();
    }
    this.server.wheel.disarm(this.readDeadline);
    this.server.wheel.arm(this.readDeadline, this.server.timeouts.lingerTimeoutMs);
  }

  /** Whether the request under way may be answered with 101. */
  get offersUpgrade(): boolean {
    return this.parser.head.upgrade;
  }

  /** Server shutdown: what is idle now is given `closingIdleMs`. */
  closeSoonIfIdle(): void {
    if (this.phase !== Phase.Idle || this.held !== null) return;
    this.server.wheel.arm(this.readDeadline, this.server.closingIdleMs);
  }

  /** Closes if nothing is under way. */
  closeIfIdle(): void {
    if (this.phase === Phase.Idle && this.held === null) this.closeGracefully();
  }

  private readLate(): void {
    if (this.bodyPaused || this.phase === Phase.Waiting) {
      this.lookForCaller();
      return;
    }
    switch (this.phase) {
      case Phase.Idle:
        this.server.closeUnlessRead(this);
        break;
      case Phase.Head:
        this.fail(
          408,
          new OnehopError('REQUEST_TIMEOUT', 'the request head is incomplete', {
            phase: 'request',
            limit: 'requestHeadTimeoutMs',
          }),
        );
        break;
      case Phase.Body:
        if (this.exchange?.continueNeeded === true) {
          // It waits for us.
          this.armBody();
          break;
        }
        this.fail(
          408,
          new OnehopError('REQUEST_TIMEOUT', 'the request body stopped', {
            phase: 'request',
            limit: 'requestBodyGapTimeoutMs',
          }),
        );
        break;
      case Phase.Lingering:
        // Our own answer may still be on its way to a slow reader: the write deadline judges that.
        if (this.socket!.queuedBytes > 0 && this.writeDeadline.armed) {
          this.server.wheel.arm(this.readDeadline, this.server.timeouts.lingerTimeoutMs);
        } else if (this.dropped > this.lookedBytes && ++this.lingered < lingerTimesMax) {
          // A caller that is still sending has not read it yet.
          this.lookedBytes = this.dropped;
          this.server.wheel.arm(this.readDeadline, this.server.timeouts.lingerTimeoutMs);
        } else {
          this.destroy(false);
        }
        break;
      case Phase.Draining:
        this.closeGracefully();
        break;
      default:
        break;
    }
  }

  // ---- Writing ------------------------------------------------------------------------------

  write(bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (this.phase === Phase.Closed) return WriteStatus.Closed;
    this.server.counters.bytesOut += end - start;
    this.writtenBytes += end - start;
    return this.wrote(this.socket!.write(bytes, start, end));
  }

  writeLatin1(text: string): WriteStatus {
    if (this.phase === Phase.Closed) return WriteStatus.Closed;
    this.server.counters.bytesOut += text.length;
    this.writtenBytes += text.length;
    return this.wrote(this.socket!.writeLatin1(text));
  }

  wrote(status: WriteStatus): WriteStatus {
    if (status === WriteStatus.Queued && !this.writeBlocked) {
      this.writeBlocked = true;
      this.takenBytes = this.writtenBytes - this.socket!.queuedBytes;
      this.server.wheel.arm(this.writeDeadline, this.server.timeouts.writeStallTimeoutMs);
    }
    return status;
  }

  private writeStalled(): void {
    if (this.phase === Phase.Closed || !this.writeBlocked) return;
    const takenBytes = this.writtenBytes - this.socket!.queuedBytes;
    if (takenBytes > this.takenBytes) {
      this.takenBytes = takenBytes;
      this.server.wheel.arm(this.writeDeadline, this.server.timeouts.writeStallTimeoutMs);
      return;
    }
    const exchange = this.exchange;
    if (exchange !== null) {
      const limit = 'writeStallTimeoutMs';
      this.endExchange(
        exchange,
        new OnehopError('ABORTED', 'the caller stopped reading', { limit }),
      );
    }
    this.destroy(true);
  }
}

/**
 * Whether a request is the last of its connection unless it gets a tunnel. Who asks for one may send
 * bytes for it before the answer (RFC 9298 section 5 says that it may): behind a refusal they would be
 * read as requests. WebSocket and the upgrades that stay HTTP forbid that (RFC
 * 9110 section 7.8), so that what follows those is HTTP and an offer that is ignored changes nothing.
 */
function asksForTunnel(head: RequestHead): boolean {
  if (head.targetForm === TargetForm.Authority) return true;
  if (!head.has(KnownField.Upgrade)) return false;
  const offers = head.valueOf(KnownField.Upgrade)!.toLowerCase().split(',');
  return !offers.every((offer) => harmlessOffers.some((name) => offer.trim().startsWith(name)));
}

const harmlessOffers = ['websocket', 'h2c', 'http/', 'tls/'];

/** Shorter reads are copied where they have to wait. */
const keptReadBytesMin = 16 * 1024;

/** Room for so many more bytes at most is made when held bytes grow. */
const roomBytesMax = 256 * 1024;

/**
 * `length` bytes that begin with `old` from `start` on: behind it in its own buffer where that has
 * room and `inPlace` allows it, else in a new one with some, so that many small pieces are not copied
 * again and again.
 */
function withRoom(old: Uint8Array, start: number, length: number, inPlace: boolean): Uint8Array {
  const { buffer } = old;
  const at = old.byteOffset + start;
  if (inPlace && buffer.byteLength - at >= length) return new Uint8Array(buffer, at, length);
  const roomy = new ArrayBuffer(length + Math.min(length, roomBytesMax));
  const joined = new Uint8Array(roomy, 0, length);
  joined.set(start === 0 ? old : old.subarray(start));
  return joined;
}
