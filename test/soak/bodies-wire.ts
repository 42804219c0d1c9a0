/** The two halves of a long transfer on a plain socket: written at a pace, read message by message. */
import type { Socket } from 'node:net';
import { bodyPiece, pieceBytesMax } from './bodies-pattern.ts';
import { pause } from './storm-phases.ts';

/**
 * How a side writes or reads. `large`: as much as it can at a time; `mixed`: pieces from one byte to a
 * megabyte; `sips`: a little less quickly than it could, so that the other side meets full buffers that
 * are emptied bit by bit; `slow`: with short pauses; `bursty`: eight bursts with long pauses.
 */
export type Pace = 'large' | 'mixed' | 'sips' | 'slow' | 'bursty';

/** Pauses add up to a few seconds at any size, so that a slow transfer ends. */
const rests: Record<Pace, { count: number; ms: number }> = {
  large: { count: 0, ms: 0 },
  sips: { count: 0, ms: 0 },
  mixed: { count: 0, ms: 0 },
  slow: { count: 120, ms: 15 },
  bursty: { count: 8, ms: 200 },
};

export interface BodyPlan {
  key: number;
  size: number;
  chunked: boolean;
  pace: Pace;
}

/** From one byte to a megabyte, each order of magnitude as often. */
export const anyLength = (): number => Math.floor(2 ** (Math.random() * 20));

/** Resolves when the socket takes more, or will not any more. */
function writable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

function pieceLength({ size, pace }: BodyPlan): number {
  const { count } = rests[pace];
  if (count > 0) return Math.max(1, Math.ceil(size / count));
  if (pace === 'sips') return 1 + Math.floor(Math.random() * 8192);
  return pace === 'large' ? pieceBytesMax : anyLength();
}

/** Writes the body, up to `stopAt` bytes of it, or until the socket is gone. */
export async function writeBody(socket: Socket, plan: BodyPlan, stopAt: number): Promise<void> {
  const { key, size, chunked, pace } = plan;
  const restMs = rests[pace].ms;
  for (let at = 0; at < Math.min(size, stopAt) && !socket.destroyed; ) {
    const length = Math.min(pieceLength(plan), size - at, pieceBytesMax);
    const piece = bodyPiece(key, at, length);
    if (chunked) socket.write(`${length.toString(16)}\r\n`, 'latin1');
    let more = socket.write(piece);
    if (chunked) more = socket.write('\r\n', 'latin1');
    at += length;
    if (!more && !socket.destroyed) await writable(socket);
    if (restMs > 0) await pause(restMs);
  }
  if (chunked && stopAt >= size && !socket.destroyed) socket.write('0\r\n\r\n', 'latin1');
}

/** Holds reads back so that `size` bytes are taken at a pace. */
export class ReadPace {
  readonly #socket: Socket;
  readonly #every: number;
  readonly #restMs: number;
  readonly #sips: boolean;
  #nextAt: number;

  constructor(socket: Socket, pace: Pace, size: number) {
    const { count, ms } = rests[pace];
    this.#socket = socket;
    this.#every = count === 0 ? Number.POSITIVE_INFINITY : Math.ceil(size / count);
    this.#restMs = ms;
    this.#sips = pace === 'sips';
    this.#nextAt = this.#every;
  }

  /** `bytes` of the body are here. */
  read(bytes: number): void {
    if (this.#sips) {
      this.#socket.pause();
      setImmediate(() => this.#socket.resume());
      return;
    }
    if (bytes < this.#nextAt) return;
    while (this.#nextAt <= bytes) this.#nextAt += this.#every;
    this.#socket.pause();
    setTimeout(() => this.#socket.resume(), this.#restMs);
  }
}

export interface MessageParts {
  /** The lines up to the empty one. */
  onHead(head: string): void;
  onBody(bytes: Buffer, start: number, end: number): void;
  onEnd(): void;
}

type State = 'head' | 'length' | 'size-line' | 'chunk' | 'chunk-end' | 'trailer' | 'broken';

/** Reads HTTP/1.1 messages one after the other; knows as much of it as a soak needs. */
export class MessageReader {
  readonly #parts: MessageParts;
  #state: State = 'head';
  #text = '';
  #left = 0;

  constructor(parts: MessageParts) {
    this.#parts = parts;
  }

  /** Why reading cannot go on; null while it can. */
  fault: string | null = null;

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && this.#state !== 'broken'; ) at = this.#step(bytes, at);
  }

  #step(bytes: Buffer, at: number): number {
    if (this.#state === 'length' || this.#state === 'chunk') {
      const end = Math.min(bytes.length, at + this.#left);
      this.#left -= end - at;
      this.#parts.onBody(bytes, at, end);
      if (this.#left === 0) {
        if (this.#state === 'chunk') this.#state = 'chunk-end';
        else this.#finish();
      }
      return end;
    }
    const lineEnd = bytes.indexOf(10, at);
    const end = lineEnd < 0 ? bytes.length : lineEnd + 1;
    this.#text += bytes.toString('latin1', at, end);
    if (lineEnd >= 0) this.#line();
    return end;
  }

  /** `#text` ends with a line: all of the head so far, else that line alone. */
  #line(): void {
    const text = this.#text;
    if (this.#state === 'head') {
      if (text.endsWith('\r\n\r\n')) this.#head(text);
      return;
    }
    this.#text = '';
    if (this.#state === 'chunk-end') {
      if (text === '\r\n') this.#state = 'size-line';
      else this.#break('a chunk longer than it says');
    } else if (this.#state === 'size-line') {
      if (!/^[\da-f]+\r\n$/i.test(text)) this.#break(`a chunk of size ${JSON.stringify(text)}`);
      this.#left = Number.parseInt(text, 16);
      if (this.#state === 'size-line') this.#state = this.#left > 0 ? 'chunk' : 'trailer';
    } else if (text === '\r\n') this.#finish();
  }

  #head(text: string): void {
    this.#text = '';
    this.#parts.onHead(text);
    if (/\r\ntransfer-encoding: chunked\r\n/i.test(text)) {
      this.#state = 'size-line';
      return;
    }
    this.#left = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1] ?? 0);
    if (this.#left > 0) this.#state = 'length';
    else this.#finish();
  }

  #finish(): void {
    this.#state = 'head';
    this.#parts.onEnd();
  }

  #break(why: string): void {
    this.fault = why;
    this.#state = 'broken';
  }
}
