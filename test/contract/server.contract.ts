/** What a server does on any transport. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HeadWriter } from 'onehop/http1';
import {
  type Exchange,
  fieldBlock,
  noFields,
  type ServerHandler,
  type ServerOptions,
  unknownLength,
} from 'onehop/server';
import { WriteStatus } from 'onehop/transport';
import { parseResponses } from '../e2e/raw-client.ts';
import { Fixture, type Rig } from './server-rig.ts';

const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`;
const post = (path: string, body: string, fields = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;
const text = fieldBlock(['Content-Type', 'text/plain']);
const statusesOf = (raw: string): number[] => parseResponses(raw).map(({ status }) => status);

type Options = Partial<ServerOptions<unknown>>;
type Body = (fixture: Fixture) => Promise<void>;

/** Registers the contract; `makeRig` runs once per test. */
export function serverContract(name: string, makeRig: () => Rig): void {
  const check = (
    title: string,
    handler: ServerHandler<unknown>,
    body: Body,
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
      assert.equal(fixture.log.aborts, counters.aborts);
    });

  describe(`server on ${name}: responses`, () => {
    const echoPath: ServerHandler<unknown> = {
      onRequest(exchange) {
        exchange.respond(200, text, exchange.request.path);
      },
    };
    check('head and body at once, with Date and length', echoPath, async (fixture) => {
      const client = await fixture.talk(get('/x'), '/x');
      const [response] = parseResponses(client.text);
      const fields = Object.fromEntries(response!.fields);
      assert.equal(fields['content-length'], '2');
      assert.equal(fields['content-type'], 'text/plain');
      assert.ok(!Number.isNaN(Date.parse(fields['date']!)));
      assert.equal(fields['connection'], undefined);
      assert.equal(client.ended, false);
    });
    check('HEAD gets the head of GET and nothing else', echoPath, async (fixture) => {
      const client = await fixture.talk(
        get('/head').replace('GET', 'HEAD') + get('/last'),
        '/last',
      );
      const [head, last] = parseResponses(client.text, [true]);
      assert.equal(Object.fromEntries(head!.fields)['content-length'], '5');
      assert.equal(last!.body, '/last');
    });
    check('HTTP/1.0 and Connection: close end the connection', echoPath, async (fixture) => {
      const old = await fixture.talk('GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
      assert.match(old.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n[\s\S]*\/old$/);
      const close = await fixture.talk(get('/a', 'Connection: close\r\n') + get('/evil'));
      assert.deepEqual(statusesOf(close.text), [200]);
    });
    check(
      '204 and 304 have no body and no framing fields',
      {
        onRequest: (exchange) =>
          void exchange.respond(exchange.request.path === '/204' ? 204 : 304, noFields, 'dropped'),
      },
      async (fixture) => {
        const client = await fixture.talk(get('/204') + get('/304'), '304 Not Modified');
        assert.doesNotMatch(client.text, /content-length|transfer-encoding|dropped/i);
      },
    );
    check(
      'chunks, trailers and their end',
      {
        onRequest(exchange) {
          exchange.start(200, text, unknownLength);
          exchange.write(Buffer.from('one'));
          exchange.write(Buffer.from('second part'));
          exchange.end(fieldBlock(['X-Sum', '7']));
        },
      },
      async (fixture) => {
        const client = await fixture.talk(get('/'), 'X-Sum: 7\r\n\r\n');
        assert.match(
          client.text,
          /Transfer-Encoding: chunked\r\n\r\n3\r\none\r\nb\r\nsecond part\r\n0\r\nX-Sum: 7\r\n\r\n$/,
        );
        const old = await fixture.talk('GET / HTTP/1.0\r\n\r\n');
        assert.match(old.text, /\r\n\r\nonesecond part$/);
        assert.doesNotMatch(old.text, /Transfer-Encoding/i);
        const head = await fixture.talk('HEAD / HTTP/1.0\r\n\r\n');
        assert.match(head.text, /\r\n\r\n$/);
      },
    );
    check(
      'a head writer, a first write and a tail in one',
      {
        onRequest(exchange) {
          const writer = new HeadWriter();
          writer.beginResponse(201);
          writer.field('x-copied', 'yes');
          const body = Buffer.from('first');
          exchange.startHeadWith(201, writer, unknownLength, false, body, 0, body.length);
          exchange.endWith(Buffer.from('data: [DONE]\n\n'));
        },
      },
      async (fixture) => {
        const client = await fixture.talk(get('/'), '0\r\n\r\n');
        const [response] = parseResponses(client.text);
        assert.equal(response!.status, 201);
        assert.equal(response!.body, 'firstdata: [DONE]\n\n');
        assert.equal(Object.fromEntries(response!.fields)['x-copied'], 'yes');
        assert.ok(Object.fromEntries(response!.fields)['date']);
      },
    );
    check(
      'a body longer than announced is a bug of the handler, a shorter one cuts the connection',
      {
        onRequest(exchange) {
          const long = exchange.request.path === '/long';
          exchange.start(200, noFields, 4);
          if (long) assert.throws(() => exchange.write(Buffer.from('12345')), /exceeds/);
          exchange.write(Buffer.from('12'));
          assert.equal(exchange.end(), WriteStatus.Closed);
        },
      },
      async (fixture) => {
        for (const path of ['/long', '/short']) {
          const client = await fixture.talk(get(path));
          assert.ok(parseResponses(client.text).every(({ complete }) => !complete));
        }
        assert.equal(fixture.log.aborts, 2);
      },
    );
    check(
      'interim responses go to HTTP/1.1 only',
      {
        onRequest(exchange) {
          exchange.sendInterim(103, fieldBlock(['Link', '</a>']));
          exchange.respond(200, noFields, 'ok');
        },
      },
      async (fixture) => {
        const client = await fixture.talk(get('/'), '\r\n\r\nok');
        assert.deepEqual(statusesOf(client.text), [103, 200]);
        const old = await fixture.talk('GET / HTTP/1.0\r\n\r\n');
        assert.deepEqual(statusesOf(old.text), [200]);
      },
    );
  });

  describe(`server on ${name}: order and flow`, () => {
    const waiting: Exchange<unknown>[] = [];
    check(
      'pipelined requests are handed over one by one and answered in order',
      {
        onRequest(exchange) {
          exchange.keepHead();
          waiting.push(exchange);
        },
      },
      async (fixture) => {
        waiting.length = 0;
        const client = fixture.connect();
        client.send(Array.from({ length: 40 }, (_, i) => get(`/${i}`)).join(''));
        for (let i = 0; i < 40; i++) {
          assert.ok(await fixture.rig.until(() => waiting.length > 0), `request ${i}`);
          assert.equal(waiting.length, 1, 'two at a time');
          const exchange = waiting.shift()!;
          exchange.respond(200, noFields, `[${exchange.request.path}]`);
        }
        assert.ok(await fixture.rig.until(() => client.text.includes('[/39]')));
        const bodies = parseResponses(client.text).map(({ body }) => body);
        assert.deepEqual(
          bodies,
          Array.from({ length: 40 }, (_, i) => `[/${i}]`),
        );
      },
    );
    check(
      'read-ahead is bounded while a request waits, and nothing of it is lost',
      {
        onRequest(exchange) {
          if (exchange.connectionRequests === 1) waiting.push(exchange);
          else exchange.respond(200, noFields, 'x');
        },
      },
      async (fixture) => {
        waiting.length = 0;
        const client = fixture.connect();
        const one = get('/', `X-Fill: ${'f'.repeat(1000)}\r\n`);
        const count = 6000;
        client.send(one.repeat(count));
        assert.ok(await fixture.rig.until(() => waiting.length === 1));
        let seen = -1;
        const settled = (): boolean => {
          const now = fixture.server.counters.bytesIn;
          const same = now === seen;
          seen = now;
          return same && now > 60_000;
        };
        await fixture.rig.until(settled);
        assert.ok(seen < 400_000, `${seen} bytes were read ahead`);
        waiting[0]!.respond(200, noFields, 'x');
        const total = (): number => fixture.server.counters.requests;
        assert.ok(await fixture.rig.until(() => total() === count, 20_000), `${total()}`);
        assert.ok(await fixture.rig.until(() => client.text.endsWith('x'), 20_000));
        await fixture.rig.until(() => statusesOf(client.text).length === count, 5000);
        assert.equal(statusesOf(client.text).length, count);
      },
    );
    const echo: ServerHandler<unknown> = {
      onRequest: (exchange) => void exchange.start(200, noFields, unknownLength),
      onBody(exchange, bytes, start, end) {
        // The bytes are borrowed, and a queued write keeps its range.
        const status = exchange.write(Buffer.from(bytes.subarray(start, end)));
        if (status === WriteStatus.Queued) exchange.pause();
      },
      onDrain: (exchange) => exchange.resume(),
      onEnd: (exchange) => void exchange.end(),
    };
    for (const chunked of [false, true]) {
      check(`echo of 2 MB, ${chunked ? 'chunked' : 'by length'}`, echo, async (fixture) => {
        const body = Buffer.alloc(2_000_000);
        for (let i = 0; i < body.length; i++) body[i] = (i * 7919) % 251;
        const client = fixture.connect();
        if (chunked) {
          client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
          for (let at = 0; at < body.length; at += 30_000) {
            const part = body.subarray(at, at + 30_000);
            client.send(`${part.length.toString(16)}\r\n`);
            client.send(part);
            client.send('\r\n');
          }
          client.send('0\r\n\r\n');
        } else {
          client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
          client.send(body);
        }
        client.send(get('/next'));
        const done = (): boolean =>
          fixture.log.finishes === 2 && statusesOf(client.text).length === 2;
        assert.ok(await fixture.rig.until(done, 20_000), `${client.receivedBytes}`);
        const [response, next] = parseResponses(client.text);
        assert.ok(Buffer.from(response!.body, 'latin1').equals(body), 'bytes differ');
        assert.equal(next!.status, 200);
      });
    }
    for (const where of ['in onRequest', 'on its last byte']) {
      check(
        `a body paused ${where} ends when it is resumed`,
        {
          onRequest(exchange) {
            waiting.push(exchange);
            if (where === 'in onRequest') exchange.pause();
          },
          onBody: (exchange) => exchange.pause(),
          onEnd: (exchange) => void exchange.respond(200, noFields, 'got it'),
        },
        async (fixture) => {
          for (const body of ['', 'x'.repeat(5000)]) {
            waiting.length = 0;
            const client = fixture.connect();
            client.send(post('/', body));
            assert.ok(await fixture.rig.until(() => waiting.length === 1));
            const done = (): boolean => {
              waiting[0]!.resume();
              return client.text.includes('got it');
            };
            assert.ok(await fixture.rig.until(done), `body of ${body.length}`);
          }
        },
      );
    }
    check(
      'an answer to a request whose body is paused keeps the connection when the rest is small',
      {
        onRequest(exchange) {
          waiting.push(exchange);
          exchange.pause();
        },
      },
      async (fixture) => {
        waiting.length = 0;
        const client = fixture.connect();
        client.send(post('/', 'y'.repeat(2000)) + post('/', ''));
        for (const i of [0, 1]) {
          assert.ok(await fixture.rig.until(() => waiting.length > i), `request ${i}`);
          await fixture.rig.until(() => false, 20);
          waiting[i]!.respond(200, noFields, 'no need');
        }
        assert.ok(await fixture.rig.until(() => statusesOf(client.text).length === 2));
        assert.equal(client.ended, false);
      },
    );
    let written = 0;
    let producing: Exchange<unknown> | null = null;
    const piece = Buffer.alloc(65_536, 0x61);
    const total = 40 * 1024 * 1024;
    const produce = (exchange: Exchange<unknown>): void => {
      while (written < total) {
        written += piece.length;
        if (exchange.write(piece) !== WriteStatus.Flushed) return;
      }
      exchange.end();
    };
    check(
      'a caller that does not read stops the handler, and goes on when it reads',
      {
        onRequest(exchange) {
          producing = exchange;
          exchange.start(200, noFields, total);
          produce(exchange);
        },
        onDrain: produce,
      },
      async (fixture) => {
        written = 0;
        const client = fixture.connect();
        assert.ok(await fixture.rig.until(() => client.open));
        client.socket!.pause();
        client.send(get('/'));
        assert.ok(await fixture.rig.until(() => producing?.writeBlocked === true, 5000));
        assert.ok(written < total / 2, `${written} bytes went into the void`);
        assert.ok(producing!.queuedBytes <= piece.length + 100);
        client.socket!.resume();
        const wanted = (): boolean => client.receivedBytes >= total;
        assert.ok(await fixture.rig.until(wanted, 30_000), `${client.receivedBytes}`);
        assert.equal(client.receivedBytes - client.bytes.indexOf('\r\n\r\n') - 4, total);
      },
    );
  });

  describe(`server on ${name}: bodies nobody wants`, () => {
    const refuse: ServerHandler<unknown> = {
      onRequest: (exchange) => void exchange.respond(403, noFields, 'no'),
      onBody: () => assert.fail('a body after the answer'),
    };
    const evil = get('/evil');
    check('a small rest is dropped and the connection goes on', refuse, async (fixture) => {
      const client = await fixture.talk(post('/', evil.repeat(3)) + get('/next'), 'no');
      assert.ok(await fixture.rig.until(() => fixture.log.finishes === 2));
      assert.ok(await fixture.rig.until(() => statusesOf(client.text).length === 2));
      assert.equal(fixture.server.counters.requests, 2);
      assert.equal(client.ended, false);
    });
    check('a big rest closes, readable to the end', refuse, async (fixture) => {
      const head = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n';
      const client = await fixture.talk(head + evil.repeat(500));
      assert.match(client.text, /^HTTP\/1\.1 403 [\s\S]*Connection: close\r\n[\s\S]*no$/);
      assert.equal(fixture.server.counters.requests, 1);
    });
    check('a chunked rest closes', refuse, async (fixture) => {
      const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
      const client = await fixture.talk(`${head}5\r\nhello\r\n0\r\n\r\n${evil}`);
      assert.deepEqual(statusesOf(client.text), [403]);
      assert.equal(fixture.server.counters.requests, 1);
    });
    check(
      'a final answer instead of 100 closes: the body may or may not come',
      refuse,
      async (fixture) => {
        const client = await fixture.talk(
          'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
        );
        assert.deepEqual(statusesOf(client.text), [403]);
        assert.match(client.text, /Connection: close/);
      },
    );
    for (const auto of [true, false]) {
      check(
        `100-continue ${auto ? 'by itself' : 'on demand'}`,
        {
          onRequest(exchange) {
            if (!auto) assert.notEqual(exchange.sendContinue(), WriteStatus.Closed);
          },
          onEnd: (exchange) => void exchange.respond(200, noFields, 'thanks'),
        },
        async (fixture) => {
          const client = await fixture.talk(
            'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
            '100 Continue\r\n\r\n',
          );
          client.send('hello');
          assert.ok(await fixture.rig.until(() => client.text.endsWith('thanks')));
          assert.deepEqual(statusesOf(client.text), [100, 200]);
        },
        { autoContinue: auto },
      );
    }
  });
}
