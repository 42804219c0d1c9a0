/**
 * A node:http2 server in a process of its own, always on Node: its RST_STREAM and GOAWAY are what the
 * wire of either runtime is tested against. `h2-server.fixture.js OPTIONS`, OPTIONS a JSON object;
 * prints its ports and ends when its input does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer as createControl } from 'node:http';
import {
  createSecureServer,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { body } from './test-server.fixture.ts';

export interface H2ServerOptions {
  delayMs?: number;
  maxConcurrentStreams?: number;
  /** After so many streams of a connection: GOAWAY, and what comes later is not looked at. */
  goawayEvery?: number;
  cert?: string;
  key?: string;
}

export interface H2Stats {
  streams: number;
  connections: number;
  /** Most streams of one connection at the same time. */
  streamsPeak: number;
  last: { headers: Record<string, string | string[] | undefined>; body: string };
}

export interface H2Server extends AsyncDisposable {
  url: string;
  stats(): Promise<H2Stats>;
}

/** Starts the server; disposing ends it. */
export async function startH2Server(options: H2ServerOptions = {}): Promise<H2Server> {
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  const child: ChildProcess = spawn(
    node,
    [fileURLToPath(import.meta.url), JSON.stringify(options)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const line = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout!.once('data', (text: Buffer) => resolve(text.toString('utf8')));
  });
  const { port, controlPort } = JSON.parse(line) as { port: number; controlPort: number };
  return {
    url: `${options.cert === undefined ? 'http' : 'https'}://127.0.0.1:${port}/`,
    stats: async () => (await fetch(`http://127.0.0.1:${controlPort}/`)).json() as Promise<H2Stats>,
    async [Symbol.asyncDispose]() {
      child.removeAllListeners('exit');
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    },
  };
}

function events(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
  let sent = 0;
  const step = (): void => {
    stream.write(`data: {"n":${sent}}\n\n`);
    if (++sent === 5) stream.end();
    else setTimeout(step, 60);
  };
  step();
}

function answer(stream: ServerHttp2Stream, path: string): void {
  if (stream.destroyed) return;
  const length = { 'content-length': body.length };
  switch (path) {
    case '/refused':
      stream.close(7);
      return;
    case '/cancelled':
      stream.close(8);
      return;
    case '/cut':
      stream.respond({ ':status': 200 });
      stream.write(body.slice(0, 10));
      // Not close(): that ends the stream in order first.
      setTimeout(() => stream.destroy(new Error('cut')), 20);
      return;
    case '/short':
      stream.respond({ ':status': 200, 'content-length': body.length + 10 });
      stream.end(body);
      return;
    case '/hang':
      return;
    case '/goaway-error':
      stream.session!.goaway(2);
      return;
    case '/gone':
      stream.session!.destroy();
      return;
    case '/sse':
      events(stream);
      return;
  }
  stream.respond({ ':status': path === '/' || path === '/other' ? 200 : 404, ...length });
  stream.end(body);
}

function serve(options: H2ServerOptions): void {
  const stats: H2Stats = {
    streams: 0,
    connections: 0,
    streamsPeak: 0,
    last: { headers: {}, body: '' },
  };
  const counts = new WeakMap<ServerHttp2Session, { open: number; total: number; over: boolean }>();
  const { maxConcurrentStreams, goawayEvery, cert, key } = options;
  const settings = maxConcurrentStreams === undefined ? {} : { maxConcurrentStreams };
  const server =
    cert === undefined
      ? createServer({ settings })
      : createSecureServer({ settings, cert, key, allowHTTP1: false });
  server.on('session', (session: ServerHttp2Session) => {
    stats.connections++;
    counts.set(session, { open: 0, total: 0, over: false });
    session.on('error', () => {});
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => {});
    const session = stream.session as ServerHttp2Session;
    const count = counts.get(session)!;
    if (count.over) return;
    stats.streams++;
    stats.streamsPeak = Math.max(stats.streamsPeak, ++count.open);
    stream.on('close', () => count.open--);
    if (++count.total === goawayEvery) {
      count.over = true;
      session.goaway(0, stream.id!);
    }
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      stats.last = { headers: { ...headers }, body: Buffer.concat(chunks).toString('utf8') };
      setTimeout(() => answer(stream, String(headers[':path'])), options.delayMs ?? 0);
    });
  });
  const control = createControl((_request, response) => {
    response.setHeader('connection', 'close').end(JSON.stringify(stats));
  });
  server.listen(0, '127.0.0.1', () => {
    control.listen(0, '127.0.0.1', () => {
      const [port, controlPort] = [server, control].map(
        (each) => (each.address() as AddressInfo).port,
      );
      console.log(JSON.stringify({ port, controlPort }));
    });
  });
  // Gone with the test, however that ends.
  process.stdin.resume().on('end', () => process.exit(0));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  serve(JSON.parse(process.argv[2]!) as H2ServerOptions);
}
