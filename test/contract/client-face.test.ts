/** `Client`: promises, bodies, redirects, decompression, events, cancelling, closing. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as zlib from 'node:zlib';
import { Client, type ClientOptions, OnehopError } from 'onehop';
import { transport } from 'onehop/transport';
import { chunk, chunked, ok, RawServer, type Script } from '../support/raw-server.ts';

type Body = (client: Client, server: RawServer) => Promise<void>;

function check(title: string, script: Script, body: Body, options: ClientOptions = {}): void {
  test(title, async () => {
    const server = new RawServer(script);
    await server.listen(transport);
    const client = new Client({ baseUrl: `http://127.0.0.1:${server.port}/base/`, ...options });
    try {
      await body(client, server);
      for (const [origin, { active, connections }] of Object.entries(client.stats())) {
        assert.equal(active, 0, `${origin}: exchanges leak`);
        assert.equal(connections.busy, 0, `${origin}: a connection is still held`);
      }
    } finally {
      client.destroy();
      await server.close();
    }
  });
}

const code = (expected: string) => (error: unknown) =>
  error instanceof OnehopError && error.code === expected;
const echo: Script = (peer, request) =>
  peer.send(
    ok(
      JSON.stringify({
        method: request.method,
        target: request.target,
        headers: Object.fromEntries(request.headers),
        body: request.body,
      }),
      'Content-Type: application/json\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n',
    ),
  );
interface Echo {
  method: string;
  target: string;
  headers: Record<string, string>;
  body: string;
}

describe('requests', () => {
  check('URLs are resolved against the base', echo, async (client, server) => {
    const origin = `http://127.0.0.1:${server.port}`;
    const cases = [
      ['x/y?z=1', '/base/x/y?z=1'],
      ['/top', '/top'],
      ['../up', '/up'],
      [`${origin}/abs?q`, '/abs?q'],
      [`${origin}`, '/'],
      ['sp ace', '/base/sp%20ace'],
      ['/frag#ment', '/frag'],
    ];
    for (const [url, target] of [...cases, ...cases]) {
      const response = await client.get(url!);
      assert.equal(response.url, origin + target);
      assert.equal((await response.json<Echo>()).target, target);
    }
    assert.equal(server.peers.length, 1);
  });

  check(
    'headers, query, JSON, form, text and bytes',
    echo,
    async (client) => {
      const seen = await (
        await client.post('p', {
          json: { a: ['\u00e9'] },
          query: { q: 'a b', n: 1 },
          headers: { 'X-One': '1', 'x-two': ['2', '3'], 'X-Default': 'mine' },
        })
      ).json<Echo>();
      assert.equal(seen.target, '/base/p?q=a+b&n=1');
      assert.equal(seen.headers['content-type'], 'application/json');
      assert.equal(seen.headers['x-one'], '1');
      assert.equal(seen.headers['x-two'], '2, 3');
      assert.equal(seen.headers['x-default'], 'mine');
      assert.equal(seen.body, '{"a":["\u00e9"]}');
      const form = await (
        await client.put('f', { body: new URLSearchParams({ a: '1 2' }) })
      ).json<Echo>();
      assert.equal(form.body, 'a=1+2');
      assert.match(form.headers['content-type']!, /^application\/x-www-form-urlencoded/);
      const bytes = await (
        await client.patch('b', { body: new Uint8Array([65, 66]) })
      ).json<Echo>();
      assert.equal(bytes.body, 'AB');
      const own = await (
        await client.request({ method: 'PURGE', url: '/c', headers: [['Host', 'other.test']] })
      ).json<Echo>();
      assert.equal(own.method, 'PURGE');
      assert.equal(own.headers['host'], 'other.test');
    },
    { headers: { 'x-default': 'theirs' } },
  );

  check('bodies made while they are sent, with and without a length', echo, async (client) => {
    async function* pieces() {
      yield 'one ';
      await new Promise((resolve) => setTimeout(resolve, 5));
      yield Buffer.from('two');
    }
    const open = await (await client.post('s', { body: pieces() })).json<Echo>();
    assert.equal(open.body, 'one two');
    assert.equal(open.headers['transfer-encoding'], 'chunked');
    let ended = false;
    async function* tooMany(): AsyncGenerator<string> {
      try {
        yield 'far more than seven';
      } finally {
        ended = true;
      }
    }
    const short = client.post('s', { body: tooMany(), contentLength: 7 });
    await assert.rejects(short, code('BODY_LENGTH_MISMATCH'));
    for (let i = 0; i < 100 && !ended; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(ended, 'the source is left open');
    const known = await (await client.post('s', { body: pieces(), contentLength: 7 })).json<Echo>();
    assert.equal(known.headers['content-length'], '7');
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(Buffer.from('streamed'));
        controller.close();
      },
    });
    const web = await (
      await client.post('s', { body: stream as AsyncIterable<Uint8Array> })
    ).json<Echo>();
    assert.equal(web.body, 'streamed');
  });

  check('a source that fails fails the request and is heard of', echo, async (client, server) => {
    let cleaned = false;
    async function* failing() {
      try {
        yield 'some';
        throw new Error('disk on fire');
      } finally {
        cleaned = true;
      }
    }
    await assert.rejects(client.post('s', { body: failing() }), (error: OnehopError) => {
      return error.code === 'ABORTED' && (error.cause as Error).message === 'disk on fire';
    });
    assert.equal(cleaned, true);
    assert.equal(server.requests.length, 0);
  });

  check('what cannot be sent is refused, and no value is shown', echo, async (client) => {
    const secret = 'Bearer hunter2\r\nX: y';
    for (const headers of [{ authorization: secret }, { 'a b': '1' }, { 'content-length': '3' }]) {
      await assert.rejects(client.get('x', { headers }), (error: OnehopError) => {
        assert.ok(!`${error.message} ${error.stack}`.includes('hunter2'));
        return error.code === 'ARGUMENT_INVALID';
      });
    }
    await assert.rejects(client.post('x', { json: 1, body: 'x' }), code('ARGUMENT_INVALID'));
    await assert.rejects(client.get('x', { totalTimeoutMs: -1 }), code('ARGUMENT_INVALID'));
    assert.throws(() => new Client({ connectionsMax: 0 }), code('ARGUMENT_INVALID'));
  });
});

describe('responses', () => {
  check('headers in any case, repeated ones, the reason', echo, async (client) => {
    const response = await client.get('x');
    assert.equal(response.ok, true);
    assert.equal(response.statusText, 'OK');
    assert.equal(response.headers.get('CONTENT-type'), 'application/json');
    assert.equal(response.headers.get('nothing'), null);
    assert.deepEqual(response.headers.getAll('Set-Cookie'), ['a=1', 'b=2']);
    assert.deepEqual(
      [...response.headers].map(([name]) => name),
      ['content-length', 'content-type', 'set-cookie', 'set-cookie'],
    );
    await response.text();
    assert.equal(response.bodyUsed, true);
    await assert.rejects(response.json(), code('BODY_NOT_REPLAYABLE'));
  });

  const large = 'z'.repeat(700_000);
  check(
    'large bodies: text, bytes and pieces; trailers',
    (peer, { target }) =>
      peer.send(target === '/c' ? chunked(['ab', large], 'X-T: 1\r\n') : ok(large)),
    async (client) => {
      assert.equal(await (await client.get('/l')).text(), large);
      assert.equal((await (await client.get('/l')).bytes()).length, large.length);
      const response = await client.get('/c');
      assert.equal(response.trailers, null);
      let length = 0;
      for await (const piece of response.body) length += piece.length;
      assert.equal(length, large.length + 2);
      assert.equal(response.trailers!.get('x-t'), '1');
    },
  );

  check(
    'a body beyond the bound is refused',
    (peer, { target }) => peer.send(target === '/c' ? chunked([large]) : ok(large)),
    async (client) => {
      for (const url of ['/l', '/c']) {
        const response = await client.get(url, { bodyBytesMax: 100_000 });
        await assert.rejects(response.text(), code('RESPONSE_TOO_LARGE'));
      }
    },
  );

  check(
    'discard: short bodies save the connection, long ones cost it, leaving a loop likewise',
    (peer, { target }) =>
      peer.send(ok(target === '/short' ? 'x'.repeat(20_000) : large.repeat(20))),
    async (client, server) => {
      (await client.get('/short')).discard();
      await (await client.get('/short')).text();
      assert.equal(server.peers.length, 1);
      (await client.get('/long')).discard();
      for await (const _ of (await client.get('/long')).body) break;
      await (await client.get('/short')).text();
      assert.equal(server.peers.length, 3);
    },
  );

  check(
    'a body that breaks off rejects whoever reads it',
    (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf'),
    async (client) => {
      await assert.rejects((await client.get('/a')).text(), code('UPSTREAM_TRUNCATED'));
      const response = await client.get('/b');
      await assert.rejects(async () => {
        for await (const _ of response.body);
      }, code('UPSTREAM_TRUNCATED'));
    },
  );

  check(
    'server-sent events, until the end or until the loop is left',
    (peer) => {
      peer.send(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      for (const text of ['id: 1\nda', 'ta: a\n\ndata: b\n', '\ndata: [DONE]\n\n']) {
        peer.send(chunk(text));
      }
      peer.send('0\r\n\r\n');
    },
    async (client, server) => {
      const events = [];
      for await (const event of (await client.get('/s')).sse()) events.push(event.data);
      assert.deepEqual(events, ['a', 'b', '[DONE]']);
      for await (const event of (await client.get('/s')).sse()) if (event.data === 'a') break;
      assert.ok(server.peers.length <= 2);
    },
  );

  check('sse on something else is refused', echo, async (client) => {
    const response = await client.get('/x');
    await assert.rejects(async () => {
      for await (const _ of response.sse());
    }, code('RESPONSE_INVALID'));
  });
});

/** Node has it from 22.15 on. */
const zstdCompress = (zlib as unknown as { zstdCompressSync?: (bytes: Buffer) => Buffer })
  .zstdCompressSync;
describe('decompression', () => {
  const plain = 'squeeze me '.repeat(5000);
  const codings: Record<string, (bytes: Buffer) => Buffer> = {
    gzip: (bytes) => zlib.gzipSync(bytes),
    deflate: (bytes) => zlib.deflateSync(bytes),
    br: (bytes) => zlib.brotliCompressSync(bytes),
    'gzip, br': (bytes) => zlib.brotliCompressSync(zlib.gzipSync(bytes)),
    ...(zstdCompress === undefined ? {} : { zstd: (bytes: Buffer) => zstdCompress(bytes) }),
  };
  const answer: Script = (peer, { target, headers }) => {
    const coding = decodeURIComponent(target.slice(1));
    const packed = codings[coding]!(Buffer.from(plain));
    const fields = `Content-Encoding: ${coding}\r\nX-Accept: ${headers.get('accept-encoding') ?? 'none'}\r\n`;
    peer.send(ok(packed.toString('latin1'), fields));
  };
  check('every coding, when asked', answer, async (client) => {
    for (const coding of Object.keys(codings)) {
      const response = await client.get(`/${encodeURIComponent(coding)}`, { decompress: true });
      assert.match(response.headers.get('x-accept')!, /gzip/);
      assert.equal(await response.text(), plain, coding);
    }
  });
  check('not when not asked', answer, async (client) => {
    const response = await client.get('/gzip');
    assert.equal(response.headers.get('x-accept'), 'none');
    assert.equal(zlib.gunzipSync(await response.bytes()).toString(), plain);
  });
  check('a bomb is stopped', answer, async (client) => {
    const response = await client.get('/gzip', { decompress: true, bodyBytesMax: 10_000 });
    await assert.rejects(response.text(), code('RESPONSE_TOO_LARGE'));
  });
  check(
    'bytes that are not what they say',
    (peer) => peer.send(ok('this is no gzip', 'Content-Encoding: gzip\r\n')),
    async (client) => {
      const response = await client.get('/', { decompress: true });
      await assert.rejects(response.text(), code('DECODE_FAILED'));
    },
  );
});

describe('redirects', () => {
  const to = (status: number, location: string): string =>
    `HTTP/1.1 ${status} Moved\r\nLocation: ${location}\r\nContent-Length: 5\r\n\r\nmoved`;
  const script: Script = (peer, request) => {
    const match = /^\/r(\d{3})(.*)$/.exec(request.target);
    if (match !== null) peer.send(to(Number(match[1]), match[2] === '' ? '/end' : match[2]!));
    else echo(peer, request);
  };
  check('not followed unless asked', script, async (client) => {
    const response = await client.get('/r302');
    assert.equal(response.status, 302);
    response.discard();
  });
  check('methods change as they should', script, async (client) => {
    const cases = [
      ['POST', 301, 'GET'],
      ['POST', 302, 'GET'],
      ['PUT', 302, 'PUT'],
      ['PUT', 303, 'GET'],
      ['HEAD', 303, 'HEAD'],
      ['POST', 307, 'POST'],
      ['POST', 308, 'POST'],
    ] as const;
    for (const [method, status, then] of cases) {
      const body = method === 'HEAD' ? undefined : 'payload';
      const response = await client.request({ method, url: `/r${status}`, body, redirects: 3 });
      assert.equal(response.status, 200);
      assert.ok(response.url.endsWith('/end'));
      if (method === 'HEAD') continue;
      const seen = await response.json<Echo>();
      assert.equal(seen.method, then, `${method} ${status}`);
      assert.equal(seen.body, then === 'GET' ? '' : 'payload');
    }
  });
  check('too many, nowhere, or with a body that is gone', script, async (client) => {
    await assert.rejects(client.get('/r302/r302', { redirects: 1 }), code('REDIRECT_FAILED'));
    await assert.rejects(client.get('/r302ftp://x/', { redirects: 1 }), code('REDIRECT_FAILED'));
    async function* once() {
      yield 'x';
    }
    await assert.rejects(
      client.post('/r307', { body: once(), redirects: 1 }),
      code('REDIRECT_FAILED'),
    );
  });
  check('another origin does not see credentials', script, async (client) => {
    const other = new RawServer(echo);
    await other.listen(transport);
    try {
      const headers = { authorization: 'Bearer x', cookie: 'a=b', 'x-api-key': 'k', 'x-kept': '1' };
      const url = `/r307http://127.0.0.1:${other.port}/there`;
      const seen = await (await client.get(url, { headers, redirects: 1 })).json<Echo>();
      assert.equal(seen.target, '/there');
      assert.equal(seen.headers['x-kept'], '1');
      for (const name of ['authorization', 'cookie', 'x-api-key'])
        assert.ok(!(name in seen.headers));
      const same = await (await client.get('/r307', { headers, redirects: 1 })).json<Echo>();
      assert.equal(same.headers['authorization'], 'Bearer x');
    } finally {
      await other.close();
    }
  });
});

describe('cancelling and closing', () => {
  const silent: Script = (peer, { target }) => {
    if (target === '/half') peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
    if (target === '/ok') peer.send(ok('ok'));
  };
  check('a signal: before, while waiting, in the body', silent, async (client) => {
    const gone = AbortSignal.abort(new Error('before'));
    await assert.rejects(client.get('/a', { signal: gone }), { message: 'before' });
    const controller = new AbortController();
    const waiting = client.get('/a', { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('while waiting')), 10);
    await assert.rejects(waiting, { message: 'while waiting' });
    const inBody = new AbortController();
    const response = await client.get('/half', { signal: inBody.signal });
    const text = response.text();
    inBody.abort(new Error('in the body'));
    await assert.rejects(text, { message: 'in the body' });
  });
  check('deadlines of one request', silent, async (client) => {
    await assert.rejects(client.get('/a', { headTimeoutMs: 20 }), code('HEAD_TIMEOUT'));
    await assert.rejects(client.get('/a', { totalTimeoutMs: 20 }), code('TOTAL_TIMEOUT'));
    const response = await client.get('/half', { idleTimeoutMs: 20 });
    await assert.rejects(response.text(), code('IDLE_TIMEOUT'));
  });
  check('close waits for what is under way, then refuses', silent, async (client) => {
    const running = client.get('/ok');
    const closed = client.close();
    assert.equal(await (await running).text(), 'ok');
    await closed;
    await assert.rejects(client.get('/ok'), code('CLIENT_CLOSED'));
  });
  check('destroy fails what is under way', silent, async (client) => {
    const running = client.get('/a');
    client.destroy();
    await assert.rejects(running, code('CLIENT_CLOSED'));
  });
});

describe('ways to a server', () => {
  test('a Unix socket', {
    skip: process.platform === 'win32' ? 'no Unix sockets' : false,
  }, async () => {
    const path = `/tmp/onehop-${process.pid}-${Date.now()}.sock`;
    const server = new RawServer(echo);
    await server.listen(transport, path);
    const client = new Client({ baseUrl: 'http://service.test/', socketPath: path });
    try {
      const seen = await (await client.get('/x')).json<Echo>();
      assert.equal(seen.headers['host'], 'service.test');
    } finally {
      client.destroy();
      await server.close();
    }
  });
  check('an http proxy gets the absolute form and its own credentials', echo, async (_, server) => {
    const proxy = `http://me:pw@127.0.0.1:${server.port}`;
    const client = new Client({ proxy });
    try {
      const seen = await (await client.get('http://far.test:81/x?y')).json<Echo>();
      assert.equal(seen.target, 'http://far.test:81/x?y');
      assert.equal(seen.headers['host'], 'far.test:81');
      assert.match(seen.headers['proxy-authorization']!, /^Basic /);
    } finally {
      client.destroy();
    }
  });
  check('localhost by name, whatever family answers', echo, async (_, server) => {
    const client = new Client();
    try {
      const response = await client.get(`http://localhost:${server.port}/x`);
      assert.equal((await response.json<Echo>()).target, '/x');
    } finally {
      client.destroy();
    }
  });
});
