/** Faults of the server that were found by reading it; each test is named after what went wrong. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  createServer,
  noFields,
  type ServerHandler,
  type ServerOptions,
  unknownLength,
} from 'onehop/server';
import { type Socket, transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { ByteClient, Fixture, type Rig, runtimeRig, simRig } from './server-rig.ts';

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n';
const rig = runtimeRig(transport);
const tunnel = { data() {}, drain() {}, end() {} };

async function run(
  handler: ServerHandler<unknown>,
  body: (fixture: Fixture) => Promise<void>,
  options: Partial<ServerOptions<unknown>> = {},
  on: Rig = rig,
): Promise<void> {
  const fixture = new Fixture(on, handler, options);
  await fixture.listen();
  try {
    await body(fixture);
  } finally {
    await fixture.close();
  }
  assert.equal(fixture.log.finishes, fixture.server.counters.requests);
}

/** Sends and waits for an answer that ends so. */
async function ask(fixture: Fixture, client: ByteClient, path: string, end: string): Promise<void> {
  client.send(get(path));
  assert.ok(
    await fixture.rig.until(() => client.text.endsWith(end), 1000),
    `no answer to ${path}; got ${JSON.stringify(client.text)}`,
  );
}

describe(`server regressions on ${transport.name}`, () => {
  test('a Unix listener counted every caller it ever had as one open address', async () => {
    const path = join(
      tmpdir(),
      `onehop-${process.pid}-${Math.random().toString(36).slice(2)}.sock`,
    );
    const server = createServer({
      handler: { onRequest: (exchange) => void exchange.respond(200, noFields, 'ok') },
      limits: { connectionsPerAddressMax: 2 },
    });
    await server.listen({ path });
    try {
      for (let i = 0; i < 4; i++) {
        const client = new ByteClient();
        client.socket = transport.connect({ path }, ByteClient.handlers, client);
        client.send(get('/'));
        await rig.until(() => client.text.endsWith('ok') || client.closed);
        client.socket.destroy();
        assert.match(client.text, /^HTTP\/1\.1 200 /, `connection ${i}`);
      }
    } finally {
      await server.close({ drainMs: 0 });
      rmSync(path, { force: true });
    }
  });

  test('a lowered body bound did not hold for Content-Length', () =>
    run(
      {
        onRequest: (exchange) => exchange.setBodyBytesMax(3),
        onEnd: (exchange) => void exchange.respond(200, noFields, 'ok'),
      },
      async (fixture) => {
        const head = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ';
        assert.match((await fixture.talk(`${head}3\r\n\r\nabc`, 'ok')).text, /^HTTP\/1\.1 200 /);
        assert.match((await fixture.talk(`${head}4\r\n\r\nabcd`)).text, /^HTTP\/1\.1 413 /);
      },
    ));

  test('the protocol of an upgrade could split the response', () =>
    run(
      { onRequest: (exchange) => void exchange.upgrade('x\r\nEvil: 1', noFields, tunnel) },
      async (fixture) => {
        const client = await fixture.talk(upgrade);
        assert.match(client.text, /^HTTP\/1\.1 500 /);
        assert.doesNotMatch(client.text, /evil/i);
      },
    ));

  test('a request with a body, or that offered nothing, could be upgraded', () =>
    run(
      { onRequest: (exchange) => void exchange.upgrade('x', noFields, tunnel) },
      async (fixture) => {
        for (const request of [
          get('/'),
          'POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n',
        ]) {
          assert.match((await fixture.talk(request)).text, /^HTTP\/1\.1 500 /);
        }
      },
    ));

  test('an answer from a paused onRequest never ended its exchange', () =>
    run(
      {
        onRequest(exchange) {
          const { path } = exchange.request;
          exchange.pause();
          exchange.respond(200, noFields, path);
        },
      },
      async (fixture) => {
        const client = fixture.connect();
        await ask(fixture, client, '/a', '/a');
        assert.equal(fixture.server.counters.exchangesOpen, 0);
        await ask(fixture, client, '/b', '/b');
      },
    ));

  test('a pause behind the end of a request held up the next one for ever', () =>
    run(
      {
        onRequest() {},
        onEnd(exchange) {
          exchange.pause();
          exchange.respond(200, noFields, `answer ${exchange.connectionRequests}`);
        },
      },
      async (fixture) => {
        const client = fixture.connect();
        await ask(fixture, client, '/a', 'answer 1');
        await ask(fixture, client, '/b', 'answer 2');
      },
    ));

  test('an onError that throws escaped into the event loop', async () => {
    const server = createServer({
      handler: {
        onRequest() {
          throw new Error('of onRequest, expected in this test');
        },
        onError() {
          throw new Error('of onError, expected in this test');
        },
      },
    });
    const { port } = await server.listen({ port: 0 });
    const client = new ByteClient();
    client.socket = transport.connect({ port }, ByteClient.handlers, client);
    const print = console.error;
    let printed = 0;
    console.error = () => void printed++;
    try {
      client.send(get('/'));
      await rig.until(() => client.ended);
    } finally {
      console.error = print;
      client.socket.destroy();
      await server.close({ drainMs: 0 });
    }
    assert.match(client.text, /^HTTP\/1\.1 500 /);
    assert.equal(printed, 2);
  });

  test('a handler that threw behind its answer took earlier answers with it', () =>
    run(
      {
        onRequest(exchange) {
          const { path } = exchange.request;
          exchange.respond(200, noFields, path);
          if (path === '/b') throw new Error('expected');
        },
      },
      async (fixture) => {
        const client = await fixture.talk(get('/a') + get('/b') + get('/c'));
        assert.match(client.text, /\/a[^/]*HTTP\/1\.1 200 [\s\S]*\/b$/);
        assert.equal(fixture.log.errors.length, 1);
      },
    ));

  test('statuses and lengths that are no whole numbers were sent', async () => {
    await run(
      { onRequest: (exchange) => void exchange.respond(200.5, noFields, 'x') },
      async (fixture) => assert.match((await fixture.talk(get('/'))).text, /^HTTP\/1\.1 500 /),
    );
    await run(
      { onRequest: (exchange) => void exchange.start(200, noFields, 1.5) },
      async (fixture) => assert.match((await fixture.talk(get('/'))).text, /^HTTP\/1\.1 500 /),
    );
  });

  test('a slow reader was cut off though it read, when more was written meanwhile', async () => {
    const sim = simRig(createSimTransport({ seed: 7 }));
    const piece = Buffer.alloc(16 * 1024, 'x');
    const pieces = 40;
    await run(
      {
        onRequest(exchange) {
          exchange.start(200, noFields, unknownLength);
          for (let i = 0; i < pieces; i++) exchange.write(piece);
          exchange.end();
        },
      },
      async (fixture) => {
        const client = fixture.connect();
        client.send(get('/'));
        const { clock } = sim.transport;
        const readSlowly = (socket: Socket<ByteClient>): void => {
          socket.pause();
          clock.setTimer(() => socket.resume(), 20);
          clock.setTimer(() => readSlowly(socket), 21);
        };
        readSlowly(client.socket!);
        await sim.until(() => client.closed || client.text.endsWith('0\r\n\r\n'), 600_000);
        assert.equal(client.closed, false, `cut after ${client.receivedBytes} bytes`);
        assert.ok(client.receivedBytes > pieces * piece.length);
      },
      { timeouts: { writeStallTimeoutMs: 200 } },
      sim,
    );
  });
});
