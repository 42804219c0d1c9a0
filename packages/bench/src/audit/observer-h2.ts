/** The observing upstream for HTTP/2 with prior knowledge; a stream stands where a request stood. */
import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Behaviour, Observer } from './behaviours.ts';
import { ObserverState, redirectPath } from './behaviours.ts';

const json = { 'content-type': 'application/json' };

/** Drops the TCP connection of a stream's session. */
function drop(stream: ServerHttp2Stream): void {
  stream.session?.destroy();
}

function act(stream: ServerHttp2Stream, body: string, { kind, delayMs }: Behaviour): void {
  const half = body.length >> 1;
  const length = { 'content-length': String(Buffer.byteLength(body)) };
  const finish = (text: string) => stream.destroyed || stream.end(text);
  switch (kind) {
    case 'answer':
    case 'invalid-json':
      setTimeout(() => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200, ...json, ...length });
        stream.end(body);
      }, delayMs);
      return;
    case 'large':
    case 'slow-body':
      stream.respond({ ':status': 200, ...json, ...length });
      stream.write(body.slice(0, half));
      setTimeout(() => finish(body.slice(half)), delayMs);
      return;
    case 'redirect':
      stream.respond({ ':status': 302, location: redirectPath }, { endStream: true });
      return;
    case 'unavailable':
      stream.respond({ ':status': 503, ...json, 'retry-after': '0' });
      stream.end('{}');
      return;
    case 'reset':
      drop(stream);
      return;
    case 'reset-mid-body':
      stream.respond({ ':status': 200, ...json, ...length });
      stream.write(body.slice(0, half));
      setTimeout(() => drop(stream), 20);
      return;
    case 'truncated':
      stream.respond({ ':status': 200, ...json, 'content-length': String(body.length + 10) });
      stream.end(body);
      return;
    case 'truncated-chunked':
      // HTTP/2 has no chunks; the like is a stream that is reset after what looks complete.
      stream.respond({ ':status': 200, ...json });
      stream.write(body);
      // Not close(): that ends the stream in order first.
      setTimeout(() => stream.destroy(new Error('cut')), 20);
      return;
    case 'stall':
      return;
    case 'stall-mid-body':
      stream.respond({ ':status': 200, ...json, ...length });
      stream.write(body.slice(0, half));
  }
}

function headText(headers: IncomingHttpHeaders): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\r\n');
}

/** Listens on a free port of 127.0.0.1. */
export async function startH2Observer(): Promise<Observer> {
  const state = new ObserverState();
  const sessions = new Set<Http2Session>();
  // As real servers do. httpx sends one request at a time to a server that does not say this.
  const server = createServer({ settings: { maxConcurrentStreams: 100 } });
  server.on('session', (session) => {
    sessions.add(session);
    state.connectionOpened();
    session.on('error', () => {});
    session.on('close', () => {
      sessions.delete(session);
      state.connectionClosed();
    });
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    stream.on('close', () => state.requestEnded());
    const behaviour = state.requestArrived(String(headers[':path']), headText(headers));
    act(stream, state.bodyFor(behaviour.kind), behaviour);
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    behave: (...behaviours) => state.behave(behaviours),
    reset: () => state.reset(),
    seen: () => ({ ...state.counters }),
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.destroy();
      return closed;
    },
  };
}
