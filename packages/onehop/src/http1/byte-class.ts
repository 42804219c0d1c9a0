/**
 * One table that says which bytes are legal in which position of an HTTP/1.1 message. Every check
 * of the parsers and writers is a lookup in here, so there is one place to read and to test.
 */

/** Token: method, field name, Connection option (RFC 9110 section 5.6.2). */
export const TOKEN = 1;
/** Field value: HTAB, SP, visible ASCII and obs-text; no other control (RFC 9110 section 5.5). */
export const VALUE = 2;
/**
 * Request target up to the query: what RFC 3986 allows in a URI, brackets of an IPv6 host included,
 * without `?` and `#`.
 */
export const TARGET = 4;
/** Host name or IPv4 address: letters, digits, `-`, `.`, `_`, `~`. */
export const HOST = 8;
/** Quoted string of a chunk extension, without `"` and `\` (RFC 9110 section 5.6.4). */
export const QUOTED = 16;
export const DIGIT = 32;
/** Queries, and targets to be sent: also what the WHATWG URL serialiser leaves alone. */
export const TARGET_LOOSE = 64;

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;

const alpha = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const digits = '0123456789';

function build(): Uint8Array {
  const table = new Uint8Array(256);
  const mark = (text: string, flag: number): void => {
    for (let i = 0; i < text.length; i++) table[text.charCodeAt(i)]! |= flag;
  };
  mark(`${alpha + digits}!#$%&'*+-.^_\`|~`, TOKEN);
  mark(`${alpha + digits}-._~!$&'()*+,;=:@/%`, TARGET | TARGET_LOOSE);
  mark('?', TARGET_LOOSE);
  mark('[]', TARGET | TARGET_LOOSE);
  mark('^`{|}\\', TARGET_LOOSE);
  mark(`${alpha + digits}-._~`, HOST);
  mark(digits, DIGIT);
  for (let byte = 0x20; byte <= 0xff; byte++) if (byte !== 0x7f) table[byte]! |= VALUE | QUOTED;
  table[HTAB]! |= VALUE | QUOTED;
  table[0x22]! &= ~QUOTED;
  table[0x5c]! &= ~QUOTED;
  return table;
}

export const BYTE_CLASS: Uint8Array = build();

/** Value of a hexadecimal digit, 255 for any other byte. */
export const HEX_VALUE: Uint8Array = (() => {
  const table = new Uint8Array(256).fill(255);
  for (let value = 0; value < 16; value++) {
    const digit = value.toString(16);
    table[digit.charCodeAt(0)] = value;
    table[digit.toUpperCase().charCodeAt(0)] = value;
  }
  return table;
})();
