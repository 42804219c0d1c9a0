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
/** A head up to this size is remembered, in case the next one of the connection is the same. */
const REPEATED_BYTES_MAX = 1024;
/**
 * Heads that connections have in common, so that those of one kind of caller compare with the same
 * bytes: with hundreds of connections it is memory that comparing costs. Never written to again.
 */
const commonHeads: Buffer[] = [];
const COMMON_HEADS_MAX = 8;
let commonNext = 0;
const EMPTY: Uint8Array = Buffer.alloc(0);
const EMPTY_TRAILERS = new HeaderTable();
/** Copies a range without making a view of it first. */
const copyBytes = Buffer.prototype.copy;

/**
 * What the request and the response parser share: keeping a head that arrives in pieces, bodies,
 * trailers and ends. Sub-classes read the start line and decide the framing.
 */
export abstract class HeadAndBodyParser<H extends MessageHead> implements MessageParser {
  // What each read of a stream looks at comes first, side by side.
  bodyStart = 0;
  bodyEnd = 0;
  private phase: number = Idle;
  private chunked: ChunkedDecoder | null = null;
  /** Body bytes delivered so far. */
  bodyBytes = 0;
  /**
   * Bound of the body of this message; set from the limits by `begin`. May be changed between
   * `Read.Head` and the first body byte (a route's own limit).
   */
  bodyBytesMax: number;

  position = 0;
  errorCode = 0;
  /** The current head; valid as {@link HeaderTable} says. */
  abstract readonly head: H;
  protected readonly limits: ParserLimits;
  protected readonly fields = new FieldParser();
  /** The start line is over and field lines follow. */
  protected inFields = false;
  /** Body bytes still to come with Framing.Length. */
  private left = 0;
  private trailerTable: HeaderTable | null = null;
  /** Bytes of a head or trailer section that began in an earlier read. */
  private kept: Buffer | null = null;
  private keptLength = 0;
  /** The bytes of the last head, if the table in {@link head} is still what they parse to. */
  private last: Buffer = EMPTY as Buffer;
  private lastLength = 0;
  /** `last` is this parser's own and may be written over. */
  private ownsLast = false;
  /** What the last head was parsed as; see {@link headKind}. */
  private lastKind = 0;

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
    // The table itself stays until the next head is seen to be another one.
    if (this.lastLength === 0) this.head.clear();
    else this.head.bytes = EMPTY;
    this.forgetKept();
    if (this.trailerTable !== null) this.trailerTable.clear();
  }

  /** What besides its bytes decides the meaning of a head: it counts as the same only if equal. */
  protected headKind(): number {
    return 0;
  }

  /** Whether the bytes from `at` on are the last head again. */
  private isRepeated(bytes: Uint8Array, at: number, end: number): boolean {
    const length = this.lastLength;
    return (
      length > 0 &&
      end - at >= length &&
      this.lastKind === this.headKind() &&
      sameBytes(bytes, at, this.last, length)
    );
  }

  /** Remembers a head that came whole in one read. */
  private remember(bytes: Uint8Array): void {
    const { head } = this;
    const length = head.end - head.start;
    if (length > REPEATED_BYTES_MAX) return;
    if (!this.ownsLast || this.last.length < length) {
      this.last = Buffer.allocUnsafeSlow(Math.max(length, 128));
      this.ownsLast = true;
    }
    copyBytes.call(bytes as Buffer, this.last, 0, head.start, head.end);
    this.lastLength = length;
    this.lastKind = this.headKind();
  }

  /** The last head came again: compare with the one copy of it for all connections from now on. */
  private shareLast(): void {
    const { last, lastLength } = this;
    this.ownsLast = false;
    for (const common of commonHeads) {
      if (common.length === lastLength && sameBytes(last, 0, common, lastLength)) {
        this.last = common;
        return;
      }
    }
    const copy = Buffer.allocUnsafeSlow(lastLength);
    last.copy(copy, 0, 0, lastLength);
    commonHeads[commonNext] = copy;
    commonNext = (commonNext + 1) % COMMON_HEADS_MAX;
    this.last = copy;
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
        this.lastLength = 0;
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

  /**
   * Whether `bytes[start, end)` are whole chunks of the chunked body under way, without extensions,
   * none the last, and within the bound of the body: then they may be passed on framing and all (RFC
   * 9112 section 7.1). Returns their number of data bytes, with those of the last chunk as
   * `[bodyStart, bodyEnd)`; -1 otherwise. Nothing is taken yet: follow with {@link takeChunks}, or
   * with `read` as usual.
   */
  wholeChunks(bytes: Uint8Array, start: number, end: number): number {
    if (this.phase !== ChunkedBody || start >= end) return -1;
    const chunked = this.chunked!;
    const dataBytes = chunked.wholeChunks(bytes, start, end);
    if (dataBytes > this.bodyBytesMax - this.bodyBytes) return -1;
    this.bodyStart = chunked.dataStart;
    this.bodyEnd = chunked.dataEnd;
    return dataBytes;
  }

  /** What {@link wholeChunks} found counts as read. */
  takeChunks(dataBytes: number): void {
    this.bodyBytes += dataBytes;
  }

  /**
   * Whether the end of the message under way is in `bytes[start, end)`, by its framing: for whoever
   * holds them back and learns that no more will come. Nothing is read, nothing is judged.
   */
  endsWithin(bytes: Uint8Array, start: number, end: number): boolean {
    switch (this.phase) {
      case Head:
      case Failed:
        return false;
      case LengthBody:
        return this.left <= end - start;
      case ChunkedBody: {
        const ahead: ChunkedDecoder = Object.assign(new ChunkedDecoder(), this.chunked);
        const room = this.bodyBytesMax - this.bodyBytes;
        let at = start;
        for (;;) {
          const chunk = ahead.read(bytes, at, end, this.limits, room);
          at = ahead.position;
          if (chunk === Chunk.Last) return endsSection(bytes.subarray(at, end));
          if (chunk !== Chunk.Data) return false;
        }
      }
      case Trailers: {
        const begun = this.kept?.subarray(0, this.keptLength) ?? EMPTY;
        return endsSection(Buffer.concat([begun, bytes.subarray(start, end)]));
      }
      default:
        return true;
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
      if (this.isRepeated(bytes, at, end)) {
        if (this.ownsLast) this.shareLast();
        head.bytes = bytes;
        head.repeated = true;
        if (at !== head.start) head.moveBy(at - head.start);
        this.position = head.end;
        return this.startBody();
      }
      if (this.lastLength > 0) {
        this.lastLength = 0;
        head.clear();
      }
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
    if (result !== 0) return this.fail(result);
    if (keptBefore === 0 && !this.isInterim()) this.remember(bytes);
    return this.startBody();
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

/** Whether `bytes` from `at` on begin with `length` bytes of `other`; eight at a time. */
function sameBytes(bytes: Uint8Array, at: number, other: Uint8Array, length: number): boolean {
  const stop = length - 7;
  let i = 0;
  let k = at;
  for (; i < stop; i += 8, k += 8) {
    if (
      ((bytes[k]! ^ other[i]!) |
        (bytes[k + 1]! ^ other[i + 1]!) |
        (bytes[k + 2]! ^ other[i + 2]!) |
        (bytes[k + 3]! ^ other[i + 3]!) |
        (bytes[k + 4]! ^ other[i + 4]!) |
        (bytes[k + 5]! ^ other[i + 5]!) |
        (bytes[k + 6]! ^ other[i + 6]!) |
        (bytes[k + 7]! ^ other[i + 7]!)) !==
      0
    ) {
      return false;
    }
  }
  for (; i < length; i++, k++) if (bytes[k] !== other[i]) return false;
  return true;
}

/** Whether a trailer section that begins with these bytes ends in them. */
function endsSection(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return (text[0] === 0x0d && text[1] === 0x0a) || text.includes('\r\n\r\n');
}
