/**
 * Parser and gateway keep what they worked out about a head that comes again byte for byte on a
 * connection. From outside nothing may tell: these requests go the short way, and one changed byte,
 * a reload or another body must show at once.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig } from 'onehop/gateway';
import { transport } from 'onehop/transport';
import { ok, RawServer, type Script } from '../support/raw-server.ts';
import { type GatewayInput, type Rig, simple, withGateway } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;

/** One connection that asks and waits for the answer, in turn. */
class Caller {
  readonly #client: RawClient;
  #read = 0;

  constructor(client: RawClient) {
    this.#client = client;
  }

  async ask(request: string): Promise<string> {
    const client = this.#client;
    client.send(request);
    const headEnd = (): number => client.text.indexOf('\r\n\r\n', this.#read);
    assert.ok(await client.until(() => headEnd() >= 0), client.text.slice(this.#read));
    const head = client.text.slice(this.#read, headEnd() + 4);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    const end = headEnd() + 4 + length;
    assert.ok(await client.until(() => client.text.length >= end));
    const answer = client.text.slice(this.#read, end);
    this.#read = end;
    return answer;
  }
}

async function withCaller(
  scripts: readonly Script[],
  config: (ports: number[]) => GatewayInput,
  body: (caller: Caller, servers: RawServer[], rig: Rig) => Promise<void>,
): Promise<void> {
  const servers = scripts.map((script) => new RawServer(script));
  for (const server of servers) await server.listen(transport);
  try {
    await withGateway(config(servers.map(({ port }) => port)), async (rig) => {
      const client = await RawClient.open(rig.port);
      await body(new Caller(client), servers, rig);
      client.close();
    });
  } finally {
    for (const server of servers) await server.close();
  }
}

const echo: Script = (peer, request) => peer.send(ok(`${request.target} ${request.body}`));
const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4);
const idOf = (answer: string): string | undefined => /x-request-id: (\S+)/i.exec(answer)?.[1];

test('the same head five times: all alike upstream but for the request id, which matches', async () => {
  await withCaller([echo], simple, async (caller, [server]) => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const answer = await caller.ask(get('/same', 'X-A: 1\r\nConnection: x-b\r\nX-B: 2\r\n'));
      assert.equal(bodyOf(answer), '/same ');
      ids.push(idOf(answer)!);
    }
    assert.equal(new Set(ids).size, 5);
    assert.deepEqual(
      server!.requests.map(({ headers }) => headers.get('x-request-id')),
      ids,
    );
    const others = server!.requests.map(({ headers }) =>
      [...headers].filter(([name]) => name !== 'x-request-id'),
    );
    for (const one of others) assert.deepEqual(one, others[0]);
    assert.equal(server!.requests[4]!.headers.get('x-a'), '1');
    assert.equal(server!.requests[4]!.headers.has('x-b'), false);
  });
});

test("the caller's own request id stays its own, and its next one is not mistaken for it", async () => {
  await withCaller([echo], simple, async (caller, [server]) => {
    for (const id of ['aa', 'aa', 'aa', 'ab', 'aa', 'aa', '{}', '{}', '{}']) {
      const answer = await caller.ask(get('/', `X-Request-Id: ${id}\r\n`));
      const sent = server!.requests.at(-1)!.headers.get('x-request-id')!;
      assert.equal(idOf(answer), sent);
      if (id === '{}') assert.match(sent, /^[0-9a-f]{12}-/);
      else assert.equal(sent, id);
    }
  });
});

test('heads that differ in one byte are told apart, also when one is the beginning of the other', async () => {
  await withCaller([echo], simple, async (caller) => {
    for (const path of ['/a', '/a', '/a', '/b', '/a', '/a', '/ab', '/ab', '/ab', '/a', '/b']) {
      assert.equal(bodyOf(await caller.ask(get(path))), `${path} `);
    }
    for (const method of ['GET', 'GET', 'GET', 'PUT', 'GET']) {
      const answer = await caller.ask(
        `${method} /m HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n`,
      );
      assert.equal(bodyOf(answer), '/m ');
    }
  });
});

test('the same head with another body of the same length brings the other body', async () => {
  await withCaller([echo], simple, async (caller, [server]) => {
    for (const body of ['one', 'two', 'six', 'ten']) {
      const answer = await caller.ask(
        `POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n${body}`,
      );
      assert.equal(bodyOf(answer), `/ ${body}`);
    }
    assert.equal(server!.requests.length, 4);
  });
});

test('a reload between two of the same heads takes effect', async () => {
  const named =
    (name: string): Script =>
    (peer) =>
      peer.send(ok(name));
  await withCaller(
    [named('old'), named('new')],
    ([port]) => simple([port!]),
    async (caller, servers, rig) => {
      for (let i = 0; i < 3; i++) assert.equal(bodyOf(await caller.ask(get('/'))), 'old');
      const next = { ...simple([servers[1]!.port]), listen: '127.0.0.1:0' };
      rig.gateway.reload(checkConfig(next).config!);
      for (let i = 0; i < 3; i++) assert.equal(bodyOf(await caller.ask(get('/'))), 'new');
    },
  );
});

test('without a key, hash balancing still spreads the same head over the targets', async () => {
  const hashed = (ports: number[]): GatewayInput =>
    simple(ports, { balance: 'hash', hash: { header: 'x-key' } });
  await withCaller([echo, echo], hashed, async (caller, servers) => {
    for (let i = 0; i < 64; i++) await caller.ask(get('/'));
    for (const { requests } of servers) assert.ok(requests.length > 8, `${requests.length}`);
    const before = servers.map(({ requests }) => requests.length);
    for (let i = 0; i < 6; i++) await caller.ask(get('/', 'X-Key: k\r\n'));
    const more = servers.map(({ requests }, index) => requests.length - before[index]!);
    assert.deepEqual(more.sort(), [0, 6]);
  });
});

test('responses with the same head, then another, then the first again', async () => {
  const answers = ['a', 'a', 'a', 'b', 'a', 'a', 'c', 'c', 'c', 'a'];
  let next = 0;
  const script: Script = (peer) => {
    const name = answers[next++]!;
    peer.send(`HTTP/1.1 200 OK\r\nX-Name: ${name}\r\nContent-Length: 1\r\n\r\n${name}`);
  };
  await withCaller([script], simple, async (caller) => {
    for (const name of answers) {
      const answer = await caller.ask(get('/'));
      assert.equal(bodyOf(answer), name);
      assert.match(answer, new RegExp(`\r\nX-Name: ${name}\r\n`));
    }
  });
});

test('the same response head on one upstream connection under two routes: each with its own rules', async () => {
  const two = (ports: number[]): GatewayInput => ({
    ...simple(ports),
    routes: [
      { path: '/a', upstream: 'up', rewrite: { responseHeaders: { set: { 'x-route': 'a' } } } },
      { path: '/*', upstream: 'up' },
    ],
  });
  await withCaller([echo], two, async (caller, [server]) => {
    for (const path of ['/a', '/b', '/a', '/b', '/a', '/a', '/a', '/b', '/b', '/b', '/a']) {
      const answer = await caller.ask(get(path));
      assert.equal(/x-route: a/.test(answer), path === '/a', answer);
    }
    assert.equal(server!.peers.length, 1);
  });
});

test('a body was taken for events when a rule gives events and others the same Content-Type', async () => {
  const types = [
    'text/event-stream',
    'text/event-stream',
    'text/plain',
    'text/plain',
    'text/plain',
  ];
  let next = 0;
  const script: Script = (peer) => {
    const type = types[next++]!;
    peer.send(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    if (next < types.length) peer.send('2\r\n\n\n\r\n0\r\n\r\n');
    else peer.sendLast('2\r\n\n\n\r\n');
  };
  const same = (ports: number[]): GatewayInput =>
    simple(
      ports,
      {},
      { route: { rewrite: { responseHeaders: { set: { 'content-type': 'a/b' } } } } },
    );
  const server = new RawServer(script);
  await server.listen(transport);
  try {
    await withGateway(same([server.port]), async (rig) => {
      const client = await RawClient.open(rig.port);
      for (let i = 1; i < types.length; i++) {
        client.send(get('/'));
        const ends = (): number => client.text.split('\r\n0\r\n\r\n').length - 1;
        assert.ok(await client.until(() => ends() === i), client.text);
      }
      client.send(get('/'));
      assert.ok(await client.untilEnd());
      const last = client.text.slice(client.text.lastIndexOf('\r\n\r\n') + 4);
      assert.equal(last, '2\r\n\n\n', 'bytes of our own in a body that is no event stream');
      assert.equal(server.peers.length, 1);
    });
  } finally {
    await server.close();
  }
});

test('what callers with the same head share shows nowhere: ids, HEAD, HTTP/1.0 and close', async () => {
  const server = new RawServer(echo);
  await server.listen(transport);
  try {
    await withGateway(simple([server.port]), async (rig) => {
      const clients = [await RawClient.open(rig.port), await RawClient.open(rig.port)];
      const callers = clients.map((client) => new Caller(client));
      const ids = new Set<string>();
      for (let round = 0; round < 6; round++) {
        for (const caller of callers) {
          const answer = await caller.ask(get('/s'));
          assert.equal(bodyOf(answer), '/s ');
          assert.equal(server.requests.at(-1)!.headers.get('x-request-id'), idOf(answer));
          ids.add(idOf(answer)!);
        }
        const other = await RawClient.open(rig.port);
        const odd = [
          'HEAD /s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n',
          'GET /s HTTP/1.0\r\nHost: t\r\n\r\n',
          get('/s', 'Connection: close\r\n'),
        ][round % 3]!;
        other.send(odd);
        assert.ok(await other.until(() => other.ended), other.text);
        assert.match(other.text, /^HTTP\/1\.1 200 (?:.*\r\n)*connection: close\r\n/i);
        assert.equal(bodyOf(other.text), odd.startsWith('HEAD') ? '' : '/s ');
      }
      assert.equal(ids.size, 12);
      for (const client of clients) client.close();
    });
  } finally {
    await server.close();
  }
});
