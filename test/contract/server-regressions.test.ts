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
  for (const on of [rig, simRig(createSimTransport({ seed: 5 }))]) {
    for (const late of [false, true]) {
      const when = late ? 'later' : 'at once';
      test(`what follows a refused CONNECT or upgrade was served (${on.transport.name}, answered ${when})`, async () => {
        for (const head of ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', upgrade]) {
          const served: string[] = [];
          const handler: ServerHandler<unknown> = {
            onRequest(exchange) {
              served.push(exchange.request.method);
              const refuse = (): void => void exchange.respond(400, noFields, 'no');
              if (late) on.transport.clock.setTimer(refuse, 5);
              else refuse();
            },
          };
          await run(
            handler,
            async (fixture) => {
              const client = fixture.connect();
              client.send(head + get('/tunnelled'));
              assert.ok(await fixture.rig.until(() => client.ended || client.closed, 5000));
              assert.match(client.text, /^HTTP\/1\.1 400 .*Connection: close.*no$/s);
              assert.equal(served.length, 1);
            },
            {},
            on,
          );
        }
      });
    }
  }

  for (const on of [rig, simRig(createSimTransport({ seed: 6 }))]) {
    const { name } = on.transport;
    const refusing: ServerHandler<unknown> = {
      onRequest(exchange) {
        // In pieces, as a response is that is passed on.
        exchange.start(401, noFields, 2);
        exchange.write(Buffer.from('no'));
        exchange.end();
      },
    };
    const post = (bytes: number): string =>
      `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`;

    test(`a refusal ahead of a long body promised a connection that was then closed (${name})`, () =>
      run(
        refusing,
        async (fixture) => {
          const long = fixture.connect();
          long.send(`${post(1_000_000)}x`);
          assert.ok(await on.until(() => long.text.endsWith('no')));
          assert.match(long.text, /\r\nConnection: close\r\n/i);
          // What is left of a short one is read, and the next request served.
          const short = fixture.connect();
          short.send(`${post(2000)}x`);
          assert.ok(await on.until(() => short.text.endsWith('no')));
          assert.doesNotMatch(short.text, /\r\nConnection: close\r\n/i);
          short.send('x'.repeat(1999) + get('/'));
          assert.ok(await on.until(() => short.text.split('HTTP/1.1 401').length === 3));
        },
        { timeouts: { lingerTimeoutMs: 10_000 } },
        on,
      ));

    test(`a caller that goes on sending its body was reset before it read the refusal (${name})`, () =>
      run(
        refusing,
        async (fixture) => {
          const client = fixture.connect();
          client.send(post(1_000_000));
          assert.ok(await on.until(() => client.ended));
          // Slower than one time to linger, in all.
          for (let sent = 0; sent < 10; sent++) {
            client.send(Buffer.alloc(100_000));
            await on.until(() => false, 60);
          }
          assert.ok(!client.closed, 'it was cut off within its body');
          // Beyond its body as much as any caller may.
          for (let more = 0; more < 100 && !client.closed; more++) {
            client.send(Buffer.alloc(2000));
            await on.until(() => client.closed, 50);
          }
          assert.ok(client.closed, 'it is kept for a caller that never stops');
        },
        {
          limits: { lingerBytesMax: 1000 },
          // On a busy machine a pause may be any time long.
          timeouts: { lingerTimeoutMs: name === 'sim' ? 200 : 10_000 },
        },
        on,
      ));
  }

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

  /** Nothing is read meanwhile, and timers come first when it is over. */
  const stall = (ms: number): void => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  };
  const answerPath: ServerHandler<unknown> = {
    onRequest: (exchange) => void exchange.respond(200, noFields, `[${exchange.request.path}]`),
  };

  test('a request that had arrived when the idle time was over was lost with its connection', () =>
    run(
      answerPath,
      async (fixture) => {
        const client = await fixture.talk(get('/a'), '[/a]');
        client.send(get('/b'));
        stall(500);
        await rig.until(() => client.ended || client.text.includes('[/b]'));
        assert.match(client.text, /\[\/b\]$/);
        assert.doesNotMatch(client.text, /Connection: close/);
      },
      { timeouts: { keepAliveTimeoutMs: 400 } },
    ));

  test('a request that came in the instant in which the idle time was over was lost', async () => {
    const transport = createSimTransport({ seed: 3, latencyMsMax: 0, splitChance: 0 });
    await run(
      answerPath,
      async (fixture) => {
        const client = fixture.connect();
        client.send(get('/a'));
        // Made before the deadline, hence sent before it, and read after it.
        transport.clock.setTimer(() => client.send(get('/b')), 100);
        await fixture.rig.until(() => client.ended, 150);
        assert.match(client.text, /\[\/b\]$/);
        assert.equal(client.ended, false);
        // And then it ends in its time.
        assert.ok(await fixture.rig.until(() => client.ended, 150));
      },
      { timeouts: { keepAliveTimeoutMs: 100 } },
      simRig(transport),
    );
  });

  for (const idleMs of [0, 400]) {
    test(`a request that had arrived when a drain closed idle connections after ${idleMs} ms was lost`, () =>
      run(answerPath, async (fixture) => {
        const client = await fixture.talk(get('/a'), '[/a]');
        void fixture.server.close({ idleMs });
        // With some time to go, it is sent in that time, and not in the moment of the close.
        if (idleMs > 0) await rig.until(() => false, 20);
        client.send(get('/b'));
        stall(idleMs + 50);
        await rig.until(() => client.ended);
        assert.match(client.text, /\[\/b\]$/);
        client.socket!.destroy();
      }));
  }

  test('a drain closed behind a response that had not said so, at once: who went on was lost', async () => {
    for (const on of [rig, simRig(createSimTransport({ seed: 5 }))]) {
      let end = (): void => {};
      await run(
        {
          onRequest(exchange) {
            if (exchange.request.path === '/b') exchange.respond(200, noFields, '[/b]');
            else {
              exchange.start(200, noFields, unknownLength);
              exchange.write(Buffer.from('[/a]'));
              end = () => exchange.end();
            }
          },
        },
        async (fixture) => {
          const client = await fixture.talk(get('/a'), '[/a]');
          let closed = false;
          void fixture.server.close({ idleMs: 60_000 }).then(() => {
            closed = true;
          });
          await on.until(() => false, 20);
          end();
          await on.until(() => client.ended || client.text.endsWith('0\r\n\r\n'));
          assert.doesNotMatch(client.text, /Connection: close/);
          await ask(fixture, client, '/b', '[/b]');
          assert.match(client.text, /Connection: close\r\n[\s\S]*\[\/b\]$/);
          // Told, it does not wait for the rest of the time.
          assert.ok(await on.until(() => client.ended));
          client.socket!.destroy();
          assert.ok(await on.until(() => closed));
        },
        {},
        on,
      );
    }
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

  test('a FIN behind further bytes made Connection: close forgotten', () => {
    const open: (() => void)[] = [];
    return run(
      {
        onRequest(exchange) {
          const { path } = exchange.keepHead();
          open.push(() => exchange.respond(200, noFields, path));
        },
      },
      async (fixture) => {
        const client = fixture.connect();
        client.send(`GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${get('/b')}`);
        client.end();
        await fixture.rig.until(() => open.length > 0);
        await fixture.rig.until(() => client.ended, 50);
        for (let answer = open.shift(); answer !== undefined; answer = open.shift()) answer();
        assert.ok(await fixture.rig.until(() => client.ended));
        assert.match(client.text, /^HTTP\/1\.1 200 (?:.*\r\n)*connection: close\r\n/i);
        assert.equal(fixture.server.counters.requests, 1);
      },
      { allowHalfOpen: true },
    );
  });

  test('a whole request was given up when its last piece was held up and its caller half-closed', async () => {
    const sim = simRig(createSimTransport({ seed: 7 }));
    await run(
      {
        onRequest() {},
        onBody(exchange) {
          exchange.pause();
          sim.transport.clock.setTimer(() => exchange.resume(), 100);
        },
        onEnd: (exchange) => void exchange.respond(200, noFields, 'ok'),
      },
      async (fixture) => {
        const client = fixture.connect();
        client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234');
        await sim.until(() => fixture.server.counters.requests === 1);
        client.send('56789');
        client.end();
        await sim.until(() => client.ended);
        assert.match(client.text, /^HTTP\/1\.1 200 [\s\S]*ok$/);
        assert.equal(fixture.log.aborts, 0);
      },
      { allowHalfOpen: true },
      sim,
    );
  });

  test('a head whose rest waited for earlier answers to be read was cut off by a FIN', async () => {
    const sim = simRig(createSimTransport({ seed: 7 }));
    const body = 'x'.repeat(1_000_000);
    await run(
      { onRequest: (exchange) => void exchange.respond(200, noFields, body) },
      async (fixture) => {
        const client = fixture.connect();
        await sim.until(() => client.open);
        client.socket!.pause();
        const last = get('/b');
        client.send(get('/a') + last.slice(0, 9));
        const { counters } = fixture.server;
        await sim.until(() => counters.bytesIn === get('/a').length + 9);
        client.send(last.slice(9));
        client.end();
        await sim.until(() => counters.bytesIn === get('/a').length + last.length);
        await sim.until(() => false, 50);
        client.socket!.resume();
        await sim.until(() => client.ended);
        assert.equal(client.text.match(/^HTTP\/1\.1 200 |xHTTP\/1\.1 200 /g)?.length, 2);
        assert.equal(counters.protocolErrors, 0);
      },
      { allowHalfOpen: true },
      sim,
    );
  });

  test('a tunnel kept the place of a caller that may be read further ahead', async () => {
    const sim = simRig(createSimTransport({ seed: 7 }));
    let accept = (): void => {};
    const piece = Buffer.alloc(8 * 1024, 'x');
    await run(
      {
        onRequest(exchange) {
          if (exchange.request.upgrade) {
            accept = () => void exchange.upgrade('x', noFields, tunnel);
          }
        },
        onBody: (exchange) => exchange.pause(),
      },
      async (fixture) => {
        const { counters } = fixture.server;
        const first = fixture.connect();
        first.send(upgrade);
        for (let i = 0; i < 8; i++) first.send(piece);
        // All of it was read, which is more than may be without being held up for long.
        const all = upgrade.length + 8 * piece.length;
        assert.ok(await sim.until(() => counters.bytesIn === all, 10_000));
        accept();
        const second = fixture.connect();
        second.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n');
        for (let i = 0; i < 8; i++) second.send(piece);
        second.end();
        assert.ok(await sim.until(() => fixture.log.aborts === 1, 10_000), 'it was not heard');
      },
      { limits: { readAheadBytesMax: 8 * 1024, stalledReadersMax: 1 } },
      sim,
    );
  });

  test('a drain counted its time from when its ports were closed, however long that took', async () => {
    const sim = createSimTransport({ seed: 7 });
    const { clock } = sim;
    const busyMs = 5000;
    // Stands for a port at which more and more callers connect while it closes.
    const busy: typeof sim = Object.create(sim, {
      listen: {
        value: async (...given: Parameters<typeof sim.listen>) => {
          const listener = await sim.listen(...given);
          return {
            ...listener,
            async close() {
              await new Promise<void>((resolve) => void clock.setTimer(resolve, busyMs));
              await listener.close();
            },
          };
        },
      },
    });
    await run(
      { onRequest() {} },
      async (fixture) => {
        const client = fixture.connect();
        client.send(get('/'));
        assert.ok(await fixture.rig.until(() => fixture.server.counters.requests === 1));
        const startMs = clock.nowMs();
        void fixture.server.close({ drainMs: 1000 });
        assert.ok(await fixture.rig.until(() => client.ended, 2 * busyMs));
        assert.ok(clock.nowMs() - startMs < busyMs, 'it was cut when the port was closed');
        await fixture.rig.until(() => false, 2 * busyMs);
      },
      {},
      simRig(busy),
    );
  });
});
