import { BYTE_CLASS, CR, LF, SP, VALUE } from './byte-class.ts';
import { NEED_MORE } from './field-parser.ts';
import { ConnectionOption, connectionOptions, readFramingFields } from './framing.ts';
import { Framing, ResponseHead } from './header-table.ts';
import { KnownField } from './known-field.ts';
import { type ParserLimits, responseLimits } from './limits.ts';
import { HeadAndBodyParser } from './message-parser.ts';
import { ParseError } from './parse-error.ts';
import type { Read } from './types.ts';

/** `HTTP/1.` */
const PREFIX = [0x48, 0x54, 0x54, 0x50, 0x2f, 0x31, 0x2e];
const MINOR = 7;
const FIRST_SPACE = 8;
const SECOND_SPACE = 12;
const REASON = 13;

/**
 * Responses, strictly (RFC 9112 sections 4, 6.3 and 9.2). The owner says what it waits for with
 * {@link begin}, once for each request, oldest first; bytes that nobody waits for are an error.
 */
export class ResponseParser extends HeadAndBodyParser<ResponseHead> {
  readonly head = new ResponseHead();
  private isHead = false;
  private isConnect = false;
  private offersUpgrade = false;
  private interimCount = 0;
  /** Where the status line ends, once its CR was seen: 1 when LF is awaited. */
  private awaitsLf = false;
  private at = 0;

  constructor(limits: ParserLimits = responseLimits) {
    super(limits);
  }

  /**
   * Expects the response to one request. `isHead`: it was HEAD, so there is no body. `isConnect`: it
   * was CONNECT, so 2xx opens a tunnel. `offersUpgrade`: it carried Upgrade, so 101 is acceptable.
   */
  begin(isHead = false, isConnect = false, offersUpgrade = false): void {
    this.isHead = isHead;
    this.isConnect = isConnect;
    this.offersUpgrade = offersUpgrade;
    this.interimCount = 0;
    this.beginMessage();
  }

  protected override headKind(): number {
    return (this.isHead ? 1 : 0) | (this.isConnect ? 2 : 0) | (this.offersUpgrade ? 4 : 0);
  }

  protected override beginStartLine(at: number): void {
    this.at = at;
    this.awaitsLf = false;
  }

  protected override shiftStartLine(delta: number): void {
    this.at += delta;
  }

  protected override skipBefore(_bytes: Uint8Array, start: number): number {
    return start;
  }

  protected override isInterim(): boolean {
    return this.head.status < 200 && this.head.status !== 101;
  }

  protected override finishEmpty(): Read {
    return this.fail(ParseError.ClosedBeforeHead);
  }

  protected override readStartLine(bytes: Uint8Array, limit: number): number {
    const head = this.head;
    const base = head.start;
    let at = this.at;
    if (!this.awaitsLf) {
      if (at === base && limit - at > REASON && this.readUsualPrefix(bytes, at)) at += REASON;
      while (at < limit && at - base < REASON) {
        const error = this.judgePrefix(bytes[at]!, at - base);
        if (error !== 0) return error;
        at++;
      }
      while (at < limit && (BYTE_CLASS[bytes[at]!]! & VALUE) !== 0) at++;
      if (at >= limit) {
        this.at = at;
        return NEED_MORE;
      }
      if (bytes[at] !== CR) {
        return bytes[at] === LF ? ParseError.BareLf : ParseError.InvalidReason;
      }
      head.reasonStart = base + REASON;
      head.reasonEnd = at++;
      this.awaitsLf = true;
    }
    if (at >= limit) {
      this.at = at;
      return NEED_MORE;
    }
    if (bytes[at] !== LF) return ParseError.BareCr;
    this.fields.begin(at + 1);
    return 0;
  }

  /** `HTTP/1.x NNN ` in one step; false leaves the judgement to {@link judgePrefix}. */
  private readUsualPrefix(bytes: Uint8Array, at: number): boolean {
    const minor = bytes[at + 7]! - 0x30;
    const hundreds = bytes[at + 9]! - 0x30;
    const tens = bytes[at + 10]! - 0x30;
    const ones = bytes[at + 11]! - 0x30;
    if (
      bytes[at] !== 0x48 ||
      bytes[at + 1] !== 0x54 ||
      bytes[at + 2] !== 0x54 ||
      bytes[at + 3] !== 0x50 ||
      bytes[at + 4] !== 0x2f ||
      bytes[at + 5] !== 0x31 ||
      bytes[at + 6] !== 0x2e ||
      (minor !== 1 && minor !== 0) ||
      bytes[at + 8] !== SP ||
      bytes[at + 12] !== SP ||
      hundreds < 1 ||
      hundreds > 5 ||
      tens < 0 ||
      tens > 9 ||
      ones < 0 ||
      ones > 9
    ) {
      return false;
    }
    this.head.versionMinor = minor;
    this.head.status = hundreds * 100 + tens * 10 + ones;
    return true;
  }

  /** `HTTP/1.x SP 3DIGIT SP`, byte `index` of it. */
  private judgePrefix(byte: number, index: number): number {
    const head = this.head;
    if (index < MINOR) return byte === PREFIX[index] ? 0 : ParseError.InvalidStatusLine;
    if (index === MINOR) {
      head.versionMinor = byte - 0x30;
      return byte === 0x30 || byte === 0x31 ? 0 : ParseError.UnsupportedVersion;
    }
    if (index === FIRST_SPACE || index === SECOND_SPACE) {
      return byte === SP ? 0 : ParseError.InvalidStatusLine;
    }
    const digit = byte - 0x30;
    if (digit < 0 || digit > 9) return ParseError.InvalidStatus;
    if (index === FIRST_SPACE + 1) {
      head.status = digit * 100;
      return digit >= 1 && digit <= 5 ? 0 : ParseError.InvalidStatus;
    }
    head.status += index === FIRST_SPACE + 2 ? digit * 10 : digit;
    return 0;
  }

  protected override completeHead(): number {
    const head = this.head;
    const status = head.status;
    const options = head.has(KnownField.Connection) ? connectionOptions(head) : 0;
    if ((options & ConnectionOption.Invalid) !== 0) return ParseError.InvalidConnection;
    head.keepAlive = head.versionMinor === 1 && (options & ConnectionOption.Close) === 0;
    head.upgrade = (options & ConnectionOption.Upgrade) !== 0 && head.has(KnownField.Upgrade);
    head.nominates = (options & (ConnectionOption.Other | ConnectionOption.Framing)) !== 0;
    if (status < 200) return this.completeInterim(status);
    if (this.isConnect && status < 300) {
      head.framing = Framing.Tunnel;
      return 0;
    }
    const error = readFramingFields(head);
    if (error !== 0) return error;
    const isChunked = head.has(KnownField.TransferEncoding);
    if (this.isHead || status === 204 || status === 304) {
      // Forbidden in 204: whoever sends it may also send the body, so the connection is not reused.
      if (status === 204 && (isChunked || head.contentLength > 0)) head.keepAlive = false;
      head.framing = Framing.None;
    } else if (isChunked) {
      head.framing = Framing.Chunked;
    } else if (head.contentLength >= 0) {
      head.framing = Framing.Length;
    } else {
      head.framing = Framing.Close;
      head.keepAlive = false;
    }
    return 0;
  }

  /** 1xx has no body whatever its fields say; 101 ends HTTP on this connection (section 6.3). */
  private completeInterim(status: number): number {
    const head = this.head;
    if (status === 101) {
      if (!this.offersUpgrade) return ParseError.UnexpectedSwitch;
      if (!head.upgrade) return ParseError.SwitchWithoutUpgrade;
      head.framing = Framing.Tunnel;
      return 0;
    }
    return ++this.interimCount > this.limits.interimResponsesMax ? ParseError.TooManyInterim : 0;
  }
}
