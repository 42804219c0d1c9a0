/** A client that sends exactly the bytes it is told to and keeps everything that comes back. */
import { connect, type Socket } from 'node:net';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class RawClient {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  /** The server half-closed. */
  ended = false;
  closed = false;
  /** The connection was reset. */
  reset = false;
  closedAtMs = 0;
  private waiters: (() => void)[] = [];
  private onClosed: (() => void) | null = null;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.socket.on('data', (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.wake();
    });
    this.socket.on('end', () => {
      this.ended = true;
      this.wake();
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') this.reset = true;
    });
    this.socket.on('close', () => {
      this.closed = true;
      this.ended = true;
      this.closedAtMs = performance.now();
      this.onClosed?.();
      this.wake();
    });
  }

  static async open(port: number): Promise<RawClient> {
    const client = new RawClient(port);
    await new Promise<void>((resolve, reject) => {
      client.socket.once('connect', resolve);
      client.socket.once('error', reject);
    });
    return client;
  }

  private wake(): void {
    const waiters = this.waiters;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  get text(): string {
    return this.received.toString('latin1');
  }

  send(bytes: string | Uint8Array): void {
    if (this.closed) return;
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Sends the pieces one by one, each in a packet of its own as far as TCP lets us. */
  async sendPieces(pieces: readonly Uint8Array[], gapMs = 0): Promise<void> {
    for (const [i, piece] of pieces.entries()) {
      if (this.closed || this.ended) return;
      if (i > 0 && gapMs > 0) await pause(gapMs);
      await new Promise<void>((resolve) => {
        this.onClosed = resolve;
        this.socket.write(piece, () => setImmediate(resolve));
      });
    }
  }

  /** Waits until `done` holds; false after `timeoutMs`. */
  async until(done: () => boolean, timeoutMs = 10_000): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!done()) {
      const restMs = deadline - performance.now();
      if (restMs <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return true;
  }

  /** Waits until the text contains `part`; false after `timeoutMs`. */
  untilText(part: string, timeoutMs = 10_000): Promise<boolean> {
    return this.until(() => this.text.includes(part), timeoutMs);
  }

  /** Waits for the server's FIN or RST. */
  untilEnd(timeoutMs = 10_000): Promise<boolean> {
    return this.until(() => this.ended, timeoutMs);
  }

  close(): void {
    this.socket.destroy();
  }
}

export interface RawResponse {
  status: number;
  fields: [string, string][];
  body: string;
  /** The body is as long as its framing says. */
  complete: boolean;
}

/** Splits what a server sent into responses; `heads[i]` says that request i was HEAD. */
export function parseResponses(raw: string, heads: readonly boolean[] = []): RawResponse[] {
  const responses: RawResponse[] = [];
  let at = 0;
  let finals = 0;
  while (at < raw.length) {
    const headEnd = raw.indexOf('\r\n\r\n', at);
    if (headEnd < 0) break;
    const lines = raw.slice(at, headEnd).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(lines[0]!)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new Error(`not a status line: ${JSON.stringify(lines[0])}`);
    const fields = lines.slice(1).map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });
    at = headEnd + 4;
    const get = (name: string): string | undefined => fields.find(([key]) => key === name)?.[1];
    const bare = status < 200 || status === 204 || status === 304 || heads[finals] === true;
    if (status >= 200) finals++;
    let body = '';
    let complete = true;
    if (!bare && get('transfer-encoding') === 'chunked') {
      complete = false;
      for (;;) {
        const lineEnd = raw.indexOf('\r\n', at);
        if (lineEnd < 0) break;
        const size = Number.parseInt(raw.slice(at, lineEnd), 16);
        if (size === 0) {
          const end = raw.indexOf('\r\n\r\n', lineEnd);
          if (end >= 0) {
            complete = true;
            at = end + 4;
          }
          break;
        }
        body += raw.slice(lineEnd + 2, lineEnd + 2 + size);
        at = lineEnd + 4 + size;
      }
    } else if (!bare && get('content-length') !== undefined) {
      const length = Number(get('content-length'));
      body = raw.slice(at, at + length);
      complete = body.length === length;
      at += length;
    } else if (!bare) {
      body = raw.slice(at);
      at = raw.length;
    }
    responses.push({ status, fields, body, complete });
    if (!complete) break;
  }
  return responses;
}
