/**
 * The seam between onehop and the runtime: one interface, one thin adapter per runtime (`node/`,
 * `bun/`) and a simulated one (`sim/`). Nothing above this folder may import `node:net`, `node:tls`
 * or `Bun`.
 */
import type { Clock, OnehopError } from '../core/index.ts';

/**
 * What became of a write.
 * `Flushed`: the kernel took everything. `Queued`: some of it waits in the bounded send queue; stop
 * producing until `drain`. `Closed`: the socket is gone (or the queue limit was exceeded, which
 * destroys the socket); nothing was or will be sent.
 */
export const WriteStatus = { Flushed: 0, Queued: 1, Closed: 2 } as const;
export type WriteStatus = (typeof WriteStatus)[keyof typeof WriteStatus];

/** One object per listener or per connector, shared by all of its sockets. */
export interface SocketHandlers<State> {
  /** Connected (with TLS: handshake done). Outgoing sockets must not be written to before. */
  open(socket: Socket<State>): void;
  /** `bytes` are borrowed until the call returns: copy what must live longer. */
  data(socket: Socket<State>, bytes: Uint8Array): void;
  /** The send queue is empty again after a write that returned `Queued`. */
  drain(socket: Socket<State>): void;
  /** The peer half-closed. The socket can still be written to; nobody ends it for you. */
  end(socket: Socket<State>): void;
  /** Exactly once, last; also for a connect that failed (then `open` was never called). */
  close(socket: Socket<State>, error: OnehopError | null): void;
}

export interface Socket<State> {
  /** The only per-connection slot. */
  state: State;
  /** Bytes waiting in the send queue. */
  readonly queuedBytes: number;
  readonly remoteAddress: string;
  /** Protocol agreed by ALPN; empty without TLS. */
  readonly alpnProtocol: string;
  /**
   * What `data` was given is never written to again: views of it may be kept instead of copies, if
   * `keepRead` is called within `data`. The same for every socket of a transport.
   */
  readonly keepsReads: boolean;
  /**
   * Within `data`: views of its bytes are kept beyond the call, so they must not be freed after it.
   * Only where {@link keepsReads} holds.
   */
  keepRead(): void;
  /**
   * Sends `bytes[start, end)`. The transport owns the range until `drain` (or, for `Flushed`, not
   * beyond the call): do not overwrite it while it is queued. Bytes borrowed in `data` may be passed
   * on as they are: the transport copies what it cannot send at once.
   */
  write(bytes: Uint8Array, start: number, end: number): WriteStatus;
  /** Sends a string of code points 0-255, one byte each: heads and small bodies in one call. */
  writeLatin1(text: string): WriteStatus;
  /**
   * Between `cork` and `uncork` writes are gathered and leave in as few system calls as possible.
   * Pieces of up to 16 KB are copied: their bytes may be changed as soon as `write` returns.
   */
  cork(): void;
  uncork(): WriteStatus;
  /** Stops `data` (and with it `end`) until `resume`. */
  pause(): void;
  /**
   * Asks that `bytes` be filled from `start` to its end by what is read next, without a copy: `data`
   * is then given views of it. It begins behind the reads under way, so some of what comes may still
   * lie elsewhere: the caller copies that to where it belongs and asks again, within that `data`, for
   * what is left. Ends when `bytes` is full, and when something came that lies elsewhere and nobody
   * asked again. False where the runtime cannot; then nothing changes.
   *
   * Until they are full or the socket is closed, the kernel may write to `bytes` at any time: nobody
   * who could transfer their buffer to another owner may be given them or a view of them.
   */
  readInto(bytes: Uint8Array, start: number): boolean;
  resume(): void;
  /**
   * Begins the TLS handshake that `ConnectOptions.laterTls` describes on the open connection. `open`
   * comes a second time when it is done; else `close` with TLS_FAILED, as for a connect that failed.
   * Nothing may be queued, and no byte of the peer may have been read beyond the plain part. May be
   * called within `data`.
   */
  startTls(): void;
  /** Half-closes after the send queue is flushed. */
  end(): void;
  /**
   * Drops the connection now, queued bytes included; `close(null)` follows, not synchronously, and
   * nothing else. `reset` sends RST where there is one: TCP, without TLS.
   */
  destroy(reset?: boolean): void;
  /** Whether idle connections keep the process alive. Sockets start out ref'd. */
  ref(): void;
  unref(): void;
}

export interface TlsOptions {
  /** Name for SNI and the certificate check; default: the host connected to. */
  serverName?: string;
  /** PEM certificates to trust instead of the runtime's. */
  ca?: string | string[];
  cert?: string;
  key?: string;
  /** Default true. */
  rejectUnauthorized?: boolean;
  alpnProtocols?: string[];
}

export interface ConnectOptions {
  /** An IP address or host name; resolving and racing addresses is the business of `client/`. */
  host?: string;
  port?: number;
  /** Path of a Unix socket, instead of host and port. */
  path?: string;
  tls?: TlsOptions;
  /** TLS that begins only when `startTls` is called, behind a proxy's answer to CONNECT. */
  laterTls?: TlsOptions;
  /**
   * Send queue limit; a write that would make the queue longer destroys the socket with
   * SEND_QUEUE_FULL. A write into an empty queue is always taken, however big: its memory is the
   * caller's already. Default {@link sendQueueBytesMax}.
   */
  sendQueueBytesMax?: number;
}

export interface ListenOptions {
  /** Default 127.0.0.1. */
  host?: string;
  /** 0 picks a free one. */
  port?: number;
  path?: string;
  backlog?: number;
  /** Share the port with other processes that say so too. Default false: the bind is exclusive. */
  reusePort?: boolean;
  /** A bound socket that was inherited, see `holdAddress`; `host` and `port`, or `path`, say where. */
  descriptor?: number;
  sendQueueBytesMax?: number;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  readonly path: string | null;
  /** Stops accepting; open sockets live on. Resolves when the address is free again. */
  close(): Promise<void>;
  /** Whether listening keeps the process alive. Listeners start out ref'd. */
  ref(): void;
  unref(): void;
}

export interface Transport {
  readonly name: 'node' | 'bun' | 'sim';
  readonly clock: Clock;
  /**
   * Resolves after a whole turn of the event loop: what had arrived at open sockets by now was read,
   * as far as one turn reads. Who decides by a timer that nothing came asks this first: timers run
   * before reads, so after a stall what came in time may not have been looked at.
   */
  turn(): Promise<void>;
  /** Uninitialized memory of its own for a body that is to be handed over. */
  bodyBuffer(byteLength: number): Buffer;
  /**
   * Uninitialized memory that goes back as soon as {@link freeBlock} says so, whenever the collector comes:
   * for what is bounded in bytes and may be much. To be read and written by JavaScript only; what
   * sockets take is a copy.
   */
  block(byteLength: number): Uint8Array;
  /** Nobody looks at this block any more. */
  freeBlock(block: Uint8Array): void;
  /**
   * Joins views of reads that were kept (`keepRead`) into bytes with a buffer of their own, and gives
   * the reads back: their memory may be freed at once, so no view of them may be used again. Not within
   * the `data` call that brought one of them.
   */
  joinReads(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer>;
  /** Gives back kept reads, or what `joinReads` made, without looking at them again. As above. */
  dropReads(pieces: readonly Uint8Array[]): void;
  /**
   * Starts connecting and returns at once; `open` or `close(error)` follows, never synchronously.
   * Errors: CONNECT_REFUSED, CONNECT_FAILED, RESOLVE_FAILED, TLS_FAILED. There is no timer in here:
   * the caller's connect deadline calls `destroy`.
   */
  connect<State>(
    options: ConnectOptions,
    handlers: SocketHandlers<State>,
    state: State,
  ): Socket<State>;
  /**
   * `makeState` runs once for each accepted socket, before `open`.
   * Rejects with ADDRESS_IN_USE or LISTEN_FAILED.
   */
  listen<State>(
    options: ListenOptions,
    handlers: SocketHandlers<State>,
    makeState: () => State,
  ): Promise<Listener>;
}

/** Default bound of what may wait in the send queue of one socket. */
export const sendQueueBytesMax = 16 * 1024 * 1024;
