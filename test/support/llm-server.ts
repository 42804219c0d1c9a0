/**
 * An LLM provider in a few lines of node:http, for what `@onehop/mock` does not do: Anthropic's events,
 * tool calls, failures that pass, uploads.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface LlmRequest {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** How often this path was asked before. */
  readonly earlier: number;
}

export type Answer = (request: LlmRequest, response: ServerResponse) => void;

export interface LlmServer {
  readonly baseUrl: string;
  readonly requests: LlmRequest[];
  /** Answers whose caller went away before their end. */
  readonly aborted: () => number;
  close(): Promise<void>;
}

export async function startLlmServer(
  answers: Readonly<Record<string, Answer>>,
): Promise<LlmServer> {
  const requests: LlmRequest[] = [];
  let aborted = 0;
  const server = createServer((incoming, response) => {
    const pieces: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => {
      const path = incoming.url ?? '';
      const request: LlmRequest = {
        path,
        headers: incoming.headers,
        body: Buffer.concat(pieces).toString('latin1'),
        earlier: requests.filter((each) => each.path === path).length,
      };
      requests.push(request);
      response.on('close', () => {
        if (!response.writableFinished) aborted++;
      });
      const answer = answers[path];
      if (answer === undefined) response.writeHead(404).end();
      else answer(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    aborted: () => aborted,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
}
