/**
 * An upstream that watches its callers: a raw HTTP/1.1 server that counts connections and requests
 * as they are on the wire and misbehaves on demand, in ways a server framework would not let it.
 */

import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { AskedCase, Behaviour, Observer } from './behaviours.ts';
import { messageCase, ObserverState, redirectPath } from './behaviours.ts';

const json = 'content-type: application/json\r\n';

function headWithLength(body: string): string {
  return `HTTP/1.1 200 OK\r\n${json}content-length: ${Buffer.byteLength(body)}\r\n\r\n`;
}

class ObservedConnection {
  private text = '';
  private busy = 0;
  private readonly socket: Socket;
  private readonly state: ObserverState;

  constructor(socket: Socket, state: ObserverState) {
    this.socket = socket;
    this.state = state;
    state.connectionOpened();
    socket.on('data', (chunk) => this.received(chunk.toString('latin1')));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.closed());
  }

  private closed(): void {
    this.state.connectionClosed();
    while (this.busy > 0) this.done();
  }

  private done(): void {
    this.busy--;
    this.state.requestEnded();
  }

  private received(text: string): void {
    this.text += text;
    for (let end = this.text.indexOf('\r\n\r\n'); end !== -1; end = this.text.indexOf('\r\n\r\n')) {
      const head = this.text.slice(0, end);
      const bodyEnd = end + 4 + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (this.text.length < bodyEnd) return;
      this.text = this.text.slice(bodyEnd);
      if (this.busy > 0) this.state.counters.pipelined++;
      this.busy++;
      const behaviour = this.state.requestArrived(head.split(' ', 2)[1] ?? '', head);
      this.act(behaviour, /\r\nconnection: *close/i.test(head));
    }
  }

  /** Sends the last bytes of an answer; the request is over. */
  private finish(text: string, close: boolean): void {
    if (this.socket.destroyed) return;
    this.done();
    if (close) this.socket.end(text);
    else this.socket.write(text);
  }

  private act({ kind, delayMs }: Behaviour, close: boolean): void {
    const { socket } = this;
    const body = this.state.bodyFor(kind);
    const half = body.length >> 1;
    const whole = headWithLength(body) + body;
    switch (kind) {
      case 'answer':
      case 'invalid-json':
        if (delayMs === 0) this.finish(whole, close);
        else setTimeout(() => this.finish(whole, close), delayMs);
        return;
      case 'large':
        socket.write(headWithLength(body) + body.slice(0, half));
        setTimeout(() => this.finish(body.slice(half), close), 5);
        return;
      case 'slow-body':
        socket.write(headWithLength(body) + body.slice(0, half));
        setTimeout(() => this.finish(body.slice(half), close), delayMs);
        return;
      case 'redirect': {
        const location = `location: ${redirectPath}\r\ncontent-length: 0\r\n\r\n`;
        this.finish(`HTTP/1.1 302 Found\r\n${location}`, close);
        return;
      }
      case 'unavailable': {
        const rest = `${json}retry-after: 0\r\ncontent-length: 2\r\n\r\n{}`;
        this.finish(`HTTP/1.1 503 Service Unavailable\r\n${rest}`, close);
        return;
      }
      case 'reset':
        socket.resetAndDestroy();
        return;
      case 'reset-mid-body':
        socket.write(headWithLength(body) + body.slice(0, half));
        setTimeout(() => socket.resetAndDestroy(), 20);
        return;
      case 'truncated':
        // Valid JSON so far: only the length gives it away.
        socket.end(`HTTP/1.1 200 OK\r\n${json}content-length: ${body.length + 10}\r\n\r\n${body}`);
        return;
      case 'truncated-chunked': {
        const size = body.length.toString(16);
        const head = `HTTP/1.1 200 OK\r\n${json}transfer-encoding: chunked\r\n\r\n`;
        socket.end(`${head}${size}\r\n${body}\r\n`);
        return;
      }
      case 'stall':
        return;
      case 'stall-mid-body':
        socket.write(headWithLength(body) + body.slice(0, half));
    }
  }
}

/** Listens on a free port of 127.0.0.1. */
export async function startObserver(asked: AskedCase = messageCase): Promise<Observer> {
  const state = new ObserverState(asked);
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    new ObservedConnection(socket, state);
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    behave: (...behaviours) => state.behave(behaviours),
    reset: () => state.reset(),
    seen: () => ({ ...state.counters }),
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
}
