import { isFieldValue, isToken } from './field-text.ts';
import { knownFieldOfName } from './known-field.ts';
import { ParseError } from './parse-error.ts';
import { FORBIDDEN_IN_TRAILERS } from './trailer-fields.ts';

/** Ends a chunked body without trailers. */
export const LAST_CHUNK = '0\r\n\r\n';
/** Goes behind the data of every chunk. */
export const CHUNK_END = '\r\n';
/** Bytes that {@link writeChunkHead} may need. */
export const CHUNK_HEAD_BYTES_MAX = 16;

const HEX_DIGITS = Buffer.from('0123456789abcdef', 'latin1');

/**
 * The line before `size` bytes of chunk data (RFC 9112 section 7.1). Announce only bytes that are
 * at hand. A chunk of size 0 would end the body: use {@link LAST_CHUNK} for that.
 */
export function chunkHead(size: number): string {
  return `${size.toString(16)}\r\n`;
}

/** Writes the size line into `bytes` at `offset`; returns the offset behind it. */
export function writeChunkHead(bytes: Uint8Array, offset: number, size: number): number {
  let digits = 1;
  for (let rest = size; rest >= 16; rest = Math.floor(rest / 16)) digits++;
  let left = size;
  for (let i = offset + digits - 1; i >= offset; i--) {
    bytes[i] = HEX_DIGITS[left % 16]!;
    left = Math.floor(left / 16);
  }
  bytes[offset + digits] = 0x0d;
  bytes[offset + digits + 1] = 0x0a;
  return offset + digits + 2;
}

/** Builds the end of a chunked body with trailers (RFC 9112 section 7.1.2). */
export class TrailerWriter {
  /** 0 or the first error since `begin`. */
  errorCode = 0;
  private text = '';

  begin(): void {
    this.errorCode = 0;
    this.text = '0\r\n';
  }

  /** Adds a trailer; fields that must not come late are refused (ReservedField). */
  field(name: string, value: string): void {
    if (this.errorCode !== 0) return;
    const id = knownFieldOfName(name);
    if (id !== 0 && FORBIDDEN_IN_TRAILERS[id] === 1) this.errorCode = ParseError.ReservedField;
    else if (!isToken(name)) this.errorCode = ParseError.InvalidName;
    else if (!isFieldValue(value)) this.errorCode = ParseError.InvalidValue;
    else this.text += `${name}: ${value}\r\n`;
  }

  /** Last chunk, trailers and empty line; '' when {@link errorCode} is set. */
  end(): string {
    return this.errorCode === 0 ? `${this.text}\r\n` : '';
  }
}
