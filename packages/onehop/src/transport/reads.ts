/** `joinReads` and `dropReads` where reads share a buffer: nothing was kept, so nothing is given back. */

export function joinCopies(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  const joined = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

export function dropNothing(): void {}
