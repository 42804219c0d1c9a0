/** What the users of `server/` provide and may set. */
import type { DeadlineWheel, OnehopError } from '../core/index.ts';
import type { Transport } from '../transport/index.ts';
import type { Exchange } from './exchange.ts';

/**
 * The callbacks of a server: one object for all connections and exchanges. None may throw for a
 * reason of the caller's; one that does costs its own exchange a 500, never the process.
 *
 * Order for one exchange: `onRequest`, then any number of `onBody`, then `onEnd` once the request
 * is complete; `onDrain` at any time after a write that returned `Queued`; last, exactly once,
 * `onFinish`. When the exchange fails (the caller left, a deadline passed, the request turned out
 * malformed), `onAbort` comes right before `onFinish` and nothing else follows. Pipelined requests
 * are handed over one after the other, each when the exchange before it is finished.
 */
export interface ServerHandler<State> {
  /** The request head is complete. Respond now or later; `exchange.state` is yours. */
  onRequest(exchange: Exchange<State>): void;
  /** `bytes[start, end)` of the request body, borrowed until the call returns. */
  onBody?(exchange: Exchange<State>, bytes: Uint8Array, start: number, end: number): void;
  /** The request is complete; its trailers are readable at `exchange.trailers`. */
  onEnd?(exchange: Exchange<State>): void;
  /** The response can be written again. */
  onDrain?(exchange: Exchange<State>): void;
  /** The exchange failed; stop working for it. ABORTED: the caller went away. */
  onAbort?(exchange: Exchange<State>, error: OnehopError): void;
  /** Exactly once and last, well or badly. Release what the exchange holds. */
  onFinish?(exchange: Exchange<State>): void;
  /** A request was answered by the server itself, before it was one for {@link onRequest}. */
  onRefused?(refusal: Refusal): void;
  /**
   * A connection was answered with `status` at once and closed, because of `limit`; those that come
   * while the server shuts down are not told of. A flood of them is a flood of calls.
   */
  onConnectionRefused?(
    limit: 'connectionsMax' | 'connectionsPerAddressMax',
    status: number,
    remoteAddress: string,
  ): void;
  /** A callback of this object threw, or `Exchange` was misused: a bug to report. */
  onError?(error: unknown, exchange: Exchange<State> | null): void;
}

/** A request that never became an exchange: malformed, too large or too slow in its head. */
export interface Refusal {
  /** What it was answered with. */
  readonly status: number;
  /** ABORTED: the caller left within the head. */
  readonly error: OnehopError;
  readonly remoteAddress: string;
  /** As received, where it was read that far; else empty. */
  readonly method: string;
  readonly target: string;
}

/** Callbacks of a connection that was handed over by {@link Exchange.upgrade}. */
export interface TunnelHandler<State> {
  data(exchange: Exchange<State>, bytes: Uint8Array, start: number, end: number): void;
  drain(exchange: Exchange<State>): void;
  /** The caller half-closed. */
  end(exchange: Exchange<State>): void;
}

/** Bounds of a server; every default is in `core/limits.ts`. */
export interface ServerLimits {
  /** Method, target and version. Breach: 414. */
  requestLineBytesMax: number;
  /** Request head. Breach: 431. */
  headBytesMax: number;
  headersCountMax: number;
  headerBytesMax: number;
  trailerBytesMax: number;
  trailersCountMax: number;
  chunkExtensionBytesMax: number;
  chunkExtensionsBytesMax: number;
  chunkSizeDigitsMax: number;
  /** Request body. Breach: 413. */
  bodyBytesMax: number;
  /** Open connections; beyond it a connection gets 503 and is closed. */
  connectionsMax: number;
  /**
   * Open connections of one address, but for those of {@link ServerOptions.isTrusted}. Breach:
   * {@link connectionsPerAddressStatus}. Default: no bound of its own.
   */
  connectionsPerAddressMax: number;
  /** 503, or 429: it is the address that has too many. Default 503. */
  connectionsPerAddressStatus: number;
  /** Exchanges on one connection; the last response says `Connection: close`. */
  requestsPerConnectionMax: number;
  /** Pipelined or paused bytes kept for one connection; then its socket is paused. */
  readAheadBytesMax: number;
  /** The same once a caller was held up for a second, so that its FIN is heard behind its bytes. */
  stalledReadAheadBytesMax: number;
  /** Callers at a time that may be read so far ahead. */
  stalledReadersMax: number;
  /** Bytes of an unwanted request body that are read and dropped to keep the connection. */
  lingerBytesMax: number;
}

/** Deadlines of the downstream side in milliseconds; every default is in `core/limits.ts`. */
export interface ServerTimeouts {
  /** Accept to first byte. Breach: close. */
  firstRequestTimeoutMs: number;
  /** First byte of a head to its end, however the bytes come. Breach: 408. */
  requestHeadTimeoutMs: number;
  /** Between two reads of a request body. Breach: 408. */
  requestBodyGapTimeoutMs: number;
  /** Slowest request body once `requestBodyGraceMs` is over. Breach: 408. */
  requestBodyBytesPerSecondMin: number;
  requestBodyGraceMs: number;
  /** Between two exchanges. Breach: close. */
  keepAliveTimeoutMs: number;
  /** Without any byte accepted by a caller we write to. Breach: RST. */
  writeStallTimeoutMs: number;
  /** Between our half-close and the end of the connection. */
  lingerTimeoutMs: number;
}

export interface ServerOptions<State> {
  handler: ServerHandler<State>;
  /** Default: the transport of the runtime. */
  transport?: Transport;
  /** Default: one of its own, on the clock of the transport. */
  wheel?: DeadlineWheel;
  limits?: Partial<ServerLimits>;
  timeouts?: Partial<ServerTimeouts>;
  /**
   * Whether a caller that half-closes still gets its response. Default false: a FIN during an
   * exchange is how a caller that was closed or killed shows, so it aborts. `probe` tells the two
   * apart by writing an unasked 100: a caller that is gone answers with a reset.
   */
  allowHalfOpen?: boolean | 'probe';
  /** Whether `100 Continue` is sent when `onRequest` returns without an answer. Default true. */
  autoContinue?: boolean;
  /**
   * Whether many callers share this address, as those of a proxy do: `connectionsPerAddressMax` does
   * not hold for it. Asked when it would be refused. Default: no address is.
   */
  isTrusted?: (address: string) => boolean;
  /** Value of a `Server` field in every response; none by default. */
  serverName?: string;
}

/** Running totals of a server. Gauges are exact between events. */
export interface ServerCounters {
  connectionsOpened: number;
  connectionsOpen: number;
  /** Closed at once: because of a limit, or because the server shuts down. */
  connectionsRefused: number;
  /** Those of them that were refused for `connectionsPerAddressMax`. */
  connectionsRefusedPerAddress: number;
  /** Those of them that came while the server shut down. */
  connectionsRefusedClosing: number;
  requests: number;
  exchangesOpen: number;
  /** Exchanges that ended by `onAbort`. */
  aborts: number;
  /** Answers made by the server itself to malformed or late requests. */
  protocolErrors: number;
  bytesIn: number;
  bytesOut: number;
}
