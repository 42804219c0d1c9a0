import { Deadline, type DeadlineOwner, type DeadlineWheel } from '../core/index.ts';
import { FieldBlock } from '../http1/index.ts';

/**
 * The `Date` field line of the current second. The text is made on first use and forgotten by a
 * deadline when the second is over, so a busy server formats one date a second and reads no clock
 * per response, and an idle one does nothing.
 */
export class DateField implements DeadlineOwner {
  readonly #wheel: DeadlineWheel;
  readonly #expiry: Deadline;
  #line = '';
  #block: FieldBlock | null = null;

  constructor(wheel: DeadlineWheel) {
    this.#wheel = wheel;
    this.#expiry = new Deadline(this, 0);
  }

  /** `Date: Sun, 06 Nov 1994 08:49:37 GMT` with its CRLF (RFC 9110 section 6.6.1). */
  get line(): string {
    if (this.#line === '') {
      const now = new Date();
      this.#line = `Date: ${now.toUTCString()}\r\n`;
      this.#wheel.arm(this.#expiry, 1000 - now.getUTCMilliseconds());
    }
    return this.#line;
  }

  /** The same as a block for a head writer. */
  get block(): FieldBlock {
    const { line } = this; // renews the block as well
    this.#block ??= new FieldBlock(['Date', line.slice(6, -2)]);
    return this.#block;
  }

  onDeadline(): void {
    this.#line = '';
    this.#block = null;
  }

  close(): void {
    this.#wheel.disarm(this.#expiry);
    this.onDeadline();
  }
}
