import { Buffer } from 'node:buffer';

/** Longer heads are not kept: their senders decide how much memory that takes. */
const headBytesMax = 2 * 1024;

/**
 * A head that is sent again and again with one value that differs each time, kept as bytes with a
 * slot for that value: nothing is joined, flattened or encoded when it is sent.
 */
export class PreparedHead {
  /** Valid until the next {@link fill}: hand it to a corked socket, which copies. */
  readonly bytes: Uint8Array;
  readonly #slotStart: number;
  readonly #slotEnd: number;

  private constructor(bytes: Uint8Array, slotStart: number, slotEnd: number) {
    this.bytes = bytes;
    this.#slotStart = slotStart;
    this.#slotEnd = slotEnd;
  }

  /**
   * `head` is what a `HeadWriter` returned; `name` the field whose `value` will differ. Null when the
   * head does not have exactly that field line, once, or is too long to be kept.
   */
  static of(head: string, name: string, value: string): PreparedHead | null {
    if (head.length > headBytesMax || value === '') return null;
    const before = `\r\n${name}: `;
    const at = head.indexOf(`${before}${value}\r\n`);
    if (at < 0 || head.indexOf(before) !== at || head.indexOf(before, at + 1) >= 0) return null;
    const slotStart = at + before.length;
    return new PreparedHead(Buffer.from(head, 'latin1'), slotStart, slotStart + value.length);
  }

  /** Whether {@link fill} may be called: the slot has the length of the first value. */
  fits(value: string): boolean {
    return value.length === this.#slotEnd - this.#slotStart;
  }

  /**
   * Puts `value` into the slot. It must be one that {@link fits}, and a field value that was checked:
   * latin1, free of controls.
   */
  fill(value: string): void {
    const { bytes } = this;
    const end = this.#slotEnd;
    for (let from = 0, at = this.#slotStart; at < end; from++, at++) {
      bytes[at] = value.charCodeAt(from);
    }
  }
}
