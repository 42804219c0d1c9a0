const blankLine = Buffer.from('\r\n\r\n', 'latin1');
const CR = 13;

/** Counts the blank lines that end request heads, also when one is split over chunks. */
export class HeadCounter {
  /** Bytes of a blank line that stood at the end of the chunk before: 0 to 3. */
  private matched = 0;

  /** Number of heads that end inside `chunk`. Bodies are not expected. */
  push(chunk: Buffer): number {
    let heads = 0;
    let from = 0;
    while (this.matched > 0 && from < chunk.length) {
      const byte = chunk[from]!;
      if (byte === blankLine[this.matched]) {
        from++;
        this.matched = (this.matched + 1) % blankLine.length;
        if (this.matched === 0) heads++;
      } else if (byte === CR) {
        from++;
        this.matched = 1;
      } else {
        this.matched = 0;
      }
    }
    for (let at = chunk.indexOf(blankLine, from); at !== -1; at = chunk.indexOf(blankLine, from)) {
      heads++;
      from = at + blankLine.length;
    }
    if (from < chunk.length) this.matched = matchedAtEnd(chunk, from);
    return heads;
  }
}

/** Length of the longest beginning of a blank line that `chunk` ends with, looking from `from` on. */
function matchedAtEnd(chunk: Buffer, from: number): number {
  for (let length = Math.min(3, chunk.length - from); length > 0; length--) {
    const start = chunk.length - length;
    if (chunk.compare(blankLine, 0, length, start) === 0) return length;
  }
  return 0;
}
