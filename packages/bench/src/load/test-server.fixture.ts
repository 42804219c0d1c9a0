/** A small upstream for the generator's tests, on the runtime's own HTTP server. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export const body = '{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}';

export interface TestServer extends AsyncDisposable {
  url: string;
  /** Requests and connections seen so far. */
  requests: number;
  connections: number;
  /** The head and body of the last request. */
  last: { method: string; url: string; headers: [string, string][]; body: string };
}

export interface TestServerOptions {
  delayMs?: number;
  /** Answers `connection: close`. */
  close?: boolean;
  /** Listens with TLS; connections are then those whose handshake is done. */
  tls?: { cert: string; key: string };
}

function events(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let sent = 0;
  const step = (): void => {
    response.write(`data: {"n":${sent}}\n\n`);
    if (++sent === 5) response.end();
    else setTimeout(step, 60);
  };
  step();
}

function answer(path: string, response: ServerResponse, options: TestServerOptions): void {
  if (path === '/sse') {
    events(response);
    return;
  }
  if (path === '/redirect') {
    response.writeHead(302, { location: '/' }).end();
    return;
  }
  if (path === '/truncated') {
    response.socket!.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort');
    return;
  }
  if (path === '/garbage') {
    response.socket!.end('this is not HTTP\r\n\r\n');
    return;
  }
  const status = path === '/' || path === '/other' ? 200 : 404;
  if (options.close === true) response.setHeader('connection', 'close');
  response.writeHead(status, { 'content-length': body.length }).end(body);
}

/** Listens on a free port of the loopback; disposing closes every connection. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const sockets = new Set<Socket>();
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      state.requests++;
      const headers: [string, string][] = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) {
        headers.push([request.rawHeaders[i]!.toLowerCase(), request.rawHeaders[i + 1]!]);
      }
      state.last = {
        method: request.method!,
        url: request.url!,
        headers,
        body: Buffer.concat(chunks).toString('utf8'),
      };
      const path = request.url!.split('?')[0]!;
      if (options.delayMs === undefined) answer(path, response, options);
      else setTimeout(() => answer(path, response, options), options.delayMs);
    });
  };
  const { tls } = options;
  const server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener);
  server.keepAliveTimeout = 60_000;
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    state.connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const state: TestServer = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests: 0,
    connections: 0,
    last: { method: '', url: '', headers: [], body: '' },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return state;
}
