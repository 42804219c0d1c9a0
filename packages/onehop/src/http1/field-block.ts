import { isFieldValue, isToken } from './field-text.ts';
import { HOP_BY_HOP } from './hop-by-hop-fields.ts';
import { KnownField, knownFieldOfName } from './known-field.ts';
import { ParseError } from './parse-error.ts';

/** Fields that `HeadWriter.end` alone writes. */
export const RESERVED = HOP_BY_HOP.slice();
RESERVED[KnownField.ContentLength] = 1;

const NO_PAIRS: readonly string[] = [];

/**
 * Fields that were checked once and are sent often: default headers of a client, headers a route
 * adds. `errorCode` is 0 or says why the fields cannot be sent; then `text` is empty.
 */
export class FieldBlock {
  readonly text: string;
  readonly errorCode: number;

  /** `pairs`: name, value, name, value … */
  constructor(pairs: readonly string[]) {
    let text = '';
    let error = 0;
    for (let i = 0; i < pairs.length && error === 0; i += 2) {
      error = fieldError(pairs[i]!, pairs[i + 1]!, true);
      text += `${pairs[i]}: ${pairs[i + 1]}\r\n`;
    }
    this.errorCode = error;
    this.text = error === 0 ? text : '';
  }

  /** For `http1/` only: field lines that a parser or a writer has checked, each ended by CRLF. */
  static ofChecked(text: string): FieldBlock {
    const block = new FieldBlock(NO_PAIRS);
    (block as { text: string }).text = text;
    return block;
  }

  /** This block with the fields of `other` behind its own. */
  concat(other: FieldBlock): FieldBlock {
    const failed = this.errorCode !== 0 ? this : other;
    return failed.errorCode !== 0 ? failed : FieldBlock.ofChecked(this.text + other.text);
  }
}

/** Why a field cannot be sent, or 0. */
export function fieldError(name: string, value: string, isRequest: boolean): number {
  const id = knownFieldOfName(name);
  if (id === 0) {
    if (!isToken(name)) return ParseError.InvalidName;
  } else if (RESERVED[id] === 1 || (isRequest && id === KnownField.Host)) {
    return ParseError.ReservedField;
  }
  return isFieldValue(value) ? 0 : ParseError.InvalidValue;
}
