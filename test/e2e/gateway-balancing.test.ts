/**
 * Balancing, health and refusals as callers of a live gateway see them: names with several addresses,
 * slow start, the policies, the half-open breaker, and what a caller is told when there is no place.
 */
import assert from 'node:assert/strict';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { createGateway, type Gateway, MetricsObserver } from 'onehop/gateway';
import { ok, type Script } from '../support/raw-server.ts';
import { ask, pause, simple, until, withGateway, withServers } from './gateway-rig.ts';
import { type SimAnswer, type SimClient, withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';

const get = (path = '/', fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;

/** How many of `count` answers, one after the other, had each body. */
async function tally(port: number, count: number): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const { body } = await ask(port);
    seen[body] = (seen[body] ?? 0) + 1;
  }
  return seen;
}

// ---- Names with several addresses -------------------------------------------------------------

/** One machine behind the name: an address of 127/8 on the port that all of them have. */
class Machine {
  readonly host: string;
  mode: 'fine' | 'reset' | 'ill' | 'silent' = 'fine';
  requests = 0;
  port = 0;
  readonly sockets = new Set<Socket>();
  readonly #server: NetServer;

  constructor(host: string) {
    this.host = host;
    this.#server = createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('data', (bytes) => {
        const probe = bytes.toString('latin1').startsWith('GET /health');
        if (!probe) this.requests++;
        if (this.mode === 'reset') socket.destroy();
        else if (probe && this.mode === 'ill') {
          socket.write('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
        } else if (this.mode !== 'silent') socket.write(ok(host));
      });
    });
  }

  listen(port: number): Promise<this> {
    return new Promise((resolve) => {
      this.#server.listen(port, this.host, () => {
        this.port = (this.#server.address() as { port: number }).port;
        resolve(this);
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

interface Named {
  gateway: Gateway;
  port: number;
  machines: Machine[];
  /** What the name resolves to from now on; null: the lookup fails. */
  resolveTo(hosts: string[] | null): void;
  labels(): string[];
}

async function named(
  upstream: Record<string, unknown>,
  body: (named: Named) => Promise<void>,
): Promise<void> {
  const first = await new Machine('127.0.0.1').listen(0);
  const machines = [first];
  for (const host of ['127.0.0.2', '127.0.0.3']) {
    machines.push(await new Machine(host).listen(first.port));
  }
  let hosts: string[] | null = machines.map(({ host }) => host);
  const gateway = createGateway(
    {
      listen: '127.0.0.1:0',
      upstreams: {
        up: {
          targets: [`http://models.test:${first.port}`],
          balance: 'round-robin',
          dnsRefresh: 20,
          ...upstream,
        },
      },
      routes: [{ path: '/*', upstream: 'up' }],
    } as never,
    {
      lookup: (_host, done) => {
        if (hosts === null) done(new Error('SERVFAIL'), []);
        else
          done(
            null,
            hosts.map((address) => ({ address, family: 4 })),
          );
      },
    },
  );
  try {
    const port = (await gateway.listen())[0]!.port;
    const upstreamNow = () => gateway.tables.upstreams.get('up')!;
    await body({
      gateway,
      port,
      machines,
      resolveTo(next) {
        hosts = next;
      },
      labels: () =>
        upstreamNow()
          .members.filter(({ draining }) => !draining)
          .map(({ address }) => address ?? 'name'),
    });
  } finally {
    await gateway.close({ graceMs: 0, announceMs: 0 });
    for (const machine of machines) machine.close();
  }
}

test('one address of a name that fails is ejected alone', () =>
  named({ health: { ejectAfter: 2, ejectFor: '1h' } }, async ({ port, machines, gateway }) => {
    assert.deepEqual(await tally(port, 6), { '127.0.0.1': 2, '127.0.0.2': 2, '127.0.0.3': 2 });
    machines[1]!.mode = 'reset';
    const during = await tally(port, 12);
    assert.deepEqual(Object.keys(during).sort(), ['127.0.0.1', '127.0.0.3'], 'a GET was lost');
    const members = gateway.tables.upstreams.get('up')!.members;
    const up = members.filter(({ gone }) => !gone).map((m) => [m.address, m.isUp(gateway.nowMs())]);
    assert.deepEqual(up, [
      ['127.0.0.1', true],
      ['127.0.0.2', false],
      ['127.0.0.3', true],
    ]);
    const asked = machines[1]!.requests;
    machines[1]!.mode = 'fine';
    await tally(port, 6);
    assert.equal(machines[1]!.requests, asked, 'an ejected address is asked');
  }));

test('active checks ask every address of a name and take out the one that is ill', () =>
  named(
    {
      health: {
        ...{ path: '/health', interval: 20, timeout: 10_000 },
        ...{ unhealthyAfter: 2, healthyAfter: 2 },
      },
    },
    async ({ port, machines, gateway }) => {
      machines[2]!.mode = 'ill';
      const { members } = gateway.tables.upstreams.get('up')!;
      const ill = members.find(({ address }) => address === '127.0.0.3')!;
      assert.ok(await until(() => !ill.probedHealthy), 'the ill address is not noticed');
      assert.deepEqual(await tally(port, 4), { '127.0.0.1': 2, '127.0.0.2': 2 });
      machines[2]!.mode = 'fine';
      assert.ok(await until(() => ill.probedHealthy), 'it does not come back');
      assert.equal((await tally(port, 6))['127.0.0.3'], 2);
    },
  ));

test('a name is looked up again: addresses come, go with what they have, and outlive a failure', () =>
  named({ limits: { poolIdle: '1m' } }, async ({ port, machines, resolveTo, labels }) => {
    resolveTo(['127.0.0.1', '127.0.0.2']);
    assert.ok(await until(() => labels().length === 2), 'an address that left is kept');
    assert.deepEqual(await tally(port, 4), { '127.0.0.1': 2, '127.0.0.2': 2 });
    resolveTo(['127.0.0.3', '127.0.0.2']);
    assert.ok(await until(() => labels().includes('127.0.0.3')));
    assert.deepEqual(await tally(port, 4), { '127.0.0.2': 2, '127.0.0.3': 2 });
    assert.ok(await until(() => machines[0]!.sockets.size === 0), 'its idle connections stay open');
    resolveTo(null);
    await pause(80);
    assert.deepEqual(await tally(port, 4), { '127.0.0.2': 2, '127.0.0.3': 2 });
    resolveTo(['127.0.0.1']);
    assert.ok(await until(() => labels().length === 1));
    assert.deepEqual(await tally(port, 2), { '127.0.0.1': 2 });
  }));

test('an address that leaves and comes back while a request waits on it is told of once, and as up', () =>
  named({}, async ({ gateway, port, machines, resolveTo, labels }) => {
    machines[1]!.mode = 'silent';
    const callers = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const client = await RawClient.open(port);
        client.send(get());
        return client;
      }),
    );
    assert.ok(await until(() => machines[1]!.requests === 1));
    resolveTo(['127.0.0.1', '127.0.0.3']);
    assert.ok(await until(() => !labels().includes('127.0.0.2')));
    resolveTo(['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    assert.ok(await until(() => labels().includes('127.0.0.2')));
    const rows = new MetricsObserver({ version: 'test' }).snapshot(gateway)['onehop_target_up']!;
    const told = rows.map(([values, up]) => [values.at(-1), up]);
    assert.equal(new Set(told.map(([label]) => label)).size, told.length, JSON.stringify(told));
    assert.ok(told.every(([, up]) => up === 1));
    for (const client of callers) client.close();
  }));

test('a reload keeps the addresses of a name and their connections', () =>
  named({}, async ({ port, machines, gateway, labels }) => {
    await tally(port, 3);
    const before = machines.map(({ sockets }) => [...sockets][0]);
    gateway.reload(gateway.tables.config);
    assert.deepEqual(labels(), ['127.0.0.1', '127.0.0.2', '127.0.0.3']);
    assert.deepEqual(await tally(port, 3), { '127.0.0.1': 1, '127.0.0.2': 1, '127.0.0.3': 1 });
    assert.deepEqual(
      machines.map(({ sockets }) => [...sockets][0]),
      before,
    );
  }));

// ---- Policies ---------------------------------------------------------------------------------

const says =
  (name: string): Script =>
  (peer) =>
    peer.send(ok(name));

test('weighted: answers come in the ratio of the weights, spread over the turns', () =>
  withServers([says('a'), says('b'), says('c')], async (_, ports) => {
    const [a, b, c] = ports.map((port) => `http://127.0.0.1:${port}`);
    const targets = [
      { url: a, weight: 3 },
      { url: b, weight: 1 },
      { url: c, weight: 0 },
    ];
    await withGateway(simple([], { balance: 'weighted', targets }), async ({ port }) => {
      assert.deepEqual(await tally(port, 40), { a: 30, b: 10 });
      const first = [];
      for (let i = 0; i < 4; i++) first.push((await ask(port)).body);
      assert.deepEqual([...first].sort(), ['a', 'a', 'a', 'b'], 'a weight is served in a burst');
    });
  }));

for (const balance of ['p2c', 'least-pending']) {
  test(`${balance}: a target that is busy gets less than one that is not`, () =>
    withServers([() => {}, says('free')], async ([slow, free], ports) => {
      await withGateway(simple(ports, { balance }), async ({ port }) => {
        const clients = [];
        for (let i = 0; i < 40; i++) {
          const client = await RawClient.open(port);
          client.send(get());
          clients.push(client);
          // Known where it went before the next one is sent, however long that takes.
          const hung = slow!.requests.length;
          assert.ok(
            await until(() => client.text.includes('free') || slow!.requests.length > hung),
          );
        }
        const [hung, answered] = [slow!.requests.length, free!.requests.length];
        assert.equal(hung + answered, 40);
        assert.ok(hung <= 4, `${hung} of 40 went to the target that answers nobody`);
        for (const client of clients) client.close();
      });
    }));
}

test('slow start: a target that comes back is given its share little by little', async () => {
  let ill = true;
  const back: Script = (peer, { target }) => {
    if (target !== '/health') peer.send(ok('back'));
    else peer.send(ill ? 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n' : ok(''));
  };
  await withServers([back, says('old')], async (_, ports) => {
    const health = {
      ...{ path: '/health', interval: 15, timeout: 10_000 },
      ...{ healthyAfter: 1, unhealthyAfter: 1 },
    };
    const upstream = { balance: 'weighted', slowStart: 1500, health };
    await withGateway(simple(ports, upstream), async ({ port, gateway }) => {
      const member = gateway.tables.upstreams.get('up')!.members[0]!;
      assert.ok(await until(() => !member.probedHealthy));
      assert.deepEqual(await tally(port, 5), { old: 5 });
      ill = false;
      assert.ok(await until(() => member.probedHealthy));
      const startMs = performance.now();
      const early = (await tally(port, 30))['back'] ?? 0;
      if (performance.now() - startMs < 500) {
        assert.ok(early >= 1 && early <= 9, `${early} of 30 at once`);
      }
      await pause(Math.max(0, 1550 - (performance.now() - startMs)));
      assert.equal((await tally(port, 30))['back'], 15);
    });
  });
});

// ---- Refusals ---------------------------------------------------------------------------------

test('half-open: the breaker lets one request through, the others are told when to come again', async () => {
  let broken = true;
  const held: (() => void)[] = [];
  const script: Script = (peer) => {
    if (broken) peer.send('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
    else held.push(() => peer.send(ok('fine')));
  };
  const breaker = { minRequests: 4, errorShare: 0.5, window: 5000, openFor: 150 };
  const input = (ports: number[]) => simple(ports, { breaker });
  await withSimGateway([script], input, async (rig) => {
    const isOk = (client: SimClient): boolean => client.text.startsWith('HTTP/1.1 200 ');
    for (let i = 0; i < 4; i++) assert.equal((await rig.ask(get())).status, 500);
    const open = await rig.ask(get());
    assert.equal(open.status, 503);
    assert.equal(open.fields.get('x-onehop-error'), 'BREAKER_OPEN');
    assert.equal(open.fields.get('retry-after'), '1');
    const waitMs = Number(open.fields.get('retry-after-ms'));
    assert.ok(waitMs > 0 && waitMs <= 150, `${waitMs}`);
    await rig.pause(170);
    // The probe fails: open again, at once.
    assert.equal((await rig.ask(get())).status, 500);
    assert.equal((await rig.ask(get())).status, 503);
    assert.equal(rig.servers[0]!.requests.length, 5);
    broken = false;
    await rig.pause(170);
    const probe = rig.open();
    probe.send(get());
    assert.ok(await rig.until(() => held.length === 1));
    for (let i = 0; i < 3; i++) {
      const { status, fields } = await rig.ask(get());
      assert.equal(status, 503);
      assert.match(fields.get('retry-after-ms') ?? '', /^[1-9]/);
    }
    assert.equal(held.length, 1, 'more than one request probes');
    held[0]!();
    assert.ok(await rig.until(() => isOk(probe)));
    const after = rig.open();
    after.send(get());
    assert.ok(await rig.until(() => held.length === 2));
    held[1]!();
    assert.ok(await rig.until(() => isOk(after)));
  });
});

for (const [named, settings, fullStatus, lateStatus] of [
  ['503', {}, 503, 503],
  ['429 as configured', { queueStatus: 429, queueWaitStatus: 429 }, 429, 429],
  ['429 for the one and 503 for the other', { queueStatus: 429 }, 429, 503],
] as const) {
  test(`a queue that is full or too slow says ${named}, when to come again, and that nothing was done`, () =>
    withSimGateway(
      [() => {}],
      (ports) => {
        const limits = { pending: 1, queue: 1, queueWait: 600, ...settings };
        return simple(ports, { limits, protocol: 'openai' });
      },
      async (rig) => {
        const { gateway, servers } = rig;
        rig.open().send(get());
        assert.ok(await rig.until(() => servers[0]!.requests.length === 1));
        const startMs = rig.clock.nowMs();
        const second = rig.ask(get());
        let full: SimAnswer | null = null;
        assert.ok(await rig.until(() => gateway.tables.upstreams.get('up')!.queue.length === 1));
        void rig.ask(get()).then((answer) => {
          full = answer;
        });
        const late = await second;
        const waitedMs = rig.clock.nowMs() - startMs;
        for (const [answer, code, status] of [
          [full!, 'QUEUE_FULL', fullStatus],
          [late, 'QUEUE_TIMEOUT', lateStatus],
        ] as const) {
          assert.equal(answer.status, status);
          assert.equal(answer.fields.get('x-onehop-error'), code);
          assert.match(answer.fields.get('retry-after') ?? '', /^[1-9]\d*$/);
          assert.match(answer.fields.get('retry-after-ms') ?? '', /^[1-9]\d*$/);
          assert.equal(answer.fields.get('x-should-retry'), undefined, 'a caller may try again');
          const { error } = JSON.parse(answer.body);
          assert.equal(error.type, status === 429 ? 'rate_limit_error' : 'server_error');
        }
        assert.ok(waitedMs >= 600 && waitedMs < 610, `${waitedMs} ms`);
        assert.equal(servers[0]!.requests.length, 1);
      },
    ));
}

for (const status of [503, 429]) {
  test(`an address with too many connections is told ${status} and when to come again`, () =>
    withServers([says('fine')], async (_, ports) => {
      const limits = { connectionsPerAddress: 1, connectionsPerAddressStatus: status };
      const configured = simple(ports, {}, { limits: limits as object });
      await withGateway(configured, async ({ port }) => {
        const first = await RawClient.open(port);
        first.send(get());
        assert.ok(await first.untilText('fine'));
        const second = await RawClient.open(port);
        assert.ok(await second.untilEnd());
        assert.match(second.text, new RegExp(`^HTTP/1\\.1 ${status} `));
        assert.match(second.text, /\r\nretry-after: 1\r\nretry-after-ms: 1000\r\n/i);
        first.close();
        second.close();
      });
    }));
}

test('another answer to a full queue is no reason for a reload to drop connections', () =>
  withServers([says('fine')], async ([server], ports) => {
    await withGateway(simple(ports), async ({ port, gateway }) => {
      assert.equal((await ask(port)).body, 'fine');
      const { config } = gateway.tables;
      const { up } = config.upstreams;
      const limits = { ...up!.limits, queueFullStatus: 429 as const };
      gateway.reload({ ...config, upstreams: { up: { ...up!, limits } } });
      assert.equal((await ask(port)).body, 'fine');
      assert.equal(server!.peers.length, 1);
    });
  }));
