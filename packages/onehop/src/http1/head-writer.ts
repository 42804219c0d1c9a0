import { type FieldBlock, fieldError, RESERVED } from './field-block.ts';
import { isFieldValue, isTarget, isToken } from './field-text.ts';
import { Framing, type HeaderTable } from './header-table.ts';
import type { HopByHopFilter } from './hop-by-hop.ts';
import { KnownField } from './known-field.ts';
import { ParseError } from './parse-error.ts';
import { statusLine } from './status.ts';

/** What the head says about the connection. HTTP/1.1 keeps it open by saying nothing. */
export const Connection = { KeepAlive: 0, Close: 1, Upgrade: 2 } as const;
export type Connection = (typeof Connection)[keyof typeof Connection];

/**
 * Builds request and response heads, and is the only place where framing and hop-by-hop fields are
 * written. Nothing invalid can leave: names must be tokens, values free of controls, the target one
 * word; the first fault is kept in {@link errorCode}, later calls do nothing and the result is empty.
 * One writer is reused for any number of heads.
 *
 * ```ts
 * writer.beginRequest('POST', '/v1/x', 'api.test');
 * writer.field('content-type', 'application/json');
 * const head = writer.end(Framing.Length, 12, Connection.KeepAlive);
 * if (writer.errorCode !== 0) ...
 * ```
 * The result is a latin1 string for `socket.writeLatin1`; {@link writeInto} puts it into bytes.
 */
export class HeadWriter {
  /** 0 or the first {@link ParseError} since `begin`. */
  errorCode = 0;
  private text = '';
  private isRequest = false;
  private status = 0;
  private peerMinor = 1;
  private protocol = '';
  private teTrailers = false;
  private keepAliveSeconds = 0;
  private goodMethod = 'GET';
  private goodTarget = '/';
  private goodHost = 'localhost';
  private lastLength = -1;
  private lastEnd = '';

  /** Starts a request. `host` is the Host field: host and, unless it is the default, port. */
  beginRequest(method: string, target: string, host: string): void {
    this.reset(true);
    // What was found good the time before is good again.
    if (method !== this.goodMethod || target !== this.goodTarget) {
      if (!isToken(method) || !isTarget(target)) {
        this.errorCode = ParseError.InvalidName;
        return;
      }
      this.goodMethod = method;
      this.goodTarget = target;
    }
    if (host !== this.goodHost) {
      if (!isTarget(host)) {
        this.errorCode = ParseError.InvalidValue;
        return;
      }
      this.goodHost = host;
    }
    this.text = `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n`;
  }

  /**
   * Starts a response; the version sent is always 1.1. `reason` null takes the usual phrase.
   * `peerMinor` is the minor version of the request: HTTP/1.0 is never sent chunks or 1xx.
   */
  beginResponse(status: number, reason: string | null = null, peerMinor = 1): void {
    this.reset(false);
    this.status = status;
    this.peerMinor = peerMinor;
    const line = statusLine(status);
    if (line === undefined || (status < 200 && peerMinor === 0)) {
      this.errorCode = ParseError.InvalidFraming;
    } else if (reason === null) this.text = line;
    else if (isFieldValue(reason)) this.text = `HTTP/1.1 ${status} ${reason}\r\n`;
    else this.errorCode = ParseError.InvalidValue;
  }

  private reset(isRequest: boolean): void {
    this.errorCode = 0;
    this.text = '';
    this.isRequest = isRequest;
    this.status = 0;
    this.peerMinor = 1;
    this.protocol = '';
    this.teTrailers = false;
    this.keepAliveSeconds = 0;
  }

  /** Adds one field. Framing, Connection and, in requests, Host are refused (ReservedField). */
  field(name: string, value: string): void {
    if (this.errorCode !== 0) return;
    const error = fieldError(name, value, this.isRequest);
    if (error !== 0) this.errorCode = error;
    else this.text += `${name}: ${value}\r\n`;
  }

  /** Adds fields that were checked when the block was made. */
  block(block: FieldBlock): void {
    if (this.errorCode !== 0) return;
    if (block.errorCode !== 0) this.errorCode = block.errorCode;
    else this.text += block.text;
  }

  /**
   * Adds field `index` of a parsed head as it was sent. The parser has checked it, so this only
   * refuses what {@link end} writes itself.
   */
  copy(head: HeaderTable, index: number): void {
    if (this.errorCode !== 0) return;
    const id = head.ids[index]!;
    if (RESERVED[id] === 1 || (this.isRequest && id === KnownField.Host)) {
      this.errorCode = ParseError.ReservedField;
      return;
    }
    this.text += `${head.name(index)}: ${head.value(index)}\r\n`;
  }

  /**
   * Adds every end-to-end field of a parsed head except Content-Length, Host (in requests) and those
   * that `drop` (indexed by {@link KnownField}) marks. `filter` must have been applied to `head`.
   */
  copyEndToEnd(head: HeaderTable, filter: HopByHopFilter, drop: Uint8Array | null = null): void {
    if (this.errorCode !== 0) return;
    let text = this.text;
    for (let i = 0; i < head.count; i++) {
      const id = head.ids[i]!;
      if (id !== 0) {
        if (RESERVED[id] === 1 || (this.isRequest && id === KnownField.Host)) continue;
        if (drop !== null && drop[id] === 1) continue;
      }
      if (!filter.isHopByHop(i)) text += `${head.name(i)}: ${head.value(i)}\r\n`;
    }
    this.text = text;
  }

  /** Offers or accepts another protocol; `end` then needs Connection.Upgrade. */
  upgrade(protocol: string): void {
    if (this.errorCode !== 0) return;
    if (protocol.length === 0 || !isFieldValue(protocol)) this.errorCode = ParseError.InvalidValue;
    else this.protocol = protocol;
  }

  /** Says that trailers are understood (RFC 9110 section 10.1.4). Requests only. */
  acceptTrailers(): void {
    this.teTrailers = true;
  }

  /** Tells the peer how long the connection may idle. */
  keepAliveTimeout(seconds: number): void {
    this.keepAliveSeconds = seconds;
  }

  /**
   * Writes framing and connection fields and returns the head, or '' when {@link errorCode} is set.
   * Length needs a whole number >= 0. A response to HEAD passes the framing its GET would have.
   * InvalidFraming: Close or Tunnel in a request; a body in 1xx or 204; no framing in another response
   * but 304 (an empty body is Length 0); chunks for HTTP/1.0.
   */
  end(framing: Framing, contentLength: number, connection: Connection): string {
    if (this.errorCode === 0)
      this.errorCode = this.framingError(framing, contentLength, connection);
    if (this.errorCode !== 0) return '';
    let text = this.text;
    this.text = '';
    if (connection === Connection.KeepAlive && !this.teTrailers && this.keepAliveSeconds === 0) {
      if (framing === Framing.Length) return text + this.lengthEnd(contentLength);
      if (framing === Framing.None) return `${text}\r\n`;
    }
    if (framing === Framing.Length) text += `content-length: ${contentLength}\r\n`;
    else if (framing === Framing.Chunked) text += 'transfer-encoding: chunked\r\n';
    if (connection === Connection.Upgrade) {
      text += `connection: upgrade\r\nupgrade: ${this.protocol}\r\n`;
    } else if (this.teTrailers && this.isRequest) {
      text +=
        connection === Connection.Close ? 'te: trailers\r\nconnection: te, close\r\n' : TE_ONLY;
    } else if (connection === Connection.Close || framing === Framing.Close) {
      text += 'connection: close\r\n';
    } else if (this.keepAliveSeconds > 0) {
      text += `keep-alive: timeout=${this.keepAliveSeconds}\r\n`;
    }
    return `${text}\r\n`;
  }

  /** The last lines of a head that says nothing but the length; those of one length often repeat. */
  private lengthEnd(contentLength: number): string {
    if (contentLength !== this.lastLength) {
      this.lastLength = contentLength;
      this.lastEnd = `content-length: ${contentLength}\r\n\r\n`;
    }
    return this.lastEnd;
  }

  private framingError(framing: Framing, length: number, connection: Connection): number {
    const { status } = this;
    let ok = connection !== Connection.Upgrade || this.protocol !== '';
    if (framing === Framing.Length) ok &&= length >= 0 && Number.isSafeInteger(length);
    if (this.isRequest) {
      ok &&= framing <= Framing.Chunked;
      if (connection === Connection.Upgrade) ok &&= framing === Framing.None;
    } else {
      if (status < 200 || status === 204) ok &&= framing === Framing.None || status === 101;
      // Without framing the peer would wait for the end of the connection.
      else if (status !== 304) ok &&= framing !== Framing.None;
      if (status === 101) ok &&= framing === Framing.Tunnel && connection === Connection.Upgrade;
      if (framing === Framing.Chunked) ok &&= this.peerMinor === 1;
    }
    return ok ? 0 : ParseError.InvalidFraming;
  }
}

const TE_ONLY = 'te: trailers\r\nconnection: te\r\n';

/**
 * Puts a head (or any latin1 string) into `bytes` at `offset` and returns the offset behind it, or
 * -1 when it does not fit.
 */
export function writeInto(bytes: Buffer, offset: number, head: string): number {
  if (head.length > bytes.length - offset) return -1;
  return offset + bytes.write(head, offset, head.length, 'latin1');
}
