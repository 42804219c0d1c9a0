import {
  Deadline,
  type DeadlineOwner,
  type ErrorCode,
  OnehopError,
  type Phase,
} from '../core/index.ts';
import type { PreparedHead } from '../http1/index.ts';
import type { PoolWaiter } from '../pool/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { Connection } from './connection.ts';
import type { Origin } from './origin.ts';
import type { DispatchRequest, ExchangeHandler, StreamedBody, Timeouts } from './types.ts';

/** Where an exchange stands. It only ever moves forward, except back to Waiting by a retry. */
export const Stage = {
  /** No connection yet. */
  Waiting: 0,
  /** On a connection; no final response head yet. */
  Sent: 1,
  /** Head delivered, no body byte yet. */
  Head: 2,
  /** Body bytes delivered. */
  Body: 3,
  Done: 4,
} as const;
export type Stage = (typeof Stage)[keyof typeof Stage];

/** How far the request body is. */
export const Upload = {
  Ready: 0,
  Streaming: 1,
  Done: 2,
  /** The server takes no more of it: what is still written is dropped, and its end means nothing. */
  Cut: 3,
} as const;
export type Upload = (typeof Upload)[keyof typeof Upload];

/**
 * One request and its response. Made by `origin.dispatch`; everything that belongs to the request,
 * its deadlines included, lives in here and dies with it.
 */
export class Exchange implements PoolWaiter<Connection, Exchange>, DeadlineOwner {
  // What each read of the response looks at comes first, side by side.
  readonly origin: Origin;
  readonly handler: ExchangeHandler;
  /** For the caller's own use; the core never looks at it. */
  context: unknown;
  stage: Stage = Stage.Waiting;
  responseBytes = 0;
  readonly #deadline: Deadline;
  /** 0 until the first deadline is armed. */
  #totalEndMs = 0;
  readonly timeouts: Timeouts;
  /** The handler takes whole chunks as they are; see `ExchangeHandler.onChunks`. */
  wantsChunks = false;

  readonly request: DispatchRequest;
  /** Attempts made so far, this one included. */
  attempt = 1;
  /** The connection had served an earlier exchange. */
  reused = false;

  // For Connection and Origin only.
  /** What is written first: the head, and a small body with it. */
  readonly head: string | PreparedHead;
  connection: Connection | null = null;
  upload: Upload;
  chunked = false;
  /** Its head says `Expect: 100-continue`, and the server has not said 100. */
  expects: boolean;
  /** Bytes of the request were handed to the socket. */
  sent = false;
  paused = false;
  /** Streamed bodies with a length: bytes still to come. */
  uploadBytesLeft = 0;

  // For the pool only.
  fresh = false;
  shareable = false;
  waiting = false;
  waitSinceMs = 0;
  opening: Connection | null = null;
  nextWaiter: Exchange | null = null;
  previousWaiter: Exchange | null = null;

  /** Pieces of the body written, and how many there were when the deadline was last looked at. */
  #writes = 0;
  #writesSeen = 0;

  constructor(
    origin: Origin,
    request: DispatchRequest,
    handler: ExchangeHandler,
    context: unknown,
    head: string | PreparedHead,
  ) {
    this.origin = origin;
    this.request = request;
    this.handler = handler;
    this.context = context;
    this.timeouts = request.timeouts ?? origin.timeouts;
    this.head = head;
    this.expects = request.expectContinue === true;
    const body = request.body;
    if (body === null || typeof body === 'string' || body instanceof Uint8Array) {
      this.upload = Upload.Done;
    } else {
      this.upload = Upload.Ready;
      this.chunked = body.length === null;
      this.uploadBytesLeft = body.length ?? 0;
    }
    this.#deadline = new Deadline(this, 0);
  }

  get done(): boolean {
    return this.stage === Stage.Done;
  }

  /**
   * Gives the exchange up: `onError` with ABORTED is called at once, unless it is over already. The
   * connection is destroyed when anything of the request was sent.
   */
  abort(reason?: unknown): void {
    if (this.stage === Stage.Done) return;
    this.origin.failExchange(
      this,
      new OnehopError('ABORTED', 'the exchange was aborted', {
        phase: this.#phase,
        upstream: this.origin.name,
        cause: reason,
      }),
    );
  }

  /** Holds the response up; what was read already may still arrive. */
  pause(): void {
    if (this.paused || this.stage === Stage.Done) return;
    this.paused = true;
    if (this.connection !== null && this.connection.current === this) this.connection.pause();
  }

  /**
   * Within `onBody`: whether the bytes may be kept without a copy, which this call announces. See
   * `Socket.keepRead`.
   */
  keepRead(): boolean {
    const socket = this.connection?.socket ?? null;
    if (socket === null || !socket.keepsReads) return false;
    socket.keepRead();
    return true;
  }

  /**
   * Asks that the rest of the body be read straight into `bytes`, from `start` on; see
   * `Socket.readInto`. `bytes` must end where the body does. False when that cannot be.
   */
  readInto(bytes: Uint8Array, start: number): boolean {
    const connection = this.connection;
    if (connection === null || connection.current !== this) return false;
    return connection.socket!.readInto(bytes, start);
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    if (this.stage === Stage.Done) return;
    if (this.connection !== null && this.connection.current === this) {
      this.connection.resume();
      if (this.stage >= Stage.Head) this.armIdle();
      else this.armHead();
    }
  }

  /**
   * Sends `bytes[start, end)` of a streamed request body. After `Queued` wait for `onDrain`; after
   * `Closed` write no more (the exchange is over, or the response came before the body was through); of
   * a body with `keepsUnsent` nothing may be on its way yet, and `onDrain` asks for it again.
   * The bytes must not be changed while they are queued. Writing more than the announced length
   * fails the exchange with BODY_LENGTH_MISMATCH.
   */
  write(bytes: Uint8Array, start = 0, end = bytes.length): WriteStatus {
    if (this.connection === null || this.upload !== Upload.Streaming) return WriteStatus.Closed;
    if ((this.request.body as StreamedBody).length !== null) {
      this.uploadBytesLeft -= end - start;
      if (this.uploadBytesLeft < 0) {
        this.fail('BODY_LENGTH_MISMATCH', 'the request body is longer than announced');
        return WriteStatus.Closed;
      }
    }
    const status = this.connection.writeBody(this, bytes, start, end);
    if (status !== WriteStatus.Closed) this.#writes++;
    else if (this.#writes === 0 && (this.request.body as StreamedBody).keepsUnsent === true) {
      this.uploadBytesLeft += end - start;
    } else this.cutUpload();
    return status;
  }

  /** The server takes no more of the body; see {@link cutUpload}. */
  get uploadCut(): boolean {
    return this.upload === Upload.Cut;
  }

  /** Pieces of a streamed body that were written, in all attempts. */
  get piecesWritten(): number {
    return this.#writes;
  }

  /** The server takes no more of the body, whose writer is not to blame for what is missing of it. */
  cutUpload(): void {
    if (this.upload === Upload.Streaming) this.upload = Upload.Cut;
  }

  /**
   * Ends a streamed request body. `trailers` is what a `TrailerWriter`
   * returned (chunked bodies only). A body shorter
   * than announced fails the exchange with BODY_LENGTH_MISMATCH.
   */
  endBody(trailers = ''): void {
    if (this.connection === null || this.upload !== Upload.Streaming) return;
    if ((this.request.body as StreamedBody).length !== null && this.uploadBytesLeft > 0) {
      this.fail('BODY_LENGTH_MISMATCH', 'the request body is shorter than announced');
      return;
    }
    this.connection.endBody(this, trailers);
    // The server has the whole request: its time begins now.
    if (this.stage === Stage.Sent && !this.paused) this.armHead();
  }

  /** Ends the exchange with an error of the caller's or of a deadline; it is not sent again. */
  fail(code: ErrorCode, message: string, cause?: unknown): void {
    if (this.stage === Stage.Done) return;
    this.origin.failExchange(
      this,
      new OnehopError(code, message, { phase: this.#phase, upstream: this.origin.name, cause }),
    );
  }

  /** Where it stands, in the words of errors. */
  get #phase(): Phase {
    if (this.stage === Stage.Waiting) return this.opening === null ? 'queue' : 'connect';
    return this.stage === Stage.Sent ? 'head' : 'body';
  }

  /** The request body can be sent from its start (again). */
  get bodyReplayable(): boolean {
    const body = this.request.body;
    return (
      body === null ||
      typeof body === 'string' ||
      body instanceof Uint8Array ||
      this.upload === Upload.Ready ||
      // Also of one that the server wants no more of: it may be another's.
      (body.keepsUnsent === true && this.upload !== Upload.Done && this.#writes === 0)
    );
  }

  // Deadlines. One timer serves all of them: at most one stage runs at a time, and the total is the
  // earlier of the two when it is nearer.

  armQueue(): void {
    this.#arm(this.timeouts.queueTimeoutMs);
  }

  /** Only the total: behind another response, or while the reader holds the response up. */
  armTotal(): void {
    this.#arm(0);
  }

  armHead(): void {
    this.#arm(this.timeouts.headTimeoutMs);
  }

  armFirstByte(): void {
    this.#arm(this.timeouts.firstByteTimeoutMs);
  }

  armIdle(nowMs: number = this.origin.nowMs()): void {
    this.#arm(this.timeouts.idleTimeoutMs, nowMs);
  }

  disarm(): void {
    this.origin.wheel.disarm(this.#deadline);
  }

  #arm(stageMs: number, nowMs: number = this.origin.nowMs()): void {
    const { wheel } = this.origin;
    if (this.#totalEndMs === 0) {
      // The first time, which is when the request was made.
      const totalMs = this.timeouts.totalTimeoutMs;
      this.#totalEndMs = totalMs > 0 ? nowMs + totalMs : Number.POSITIVE_INFINITY;
    }
    const totalLeftMs = this.#totalEndMs - nowMs;
    const delayMs = stageMs > 0 && stageMs < totalLeftMs ? stageMs : totalLeftMs;
    if (delayMs === Number.POSITIVE_INFINITY) wheel.disarm(this.#deadline);
    else wheel.arm(this.#deadline, delayMs, nowMs);
  }

  /**
   * The request is not through: the head cannot be late yet. Its sender may pause (it has deadlines
   * of its own); a server that takes none of what is queued is late all the same.
   */
  #uploadGoesOn(): boolean {
    if (this.upload !== Upload.Streaming) return false;
    const moved = this.#writes !== this.#writesSeen;
    this.#writesSeen = this.#writes;
    return moved || this.connection!.socket!.queuedBytes === 0;
  }

  onDeadlineThrew(_kind: number, error: unknown): void {
    this.origin.exchangeThrew(this, error, 'a deadline of an exchange');
  }

  onDeadline(): void {
    if (this.stage === Stage.Done) return;
    const nowMs = this.origin.nowMs();
    if (nowMs >= this.#totalEndMs) {
      this.fail('TOTAL_TIMEOUT', `no end within ${this.timeouts.totalTimeoutMs} ms`);
      return;
    }
    switch (this.stage) {
      case Stage.Waiting:
        // A connection is being opened for it: then the connect deadline is the one that counts.
        if (this.opening !== null) this.armQueue();
        else this.fail('QUEUE_TIMEOUT', `no connection within ${this.timeouts.queueTimeoutMs} ms`);
        return;
      default:
        // A reader that holds the response up is not the server's fault; only the total runs on.
        if (this.paused) {
          this.armTotal();
          return;
        }
        if (this.stage === Stage.Sent && this.#uploadGoesOn()) {
          this.armHead();
          return;
        }
        if (this.stage === Stage.Sent) {
          this.fail('HEAD_TIMEOUT', `no response head within ${this.timeouts.headTimeoutMs} ms`);
          return;
        }
        if (this.stage === Stage.Head) {
          const ms = this.timeouts.firstByteTimeoutMs;
          this.fail('FIRST_BYTE_TIMEOUT', `no body byte within ${ms} ms of the head`);
        } else {
          this.fail('IDLE_TIMEOUT', `no body byte for ${this.timeouts.idleTimeoutMs} ms`);
        }
    }
  }
}
