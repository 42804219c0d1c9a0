/**
 * A server that does with its socket whatever a test says: answers wrongly, half, too early or never.
 * Runs on any transport. It reads requests with a few lines of its own, so that it shares no fault
 * with the code under test.
 */
import type { Clock, TimerHandle } from 'onehop/core';
import type { Listener, Socket, Transport } from 'onehop/transport';

export interface RawRequest {
  method: string;
  target: string;
  /** Lower-case names; repeated ones joined with `, `. */
  headers: Map<string, string>;
  body: string;
  /** Which request on its connection, from 0. */
  index: number;
}

export type Script = (peer: RawPeer, request: RawRequest) => void;

interface Parsed {
  request: Omit<RawRequest, 'index'>;
  end: number;
}

/** One accepted connection. */
export class RawPeer {
  readonly server: RawServer;
  readonly id: number;
  socket!: Socket<RawPeer>;
  received = '';
  requests = 0;
  closed = false;
  ended = false;
  /** Free for scripts. */
  note = '';

  constructor(server: RawServer, id: number) {
    this.server = server;
    this.id = id;
  }

  send(text: string): void {
    if (!this.closed) this.socket.writeLatin1(text);
  }

  /** Sends and half-closes. */
  sendLast(text: string): void {
    if (this.closed) return;
    if (text !== '') this.socket.writeLatin1(text);
    this.socket.end();
  }

  reset(): void {
    this.socket.destroy(true);
  }
}

export interface RawServerHooks {
  onRequest: Script;
  /** The head of a request is here, its body may not be. */
  onHead?(peer: RawPeer, head: string): void;
  onConnect?(peer: RawPeer): void;
}

export class RawServer {
  readonly peers: RawPeer[] = [];
  readonly requests: RawRequest[] = [];
  port = 0;
  /** For scripts that act later; what they set is cleared by `close`. */
  clock: Clock | null = null;
  readonly timers: TimerHandle[] = [];
  hooks: RawServerHooks;
  #listener: Listener | null = null;
  readonly #heads = new WeakSet<RawPeer>();

  constructor(hooks: RawServerHooks | Script) {
    this.hooks = typeof hooks === 'function' ? { onRequest: hooks } : hooks;
  }

  get openPeers(): number {
    return this.peers.filter((peer) => !peer.closed).length;
  }

  /** Where `at` says nothing, on a free port of 127.0.0.1. */
  async listen(
    transport: Transport,
    path?: string,
    at: { host?: string; port?: number } = {},
  ): Promise<void> {
    this.#listener = await transport.listen<RawPeer>(
      path === undefined ? at : { path },
      {
        open: (socket) => {
          socket.state.socket = socket;
          this.hooks.onConnect?.(socket.state);
        },
        data: (socket, bytes) => {
          const peer = socket.state;
          peer.received += Buffer.from(bytes).toString('latin1');
          this.#advance(peer);
        },
        drain() {},
        end: (socket) => {
          socket.state.ended = true;
          socket.end();
        },
        close: (socket) => {
          socket.state.closed = true;
        },
      },
      () => {
        const peer = new RawPeer(this, this.peers.length);
        this.peers.push(peer);
        return peer;
      },
    );
    this.port = this.#listener.port;
  }

  #advance(peer: RawPeer): void {
    for (;;) {
      const headEnd = peer.received.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      if (!this.#heads.has(peer)) {
        this.#heads.add(peer);
        this.hooks.onHead?.(peer, peer.received.slice(0, headEnd));
      }
      const parsed = parseRequest(peer.received, headEnd);
      if (parsed === null) return;
      peer.received = peer.received.slice(parsed.end);
      this.#heads.delete(peer);
      const request = { ...parsed.request, index: peer.requests++ };
      this.requests.push(request);
      this.hooks.onRequest(peer, request);
    }
  }

  async close(): Promise<void> {
    for (const timer of this.timers) this.clock?.clearTimer(timer);
    const closed = this.#listener?.close();
    for (const peer of this.peers) if (!peer.closed) peer.socket?.destroy();
    await closed;
  }
}

function parseRequest(text: string, headEnd: number): Parsed | null {
  const [requestLine, ...lines] = text.slice(0, headEnd).split('\r\n');
  const [method, target] = requestLine!.split(' ');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value);
  }
  const request = { method: method!, target: target!, headers, body: '' };
  const start = headEnd + 4;
  if (headers.get('transfer-encoding') === 'chunked') {
    const chunks = parseChunks(text, start);
    return chunks === null ? null : { request: { ...request, body: chunks.body }, end: chunks.end };
  }
  const end = start + Number(headers.get('content-length') ?? 0);
  if (text.length < end) return null;
  return { request: { ...request, body: text.slice(start, end) }, end };
}

function parseChunks(text: string, start: number): { body: string; end: number } | null {
  let at = start;
  let body = '';
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) {
      // Trailers, if any, up to the empty line.
      const end = text.indexOf('\r\n\r\n', lineEnd);
      return end < 0 ? null : { body, end: end + 4 };
    }
    const dataEnd = lineEnd + 2 + size;
    if (text.length < dataEnd + 2) return null;
    body += text.slice(lineEnd + 2, dataEnd);
    at = dataEnd + 2;
  }
}

/** A well-formed answer. */
export function ok(body: string, fields = ''): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;
}

/** One chunk of a body; `text` is latin1. */
export function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

export function chunked(pieces: readonly string[], trailers = ''): string {
  const chunks = pieces.map(chunk).join('');
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n${trailers}\r\n`;
}
