/** Faults that a review of the gateway found; each test is named after what went wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig } from 'onehop/gateway';
import { transport } from 'onehop/transport';
import { chunk, ok, type RawPeer, RawServer, type Script } from '../support/raw-server.ts';
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
import { withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';
import { StrictUpstream } from './strict-upstream.ts';

const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;
const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: t\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const named =
  (name: string): Script =>
  (peer, request) =>
    peer.send(ok(`${name} ${request.target}`));
const failed = 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n';
const errorOf = (answer: { fields: Map<string, string> }) => answer.fields.get('x-onehop-error');

// ---- Retries ------------------------------------------------------------------------------------

test('a target that nobody was reached at takes no attempt from a stale connection of the next', async () => {
  const closed = new RawServer(() => {});
  await closed.listen(transport);
  const deadPort = closed.port;
  await closed.close();
  // Every second request of a connection finds it closed, as behind a keep-alive that ran out.
  const stale: Script = (peer, { target }) => {
    if (peer.requests % 2 === 0) peer.reset();
    else peer.send(ok(target));
  };
  await withServers([stale], async (_, [port]) => {
    const input = simple([deadPort, port!], { health: { ejectAfter: 1000 } });
    await withGateway(input, async (rig) => {
      const statuses: number[] = [];
      for (let i = 0; i < 4; i++) statuses.push((await ask(rig.port, get(`/${i}`))).status);
      assert.deepEqual(statuses, Array(4).fill(200));
    });
  });
});

// ---- Breaker ------------------------------------------------------------------------------------

for (const end of ['is cancelled', 'ends well'] as const) {
  test(`a request from before the breaker opened ${end} and lets a second probe through`, async () => {
    let old: RawPeer | null = null;
    const script: Script = (peer, { target }) => {
      if (target === '/old') old = peer;
      else if (target === '/bad') peer.send(failed);
      // Anything else is left waiting.
    };
    const breaker = { minRequests: 2, errorShare: 0.5, window: 5000, openFor: 100 };
    const input = (ports: number[]) => simple(ports, { breaker, health: { ejectAfter: 100 } });
    await withSimGateway([script], input, async (rig) => {
      const before = rig.open();
      before.send(get('/old'));
      assert.ok(await rig.until(() => old !== null));
      for (let i = 0; i < 2; i++) assert.equal((await rig.ask(get('/bad'))).status, 500);
      assert.equal(errorOf(await rig.ask(get('/x'))), 'BREAKER_OPEN');
      await rig.pause(130);
      const probe = rig.open();
      probe.send(get('/probe'));
      const { requests } = rig.servers[0]!;
      assert.ok(await rig.until(() => requests.some(({ target }) => target === '/probe')));
      if (end === 'is cancelled') before.socket!.destroy();
      else old!.send(ok('late'));
      assert.ok(await rig.until(() => upstreamOf(rig).pending === 1));
      const second = await rig.ask(get('/second'));
      assert.equal(errorOf(second), 'BREAKER_OPEN', 'two probes at once');
    });
  });
}

test('an open breaker lets the queue through to the upstream that fails', async () => {
  const waiting: RawPeer[] = [];
  const script: Script = (peer) => {
    waiting.push(peer);
  };
  await withServers([script], async ([server], ports) => {
    const breaker = { minRequests: 2, errorShare: 0.5, window: 60_000, openFor: 30_000 };
    const limits = { pending: 1, queue: 10, queueWait: 30_000 };
    const input = simple(ports, { breaker, limits, health: { ejectAfter: 100 } });
    await withGateway(input, async (rig) => {
      const answers = [ask(rig.port, get('/0'))];
      assert.ok(await until(() => waiting.length === 1));
      for (let i = 1; i < 6; i++) answers.push(ask(rig.port, get(`/${i}`)));
      assert.ok(await until(() => upstreamOf(rig).queue.length === 5));
      waiting[0]!.send(failed);
      assert.ok(await until(() => waiting.length === 2));
      waiting[1]!.send(failed);
      await until(() => waiting.length > 2, 300);
      for (const peer of waiting.slice(2)) peer.send(failed);
      const got = await Promise.all(answers);
      assert.equal(server!.requests.length, 2, 'more was sent after the breaker opened');
      assert.deepEqual(
        got.map(({ status }) => status),
        [500, 500, 503, 503, 503, 503],
      );
      assert.equal(errorOf(got[5]!), 'BREAKER_OPEN');
    });
  });
});

// ---- Waiting ------------------------------------------------------------------------------------

test('who waits for a place is not told when a target comes back', async () => {
  let healthy = false;
  const busy: Script = (peer, { target }) => {
    if (target === '/health') peer.send(ok('fine'));
  };
  const back: Script = (peer, { target }) => {
    if (target !== '/health') peer.send(ok('back'));
    else peer.send(healthy ? ok('fine') : failed);
  };
  await withServers([busy, back], async ([first], ports) => {
    const health = { path: '/health', interval: 30, healthyAfter: 1, unhealthyAfter: 1 };
    const limits = { pendingPerTarget: 1, queueWait: 30_000 };
    await withGateway(simple(ports, { health, limits }), async (rig) => {
      const [, member] = upstreamOf(rig).members;
      assert.ok(await until(() => !member!.probedHealthy));
      const held = await RawClient.open(rig.port);
      held.send(get('/held'));
      assert.ok(await until(() => first!.requests.some(({ target }) => target === '/held')));
      const waiter = ask(rig.port, get('/waiter'));
      assert.ok(await until(() => upstreamOf(rig).queue.length === 1));
      healthy = true;
      assert.equal((await waiter).body, 'back');
      held.close();
    });
  });
});

test('a reload forgets how many requests are under way, and the limit with it', async () => {
  await withServers([() => {}], async ([server], ports) => {
    const input = simple(ports, { limits: { pending: 1, queueWait: 30_000 } });
    await withGateway(input, async (rig) => {
      const first = await RawClient.open(rig.port);
      first.send(get('/first'));
      assert.ok(await until(() => server!.requests.length === 1));
      const { config } = checkConfig({
        ...input,
        routes: [{ path: '/new/*', upstream: 'up' }],
      });
      rig.gateway.reload(config!);
      const second = await RawClient.open(rig.port);
      second.send(get('/new/second'));
      await until(() => server!.requests.length === 2, 300);
      assert.equal(server!.requests.length, 1, 'two requests at an upstream that takes one');
      first.close();
      assert.ok(await until(() => server!.requests.length === 2), 'it is never let in');
      second.close();
    });
  });
});

test('a request that a busy target refuses passes over the next one in turn', async () => {
  const busy: Script = (peer) => {
    peer.send('HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n');
  };
  await withServers([busy, named('b'), named('c')], async (servers, ports) => {
    await withGateway(simple(ports, { balance: 'round-robin' }), async (rig) => {
      assert.equal((await ask(rig.port, get('/x'))).body, 'b /x');
      assert.deepEqual(
        servers.map(({ requests }) => requests.length),
        [1, 1, 0],
      );
    });
  });
});

// ---- Fields -------------------------------------------------------------------------------------

test('a field that a route sets reaches the upstream twice when the gateway writes it too', async () => {
  const script: Script = (peer, { headers }) => {
    const seen = ['x-forwarded-proto', 'x-forwarded-for', 'via', 'x-request-id'].map((name) =>
      headers.get(name),
    );
    peer.send(ok(JSON.stringify(seen)));
  };
  await withServers([script], async (_, ports) => {
    const rewrite = {
      requestHeaders: {
        set: { 'X-Forwarded-Proto': 'https', 'X-Request-Id': 'fixed' },
        remove: ['Via', 'X-Forwarded-For'],
      },
      responseHeaders: { set: { 'X-Request-Id': 'mine' } },
    };
    await withGateway(simple(ports, {}, { route: { rewrite } }), async (rig) => {
      const got = await ask(rig.port, get('/', 'X-Request-Id: given\r\n'));
      assert.equal(
        got.body,
        JSON.stringify(['https', undefined, undefined, 'fixed']).replace(/undefined/g, 'null'),
      );
      assert.equal(got.fields.get('x-request-id'), 'mine');
    });
  });
});

for (const name of ['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'TE']) {
  test(`a route that sets ${name} is taken, and then sets nothing at all`, () => {
    const input = (rules: object) => ({
      upstreams: { up: { targets: ['http://127.0.0.1:1'] } },
      routes: [{ upstream: 'up', rewrite: rules }],
    });
    for (const side of ['requestHeaders', 'responseHeaders']) {
      const { config, problems } = checkConfig(
        input({ [side]: { set: { 'X-A': '1', [name]: '1' } } }),
      );
      assert.equal(config, null);
      assert.equal(problems.length, 1);
      assert.equal(problems[0]!.path, `routes[0].rewrite.${side}.set.${name}`);
    }
  });
}

test('fields that a route removes come through in trailers and interim responses', async () => {
  const script: Script = (peer) => {
    peer.send('HTTP/1.1 103 Early Hints\r\nX-Secret: 1\r\nLink: </a>\r\n\r\n');
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    peer.send(`${chunk('body')}0\r\nX-Secret: 2\r\nX-Sum: 3\r\n\r\n`);
  };
  await withServers([script], async (_, ports) => {
    const rewrite = { responseHeaders: { remove: ['X-Secret'] } };
    await withGateway(simple(ports, {}, { route: { rewrite } }), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get('/', 'TE: trailers\r\nConnection: TE\r\n'));
      assert.ok(await client.untilText('X-Sum: 3\r\n\r\n'), client.text);
      assert.ok(client.text.includes('Link: </a>'));
      assert.ok(!client.text.includes('X-Secret'), client.text);
      client.close();
    });
  });
});

test('request trailers that a route removes reach the upstream', async () => {
  const upstream = new StrictUpstream();
  await upstream.listen();
  const rewrite = { requestHeaders: { remove: ['X-Secret'] } };
  await withGateway(simple([upstream.port], {}, { route: { rewrite } }), async (rig) => {
    const trailers = 'X-Secret: 1\r\nX-Sum: 7\r\n';
    const head = 'POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n';
    assert.equal((await ask(rig.port, `${head}${chunk('body')}0\r\n${trailers}\r\n`)).status, 200);
    assert.deepEqual(
      upstream.requests[0]!.trailers.map((line) => line.toLowerCase()),
      ['x-sum: 7'],
    );
  });
  await upstream.close();
});

// ---- Routing ------------------------------------------------------------------------------------

test('a second model behind the first is seen or not as the packets happen to be cut', async () => {
  await withServers([named('a'), named('b')], async (_, [a, b]) => {
    const input = {
      upstreams: {
        a: { targets: [`http://127.0.0.1:${a}`] },
        b: { targets: [`http://127.0.0.1:${b}`] },
      },
      routes: [
        { path: '/*', upstream: 'a', models: ['small'] },
        { path: '/*', upstream: 'b', models: ['big'] },
      ],
    };
    const body = '{"model":"small","messages":[{"content":"hello"}],"model":"big"}';
    await withGateway(input, async (rig) => {
      const whole = await ask(rig.port, post('/v1/chat', body));
      assert.equal(errorOf(whole), 'BODY_INVALID');
      const client = await RawClient.open(rig.port);
      const text = post('/v1/chat', body);
      client.send(text.slice(0, -30));
      await pause(60);
      client.send(text.slice(-30));
      await client.untilText('\r\n\r\n');
      assert.match(client.text, /^HTTP\/1\.1 400 /);
      client.close();
    });
  });
});

test('a dot segment hides behind an encoded semicolon', async () => {
  await withServers([named('a')], async ([server], ports) => {
    const input = simple(ports, {}, { route: { path: '/public/*' } });
    await withGateway(input, async (rig) => {
      for (const path of ['/public/..%3b/admin', '/public/%2e%2e%3Bx=1/admin', '/public/.%3b/x']) {
        const got = await ask(rig.port, get(path));
        assert.equal(got.status, 400, path);
      }
      assert.equal(server!.requests.length, 0);
    });
  });
});

test('a body limit of a route above the general one counts for chunked bodies only', async () => {
  await withServers([(peer, { body }) => peer.send(ok(String(body.length)))], async (_, ports) => {
    const input = {
      ...simple(ports, {}, { limits: { body: 1000 } }),
      routes: [
        { path: '/upload', upstream: 'up', bodyMax: 5000 },
        { path: '/*', upstream: 'up' },
      ],
    };
    await withGateway(input, async (rig) => {
      const body = 'x'.repeat(3000);
      assert.equal((await ask(rig.port, post('/upload', body))).body, '3000');
      const sent = `POST /upload HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(body)}0\r\n\r\n`;
      assert.equal((await ask(rig.port, sent)).body, '3000');
      assert.equal((await ask(rig.port, post('/upload', body.repeat(2)))).status, 413);
      assert.equal((await ask(rig.port, post('/else', body))).status, 413);
      assert.equal((await ask(rig.port, sent.replace('/upload', '/else'))).status, 413);
      assert.equal((await ask(rig.port, post('/else', 'x'.repeat(900)))).body, '900');
    });
  });
});

// ---- Streams and tunnels ------------------------------------------------------------------------

for (const gapMs of [0, 20]) {
  test(`an event whose empty line comes in a chunk of its own, ${gapMs} ms later, gets no error event`, async () => {
    const script: Script = (peer) => {
      peer.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n');
      peer.send('Transfer-Encoding: chunked\r\n\r\n');
    };
    await withServers([script], async ([server], ports) => {
      await withGateway(simple(ports, { protocol: 'openai' }), async (rig) => {
        const client = await RawClient.open(rig.port);
        client.send(get('/v1/x'));
        assert.ok(await client.untilText('\r\n\r\n'));
        const peer = server!.peers[0]!;
        if (gapMs === 0) peer.send(chunk('data: 1\n') + chunk('\n'));
        else {
          peer.send(chunk('data: 1\n'));
          await pause(gapMs);
          peer.send(chunk('\n'));
        }
        // Reset with it under way, a part of it may be lost.
        assert.ok(await client.untilText('\r\n1\r\n\n\r\n'), client.text);
        peer.reset();
        assert.ok(await client.untilEnd());
        assert.match(client.text, /\n\r\n1\r\n\n\r\n[0-9a-f]+\r\ndata: \{"error"/);
        client.close();
      });
    });
  });
}

test('a tunnel whose upstream closed holds its place until the caller closes, too', async () => {
  let peerOf: RawPeer | null = null;
  const script: Script = (peer) => {
    peerOf = peer;
    peer.send('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello');
  };
  await withServers([script], async (_, ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get('/ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'));
      assert.ok(await client.untilText('\r\n\r\nhello'), client.text);
      peerOf!.send('last words');
      peerOf!.socket.destroy();
      assert.ok(await client.untilText('last words'));
      // The caller sees the FIN and does nothing about it.
      await until(() => Object.values(gauges(rig.gateway)).every((value) => value === 0));
      await assertGaugesZero(rig.gateway);
      assert.ok(await until(() => rig.gateway.server.counters.connectionsOpen === 0));
      client.close();
    });
  });
});

test('a status that is none is answered with 502', async () => {
  for (const status of ['600', '999', '099', '1000']) {
    const script: Script = (peer) =>
      peer.send(`HTTP/1.1 ${status} What\r\nContent-Length: 2\r\n\r\nhi`);
    await withServers([script], async (_, ports) => {
      await withGateway(simple(ports), async (rig) => {
        const got = await ask(rig.port, get('/'));
        assert.equal(got.status, 502, status);
        assert.equal(errorOf(got), 'RESPONSE_INVALID');
      });
    });
  }
});
