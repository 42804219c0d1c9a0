import { Deadline, type DeadlineOwner, DeadlineWheel, limits, OnehopError } from '../core/index.ts';
import { type ParserLimits, responseLimits } from '../http1/index.ts';
import { Pool, PoolFull, type PoolOwner } from '../pool/index.ts';
import {
  type ConnectOptions,
  type Socket,
  transport as systemTransport,
  type TlsOptions,
  type Transport,
} from '../transport/index.ts';
import { Connection, connectionHandlers } from './connection.ts';
import { Exchange, Stage, Upload } from './exchange.ts';
import {
  authorityOf,
  connectionAgeMaxMs,
  connectionsMaxDefault,
  defaultTimeouts,
  dnsRefreshMsDefault,
  type OriginOptions,
  systemResolver,
  systemWheel,
  tlsFor,
  withoutUndefined,
} from './origin-options.ts';
import { requestHead } from './request-writer.ts';
import type { Resolver } from './resolver.ts';
import { decideRetry, isIdempotent, RetryBudget } from './retry.ts';
import type {
  DispatchRequest,
  ExchangeHandler,
  OriginAddress,
  OriginStats,
  ProxyAddress,
  StreamedBody,
  Timeouts,
} from './types.ts';
import { Whereabouts } from './whereabouts.ts';

/** A sweep that threw is made again after this. */
const sweepAgainMs = 1000;

/**
 * One server: scheme, host and port, with its pool of connections, its deadlines and its retries.
 * The callback core of the client and the upstream half of a gateway.
 */
export class Origin implements PoolOwner<Connection, Exchange>, DeadlineOwner {
  readonly address: OriginAddress;
  /** `http://host:port`, for messages and metrics. */
  readonly name: string;
  /** Value of the Host field. */
  readonly authority: string;
  readonly timeouts: Timeouts;
  readonly proxy: ProxyAddress | null;

  // For the other parts of client/.
  readonly transport: Transport;
  readonly wheel: DeadlineWheel;
  readonly resolver: Resolver;
  readonly parserLimits: ParserLimits;
  readonly pipelining: number;
  readonly idleUnref: boolean;
  readonly connectHost: string;
  readonly connectPath: string | null;
  /** An https origin behind a proxy: each connection begins with CONNECT. */
  readonly tunnels: boolean;
  /** What stands before a target in the request line: the origin itself when a proxy is asked. */
  readonly targetPrefix: string;

  readonly #tls: TlsOptions | undefined;
  readonly #retries: number;
  readonly #budget = new RetryBudget();
  readonly #pool: Pool<Connection, Exchange>;
  readonly #connections = new Set<Connection>();
  readonly #sweepDeadline: Deadline;
  #sweepMs = 0;
  readonly #whereabouts: Whereabouts;
  /** The time while a request is being dispatched; else 0. */
  #turnMs = 0;
  readonly #defer: (callback: () => void) => void;
  readonly #onConnect: ((durationMs: number) => void) | null;
  readonly #flushList: Connection[] = [];
  readonly #flush = (): void => this.#flushAll();
  #pipeliningStopped = false;
  #closing = false;
  /** Closing, and whoever waits is better off elsewhere. */
  #left = false;
  #closed: (() => void)[] = [];
  #active = 0;
  #requests = 0;
  #retried = 0;
  #failures = 0;

  constructor(address: OriginAddress, options: OriginOptions = {}) {
    this.address = address;
    this.authority = authorityOf(address);
    this.name = `${address.scheme}://${this.authority}`;
    this.timeouts = { ...defaultTimeouts, ...withoutUndefined(options.timeouts) };
    this.proxy = address.socketPath === undefined ? (options.proxy ?? null) : null;
    this.transport = options.transport ?? systemTransport;
    this.wheel =
      options.wheel ??
      (this.transport === systemTransport
        ? systemWheel()
        : new DeadlineWheel(this.transport.clock));
    this.resolver = options.resolver ?? systemResolver();
    this.parserLimits = options.parserLimits ?? responseLimits;
    this.pipelining = Math.max(1, options.pipelining ?? 1);
    this.idleUnref = options.keepProcessAlive !== true;
    this.connectHost = this.proxy?.host ?? address.host;
    this.connectPath = address.socketPath ?? null;
    const secure = address.scheme === 'https';
    this.tunnels = this.proxy !== null && secure;
    this.targetPrefix = this.proxy !== null && !secure ? this.name : '';
    this.#tls = secure ? tlsFor(address, options.tls, this.tunnels) : undefined;
    this.#retries = options.retries ?? limits.retriesMax;
    this.#defer = options.defer ?? setImmediate;
    this.#onConnect = options.onConnect ?? null;
    this.#sweepDeadline = new Deadline(this, 0);
    this.#whereabouts = new Whereabouts(this, options.dnsRefreshMs ?? dnsRefreshMsDefault);
    this.#pool = new Pool<Connection, Exchange>(
      {
        connectionsMax: options.connectionsMax ?? connectionsMaxDefault,
        depth: this.pipelining,
        waitingMax: options.queueLengthMax ?? limits.queueLengthMax,
        idleMaxMs: options.connectionIdleMaxMs ?? limits.poolIdleTimeoutMs,
        ageMaxMs: options.connectionAgeMaxMs ?? connectionAgeMaxMs,
      },
      this,
    );
  }

  /**
   * Sends a request. `handler` hears how it goes, possibly before this returns; `context` is kept on
   * the exchange for it. Fails through `onError`, never by throwing. Whoever has just read the clock
   * passes `nowMs`.
   */
  dispatch(
    request: DispatchRequest,
    handler: ExchangeHandler,
    context: unknown = null,
    nowMs = 0,
  ): Exchange {
    const head = this.#headOf(request);
    const refused = head instanceof OnehopError;
    const exchange = new Exchange(this, request, handler, context, refused ? '' : head);
    this.#requests++;
    this.#active++;
    if (this.#closing || refused) {
      this.#settle(exchange, refused ? head : this.#closedError('the client is closed'));
      return exchange;
    }
    this.#budget.earn();
    if (this.pipelining > 1) exchange.shareable = this.#isShareable(request);
    this.#turnMs = nowMs;
    try {
      this.#admit(exchange);
    } catch (error) {
      this.exchangeThrew(exchange, error, 'the sending of a request');
    } finally {
      this.#turnMs = 0;
    }
    return exchange;
  }

  /** `request` may be anybody's object, with getters. */
  #headOf(request: DispatchRequest): ReturnType<typeof requestHead> {
    try {
      return requestHead(this, request);
    } catch (error) {
      this.wheel.report(error, 'the head of a request');
      return this.#internalError('the head of a request', error);
    }
  }

  /** Counters and states. */
  stats(): OriginStats {
    return {
      connections: this.#pool.stats(),
      requests: this.#requests,
      retries: this.#retried,
      failures: this.#failures,
      active: this.#active,
    };
  }

  /** It was closed, left or destroyed, and takes no more requests. */
  get isClosing(): boolean {
    return this.#closing;
  }

  /** Takes no more requests, lets those under way end, then resolves. */
  close(): Promise<void> {
    this.#closing = true;
    this.#pool.discardIdle();
    return new Promise((resolve) => {
      if (this.#active === 0 && this.#connections.size === 0) resolve();
      else this.#closed.push(resolve);
    });
  }

  /** As {@link close}; but what waits for a connection fails now, unsent, with CLIENT_CLOSED. */
  leave(): Promise<void> {
    this.#left = true;
    const closed = this.close();
    this.#failWaiting('its address left the name');
    return closed;
  }

  #failWaiting(message: string): void {
    for (let waiter = this.#pool.firstWaiter(); waiter !== null; ) {
      this.failExchange(waiter, this.#closedError(message));
      waiter = this.#pool.firstWaiter();
    }
  }

  /**
   * Where connections go from now on, in the order in which to try them, whatever the resolver says.
   * Those to none of `wanted` take no further exchange: idle ones close now, busy ones when what they
   * have is over. Who waits is served by others.
   */
  setAddresses(addresses: readonly string[], wanted: readonly string[] = addresses): void {
    this.#whereabouts.give(addresses);
    this.follow(addresses, wanted);
  }

  /** For {@link Whereabouts}: connections to addresses that are not `wanted` are given up, see above. */
  follow(addresses: readonly string[], wanted: readonly string[]): void {
    for (const connection of [...this.#connections]) {
      connection.follow(addresses, wanted);
      if (connection.leaving) this.#pool.retire(connection);
    }
  }

  /** Fails every exchange with CLIENT_CLOSED and drops every connection, now. */
  destroy(): void {
    this.#closing = true;
    this.#failWaiting('the client was destroyed');
    for (const connection of [...this.#connections]) {
      connection.destroy('CLIENT_CLOSED', 'the client was destroyed');
    }
    this.wheel.disarm(this.#sweepDeadline);
    this.#whereabouts.stop();
    this.#checkClosed();
  }

  // What the pool asks.

  nowMs(): number {
    return this.#turnMs === 0 ? this.wheel.turnMs() : this.#turnMs;
  }

  open(waiter: Exchange): Connection {
    const connection = new Connection(this, waiter.timeouts.connectTimeoutMs);
    this.#connections.add(connection);
    // Overwritten by the pool once it is open.
    if (this.#onConnect !== null) connection.openedAtMs = this.nowMs();
    try {
      connection.dial();
    } catch (error) {
      // Failing inside `open` would confuse the pool: it has not finished taking the slot.
      queueMicrotask(() => connection.onThrown(error, 'a dial'));
    }
    return connection;
  }

  isReusable(connection: Connection): boolean {
    return connection.reusable;
  }

  isShareable(connection: Connection): boolean {
    return !this.#pipeliningStopped && connection.shareable;
  }

  discard(connection: Connection): void {
    this.#connections.delete(connection);
    connection.discard();
    this.#checkClosed();
  }

  assign(connection: Connection, exchange: Exchange): void {
    connection.start(exchange);
  }

  openFailed(exchange: Exchange, error: unknown): void {
    this.exchangeFailed(exchange, error as OnehopError);
  }

  // What connections ask and report.

  /** The addresses to try for a new connection; see {@link Resolver.resolve}. */
  resolve(done: Parameters<Resolver['resolve']>[1]): void {
    this.#whereabouts.resolve(done);
  }

  get hasConnections(): boolean {
    return this.#connections.size > 0;
  }

  connectSocket(connection: Connection, address: string): Socket<Connection> {
    const options: ConnectOptions = {};
    if (this.connectPath !== null) options.path = this.connectPath;
    else {
      options.host = address;
      options.port = this.proxy?.port ?? this.address.port;
    }
    if (this.tunnels) options.laterTls = this.#tls!;
    else if (this.#tls !== undefined) options.tls = this.#tls;
    return this.transport.connect(options, connectionHandlers, connection);
  }

  connectionOpened(connection: Connection): void {
    if (this.#onConnect !== null) this.#tellConnect(this.#onConnect, connection);
    this.#pool.opened(connection);
    this.#armSweep(connection);
    this.#whereabouts.watch();
  }

  #tellConnect(onConnect: (durationMs: number) => void, connection: Connection): void {
    try {
      onConnect(this.nowMs() - connection.openedAtMs);
    } catch (error) {
      this.wheel.report(error, 'onConnect of an origin');
    }
  }

  connectionFree(connection: Connection): void {
    this.#pool.release(connection);
    if (this.#closing) this.#pool.discardIdle();
    else this.#armSweep(connection);
  }

  connectionGone(connection: Connection, error: OnehopError | null = null): void {
    this.#connections.delete(connection);
    this.#pool.remove(connection, error);
    this.#checkClosed();
  }

  exchangeEnded(exchange: Exchange): void {
    if (exchange.stage === Stage.Done) return;
    this.#leave(exchange);
    try {
      exchange.handler.onEnd(exchange);
    } catch (thrown) {
      this.handlerThrew(exchange, thrown, 'onEnd of an exchange');
    }
    if (this.#closing) this.#checkClosed();
  }

  /** The connection now belongs to whoever took the tunnel. */
  exchangeUpgraded(exchange: Exchange): void {
    this.#leave(exchange);
  }

  /** The attempt failed by the connection or before it: sends it again if that is allowed. */
  exchangeFailed(exchange: Exchange, error: OnehopError): void {
    if (exchange.stage === Stage.Done) return;
    const request = exchange.request;
    const again =
      !this.#closing &&
      decideRetry(error.code, {
        idempotent: request.idempotent ?? isIdempotent(request.method),
        reused: exchange.reused,
        sent: exchange.sent,
        responseBytes: exchange.responseBytes,
        bodyReplayable: exchange.bodyReplayable,
        attempt: exchange.attempt,
        attemptsMax: 1 + (request.retries ?? this.#retries),
        elsewhere: false,
      }) &&
      this.#budget.spend();
    if (!again) {
      this.#settle(exchange, error);
      return;
    }
    this.#retried++;
    exchange.attempt++;
    exchange.fresh = true;
    this.#restart(exchange);
  }

  /** A pipelined request that was sent but not answered. */
  resendUnanswered(exchange: Exchange, error: OnehopError): void {
    exchange.reused = true;
    this.exchangeFailed(exchange, error);
  }

  /** A pipelined request behind a response that closes: not processed (RFC 9112 section 9.6). */
  resendUnprocessed(exchange: Exchange): void {
    if (exchange.stage === Stage.Done) return;
    if (!this.#left) this.#restart(exchange);
    else {
      exchange.sent = false;
      this.#settle(exchange, this.#closedError('its address left the name'));
    }
  }

  /** The server does not take pipelined requests: one at a time from now on. */
  stopPipelining(): void {
    this.#pipeliningStopped = true;
  }

  flushLater(connection: Connection): void {
    if (this.#flushList.push(connection) === 1) this.#defer(this.#flush);
  }

  #flushAll(): void {
    const list = this.#flushList;
    // What a flush sets off may be corked again; it is then in the next round.
    const count = list.length;
    for (let i = 0; i < count; i++) {
      const connection = list[i]!;
      try {
        connection.flush();
      } catch (error) {
        connection.onThrown(error, 'the flush of a connection');
      }
    }
    list.splice(0, count);
    if (list.length > 0) this.#defer(this.#flush);
  }

  /** Ends an exchange from outside: abort, deadline, misuse of the body. Never retried. */
  failExchange(exchange: Exchange, error: OnehopError): void {
    if (exchange.stage === Stage.Done) return;
    const connection = exchange.connection;
    const waiting = exchange.waiting;
    this.#leave(exchange);
    try {
      if (waiting) this.#pool.cancel(exchange);
      else connection?.abandon(exchange);
    } catch (thrown) {
      this.wheel.report(thrown, 'the end of an exchange');
    }
    this.#report(exchange, error);
  }

  /** Something threw that `exchange` was on the way by: it fails, unless it is over. */
  exchangeThrew(exchange: Exchange, thrown: unknown, where: string): void {
    this.wheel.report(thrown, where);
    this.failExchange(exchange, this.#internalError(where, thrown));
  }

  /** The last call of a handler threw: whoever waits for the exchange has not heard of its end. */
  handlerThrew(exchange: Exchange, thrown: unknown, where: string): void {
    this.wheel.report(thrown, where);
    try {
      exchange.handler.onFault?.(exchange, thrown);
    } catch (again) {
      this.wheel.report(again, 'onFault of an exchange');
    }
  }

  /** Its own sweep threw: idle connections still have to retire. */
  onDeadlineThrew(_kind: number, error: unknown): void {
    this.wheel.report(error, 'the sweep of idle connections');
    this.wheel.arm(this.#sweepDeadline, sweepAgainMs);
  }

  onDeadline(): void {
    const nextMs = this.#pool.sweep();
    if (nextMs !== Number.POSITIVE_INFINITY) {
      this.wheel.arm(this.#sweepDeadline, nextMs - this.nowMs());
    }
  }

  #armSweep(connection: Connection): void {
    const delayMs = connection.idleMaxMs;
    if (this.#sweepDeadline.armed && delayMs >= this.#sweepMs) return;
    this.#sweepMs = delayMs;
    this.wheel.arm(this.#sweepDeadline, delayMs);
  }

  #isShareable(request: DispatchRequest): boolean {
    const body = request.body;
    return (
      (request.idempotent ?? isIdempotent(request.method)) &&
      request.upgrade === undefined &&
      request.close !== true &&
      (body === null || typeof body === 'string' || body instanceof Uint8Array)
    );
  }

  #admit(exchange: Exchange): void {
    const found = this.#pool.acquire(exchange);
    if (found === null) exchange.armQueue();
    else if (found === PoolFull) {
      this.#settle(
        exchange,
        new OnehopError('QUEUE_FULL', `too many requests wait for ${this.name}`, {
          phase: 'queue',
          upstream: this.name,
        }),
      );
    } else found.start(exchange);
  }

  #restart(exchange: Exchange): void {
    exchange.connection = null;
    exchange.stage = Stage.Waiting;
    exchange.sent = false;
    exchange.reused = false;
    exchange.responseBytes = 0;
    // A body that was cut and is sent again is as it was before any of it was sent.
    if (exchange.upload === Upload.Streaming || exchange.upload === Upload.Cut) {
      exchange.upload = Upload.Ready;
    }
    const length = (exchange.request.body as StreamedBody | null)?.length;
    if (exchange.upload === Upload.Ready && typeof length === 'number') {
      exchange.uploadBytesLeft = length;
    }
    this.#admit(exchange);
  }

  /** The one place where an exchange ends. */
  #leave(exchange: Exchange): void {
    exchange.stage = Stage.Done;
    exchange.connection = null;
    exchange.disarm();
    this.#active--;
  }

  #settle(exchange: Exchange, error: OnehopError): void {
    this.#leave(exchange);
    this.#report(exchange, error);
  }

  #report(exchange: Exchange, error: OnehopError): void {
    this.#failures++;
    try {
      exchange.handler.onError(exchange, error);
    } catch (thrown) {
      this.handlerThrew(exchange, thrown, 'onError of an exchange');
    }
    this.#checkClosed();
  }

  #internalError(where: string, cause: unknown): OnehopError {
    return new OnehopError('INTERNAL', `it threw in ${where}`, { upstream: this.name, cause });
  }

  #closedError(message: string): OnehopError {
    return new OnehopError('CLIENT_CLOSED', message, { phase: 'close', upstream: this.name });
  }

  #checkClosed(): void {
    if (!this.#closing || this.#active > 0 || this.#connections.size > 0) return;
    const waiting = this.#closed;
    this.#closed = [];
    for (const resolve of waiting) resolve();
  }
}
