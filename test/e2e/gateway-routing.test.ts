/** Routing, balancing, limits, health and upgrades, through live gateways. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, type RawPeer, type Script } from '../support/raw-server.ts';
import { ask, type GatewayInput, simple, until, withGateway, withServers } from './gateway-rig.ts';
import { withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';

const get = (path: string, host = 't', fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`;
const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: t\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const named =
  (name: string): Script =>
  (peer, request) =>
    peer.send(ok(`${name} ${request.target}`));

test('routes by host, path, parameter, method, header and model, and by nothing else', async () => {
  await withServers(['a', 'b', 'c', 'd', 'e', 'f'].map(named), async (_, ports) => {
    const upstreams = Object.fromEntries(
      ['a', 'b', 'c', 'd', 'e', 'f'].map((name, i) => [
        name,
        { targets: [`http://127.0.0.1:${ports[i]}`] },
      ]),
    );
    const input = {
      upstreams,
      routes: [
        { host: 'a.test', path: '/*', upstream: 'a' },
        { path: '/v2/models/:model/infer', methods: ['POST'], upstream: 'b' },
        { path: '/beta/*', headers: { 'x-beta': 'on' }, upstream: 'c' },
        { path: '/v1/*', models: ['llama-*'], upstream: 'd' },
        { path: '/v1/*', models: ['qwen'], upstream: 'e' },
        { path: '/old/*', upstream: 'f', rewrite: { prefix: '/new/' } },
      ],
    } as unknown as GatewayInput;
    await withGateway(input, async (rig) => {
      const at = async (request: string): Promise<string | number> => {
        const got = await ask(rig.port, request);
        return got.status === 200 ? got.body : got.status;
      };
      assert.equal(await at(get('/x', 'a.test')), 'a /x');
      assert.equal(await at(get('/x', 'A.test:80')), 'a /x');
      assert.equal(await at(get('/x')), 404);
      assert.equal(await at(post('/v2/models/m1/infer', '{}')), 'b /v2/models/m1/infer');
      assert.equal(await at(get('/v2/models/m1/infer')), 405);
      assert.equal(await at(get('/beta/x', 't', 'X-Beta: on\r\n')), 'c /beta/x');
      assert.equal(await at(get('/beta/x')), 404);
      assert.equal(await at(post('/v1/chat', '{"model":"llama-3"}')), 'd /v1/chat');
      assert.equal(await at(post('/v1/chat', '{"messages":[],"model":"qwen"}')), 'e /v1/chat');
      assert.equal(await at(post('/v1/chat', '{"model":"gpt"}')), 404);
      const nested = '{"messages":[{"model":"qwen"}],"model":"llama-3"}';
      assert.equal(await at(post('/v1/chat', nested)), 'd /v1/chat');
      assert.equal(await at(get('/old/x?q=1')), 'f /new/x?q=1');
      for (const path of ['/old/../v1', '/old/%2e%2e/x', '/old/..%2fx', '/old\\..\\x', '//old/x']) {
        const status = await at(get(path));
        assert.ok(status === 400 || status === 404, `${path}: ${status}`);
      }
      const big = `{"messages":"${'x'.repeat(5_000_000)}","model":"qwen"}`;
      assert.equal(await at(post('/v1/chat', big)), 'e /v1/chat');
    });
  });
});

test('hash affinity keeps a key on its target, by header and by path parameter', async () => {
  await withServers(['a', 'b', 'c'].map(named), async (_, ports) => {
    for (const hash of [{ header: 'x-session' }, { param: 'id' }]) {
      const input = simple(ports, { balance: 'hash', hash }, { route: { path: '/s/:id/run' } });
      await withGateway(input, async (rig) => {
        const used = new Set<string>();
        for (let key = 0; key < 12; key++) {
          const targets = new Set<string>();
          for (let i = 0; i < 3; i++) {
            const path = 'param' in hash ? `/s/${key}/run` : `/s/${i}/run`;
            const got = await ask(rig.port, get(path, 't', `X-Session: ${key}\r\n`));
            targets.add(got.body.split(' ')[0]!);
          }
          assert.equal(targets.size, 1, `key ${key} moved`);
          used.add([...targets][0]!);
        }
        assert.ok(used.size > 1, 'all keys went to one target');
      });
    }
  });
});

test('a full queue refuses with Retry-After, a wait that is too long ends with 503', async () => {
  const limits = { pending: 1, queue: 1, queueWait: 150 };
  const input = (ports: number[]) => simple(ports, { limits });
  await withSimGateway([() => {}], input, async (rig) => {
    rig.open().send(get('/1'));
    assert.ok(await rig.until(() => rig.servers[0]!.requests.length === 1));
    const second = rig.open();
    second.send(get('/2'));
    assert.ok(await rig.until(() => rig.gateway.tables.upstreams.get('up')!.queue.length === 1));
    const third = await rig.ask(get('/3'));
    assert.equal(third.status, 503);
    assert.equal(third.fields.get('x-onehop-error'), 'QUEUE_FULL');
    assert.match(third.fields.get('retry-after') ?? '', /^\d+$/);
    assert.match(third.fields.get('retry-after-ms') ?? '', /^\d+$/);
    assert.equal(second.text, '');
    assert.ok(await rig.until(() => second.text !== ''));
    assert.match(second.text, /^HTTP\/1\.1 503 (?:.*\r\n)*x-onehop-error: QUEUE_TIMEOUT\r\n/i);
  });
});

test('active checks take a target out and back in; failing requests eject it', async () => {
  let healthy = true;
  const flaky: Script = (peer, request) => {
    if (request.target !== '/health') peer.send(ok('flaky'));
    else peer.send(healthy ? ok('fine') : 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
  };
  await withServers([flaky, named('steady')], async (_, ports) => {
    const verdicts: boolean[] = [];
    const health = {
      path: '/health',
      interval: 20,
      timeout: 10_000,
      healthyAfter: 2,
      unhealthyAfter: 2,
    };
    await withGateway(
      simple(ports, { balance: 'round-robin', health }),
      async (rig) => {
        const bodies = async (): Promise<Set<string>> => {
          const seen = new Set<string>();
          for (let i = 0; i < 4; i++) {
            seen.add((await ask(rig.port, get('/x'))).body.split(' ')[0]!);
          }
          return seen;
        };
        assert.equal((await bodies()).size, 2);
        healthy = false;
        assert.ok(await until(() => verdicts.length === 1));
        assert.deepEqual([...(await bodies())], ['steady']);
        healthy = true;
        assert.ok(await until(() => verdicts.length === 2));
        assert.equal((await bodies()).size, 2);
        assert.deepEqual(verdicts, [false, true]);
      },
      { onHealth: (_upstream, _member, up) => verdicts.push(up) },
    );
  });
});

test('when the last member fails too, the ejected ones come back', async () => {
  let broken = 'a';
  const script =
    (name: string): Script =>
    (peer) => {
      if (broken === name) peer.reset();
      else peer.send(ok(name));
    };
  await withServers([script('a'), script('b')], async (_, ports) => {
    let ejections = 0;
    const input = simple(ports, {
      balance: 'round-robin',
      health: { ejectAfter: 2, ejectFor: 60_000 },
    });
    await withGateway(
      input,
      async (rig) => {
        for (let i = 0; i < 6; i++) assert.equal((await ask(rig.port, get('/'))).body, 'b');
        assert.equal(ejections, 1);
        broken = 'b';
        for (let i = 0; i < 6; i++) assert.equal((await ask(rig.port, get('/'))).body, 'a');
        assert.equal(ejections, 2);
      },
      { onEjection: () => ejections++ },
    );
  });
});

test('the breaker opens on errors, answers at once, and closes again', async () => {
  let broken = true;
  const script: Script = (peer) => {
    peer.send(broken ? 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n' : ok('fine'));
  };
  const breaker = { minRequests: 4, errorShare: 0.5, window: 5000, openFor: 200 };
  const input = (ports: number[]) => simple(ports, { breaker });
  await withSimGateway([script], input, async (rig) => {
    for (let i = 0; i < 4; i++) assert.equal((await rig.ask(get('/'))).status, 500);
    const refused = await rig.ask(get('/'));
    assert.equal(refused.status, 503);
    assert.equal(refused.fields.get('x-onehop-error'), 'BREAKER_OPEN');
    assert.ok(Number(refused.fields.get('retry-after-ms')) <= 200);
    assert.equal(rig.servers[0]!.requests.length, 4);
    broken = false;
    await rig.pause(230);
    assert.equal((await rig.ask(get('/'))).status, 200);
    assert.equal((await rig.ask(get('/'))).status, 200);
  });
});

test('a WebSocket upgrade joins both sides, and both end together', async () => {
  let peerOf: RawPeer | null = null;
  const script: Script = (peer, request) => {
    peerOf = peer;
    assert.equal(request.headers.get('upgrade'), 'websocket');
    peer.send('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello');
  };
  await withServers([script], async ([server], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get('/ws', 't', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'));
      assert.ok(await client.untilText('\r\n\r\nhello'), client.text);
      client.send('from the caller');
      assert.ok(await until(() => peerOf!.received.includes('from the caller')));
      peerOf!.send('from the upstream');
      assert.ok(await client.untilText('from the upstream'));
      client.close();
      assert.ok(await until(() => server!.openPeers === 0), 'the tunnel stays open');
    });
  });
});

test('connections to a name spread over its addresses, and pass over one that is down', async () => {
  const { createServer } = await import('node:net');
  const { createGateway } = await import('onehop/gateway');
  const serve = (host: string, port: number) =>
    new Promise<{ port: number; close(): void }>((resolve) => {
      const server = createServer((socket) => {
        socket.on('error', () => {});
        socket.on('data', () => socket.end(ok(host, 'Connection: close\r\n')));
      });
      server.listen(port, host, () => {
        const { port: bound } = server.address() as { port: number };
        resolve({ port: bound, close: () => server.close() });
      });
    });
  const first = await serve('127.0.0.1', 0);
  const second = await serve('127.0.0.2', first.port);
  const addresses = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  const gateway = createGateway(
    {
      listen: '127.0.0.1:0',
      upstreams: { up: { targets: [`http://models.test:${first.port}`] } },
      routes: [{ path: '/*', upstream: 'up' }],
    },
    { lookup: (_host, done) => done(null, addresses) },
  );
  const [listener] = await gateway.listen();
  try {
    const seen: string[] = [];
    for (let i = 0; i < 6; i++) seen.push((await ask(listener!.port, get('/'))).body);
    assert.deepEqual(
      ['127.0.0.1', '127.0.0.2'].map((host) => seen.filter((body) => body === host).length),
      [3, 3],
    );
    second.close();
    for (let i = 0; i < 4; i++) {
      assert.equal((await ask(listener!.port, get('/'))).body, '127.0.0.1');
    }
  } finally {
    await gateway.close({ graceMs: 0, announceMs: 0 });
    first.close();
  }
});
