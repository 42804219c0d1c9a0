/**
 * Bodies that are checked at every offset without being held: byte N of a body is byte N + key of one
 * endless row. Lost, doubled, swapped and stale bytes (those of another body have another key) all
 * stand where the row has something else, and looking is one comparison of memory.
 */

/** A prime: buffers are sized by powers of two, so no mix-up of theirs comes out at the same place. */
const periodBytes = 1_048_573;

function makeRow(): Buffer {
  const row = Buffer.allocUnsafe(periodBytes);
  let state = 0x9e37_79b9;
  for (let i = 0; i < periodBytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    row[i] = state >>> 11;
  }
  // Twice, so that any piece of up to a period is in one place.
  return Buffer.concat([row, row]);
}

const row = makeRow();
export const pieceBytesMax = periodBytes;

/** A view, not to be written to. `length` is at most {@link pieceBytesMax}. */
export function bodyPiece(key: number, offset: number, length: number): Buffer {
  const from = (key + offset) % periodBytes;
  return row.subarray(from, from + length);
}

/** Compares a body that comes piece by piece with what it should be. */
export class BodyCheck {
  readonly key: number;
  readonly size: number;
  bytes = 0;
  /** Offset of the first piece that is not as it should be; -1 without one. */
  wrongAt = -1;

  constructor(key: number, size: number) {
    this.key = key;
    this.size = size;
  }

  take(piece: Uint8Array, start = 0, end = piece.length): void {
    for (let at = start; at < end; ) {
      const length = Math.min(end - at, periodBytes);
      const from = (this.key + this.bytes) % periodBytes;
      const same = row.compare(piece, at, at + length, from, from + length) === 0;
      if (!same && this.wrongAt < 0) this.wrongAt = this.bytes;
      this.bytes += length;
      at += length;
    }
  }

  /** What is wrong with a body that has come to its end; null when nothing is. */
  get fault(): string | null {
    if (this.wrongAt >= 0) return `wrong bytes in the piece at ${this.wrongAt} of ${this.size}`;
    return this.bytes === this.size ? null : `${this.bytes} bytes of ${this.size}`;
  }
}
