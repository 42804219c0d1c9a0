/**
 * The ten rules of the gateway's data path, each proved from outside: by what the upstream saw and
 * what the caller got. The tests are named after the rules.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { transport } from 'onehop/transport';
import {
  chunk,
  chunked,
  ok,
  type RawPeer,
  RawServer,
  type RawServerHooks,
  type Script,
} from '../support/raw-server.ts';
import { parseFirstResponse } from './conformance.ts';
import {
  ask,
  assertGaugesZero,
  gauges,
  pause,
  simple,
  until,
  upstreamOf,
  withGateway,
  withServers,
} from './gateway-rig.ts';
import { checkTail, withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';

const get = (path = '/', fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;
const post = (body: string, fields = ''): string =>
  `POST / HTTP/1.1\r\nHost: t\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;

const streamHead =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';

// ---- Rule 1: cancel by default, in every phase --------------------------------------------------

const answerNothing: Script = () => {};

const cancelPhases: [
  string,
  Script | RawServerHooks,
  string,
  ((c: RawClient) => boolean) | null,
][] = [
  ['before the head', answerNothing, get(), null],
  ['before the head of a POST', answerNothing, post('{"a":1}'), null],
  [
    'after the head',
    (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'),
    get(),
    (client) => client.text.includes('200 OK'),
  ],
  [
    'in the middle of a stream',
    (peer) => peer.send(streamHead + chunk('data: 1\n\n')),
    post('{"stream":true}'),
    (client) => client.text.includes('data: 1'),
  ],
  [
    'while uploading',
    { onRequest: answerNothing, onHead: () => {} },
    `POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(200_000)}`,
    null,
  ],
];

for (const [name, script, request, reached] of cancelPhases) {
  for (const how of ['reset', 'FIN'] as const) {
    test(`rule 1: the caller leaves ${name} by ${how} and the upstream sees the close`, async () => {
      await withServers([script], async ([server], ports) => {
        await withGateway(simple(ports), async (rig) => {
          const client = await RawClient.open(rig.port);
          client.send(request);
          assert.ok(await until(() => server!.peers[0]?.received !== undefined));
          assert.ok(
            await until(() => server!.requests.length > 0 || server!.peers[0]!.received.length > 0),
          );
          if (reached !== null) assert.ok(await client.until(() => reached(client)));
          assert.equal(server!.openPeers, 1);
          if (how === 'reset') client.socket.resetAndDestroy();
          else client.close();
          assert.ok(await until(() => server!.openPeers === 0), 'the upstream goes on');
          await assertGaugesZero(rig.gateway);
          // What was cancelled says nothing about the member.
          assert.equal((await upstreamOf(rig)).hasMemberUp(rig.gateway.nowMs()), true);
        });
      });
    });
  }
}

test('rule 1: the caller leaves while queued and the upstream never hears of it', async () => {
  await withServers([answerNothing], async ([server], ports) => {
    await withGateway(simple(ports, { limits: { pending: 1, queueWait: '10m' } }), async (rig) => {
      const first = await RawClient.open(rig.port);
      first.send(get('/first'));
      assert.ok(await until(() => server!.requests.length === 1));
      const second = await RawClient.open(rig.port);
      second.send(get('/second'));
      assert.ok(await until(() => upstreamOf(rig).queue.length === 1));
      second.close();
      assert.ok(await until(() => upstreamOf(rig).queue.length === 0), 'it keeps its place');
      first.close();
      assert.ok(await until(() => server!.openPeers === 0));
      assert.deepEqual(
        server!.requests.map(({ target }) => target),
        ['/first'],
      );
    });
  });
});

test('rule 1: the caller leaves while connecting and nothing is left behind', async () => {
  // A TCP server that never answers the TLS handshake.
  await withServers([answerNothing], async ([server], [port]) => {
    const input = simple([], {
      targets: [`https://127.0.0.1:${port}`],
      timeouts: { connect: 60_000 },
    });
    await withGateway(input, async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await until(() => server!.openPeers === 1));
      client.close();
      await assertGaugesZero(rig.gateway);
      assert.ok(await until(() => server!.openPeers === 0), 'the handshake hangs on');
      assert.equal(server!.requests.length, 0);
    });
  });
});

// ---- Rule 2: five deadlines, each its own; and the caller's --------------------------------------

const deadlines: [string, Record<string, number>, Script, number, string][] = [
  ['head', { head: 150 }, answerNothing, 504, 'HEAD_TIMEOUT'],
  ['total', { total: 150 }, answerNothing, 504, 'TOTAL_TIMEOUT'],
];
for (const [name, timeouts, script, status, code] of deadlines) {
  test(`rule 2: the ${name} deadline answers ${status} ${code}`, async () => {
    await withServers([script], async ([server], ports) => {
      await withGateway(simple(ports, { timeouts }), async (rig) => {
        const got = await ask(rig.port, get());
        assert.equal(got.status, status);
        assert.equal(got.fields.get('x-onehop-error'), code);
        assert.ok(await until(() => server!.openPeers === 0), 'the upstream is not told');
      });
    });
  });
}

test('rule 2: the connect deadline covers TLS and answers 504 CONNECT_TIMEOUT', async () => {
  await withServers([answerNothing], async (_, [port]) => {
    const input = simple([], {
      targets: [`https://127.0.0.1:${port}`],
      timeouts: { connect: 150 },
    });
    await withGateway(input, async (rig) => {
      const startMs = performance.now();
      const got = await ask(rig.port, get());
      assert.equal(got.status, 504);
      assert.equal(got.fields.get('x-onehop-error'), 'CONNECT_TIMEOUT');
      // Without the key it is 5 s.
      assert.ok(performance.now() - startMs < 4000);
    });
  });
});

const lateBodies: [string, Record<string, number>, string][] = [
  ['first byte', { firstByte: 150 }, 'FIRST_BYTE_TIMEOUT'],
  ['idle', { idle: 150 }, 'IDLE_TIMEOUT'],
  ['total', { total: 250 }, 'TOTAL_TIMEOUT'],
];
for (const [name, timeouts, code] of lateBodies) {
  test(`rule 2: the ${name} deadline behind the head cuts the response visibly`, async () => {
    const body = code === 'FIRST_BYTE_TIMEOUT' ? '' : chunk('part');
    const script: Script = (peer) =>
      peer.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    await withServers([script], async ([server], ports) => {
      const codes: (string | undefined)[] = [];
      await withGateway(
        simple(ports, { timeouts }),
        async (rig) => {
          const got = await ask(rig.port, get());
          assert.equal(got.status, 200);
          assert.equal(got.complete, false);
          assert.ok(await until(() => server!.openPeers === 0));
          assert.deepEqual(codes, [code]);
        },
        { onFinish: (exchange) => codes.push(exchange.error?.code) },
      );
    });
  });
}

test('rule 2: the idle deadline of a stream counts from its last event', async () => {
  const events = 8;
  let lastMs = 0;
  const script: Script = (peer) => {
    peer.send(
      'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    let left = events;
    const send = (): void => {
      peer.send(chunk('data: x\n\n'));
      lastMs = performance.now();
      if (--left > 0) setTimeout(send, 50);
    };
    setTimeout(send, 50);
  };
  await withServers([script], async (_, ports) => {
    const codes: (string | undefined)[] = [];
    await withGateway(
      simple(ports, { timeouts: { idle: 200 } }),
      async (rig) => {
        const got = await ask(rig.port, get());
        const silentMs = performance.now() - lastMs;
        assert.equal(got.body.split('data: x\n\n').length - 1, events);
        assert.equal(got.complete, false);
        assert.deepEqual(codes, ['IDLE_TIMEOUT']);
        assert.ok(silentMs > 190 && silentMs < 1000, `cut after ${silentMs} ms`);
      },
      { onFinish: (exchange) => codes.push(exchange.error?.code) },
    );
  });
});

test('rule 2: the total deadline goes on over attempts', async () => {
  const input = (ports: number[]) => simple(ports, { timeouts: { head: 200, total: 300 } });
  await withSimGateway([answerNothing, answerNothing], input, async (rig) => {
    // Begun anew with the second attempt, it would come behind that one's head deadline.
    const got = await rig.ask(get());
    assert.equal(got.fields.get('x-onehop-error'), 'TOTAL_TIMEOUT');
    assert.equal(got.fields.get('x-onehop-attempts'), '2');
  });
});

test('rule 2: the head deadline does not run while the caller still uploads', async () => {
  const input = (ports: number[]) => simple(ports, { timeouts: { head: 120 } });
  await withSimGateway([(peer) => peer.send(ok('done'))], input, async (rig) => {
    const client = rig.open();
    client.send('POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let i = 0; i < 6; i++) {
      client.send(chunk('piece'));
      await rig.pause(70);
    }
    await rig.pause(300);
    client.send('0\r\n\r\n');
    assert.ok(await rig.until(() => client.text.includes('done')), client.text);
  });
});

test('rule 2: the time in the pool arms nothing: a slow second request is not failed', async () => {
  let answerLate = (_: RawPeer): void => {};
  const script: Script = (peer, request) => {
    if (request.index === 0) peer.send(ok('a'));
    else answerLate(peer);
  };
  const timeouts = { head: 400, idle: 100, firstByte: 100 };
  const input = (ports: number[]) => simple(ports, { timeouts });
  await withSimGateway([script], input, async (rig) => {
    answerLate = (peer) => void rig.clock.setTimer(() => peer.send(ok('b')), 250);
    assert.equal((await rig.ask(get())).body, 'a');
    await rig.pause(200);
    assert.equal((await rig.ask(get())).body, 'b');
    assert.equal(rig.servers[0]!.peers.length, 1);
  });
});

test('rule 2: a caller that does not read is reset, and the upstream hears of it', async () => {
  const part = chunk('x'.repeat(65_536));
  const script: Script = (peer) => {
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    const timer = setInterval(() => {
      if (peer.closed) clearInterval(timer);
      else if (peer.socket.queuedBytes < 1_000_000) peer.send(part);
    }, 1);
  };
  await withServers([script], async ([server], ports) => {
    await withGateway(simple(ports, {}, { limits: { writeStall: 300 } }), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.socket.pause();
      client.send(get());
      assert.ok(await until(() => server!.openPeers === 1));
      assert.ok(
        await until(() => server!.openPeers === 0, 20_000),
        'the upstream is held for ever',
      );
      client.close();
    });
  });
});

// ---- Rule 3: no timer in the stream path, no buffering ------------------------------------------

test('rule 3: every event is passed on when it comes, not with the next one', async () => {
  const events = 15;
  let send = (_: number): void => {};
  const script: Script = (peer) => {
    peer.send(streamHead);
    send = (n) => peer.send(chunk(`data: ${n}\n\n`) + (n === events ? '0\r\n\r\n' : ''));
    send(1);
  };
  await withServers([script], async (_, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      for (let n = 1; n <= events; n++) {
        assert.ok(await client.untilText(`data: ${n}\n\n`), `event ${n} is held back`);
        if (n < events) send(n + 1);
      }
      assert.ok(await client.untilText('\r\n0\r\n\r\n'));
      client.close();
    });
  });
});

test('rule 3: no timer is in the way of an event, in a network whose clock is ours', async () => {
  const events = 15;
  const sentMs: number[] = [];
  let begin = (_peer: RawPeer): void => {};
  const script: Script = (peer) => begin(peer);
  await withSimGateway([script], simple, async ({ clock, open, until: passes }) => {
    begin = (peer) => {
      peer.send(streamHead);
      const next = (): void => {
        sentMs.push(clock.nowMs());
        peer.send(chunk(`data: ${sentMs.length}\n\n`));
        if (sentMs.length < events) clock.setTimer(next, 20);
        else peer.send('0\r\n\r\n');
      };
      clock.setTimer(next, 20);
    };
    const client = open();
    client.send(get());
    const lateMs: number[] = [];
    const seen = (): number => client.text.split('data: ').length - 1;
    assert.ok(
      await passes(() => {
        while (lateMs.length < seen()) lateMs.push(clock.nowMs() - sentMs[lateMs.length]!);
        return client.text.endsWith('\r\n0\r\n\r\n');
      }),
      client.text,
    );
    assert.equal(lateMs.length, events);
    // A few hops of the network; the shortest timer there is would take 1 ms.
    assert.ok(Math.max(...lateMs) < 1, `${lateMs}`);
  });
});

// ---- Rule 4: bytes pass through ------------------------------------------------------------------

test('rule 4: a compressed body and its coding pass untouched', async () => {
  const coded = gzipSync(Buffer.from('hello '.repeat(1000)));
  const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: "x"\r\nContent-Length: ${coded.length}\r\n\r\n`;
  await withServers([(peer) => peer.send(head + coded.toString('latin1'))], async (_, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const got = await ask(rig.port, get('/', 'Accept-Encoding: gzip\r\n'));
      assert.equal(got.fields.get('content-encoding'), 'gzip');
      assert.equal(got.fields.get('content-length'), `${coded.length}`);
      assert.ok(Buffer.from(got.body, 'latin1').equals(coded));
    });
  });
});

/**
 * What the caller has of a stream that is reset once it has `part`, and several pauses in which a
 * comment could have been sent have gone by. Reset with it under way, a part may be lost on its way.
 */
async function askAndCut(script: Script, part: string, route = {}) {
  let got = { body: '', complete: true };
  await withServers([script], async ([server], ports) => {
    const input = simple(ports, { protocol: 'openai' }, { route: { sseKeepAlive: 30, ...route } });
    await withGateway(input, async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await client.untilText(part), client.text);
      await pause(120);
      server!.peers[0]!.reset();
      assert.ok(await client.untilEnd());
      const response = parseFirstResponse(client.received, false)!;
      assert.equal(response.status, 200);
      got = { body: response.body.toString('latin1'), complete: response.complete === true };
      client.close();
    });
  });
  return got;
}

test('rule 4: a compressed event stream gets no comment and no error event', async () => {
  const script: Script = (peer) => {
    peer.send(streamHead.replace('\r\n\r\n', '\r\nContent-Encoding: gzip\r\n\r\n'));
    peer.send(chunk('\x1f\x8b\n\n'));
  };
  const got = await askAndCut(script, '\n\n');
  assert.equal(got.body, '\x1f\x8b\n\n');
  assert.equal(got.complete, false);
});

test('rule 4: an event stream with a Content-Length keeps to it when it dies', async () => {
  const script: Script = (peer) => {
    peer.send(
      'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 40\r\n\r\ndata: 1\n\n',
    );
  };
  const got = await askAndCut(script, 'data: 1\n\n');
  assert.equal(got.body, 'data: 1\n\n');
  assert.equal(got.complete, false);
});

test('rule 4: big bodies arrive byte for byte in both directions, in bounded memory', async () => {
  const size = 24 * 1024 * 1024;
  const block = Buffer.alloc(1 << 16);
  for (let i = 0; i < block.length; i++) block[i] = (i * 31) >> 3;
  const { createHash } = await import('node:crypto');
  const { createServer, request } = await import('node:http');
  // Echoes what it gets, slowly enough that somebody must be held up.
  const server = createServer((req, res) => {
    res.writeHead(200, { 'content-length': req.headers['content-length'] ?? '0' });
    req.pipe(res);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  try {
    await withGateway(simple([port]), async (rig) => {
      const sent = createHash('sha256');
      const got = createHash('sha256');
      let queuedMax = 0;
      const watch = setInterval(() => {
        queuedMax = Math.max(queuedMax, process.memoryUsage().rss);
      }, 5);
      const rssBefore = process.memoryUsage().rss;
      await new Promise<void>((resolve, reject) => {
        const req = request(
          {
            port: rig.port,
            host: '127.0.0.1',
            method: 'POST',
            headers: { 'content-length': size },
          },
          (res) => {
            let received = 0;
            res.on('data', (bytes: Buffer) => {
              got.update(bytes);
              received += bytes.length;
              // A slow reader now and then.
              if (received % (4 << 20) < bytes.length) {
                res.pause();
                setTimeout(() => res.resume(), 10);
              }
            });
            res.on('end', () => {
              if (received === size) resolve();
              else reject(new Error(`${received} of ${size} bytes`));
            });
            res.on('error', reject);
          },
        );
        req.on('error', reject);
        let left = size;
        const write = (): void => {
          while (left > 0) {
            left -= block.length;
            sent.update(block);
            if (!req.write(block)) {
              req.once('drain', write);
              return;
            }
          }
          req.end();
        };
        write();
      });
      clearInterval(watch);
      assert.equal(got.digest('hex'), sent.digest('hex'));
      const grownMb = (queuedMax - rssBefore) / 1e6;
      assert.ok(grownMb < 150, `memory grew by ${grownMb} MB`);
    });
  } finally {
    server.closeAllConnections?.();
    server.close();
  }
});

test('rule 4: trailers pass in both directions where they may', async () => {
  let seen = '';
  const hooks: RawServerHooks = {
    onRequest(peer) {
      peer.send(chunked(['body'], 'X-Sum: 42\r\nContent-Length: 3\r\nX-Onehop-Error: no\r\n'));
    },
    onConnect(peer) {
      const timer = setInterval(() => {
        if (peer.received.length > seen.length) seen = peer.received;
        if (peer.closed) clearInterval(timer);
      }, 0);
    },
  };
  await withServers([hooks], async (_, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get('/', 'TE: trailers\r\nConnection: TE\r\n'));
      assert.ok(await client.until(() => /\r\n0\r\n(.+\r\n)*\r\n$/.test(client.text)));
      assert.match(client.text, /\r\n0\r\nX-Sum: 42\r\n\r\n$/i);
      client.close();
      const plain = await RawClient.open(rig.port);
      plain.send(get());
      assert.ok(await plain.untilText('\r\n0\r\n\r\n'), 'trailers for a caller that takes none');
      plain.close();
    });
  });
});

test('rule 4: request trailers reach the upstream, forbidden ones do not', async () => {
  const { StrictUpstream } = await import('./strict-upstream.ts');
  const upstream = new StrictUpstream();
  await upstream.listen();
  await withGateway(simple([upstream.port]), async (rig) => {
    const request =
      'POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n' +
      'X-Sum: 7\r\nContent-Length: 9\r\nX-Forwarded-Host: evil\r\nX_Forwarded_For: 1\r\n\r\n';
    assert.equal((await ask(rig.port, request)).status, 200);
    assert.deepEqual(upstream.malformed, []);
    assert.deepEqual(
      upstream.requests[0]!.trailers.map((line) => line.toLowerCase()),
      ['x-sum: 7'],
    );
  });
  await upstream.close();
});

// ---- Rule 5: one attempt loop with a commit point ------------------------------------------------

const resetAtOnce: Script = (peer) => peer.reset();

test('rule 5: an idempotent request moves to another target, a POST that was sent does not', async () => {
  await withServers([resetAtOnce, (peer) => peer.send(ok('b'))], async ([bad, good], ports) => {
    const input = simple(ports, { balance: 'round-robin', health: { ejectAfter: 100 } });
    await withGateway(input, async (rig) => {
      const gets = [await ask(rig.port, get()), await ask(rig.port, get())];
      assert.deepEqual(
        gets.map(({ status, body }) => [status, body]),
        [
          [200, 'b'],
          [200, 'b'],
        ],
      );
      assert.ok(gets.some(({ fields }) => fields.get('x-onehop-attempts') === '2'));
      const before = good!.requests.length + bad!.requests.length;
      const posts = [await ask(rig.port, post('x')), await ask(rig.port, post('x'))];
      assert.deepEqual(posts.map(({ status }) => status).sort(), [200, 502]);
      assert.equal(good!.requests.length + bad!.requests.length, before + 2, 'a POST ran twice');
    });
  });
});

test('rule 5: after the first byte downstream nothing is sent again', async () => {
  const half: Script = (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
  await withServers([half, half], async (servers, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await client.untilText('half'), client.text);
      for (const { peers } of servers) for (const peer of peers) peer.reset();
      assert.ok(await client.untilEnd());
      const got = parseFirstResponse(client.received, false)!;
      assert.equal(got.status, 200);
      assert.equal(got.complete, false);
      client.close();
      await pause(50);
      assert.equal(servers[0]!.requests.length + servers[1]!.requests.length, 1);
    });
  });
});

test('rule 5: half a head is shown to nobody, and an idempotent request goes elsewhere', async () => {
  const halfHead: Script = (peer) => {
    peer.send('HTTP/1.1 200 OK\r\nX-Ha');
    setTimeout(() => peer.reset(), 20);
  };
  await withServers([halfHead, (peer) => peer.send(ok('b'))], async ([half], ports) => {
    const input = simple(ports, { balance: 'round-robin' });
    await withGateway(input, async (rig) => {
      for (let i = 0; i < 2; i++) assert.equal((await ask(rig.port, get())).body, 'b');
      assert.ok(half!.requests.length > 0);
      const statuses = [
        (await ask(rig.port, post('x'))).status,
        (await ask(rig.port, post('x'))).status,
      ];
      assert.deepEqual(statuses.sort(), [200, 502]);
    });
  });
});

test('rule 5: a refused connection is no try: the request finds the one target that is up', async () => {
  const dead: number[] = [];
  for (let i = 0; i < 3; i++) {
    const closed = new RawServer(answerNothing);
    await closed.listen(transport);
    dead.push(closed.port);
    await closed.close();
  }
  await withServers([(peer) => peer.send(ok('b'))], async (_, [port]) => {
    const input = simple([...dead, port!], {
      health: { ejectAfter: 1000 },
      retry: { budgetMin: 20 },
    });
    await withGateway(input, async (rig) => {
      for (let i = 0; i < 4; i++) assert.equal((await ask(rig.port, post('x'))).body, 'b');
    });
  });
});

const busy =
  (status: number): Script =>
  (peer) =>
    peer.send(`HTTP/1.1 ${status} Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy`);

for (const status of [503, 429]) {
  test(`rule 5: ${status} with Retry-After moves even a POST to another target`, async () => {
    await withServers([busy(status), (peer) => peer.send(ok('b'))], async ([full], ports) => {
      const retried: string[] = [];
      const input = simple(ports, { balance: 'round-robin' });
      await withGateway(
        input,
        async (rig) => {
          const got = [await ask(rig.port, post('x')), await ask(rig.port, post('x'))];
          assert.deepEqual(
            got.map(({ body }) => body),
            ['b', 'b'],
          );
          assert.ok(full!.requests.length > 0);
          assert.equal(retried.length, full!.requests.length);
          assert.equal(retried[0], 'UPSTREAM_BUSY');
          assert.ok(await until(() => full!.openPeers === 0), 'the answer nobody read is kept');
        },
        { onRetry: (_, error) => retried.push(error.code) },
      );
    });
  });
}

test('rule 5: 503 with Retry-After and no other target goes to the caller as it is', async () => {
  await withServers([busy(503), busy(503)], async (servers, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const got = await ask(rig.port, get());
      assert.equal(got.status, 503);
      assert.equal(got.body, 'busy');
      assert.equal(got.fields.get('retry-after'), '1');
      assert.equal(got.fields.get('x-onehop-attempts'), '2');
      assert.equal(servers[0]!.requests.length + servers[1]!.requests.length, 2);
    });
  });
});

test('rule 5: the budget bounds retries, and retried failures tell SDKs to stop', async () => {
  await withServers([resetAtOnce, resetAtOnce], async (servers, ports) => {
    const input = simple(ports, {
      retry: { attempts: 2, budget: '10%', budgetMin: 2 },
      health: { ejectAfter: 10_000 },
    });
    await withGateway(input, async (rig) => {
      const first = await ask(rig.port, get());
      assert.equal(first.status, 502);
      assert.equal(first.fields.get('x-should-retry'), 'false');
      for (let i = 0; i < 19; i++) await ask(rig.port, get());
      const sent = servers[0]!.requests.length + servers[1]!.requests.length;
      assert.equal(sent, 22, 'twenty requests and a budget of two');
    });
  });
});

// ---- Rule 6: the pool -----------------------------------------------------------------------------

test('rule 6: an upstream that closes idle connections early costs no request', async () => {
  const script: Script = (peer) => {
    peer.send(ok('a'));
    const { requests } = peer;
    setTimeout(() => {
      if (peer.requests === requests && !peer.closed) peer.socket.end();
    }, 150);
  };
  await withServers([script], async ([server], ports) => {
    await withGateway(simple(ports, { limits: { poolIdle: 75 } }), async (rig) => {
      const client = await RawClient.open(rig.port);
      const statuses: string[] = [];
      // Pauses on both sides of the moment at which the server closes.
      for (let i = 0; i < 20; i++) {
        const before = client.received.length;
        client.send(i % 2 === 0 ? get() : post('x'));
        assert.ok(await client.until(() => client.text.slice(before).endsWith('\r\n\r\na')));
        statuses.push(client.text.slice(before + 9, before + 12));
        await pause(60 + 10 * (i % 10));
      }
      client.close();
      assert.deepEqual(
        statuses.filter((status) => status !== '200'),
        [],
      );
      assert.equal(server!.requests.length, 20);
      assert.ok(server!.peers.length > 1, 'no connection was retired');
    });
  });
});

// ---- Rule 7: the tail of a stream in one write ---------------------------------------------------

test('rule 7: the last event and the terminator leave together', () =>
  checkTail(
    streamHead + chunk('data: 1\n\n'),
    [
      [chunk('data: [DONE]\n\n'), 20],
      ['0\r\n\r\n', 22],
    ],
    simple,
    get(),
  ));

test('rule 7: a last event whose terminator is late goes ahead of it', async () => {
  let later = (_run: () => void, _ms: number): void => {};
  const script: Script = (peer) => {
    peer.send(streamHead + chunk('data: [DONE]\n\n'));
    later(() => peer.send('0\r\n\r\n'), 200);
  };
  await withSimGateway([script], simple, async (rig) => {
    later = (run, ms) => void rig.clock.setTimer(run, ms);
    const client = rig.open();
    client.send(get());
    assert.ok(await rig.until(() => client.text.includes('[DONE]'), 50), 'it is kept back');
    assert.ok(await rig.until(() => client.text.endsWith('\r\n0\r\n\r\n')), client.text);
  });
});

test('rule 7: a last event without an end is not kept back', async () => {
  const script: Script = (peer) => peer.send(streamHead + chunk('data: [DONE]\n\n'));
  await withServers([script], async (_, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await client.untilText('[DONE]'));
      client.close();
    });
  });
});

test('rule 7: twenty streams of the official openai SDK use at most two connections', async () => {
  const { startOpenAiService } = await import('@onehop/mock');
  const { default: OpenAI } = await import('openai');
  const service = await startOpenAiService({});
  await withGateway(simple([service.port], { protocol: 'openai' }), async (rig) => {
    const client = new OpenAI({ baseURL: `http://127.0.0.1:${rig.port}/v1`, apiKey: 'k' });
    for (let i = 0; i < 20; i++) {
      const stream = await client.chat.completions.create({
        model: 'mock',
        stream: true,
        messages: [{ role: 'user', content: 'hello' }],
        max_tokens: 4,
      });
      let pieces = 0;
      for await (const _ of stream) pieces++;
      assert.ok(pieces > 0);
    }
    const opened = rig.gateway.server.counters.connectionsOpened;
    assert.ok(opened <= 2, `${opened} connections for 20 streams`);
  });
  await service.close();
});

// ---- Rule 8: state lives in the exchange ------------------------------------------------------------

test('rule 8: gauges return to zero over answers, errors, refusals, cancels and retries', async () => {
  const script: Script = (peer, request) => {
    if (request.target === '/reset') peer.reset();
    else if (request.target === '/half') {
      peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx');
      setTimeout(() => peer.reset(), 5);
    } else if (request.target !== '/hang') peer.send(ok('a'));
  };
  await withServers([script, script], async (_, ports) => {
    const input = simple(ports, {
      limits: { pending: 4, queue: 4 },
      health: { ejectAfter: 10_000 },
    });
    await withGateway(input, async (rig) => {
      const kinds = [
        get('/a'),
        get('/reset'),
        get('/half'),
        post('x'),
        get('/hang'),
        'BAD\r\n\r\n',
      ];
      await Promise.all(
        Array.from({ length: 60 }, async (_, i) => {
          const client = await RawClient.open(rig.port);
          client.send(kinds[i % kinds.length]!);
          await client.untilEnd(20 + (i % 7) * 10);
          client.close();
        }),
      );
      await assertGaugesZero(rig.gateway);
      assert.ok(Object.keys(gauges(rig.gateway)).length >= 7);
    });
  });
});

test('rule 8: a path that cannot be rewritten is refused and counted once', async () => {
  await withServers([(peer) => peer.send(ok('a'))], async (_, ports) => {
    const input = simple(ports, {}, { route: { path: '/v1/*', rewrite: { prefix: '/x/' } } });
    await withGateway(input, async (rig) => {
      const got = await ask(rig.port, get('/%76%31/models'));
      assert.ok([200, 400, 404].includes(got.status), `${got.status}`);
      assert.equal((await ask(rig.port, get('/v1/models'))).status, 200);
      assert.deepEqual(
        Object.entries(gauges(rig.gateway)).filter(([, value]) => value !== 0),
        [],
      );
    });
  });
});

// ---- Rule 9: errors in the caller's dialect -----------------------------------------------------

const dialects: [string, (body: Record<string, never>) => void][] = [
  [
    'openai',
    (body) => {
      const { error } = body as unknown as { error: Record<string, unknown> };
      assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
      assert.equal(error.code, 'connect_refused');
    },
  ],
  ['kserve-v2', (body) => assert.equal(typeof body.error, 'string')],
  [
    'custom',
    (body) => {
      const { error } = body as unknown as { error: Record<string, unknown> };
      assert.equal(error.code, 'CONNECT_REFUSED');
      assert.equal(error.upstream, 'up');
    },
  ],
];
for (const [protocol, check] of dialects) {
  test(`rule 9: an error speaks ${protocol} and names request, upstream and attempts`, async () => {
    const closed = new RawServer(answerNothing);
    await closed.listen(transport);
    const { port } = closed;
    await closed.close();
    await withGateway(simple([port], { protocol }), async (rig) => {
      const got = await ask(rig.port, get('/', 'X-Request-Id: abc-1\r\n'));
      assert.equal(got.status, 502);
      assert.equal(got.fields.get('content-type'), 'application/json');
      assert.equal(got.fields.get('x-request-id'), 'abc-1');
      assert.equal(got.fields.get('x-onehop-error'), 'CONNECT_REFUSED');
      assert.equal(got.fields.get('x-onehop-upstream'), 'up');
      assert.equal(got.fields.get('x-onehop-attempts'), '1');
      check(JSON.parse(got.body));
      assert.ok(!got.body.includes(`${port}`), 'an address leaks');
    });
  });
}

test('rule 9: a stream that dies ends with an error event and a visible truncation', async () => {
  const script: Script = (peer) => peer.send(streamHead + chunk('data: 1\n\n'));
  const got = await askAndCut(script, 'data: 1\n\n', { sseKeepAlive: '1h' });
  assert.equal(got.complete, false);
  const events = got.body.split('\n\n').filter((event) => event !== '');
  assert.equal(events[0], 'data: 1');
  const { error } = JSON.parse(events[1]!.slice('data: '.length));
  assert.equal(error.code, 'upstream_reset');
});

test('rule 9: comments stand between events only', async () => {
  let later = (_run: () => void, _ms: number): void => {};
  const script: Script = (peer) => {
    peer.send(streamHead + chunk('data: 1\n\n'));
    later(() => peer.send(chunk('data: hal')), 150);
    later(() => peer.send(`${chunk('f\n\n')}0\r\n\r\n`), 350);
  };
  const input = (ports: number[]) => simple(ports, {}, { route: { sseKeepAlive: 40 } });
  await withSimGateway([script], input, async (rig) => {
    later = (run, ms) => void rig.clock.setTimer(run, ms);
    const got = await rig.ask(get());
    assert.equal(got.complete, true);
    const events = got.body.split('\n\n').filter((event) => event !== '');
    const comments = events.filter((event) => event.startsWith(':'));
    assert.ok(comments.length >= 3, got.body);
    assert.deepEqual(
      events.filter((event) => !event.startsWith(':')),
      ['data: 1', 'data: half'],
    );
  });
});

test('rule 9: comments come on the real clock, too', async () => {
  const script: Script = (peer) => peer.send(streamHead + chunk('data: 1\n\n'));
  await withServers([script], async ([server], ports) => {
    const input = simple(ports, {}, { route: { sseKeepAlive: 40 } });
    await withGateway(input, async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await client.untilText(': keep-alive\n\n'), client.text);
      server!.peers[0]!.send(`${chunk('data: 2\n\n')}0\r\n\r\n`);
      assert.ok(await client.untilText('\r\n0\r\n\r\n'), client.text);
      const body = parseFirstResponse(client.received, false)!.body.toString('latin1');
      assert.equal(body.replaceAll(': keep-alive\n\n', ''), 'data: 1\n\ndata: 2\n\n');
      client.close();
    });
  });
});

// ---- Rule 10: drain both ways -------------------------------------------------------------------

test('rule 10: draining lets a stream end, says close and then ends what is left', async () => {
  let endShort = (): void => {};
  const script: Script = (peer, request) => {
    peer.send(streamHead + chunk('data: 1\n\n'));
    if (request.target === '/short') {
      endShort = () => peer.send(`${chunk('data: 2\n\n')}0\r\n\r\n`);
    }
  };
  await withServers([script], async ([server], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const short = await RawClient.open(rig.port);
      const long = await RawClient.open(rig.port);
      short.send(get('/short'));
      long.send(get('/long'));
      assert.ok(await short.untilText('data: 1'));
      assert.ok(await long.untilText('data: 1'));
      const closed = rig.gateway.close({ announceMs: 0, graceMs: 1500 });
      assert.equal(rig.gateway.isReady(), false);
      endShort();
      assert.ok(await short.untilText('0\r\n\r\n'), 'the short stream was cut');
      assert.ok(!long.ended, 'the long stream was cut early');
      await closed;
      assert.ok(await long.untilEnd());
      assert.ok(!long.text.endsWith('0\r\n\r\n'), 'the cut stream looks complete');
      assert.match(long.text, /DRAINING|error/);
      assert.ok(await until(() => server!.openPeers === 0));
      short.close();
      long.close();
    });
  });
});

test('rule 10: a reload takes a target away without losing what is on its way there', async () => {
  const held: (() => void)[] = [];
  const slow: Script = (peer, request) => {
    held.push(() => peer.send(ok(`old${request.target}`)));
  };
  const release = async (): Promise<void> => {
    assert.ok(await until(() => held.length > 0));
    held.shift()!();
  };
  await withServers([slow, (peer) => peer.send(ok('new'))], async ([, fresh], ports) => {
    const before = simple([ports[0]!], { limits: { pending: 1 } });
    await withGateway(before, async (rig) => {
      const first = ask(rig.port, get('/1'));
      assert.ok(await until(() => held.length === 1));
      const queued = ask(rig.port, get('/2'));
      assert.ok(await until(() => upstreamOf(rig).queue.length === 1));
      const upload = await RawClient.open(rig.port);
      upload.send('POST /3 HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nab');
      assert.ok(await until(() => rig.gateway.server.counters.exchangesOpen === 3));
      const { checkConfig } = await import('onehop/gateway');
      rig.gateway.reload(checkConfig({ ...simple([ports[1]!]), listen: '127.0.0.1:0' }).config!);
      assert.equal((await ask(rig.port, get('/4'))).body, 'new');
      upload.send('cd');
      await release();
      assert.equal((await first).body, 'old/1');
      await release();
      assert.equal((await queued).body, 'old/2');
      await release();
      assert.ok(await upload.untilText('old/3'), upload.text);
      upload.close();
      assert.equal(fresh!.requests.length, 1);
    });
  });
});
