import { DeadlineWheel, limits as defaults, OnehopError } from '../core/index.ts';
import {
  errorReplyOfStatus,
  type FieldBlock,
  type ParserLimits,
  requestLimits,
} from '../http1/index.ts';
import {
  type Listener,
  type ListenOptions,
  transport as runtimeTransport,
  type Socket,
  type SocketHandlers,
  type Transport,
} from '../transport/index.ts';
import { Connection } from './connection.ts';
import { DateField } from './date.ts';
import type { Exchange } from './exchange.ts';
import { fieldBlock } from './field-block.ts';
import type {
  ServerCounters,
  ServerHandler,
  ServerLimits,
  ServerOptions,
  ServerTimeouts,
} from './types.ts';

export const defaultServerLimits: ServerLimits = {
  requestLineBytesMax: defaults.requestLineBytesMax,
  headBytesMax: defaults.headBytesMax,
  headersCountMax: defaults.headersCountMax,
  headerBytesMax: defaults.headerBytesMax,
  trailerBytesMax: defaults.trailerBytesMax,
  trailersCountMax: defaults.trailersCountMax,
  chunkExtensionBytesMax: defaults.chunkExtensionBytesMax,
  chunkExtensionsBytesMax: defaults.chunkExtensionsBytesMax,
  chunkSizeDigitsMax: defaults.chunkSizeDigitsMax,
  bodyBytesMax: defaults.bodyBytesMax,
  connectionsMax: 65_536,
  connectionsPerAddressMax: defaults.connectionsPerAddressMax,
  connectionsPerAddressStatus: 503,
  requestsPerConnectionMax: defaults.requestsPerConnectionMax,
  readAheadBytesMax: defaults.relayBufferBytesMax,
  stalledReadAheadBytesMax: defaults.stalledReadAheadBytesMax,
  stalledReadersMax: defaults.stalledReadersMax,
  lingerBytesMax: defaults.lingerBytesMax,
};

export const defaultServerTimeouts: ServerTimeouts = {
  firstRequestTimeoutMs: defaults.firstRequestTimeoutMs,
  requestHeadTimeoutMs: defaults.requestHeadTimeoutMs,
  requestBodyGapTimeoutMs: defaults.requestBodyGapTimeoutMs,
  requestBodyBytesPerSecondMin: defaults.requestBodyBytesPerSecondMin,
  requestBodyGraceMs: defaults.requestBodyGraceMs,
  keepAliveTimeoutMs: defaults.keepAliveTimeoutMs,
  writeStallTimeoutMs: defaults.writeStallTimeoutMs,
  lingerTimeoutMs: defaults.lingerTimeoutMs,
};

/** Refused connections that may linger at a time; more are reset, and their 503 may be lost. */
const refusedOpenMax = 256;
const refusedOpenMin = 16;

/** A turn reads a thousand sockets or so; this often it is looked whether another brings more. */
const lookTurnsMax = 8;

interface LateConnection<State> {
  readonly connection: Connection<State>;
  /** How many it had brought by then. */
  readonly requests: number;
}

/** What connections and exchanges share; internal to `server/`. */
export class ServerCore<State> {
  readonly handler: ServerHandler<State>;
  readonly limits: ServerLimits;
  readonly timeouts: ServerTimeouts;
  readonly parserLimits: ParserLimits;
  readonly wheel: DeadlineWheel;
  readonly date: DateField;
  readonly allowHalfOpen: boolean | 'probe';
  readonly autoContinue: boolean;
  private readonly isTrusted: (address: string) => boolean;
  /** Addresses are counted only where there is a bound for them. */
  private readonly countsAddresses: boolean;
  /** Field lines of every response. */
  readonly fixedBlock: FieldBlock;
  readonly fixedFields: string;
  readonly counters: ServerCounters = {
    connectionsOpened: 0,
    connectionsOpen: 0,
    connectionsRefused: 0,
    connectionsRefusedPerAddress: 0,
    connectionsRefusedClosing: 0,
    requests: 0,
    exchangesOpen: 0,
    aborts: 0,
    protocolErrors: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
  /** Every response from now on says `Connection: close`. */
  closing = false;
  /** No listener is left: whoever still comes is turned away. */
  refusing = false;
  /** How long a connection may be idle once `closing`: it was not told, and may be sending. */
  closingIdleMs = 0;
  readonly connections: Connection<State>[] = [];
  onEmpty: (() => void) | null = null;
  /** Connections that read ahead further than others; see `stalledReadersMax`. */
  stalledReaders = 0;
  /** Refused connections that have not ended yet; part of `connectionsOpen`. */
  private refusedOpen = 0;
  private readonly perAddress = new Map<string, number>();
  /** Idle connections whose time is over, unless their next request is here already. */
  private late: LateConnection<State>[] = [];
  private readonly turn: () => Promise<void>;
  readonly dropReads: Transport['dropReads'];

  constructor(options: ServerOptions<State>, transport: Transport) {
    this.handler = options.handler;
    this.limits = { ...defaultServerLimits, ...options.limits };
    this.timeouts = { ...defaultServerTimeouts, ...options.timeouts };
    this.parserLimits = { ...requestLimits, ...pickParserLimits(this.limits) };
    this.wheel = options.wheel ?? new DeadlineWheel(transport.clock);
    this.turn = transport.turn;
    this.dropReads = transport.dropReads;
    this.date = new DateField(this.wheel);
    this.allowHalfOpen = options.allowHalfOpen ?? false;
    this.autoContinue = options.autoContinue ?? true;
    this.isTrusted = options.isTrusted ?? (() => false);
    this.countsAddresses = Number.isFinite(this.limits.connectionsPerAddressMax);
    this.fixedBlock = fieldBlock(
      options.serverName === undefined ? [] : ['Server', options.serverName],
    );
    this.fixedFields = this.fixedBlock.text;
  }

  /** Takes a new socket in, or refuses it. */
  admit(connection: Connection<State>, socket: Socket<Connection<State>>): void {
    const { counters, limits } = this;
    // Callers on a Unix socket have no address to be told apart by.
    const address = this.countsAddresses ? socket.remoteAddress : '';
    const ofAddress = address === '' ? 0 : (this.perAddress.get(address) ?? 0) + 1;
    counters.connectionsOpened++;
    // Those that were refused and linger are no places taken, or a flood would keep itself out.
    const full = counters.connectionsOpen - this.refusedOpen >= limits.connectionsMax;
    const tooMany = ofAddress > limits.connectionsPerAddressMax && !this.isTrusted(address);
    if (this.refusing || full || tooMany) {
      counters.connectionsRefused++;
      const ofItsOwn = !this.refusing && !full;
      if (this.refusing) counters.connectionsRefusedClosing++;
      else if (ofItsOwn) counters.connectionsRefusedPerAddress++;
      const status = ofItsOwn ? limits.connectionsPerAddressStatus : 503;
      const { remoteAddress } = socket;
      this.refuse(connection, socket, status);
      if (!this.refusing) this.tellRefused(ofItsOwn, status, remoteAddress);
      return;
    }
    if (ofAddress > 0) this.perAddress.set(address, ofAddress);
    connection.countedAddress = address;
    counters.connectionsOpen++;
    connection.slot = this.connections.push(connection) - 1;
    connection.opened(socket);
  }

  /** 503 or 429; lingers so that the caller can read it, unless too many do already. */
  private refuse(
    connection: Connection<State>,
    socket: Socket<Connection<State>>,
    status: number,
  ): void {
    connection.socket = socket;
    connection.refused = true;
    this.refusedOpen++;
    this.counters.connectionsOpen++;
    connection.slot = this.connections.push(connection) - 1;
    const lingering = Math.ceil(this.limits.connectionsMax / 4);
    if (this.refusedOpen > Math.min(refusedOpenMax, Math.max(refusedOpenMin, lingering))) {
      connection.destroy(true);
      return;
    }
    const reply = errorReplyOfStatus(status);
    connection.write(reply, 0, reply.length);
    connection.closeGracefully();
  }

  private tellRefused(ofItsOwn: boolean, status: number, address: string): void {
    const limit = ofItsOwn ? 'connectionsPerAddressMax' : 'connectionsMax';
    try {
      this.handler.onConnectionRefused?.(limit, status, address);
    } catch (thrown) {
      this.report(thrown, null);
    }
  }

  /** The connection is gone. */
  forget(connection: Connection<State>): void {
    if (connection.slot < 0) return;
    const last = this.connections.pop()!;
    if (last !== connection) {
      this.connections[connection.slot] = last;
      last.slot = connection.slot;
    }
    connection.slot = -1;
    this.counters.connectionsOpen--;
    if (connection.refused) this.refusedOpen--;
    const address = connection.countedAddress;
    if (address !== '') {
      const count = this.perAddress.get(address)! - 1;
      if (count === 0) this.perAddress.delete(address);
      else this.perAddress.set(address, count);
    }
    if (this.connections.length === 0) this.onEmpty?.();
  }

  /** Closes an idle connection if it is still idle when what had arrived by now was read. */
  closeUnlessRead(connection: Connection<State>): void {
    const { requests } = connection;
    if (this.late.push({ connection, requests }) === 1) void this.closeLate();
  }

  private async closeLate(): Promise<void> {
    const { counters } = this;
    for (let turns = 0; turns < lookTurnsMax; turns++) {
      const { bytesIn } = counters;
      await this.turn();
      if (counters.bytesIn === bytesIn) break;
    }
    const { late } = this;
    this.late = [];
    for (const { connection, requests } of late) {
      try {
        if (connection.requests === requests) connection.closeIfIdle();
      } catch (error) {
        connection.threw(error);
      }
    }
  }

  /** A request was answered before it became an exchange. */
  refused(connection: Connection<State>, status: number, error: OnehopError): void {
    if (this.handler.onRefused === undefined) return;
    const { parser, socket } = connection;
    const { method, target } = parser.requestLine();
    const { remoteAddress } = socket!;
    try {
      this.handler.onRefused({ status, error, remoteAddress, method, target });
    } catch (thrown) {
      this.report(thrown, null);
    }
  }

  callDrain(exchange: Exchange<State>): void {
    try {
      this.handler.onDrain?.(exchange);
    } catch (error) {
      this.report(error, exchange);
      exchange.abort();
    }
  }

  /** `onAbort` and `onFinish`; what they throw is reported and changes nothing. */
  callFinish(exchange: Exchange<State>, error: OnehopError | null): void {
    try {
      if (error !== null) this.handler.onAbort?.(exchange, error);
    } catch (thrown) {
      this.report(thrown, exchange);
    }
    try {
      this.handler.onFinish?.(exchange);
    } catch (thrown) {
      this.report(thrown, exchange);
    }
  }

  report(error: unknown, exchange: Exchange<State> | null): void {
    if (this.handler.onError !== undefined) {
      try {
        this.handler.onError(error, exchange);
        return;
      } catch (thrown) {
        console.error('onehop: onError of the server threw:', thrown);
      }
    }
    console.error('onehop: a handler of the server threw:', error);
  }
}

function pickParserLimits(limits: ServerLimits): Partial<ParserLimits> {
  return {
    requestLineBytesMax: limits.requestLineBytesMax,
    headBytesMax: limits.headBytesMax,
    headersCountMax: limits.headersCountMax,
    headerBytesMax: limits.headerBytesMax,
    trailerBytesMax: limits.trailerBytesMax,
    trailersCountMax: limits.trailersCountMax,
    chunkExtensionBytesMax: limits.chunkExtensionBytesMax,
    chunkExtensionsBytesMax: limits.chunkExtensionsBytesMax,
    chunkSizeDigitsMax: limits.chunkSizeDigitsMax,
    bodyBytesMax: limits.bodyBytesMax,
  };
}

/** An HTTP/1.1 server: any number of listeners, one handler. */
export interface Server {
  /** Rejects with ADDRESS_IN_USE or LISTEN_FAILED. May be called several times. */
  listen(options: ListenOptions): Promise<Listener>;
  /**
   * Stops accepting, closes idle connections, lets open exchanges end for up to `drainMs`, then
   * cuts what is left. Resolves when every connection is gone. A connection that is idle, or becomes
   * so after a response that could not say `Connection: close` any more, may bring one more request
   * within `idleMs` (default 0), which is answered with it: a request that is on its way while the
   * connection closes would be lost. What has arrived by then is answered in any case.
   */
  close(options?: { drainMs?: number; idleMs?: number }): Promise<void>;
  /** Calls `visit` with every open exchange. */
  forEachExchange(visit: (exchange: Exchange<never>) => void): void;
  readonly counters: Readonly<ServerCounters>;
}

/** Creates a server; see {@link ServerOptions}. Nothing listens before {@link Server.listen}. */
export function createServer<State = unknown>(options: ServerOptions<State>): Server {
  const transport = options.transport ?? runtimeTransport;
  const core = new ServerCore<State>(options, transport);
  const listeners: Listener[] = [];
  const handlers: SocketHandlers<Connection<State>> = {
    open(socket) {
      try {
        core.admit(socket.state, socket);
      } catch (error) {
        socket.state.socket ??= socket;
        socket.state.threw(error);
      }
    },
    data(socket, bytes) {
      core.wheel.beginTurn();
      try {
        socket.state.received(bytes);
      } catch (error) {
        socket.state.threw(error);
      } finally {
        core.wheel.endTurn();
      }
    },
    drain(socket) {
      try {
        socket.state.drained();
      } catch (error) {
        socket.state.threw(error);
      }
    },
    end(socket) {
      try {
        socket.state.ended();
      } catch (error) {
        socket.state.threw(error);
      }
    },
    close(socket, error) {
      try {
        socket.state.closed(error);
      } catch (thrown) {
        socket.state.closeThrew(thrown);
      }
    },
  };
  let closed: Promise<void> | null = null;

  async function shutDown(drainMs: number, idleMs: number): Promise<void> {
    // Counted from here: a storm of new connections may hold up the closing of the ports.
    let over = false;
    const cut = (): void => {
      over = true;
      for (const connection of [...core.connections]) {
        try {
          connection.destroy(false);
        } catch (error) {
          core.report(error, connection.exchange);
        }
      }
    };
    const cutting = core.wheel.setTimer('the cut of a drain', cut, drainMs, cut);
    // Whoever is told to close connects again: told before the port is closed, they keep it from
    // ever being empty, and those in its queue are reset.
    await Promise.all(listeners.map((listener) => listener.close()));
    core.closing = true;
    core.closingIdleMs = Math.min(idleMs, core.timeouts.keepAliveTimeoutMs);
    // Its last few, taken while it closed, are served like the others.
    core.refusing = true;
    for (const connection of core.connections) connection.closeSoonIfIdle();
    if (core.connections.length > 0) {
      await new Promise<void>((resolve) => {
        core.onEmpty = resolve;
        if (over) core.wheel.setTimer('the cut of a drain', cut, 0, cut);
      });
    }
    core.wheel.clearTimer(cutting);
    core.date.close();
  }

  return {
    counters: core.counters,
    async listen(listenOptions) {
      if (closed !== null) throw new OnehopError('LISTEN_FAILED', 'the server was closed');
      const listener = await transport.listen(listenOptions, handlers, () => new Connection(core));
      listeners.push(listener);
      return listener;
    },
    forEachExchange(visit) {
      for (const { exchange } of [...core.connections]) {
        if (exchange !== null) visit(exchange as unknown as Exchange<never>);
      }
    },
    close({ drainMs = 10_000, idleMs = 0 } = {}) {
      closed ??= shutDown(drainMs, idleMs);
      return closed;
    },
  };
}
