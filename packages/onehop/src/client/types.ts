/** The shapes of the callback core: what a caller hands to `origin.dispatch` and what comes back. */
import type { OnehopError } from '../core/index.ts';
import type { FieldBlock, HeaderTable, ResponseHead } from '../http1/index.ts';
import type { PoolStats } from '../pool/index.ts';
import type { Exchange } from './exchange.ts';
import type { KeptHead } from './kept-head.ts';
import type { Tunnel } from './tunnel.ts';

/**
 * Receives one exchange. Per exchange: `onHead` at most once; then `onBody` any number of times; then
 * exactly one of `onEnd`, `onUpgrade` and `onError`, last and once. Nothing comes after it. A handler
 * may be shared by many exchanges. It must not throw: one that does is reported and fails its exchange
 * with INTERNAL; from `onEnd`, `onUpgrade` and `onError`, when there is nothing left to fail, `onFault`
 * follows. All calls may come from within `dispatch`, `abort` or `write`.
 */
export interface ExchangeHandler {
  /** The final response head. `head` is readable only until the call returns. */
  onHead(exchange: Exchange, head: ResponseHead): void;
  /** `bytes[start, end)` of the body, borrowed until the call returns: copy what must live longer. */
  onBody(exchange: Exchange, bytes: Uint8Array, start: number, end: number): void;
  /**
   * The one read of the socket that is at hand holds nothing but whole chunks, `bytes[start, end)`
   * with their framing, `dataBytes` of data, those of the last chunk from `lastStart` on. A handler
   * that passes them on as they are returns true, and hears neither `onBody` nor `onReadEnd` of them.
   * Asked only where {@link Exchange.wantsChunks} was set. `nowMs` is the time of the read.
   */
  onChunks?(
    exchange: Exchange,
    bytes: Uint8Array,
    start: number,
    end: number,
    dataBytes: number,
    lastStart: number,
    nowMs: number,
  ): boolean;
  /** The response is complete. The connection is already free for the next exchange. */
  onEnd(exchange: Exchange): void;
  onError(exchange: Exchange, error: OnehopError): void;
  /**
   * `onEnd`, `onUpgrade` or `onError` threw `error`, and the exchange is over: end whatever waits for
   * it, or it waits for ever.
   */
  onFault?(exchange: Exchange, error: unknown): void;
  /**
   * What one read of the socket held was handed over, and the response goes on: flush what was
   * gathered from it. Not called when the read brought `onEnd` or `onError`.
   */
  onReadEnd?(exchange: Exchange): void;
  /** A 1xx response other than 101; `head` is readable only until the call returns. */
  onInterim?(exchange: Exchange, head: ResponseHead): void;
  /** Trailer fields, just before `onEnd`; called only when there are any. */
  onTrailers?(exchange: Exchange, trailers: HeaderTable): void;
  /**
   * Streamed request bodies only: write now. Called once the head is out (what is written in this
   * call leaves in the same system call as the head) and after each `write` that returned `Queued`.
   */
  onDrain?(exchange: Exchange): void;
  /**
   * 101, or 2xx to CONNECT: the connection is yours. `bytes[start, end)` came behind the head and
   * are borrowed. Without this method such a response is RESPONSE_INVALID.
   */
  onUpgrade?(
    exchange: Exchange,
    head: ResponseHead,
    tunnel: Tunnel,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void;
}

/** A request body that the caller writes piece by piece through `exchange.write`. */
export interface StreamedBody {
  /** Exact number of bytes to come; null sends it chunked. */
  readonly length: number | null;
  /**
   * The writer keeps a first piece that `write` answered with `Closed`, and writes it again when
   * `onDrain` comes once more: until a piece is taken the request may then move to another connection.
   */
  readonly keepsUnsent?: boolean;
}

export type RequestBody = Uint8Array | string | StreamedBody | null;

/** One request as the core takes it: checked already, ready to be written. */
export interface DispatchRequest {
  readonly method: string;
  /** Origin-form target: path and query, ASCII. */
  readonly target: string;
  /** Checked header fields. Host, framing and Connection are the core's and cannot be in here. */
  readonly fields: FieldBlock;
  readonly body: RequestBody;
  /** Value of the Host field instead of the origin's. */
  readonly host?: string | undefined;
  /** Overrides what the method says; see {@link decideRetry}. */
  readonly idempotent?: boolean | undefined;
  /** Extra attempts; overrides the origin's. */
  readonly retries?: number | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** Value of the Upgrade field; the core adds `Connection: upgrade`. */
  readonly upgrade?: string | undefined;
  /**
   * Adds `Expect: 100-continue`. `onInterim` hears of the server's 100; when the body is written is the
   * handler's business all the same.
   */
  readonly expectContinue?: boolean | undefined;
  /** Ask the server to close the connection after the response. */
  readonly close?: boolean | undefined;
  /** Requests with the same one differ in {@link slot} only: their head is made once. */
  readonly kept?: KeptHead | null | undefined;
  /** Value of the field that {@link kept} names. */
  readonly slot?: string | undefined;
}

/** The deadlines of an exchange in milliseconds; 0 switches one off. */
export interface Timeouts {
  /** One connection attempt: name, TCP, TLS. */
  readonly connectTimeoutMs: number;
  /** Request handed to the connection to response head. */
  readonly headTimeoutMs: number;
  /** Response head to first body byte. */
  readonly firstByteTimeoutMs: number;
  /** Between two pieces of the body, while the reader does not hold them up. */
  readonly idleTimeoutMs: number;
  /** The whole exchange, waiting and retries included. */
  readonly totalTimeoutMs: number;
  /** Waiting for a connection when all are taken. */
  readonly queueTimeoutMs: number;
}

/** Where an origin is and how to reach it. */
export interface OriginAddress {
  readonly scheme: 'http' | 'https';
  /** Host name or IP address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** Unix socket to connect to instead; host and port then only name the origin. */
  readonly socketPath?: string | undefined;
}

export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
  /** `Proxy-Authorization` value, or null. Never shown in errors. */
  readonly authorization: string | null;
}

/** Totals and states of one origin; see also `PoolStats`. */
export interface OriginStats {
  connections: PoolStats;
  requests: number;
  retries: number;
  failures: number;
  active: number;
}
