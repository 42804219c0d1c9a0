/** What the callback core of the client does on any transport. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { OriginOptions } from 'onehop/client';
import { FieldBlock } from 'onehop/http1';
import { type Transport, WriteStatus } from 'onehop/transport';
import { chunked, ok, type RawServerHooks, type Script } from '../support/raw-server.ts';
import { ClientFixture } from './client-rig.ts';

type Body = (fixture: ClientFixture) => Promise<void>;

/** Registers the contract; `makeTransport` runs once per test. */
export function clientContract(name: string, makeTransport: () => Transport): void {
  const check = (
    title: string,
    hooks: RawServerHooks | Script,
    body: Body,
    options: OriginOptions = {},
  ) =>
    test(title, async () => {
      const fixture = new ClientFixture(makeTransport(), hooks);
      await fixture.open(options);
      try {
        await body(fixture);
      } finally {
        await fixture.close();
      }
    });

  const hello: Script = (peer, request) => peer.send(ok(`hello ${request.target}`));

  describe(`client on ${name}: requests and responses`, () => {
    check('one connection serves one request after the other', hello, async (fixture) => {
      for (const target of ['/a', '/b', '/c']) {
        const record = await fixture.run({ target });
        assert.equal(record.status, 200);
        assert.equal(record.body, `hello ${target}`);
      }
      assert.equal(fixture.server.peers.length, 1);
      assert.equal(fixture.origin.stats().connections.reused, 2);
    });

    check('heads, fields and hosts arrive as given', hello, async (fixture) => {
      await fixture.run({
        method: 'DELETE',
        target: '/x?y=%20z',
        fields: new FieldBlock(['X-A', '1', 'X-A', '2', 'X-B', 'c']),
      });
      const [request] = fixture.server.requests;
      assert.equal(request!.method, 'DELETE');
      assert.equal(request!.target, '/x?y=%20z');
      assert.equal(request!.headers.get('x-a'), '1, 2');
      assert.equal(request!.headers.get('host'), `127.0.0.1:${fixture.server.port}`);
      assert.equal(request!.headers.has('content-length'), false);
    });

    check('bodies in memory: text, UTF-8, bytes, small and large', hello, async (fixture) => {
      const large = Buffer.alloc(300_000, 'abcdefghij');
      for (const body of ['ascii', 'h\u00e9 \u20ac', Buffer.from([0, 255, 10]), large]) {
        const record = await fixture.run({ method: 'POST', body });
        assert.equal(record.status, 200);
        const sent = Buffer.from(body as string).toString('latin1');
        assert.equal(fixture.server.requests.at(-1)!.body, sent);
      }
      await fixture.run({ method: 'POST', body: null });
      assert.equal(fixture.server.requests.at(-1)!.headers.get('content-length'), '0');
    });

    for (const length of [null, 600_000]) {
      const how = length === null ? 'chunked' : 'with a length';
      check(`a streamed body, ${how}, waits for the connection`, hello, async (fixture) => {
        const piece = Buffer.alloc(60_000, '0123456789');
        let left = 10;
        const record = fixture.send({ method: 'POST', body: { length } }, (record) => {
          record.onDrain = () => {
            while (left > 0) {
              left--;
              if (record.exchange.write(piece) !== WriteStatus.Flushed) break;
            }
            if (left === 0) {
              left = -1;
              record.exchange.endBody();
            }
          };
        });
        await fixture.until(() => record.over);
        assert.equal(record.error, null);
        assert.equal(fixture.server.requests[0]!.body.length, 600_000);
        assert.ok(fixture.server.requests[0]!.body.endsWith('6789'));
        assert.equal((await fixture.run()).status, 200);
        assert.equal(fixture.server.peers.length, 1, 'a finished upload keeps its connection');
      });
    }

    check('a body of another length than announced fails', hello, async (fixture) => {
      for (const [length, written] of [
        [5, 6],
        [5, 4],
      ] as const) {
        const record = fixture.send({ method: 'POST', body: { length } }, (record) => {
          record.onDrain = () => {
            record.exchange.write(Buffer.alloc(written, 'x'));
            record.exchange.endBody();
          };
        });
        await fixture.until(() => record.over);
        assert.equal(record.error?.code, 'BODY_LENGTH_MISMATCH');
      }
      assert.equal(fixture.server.requests.length, 0);
    });

    check(
      'chunked responses, with trailers',
      (peer) => peer.send(chunked(['ab', 'c'.repeat(5000), 'd'], 'X-Sum: 9\r\n')),
      async (fixture) => {
        const record = await fixture.run();
        assert.equal(record.body, `ab${'c'.repeat(5000)}d`);
        assert.deepEqual(record.trailers, ['X-Sum', '9']);
        assert.equal((await fixture.run()).status, 200);
        assert.equal(fixture.server.peers.length, 1);
      },
    );

    check(
      'HEAD, 204 and 304 have no body whatever they say',
      (peer, { target, method }) => {
        const status = method === 'HEAD' ? '200 OK' : `${target.slice(1)} None`;
        const length = method === 'HEAD' || target === '/304' ? 'Content-Length: 50\r\n' : '';
        peer.send(`HTTP/1.1 ${status}\r\n${length}\r\n`);
      },
      async (fixture) => {
        assert.deepEqual((await fixture.run({ method: 'HEAD' })).events, ['head', 'end']);
        assert.deepEqual((await fixture.run({ target: '/204' })).events, ['head', 'end']);
        assert.deepEqual((await fixture.run({ target: '/304' })).events, ['head', 'end']);
        assert.equal(fixture.server.peers.length, 1);
      },
    );

    check(
      'a body that the close ends, and HTTP/1.0',
      (peer, { target }) =>
        peer.sendLast(
          target === '/old'
            ? 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold'
            : 'HTTP/1.1 200 OK\r\n\r\nto the end',
        ),
      async (fixture) => {
        assert.equal((await fixture.run()).body, 'to the end');
        assert.equal((await fixture.run({ target: '/old' })).body, 'old');
        assert.equal(fixture.server.peers.length, 2);
      },
    );

    check(
      'Connection: close is obeyed',
      (peer) => peer.send(ok('x', 'Connection: close\r\n')),
      async (fixture) => {
        await fixture.run();
        await fixture.run();
        assert.equal(fixture.server.peers.length, 2);
        await fixture.until(() => fixture.server.openPeers === 0);
      },
    );

    check(
      'interim responses are passed on and do not end anything',
      (peer) => peer.send(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${ok('x')}`),
      async (fixture) => {
        const record = await fixture.run();
        assert.deepEqual(record.events, ['interim 103', 'head', 'body', 'end']);
      },
    );

    check(
      'a flood of interim responses is refused',
      (peer) => peer.send('HTTP/1.1 100 Continue\r\n\r\n'.repeat(100)),
      async (fixture) => {
        const record = await fixture.run();
        assert.equal(record.error?.code, 'RESPONSE_TOO_LARGE');
      },
    );

    check(
      'an upgrade hands the connection over with the bytes behind the head',
      (peer) =>
        peer.send('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfirst '),
      async (fixture) => {
        const record = await fixture.run({ upgrade: 'x' });
        assert.equal(record.status, 101);
        record.tunnel!.write(Buffer.from('to the server'));
        fixture.server.peers[0]!.send('second');
        await fixture.until(() => record.tunnelled === 'first second');
        await fixture.until(() => fixture.server.peers[0]!.received === 'to the server');
      },
    );

    check(
      '101 unasked is refused',
      (peer) => peer.send('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
      async (fixture) => {
        assert.equal((await fixture.run()).error?.code, 'RESPONSE_INVALID');
      },
    );

    check('what cannot be sent is refused before a connection is used', hello, async (fixture) => {
      assert.equal((await fixture.run({ target: '/a b' })).error?.code, 'REQUEST_INVALID');
      assert.equal((await fixture.run({ method: 'G T' })).error?.code, 'REQUEST_INVALID');
      const bad = new FieldBlock(['X-A', 'a\r\nX-B: b']);
      assert.equal((await fixture.run({ fields: bad })).error?.code, 'REQUEST_INVALID');
      assert.equal(fixture.server.peers.length, 0);
    });
  });

  describe(`client on ${name}: doubt costs the connection`, () => {
    check(
      'bytes behind a response',
      (peer) => peer.send(`${ok('x')}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`),
      async (fixture) => {
        const startMs = fixture.transport.clock.nowMs();
        assert.equal((await fixture.run()).body, 'x');
        await fixture.until(() => fixture.server.openPeers === 0);
        assert.ok(fixture.transport.clock.nowMs() - startMs < 2000, 'it only retired');
        assert.equal((await fixture.run()).body, 'x');
        assert.equal(fixture.server.peers.length, 2);
      },
    );

    check('bytes on an idle connection', hello, async (fixture) => {
      await fixture.run();
      fixture.server.peers[0]!.send(ok('nobody asked'));
      await fixture.until(() => fixture.server.openPeers === 0);
      assert.equal((await fixture.run({ target: '/after' })).body, 'hello /after');
    });

    check(
      'a final response before the upload is through',
      {
        onRequest() {},
        onHead: (peer) => peer.send(ok('too large for me')),
      },
      async (fixture) => {
        const record = fixture.send({ method: 'POST', body: { length: 1000 } }, (record) => {
          record.onDrain = () => void record.exchange.write(Buffer.from('some of it'));
        });
        await fixture.until(() => record.over);
        assert.equal(record.error, null);
        assert.equal(record.body, 'too large for me');
        assert.equal(record.exchange.write(Buffer.from('more')), WriteStatus.Closed);
        await fixture.until(() => fixture.server.openPeers === 0);
      },
    );

    const faults: [title: string, answer: string, close: 'end' | 'reset', codes: string[]][] = [
      ['half a head, then close', 'HTTP/1.1 200 OK\r\nCont', 'end', ['UPSTREAM_TRUNCATED']],
      [
        'a length that is too long',
        'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc',
        'end',
        ['UPSTREAM_TRUNCATED'],
      ],
      [
        'a chunked body without its end',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc',
        'end',
        ['UPSTREAM_TRUNCATED'],
      ],
      ['a close instead of an answer', '', 'end', ['UPSTREAM_CLOSED']],
      // A reset may overtake what was sent before it.
      [
        'a reset in the body',
        'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc',
        'reset',
        ['UPSTREAM_RESET', 'UPSTREAM_TRUNCATED', 'UPSTREAM_CLOSED'],
      ],
      ['garbage', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 'end', ['RESPONSE_INVALID']],
      [
        'two lengths',
        'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
        'end',
        ['RESPONSE_INVALID'],
      ],
    ];
    for (const [title, answer, close, codes] of faults) {
      check(
        title,
        (peer) => {
          if (close === 'end') peer.sendLast(answer);
          else {
            peer.send(answer);
            peer.reset();
          }
        },
        async (fixture) => {
          const record = await fixture.run({ method: 'POST', body: 'x' });
          assert.ok(codes.includes(record.error?.code ?? ''), `got ${record.error?.code}`);
          assert.equal(fixture.server.requests.length, 1, 'a POST was sent again');
        },
      );
    }
  });

  describe(`client on ${name}: retries`, () => {
    /** Serves one request per connection, then closes as soon as the next one is here. */
    const staleAfterFirst: Script = (peer, request) => {
      if (request.index === 0) peer.send(ok('x'));
      else peer.socket.destroy();
    };

    check(
      'RS-111: a stale connection, idempotent: once more, fresh',
      staleAfterFirst,
      async (f) => {
        await f.run();
        const record = await f.run();
        assert.equal(record.body, 'x');
        assert.equal(record.exchange.attempt, 2);
        assert.equal(f.server.peers.length, 2);
        assert.equal(f.origin.stats().retries, 1);
      },
    );

    check('RS-112: a stale connection, POST: not sent again', staleAfterFirst, async (f) => {
      await f.run();
      const record = await f.run({ method: 'POST', body: 'pay' });
      assert.ok(['UPSTREAM_CLOSED', 'UPSTREAM_RESET'].includes(record.error!.code));
      assert.equal(f.server.requests.filter(({ method }) => method === 'POST').length, 1);
    });

    check(
      'retries: 0 switches them off',
      staleAfterFirst,
      async (fixture) => {
        await fixture.run();
        assert.notEqual((await fixture.run()).error, null);
      },
      { retries: 0 },
    );

    check(
      'a fresh connection that closes is not tried again',
      (peer) => peer.socket.destroy(),
      async (fixture) => {
        assert.notEqual((await fixture.run()).error, null);
        assert.equal(fixture.server.requests.length, 1);
      },
    );

    check(
      'never after a response byte',
      (peer, request) => {
        if (request.index === 0) peer.send(ok('x'));
        else peer.sendLast('HTTP/1.1 2');
      },
      async (fixture) => {
        await fixture.run();
        assert.equal((await fixture.run()).error?.code, 'UPSTREAM_TRUNCATED');
        assert.equal(fixture.server.requests.length, 2);
      },
    );

    check(
      'many stale connections at once: each request is answered once more',
      (peer, request) => {
        if (request.index === 0) peer.send(ok(request.target));
        else peer.socket.destroy();
      },
      async (fixture) => {
        const first = Array.from({ length: 8 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => first.every(({ over }) => over));
        const second = Array.from({ length: 3 }, (_, i) => fixture.send({ target: `/again${i}` }));
        await fixture.until(() => second.every(({ over }) => over));
        assert.deepEqual(
          second.map(({ body }) => body),
          ['/again0', '/again1', '/again2'],
        );
      },
    );

    check('nobody listens: an error at once, no storm', hello, async (fixture) => {
      await fixture.server.close();
      const record = await fixture.run();
      assert.equal(record.error?.code, 'CONNECT_REFUSED');
      assert.equal(fixture.origin.stats().retries, 0);
    });
  });

  describe(`client on ${name}: deadlines, abort, back-pressure`, () => {
    const silent: Script = () => {};
    const timeouts = { connectTimeoutMs: 20_000, queueTimeoutMs: 60, totalTimeoutMs: 20_000 };

    check(
      'no head in time',
      silent,
      async (fixture) => {
        const record = await fixture.run();
        assert.equal(record.error?.code, 'HEAD_TIMEOUT');
        await fixture.until(() => fixture.server.openPeers === 0);
        assert.equal(fixture.server.requests.length, 1);
      },
      { timeouts: { headTimeoutMs: 60 } },
    );

    check(
      'RS-117: a head that drips is late all the same',
      (peer) => {
        let sent = 0;
        const drip = (): void => {
          if (peer.closed) return;
          peer.send('HTTP/1.1 200 OK\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'[sent++] ?? 'a');
          peer.server.timers.push(peer.server.clock!.setTimer(drip, 10));
        };
        drip();
      },
      async (fixture) => {
        fixture.server.clock = fixture.transport.clock;
        const startMs = fixture.transport.clock.nowMs();
        const record = await fixture.run();
        assert.equal(record.error?.code, 'HEAD_TIMEOUT');
        // Drips that moved the deadline on would go on to the end of all time, 20 s.
        assert.ok(fixture.transport.clock.nowMs() - startMs < 5000);
      },
      { timeouts: { headTimeoutMs: 80 } },
    );

    check(
      'no first body byte in time',
      (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'),
      async (fixture) => {
        const record = await fixture.run();
        assert.deepEqual(record.events, ['head', 'error']);
        assert.equal(record.error?.code, 'FIRST_BYTE_TIMEOUT');
      },
      { timeouts: { firstByteTimeoutMs: 60 } },
    );

    check(
      'RS-118: a body that stalls',
      (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok'),
      async (fixture) => {
        const record = await fixture.run();
        assert.equal(record.error?.code, 'IDLE_TIMEOUT');
        assert.equal(record.body, 'ok');
      },
      { timeouts: { idleTimeoutMs: 60 } },
    );

    check(
      'the total is the total, however busy the body',
      (peer) => {
        peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        const more = (): void => {
          if (peer.closed) return;
          peer.send('1\r\nx\r\n');
          peer.server.timers.push(peer.server.clock!.setTimer(more, 10));
        };
        more();
      },
      async (fixture) => {
        fixture.server.clock = fixture.transport.clock;
        assert.equal((await fixture.run()).error?.code, 'TOTAL_TIMEOUT');
      },
      { timeouts: { totalTimeoutMs: 120, idleTimeoutMs: 5000 } },
    );

    check(
      'no connection comes free in time, or the queue is full',
      silent,
      async (fixture) => {
        const first = fixture.send();
        const second = fixture.send();
        const third = fixture.send();
        assert.equal(third.error?.code, 'QUEUE_FULL');
        await fixture.until(() => second.over);
        assert.equal(second.error?.code, 'QUEUE_TIMEOUT');
        assert.equal(first.over, false);
      },
      { connectionsMax: 1, queueLengthMax: 1, timeouts },
    );

    check('abort in every phase frees the slot', silent, async (fixture) => {
      const connecting = fixture.send();
      connecting.exchange.abort();
      assert.equal(connecting.error?.code, 'ABORTED');
      const sent = fixture.send();
      await fixture.until(() => fixture.server.requests.length === 1);
      sent.exchange.abort();
      await fixture.until(() =>
        fixture.server.peers.every(({ requests, closed }) => !requests || closed),
      );
      fixture.server.hooks.onRequest = (peer) =>
        peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab');
      const inBody = fixture.send({}, (record) => {
        record.onBody = () => record.exchange.abort(new Error('enough'));
      });
      await fixture.until(() => inBody.over);
      assert.equal((inBody.error!.cause as Error).message, 'enough');
      inBody.exchange.abort();
      const inHead = fixture.send({}, (record) => {
        record.onHead = () => record.exchange.abort();
      });
      await fixture.until(() => inHead.over);
      assert.deepEqual(inHead.events, ['head', 'error']);
    });

    check(
      'a reader that pauses holds the server up',
      (peer) => {
        peer.send('HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n');
        for (let i = 0; i < 80; i++) peer.send('y'.repeat(100_000));
      },
      async (fixture) => {
        const record = fixture.send({}, (record) => {
          record.onHead = () => record.exchange.pause();
        });
        await fixture.until(() => record.events.includes('head'));
        await fixture.pause(50);
        const held = fixture.server.peers[0]!.socket.queuedBytes;
        assert.ok(held > 1_000_000, `the server could send all but ${held} bytes`);
        assert.ok(record.body.length < 2_000_000);
        record.exchange.resume();
        await fixture.until(() => record.over);
        assert.equal(record.body.length, 8_000_000);
        assert.equal((await fixture.run({ method: 'HEAD' })).error?.code ?? 'fine', 'fine');
      },
    );

    check(
      'idle connections retire, earlier when Keep-Alive says so',
      (peer) => peer.send(ok('x', 'Keep-Alive: timeout=1\r\n')),
      async (fixture) => {
        await fixture.run();
        assert.equal(fixture.origin.stats().connections.idle, 1);
        const startMs = fixture.transport.clock.nowMs();
        await fixture.until(() => fixture.server.openPeers === 0);
        const idleMs = fixture.transport.clock.nowMs() - startMs;
        assert.ok(idleMs > 400 && idleMs < 900, `idle for ${idleMs} ms`);
        await fixture.run();
        assert.equal(fixture.server.peers.length, 2);
      },
    );
  });

  describe(`client on ${name}: pipelining`, () => {
    const options = { connectionsMax: 1, pipelining: 4 };

    check(
      'answers go to their requests, in order, over one connection',
      hello,
      async (fixture) => {
        const records = Array.from({ length: 12 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => records.every(({ over }) => over));
        assert.deepEqual(
          records.map(({ body }) => body),
          records.map((_, i) => `hello /${i}`),
        );
        assert.equal(fixture.server.peers.length, 1);
      },
      options,
    );

    check(
      'only idempotent requests share',
      (peer, request) => {
        peer.note = request.method;
        peer.send(ok(request.method));
      },
      async (fixture) => {
        const methods = ['GET', 'POST', 'GET', 'POST', 'GET'];
        const records = methods.map((method) => fixture.send({ method }));
        await fixture.until(() => records.every(({ over }) => over));
        assert.deepEqual(
          records.map(({ body }) => body),
          methods,
        );
      },
      options,
    );

    check(
      'a server that closes after each answer still answers all',
      (peer, request) => {
        if (request.index === 0) peer.sendLast(ok(request.target, 'Connection: close\r\n'));
      },
      async (fixture) => {
        const records = Array.from({ length: 6 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => records.every(({ over }) => over));
        assert.deepEqual(
          records.map(({ body, error }) => error?.code ?? body),
          records.map((_, i) => `/${i}`),
        );
      },
      options,
    );

    check(
      'one that is given up does not upset its neighbours',
      () => {},
      async (fixture) => {
        const records = Array.from({ length: 4 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => fixture.server.requests.length === 4);
        records[2]!.exchange.abort();
        for (let i = 0; i < 4; i++) fixture.server.peers[0]!.send(ok(`/${i}`));
        await fixture.until(() => records.every(({ over }) => over));
        assert.deepEqual(
          records.map(({ body, error }) => error?.code ?? body),
          ['/0', '/1', 'ABORTED', '/3'],
        );
      },
      options,
    );

    check(
      'one that was paused and given up behind another does not stop the connection',
      () => {},
      async (fixture) => {
        const records = Array.from({ length: 3 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => fixture.server.requests.length === 3);
        records[1]!.exchange.pause();
        records[1]!.exchange.abort();
        for (let i = 0; i < 3; i++) fixture.server.peers[0]!.send(ok(`/${i}`));
        await fixture.until(() => records.every(({ over }) => over));
        assert.equal(records[2]!.body, '/2');
      },
      options,
    );

    check(
      'a connection on which everything was given up is dropped, though the server is silent',
      () => {},
      async (fixture) => {
        const records = Array.from({ length: 3 }, (_, i) => fixture.send({ target: `/${i}` }));
        await fixture.until(() => fixture.server.requests.length === 3);
        records[1]!.exchange.abort();
        fixture.server.peers[0]!.send(ok('/0'));
        await fixture.until(() => records[0]!.over);
        records[2]!.exchange.abort();
        assert.equal(fixture.origin.stats().connections.busy, 0);
        await fixture.until(() => fixture.server.openPeers === 0);
      },
      options,
    );
  });
}
