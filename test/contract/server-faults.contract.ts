/** How a server fails, is left alone and ends, on any transport. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type Exchange,
  noFields,
  type ServerHandler,
  type ServerOptions,
  type TunnelHandler,
  unknownLength,
} from 'onehop/server';
import { WriteStatus } from 'onehop/transport';
import { parseResponses } from '../e2e/raw-client.ts';
import { Fixture, type Rig } from './server-rig.ts';

const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`;
const statusesOf = (raw: string): number[] => parseResponses(raw).map(({ status }) => status);

type Options = Partial<ServerOptions<unknown>>;

/** Registers the contract; `makeRig` runs once per test. */
export function serverFaultContract(name: string, makeRig: () => Rig): void {
  const check = (
    title: string,
    handler: ServerHandler<unknown>,
    body: (fixture: Fixture) => Promise<void>,
    options: Options = {},
  ) =>
    test(title, async () => {
      const fixture = new Fixture(makeRig(), handler, options);
      await fixture.listen();
      try {
        await body(fixture);
      } finally {
        await fixture.close();
      }
      const { counters } = fixture.server;
      assert.equal(counters.exchangesOpen, 0, 'exchanges leak');
      assert.equal(counters.connectionsOpen, 0, 'connections leak');
      assert.equal(fixture.log.finishes, counters.requests, 'onFinish is not exactly once');
    });
  const ok: ServerHandler<unknown> = {
    onRequest: () => {},
    onEnd: (exchange) => void exchange.respond(200, noFields, 'ok'),
  };
  let held: Exchange<unknown> | null = null;
  const hold: ServerHandler<unknown> = {
    onRequest(exchange) {
      held = exchange;
    },
  };

  describe(`server on ${name}: malformed and late requests`, () => {
    const faults: [string, number, string][] = [
      ['a bare word', 400, 'nonsense\r\n\r\n'],
      ['no Host', 400, 'GET / HTTP/1.1\r\n\r\n'],
      ['a long target', 414, `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`],
      ['many fields', 431, get('/', 'X-A: 1\r\n'.repeat(200))],
      ['a long field', 431, get('/', `X-A: ${'v'.repeat(40_000)}\r\n`)],
      ['an unknown coding', 501, get('/', 'Transfer-Encoding: gzip, chunked\r\n')],
      ['HTTP/2.0', 505, 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
      ['a huge body', 413, get('/', 'Content-Length: 99999999999\r\n')],
      ['an unknown expectation', 417, get('/', 'Expect: the-unexpected\r\n')],
    ];
    for (const [title, status, request] of faults) {
      check(`${title} is ${status}, readable behind what was still sent`, ok, async (fixture) => {
        const client = await fixture.talk(request + 'x'.repeat(30_000));
        const [response] = parseResponses(client.text);
        assert.equal(response!.status, status);
        assert.ok(response!.complete);
        assert.equal(Object.fromEntries(response!.fields)['connection'], 'close');
        assert.equal(fixture.server.counters.protocolErrors, 1);
        assert.equal(fixture.server.counters.requests, 0);
      });
    }
    check('a fault behind a good request comes behind its answer', hold, async (fixture) => {
      const client = fixture.connect();
      held = null;
      client.send(`${get('/')}\u0000garbage\r\n\r\n`);
      assert.ok(await fixture.rig.until(() => held !== null));
      held!.respond(200, noFields, 'fine');
      assert.ok(await fixture.rig.until(() => client.ended));
      assert.deepEqual(statusesOf(client.text), [200, 400]);
    });
    check('a bad chunk ends the exchange it belongs to', ok, async (fixture) => {
      const client = await fixture.talk(
        'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX',
      );
      assert.deepEqual(statusesOf(client.text), [400]);
      assert.deepEqual(fixture.log.events, ['abort REQUEST_INVALID', 'finish 400']);
    });
    check(
      'a head that stops is 408, a body that stops too, a silent caller just closed',
      ok,
      async (fixture) => {
        const head = await fixture.talk('GET / HTTP/1.1\r\nHost');
        assert.deepEqual(statusesOf(head.text), [408]);
        const body = await fixture.talk('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx');
        assert.deepEqual(statusesOf(body.text), [408]);
        assert.deepEqual(fixture.log.events, ['abort REQUEST_TIMEOUT', 'finish 408']);
        assert.equal((await fixture.talk('')).text, '');
        const idle = await fixture.talk(get('/'));
        assert.deepEqual(statusesOf(idle.text), [200]);
      },
      {
        timeouts: {
          firstRequestTimeoutMs: 400,
          requestHeadTimeoutMs: 300,
          requestBodyGapTimeoutMs: 300,
          keepAliveTimeoutMs: 300,
        },
      },
    );
    check(
      'waiting for a slow handler is not the caller being late',
      hold,
      async (fixture) => {
        const client = fixture.connect();
        held = null;
        client.send(get('/'));
        assert.ok(await fixture.rig.until(() => held !== null));
        assert.equal(await fixture.rig.until(() => client.ended, 900), false);
        held!.respond(200, noFields, 'late');
        assert.ok(await fixture.rig.until(() => client.text.endsWith('late')));
      },
      {
        timeouts: {
          requestHeadTimeoutMs: 300,
          keepAliveTimeoutMs: 300,
          firstRequestTimeoutMs: 300,
        },
      },
    );
  });

  describe(`server on ${name}: callers that leave`, () => {
    for (const [phase, request, start] of [
      ['waiting for the answer', get('/'), false],
      [
        'in the middle of the request body',
        'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx',
        false,
      ],
      ['in the middle of the response', get('/'), true],
      ['with more requests pipelined', get('/') + get('/2') + get('/3'), false],
    ] as const) {
      for (const how of ['closed', 'reset', 'half-closed'] as const) {
        check(`${how} while ${phase}: one abort, one finish`, hold, async (fixture) => {
          const client = fixture.connect();
          held = null;
          client.send(request);
          assert.ok(await fixture.rig.until(() => held !== null));
          const exchange: Exchange<unknown> = held!;
          if (start) {
            exchange.start(200, noFields, unknownLength);
            exchange.write(Buffer.from('part'));
            assert.ok(await fixture.rig.until(() => client.text.includes('part')));
          }
          if (how === 'half-closed') client.end();
          else client.socket!.destroy(how === 'reset');
          assert.ok(await fixture.rig.until(() => fixture.log.aborts === 1), 'no abort');
          assert.equal(fixture.log.events[0], 'abort ABORTED');
          assert.equal(fixture.log.finishes, 1);
          // A late answer goes nowhere.
          assert.equal(exchange.respond(200, noFields, 'late'), WriteStatus.Closed);
          assert.equal(exchange.write(Buffer.from('late')), WriteStatus.Closed);
          assert.equal(exchange.end(), WriteStatus.Closed);
          exchange.resume();
          exchange.abort();
          assert.equal(fixture.log.finishes, 1);
        });
      }
    }
    check(
      'a half-closed caller gets its answers when that is allowed',
      hold,
      async (fixture) => {
        const client = fixture.connect();
        held = null;
        client.send(get('/'));
        client.end();
        assert.ok(await fixture.rig.until(() => held !== null));
        await fixture.rig.until(() => false, 30);
        held!.respond(200, noFields, 'still');
        assert.ok(await fixture.rig.until(() => client.ended));
        assert.ok(client.text.endsWith('still'));
        assert.equal(fixture.log.aborts, 0);
      },
      { allowHalfOpen: true },
    );
    const piece = Buffer.alloc(1_000_000, 0x62);
    check(
      'a caller that stops reading is cut off',
      {
        onRequest(exchange) {
          exchange.start(200, noFields, 1e9);
          while (exchange.write(piece) === WriteStatus.Flushed) {}
        },
      },
      async (fixture) => {
        const client = fixture.connect();
        assert.ok(await fixture.rig.until(() => client.open));
        client.socket!.pause();
        client.send(get('/'));
        assert.ok(await fixture.rig.until(() => fixture.log.aborts === 1, 20_000));
        assert.ok(await fixture.rig.until(() => fixture.server.counters.connectionsOpen === 0));
      },
      { timeouts: { writeStallTimeoutMs: 150 } },
    );
  });

  describe(`server on ${name}: upgrade`, () => {
    const seen: string[] = [];
    const tunnel: TunnelHandler<unknown> = {
      data(exchange, bytes, start, end) {
        const part = Buffer.from(bytes.subarray(start, end));
        seen.push(part.toString('latin1'));
        exchange.write(part);
      },
      drain: () => {},
      end: (exchange) => void exchange.end(),
    };
    for (const later of [false, true]) {
      check(
        `101 hands over the bytes behind the request first (${later ? 'later' : 'at once'})`,
        {
          onRequest(exchange) {
            assert.ok(exchange.request.upgrade);
            held = exchange;
            if (!later) exchange.upgrade('foo', noFields, tunnel);
          },
        },
        async (fixture) => {
          seen.length = 0;
          held = null;
          const client = fixture.connect();
          client.send(`${get('/', 'Connection: Upgrade\r\nUpgrade: foo\r\n')}early`);
          assert.ok(await fixture.rig.until(() => held !== null));
          if (later) {
            assert.deepEqual(seen, []);
            held!.upgrade('foo', noFields, tunnel);
          }
          assert.ok(await fixture.rig.until(() => client.text.endsWith('early')));
          assert.match(client.text, /^HTTP\/1\.1 101 [\s\S]*Upgrade: foo\r\n\r\nearly$/);
          client.send(get('/evil'));
          assert.ok(await fixture.rig.until(() => client.text.endsWith(get('/evil'))));
          assert.equal(seen.join(''), `early${get('/evil')}`);
          assert.equal(fixture.server.counters.requests, 1);
          client.end();
          assert.ok(await fixture.rig.until(() => client.ended));
          assert.ok(await fixture.rig.until(() => fixture.log.finishes === 1));
          assert.equal(fixture.log.aborts, 0);
        },
      );
    }
  });

  describe(`server on ${name}: limits and ends`, () => {
    check(
      'a handler that throws costs its own exchange only',
      {
        onRequest(exchange) {
          if (exchange.request.path === '/bug') throw new Error('a bug');
          exchange.respond(200, noFields, 'ok');
        },
      },
      async (fixture) => {
        const client = await fixture.talk(get('/bug'));
        assert.deepEqual(statusesOf(client.text), [500]);
        assert.match(String(fixture.log.errors[0]), /a bug/);
        assert.deepEqual(statusesOf((await fixture.talk(get('/'), 'ok')).text), [200]);
      },
    );
    check(
      'the request head is not readable after onRequest unless it was kept',
      {
        onRequest(exchange) {
          if (exchange.request.path === '/kept') exchange.keepHead();
        },
        onEnd(exchange) {
          let path = 'none';
          try {
            path = exchange.request.path;
          } catch {}
          exchange.respond(200, noFields, `[${path}]`);
        },
      },
      async (fixture) => {
        await fixture.talk(get('/kept'), '[/kept]');
        await fixture.talk(get('/lost'), '[none]');
      },
    );
    check(
      'the last of requestsPerConnectionMax says so and closes',
      ok,
      async (fixture) => {
        const client = await fixture.talk(get('/').repeat(5));
        assert.deepEqual(statusesOf(client.text), [200, 200, 200]);
        assert.equal(client.text.split('Connection: close').length, 2);
      },
      { limits: { requestsPerConnectionMax: 3 } },
    );
    for (const limit of ['connectionsMax', 'connectionsPerAddressMax'] as const) {
      check(
        `a connection beyond ${limit} gets 503, and its place is free again later`,
        ok,
        async (fixture) => {
          const first = await fixture.talk(get('/'), 'ok');
          await fixture.talk(get('/'), 'ok');
          const third = await fixture.talk('');
          assert.deepEqual(statusesOf(third.text), [503]);
          assert.equal(fixture.server.counters.connectionsRefused, 1);
          third.socket!.destroy();
          first.socket!.destroy();
          assert.ok(await fixture.rig.until(() => fixture.server.counters.connectionsOpen === 1));
          assert.deepEqual(statusesOf((await fixture.talk(get('/'), 'ok')).text), [200]);
        },
        { limits: { [limit]: 2 } },
      );
    }
    check(
      'a flood of refused connections takes no places and is bounded',
      ok,
      async (fixture) => {
        const kept = await fixture.talk(get('/'), 'ok');
        const flood = Array.from({ length: 300 }, () => fixture.connect());
        assert.ok(await fixture.rig.until(() => flood.every(({ ended }) => ended)));
        const told = flood.filter(({ text }) => statusesOf(text)[0] === 503);
        assert.ok(told.length > 0, 'nobody was told');
        assert.equal(fixture.server.counters.connectionsRefused, flood.length);
        assert.ok(
          fixture.server.counters.connectionsOpen <= 257,
          `${fixture.server.counters.connectionsOpen} are open`,
        );
        const openBefore = fixture.server.counters.connectionsOpen;
        kept.socket!.destroy();
        assert.ok(
          await fixture.rig.until(() => fixture.server.counters.connectionsOpen < openBefore),
        );
        // Those that were refused need not have ended for the place to be free.
        const next = await fixture.talk(get('/'), 'ok');
        assert.deepEqual(statusesOf(next.text), [200]);
      },
      { limits: { connectionsMax: 1 }, timeouts: { lingerTimeoutMs: 60_000 } },
    );
    check('close lets open exchanges end and refuses new ones', hold, async (fixture) => {
      const busy = fixture.connect();
      held = null;
      busy.send(get('/'));
      const idle = fixture.connect();
      assert.ok(await fixture.rig.until(() => held !== null && idle.open));
      await fixture.rig.until(() => fixture.server.counters.connectionsOpen === 2);
      let closed = false;
      void fixture.server.close({ drainMs: 60_000 }).then(() => {
        closed = true;
      });
      assert.ok(await fixture.rig.until(() => idle.ended), 'the idle connection stays');
      assert.equal(closed, false);
      held!.respond(200, noFields, 'last');
      assert.ok(await fixture.rig.until(() => busy.ended));
      assert.match(busy.text, /Connection: close\r\n[\s\S]*last$/);
      busy.socket!.destroy();
      idle.socket!.destroy();
      assert.ok(await fixture.rig.until(() => closed));
      assert.equal(fixture.log.aborts, 0);
    });
    check('close cuts what is left after drainMs', hold, async (fixture) => {
      held = null;
      const client = fixture.connect();
      client.send(get('/'));
      assert.ok(await fixture.rig.until(() => held !== null));
      let closed = false;
      void fixture.server.close({ drainMs: 50 }).then(() => {
        closed = true;
      });
      assert.ok(await fixture.rig.until(() => closed));
      assert.equal(fixture.log.aborts, 1);
    });
  });
}
