import { BYTE_CLASS, CR, LF, SP, TARGET, TARGET_LOOSE, TOKEN } from './byte-class.ts';
import { NEED_MORE } from './field-parser.ts';
import { ConnectionOption, connectionOptions, readFramingFields } from './framing.ts';
import { Framing, latin1, RequestHead } from './header-table.ts';
import { KnownField } from './known-field.ts';
import { type ParserLimits, requestLimits } from './limits.ts';
import { HeadAndBodyParser } from './message-parser.ts';
import { ParseError } from './parse-error.ts';
import { isAuthority, parseTarget } from './request-target.ts';
import { Read } from './types.ts';

/** Registered methods are shorter (UPDATEREDIRECTREF has 17 letters). */
export const METHOD_BYTES_MAX = 32;
/** Empty lines ignored before a request line (RFC 9112 section 2.2 asks for at least one). */
const EMPTY_LINES_MAX = 1;

const QUESTION = 0x3f;

const Method = 0;
const Target = 1;
const Query = 2;
const Version = 3;
const LineFeed = 4;

/** `HTTP/` */
const PREFIX = [0x48, 0x54, 0x54, 0x50, 0x2f];
const VERSION_BYTES = 8;

/**
 * Requests, strictly (RFC 9112 sections 3, 5 and 6). Whatever the RFC lets a strict recipient refuse
 * is refused: bare LF, obs-fold, whitespace round names, several framing fields, unknown codings,
 * malformed targets and hosts. Call {@link begin} before each request of a connection.
 */
export class RequestParser extends HeadAndBodyParser<RequestHead> {
  readonly head = new RequestHead();
  private state: number = Method;
  private at = 0;
  private versionStart = 0;
  private emptyLines = 0;
  private awaitsLf = false;

  constructor(limits: ParserLimits = requestLimits) {
    super(limits);
    this.begin();
  }

  begin(): void {
    this.emptyLines = 0;
    this.awaitsLf = false;
    this.beginMessage();
  }

  /**
   * Method and target of a request that failed, empty where it was not read that far. Call it before
   * the parser reads on: it borrows the bytes as the head does.
   */
  requestLine(): { method: string; target: string } {
    const { head } = this;
    const { bytes } = head;
    // Nothing but line ends has come: the state is still that of the request before.
    const state = bytes.length === 0 ? Method : this.state;
    return {
      method: state > Method ? latin1(bytes, head.methodStart, head.methodEnd) : '',
      target: state > Query ? latin1(bytes, head.targetStart, head.targetEnd) : '',
    };
  }

  protected override skipBefore(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      if (this.awaitsLf) {
        if (bytes[at] !== LF) return this.refuse(ParseError.BareCr);
        this.awaitsLf = false;
        this.emptyLines++;
      } else if (bytes[at] === CR) {
        if (this.emptyLines >= EMPTY_LINES_MAX) return this.refuse(ParseError.InvalidRequestLine);
        this.awaitsLf = true;
      } else break;
      at++;
    }
    return at;
  }

  private refuse(code: number): number {
    this.errorCode = code;
    return -1;
  }

  protected override isInterim(): boolean {
    return false;
  }

  /** A connection that closes between requests is no fault. */
  protected override finishEmpty(): Read {
    return this.awaitsLf ? this.fail(ParseError.ClosedInHead) : Read.NeedMore;
  }

  protected override beginStartLine(at: number): void {
    this.at = at;
    this.state = Method;
    this.head.methodStart = at;
  }

  protected override shiftStartLine(delta: number): void {
    this.at += delta;
    this.versionStart += delta;
  }

  protected override readStartLine(bytes: Uint8Array, limit: number): number {
    const lineStop = this.head.start + this.limits.requestLineBytesMax;
    const result = this.readRequestLine(bytes, Math.min(lineStop, limit), limit);
    if (result !== NEED_MORE || this.at < lineStop || this.state === LineFeed) return result;
    // CR may stand at lineStop, but nothing else of the line.
    const isWhole = this.state === Version && this.at - this.versionStart === VERSION_BYTES;
    return isWhole ? result : ParseError.UriTooLong;
  }

  private readRequestLine(bytes: Uint8Array, stop: number, limit: number): number {
    const classes = BYTE_CLASS;
    const head = this.head;
    let at = this.at;
    if (this.state === Method) {
      const methodStop = head.methodStart + METHOD_BYTES_MAX;
      const until = Math.min(methodStop, stop);
      while (at < until && (classes[bytes[at]!]! & TOKEN) !== 0) at++;
      if (at >= stop) return this.pause(at);
      if (bytes[at] !== SP) {
        if (at === methodStop && (classes[bytes[at]!]! & TOKEN) !== 0) {
          return ParseError.MethodTooLong;
        }
        return requestLineError(bytes[at]!, ParseError.InvalidMethod);
      }
      if (at === head.methodStart) return ParseError.InvalidMethod;
      head.methodEnd = at++;
      head.targetStart = at;
      this.state = Target;
    }
    if (this.state === Target) {
      while (at < stop && (classes[bytes[at]!]! & TARGET) !== 0) at++;
      if (at < stop && bytes[at] === QUESTION) this.state = Query;
      else if (at >= stop) return this.pause(at);
    }
    if (this.state === Query) {
      while (at < stop && (classes[bytes[at]!]! & TARGET_LOOSE) !== 0) at++;
    }
    if (this.state === Target || this.state === Query) {
      if (at >= stop) return this.pause(at);
      if (bytes[at] !== SP || at === head.targetStart) {
        return requestLineError(bytes[at]!, ParseError.InvalidTarget);
      }
      head.targetEnd = at++;
      this.versionStart = at;
      this.state = Version;
    }
    if (this.state === Version) {
      if (at === this.versionStart && stop - at > VERSION_BYTES && isHttp11(bytes, at)) {
        head.versionMinor = 1;
        at += VERSION_BYTES + 1;
      }
      // `HTTP/1.1` ends at versionStart + 8, where CR may stand even at the very limit of the line.
      while (at < limit && at - this.versionStart <= VERSION_BYTES) {
        if (at >= stop && at - this.versionStart < VERSION_BYTES) return this.pause(at);
        const error = this.judgeVersion(bytes[at]!, at - this.versionStart);
        if (error !== 0) return error;
        at++;
      }
      if (at - this.versionStart <= VERSION_BYTES) return this.pause(at);
      this.state = LineFeed;
    }
    if (at >= limit) return this.pause(at);
    if (bytes[at] !== LF) return ParseError.BareCr;
    this.fields.begin(at + 1);
    return 0;
  }

  private pause(at: number): number {
    this.at = at;
    return NEED_MORE;
  }

  /** `HTTP/1.x CR`, byte `index` of it. */
  private judgeVersion(byte: number, index: number): number {
    if (index < 5) return byte === PREFIX[index] ? 0 : ParseError.InvalidVersion;
    if (index === 6) return byte === 0x2e ? 0 : ParseError.InvalidVersion;
    if (index === 8) return byte === CR ? 0 : requestLineError(byte, ParseError.InvalidVersion);
    if (byte < 0x30 || byte > 0x39) return ParseError.InvalidVersion;
    if (index === 5) return byte === 0x31 ? 0 : ParseError.UnsupportedVersion;
    this.head.versionMinor = byte - 0x30;
    return byte <= 0x31 ? 0 : ParseError.UnsupportedVersion;
  }

  protected override completeHead(): number {
    const head = this.head;
    const bytes = head.bytes;
    const isConnect = equalsExactly(bytes, head.methodStart, head.methodEnd, 'CONNECT');
    const isOptions = equalsExactly(bytes, head.methodStart, head.methodEnd, 'OPTIONS');
    const error =
      parseTarget(head, isConnect, isOptions) || this.readHost() || readFramingFields(head);
    if (error !== 0) return error;
    const options = head.has(KnownField.Connection) ? connectionOptions(head) : 0;
    if ((options & ConnectionOption.Invalid) !== 0) return ParseError.InvalidConnection;
    if ((options & ConnectionOption.Framing) !== 0) return ParseError.FramingNominated;
    head.keepAlive = head.versionMinor === 1 && (options & ConnectionOption.Close) === 0;
    head.nominates = (options & ConnectionOption.Other) !== 0;
    if (head.has(KnownField.TransferEncoding)) head.framing = Framing.Chunked;
    else head.framing = head.contentLength >= 0 ? Framing.Length : Framing.None;
    const hasBody = head.framing === Framing.Chunked || head.contentLength > 0;
    // Upgrade with a body would leave both sides guessing where the new protocol begins; a server
    // may always ignore it (RFC 9110 section 7.8).
    head.upgrade =
      (options & ConnectionOption.Upgrade) !== 0 &&
      head.versionMinor === 1 &&
      !hasBody &&
      head.has(KnownField.Upgrade);
    return head.has(KnownField.Expect) && head.versionMinor === 1 ? this.readExpect(hasBody) : 0;
  }

  /** Exactly one valid Host; HTTP/1.0 may go without (RFC 9112 section 3.2). */
  private readHost(): number {
    const head = this.head;
    const index = head.indexOf(KnownField.Host);
    if (index < 0) return head.versionMinor === 0 ? 0 : ParseError.MissingHost;
    if (head.indexOf(KnownField.Host, index + 1) >= 0) return ParseError.RepeatedHost;
    const start = head.valueStart(index);
    const end = head.valueEnd(index);
    if (!isAuthority(head.bytes, start, end, false)) return ParseError.InvalidHost;
    if (head.authorityEnd === 0) {
      head.authorityStart = start;
      head.authorityEnd = end;
    }
    return 0;
  }

  /** The only expectation is 100-continue (RFC 9110 section 10.1.1). */
  private readExpect(hasBody: boolean): number {
    const head = this.head;
    const index = head.indexOf(KnownField.Expect);
    if (head.indexOf(KnownField.Expect, index + 1) >= 0) return ParseError.RepeatedExpect;
    if (!head.valueEquals(index, '100-continue')) return ParseError.UnknownExpectation;
    head.expectContinue = hasBody;
    return 0;
  }
}

/** `HTTP/1.1 CR` in one step. */
function isHttp11(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === 0x48 &&
    bytes[at + 1] === 0x54 &&
    bytes[at + 2] === 0x54 &&
    bytes[at + 3] === 0x50 &&
    bytes[at + 4] === 0x2f &&
    bytes[at + 5] === 0x31 &&
    bytes[at + 6] === 0x2e &&
    bytes[at + 7] === 0x31 &&
    bytes[at + 8] === CR
  );
}

/** A line that ends too early, or `otherwise`. */
function requestLineError(byte: number, otherwise: number): number {
  if (byte === LF) return ParseError.BareLf;
  return byte === CR ? ParseError.InvalidRequestLine : otherwise;
}

/** Compares with a string of the same case: methods are case-sensitive. */
function equalsExactly(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start !== text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text.charCodeAt(i)) return false;
  return true;
}
