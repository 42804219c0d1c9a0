/**
 * Every limit of docs/reference/limits.md, set low in a live gateway: what is within passes, what is
 * beyond is stopped, with the status that the page says. The page is the list of what is tested.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LIMITS, type LimitReport } from 'onehop/gateway';
import { transport } from 'onehop/transport';
import { chunked, ok, RawServer, type Script } from '../support/raw-server.ts';
import { pause, type Rig, simple, until, withGateway } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

type Settings = Record<string, unknown>;

interface Setup {
  port: number;
  server: RawServer;
  rig: Rig;
  /** Status of the first answer to these bytes, 0 for an end without one, -1 for neither. */
  say(bytes: string, waitMs?: number): Promise<number>;
}

/** Keys of the limits that the gateways of this file told of. */
const told = new Set<string>();
const hear = { onLimit: ({ key }: LimitReport) => void told.add(key) };

/** A gateway with these limits in front of a scripted upstream. */
async function limited(
  settings: { limits?: Settings; upstream?: Settings; route?: Settings },
  script: Script,
  body: (setup: Setup) => Promise<void>,
): Promise<void> {
  const server = new RawServer(script);
  await server.listen(transport);
  const input = simple([server.port], settings.upstream ?? {}, {
    limits: settings.limits ?? {},
    route: settings.route ?? {},
  } as object);
  const clients: RawClient[] = [];
  try {
    await withGateway(
      input,
      async (rig) => {
        const { port } = rig;
        await body({
          port,
          server,
          rig,
          async say(bytes, waitMs = 15_000) {
            const client = await RawClient.open(port);
            clients.push(client);
            client.send(bytes);
            const answered = () => client.ended || /^HTTP\/1\.1 [2-5]/m.test(client.text);
            if (!(await client.until(answered, waitMs))) return -1;
            return Number(/^HTTP\/1\.1 ([2-5]\d\d)/m.exec(client.text)?.[1] ?? 0);
          },
        });
        for (const client of clients) client.close();
      },
      hear,
    );
  } finally {
    for (const client of clients) client.close();
    await server.close();
  }
}

const fine: Script = (peer) => peer.send(ok('fine'));
const never: Script = () => {};
const get = (path = '/', fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;
const post = (body: string, fields = 'Transfer-Encoding: chunked'): string =>
  `POST / HTTP/1.1\r\nHost: t\r\n${fields}\r\n\r\n${body}`;
const timed = async <T>(run: () => Promise<T>): Promise<{ got: T; ms: number }> => {
  const startMs = performance.now();
  const got = await run();
  return { got, ms: performance.now() - startMs };
};

/**
 * That a deadline of `setMs` was kept and not the one of `defaultMs`: not before its time, however
 * late a busy machine is with it.
 */
function assertSet(ms: number, setMs: number, defaultMs: number): void {
  assert.ok(ms >= setMs - 10 && ms < defaultMs, `${ms} ms; set ${setMs}, else ${defaultMs}`);
}

/** What passes, what does not, and its status: all in bytes that arrive at once. */
const byBytes: [name: string, limits: Settings, within: string, beyond: string, status: number][] =
  [
    [
      'requestLineBytesMax',
      { requestLine: 100 },
      get(`/${'a'.repeat(80)}`),
      get(`/${'a'.repeat(100)}`),
      414,
    ],
    [
      'headBytesMax',
      { head: 300 },
      get('/', `X: ${'a'.repeat(200)}\r\n`),
      get('/', `X: ${'a'.repeat(300)}\r\n`),
      431,
    ],
    [
      'headersCountMax',
      { headers: 4 },
      get('/', 'X: 1\r\n'.repeat(3)),
      get('/', 'X: 1\r\n'.repeat(4)),
      431,
    ],
    [
      'headerBytesMax',
      { header: 100 },
      get('/', `X: ${'a'.repeat(90)}\r\n`),
      get('/', `X: ${'a'.repeat(110)}\r\n`),
      431,
    ],
    [
      'trailerBytesMax',
      { trailers: 100 },
      post(`0\r\nX-T: ${'a'.repeat(60)}\r\n\r\n`),
      post(`0\r\nX-T: ${'a'.repeat(100)}\r\n\r\n`),
      400,
    ],
    [
      'trailersCountMax',
      { trailerFields: 2 },
      post('0\r\nX-A: 1\r\nX-B: 1\r\n\r\n'),
      post('0\r\nX-A: 1\r\nX-B: 1\r\nX-C: 1\r\n\r\n'),
      400,
    ],
    [
      'chunkExtensionBytesMax',
      { chunkExtension: 20 },
      post('1;a=0123456789\r\nx\r\n0\r\n\r\n'),
      post(`1;a=${'0'.repeat(30)}\r\nx\r\n0\r\n\r\n`),
      400,
    ],
    [
      'chunkExtensionsBytesMax',
      { chunkExtensions: 20 },
      post(`${'1;a=0\r\nx\r\n'.repeat(4)}0\r\n\r\n`),
      post(`${'1;a=0\r\nx\r\n'.repeat(8)}0\r\n\r\n`),
      400,
    ],
    [
      'chunkSizeDigitsMax',
      { chunkSizeDigits: 3 },
      post('001\r\nx\r\n0\r\n\r\n'),
      post('0001\r\nx\r\n0\r\n\r\n'),
      400,
    ],
    [
      'bodyBytesMax',
      { body: 10 },
      post('0123456789', 'Content-Length: 10'),
      post('01234567890', 'Content-Length: 11'),
      413,
    ],
    [
      'bodyBytesMax',
      { body: 10 },
      post('a\r\n0123456789\r\n0\r\n\r\n'),
      post('b\r\n01234567890\r\n0\r\n\r\n'),
      413,
    ],
  ];

/** The same for what an upstream sends: 200 within, 502 beyond. */
const byResponse: [name: string, limits: Settings, within: string, beyond: string][] = [
  [
    'responseHeadBytesMax',
    { responseHead: 300 },
    ok('x', `X: ${'a'.repeat(200)}\r\n`),
    ok('x', `X: ${'a'.repeat(300)}\r\n`),
  ],
  [
    'responseHeadersCountMax',
    { responseHeaders: 4 },
    ok('x', 'X: 1\r\n'.repeat(3)),
    ok('x', 'X: 1\r\n'.repeat(4)),
  ],
  [
    'interimResponsesMax',
    { interim: 2 },
    `${'HTTP/1.1 103 Early\r\n\r\n'.repeat(2)}${ok('x')}`,
    `${'HTTP/1.1 103 Early\r\n\r\n'.repeat(3)}${ok('x')}`,
  ],
];

/** Deadlines of upstreams: the status of the caller, or `cut` behind a head. */
const head = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n';
const byUpstreamTime: [
  name: string,
  timeouts: Settings,
  script: Script,
  expected: number | 'cut',
][] = [
  ['headTimeoutMs', { head: 100 }, never, 504],
  ['firstByteTimeoutMs', { firstByte: 100 }, (peer) => peer.send(head), 'cut'],
  ['idleTimeoutMs', { idle: 100 }, (peer) => peer.send(`${head}abc`), 'cut'],
  ['totalTimeoutMs', { total: 100 }, never, 504],
];

const others: Record<string, () => Promise<void>> = {
  relayBufferBytesMax: () =>
    limited({ limits: { readAhead: 2000 } }, never, async ({ port, server }) => {
      const client = await RawClient.open(port);
      client.send(get('/first'));
      assert.ok(await until(() => server.requests.length === 1));
      // Nothing behind an unanswered request is read without bound: the socket takes no more.
      const block = Buffer.from(get('/next', `X: ${'a'.repeat(1000)}\r\n`).repeat(1000));
      let taken = 0;
      for (let i = 0; i < 40; i++) client.socket.write(block, () => taken++);
      await pause(300);
      assert.ok(taken < 40, 'a pipelining caller is read without a bound');
      assert.equal(server.requests.length, 1);
      client.close();
      // Who has more on its way than is read ahead is not heard leaving: the answer shows it.
      server.hooks.onRequest = fine;
      server.peers[0]!.send(ok('fine'));
    }),
  scanBytesMax: () =>
    limited({ limits: { scan: 1000 }, route: { models: ['m'] } }, fine, async (setup) => {
      for (const [bytes, status] of [
        [900, 200],
        [1100, 413],
      ] as const) {
        const client = await scanning(setup, 500);
        client.send('x'.repeat(bytes - 500));
        if (status === 200) {
          client.send(`","model":"m"}${' '.repeat(scannedBytes - bytes - 14)}`);
        }
        assert.ok(await client.untilText('\r\n\r\n'));
        assert.match(client.text, new RegExp(`^HTTP/1.1 ${status} `));
        assert.equal(client.text.includes('limits.scan)'), status === 413);
        client.close();
      }
    }),
  scansBytesMax: () =>
    limited({ limits: { scans: 5000 }, route: { models: ['m'] } }, fine, async (setup) => {
      const clients = [await scanning(setup, 1000), await scanning(setup, 1000)];
      const third = await RawClient.open(setup.port);
      third.send(
        `POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5000\r\n\r\n{"pad":"${'x'.repeat(3000)}`,
      );
      assert.ok(await third.untilText('limits.scans)'), third.text);
      assert.match(third.text, /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/);
      // Those that had begun are not disturbed, and what they leave is free again.
      for (const client of clients) {
        client.send(`${'x'.repeat(300)}","model":"m"}${' '.repeat(scannedBytes - 1314)}`);
        assert.ok(await client.untilText('fine'), client.text);
      }
      clients.push(await scanning(setup, 1000), await scanning(setup, 1000));
      for (const client of [...clients, third]) client.close();
    }),
  stalledReadAheadBytesMax: async () => {
    assert.equal(await hearsFin({ stalledReadAhead: '1MiB' }, 15_000), true);
    assert.equal(await hearsFin({ stalledReadAhead: 2000 }, 2500), false);
  },
  stalledReadersMax: async () => {
    assert.equal(await hearsFin({ stalledReaders: 1 }, 15_000), true);
    assert.equal(await hearsFin({ stalledReaders: 0 }, 2500), false);
  },
  lingerBytesMax: () =>
    limited({ limits: { linger: 1000 } }, fine, async ({ port }) => {
      // Refused with the head; what still comes is dropped, up to the bound.
      for (const [bytes, reset] of [
        [500, false],
        // With what follows still less than the default of 64 KiB.
        [20_000, true],
      ] as const) {
        const client = await RawClient.open(port);
        client.send(`GET / HTTP/1.1\r\n\r\n${'x'.repeat(bytes)}`);
        assert.ok(await client.untilEnd());
        if (reset) {
          await pause(20);
          for (let i = 0; i < 20 && !client.closed; i++) {
            client.send('y'.repeat(1000));
            await pause(10);
          }
          assert.ok(client.closed, 'the connection is kept for a caller that never stops');
        } else assert.ok(!client.closed, 'a caller within the bound is cut');
        client.close();
      }
    }),
  lingerTimeoutMs: () =>
    limited({ limits: { lingerTime: 100 } }, fine, async ({ port }) => {
      const client = await RawClient.open(port);
      client.send('GET / HTTP/1.1\r\n\r\n');
      assert.ok(await client.untilEnd());
      // Half-closed by the gateway; after lingerTime it is gone, and what is sent is answered by RST.
      await pause(250);
      for (let i = 0; i < 20 && !client.closed; i++) {
        client.send('x');
        await pause(10);
      }
      assert.ok(client.closed, 'it lingers for a caller that does not close');
    }),
  firstRequestTimeoutMs: () =>
    limited({ limits: { firstRequest: 150 } }, fine, async ({ say }) => {
      const { got, ms } = await timed(() => say(''));
      assert.equal(got, 0);
      assertSet(ms, 150, 10_000);
    }),
  requestHeadTimeoutMs: () =>
    limited({ limits: { headTime: 200 } }, fine, async ({ port }) => {
      // Bytes that keep coming do not move the deadline.
      const client = await RawClient.open(port);
      const { ms } = await timed(async () => {
        client.send('GET / HTTP/1.1\r\n');
        while (!client.ended) {
          client.send('X: 1\r\n');
          await pause(20);
        }
      });
      assert.match(client.text, /^HTTP\/1\.1 408 /);
      assertSet(ms, 200, 10_000);
      client.close();
    }),
  requestBodyGapTimeoutMs: () =>
    limited({ limits: { bodyGap: 700 } }, fine, async ({ say, port }) => {
      assert.equal(await say(post('x', 'Content-Length: 9')), 408);
      const client = await RawClient.open(port);
      client.send('POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n');
      // Longer than the gap in all, each pause a fraction of it.
      for (const byte of 'hello') {
        await pause(160);
        client.send(byte);
      }
      assert.ok(await client.untilText('200 OK'), 'a slow body that never stops is late');
      client.close();
    }),
  requestBodyBytesPerSecondMin: () => slowBody({ bodyRate: 1000, bodyGrace: 100 }, 408),
  requestBodyGraceMs: () => slowBody({ bodyRate: 1000, bodyGrace: 60_000 }, 200),
  keepAliveTimeoutMs: () =>
    limited({ limits: { keepAlive: 150 } }, fine, async ({ port }) => {
      const client = await RawClient.open(port);
      const { got, ms } = await timed(async () => {
        client.send(get());
        assert.ok(await client.untilText('fine'));
        return client.untilEnd(20_000);
      });
      assert.ok(got, 'an idle caller is kept');
      assertSet(ms, 150, 60_000);
      client.close();
    }),
  requestsPerConnectionMax: () =>
    limited({ limits: { requestsPerConnection: 2 } }, fine, async ({ port, server }) => {
      const client = await RawClient.open(port);
      client.send(get('/1') + get('/2') + get('/3'));
      assert.ok(await client.untilEnd());
      assert.deepEqual(
        server.requests.map(({ target }) => target),
        ['/1', '/2'],
      );
      assert.equal(client.text.split(/^connection: close\r$/im).length, 2);
      client.close();
    }),
  writeStallTimeoutMs: () =>
    limited(
      { limits: { writeStall: 200 } },
      (peer) => peer.send(ok('x'.repeat(30_000_000))),
      async ({ port, rig }) => {
        const client = await RawClient.open(port);
        client.socket.pause();
        client.send(get());
        const { counters } = rig.gateway.server;
        assert.ok(await until(() => counters.connectionsOpened === 1));
        assert.ok(
          await until(() => counters.connectionsOpen === 0, 20_000),
          'a caller that does not read is kept',
        );
        client.socket.resume();
        assert.ok(await client.untilEnd());
        assert.ok(client.received.length < 30_000_000, 'a caller that does not read is waited for');
        client.close();
      },
    ),
  expectTimeoutMs: () =>
    limited({ upstream: { expectWait: 2000 } }, fine, async ({ port }) => {
      const client = await RawClient.open(port);
      client.send(
        'POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n',
      );
      const sentMs = performance.now();
      assert.ok(await client.untilText('100 Continue'));
      // Without the key it is 1 s.
      assert.ok(performance.now() - sentMs > 1500);
      client.send('x');
      assert.ok(await client.untilText('200 OK'));
      client.close();
    }),
  connectTimeoutMs: async () => {
    // Its queue of connections is full: SYNs are not answered. TLS to a peer that says nothing is
    // the same deadline, and certain.
    const server = new RawServer(never);
    await server.listen(transport);
    const upstream = {
      targets: [`https://127.0.0.1:${server.port}`],
      timeouts: { connect: 150 },
      tls: { verify: false },
    };
    await withGateway(
      simple([], upstream),
      async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(get());
        // Without the key it is 5 s.
        assert.ok(await client.untilText('CONNECT_TIMEOUT', 4000));
        assert.match(client.text, /^HTTP\/1\.1 504 /);
        client.close();
      },
      hear,
    );
    await server.close();
  },
  poolIdleTimeoutMs: () =>
    limited({ upstream: { limits: { poolIdle: 150 } } }, fine, async ({ say, server }) => {
      assert.equal(await say(get()), 200);
      assert.equal(server.peers.length, 1);
      assert.ok(await until(() => server.openPeers === 0, 3500), 'an idle connection is kept');
    }),
  connectionsPerAddressMax: () =>
    limited({ limits: { connectionsPerAddress: 2 } }, fine, async ({ say }) => {
      assert.equal(await say(get()), 200);
      assert.equal(await say(get()), 200);
      assert.equal(await say(''), 503);
    }),
  connectionsPerOriginMax: () =>
    limited({ upstream: { limits: { connections: 2 } } }, never, async ({ say, server }) => {
      const waiting = Array.from({ length: 5 }, () => say(get(), 300));
      assert.ok(await until(() => server.requests.length === 2));
      assert.deepEqual(await Promise.all(waiting), [-1, -1, -1, -1, -1]);
      assert.equal(server.peers.length, 2);
    }),
  queueLengthMax: () =>
    limited(
      { upstream: { limits: { pending: 1, queue: 1, queueWait: 60_000 } } },
      never,
      async ({ say, server, rig }) => {
        const first = say(get(), 400);
        assert.ok(await until(() => server.requests.length === 1));
        const second = say(get(), 300);
        assert.ok(await until(() => rig.gateway.tables.upstreams.get('up')!.queue.length === 1));
        assert.equal(await say(get()), 503);
        assert.deepEqual(await Promise.all([first, second]), [-1, -1]);
      },
    ),
  queueTimeoutMs: () =>
    limited(
      { upstream: { limits: { pending: 1, queue: 1, queueWait: 150 } } },
      never,
      async ({ say, server }) => {
        const first = say(get(), 800);
        assert.ok(await until(() => server.requests.length === 1));
        const { got, ms } = await timed(() => say(get()));
        assert.equal(got, 503);
        assertSet(ms, 150, 5000);
        assert.equal(await first, -1);
      },
    ),
  retriesMax: () => tries({ attempts: 3, backoff: 0 }, 3),
  retryBudgetRatio: () => tries({ attempts: 3, budget: 0, budgetMin: 0, backoff: 0 }, 1),
  retryBudgetMin: () => tries({ attempts: 3, budget: 0, budgetMin: 1, backoff: 0 }, 2),
  retryBackoffMs: async () => {
    // Full jitter, so any one pause may be short: of twelve, the longest is not.
    const { ms } = await timed(() => tries({ attempts: 2, backoff: 1000 }, 2, 12));
    assert.ok(ms > 400, `all of twelve pauses of up to 1000 ms were over in ${ms} ms`);
    const { ms: none } = await timed(() => tries({ attempts: 2, backoff: 0 }, 2, 12));
    assert.ok(none < ms, `${none} ms without pauses, ${ms} ms with them`);
  },
};

const scannedBytes = 1400;
/** A caller of whose body, without a model so far, so many bytes are kept. */
async function scanning({ port, rig }: Setup, bytes: number): Promise<RawClient> {
  const { scans } = rig.gateway;
  const before = scans.bytes;
  const client = await RawClient.open(port);
  const start = '{"pad":"';
  client.send(`POST / HTTP/1.1\r\nHost: t\r\nContent-Length: ${scannedBytes}\r\n\r\n${start}`);
  client.send('x'.repeat(bytes - start.length));
  assert.ok(await until(() => scans.bytes >= before + bytes));
  return client;
}

/** Whether the FIN behind 300 KB that nobody takes cancels the request under way within `waitMs`. */
async function hearsFin(limits: Settings, waitMs: number): Promise<boolean> {
  let heard = false;
  await limited({ limits: { readAhead: 2000, ...limits } }, never, async ({ port, server }) => {
    const client = await RawClient.open(port);
    client.send(get('/first'));
    assert.ok(await until(() => server.requests.length === 1));
    client.send(get('/next', `X: ${'a'.repeat(1000)}\r\n`).repeat(300));
    await pause(100);
    client.close();
    heard = await until(() => server.openPeers === 0, waitMs);
    assert.equal(server.requests.length, 1);
    if (heard) return;
    server.hooks.onRequest = fine;
    server.peers[0]!.send(ok('fine'));
  });
  return heard;
}

/** 40 bytes in 400 ms. */
async function slowBody(limits: Settings, expected: number): Promise<void> {
  await limited({ limits }, fine, async ({ port }) => {
    const client = await RawClient.open(port);
    client.send('POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 40\r\n\r\n');
    for (let i = 0; i < 8 && !client.ended; i++) {
      await pause(50);
      client.send('hello');
    }
    assert.ok(await client.until(() => client.ended || client.text.includes('fine')));
    assert.equal(Number(/^HTTP\/1\.1 (\d+)/.exec(client.text)?.[1]), expected);
    client.close();
  });
}

/** How many of four targets that all reset see a GET. `callers` of them at once. */
async function tries(retry: Settings, expected: number, callers = 1): Promise<void> {
  const servers = [1, 2, 3, 4].map(() => new RawServer((peer) => peer.reset()));
  for (const server of servers) await server.listen(transport);
  const settings = callers === 1 ? retry : { budget: 1, budgetMin: 100, ...retry };
  const input = simple(
    servers.map(({ port }) => port),
    { retry: settings, balance: 'round-robin', health: { ejectAfter: 1000 } },
  );
  try {
    await withGateway(
      input,
      async ({ port }) => {
        const clients = await Promise.all(
          Array.from({ length: callers }, () => RawClient.open(port)),
        );
        for (const client of clients) client.send(get());
        for (const client of clients) {
          assert.ok(await client.untilText('UPSTREAM_RESET'));
          assert.match(client.text, /^HTTP\/1\.1 502 /);
          client.close();
        }
      },
      hear,
    );
    const seen = servers.reduce((sum, { requests }) => sum + requests.length, 0);
    assert.equal(seen, expected * callers);
  } finally {
    for (const server of servers) await server.close();
  }
}

const page = readFileSync(
  join(resolve(dirname(fileURLToPath(import.meta.url)), '../../..'), 'docs/reference/limits.md'),
  'utf8',
);

test('every limit of the page is tested here', () => {
  const documented = [...page.matchAll(/^\| `(\w+)` \| `[^`]+` \| `/gm)].map(([, name]) => name);
  assert.ok(documented.length > 30, 'the page has no rows any more');
  const tested = new Set([
    ...byBytes.map(([name]) => name),
    ...byResponse.map(([name]) => name),
    ...byUpstreamTime.map(([name]) => name),
    ...Object.keys(others),
  ]);
  assert.deepEqual(
    documented.filter((name) => !tested.has(name!)),
    [],
  );
  assert.deepEqual(
    [...tested].filter((name) => !documented.includes(name)),
    [],
  );
});

for (const [name, limits, within, beyond, status] of byBytes) {
  test(`${name}: ${JSON.stringify(limits)} is ${status} beyond`, () =>
    limited({ limits }, fine, async ({ say, server }) => {
      assert.equal(await say(within), 200, 'what is within is refused');
      assert.equal(await say(beyond), status);
      // A chunked body is passed on as it comes: half of it may have reached the upstream.
      assert.equal(server.requests.length, 1, 'what was refused reached the upstream whole');
    }));
}

for (const [name, limits, within, beyond] of byResponse) {
  test(`${name}: ${JSON.stringify(limits)} is 502 beyond`, async () => {
    for (const [answer, status] of [
      [within, 200],
      [beyond, 502],
    ] as const) {
      const script: Script = (peer) => peer.send(answer);
      await limited({ upstream: { limits } }, script, async ({ say }) => {
        assert.equal(await say(get()), status);
      });
    }
  });
}

for (const [name, timeouts, script, expected] of byUpstreamTime) {
  test(`${name}: ${JSON.stringify(timeouts)} ends in ${expected}`, () =>
    limited({ upstream: { timeouts } }, script, async ({ port }) => {
      const client = await RawClient.open(port);
      const { got, ms } = await timed(() => {
        client.send(get());
        return client.until(() => client.ended || client.text.includes('TIMEOUT'), 20_000);
      });
      assert.ok(got, 'nothing ends it');
      assertSet(ms, 100, 300_000);
      if (expected === 'cut') assert.ok(client.ended && client.text.startsWith('HTTP/1.1 200'));
      else assert.ok(client.text.startsWith(`HTTP/1.1 ${expected} `));
      client.close();
    }));
}

for (const [name, run] of Object.entries(others)) test(`${name} bites`, run);

test('an upstream may send what is within its limits in chunks and trailers, too', () =>
  limited(
    {},
    (peer) => peer.send(chunked(['a', 'b'])),
    async ({ say }) => {
      assert.equal(await say(get()), 200);
    },
  ));

// Behind all of the above: each of those limits turned something away.
test('whatever a limit turned away was told of, with the key that changes the limit', () => {
  const keys = Object.entries(LIMITS).flatMap(([name, spec]) => {
    // All connections of a process: not of this page; see gateway-limit-lines.test.ts.
    if (typeof spec === 'string' || name === 'connectionsMax') return [];
    const ofUpstream = spec.scope === 'upstream' || spec.scope === 'timeout';
    return ofUpstream ? `upstreams.up.${spec.key}` : spec.key;
  });
  assert.ok(keys.length > 20);
  assert.deepEqual([...told].sort(), keys.sort());
});
