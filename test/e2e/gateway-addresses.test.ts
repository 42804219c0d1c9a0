/**
 * Names whose addresses change while requests and connections are under way: an address that left ends
 * what it has and takes nothing new, with one address as with many. In simulated time and on sockets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGateway, type Gateway, silentObserver } from 'onehop/gateway';
import { type Transport, transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { ByteClient, runtimeRig, simRig } from '../contract/server-rig.ts';
import { chunk, ok, type RawPeer, RawServer } from '../support/raw-server.ts';
import { gauges } from './gateway-rig.ts';

/** One machine behind the name: says its address, or keeps who asks for `/hold` and `/stream`. */
class Machine {
  readonly host: string;
  readonly server: RawServer;
  readonly held: RawPeer[] = [];
  ill = false;

  constructor(host: string) {
    this.host = host;
    this.server = new RawServer((peer, { target }) => {
      if (this.ill) peer.send('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n');
      else if (target === '/hold') this.held.push(peer);
      else if (target === '/stream') {
        this.held.push(peer);
        peer.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(host)}`);
      } else peer.send(ok(host));
    });
  }

  /** Requests that were no probes. */
  get asked(): number {
    return this.server.requests.filter(({ target }) => target !== '/health').length;
  }
}

interface Named {
  readonly gateway: Gateway;
  readonly machines: ReadonlyMap<string, Machine>;
  until(done: () => boolean): Promise<boolean>;
  /** What the name has from now on, and waits until that is known; null: no answer, []: an empty one. */
  resolveTo(hosts: string[] | null): Promise<void>;
  /** The next answers, one after the other, over and over. */
  rotate(...answers: string[][]): Promise<void>;
  send(path?: string): ByteClient;
  /** Body of the answer; `status` when it is not 200. */
  answer(client: ByteClient): Promise<string>;
  ask(path?: string): Promise<string>;
  /** Targets that take requests, as they are shown. */
  shown(): string[];
}

type Kind = 'sim' | 'sockets';
const kinds: Kind[] = ['sim', 'sockets'];

const family = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

async function listenAll(on: Transport, hosts: readonly string[]): Promise<Map<string, Machine>> {
  const machines = new Map<string, Machine>();
  let port = 0;
  for (const host of hosts) {
    const machine = new Machine(host);
    await machine.server.listen(on, undefined, { host, port });
    ({ port } = machine.server);
    machines.set(host, machine);
  }
  return machines;
}

/** The first of `hosts` is what the name has at first. */
async function named(
  kind: Kind,
  hosts: readonly string[],
  upstream: Record<string, unknown>,
  body: (named: Named) => Promise<void>,
  first: readonly string[] = [hosts[0]!],
): Promise<void> {
  const quiet = { latencyMsMax: 0.1, splitChance: 0, partialWriteChance: 0 };
  const sim = kind === 'sim' ? createSimTransport({ seed: 7, ...quiet }) : null;
  const on = sim ?? transport;
  const rig = sim === null ? runtimeRig(on) : simRig(sim);
  const until = (done: () => boolean) => rig.until(done, sim === null ? 10_000 : 600_000);
  const machines = await listenAll(on, hosts);
  const { port } = machines.get(hosts[0]!)!.server;
  let answers: (readonly string[] | null)[] = [first];
  let lookups = 0;
  const bugs: unknown[] = [];
  const gateway = createGateway(
    {
      listen: '127.0.0.1:0',
      upstreams: {
        up: {
          targets: [`http://models.test:${port}`],
          balance: 'round-robin',
          // In simulated time what is the default is waited for.
          ...(sim === null ? { dnsRefresh: 20 } : {}),
          ...upstream,
          limits: { poolIdle: '1h', ...(upstream['limits'] ?? {}) },
        },
      },
      routes: [{ path: '/*', upstream: 'up' }],
    } as never,
    {
      transport: on,
      observer: { ...silentObserver, onInternalError: (error) => bugs.push(error) },
      lookup: (_host, done) => {
        const answer = answers[lookups++ % answers.length]!;
        if (answer === null) done(new Error('SERVFAIL'), []);
        else
          done(
            null,
            answer.map((address) => ({ address, family: family(address) })),
          );
      },
    },
  );
  const listener = (await gateway.listen())[0]!;
  const clients: ByteClient[] = [];
  const turn = async (next: typeof answers): Promise<void> => {
    answers = next;
    const before = lookups;
    assert.ok(await until(() => lookups >= before + next.length + 1), 'it is not looked up again');
  };
  const rigOf: Named = {
    gateway,
    machines,
    until,
    resolveTo: (next) => turn([next]),
    rotate: (...next) => turn(next),
    send(path = '/') {
      const client = new ByteClient();
      client.socket = on.connect({ port: listener.port }, ByteClient.handlers, client);
      client.send(`GET ${path} HTTP/1.1\r\nHost: t\r\n\r\n`);
      clients.push(client);
      return client;
    },
    async answer(client) {
      const whole = (): RegExpExecArray | null =>
        /^HTTP\/1\.1 (\d+)[\s\S]*?content-length: (\d+)[\s\S]*?\r\n\r\n([\s\S]*)$/i.exec(
          client.text,
        );
      const isWhole = (): boolean => {
        const [, , length, text] = whole() ?? [];
        return text !== undefined && text.length === Number(length);
      };
      assert.ok(await until(() => isWhole() || client.ended), `no answer: ${client.text}`);
      const [, status, , text] = whole()!;
      return status === '200' ? text! : status!;
    },
    ask: (path) => rigOf.answer(rigOf.send(path)),
    shown: () => {
      const { members } = gateway.tables.upstreams.get('up')!;
      return members.filter(({ draining }) => !draining).map(({ label }) => label);
    },
  };
  try {
    assert.ok(await until(() => lookups > 0));
    await body(rigOf);
    for (const client of clients) if (!client.closed) client.socket!.destroy();
    const open = () => Object.entries(gauges(gateway)).filter(([, value]) => value !== 0);
    await until(() => open().length === 0);
    assert.deepEqual(open(), [], 'gauges did not return to zero');
  } finally {
    let closed = false;
    void gateway.close({ graceMs: 0, announceMs: 0, idleMs: 0 }).then(() => {
      closed = true;
    });
    await until(() => closed);
    for (const { server } of machines.values()) void server.close();
  }
  assert.deepEqual(bugs, []);
}

const [A, B, C] = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
const inBoth = (name: string, run: (kind: Kind) => Promise<void>): void => {
  for (const kind of kinds) test(`${name} (${kind})`, () => run(kind));
};

inBoth('a name whose only address changes was not followed while the pool was warm', (kind) =>
  named(kind, [A, B], {}, async ({ ask, resolveTo, until, machines, shown }) => {
    for (let i = 0; i < 3; i++) assert.equal(await ask(), A);
    const label = shown();
    await resolveTo([B]);
    for (let i = 0; i < 5; i++) assert.equal(await ask(), B);
    assert.equal(machines.get(A)!.asked, 3);
    assert.ok(await until(() => machines.get(A)!.server.openPeers === 0), 'idle sockets are kept');
    assert.deepEqual(shown(), label, 'a target with one address is the target itself');
    await resolveTo([A]);
    for (let i = 0; i < 3; i++) assert.equal(await ask(), A);
  }),
);

inBoth('a stream ends undisturbed on the address that left, and its connection with it', (kind) =>
  named(kind, [A, B], {}, async ({ send, ask, resolveTo, until, machines }) => {
    const stream = send('/stream');
    const old = machines.get(A)!;
    assert.ok(await until(() => stream.text.includes(A!)));
    await resolveTo([B]);
    assert.equal(await ask(), B);
    old.held[0]!.send(chunk('more'));
    assert.ok(await until(() => stream.text.includes('more')), 'the stream was cut');
    assert.equal(old.server.openPeers, 1);
    old.held[0]!.send('0\r\n\r\n');
    assert.ok(await until(() => stream.text.endsWith('0\r\n\r\n')));
    assert.ok(await until(() => old.server.openPeers === 0), 'its connection is kept');
  }),
);

for (const [from, to] of [
  [[A], [B]],
  [
    [A, C],
    [B, C],
  ],
] as const) {
  const many = from.length > 1 ? 'one of several addresses' : 'the only address';
  inBoth(`what waits for a connection goes elsewhere when ${many} leaves`, (kind) =>
    named(
      kind,
      [A, B, C],
      { limits: { connections: 1, queueWait: '1h' }, retry: { attempts: 1 } },
      async ({ send, answer, resolveTo, until, machines }) => {
        const held = from.map(() => send('/hold'));
        const holds = (): boolean => from.every((host) => machines.get(host)!.held.length === 1);
        assert.ok(await until(holds));
        // As many again, each behind one that is held.
        const waiting = from.map(() => send('/'));
        await resolveTo([...to]);
        const gone = await Promise.any(waiting.map((client) => answer(client)));
        assert.equal(gone, B);
        assert.ok(!waiting.some(({ text }) => text.includes('x-onehop-attempts')));
        for (const host of from) machines.get(host)!.held[0]!.send(ok(host));
        const answers = await Promise.all([...held, ...waiting].map((client) => answer(client)));
        assert.deepEqual(answers.slice(0, from.length).sort(), [...from].sort());
        assert.equal(machines.get(A)!.asked, 1, 'it took something new');
        assert.ok(await until(() => machines.get(A)!.server.openPeers === 0));
      },
      from,
    ),
  );
}

// The writes of a tick are gathered by setImmediate, which simulated time does not wait for.
test('pipelined requests end where they were sent, later ones go to the new address', () =>
  named(
    'sockets',
    [A, B],
    { pipelining: 4, limits: { connections: 1 } },
    async ({ send, answer, ask, resolveTo, until, machines }) => {
      const old = machines.get(A)!;
      const [first, second] = [send('/hold'), send('/hold')];
      assert.ok(await until(() => old.held.length === 2), 'they are not pipelined');
      await resolveTo([B]);
      assert.equal(await ask(), B);
      old.held[0]!.send(ok('one'));
      assert.equal(await Promise.race([answer(first), answer(second)]), 'one');
      old.held[1]!.send(ok('two'));
      assert.deepEqual((await Promise.all([answer(first), answer(second)])).sort(), ['one', 'two']);
      assert.ok(await until(() => old.server.openPeers === 0));
    },
  ));

inBoth('no answer and an empty one keep the address that was', (kind) =>
  named(kind, [A, B], {}, async ({ ask, resolveTo, machines }) => {
    assert.equal(await ask(), A);
    for (const nothing of [null, []]) {
      await resolveTo(nothing);
      assert.equal(await ask(), A);
    }
    assert.equal(machines.get(A)!.server.peers.length, 1, 'its connection was given up');
    await resolveTo([B]);
    assert.equal(await ask(), B);
  }),
);

inBoth('an address that leaves and comes back while a request waits on it serves again', (kind) =>
  named(kind, [A, B], {}, async ({ send, answer, ask, resolveTo, until, machines }) => {
    const held = send('/hold');
    assert.ok(await until(() => machines.get(A)!.held.length === 1));
    await resolveTo([B]);
    assert.equal(await ask(), B);
    await resolveTo([A]);
    assert.equal(await ask(), A);
    machines.get(A)!.held[0]!.send(ok('late'));
    assert.equal(await answer(held), 'late');
  }),
);

inBoth('one address more and one less: those that stay keep their connections', (kind) =>
  named(kind, [A, B], {}, async ({ ask, resolveTo, machines, shown }) => {
    assert.equal(await ask(), A);
    const [label] = shown();
    await resolveTo([A, B]);
    assert.deepEqual(shown(), [`${label} (${A})`, `${label} (${B})`]);
    assert.deepEqual([await ask(), await ask()].sort(), [A, B]);
    await resolveTo([A]);
    assert.deepEqual(shown(), [label]);
    assert.deepEqual([await ask(), await ask()], [A, A]);
    assert.equal(machines.get(A)!.server.peers.length, 1, 'a connection was given up for nothing');
  }),
);

const partly = 'random parts of many addresses made their connections come and go';
inBoth(`${partly}: dnsGoneAfter keeps them`, (kind) =>
  named(
    kind,
    [A, B, C],
    { dnsGoneAfter: 3 },
    async ({ ask, rotate, resolveTo, machines, shown }) => {
      await rotate([A, B], [B, C], [C, A]);
      assert.equal(shown().length, 3);
      for (let i = 0; i < 3; i++) await ask();
      await rotate([A, B], [B, C], [C, A]);
      assert.equal(shown().length, 3);
      for (let i = 0; i < 6; i++) await ask();
      for (const { server } of machines.values()) assert.equal(server.peers.length, 1);
      // Three answers without it, and it has left.
      await rotate([A, B], [B, A], [A, B]);
      await resolveTo([A, B]);
      assert.equal(shown().length, 2);
    },
    [A, B],
  ),
);

test('the other family of a name is a way to the same machine: it may go and come (sim)', async () => {
  const X = 'fd00::1';
  await named(
    'sim',
    [A, X],
    {},
    async ({ ask, resolveTo, until, machines, gateway, shown }) => {
      const { members } = gateway.tables.upstreams.get('up')!;
      const [label] = shown();
      assert.deepEqual(shown(), [label], 'both families of one machine are two targets');
      assert.equal(await ask(), A);
      const member = members[0]!;
      // The answer in another order is the same answer.
      await resolveTo([X, A]);
      assert.equal(await ask(), A);
      await resolveTo([X]);
      assert.equal(await ask(), X);
      assert.ok(await until(() => machines.get(A)!.server.openPeers === 0), 'a socket is kept');
      assert.equal(
        members.find(({ draining }) => !draining),
        member,
        'the machine is forgotten',
      );
      await resolveTo([X, A]);
      assert.equal(await ask(), X);
      // Nothing in common: another machine.
      await resolveTo([X]);
      await resolveTo([A]);
      assert.equal(await ask(), A);
      assert.ok(members[0]!.draining || members[0]!.address === A);
    },
    [A, X],
  );
});

inBoth('the health of a machine is not that of the one which takes its place', (kind) =>
  named(
    kind,
    [A, B],
    { health: { path: '/health', interval: 50, timeout: 10_000, unhealthyAfter: 1 } },
    async ({ ask, resolveTo, until, machines, gateway }) => {
      const { members } = gateway.tables.upstreams.get('up')!;
      machines.get(A)!.ill = true;
      assert.ok(await until(() => !members[0]!.probedHealthy), 'nobody saw that it is ill');
      assert.equal(await ask(), '503');
      await resolveTo([B]);
      assert.equal(await ask(), B);
      const probed = ({ server }: Machine) =>
        server.requests.some(({ target }) => target === '/health');
      assert.ok(await until(() => probed(machines.get(B)!)), 'the new one is not probed');
    },
  ),
);

inBoth('an open breaker lets a request try when all it opened for have been replaced', (kind) =>
  named(
    kind,
    [A, B],
    {
      breaker: { errorShare: 0.5, minRequests: 2, window: '1h', openFor: '1h' },
      retry: { attempts: 1 },
    },
    async ({ ask, resolveTo, machines }) => {
      machines.get(A)!.ill = true;
      for (let i = 0; i < 2; i++) assert.equal(await ask(), '503');
      machines.get(A)!.ill = false;
      const { asked } = machines.get(A)!;
      assert.equal(await ask(), '503');
      assert.equal(machines.get(A)!.asked, asked, 'the breaker is not open');
      await resolveTo([B]);
      assert.equal(await ask(), B);
      assert.equal(await ask(), B);
    },
  ),
);

inBoth('a reload goes on with the addresses that are known, and follows them', (kind) =>
  named(kind, [A, B], {}, async ({ ask, resolveTo, gateway, machines }) => {
    assert.equal(await ask(), A);
    const { config } = gateway.tables;
    const up = { ...config.upstreams['up']!, slowStartMs: 1 };
    gateway.reload({ ...config, upstreams: { up } });
    assert.equal(await ask(), A);
    assert.equal(machines.get(A)!.server.peers.length, 1, 'the reload gave its connection up');
    await resolveTo([B]);
    assert.equal(await ask(), B);
  }),
);

inBoth('what began before a reload was lost when the address left after it', (kind) =>
  named(
    kind,
    [A!, B!],
    { limits: { pending: 1, queueWait: '1h' }, retry: { attempts: 1 } },
    async ({ send, answer, resolveTo, until, gateway, machines }) => {
      const held = send('/hold');
      assert.ok(await until(() => machines.get(A!)!.held.length === 1));
      const waiting = send('/');
      const old = gateway.tables.upstreams.get('up')!;
      assert.ok(await until(() => old.queue.length === 1));
      const { config } = gateway.tables;
      const up = { ...config.upstreams['up']!, slowStartMs: 1 };
      gateway.reload({ ...config, upstreams: { up } });
      await resolveTo([B!]);
      machines.get(A!)!.held[0]!.send(ok('held'));
      assert.equal(await answer(held), 'held');
      assert.equal(await answer(waiting), B);
    },
  ),
);

inBoth('who waits for a target that was taken over across a reload was let in by nobody', (kind) =>
  named(
    kind,
    [A!, B!],
    { limits: { pending: 1, queueWait: '1h' }, retry: { attempts: 1 } },
    async ({ send, answer, resolveTo, until, gateway, machines }) => {
      const [first, second] = [machines.get(A!)!, machines.get(B!)!];
      const held = send('/hold');
      assert.ok(await until(() => first.held.length === 1));
      const passedOn = send('/hold');
      const old = gateway.tables.upstreams.get('up')!;
      assert.ok(await until(() => old.queue.length === 1));
      const { config } = gateway.tables;
      const before = config.upstreams['up']!;
      const up = { ...before, limits: { ...before.limits, pendingPerTargetMax: 1 } };
      gateway.reload({ ...config, upstreams: { up } });
      await resolveTo([B!]);
      first.held[0]!.send(ok('held'));
      assert.equal(await answer(held), 'held');
      assert.ok(await until(() => second.held.length === 1));
      const next = send('/');
      const current = gateway.tables.upstreams.get('up')!;
      assert.ok(await until(() => current.queue.length === 1));
      second.held[0]!.send(ok('passed on'));
      assert.equal(await answer(passedOn), 'passed on');
      assert.equal(await answer(next), B);
    },
  ),
);
