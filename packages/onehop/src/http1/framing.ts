/**
 * The values that decide where a message ends. Each function reads bytes that the field parser has
 * found legal and trimmed, and returns numbers.
 */
import { BYTE_CLASS, HTAB, SP, TOKEN } from './byte-class.ts';
import { equalsLower, type MessageHead } from './header-table.ts';
import { KnownField } from './known-field.ts';
import { ParseError } from './parse-error.ts';

/** More digits could exceed 2^53 - 1, where integers lose precision. */
const CONTENT_LENGTH_DIGITS_MAX = 15;

/** Content-Length as a number; below zero: minus a {@link ParseError} (RFC 9110 section 8.6). */
export function parseContentLength(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return -ParseError.InvalidContentLength;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return -ParseError.InvalidContentLength;
    value = value * 10 + digit;
  }
  return end - start > CONTENT_LENGTH_DIGITS_MAX ? -ParseError.ContentLengthTooLarge : value;
}

/**
 * 0 when the value is exactly `chunked` in any case (RFC 9112 section 6.1). Another list that ends
 * in chunked has a known end but a coding nobody here can undo; everything else has no known end.
 */
export function parseTransferEncoding(bytes: Uint8Array, start: number, end: number): number {
  if (equalsLower(bytes, start, end, 'chunked')) return 0;
  const last = end - 7;
  if (last <= start || !equalsLower(bytes, last, end, 'chunked')) {
    return ParseError.InvalidTransferEncoding;
  }
  let at = last;
  while (at > start && (bytes[at - 1] === SP || bytes[at - 1] === HTAB)) at--;
  // A token must stand before the comma, and only tokens, commas and blanks may.
  if (at === start || bytes[at - 1] !== 0x2c) return ParseError.InvalidTransferEncoding;
  let tokens = 0;
  for (let i = start; i < at; i++) {
    const byte = bytes[i]!;
    if ((BYTE_CLASS[byte]! & TOKEN) !== 0) tokens++;
    else if (byte !== 0x2c && byte !== SP && byte !== HTAB) {
      return ParseError.InvalidTransferEncoding;
    }
  }
  return tokens > 0 ? ParseError.UnsupportedTransferEncoding : ParseError.InvalidTransferEncoding;
}

/** Connection options in one head; more would make removing nominated fields quadratic. */
const CONNECTION_OPTIONS_MAX = 64;

/** What {@link parseConnection} found, added up. */
export const ConnectionOption = {
  Close: 1,
  KeepAlive: 2,
  Upgrade: 4,
  /** Names some other field. */
  Other: 8,
  /** Names Content-Length, Transfer-Encoding or Host. */
  Framing: 16,
  /** Not a list of tokens. */
  Invalid: 32,
} as const;

const COUNT_SHIFT = 8;

/**
 * Reads one Connection value: tokens separated by commas and optional whitespace; empty members are
 * allowed (RFC 9110 sections 5.6.1.2 and 7.6.1). Returns {@link ConnectionOption} bits, and their
 * number from bit {@link COUNT_SHIFT} on.
 */
export function parseConnection(bytes: Uint8Array, start: number, end: number): number {
  // What nearly every sender says.
  if (end - start === 10 && equalsLower(bytes, start, end, 'keep-alive')) {
    return ConnectionOption.KeepAlive | (1 << COUNT_SHIFT);
  }
  let found = 0;
  let count = 0;
  let at = start;
  while (at < end) {
    while (at < end && (bytes[at] === SP || bytes[at] === HTAB || bytes[at] === 0x2c)) at++;
    const from = at;
    while (at < end && (BYTE_CLASS[bytes[at]!]! & TOKEN) !== 0) at++;
    if (at > from) {
      count++;
      found |= connectionOption(bytes, from, at);
    }
    while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++;
    if (at < end && bytes[at] !== 0x2c) return ConnectionOption.Invalid;
  }
  return found | (count << COUNT_SHIFT);
}

function connectionOption(bytes: Uint8Array, start: number, end: number): number {
  switch (end - start) {
    case 4:
      if (equalsLower(bytes, start, end, 'host')) return ConnectionOption.Framing;
      break;
    case 5:
      if (equalsLower(bytes, start, end, 'close')) return ConnectionOption.Close;
      break;
    case 7:
      if (equalsLower(bytes, start, end, 'upgrade')) return ConnectionOption.Upgrade;
      break;
    case 10:
      if (equalsLower(bytes, start, end, 'keep-alive')) return ConnectionOption.KeepAlive;
      break;
    case 14:
      if (equalsLower(bytes, start, end, 'content-length')) return ConnectionOption.Framing;
      break;
    case 17:
      if (equalsLower(bytes, start, end, 'transfer-encoding')) return ConnectionOption.Framing;
      break;
    default:
  }
  return ConnectionOption.Other;
}

/** The {@link ConnectionOption} bits of all Connection fields of a head together. */
export function connectionOptions(head: MessageHead): number {
  let found = 0;
  let count = 0;
  for (
    let i = head.indexOf(KnownField.Connection);
    i >= 0;
    i = head.indexOf(KnownField.Connection, i + 1)
  ) {
    const parsed = parseConnection(head.bytes, head.valueStart(i), head.valueEnd(i));
    found |= parsed & ((1 << COUNT_SHIFT) - 1);
    count += parsed >> COUNT_SHIFT;
  }
  return count > CONNECTION_OPTIONS_MAX ? found | ConnectionOption.Invalid : found;
}

/**
 * Content-Length and Transfer-Encoding as the two fields stand (RFC 9112 sections 6.1 to 6.3): at
 * most one line of one of them. Sets `contentLength`; returns 0 or an error.
 */
export function readFramingFields(head: MessageHead): number {
  const hasLength = head.has(KnownField.ContentLength);
  const hasEncoding = head.has(KnownField.TransferEncoding);
  if (hasEncoding) {
    if (hasLength) return ParseError.LengthAndTransferEncoding;
    if (head.countOf(KnownField.TransferEncoding) !== 1) {
      return ParseError.RepeatedTransferEncoding;
    }
    if (head.versionMinor === 0) return ParseError.TransferEncodingIn10;
    const index = head.indexOf(KnownField.TransferEncoding);
    return parseTransferEncoding(head.bytes, head.valueStart(index), head.valueEnd(index));
  }
  if (hasLength) {
    const index = head.indexOf(KnownField.ContentLength);
    const value = parseContentLength(head.bytes, head.valueStart(index), head.valueEnd(index));
    if (value < 0) return -value;
    if (head.indexOf(KnownField.ContentLength, index + 1) >= 0) {
      return ParseError.RepeatedContentLength;
    }
    head.contentLength = value;
  }
  return 0;
}
