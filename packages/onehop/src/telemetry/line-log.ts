/**
 * A log of lines that never holds the data path up: lines are gathered and written together, one
 * write at a time; what a slow disk or pipe cannot take beyond a bound is dropped and counted.
 */
import { close, openSync, write } from 'node:fs';
import { reportFault } from '../core/index.ts';

/** Characters that may wait to be written. */
export const logBytesMax = 8 * 1024 * 1024;
const retryMs = 10;
const fileMode = 0o640;

export class LineLog {
  /** Lines lost so far. */
  dropped = 0;
  readonly #path: string | null;
  readonly #bytesMax: number;
  readonly #onError: (error: Error) => void;
  #fd: number;
  #lines: string[] = [];
  #waiting = 0;
  #writing = false;
  #scheduled = false;
  #complained = false;
  #reopen = false;
  #idle: (() => void)[] = [];

  /** `path` null is stdout. Throws what opening the file throws. */
  constructor(
    path: string | null,
    options: { bytesMax?: number; onError?: (error: Error) => void } = {},
  ) {
    this.#path = path;
    this.#bytesMax = options.bytesMax ?? logBytesMax;
    this.#onError = options.onError ?? (() => {});
    this.#fd = path === null ? 1 : openSync(path, 'a', fileMode);
  }

  /** Takes one line, without its end. */
  add(line: string): void {
    if (this.#waiting + line.length > this.#bytesMax) {
      this.dropped++;
      return;
    }
    this.#waiting += line.length + 1;
    this.#lines.push(line);
    if (!this.#writing && !this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#next();
      });
    }
  }

  /** Opens the path again, after rotation moved the file; lines before this call go to the old one. */
  reopen(): void {
    if (this.#path === null) return;
    this.#reopen = true;
    if (!this.#writing) this.#next();
  }

  /** Resolves when everything so far is written or dropped. */
  flush(): Promise<void> {
    if (!this.#writing && this.#lines.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      if (!this.#writing) this.#next();
    });
  }

  async close(): Promise<void> {
    await this.flush();
    if (this.#path !== null && this.#fd >= 0) close(this.#fd, () => {});
    this.#fd = -1;
  }

  #next(): void {
    if (this.#writing) return;
    if (this.#lines.length > 0 && this.#fd >= 0) {
      const bytes = Buffer.from(`${this.#lines.join('\n')}\n`);
      const count = this.#lines.length;
      this.#lines = [];
      this.#writing = true;
      this.#write(bytes, 0, count);
      return;
    }
    if (this.#reopen) this.#openAgain();
    const waiting = this.#idle;
    this.#idle = [];
    for (const resolve of waiting) resolve();
  }

  #openAgain(): void {
    this.#reopen = false;
    try {
      const fd = openSync(this.#path!, 'a', fileMode);
      const old = this.#fd;
      this.#fd = fd;
      if (old >= 0) close(old, () => {});
    } catch (error) {
      // The old file stays in use: a line in the wrong file is better than none.
      this.#complain(error as Error);
    }
  }

  #write(bytes: Buffer, start: number, count: number): void {
    try {
      this.#writeTo(bytes, start, count);
    } catch (error) {
      this.#wrote(bytes, start, count, error as Error, 0);
    }
  }

  #writeTo(bytes: Buffer, start: number, count: number): void {
    write(this.#fd, bytes, start, bytes.length - start, null, (error, written) =>
      this.#wrote(bytes, start, count, error, written),
    );
  }

  #wrote(
    bytes: Buffer,
    start: number,
    count: number,
    error: NodeJS.ErrnoException | null,
    written: number,
  ): void {
    if (error?.code === 'EAGAIN') {
      setTimeout(() => this.#write(bytes, start, count), retryMs);
      return;
    }
    if (error !== null && error !== undefined) {
      this.dropped += count;
      if (!this.#complained) this.#complain(error);
      this.#complained = true;
    } else if (start + written < bytes.length) {
      this.#write(bytes, start + written, count);
      return;
    } else this.#complained = false;
    this.#writing = false;
    this.#waiting = this.#lines.reduce((sum, line) => sum + line.length + 1, 0);
    this.#next();
  }

  #complain(error: Error): void {
    try {
      this.#onError(error);
    } catch (thrown) {
      reportFault(thrown, 'onError of a log');
    }
  }
}
