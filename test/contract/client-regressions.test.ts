/** Faults of the client that were found by reading it; each test is named after what went wrong. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createFetch } from 'onehop';
import { Client, type ExchangeHandler, noFields, type Origin } from 'onehop/client';
import type { OnehopError } from 'onehop/core';
import { type Socket, type Transport, transport, WriteStatus } from 'onehop/transport';
import { chunked, ok } from '../support/raw-server.ts';
import { ClientFixture } from './client-rig.ts';

describe(`client regressions on ${transport.name}`, () => {
  test('a body longer than bodyBytesMax was handed out if it had come with the head', async () => {
    const fixture = new ClientFixture(transport, (peer, request) =>
      peer.send(request.target === '/chunked' ? chunked(['x'.repeat(100)]) : ok('x'.repeat(100))),
    );
    await fixture.open();
    const client = new Client({ bodyBytesMax: 99 });
    try {
      for (const target of ['/length', '/chunked']) {
        const response = await client.get(`http://127.0.0.1:${fixture.server.port}${target}`);
        await fixture.pause(20); // by now all of it is here
        await assert.rejects(response.text(), { code: 'RESPONSE_TOO_LARGE' }, target);
      }
    } finally {
      client.destroy();
      await fixture.close();
    }
  });

  test('a tunnel was not told that the client was destroyed', async () => {
    const fixture = new ClientFixture(transport, (peer) =>
      peer.send('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
    await fixture.open();
    let closes = 0;
    let open = false;
    const handler: ExchangeHandler = {
      onHead() {},
      onBody() {},
      onEnd() {},
      onError() {},
      onUpgrade(_exchange, _head, tunnel) {
        open = true;
        tunnel.handler = {
          onData() {},
          onEnd() {},
          onClose() {
            closes++;
          },
        };
      },
    };
    fixture.origin.dispatch(
      { method: 'GET', target: '/', fields: noFields, body: null, upgrade: 'x' },
      handler,
    );
    await fixture.until(() => open);
    fixture.origin.destroy();
    await fixture.until(() => closes === 1);
    await fixture.close();
    assert.equal(closes, 1);
  });

  test('errors of a deadline, an abort, a full queue and a closed client named no phase', async () => {
    const fixture = new ClientFixture(transport, () => {});
    await fixture.open({ connectionsMax: 1, queueLengthMax: 1, timeouts: { headTimeoutMs: 700 } });
    const check = (error: OnehopError | null, code: string, phase: string): void => {
      const origin: Origin = fixture.origin;
      assert.deepEqual([error?.code, error?.phase, error?.upstream], [code, phase, origin.name]);
    };
    const late = fixture.send();
    await fixture.until(() => fixture.server.requests.length === 1);
    const queued = fixture.send();
    check(fixture.send().error, 'QUEUE_FULL', 'queue');
    queued.exchange.abort();
    check(queued.error, 'ABORTED', 'queue');
    await fixture.until(() => late.over);
    check(late.error, 'HEAD_TIMEOUT', 'head');
    fixture.origin.destroy();
    check(fixture.send().error, 'CLIENT_CLOSED', 'close');
    await fixture.close();
  });

  test('a handler that threw ended the process, and other exchanges never ended', async () => {
    const fixture = new ClientFixture(transport, (peer, request) => peer.send(ok(request.target)));
    await fixture.open({ connectionsMax: 1 });
    const expected = new Error('expected in this test');
    for (const where of ['onHead', 'onBody', 'onEnd', 'onDrain'] as const) {
      const ends: string[] = [];
      const fail = (callback: string): void => {
        if (callback === where) throw expected;
      };
      const throwing: ExchangeHandler = {
        onHead: () => fail('onHead'),
        onBody: () => fail('onBody'),
        onDrain(exchange) {
          fail('onDrain');
          exchange.endBody();
        },
        onEnd() {
          ends.push('end');
          fail('onEnd');
        },
        onError: (_exchange, error) => void ends.push(error.code, String(error.cause === expected)),
      };
      const print = console.error;
      let printed = 0;
      console.error = () => void printed++;
      try {
        // Behind another one, whose end is what starts it.
        const before = fixture.send({ target: '/before' });
        fixture.origin.dispatch(
          { method: 'PUT', target: '/x', fields: noFields, body: { length: 0 } },
          throwing,
        );
        const after = fixture.send({ target: '/after' });
        await fixture.until(() => before.over && after.over && ends.length > 0);
        assert.deepEqual([before.body, after.body], ['/before', '/after'], where);
      } finally {
        console.error = print;
      }
      assert.deepEqual(ends, where === 'onEnd' ? ['end'] : ['INTERNAL', 'true'], where);
      // A line for each kind in ten seconds: `onHead` and `onBody` are called by the same read.
      if (where === 'onEnd') assert.equal(printed, 1, where);
      else assert.ok(printed <= 1, `${where}: ${printed} lines`);
    }
    await fixture.close();
  });

  test('a streamed upload was not sent again when its connection was closed before the head', async () => {
    for (const length of [undefined, 11]) {
      const fixture = new ClientFixture(transport, (peer, request) => peer.send(ok(request.body)));
      await fixture.open();
      const sockets: Socket<unknown>[] = [];
      const spied: Transport = {
        ...transport,
        connect(options, handlers, state) {
          const socket = transport.connect(options, handlers, state);
          sockets.push(socket as Socket<unknown>);
          return socket;
        },
      };
      const client = new Client({ transport: spied, retries: 1 });
      try {
        const url = `http://127.0.0.1:${fixture.server.port}/`;
        assert.equal(await (await client.get(url)).text(), '');
        // What a write finds when the server has closed and nobody has heard of it yet.
        sockets[0]!.uncork = () => WriteStatus.Closed;
        let asked = 0;
        const body = (async function* () {
          asked++;
          yield 'hello ';
          yield 'world';
        })();
        const headers = length === undefined ? {} : { 'content-length': String(length) };
        const get = createFetch(client);
        const response = await get(url, { method: 'POST', body, headers, duplex: 'half' } as never);
        assert.equal(await response.text(), 'hello world');
        assert.equal(asked, 1);
        assert.equal(sockets.length, 2);
        assert.equal(Object.values(client.stats())[0]!.retries, 1);
      } finally {
        client.destroy();
        await fixture.close();
      }
    }
  });

  test('a streamed upload of which a piece was sent is not sent again', async () => {
    const fixture = new ClientFixture(transport, {
      onRequest: (peer) => peer.send(ok('')),
      onHead(peer, head) {
        if (head.startsWith('POST')) peer.reset();
      },
    });
    await fixture.open();
    const client = new Client({ retries: 1 });
    try {
      const url = `http://127.0.0.1:${fixture.server.port}/`;
      await (await client.get(url)).text();
      const body = (async function* () {
        yield 'x'.repeat(100_000);
        await new Promise((resolve) => setTimeout(resolve, 50));
        yield 'y';
      })();
      await assert.rejects(client.post(url, { body, idempotent: true }), (error: OnehopError) =>
        ['UPSTREAM_RESET', 'UPSTREAM_CLOSED'].includes(error.code),
      );
      assert.equal(Object.values(client.stats())[0]!.retries, 0);
    } finally {
      client.destroy();
      await fixture.close();
    }
  });

  test('a compressed body that was discarded cost its connection and kept its decoder busy', async () => {
    const zipped = gzipSync(Buffer.alloc(3000, 'a')).toString('latin1');
    const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n\r\n`;
    const fixture = new ClientFixture(transport, (peer) => {
      peer.send(head + zipped.slice(0, 12));
      const later = (): void => peer.send(zipped.slice(12));
      fixture.server.timers.push(transport.clock.setTimer(later, 10));
    });
    await fixture.open();
    const client = new Client({ decompress: true });
    try {
      const url = `http://127.0.0.1:${fixture.server.port}/`;
      for (let i = 0; i < 4; i++) {
        const response = await client.get(url);
        if (i === 2) await fixture.pause(5); // the decoder is at work
        response.discard();
        // The rest of it comes, and the connection is free again.
        await fixture.until(() => {
          const { idle, busy } = Object.values(client.stats())[0]!.connections;
          return idle === 1 || busy === 0;
        });
      }
      const { opened } = Object.values(client.stats())[0]!.connections;
      assert.equal(opened, 1);
    } finally {
      client.destroy();
      await fixture.close();
    }
  });

  test('a body discarded while it was being collected came out cut short', async () => {
    const fixture = new ClientFixture(transport, (peer) => {
      peer.send('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc');
      const later = (): void => peer.send('def');
      fixture.server.timers.push(transport.clock.setTimer(later, 20));
    });
    await fixture.open();
    const client = new Client();
    try {
      const response = await client.get(`http://127.0.0.1:${fixture.server.port}/`);
      const text = response.text();
      response.discard();
      await assert.rejects(text, { code: 'ABORTED' });
    } finally {
      client.destroy();
      await fixture.close();
    }
  });

  test('an empty upload whose source ended between two connections never ended', async () => {
    let puts = 0;
    const fixture = new ClientFixture(transport, {
      onHead: (peer, head) => {
        if (head.startsWith('PUT') && ++puts === 1) peer.reset();
      },
      onRequest: (peer, request) => peer.send(ok(request.method)),
    });
    await fixture.open();
    let delayMs = 0;
    const client = new Client({
      resolver: {
        resolve: (_host, done) =>
          void transport.clock.setTimer(() => done(null, ['127.0.0.1']), delayMs),
      },
    });
    try {
      const url = `http://upload.test:${fixture.server.port}/`;
      await (await client.get(url)).text();
      delayMs = 100;
      const body = (async function* (): AsyncGenerator<string> {
        await fixture.pause(30);
        yield '';
      })();
      const response = await client.put(url, { body, totalTimeoutMs: 20_000 });
      assert.equal(await response.text(), 'PUT');
    } finally {
      client.destroy();
      await fixture.close();
    }
  });
});
