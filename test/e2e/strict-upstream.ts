/**
 * An upstream that records what a gateway sends it and takes nothing that two readers could read
 * differently: what a lenient server would let pass is listed in `malformed`. Its parser shares no
 * line with the code under test.
 */
import { createServer, type Server, type Socket } from 'node:net';

export interface SeenRequest {
  method: string;
  target: string;
  version: string;
  /** Lower-case names, in order. */
  fields: [string, string][];
  body: Buffer;
  framing: 'none' | 'content-length' | 'chunked';
  trailers: string[];
}

const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

interface Pending extends SeenRequest {
  left: number;
  chunk: 'size' | 'data' | 'trailer' | null;
  parts: Buffer[];
}

class Reader {
  private buffer: Buffer = Buffer.alloc(0);
  private pending: Pending | null = null;
  private readonly upstream: StrictUpstream;
  private readonly socket: Socket;

  constructor(upstream: StrictUpstream, socket: Socket) {
    this.upstream = upstream;
    this.socket = socket;
  }

  get partial(): boolean {
    return this.buffer.length > 0 || this.pending !== null;
  }

  take(bytes: Buffer): void {
    this.buffer = this.buffer.length === 0 ? bytes : Buffer.concat([this.buffer, bytes]);
    try {
      while (this.step());
    } catch (error) {
      this.upstream.malformed.push(
        `${(error as Error).message}: ${JSON.stringify(this.buffer.toString('latin1', 0, 120))}`,
      );
      this.buffer = Buffer.alloc(0);
      this.socket.destroy();
    }
  }

  private cut(end: number, skip: number): Buffer {
    const part = this.buffer.subarray(0, end);
    this.buffer = this.buffer.subarray(end + skip);
    return part;
  }

  private step(): boolean {
    if (this.pending === null) {
      const end = this.buffer.indexOf('\r\n\r\n');
      if (end < 0) return false;
      this.pending = parseHead(this.cut(end, 4).toString('latin1'));
      if (this.pending.fields.some(([name]) => name === 'expect')) {
        this.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      }
    }
    const pending = this.pending;
    if (pending.chunk !== null) return this.stepChunk(pending);
    const part = this.cut(Math.min(pending.left, this.buffer.length), 0);
    pending.parts.push(part);
    pending.left -= part.length;
    return pending.left > 0 ? false : this.done(pending);
  }

  private stepChunk(pending: Pending): boolean {
    if (pending.chunk === 'data') {
      if (this.buffer.length < pending.left + 2) return false;
      pending.parts.push(this.cut(pending.left, 0));
      if (this.cut(2, 0).toString('latin1') !== '\r\n') throw new Error('chunk without its CR LF');
      pending.chunk = 'size';
      return true;
    }
    const end = this.buffer.indexOf('\r\n');
    if (end < 0) return false;
    const line = this.cut(end, 2).toString('latin1');
    if (pending.chunk === 'size') {
      if (!/^[0-9A-Fa-f]{1,15}(;[^\r\n]*)?$/.test(line)) throw new Error(`chunk line ${line}`);
      pending.left = Number.parseInt(line, 16);
      pending.chunk = pending.left === 0 ? 'trailer' : 'data';
      return true;
    }
    if (line === '') return this.done(pending);
    pending.trailers.push(line);
    return true;
  }

  private done(pending: Pending): boolean {
    this.pending = null;
    pending.body = Buffer.concat(pending.parts);
    this.upstream.requests.push(pending);
    this.upstream.answer(this.socket, pending);
    return this.buffer.length > 0;
  }
}

function parseHead(text: string): Pending {
  if (/[\r\n\0]/.test(text.replaceAll('\r\n', ''))) throw new Error('bare CR, LF or NUL in a head');
  const [first, ...lines] = text.split('\r\n');
  const start = first!.split(' ');
  if (start.length !== 3 || !/^HTTP\/1\.[01]$/.test(start[2]!)) throw new Error('request line');
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon));
    if (!tokenPattern.test(name)) throw new Error(`field name ${JSON.stringify(name)}`);
    return [name.toLowerCase(), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
  });
  const lengths = fields.filter(([name]) => name === 'content-length').map(([, value]) => value);
  const codings = fields.filter(([name]) => name === 'transfer-encoding').map(([, value]) => value);
  if (lengths.length + codings.length > 1) throw new Error('ambiguous framing');
  if (codings.length > 0 && codings[0]!.toLowerCase() !== 'chunked') throw new Error('coding');
  if (lengths.length > 0 && !/^[0-9]+$/.test(lengths[0]!)) throw new Error('length');
  const chunked = codings.length > 0;
  return {
    method: start[0]!,
    target: start[1]!,
    version: start[2]!.slice(5),
    fields,
    body: Buffer.alloc(0),
    framing: chunked ? 'chunked' : lengths.length > 0 ? 'content-length' : 'none',
    trailers: [],
    left: lengths.length > 0 ? Number(lengths[0]) : 0,
    chunk: chunked ? 'size' : null,
    parts: [],
  };
}

export class StrictUpstream {
  readonly requests: SeenRequest[] = [];
  readonly malformed: string[] = [];
  /** Connections that ended in the middle of a request. */
  partial = 0;
  connections = 0;
  port = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  constructor() {
    this.server = createServer({ noDelay: true }, (socket) => {
      this.connections++;
      this.sockets.add(socket);
      const reader = new Reader(this, socket);
      socket.on('data', (bytes) => reader.take(bytes as Buffer));
      socket.on('error', () => {});
      socket.on('close', () => {
        this.sockets.delete(socket);
        if (reader.partial) this.partial++;
      });
    });
  }

  /** Replaced by tests that want another answer. */
  answer(socket: Socket, request: SeenRequest): void {
    const body = request.method === 'HEAD' ? '' : 'ok';
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${body}`);
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.port = (this.server.address() as { port: number }).port;
    return this.port;
  }

  take(): SeenRequest[] {
    return this.requests.splice(0);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}
