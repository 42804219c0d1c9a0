import { BYTE_CLASS, COLON, CR, HTAB, LF, SP, TOKEN, VALUE } from './byte-class.ts';
import type { HeaderTable } from './header-table.ts';
import { ParseError } from './parse-error.ts';

/** The section goes on beyond the bytes given. */
export const NEED_MORE = -1;

const LineStart = 0;
const Name = 1;
const BeforeValue = 2;
const Value = 3;
const LineEnd = 4;
const SectionEnd = 5;

/**
 * Reads field lines up to and including the empty line, for heads and trailers alike (RFC 9112
 * sections 5 and 7.1.2). It stops anywhere and resumes where it stopped, so a section fed byte by
 * byte costs the same as one fed whole, and it judges bytes in order, so the result does not depend
 * on how the bytes were cut.
 */
export class FieldParser {
  /** Next byte to look at; after success, the first byte behind the section. */
  at = 0;
  private state: number = LineStart;
  private lineStart = 0;
  private nameEnd = 0;
  private valueStart = 0;
  /** End of the value so far: behind its last byte that is not whitespace. */
  private valueEnd = 0;

  /** Starts a section at offset `at`. */
  begin(at: number): void {
    this.at = at;
    this.state = LineStart;
  }

  /** The bytes moved by `delta`. */
  shift(delta: number): void {
    this.at += delta;
    this.lineStart += delta;
    this.nameEnd += delta;
    this.valueStart += delta;
    this.valueEnd += delta;
  }

  /**
   * Reads on up to `limit`. Returns 0 when the section is complete, {@link NEED_MORE}, or a
   * {@link ParseError}. `tooMany` is the error to give beyond `countMax` fields.
   */
  read(
    table: HeaderTable,
    bytes: Uint8Array,
    limit: number,
    lineBytesMax: number,
    countMax: number,
    tooMany: number,
  ): number {
    const classes = BYTE_CLASS;
    let at = this.at;
    let state = this.state;
    if (state === LineStart) at = readWholeLines(table, bytes, at, limit, lineBytesMax, countMax);
    let lineStart = this.lineStart;
    // A line may not reach beyond `lineStop`; looking no further keeps the result independent of
    // how much of the line has arrived.
    let lineStop = lineStart + lineBytesMax;
    let stop = limit;
    if (state !== LineStart && lineStop < limit) stop = lineStop;
    while (at < limit) {
      switch (state) {
        case LineStart: {
          const byte = bytes[at]!;
          if (byte === CR) {
            at++;
            state = SectionEnd;
            break;
          }
          if ((classes[byte]! & TOKEN) === 0) return lineStartError(byte, table.count);
          lineStart = at;
          lineStop = at + lineBytesMax;
          stop = Math.min(lineStop, limit);
          at++;
          state = Name;
          break;
        }
        case Name:
          while (at < stop && (classes[bytes[at]!]! & TOKEN) !== 0) at++;
          if (at === stop) {
            if (at === lineStop) return ParseError.FieldTooLarge;
            break;
          }
          if (bytes[at] !== COLON) return nameError(bytes[at]!);
          this.nameEnd = at++;
          state = BeforeValue;
          break;
        case BeforeValue:
          while (at < stop && (bytes[at] === SP || bytes[at] === HTAB)) at++;
          this.valueStart = at;
          this.valueEnd = at;
          if (at < stop) state = Value;
          else if (at === lineStop && at < limit) state = Value;
          break;
        case Value:
          while (at < stop && (classes[bytes[at]!]! & VALUE) !== 0) at++;
          // A line of exactly lineBytesMax may still end here.
          if (at === limit) break;
          if (bytes[at] !== CR) {
            if (at === lineStop) return ParseError.FieldTooLarge;
            return bytes[at] === LF ? ParseError.BareLf : ParseError.ControlByte;
          }
          this.valueEnd = at++;
          state = LineEnd;
          break;
        case LineEnd: {
          if (bytes[at] !== LF) return ParseError.BareCr;
          at++;
          if (table.count >= countMax) return tooMany;
          const valueStart = this.valueStart;
          let end = this.valueEnd;
          while (end > valueStart && (bytes[end - 1] === SP || bytes[end - 1] === HTAB)) end--;
          table.add(bytes, lineStart, this.nameEnd, valueStart, end);
          at = readWholeLines(table, bytes, at, limit, lineBytesMax, countMax);
          state = LineStart;
          break;
        }
        default:
          if (bytes[at] !== LF) return ParseError.BareCr;
          this.at = at + 1;
          return 0;
      }
    }
    this.at = at;
    this.state = state;
    this.lineStart = lineStart;
    return NEED_MORE;
  }
}

/**
 * Takes ordinary lines that are wholly at hand, in one pass each, and returns where the first other
 * line begins: the empty line, an incomplete or faulty one. That line is left to the state machine,
 * so there is one place that judges faults.
 */
function readWholeLines(
  table: HeaderTable,
  bytes: Uint8Array,
  start: number,
  limit: number,
  lineBytesMax: number,
  countMax: number,
): number {
  const classes = BYTE_CLASS;
  let lineStart = start;
  while (table.count < countMax) {
    const lineStop = lineStart + lineBytesMax;
    const stop = Math.min(lineStop, limit);
    // Four at a time: these two loops are what parsing costs.
    const stopFour = stop - 3;
    let at = lineStart;
    while (
      at < stopFour &&
      (classes[bytes[at]!]! &
        classes[bytes[at + 1]!]! &
        classes[bytes[at + 2]!]! &
        classes[bytes[at + 3]!]! &
        TOKEN) !==
        0
    ) {
      at += 4;
    }
    while (at < stop && (classes[bytes[at]!]! & TOKEN) !== 0) at++;
    if (at === lineStart || at >= stop || bytes[at] !== COLON) return lineStart;
    const nameEnd = at++;
    while (at < stop && (bytes[at] === SP || bytes[at] === HTAB)) at++;
    const valueStart = at;
    while (
      at < stopFour &&
      (classes[bytes[at]!]! &
        classes[bytes[at + 1]!]! &
        classes[bytes[at + 2]!]! &
        classes[bytes[at + 3]!]! &
        VALUE) !==
        0
    ) {
      at += 4;
    }
    while (at < stop && (classes[bytes[at]!]! & VALUE) !== 0) at++;
    if (at + 1 >= limit || bytes[at] !== CR || bytes[at + 1] !== LF) return lineStart;
    let end = at;
    while (end > valueStart && (bytes[end - 1] === SP || bytes[end - 1] === HTAB)) end--;
    table.add(bytes, lineStart, nameEnd, valueStart, end);
    lineStart = at + 2;
  }
  return lineStart;
}

/** Why a line cannot begin with `byte`. */
function lineStartError(byte: number, count: number): number {
  if (byte === SP || byte === HTAB) {
    return count === 0 ? ParseError.WhitespaceBeforeField : ParseError.ObsFold;
  }
  if (byte === LF) return ParseError.BareLf;
  return byte === COLON ? ParseError.EmptyFieldName : ParseError.InvalidFieldName;
}

/** Why a name cannot be followed by `byte`. */
function nameError(byte: number): number {
  if (byte === SP || byte === HTAB) return ParseError.SpaceBeforeColon;
  if (byte === CR || byte === LF) return ParseError.MissingColon;
  return ParseError.InvalidFieldName;
}
