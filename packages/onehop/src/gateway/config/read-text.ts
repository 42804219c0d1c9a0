/** Small files that a configuration is made of, read with a bound: what is named may be anything. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** A configuration, or a file of certificates, is kilobytes; a bundle of all authorities is 250. */
export const textBytesMax = 4 * 1024 * 1024;

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
};

/** Why a file cannot be read, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return REASONS[code ?? ''] ?? message ?? String(error);
}

/**
 * The text of a file of up to {@link textBytesMax} bytes, UTF-8. Throws what reading throws (see
 * {@link reasonOf}), and an Error for one that is longer, or, unless `pipes`, for what is no regular
 * file: reading a pipe may wait for ever.
 */
export function readText(file: string, pipes = false): string {
  // Before it is opened: to open a pipe may wait for ever as well.
  const stat = statSync(file);
  if (stat.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
  if (!pipes && !stat.isFile()) throw new Error('it is no regular file');
  const fd = openSync(file, 'r');
  try {
    return readBounded(fd);
  } finally {
    closeSync(fd);
  }
}

/** Not by its size: what a pipe or a file of /proc holds shows only when it is read. */
function readBounded(fd: number): string {
  const parts: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const part = Buffer.allocUnsafe(64 * 1024);
    const length = readSync(fd, part, 0, part.length, null);
    if (length === 0) return Buffer.concat(parts).toString('utf8');
    bytes += length;
    if (bytes > textBytesMax) throw new Error(`it is longer than ${textBytesMax >> 20} MiB`);
    parts.push(part.subarray(0, length));
  }
}
