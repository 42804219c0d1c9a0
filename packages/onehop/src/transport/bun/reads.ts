/**
 * Memory of what was read. Bun makes new bytes for every read, and the collector frees them long after
 * nobody looks at them: until then each read lands in memory that has never been touched, at the price
 * of a page fault for every 4 KB. So long reads are freed by hand, and the next one finds warm memory.
 */

/** Shorter reads are left to the collector. */
export const freedBytesMin: number = 16 * 1024;

interface TransferableBuffer {
  transfer(byteLength: number): ArrayBuffer;
}

interface Joiner {
  concatArrayBuffers(pieces: readonly Uint8Array[]): ArrayBuffer;
}

/** Buffers of which parts wait in send queues. */
interface Waiting {
  parts: number;
  /** Nobody but the queues needs it any more: the last of them frees it. */
  givenBack: boolean;
}

const waiting = new WeakMap<ArrayBufferLike, Waiting>();

/** `part` begins to wait in a send queue. */
export function partQueued({ buffer }: Uint8Array): void {
  if (buffer.byteLength < freedBytesMin) return;
  const known = waiting.get(buffer);
  if (known === undefined) waiting.set(buffer, { parts: 1, givenBack: false });
  else known.parts++;
}

/** `part` was sent, or its queue dropped it. It may read as empty from now on. */
export function partLeft(part: Uint8Array): void {
  const { buffer } = part;
  if (buffer.byteLength < freedBytesMin) return;
  const known = waiting.get(buffer);
  if (known === undefined || --known.parts > 0) return;
  waiting.delete(buffer);
  if (known.givenBack) freeBytes(part);
}

/** The reader is through with a long read: it is freed now, or when no part of it waits any more. */
export function giveBackRead(bytes: Uint8Array): void {
  const known = waiting.get(bytes.buffer);
  if (known === undefined) freeBytes(bytes);
  else known.givenBack = true;
}

/**
 * Frees the memory behind `bytes`, which read as empty from now on, like every view of it: whoever still
 * looked at it would miss bytes, but never see another's. Bytes that are freed already have no length
 * and are passed over, here and by the callers (the runtime would throw); what the runtime itself is
 * working with in another thread (`zlib`) it copies and leaves as it is.
 */
function freeBytes(bytes: Uint8Array): void {
  if (bytes.buffer.byteLength > 0) (bytes.buffer as unknown as TransferableBuffer).transfer(0);
}

export function dropReads(pieces: readonly Uint8Array[]): void {
  for (const piece of pieces) if (piece.length >= freedBytesMin) giveBackRead(piece);
}

export function joinReads(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const { Bun } = globalThis as unknown as { Bun: Joiner };
  const joined = new Uint8Array(Bun.concatArrayBuffers(pieces));
  dropReads(pieces);
  return joined;
}
