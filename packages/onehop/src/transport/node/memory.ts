/** Memory for bodies that are handed over. */

/** Of ECMAScript 2024, which the compiler is not told of. */
type ResizableBuffer = ArrayBuffer & { resize(byteLength: number): void };
const ArrayBufferOf = ArrayBuffer as unknown as new (
  byteLength: number,
  options: { maxByteLength: number },
) => ArrayBuffer;

/**
 * A buffer that can be resized is mapped by itself, page by page, and unmapped as it shrinks. All other
 * ways leave 256 MB of freed blocks of 64 KB with the process: glibc keeps what is not at the end of
 * its heap, and the collector does not come while nothing is allocated.
 */
export function block(byteLength: number): Uint8Array {
  const spare = spareBlocks.get(byteLength)?.pop();
  if (spare === undefined) {
    return new Uint8Array(new ArrayBufferOf(byteLength, { maxByteLength: byteLength }));
  }
  spareBytes -= byteLength;
  return spare;
}

export function freeBlock(freed: Uint8Array): void {
  const { length, buffer } = freed;
  if (spareBytes + length > spareBytesMax) {
    (buffer as ResizableBuffer).resize(0);
    return;
  }
  spareBytes += length;
  const list = spareBlocks.get(length);
  if (list === undefined) spareBlocks.set(length, [freed]);
  else list.push(freed);
}

/** Mapping one and faulting its pages in takes as long as filling it several times: a few stay. */
const spareBytesMax = 4 * 1024 * 1024;
const spareBlocks = new Map<number, Uint8Array[]>();
let spareBytes = 0;

/** A buffer from here on is long enough for what is said at {@link primerBytes}. */
const longBytesMin = 64 * 1024;
/**
 * glibc gives memory back to the system as soon as 128 KB are free at the end of its heap, and each body
 * then faults its pages in anew: a third of the system time at 64 KB, half of it at 1 MB. Once a buffer
 * that was mapped by itself is freed, it keeps twice as much as that one was long. So one is made and
 * forgotten, never touched: it takes address space for a moment and no memory. From then on the process
 * may hold 32 MB of freed memory, as it would after any body of 16 MB.
 */
const primerBytes = 16 * 1024 * 1024;
let isPrimed = process.platform !== 'linux';

/** Uninitialized memory of its own, for bytes that somebody will keep. */
export function bodyBuffer(byteLength: number): Buffer {
  if (!isPrimed && byteLength >= longBytesMin) {
    isPrimed = true;
    try {
      Buffer.allocUnsafeSlow(primerBytes);
    } catch {
      // No room for so much at once: bodies then cost what is said above.
    }
  }
  return Buffer.allocUnsafeSlow(byteLength);
}
