/**
 * An upstream for clients of HTTP/2: the study's `GET /request_response/` over cleartext HTTP/2 with
 * prior knowledge, on node:http2. `GET /_onehop/upstream/` says what it saw since
 * `POST /_onehop/upstream/reset/`: over HTTP/1.1 on the `controlPort` of the ready line, so that the
 * load generator can reset it and the asking does not count as a connection.
 */
import { randomUUID } from 'node:crypto';
import { createServer as createControlServer } from 'node:http';
import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readInteger } from './config.ts';
import type { RunningServer } from './program.ts';
import { explainListenError, runServerProgram } from './program.ts';
import type { UpstreamStats } from './upstream-counters.ts';

function respond(stream: ServerHttp2Stream, status: number, body: unknown): void {
  if (stream.destroyed) return;
  stream.respond({ ':status': status, 'content-type': 'application/json' });
  stream.end(JSON.stringify(body));
}

/** Environment: API_HOST, API_PORT (as the API server's), ONEHOP_LATENCY_MS (default 0). */
export async function startH2Upstream(env: NodeJS.ProcessEnv): Promise<RunningServer> {
  const host = env['API_HOST'] || '127.0.0.1';
  const port = readInteger(env, 'API_PORT', 8000, 0, 65535);
  const latencyMs = readInteger(env, 'ONEHOP_LATENCY_MS', 0, 0, 600_000);
  const stats: UpstreamStats = { requests: 0, connectionsOpened: 0, concurrencyPeak: 0 };
  const sessions = new Set<Http2Session>();
  let concurrency = 0;

  async function answer(stream: ServerHttp2Stream): Promise<void> {
    stats.requests++;
    concurrency++;
    stats.concurrencyPeak = Math.max(stats.concurrencyPeak, concurrency);
    stream.on('close', () => concurrency--);
    if (latencyMs > 0) await sleep(latencyMs);
    respond(stream, 200, { message: randomUUID() });
  }

  // As real servers do. httpx sends one request at a time to a server that does not say this.
  const server = createServer({ settings: { maxConcurrentStreams: 100 } });
  server.on('session', (session) => {
    stats.connectionsOpened++;
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => stream.destroy());
    const route = `${headers[':method']} ${headers[':path']}`;
    if (route === 'GET /request_response/') answer(stream).catch(() => stream.destroy());
    else respond(stream, 404, { error: { message: `no such path: ${headers[':path']}` } });
  });
  const control = createControlServer((request, response) => {
    const route = `${request.method} ${request.url}`;
    const known = route === 'GET /_onehop/upstream/' || route === 'POST /_onehop/upstream/reset/';
    if (known && request.method === 'POST') {
      Object.assign(stats, { requests: 0, connectionsOpened: 0, concurrencyPeak: concurrency });
    }
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(known ? stats : { error: { message: `no such route: ${route}` } }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(explainListenError(error, host, port)));
    server.listen({ host, port, backlog: 4096 }, resolve);
  });
  await new Promise<void>((resolve, reject) => {
    control.once('error', (error) => reject(explainListenError(error, host, 0)));
    control.listen({ host, port: 0 }, resolve);
  });
  return {
    host,
    port: (server.address() as AddressInfo).port,
    controlPort: (control.address() as AddressInfo).port,
    close() {
      control.close();
      control.closeAllConnections();
      for (const session of sessions) session.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runServerProgram('h2 upstream', () => startH2Upstream(process.env));
}
