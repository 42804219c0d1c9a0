/**
 * Long bodies through the gateway, up and down, with both sides held up in between. Bytes are passed on
 * where they were read, wait in send queues and are freed by hand on some runtimes, so what arrives is
 * compared byte for byte, with others under way that would soon use freed memory again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FieldBlock } from 'onehop/http1';
import { createServer, type Exchange, unknownLength } from 'onehop/server';
import { WriteStatus } from 'onehop/transport';
import { parseFirstResponse } from './conformance.ts';
import { pause, simple, withGateway } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

const lengths = [20_000, 70_000, 220_000, 1_048_576, 9_000_001];
const stepBytes = 300_000;

function bodyOf(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed * 2_654_435_761 + length;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

interface Echo {
  chunked: boolean;
  pieces: Buffer[];
  /** Bytes read since it last took a break. */
  fresh: number;
  answer: Buffer;
  sent: number;
}

/** Sends the answer on from where it was held up. */
function sendOn(exchange: Exchange<Echo>): void {
  const state = exchange.state!;
  const { answer } = state;
  while (state.sent < answer.length) {
    const end = Math.min(answer.length, state.sent + stepBytes);
    const status = exchange.write(answer, state.sent, end);
    state.sent = end;
    if (status !== WriteStatus.Flushed) return;
  }
  if (!exchange.responseEnded) exchange.end();
}

/** An upstream that takes a break before each step of the body and answers with all of it. */
async function withEcho(body: (port: number) => Promise<void>): Promise<void> {
  const server = createServer<Echo>({
    limits: { connectionsPerAddressMax: 1000 },
    handler: {
      onRequest(exchange) {
        exchange.state = {
          chunked: exchange.request.path.startsWith('/chunked'),
          pieces: [],
          fresh: stepBytes,
          answer: Buffer.alloc(0),
          sent: 0,
        };
      },
      onBody(exchange, bytes, start, end) {
        const state = exchange.state!;
        state.pieces.push(Buffer.from(bytes.subarray(start, end)));
        state.fresh += end - start;
        if (state.fresh < stepBytes) return;
        state.fresh = 0;
        exchange.pause();
        setTimeout(() => exchange.resume(), 15);
      },
      onEnd(exchange) {
        const state = exchange.state!;
        state.answer = Buffer.concat(state.pieces);
        const length = state.chunked ? unknownLength : state.answer.length;
        exchange.start(200, new FieldBlock([]), length);
        sendOn(exchange);
      },
      onDrain: sendOn,
    },
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  try {
    await body(port);
  } finally {
    await server.close({ drainMs: 0 });
  }
}

/** The body as one message, with chunks of all sizes where its length is not said. */
function requestOf(path: string, body: Buffer): Buffer {
  const head = `POST ${path} HTTP/1.1\r\nHost: t\r\n`;
  if (!path.startsWith('/chunked')) {
    return Buffer.concat([Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n`), body]);
  }
  const parts: Buffer[] = [Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n`)];
  for (let at = 0, size = 1; at < body.length; at += size, size = ((size * 7 + 13) % 90_000) + 1) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  parts.push(Buffer.from('0\r\n\r\n'));
  return Buffer.concat(parts);
}

/** Requests one after the other on one connection, by a caller that does not read at once. */
async function echoEach(port: number, path: string, bodies: readonly Buffer[]): Promise<void> {
  const client = await RawClient.open(port);
  try {
    for (const body of bodies) {
      client.received = Buffer.alloc(0);
      client.send(requestOf(path, body));
      client.socket.pause();
      await pause(40);
      client.socket.resume();
      // Looked at in full only when it may be complete: it is long.
      const answer = () =>
        client.received.length > body.length ? parseFirstResponse(client.received, false) : null;
      const complete = await client.until(() => answer()?.complete === true, 60_000);
      assert.ok(complete, `the answer to ${path} of ${body.length} bytes is not complete`);
      const { status, body: received } = answer()!;
      assert.equal(status, 200);
      assert.ok(body.equals(received), `${path} of ${body.length} bytes came back changed`);
    }
  } finally {
    client.close();
  }
}

for (const framing of ['length', 'chunked']) {
  test(`long bodies come through whole while both sides are held up: ${framing}`, () =>
    withEcho((upstream) =>
      withGateway(simple([upstream]), async ({ port }) => {
        for (let round = 0; round < 2; round++) {
          await Promise.all(
            lengths.map((length, i) =>
              echoEach(port, `/${framing}`, [
                bodyOf(length, round * 10 + i),
                bodyOf(length, round * 10 + i + 100),
              ]),
            ),
          );
        }
      }),
    ));
}
