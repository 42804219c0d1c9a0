import { BYTE_CLASS, CR, HEX_VALUE, LF, QUOTED, TOKEN, VALUE } from './byte-class.ts';
import type { ParserLimits } from './limits.ts';
import { ParseError } from './parse-error.ts';

/** What {@link ChunkedDecoder.read} found. */
export const Chunk = {
  NeedMore: 0,
  /** Data in `[dataStart, dataEnd)`. */
  Data: 1,
  /** The last chunk is over; the trailer section begins at `position`. */
  Last: 2,
  Error: 3,
} as const;
export type Chunk = (typeof Chunk)[keyof typeof Chunk];

const SizeFirst = 0;
const Size = 1;
const SizeLf = 2;
const ExtensionName = 3;
const ExtensionNameOn = 4;
const ExtensionValue = 5;
const ExtensionToken = 6;
const ExtensionQuoted = 7;
const ExtensionEscape = 8;
const ExtensionQuotedEnd = 9;
const Data = 10;
const DataCr = 11;
const DataLf = 12;

/** A chunk size in so many digits stays a small integer. */
const plainSizeDigitsMax = 7;

const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * The chunked transfer coding up to the last chunk (RFC 9112 section 7.1). Extensions are checked,
 * counted and ignored (7.1.1); whitespace that the grammar calls "bad" is refused. A size never
 * loses precision: more digits than allowed, or a value above 2^53 - 1, is an error.
 */
export class ChunkedDecoder {
  /** Next byte to read. */
  position = 0;
  dataStart = 0;
  dataEnd = 0;
  errorCode = 0;
  private state: number = SizeFirst;
  /** Size of the chunk while it is read, then what is left of its data. */
  private left = 0;
  private digits = 0;
  private lineExtensionBytes = 0;
  private bodyExtensionBytes = 0;

  begin(): void {
    this.state = SizeFirst;
    this.digits = 0;
    this.bodyExtensionBytes = 0;
    this.errorCode = 0;
  }

  /** `room` is how many body bytes may still come: a chunk beyond it is refused by its size. */
  read(bytes: Uint8Array, start: number, end: number, limits: ParserLimits, room: number): Chunk {
    let at = start;
    while (at < end) {
      if (this.state === Data) {
        const take = Math.min(end - at, this.left);
        this.dataStart = at;
        this.dataEnd = at + take;
        this.position = at + take;
        this.left -= take;
        if (this.left === 0) this.state = DataCr;
        return Chunk.Data;
      }
      const byte = bytes[at++]!;
      const error =
        this.state >= ExtensionName && this.state <= ExtensionQuotedEnd
          ? this.readExtension(byte, limits)
          : this.readLine(byte, limits, room);
      if (error !== 0) {
        this.errorCode = error;
        this.position = at - 1;
        return Chunk.Error;
      }
      // The LF behind a size of 0 leaves the state at SizeFirst with nothing left to read.
      if (this.state === SizeFirst && this.digits !== 0) {
        this.digits = 0;
        this.position = at;
        return Chunk.Last;
      }
    }
    this.position = at;
    return Chunk.NeedMore;
  }

  /**
   * Whether `bytes[start, end)` are whole plain chunks: sizes of up to seven digits, no extensions,
   * none the last. Their number of data bytes, with the last one's in `[dataStart, dataEnd)`; or -1
   * for anything else, bad framing included, which {@link read} then judges. Changes no state of the parser: the
   * bytes count as read either way once the caller says so by not passing them to `read`.
   */
  wholeChunks(bytes: Uint8Array, start: number, end: number): number {
    if (this.state !== SizeFirst || end > bytes.length) return -1;
    let at = start;
    let sum = 0;
    do {
      let size = 0;
      const sizeEnd = Math.min(at + plainSizeDigitsMax, end);
      for (; at < sizeEnd; at++) {
        const value = HEX_VALUE[bytes[at]!]!;
        if (value === 255) break;
        size = (size << 4) | value;
      }
      if (size === 0 || at + 2 > end || bytes[at] !== CR || bytes[at + 1] !== LF) return -1;
      at += 2;
      this.dataStart = at;
      at += size;
      this.dataEnd = at;
      if (at + 2 > end || bytes[at] !== CR || bytes[at + 1] !== LF) return -1;
      at += 2;
      sum += size;
    } while (at < end);
    return sum;
  }

  /** The size line without extensions, and what follows the data. Returns an error or 0. */
  private readLine(byte: number, limits: ParserLimits, room: number): number {
    switch (this.state) {
      case SizeFirst:
        if (HEX_VALUE[byte] === 255) return ParseError.InvalidChunkSize;
        this.left = HEX_VALUE[byte]!;
        this.digits = 1;
        this.lineExtensionBytes = 0;
        this.state = Size;
        return 0;
      case Size: {
        const value = HEX_VALUE[byte]!;
        if (value !== 255) {
          if (++this.digits > limits.chunkSizeDigitsMax) return ParseError.ChunkSizeTooLarge;
          this.left = this.left * 16 + value;
          return this.left > Number.MAX_SAFE_INTEGER ? ParseError.ChunkSizeTooLarge : 0;
        }
        if (byte === CR) this.state = SizeLf;
        else if (byte === SEMICOLON) return this.beginExtension(limits);
        else return byte === LF ? ParseError.BareLf : ParseError.InvalidChunkSize;
        return 0;
      }
      case SizeLf:
        if (byte !== LF) return ParseError.BareCr;
        if (this.left > room) return ParseError.BodyTooLarge;
        if (this.left === 0) this.state = SizeFirst;
        else {
          this.state = Data;
          this.digits = 0;
        }
        return 0;
      case DataCr:
        if (byte !== CR) return ParseError.InvalidChunkEnd;
        this.state = DataLf;
        return 0;
      default:
        if (byte !== LF) return ParseError.InvalidChunkEnd;
        this.state = SizeFirst;
        return 0;
    }
  }

  private beginExtension(limits: ParserLimits): number {
    this.state = ExtensionName;
    return this.countExtension(limits);
  }

  private countExtension(limits: ParserLimits): number {
    if (++this.lineExtensionBytes > limits.chunkExtensionBytesMax) {
      return ParseError.ChunkExtensionTooLong;
    }
    return ++this.bodyExtensionBytes > limits.chunkExtensionsBytesMax
      ? ParseError.ChunkExtensionsTooLong
      : 0;
  }

  /** `*( ";" token [ "=" ( token / quoted-string ) ] )`, one byte at a time. */
  private readExtension(byte: number, limits: ParserLimits): number {
    const isToken = (BYTE_CLASS[byte]! & TOKEN) !== 0;
    switch (this.state) {
      case ExtensionName:
        if (!isToken) return extensionError(byte);
        this.state = ExtensionNameOn;
        break;
      case ExtensionNameOn:
        if (isToken) break;
        if (byte === EQUALS) {
          this.state = ExtensionValue;
          break;
        }
        return this.endExtension(byte, limits);
      case ExtensionValue:
        if (byte === QUOTE) this.state = ExtensionQuoted;
        else if (isToken) this.state = ExtensionToken;
        else return extensionError(byte);
        break;
      case ExtensionToken:
        if (isToken) break;
        return this.endExtension(byte, limits);
      case ExtensionQuoted:
        if (byte === QUOTE) this.state = ExtensionQuotedEnd;
        else if (byte === BACKSLASH) this.state = ExtensionEscape;
        else if ((BYTE_CLASS[byte]! & QUOTED) === 0) return extensionError(byte);
        break;
      case ExtensionEscape:
        if ((BYTE_CLASS[byte]! & VALUE) === 0) return extensionError(byte);
        this.state = ExtensionQuoted;
        break;
      default:
        return this.endExtension(byte, limits);
    }
    return this.countExtension(limits);
  }

  /** After a complete extension: another one, or the end of the line. */
  private endExtension(byte: number, limits: ParserLimits): number {
    if (byte === SEMICOLON) return this.beginExtension(limits);
    if (byte !== CR) return extensionError(byte);
    this.state = SizeLf;
    return 0;
  }
}

function extensionError(byte: number): number {
  return byte === LF ? ParseError.BareLf : ParseError.InvalidChunkExtension;
}
