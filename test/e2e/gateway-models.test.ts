/** Routes by the model in the body: which one takes a request, and that one model is all it names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig, explainRequest } from 'onehop/gateway';
import { chunked, ok, type RawPeer, type Script } from '../support/raw-server.ts';
import {
  ask,
  type GatewayInput,
  type Rig,
  until,
  withGateway,
  withServers,
} from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

const named =
  (name: string): Script =>
  (peer) =>
    peer.send(ok(name));

const upstreamsOf = (ports: readonly number[]) =>
  Object.fromEntries(
    ports.map((port, i) => ['abc'[i]!, { targets: [`http://127.0.0.1:${port}`] }]),
  );

// ---- Which route --------------------------------------------------------------------------------

const byModel = { path: '/v1/*', models: ['cheap-*'], upstream: 'a' };
const rest = { path: '/*', upstream: 'b' };
const tables: Record<string, GatewayInput['routes']> = {
  'models, then all': [byModel, rest],
  'models only': [byModel],
  'two of models': [byModel, { path: '/v1/*', models: ['costly'], upstream: 'b' }],
  'models for POST, then GET': [
    { ...byModel, methods: ['POST'] },
    { path: '/v1/*', methods: ['GET'], upstream: 'b' },
  ],
  'GET, then models': [{ path: '/v1/*', methods: ['GET'], upstream: 'b' }, byModel],
  'models with a header, then all': [{ ...byModel, headers: { 'x-tier': 'gold' } }, rest],
  'models, then a header, then all': [
    byModel,
    { path: '/v1/*', headers: { 'x-tier': 'gold' }, upstream: 'b' },
    { path: '/*', upstream: 'c' },
  ],
  'models, then another host': [byModel, { path: '/*', host: 'else.test', upstream: 'b' }],
};

const multipart = '--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap-1\r\n--x--\r\n';
const bodies: (string | null)[] = [
  null,
  '',
  '{"model":"cheap-1"}',
  '{"messages":[{"model":"costly"}],"model":"cheap-1"}',
  '{"model":"costly"}',
  '{"model":"unknown"}',
  '{}',
  '{"model":null}',
  '{"model":1}',
  '["cheap-1"]',
  'model=cheap-1',
  multipart,
  '{"model":"cheap-1"',
  '{"model":"cheap-1",}',
  '{"model":"unknown",}',
  '{"model":"cheap-1"}{}',
  '{"model":"cheap-1","model":"costly"}',
  '{"model":"costly","model":"cheap-1"}',
  '{"Model":"costly","model":"cheap-1"}',
  '{"Model":"cheap-1"}',
  '\xef\xbb\xbf{"model":"cheap-1"}',
  `{"model":"cheap-1","pad":"${'x'.repeat(100_000)}"}`,
  `{"pad":"${'x'.repeat(100_000)}","model":"cheap-1"}`,
  `{"pad":"${'x'.repeat(100_000)}"}`,
  `{"pad":"${'x'.repeat(100_000)}","model":"costly","model":"cheap-1"}`,
  `${'x'.repeat(100_000)}`,
];

interface Asked {
  method: string;
  body: string | null;
  chunked: boolean;
  tier: boolean;
}

function textOf({ method, body, chunked: inChunks, tier }: Asked): string {
  let head = `${method} /v1/x HTTP/1.1\r\nHost: t\r\n${tier ? 'X-Tier: gold\r\n' : ''}`;
  if (body === null) return `${head}\r\n`;
  if (!inChunks) return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  head += 'Transfer-Encoding: chunked\r\n\r\n';
  return `${head}${body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`;
}

function* requests(): Generator<Asked> {
  for (const body of bodies) {
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) {
      for (const tier of [false, true]) {
        yield { method, body, chunked: false, tier };
        if (body !== null && method === 'POST') yield { method, body, chunked: true, tier };
      }
    }
  }
}

test('a request without a model gets 404 although a later route takes it, and explain says so, too', async () => {
  await withServers(['a', 'b', 'c'].map(named), async (_, ports) => {
    for (const [title, routes] of Object.entries(tables)) {
      const input: GatewayInput = { upstreams: upstreamsOf(ports), routes };
      const { config } = checkConfig(input);
      await withGateway(input, async (rig) => {
        for (const asked of requests()) {
          const { method, body, tier } = asked;
          const explained = explainRequest(config!, {
            method,
            target: '/v1/x',
            host: 't',
            headers: tier ? [['x-tier', 'gold']] : [],
            body: body === null ? null : Buffer.from(body, 'latin1'),
          });
          const about = `${title}: ${textOf(asked).slice(0, 160)}\n${explained.lines.join('\n')}`;
          const got = await ask(rig.port, textOf(asked));
          assert.equal(got.status, explained.status ?? 200, about);
          if (got.status === 200 && method !== 'HEAD') {
            assert.equal(got.body, explained.upstream, about);
          }
        }
      });
    }
  });
});

/** What the table is compared with is our own: some of it by hand. */
test('which route takes a request with a model, without one, and with two', async () => {
  await withServers(['a', 'b', 'c'].map(named), async (_, ports) => {
    const input = (routes: GatewayInput['routes']) => ({ upstreams: upstreamsOf(ports), routes });
    const check = async (rig: Rig, text: string, expected: string | number): Promise<void> => {
      const got = await ask(rig.port, text);
      assert.equal(got.status === 200 ? got.body : got.status, expected, text.slice(0, 200));
    };
    const post = (body: string): string =>
      textOf({ method: 'POST', body, chunked: false, tier: false });
    const get = textOf({ method: 'GET', body: null, chunked: false, tier: false });
    await withGateway(input([byModel, rest]), async (rig) => {
      await check(rig, get, 'b');
      await check(rig, post('{"model":"cheap-1"}'), 'a');
      await check(rig, post('{"model":"costly"}'), 'b');
      await check(rig, post(multipart), 'b');
      await check(rig, post('{"model":"cheap-1","model":"costly"}'), 400);
    });
    await withGateway(input(tables['GET, then models']!), async (rig) => {
      // POST is taken with another model: 405 would say that it never is.
      await check(rig, post('{"model":"costly"}'), 404);
      await check(rig, post('{"model":"cheap-1"}'), 'a');
      await check(rig, get, 'b');
    });
    await withGateway(input([byModel]), async (rig) => {
      await check(rig, get, 404);
      await check(rig, post('{"model":1}'), 400);
      await check(rig, post(''), 404);
    });
  });
});

test('a repeated head takes the same route as the first, with and without a body', async () => {
  await withServers(['a', 'b'].map(named), async (_, ports) => {
    const input: GatewayInput = { upstreams: upstreamsOf(ports), routes: [byModel, rest] };
    await withGateway(input, async (rig) => {
      const client = await RawClient.open(rig.port);
      const post = (model: string): string =>
        textOf({ method: 'POST', body: `{"model":"${model}"}`, chunked: false, tier: false });
      const get = textOf({ method: 'GET', body: null, chunked: false, tier: false });
      const asked = [
        get,
        get,
        get,
        get,
        post('cheap-1'),
        post('cheap-2'),
        post('unknown'),
        get,
        get,
      ];
      const expected = ['b', 'b', 'b', 'b', 'a', 'a', 'b', 'b', 'b'];
      for (const [index, text] of asked.entries()) {
        client.send(text);
        const answers = (): string[] => client.text.split('HTTP/1.1 ').slice(1);
        const complete = (): boolean => /\r\n\r\n\w$/.test(answers()[index] ?? '');
        assert.ok(await client.until(complete), `${index}: ${client.text}`);
        assert.equal(answers()[index]!.at(-1), expected[index], `${index}`);
      }
      client.close();
    });
  });
});

// ---- One model ----------------------------------------------------------------------------------

const models: GatewayInput['routes'] = [
  { path: '/v1/*', models: ['cheap-1'], upstream: 'a' },
  { path: '/v1/*', models: ['costly'], upstream: 'b' },
];

/** What stands behind `{"model":"cheap-1",` and its padding, with whether it is fine. */
const ends: [text: string, fine: boolean][] = [
  ['"x":{"model":"costly","model":"other"}}', true],
  ['"x":"\\"model\\":\\"costly"}  \r\n', true],
  ['"models":["costly"]}', true],
  ['"model":"costly"}', false],
  ['"mod\\u0065l":"costly"}', false],
  ['"Model":"costly"}', false],
  ['"x":1} {"model":"costly"}', false],
  ['"x":1}x', false],
  ['"x":[1,],"y":1}', false],
  ['"x":1', false],
];

for (const inChunks of [false, true]) {
  test(`a second model in a later read of a ${inChunks ? 'chunked' : 'long'} body is served`, async () => {
    await withServers(['a', 'b'].map(named), async ([a, b], ports) => {
      await withGateway({ upstreams: upstreamsOf(ports), routes: models }, async (rig) => {
        for (const [end, fine] of ends) {
          const requestsBefore = a!.requests.length;
          const begin = `{"model":"cheap-1","pad":"${'x'.repeat(100_000)}",`;
          const length = begin.length + end.length;
          const client = await RawClient.open(rig.port);
          const field = inChunks ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`;
          client.send(`POST /v1/chat HTTP/1.1\r\nHost: t\r\n${field}\r\n\r\n`);
          client.send(inChunks ? `${begin.length.toString(16)}\r\n${begin}\r\n` : begin);
          // The upstream has the first part, so that the second is a read of its own.
          const { peers } = a!;
          const taker = (): RawPeer | undefined =>
            peers.find((peer) => !peer.closed && peer.received.length >= begin.length);
          assert.ok(await until(() => taker() !== undefined), end);
          const peer = taker()!;
          client.send(inChunks ? `${end.length.toString(16)}\r\n${end}\r\n0\r\n\r\n` : end);
          assert.ok(await client.untilText('\r\n\r\n'), end);
          assert.equal(client.text.slice(9, 12), fine ? '200' : '400', end);
          if (!fine) {
            assert.match(client.text, /"code":"body_invalid"/, end);
            assert.ok(await until(() => peer.closed), `the upstream may wait for the rest: ${end}`);
            assert.ok(!peer.received.includes('costly'), 'what gave it away is sent on');
          }
          assert.equal(a!.requests.length - requestsBefore, fine ? 1 : 0, end);
          client.close();
        }
        assert.equal(b!.requests.length, 0);
      });
    });
  });
}

test('a second model that comes while the response is on its way is served', async () => {
  const early: Script = () => {};
  const begun = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n';
  for (const type of ['', 'Content-Type: text/event-stream\r\n']) {
    const onHead = (peer: RawPeer): void => peer.send(begun.replace('Transfer', `${type}Transfer`));
    await withServers([{ onRequest: early, onHead }], async ([a], ports) => {
      await withGateway({ upstreams: upstreamsOf(ports), routes: [models![0]!] }, async (rig) => {
        const client = await RawClient.open(rig.port);
        const begin = '{"model":"cheap-1","pad":"x",';
        client.send('POST /v1/chat HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n');
        client.send(`${begin.length.toString(16)}\r\n${begin}\r\n`);
        assert.ok(await client.untilText('hello'));
        client.send('11\r\n"model":"costly"}\r\n0\r\n\r\n');
        assert.ok(await client.untilEnd());
        assert.ok(!client.text.includes('\r\n0\r\n\r\n'), 'the response looks complete');
        assert.ok(await until(() => a!.peers[0]!.closed));
        assert.equal(a!.requests.length, 0);
        assert.ok(!a!.peers[0]!.received.includes('costly'));
        client.close();
      });
    });
  }
});

test('a second model cut the answer of an upstream that had refused the body before', async () => {
  const refused = 'HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhello';
  const rests = ['11\r\n"model":"costly"}\r\n0\r\n\r\n', '0\r\n\r\n'];
  for (const rest of rests) {
    const onHead = (peer: RawPeer): void => peer.send(refused);
    await withServers([{ onRequest() {}, onHead }], async ([a], ports) => {
      await withGateway({ upstreams: upstreamsOf(ports), routes: [models![0]!] }, async (rig) => {
        const client = await RawClient.open(rig.port);
        const begin = '{"model":"cheap-1","pad":"x",';
        const sent =
          'POST /v1/chat HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n' +
          `${begin.length.toString(16)}\r\n${begin}\r\n`;
        client.send(sent);
        assert.ok(await client.untilText('hello'));
        client.send(rest);
        const { counters } = rig.gateway.server;
        assert.ok(await until(() => counters.bytesIn === sent.length + rest.length));
        a!.peers[0]!.send('world');
        assert.ok(await client.until(() => client.ended || client.text.includes('world')));
        assert.match(client.text, /^HTTP\/1\.1 403 [\s\S]*\r\n\r\nhelloworld$/);
        client.close();
      });
    });
  }
});

test('a second model is refused while the request waits in line, too', async () => {
  const never: Script = () => {};
  await withServers([never], async ([a], ports) => {
    const upstreams = upstreamsOf(ports) as Record<string, object>;
    upstreams['a'] = { ...upstreams['a'], limits: { pending: 1 } };
    const input = { upstreams, routes: [models![0]!] } as GatewayInput;
    await withGateway(input, async (rig) => {
      const first = await RawClient.open(rig.port);
      first.send('POST /v1/x HTTP/1.1\r\nHost: t\r\nContent-Length: 19\r\n\r\n{"model":"cheap-1"}');
      assert.ok(await until(() => a!.requests.length === 1));
      const second = await RawClient.open(rig.port);
      const begin = `{"model":"cheap-1","pad":"${'x'.repeat(2_000_000)}",`;
      const end = '"model":"costly"}';
      const head = `POST /v1/x HTTP/1.1\r\nHost: t\r\nContent-Length: ${begin.length + end.length}\r\n\r\n`;
      second.send(head + begin + end);
      assert.ok(await until(() => rig.gateway.tables.upstreams.get('a')!.queue.length === 1));
      // What waits in line is not read on; when it is let in, it is.
      a!.peers[0]!.send(ok('fine'));
      assert.ok(await second.untilText('\r\n\r\n'));
      assert.match(second.text, /^HTTP\/1\.1 400 /);
      assert.equal(a!.requests.length, 1);
      first.close();
      second.close();
    });
  });
});

test('trailing bytes of a small body hide a second model', async () => {
  await withServers(['a', 'b'].map(named), async ([a, b], ports) => {
    await withGateway({ upstreams: upstreamsOf(ports), routes: models }, async (rig) => {
      const body = '{"model":"cheap-1"} {"model":"costly"}';
      const got = await ask(
        rig.port,
        textOf({ method: 'POST', body, chunked: false, tier: false }),
      );
      assert.equal(got.status, 400);
      assert.equal(a!.requests.length + b!.requests.length, 0);
    });
  });
});

test('a body that is sent again is judged once, and its pieces arrive as they were', async () => {
  // Takes the connection and closes it before it can be used.
  const shut = { onRequest: named('shut'), onConnect: (peer: RawPeer) => peer.reset() };
  const echo: Script = (peer, { body }) =>
    peer.send(chunked([String(body.length), body.slice(-20)]));
  await withServers([shut, echo], async (_, ports) => {
    const targets = ports.map((port) => `http://127.0.0.1:${port}`);
    const upstreams = { a: { targets, balance: 'round-robin', retry: { attempts: 2 } } };
    const input = { upstreams, routes: [models![0]!] } as GatewayInput;
    await withGateway(input, async (rig) => {
      const body = `{"pad":"${'y'.repeat(60_000)}","model":"cheap-1"}`;
      for (let i = 0; i < 4; i++) {
        const got = await ask(
          rig.port,
          textOf({ method: 'PUT', body, chunked: false, tier: false }),
        );
        assert.equal(got.status, 200);
        assert.equal(got.body, String(body.length) + body.slice(-20));
      }
    });
  });
});
