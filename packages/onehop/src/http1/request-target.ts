/** The request target and Host (RFC 9112 section 3.2, RFC 3986, RFC 9110 sections 4.2 and 7.2). */
import { BYTE_CLASS, COLON, HEX_VALUE, HOST } from './byte-class.ts';
import { equalsLower, type RequestHead, TargetForm } from './header-table.ts';
import { ParseError } from './parse-error.ts';

const SLASH = 0x2f;
const QUESTION = 0x3f;
const PERCENT = 0x25;
const ASTERISK = 0x2a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * Whether `bytes[start, end)` is `host` or `host:port`: a name or IPv4 address of letters, digits,
 * `-`, `.`, `_` and `~`, or an IPv6 literal in brackets; the port from 1 to 65535, or empty unless
 * `needsPort`. What RFC 3986 allows beyond that in a name (percent-encoding, sub-delims) never names
 * an HTTP host and is refused.
 */
export function isAuthority(
  bytes: Uint8Array,
  start: number,
  end: number,
  needsPort: boolean,
): boolean {
  let at = start;
  if (at < end && bytes[at] === OPEN_BRACKET) {
    at = ipv6End(bytes, at + 1, end);
    if (at < 0) return false;
  } else {
    while (at < end && (BYTE_CLASS[bytes[at]!]! & HOST) !== 0) at++;
    if (at === start) return false;
  }
  if (at === end) return !needsPort;
  if (bytes[at] !== COLON) return false;
  at++;
  if (at === end) return !needsPort;
  let port = 0;
  for (; at < end; at++) {
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
    if (port > 65535) return false;
  }
  return port > 0;
}

/** Offset behind the `]` of an IPv6 literal whose first byte is at `start`; -1 when malformed. */
function ipv6End(bytes: Uint8Array, start: number, end: number): number {
  let groups = 0;
  let digits = 0;
  let compressed = false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === CLOSE_BRACKET) {
      // A single colon may not come last.
      if (digits === 0 && !(bytes[at - 1] === COLON && bytes[at - 2] === COLON)) return -1;
      if (digits > 0) groups++;
      return (compressed ? groups < 8 : groups === 8) ? at + 1 : -1;
    }
    if (byte === COLON) {
      if (digits > 0) {
        groups++;
        digits = 0;
        continue;
      }
      // Two colons, once: the first of them was counted with its digits or stands at the start.
      if (at === start) {
        if (bytes[at + 1] !== COLON) return -1;
        continue;
      }
      if (bytes[at - 1] !== COLON || compressed) return -1;
      compressed = true;
    } else if (byte === 0x2e) {
      const after = ipv4End(bytes, at - digits, end);
      if (after < 0 || bytes[after] !== CLOSE_BRACKET) return -1;
      return (compressed ? groups + 2 < 8 : groups + 2 === 8) ? after + 1 : -1;
    } else if (HEX_VALUE[byte] === 255 || ++digits > 4) return -1;
  }
  return -1;
}

/** Offset behind a dotted IPv4 address that begins at `start`; -1 when malformed. */
function ipv4End(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (let part = 0; part < 4; part++) {
    if (part > 0 && (at >= end || bytes[at++] !== 0x2e)) return -1;
    const from = at;
    let value = 0;
    while (at < end && bytes[at]! >= 0x30 && bytes[at]! <= 0x39 && at - from < 3) {
      value = value * 10 + bytes[at++]! - 0x30;
    }
    if (at === from || value > 255 || (at - from > 1 && bytes[from] === 0x30)) return -1;
  }
  return at;
}

/**
 * Every `%` is followed by two hexadecimal digits and none encodes NUL. Brackets belong to hosts and,
 * because the WHATWG URL serialiser leaves them alone there, to queries.
 */
function isSoundPath(bytes: Uint8Array, start: number, end: number): boolean {
  let inQuery = false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUESTION) inQuery = true;
    else if ((byte === OPEN_BRACKET || byte === CLOSE_BRACKET) && !inQuery) return false;
    if (byte !== PERCENT) continue;
    if (at + 2 >= end) return false;
    const high = HEX_VALUE[bytes[at + 1]!]!;
    const low = HEX_VALUE[bytes[at + 2]!]!;
    if (high === 255 || low === 255 || (high | low) === 0) return false;
    at += 2;
  }
  return true;
}

/**
 * Finds form, path and authority of a target whose bytes are all legal. CONNECT takes
 * authority-form with a port and nothing else does; `*` goes with OPTIONS alone; absolute-form is
 * `http` or `https` without user information and with a host. Returns 0 or an error.
 */
export function parseTarget(head: RequestHead, isConnect: boolean, isOptions: boolean): number {
  const bytes = head.bytes;
  const start = head.targetStart;
  const end = head.targetEnd;
  head.pathStart = end;
  head.pathEnd = end;
  head.authorityStart = 0;
  head.authorityEnd = 0;
  if (isConnect) {
    head.targetForm = TargetForm.Authority;
    if (!isAuthority(bytes, start, end, true)) return ParseError.InvalidTarget;
    head.authorityStart = start;
    head.authorityEnd = end;
    return 0;
  }
  if (bytes[start] === SLASH) {
    head.targetForm = TargetForm.Origin;
    head.pathStart = start;
  } else if (bytes[start] === ASTERISK && end === start + 1) {
    head.targetForm = TargetForm.Asterisk;
    return isOptions ? 0 : ParseError.InvalidTarget;
  } else {
    head.targetForm = TargetForm.Absolute;
    let from = start;
    if (equalsLower(bytes, start, start + 7, 'http://')) from = start + 7;
    else if (equalsLower(bytes, start, start + 8, 'https://')) from = start + 8;
    else return ParseError.InvalidTarget;
    let at = from;
    while (at < end && bytes[at] !== SLASH && bytes[at] !== QUESTION) at++;
    if (!isAuthority(bytes, from, at, false)) return ParseError.InvalidTarget;
    head.authorityStart = from;
    head.authorityEnd = at;
    head.pathStart = at;
  }
  return isSoundPath(bytes, head.pathStart, end) ? 0 : ParseError.InvalidTarget;
}
