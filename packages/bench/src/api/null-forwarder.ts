/**
 * A control of the study: the cheapest possible forwarder. It counts request heads by their blank
 * line, sends a prepared request upstream for each and splices the answers back untouched. One
 * upstream connection belongs to each downstream connection; there is no pool, no parsing and no
 * JSON, so the body is the upstream's own `{"message":"..."}`. What a contestant costs beyond this
 * is HTTP semantics. Requests must have no body.
 */

import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { chatBody, chatPath, chatPrompt } from '../contestants/chat/request.ts';
import { checkRequestUrl, readInteger } from './config.ts';
import { HeadCounter } from './head-counter.ts';
import type { MeasureProbe } from './measure.ts';
import { measureActions, startMeasureProbe } from './measure.ts';
import type { RunningServer } from './program.ts';
import { explainListenError, runServerProgram } from './program.ts';

function jsonResponse(status: string, body: unknown): string {
  const text = JSON.stringify(body);
  return (
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n` +
    `content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  );
}

/** The measure routes, recognised at the start of a chunk; null for anything else. */
function answerMeasure(chunk: Buffer, probe: MeasureProbe | null): string | null {
  // `GET /_` or `POST /_`: one byte tells the study's own requests apart.
  if (probe === null || (chunk[5] !== 0x5f && chunk[6] !== 0x5f)) return null;
  const line = chunk.toString('latin1', 0, chunk.indexOf(13));
  if (line.startsWith('GET /_onehop/measure/ ')) return jsonResponse('200 OK', probe.read());
  for (const action of measureActions) {
    if (!line.startsWith(`POST /_onehop/measure/${action}/ `)) continue;
    probe[action]();
    return jsonResponse('200 OK', { [action]: true });
  }
  return null;
}

function splice(downstream: Socket, upstreamUrl: URL, request: string, probe: MeasureProbe | null) {
  const counter = new HeadCounter();
  let upstream: Socket | null = null;
  const fail = (error: Error) => {
    if (downstream.writable && upstream !== null) {
      const { origin } = upstreamUrl;
      const body = { error: { upstream: origin, phase: 'exchange', message: error.message } };
      downstream.end(jsonResponse('502 Bad Gateway', body));
    }
  };
  const openUpstream = (): Socket => {
    const port = Number(upstreamUrl.port || 80);
    const host = upstreamUrl.hostname.replace(/^\[|\]$/g, '');
    const socket = connect({ port, host, noDelay: true });
    socket.on('data', (bytes) => downstream.write(bytes));
    socket.on('error', fail);
    socket.on('close', () => downstream.end());
    return socket;
  };
  downstream.on('data', (chunk) => {
    const answer = answerMeasure(chunk, probe);
    if (answer !== null) {
      downstream.write(answer);
      return;
    }
    const heads = counter.push(chunk);
    if (heads === 0) return;
    upstream ??= openUpstream();
    upstream.write(heads === 1 ? request : request.repeat(heads), 'latin1');
  });
  downstream.on('error', () => upstream?.destroy());
  downstream.on('close', () => upstream?.destroy());
}

function requestTo(url: URL, json: string | null): string {
  if (json === null) return `GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`;
  return (
    `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n` +
    `content-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`
  );
}

/**
 * Environment: REQUEST_URL, API_HOST, API_PORT, ONEHOP_MEASURE, as the API server's; ONEHOP_CASE=chat
 * asks for a completion instead.
 */
export async function startNullForwarder(env: NodeJS.ProcessEnv): Promise<RunningServer> {
  const isChat = env['ONEHOP_CASE'] === 'chat';
  const path = isChat ? chatPath : 'request_response/';
  const url = new URL(checkRequestUrl(env['REQUEST_URL']) + path);
  const host = env['API_HOST'] || '127.0.0.1';
  const port = readInteger(env, 'API_PORT', 8000, 0, 65535);
  const probe = env['ONEHOP_MEASURE'] === '1' ? startMeasureProbe() : null;
  const request = requestTo(url, isChat ? JSON.stringify(chatBody(chatPrompt)) : null);
  const open = new Set<Socket>();
  const server = createServer({ noDelay: true }, (downstream) => {
    open.add(downstream);
    downstream.on('close', () => open.delete(downstream));
    splice(downstream, url, request, probe);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(explainListenError(error, host, port)));
    server.listen({ host, port, backlog: 4096 }, resolve);
  });
  return {
    host,
    port: (server.address() as AddressInfo).port,
    close() {
      probe?.close();
      for (const socket of open) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runServerProgram('null forwarder', () => startNullForwarder(process.env));
}
