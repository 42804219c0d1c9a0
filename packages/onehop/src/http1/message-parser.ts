import { Chunk, ChunkedDecoder } from './chunked-decoder.ts';
import { FieldParser, NEED_MORE } from './field-parser.ts';
import { Framing, HeaderTable, type MessageHead } from './header-table.ts';
import type { ParserLimits } from './limits.ts';
import { ParseError } from './parse-error.ts';
import { FORBIDDEN_IN_TRAILERS } from './trailer-fields.ts';
import { type MessageParser, Read } from './types.ts';

/** Where in a message the parser is. */
const Idle = 0;
const Head = 1;
const LengthBody = 2;
const ChunkedBody = 3;
const Trailers = 4;
const CloseBody = 5;
const Ended = 6;
const Failed = 7;
const AfterInterim = 8;

/** A kept head larger than this is let go after the message, so that idle connections stay small. */
const KEPT_BYTES = 1024;
const EMPTY_TRAILERS = new HeaderTable();

/**
 * What the request and the response parser share: keeping a head that arrives in pieces, bodies,
 * trailers and ends. Sub-classes read the start line and decide the framing.
 */
export abstract class HeadAndBodyParser<H extends MessageHead> implements MessageParser {
  position = 0;
  bodyStart = 0;
  bodyEnd = 0;
  errorCode = 0;
  /** Body bytes delivered so far. */
  bodyBytes = 0;
  /**
   * Bound of the body of this message; set from the limits by `begin`. May be changed between
   * `Read.Head` and the first body byte (a route's own limit).
   */
  bodyBytesMax: number;
  /** The current head; valid as {@link HeaderTable} says. */
  abstract readonly head: H;
  protected readonly limits: ParserLimits;
  protected readonly fields = new FieldParser();
  /** The start line is over and field lines follow. */
  protected inFields = false;
  private phase: number = Idle;
  /** Body bytes still to come with Framing.Length. */
  private left = 0;
  private chunked: ChunkedDecoder | null = null;
  private trailerTable: HeaderTable | null = null;
  /** Bytes of a head or trailer section that began in an earlier read. */
  private kept: Buffer | null = null;
  private keptLength = 0;

  constructor(limits: ParserLimits) {
    this.limits = limits;
    this.bodyBytesMax = limits.bodyBytesMax;
  }

  /** Fields after a chunked body, readable at `Read.End` until the next `begin`. Never merged. */
  get trailers(): HeaderTable {
    return this.trailerTable ?? EMPTY_TRAILERS;
  }

  /** Whether a message is being read: `begin` was called and neither End nor Error came. */
  get active(): boolean {
    return this.phase !== Idle && this.phase !== Failed;
  }

  /** Whether a byte of the current head has arrived, but not all of it. */
  get inHead(): boolean {
    return this.phase === Head && this.started;
  }

  protected get started(): boolean {
    return this.keptLength > 0;
  }

  protected beginMessage(): void {
    this.phase = Head;
    this.inFields = false;
    this.errorCode = 0;
    this.bodyBytes = 0;
    this.bodyBytesMax = this.limits.bodyBytesMax;
    this.head.clear();
    this.forgetKept();
    if (this.trailerTable !== null) this.trailerTable.clear();
  }

  private forgetKept(): void {
    this.keptLength = 0;
    if (this.kept !== null && this.kept.length > KEPT_BYTES) this.kept = null;
  }

  /** Prepares for a start line that begins at `at`. */
  protected abstract beginStartLine(at: number): void;
  /** Reads the start line up to `limit`: 0 and `fields.begin(...)`, NEED_MORE or an error. */
  protected abstract readStartLine(bytes: Uint8Array, limit: number): number;
  /** Offsets of the start line move with the bytes. */
  protected abstract shiftStartLine(delta: number): void;
  /** Judges a complete head and decides the framing: 0 or an error. */
  protected abstract completeHead(): number;
  /** Whether the head is of an interim response. */
  protected abstract isInterim(): boolean;
  /** Bytes before the start line that may be ignored: the offset behind them, or -1 (error set). */
  protected abstract skipBefore(bytes: Uint8Array, start: number, end: number): number;

  read(bytes: Uint8Array, start: number, end: number): Read {
    switch (this.phase) {
      case Head:
        return this.readHead(bytes, start, end);
      case LengthBody:
        return this.readLength(start, end);
      case ChunkedBody:
        return this.readChunked(bytes, start, end);
      case Trailers:
        return this.readTrailers(bytes, start, end);
      case CloseBody:
        return this.readToClose(start, end);
      case Ended:
        this.position = start;
        this.phase = Idle;
        return Read.End;
      case AfterInterim:
        this.position = start;
        if (start >= end) return Read.NeedMore;
        this.phase = Head;
        this.inFields = false;
        this.head.clear();
        this.forgetKept();
        return this.readHead(bytes, start, end);
      case Idle:
        this.position = start;
        return start >= end ? Read.NeedMore : this.fail(ParseError.UnexpectedBytes);
      default:
        this.position = start;
        return Read.Error;
    }
  }

  finish(): Read {
    switch (this.phase) {
      case Idle:
        return Read.NeedMore;
      case CloseBody:
      case Ended:
        this.phase = Idle;
        return Read.End;
      case Head:
        return this.started ? this.fail(ParseError.ClosedInHead) : this.finishEmpty();
      case AfterInterim:
        return this.fail(ParseError.ClosedInHead);
      case LengthBody:
        if (this.left === 0) {
          this.phase = Idle;
          return Read.End;
        }
        return this.fail(ParseError.ClosedInBody);
      case Failed:
        return Read.Error;
      default:
        return this.fail(ParseError.ClosedInBody);
    }
  }

  /** The peer closed where a message was awaited and not a byte of it had come. */
  protected abstract finishEmpty(): Read;

  protected fail(code: number): Read {
    this.errorCode = code;
    this.phase = Failed;
    return Read.Error;
  }

  private readHead(bytes: Uint8Array, start: number, end: number): Read {
    const head = this.head;
    let source = bytes;
    let limit = end;
    const keptBefore = this.keptLength;
    if (keptBefore === 0) {
      const at = this.skipBefore(bytes, start, end);
      if (at < 0) {
        this.position = start;
        return this.fail(this.errorCode);
      }
      this.position = at;
      if (at >= end) return Read.NeedMore;
      head.start = at;
      this.beginStartLine(at);
    } else {
      if (start >= end) {
        this.position = start;
        return Read.NeedMore;
      }
      limit = this.keep(bytes, start, end, this.limits.headBytesMax);
      source = this.kept!;
    }
    head.bytes = source;
    const sectionLimit = head.start + this.limits.headBytesMax;
    if (limit > sectionLimit) limit = sectionLimit;
    let result = this.inFields ? 0 : this.readStartLine(source, limit);
    if (result === 0) {
      this.inFields = true;
      result = this.fields.read(
        head,
        source,
        limit,
        this.limits.headerBytesMax,
        this.limits.headersCountMax,
        ParseError.TooManyFields,
      );
    }
    if (result === NEED_MORE) {
      if (limit === sectionLimit) return this.fail(ParseError.HeadTooLarge);
      this.position = end;
      if (keptBefore === 0) {
        const from = head.start;
        this.moveToKept(bytes, from, end);
        head.bytes = this.kept!;
        head.start = 0;
        head.shift(-from);
        this.shiftStartLine(-from);
        this.fields.shift(-from);
      }
      return Read.NeedMore;
    }
    if (result !== 0) return this.fail(result);
    head.end = this.fields.at;
    if (keptBefore === 0) this.position = head.end;
    else this.position = start + head.end - keptBefore;
    result = this.completeHead();
    return result === 0 ? this.startBody() : this.fail(result);
  }

  /** Appends to the kept bytes, no more than the section may have; the new end of them. */
  private keep(bytes: Uint8Array, start: number, end: number, sectionMax: number): number {
    const before = this.keptLength;
    const take = Math.min(end - start, sectionMax - before);
    const after = before + take;
    if (this.kept === null || this.kept.length < after) {
      const larger = Buffer.allocUnsafeSlow(Math.max(after, before * 2, 512));
      if (this.kept !== null) larger.set(this.kept.subarray(0, before));
      this.kept = larger;
    }
    if (take === 1) this.kept[before] = bytes[start]!;
    else this.kept.set(bytes.subarray(start, start + take), before);
    this.keptLength = after;
    return after;
  }

  private moveToKept(bytes: Uint8Array, start: number, end: number): void {
    this.keep(bytes, start, end, Number.MAX_SAFE_INTEGER);
  }

  private startBody(): Read {
    const head = this.head;
    if (this.isInterim()) {
      // This head stays readable until bytes of the next one arrive.
      this.phase = AfterInterim;
      return Read.Interim;
    }
    switch (head.framing) {
      case Framing.Length:
        if (head.contentLength > this.bodyBytesMax) return this.fail(ParseError.BodyTooLarge);
        this.left = head.contentLength;
        this.phase = LengthBody;
        break;
      case Framing.Chunked:
        this.chunked ??= new ChunkedDecoder();
        this.chunked.begin();
        this.phase = ChunkedBody;
        break;
      case Framing.Close:
        this.phase = CloseBody;
        break;
      default:
        this.phase = Ended;
    }
    return Read.Head;
  }

  private body(start: number, end: number): Read {
    this.bodyStart = start;
    this.bodyEnd = end;
    this.position = end;
    this.bodyBytes += end - start;
    return Read.Body;
  }

  private readLength(start: number, end: number): Read {
    const left = this.left;
    if (left === 0) {
      this.position = start;
      this.phase = Idle;
      return Read.End;
    }
    // The bound may have been lowered since the head was read.
    if (left > this.bodyBytesMax && this.bodyBytes === 0) {
      this.position = start;
      return this.fail(ParseError.BodyTooLarge);
    }
    if (start >= end) {
      this.position = start;
      return Read.NeedMore;
    }
    const take = Math.min(end - start, left);
    this.left = left - take;
    return this.body(start, start + take);
  }

  private readToClose(start: number, end: number): Read {
    this.position = start;
    if (start >= end) return Read.NeedMore;
    const room = this.bodyBytesMax - this.bodyBytes;
    if (room <= 0) return this.fail(ParseError.BodyTooLarge);
    return this.body(start, end - start > room ? start + room : end);
  }

  private readChunked(bytes: Uint8Array, start: number, end: number): Read {
    const chunked = this.chunked!;
    const room = this.bodyBytesMax - this.bodyBytes;
    const chunk = chunked.read(bytes, start, end, this.limits, room);
    this.position = chunked.position;
    switch (chunk) {
      case Chunk.Data:
        return this.body(chunked.dataStart, chunked.dataEnd);
      case Chunk.NeedMore:
        return Read.NeedMore;
      case Chunk.Last:
        this.phase = Trailers;
        this.trailerTable ??= new HeaderTable();
        // The head may live in the kept bytes; trailers get their own.
        if (this.keptLength > 0) this.kept = null;
        this.keptLength = 0;
        return this.readTrailers(bytes, chunked.position, end);
      default:
        return this.fail(chunked.errorCode);
    }
  }

  private readTrailers(bytes: Uint8Array, start: number, end: number): Read {
    this.position = start;
    if (start >= end) return Read.NeedMore;
    const table = this.trailerTable!;
    const sectionMax = this.limits.trailerBytesMax;
    const keptBefore = this.keptLength;
    let source = bytes;
    let limit = end;
    if (keptBefore > 0) {
      limit = this.keep(bytes, start, end, sectionMax);
      source = this.kept!;
    } else {
      table.start = start;
      this.fields.begin(start);
    }
    table.bytes = source;
    const sectionLimit = table.start + sectionMax;
    if (limit > sectionLimit) limit = sectionLimit;
    // The line bound is out of reach: the section's own bound comes first.
    const result = this.fields.read(
      table,
      source,
      limit,
      sectionMax + 1,
      this.limits.trailersCountMax,
      ParseError.TooManyTrailers,
    );
    if (result === NEED_MORE) {
      if (limit === sectionLimit) return this.fail(ParseError.TrailersTooLarge);
      this.position = end;
      if (keptBefore === 0) {
        this.moveToKept(bytes, start, end);
        table.bytes = this.kept!;
        table.start = 0;
        table.shift(-start);
        this.fields.shift(-start);
      }
      return Read.NeedMore;
    }
    if (result !== 0) return this.fail(result);
    table.end = this.fields.at;
    this.position = keptBefore === 0 ? table.end : start + table.end - keptBefore;
    table.removeKnown(FORBIDDEN_IN_TRAILERS);
    this.phase = Idle;
    return Read.End;
  }
}
