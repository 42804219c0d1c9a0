/** Checks on strings that are to be sent. Nothing a caller passes can end a line early. */
import { BYTE_CLASS, TARGET_LOOSE, TOKEN, VALUE } from './byte-class.ts';

function every(text: string, flag: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff || (BYTE_CLASS[code]! & flag) === 0) return false;
  }
  return true;
}

/** Method or field name (RFC 9110 section 5.6.2). */
export function isToken(text: string): boolean {
  return text.length > 0 && every(text, TOKEN);
}

/** Field value of code points 0-255 without NUL, CR, LF and other controls (section 5.5). */
export function isFieldValue(text: string): boolean {
  return every(text, VALUE);
}

/** Request target: what a URL serialiser can produce; no space, control, `#` or 8-bit character. */
export function isTarget(text: string): boolean {
  return text.length > 0 && every(text, TARGET_LOOSE);
}
