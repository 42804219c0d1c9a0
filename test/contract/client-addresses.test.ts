/** Names whose addresses change under a client: in virtual time, and on sockets of the runtime. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Exchange,
  type ExchangeHandler,
  noFields,
  Origin,
  type OriginOptions,
  type Resolver,
  type ResolverOptions,
  SystemResolver,
} from 'onehop/client';
import { OnehopError } from 'onehop/core';
import { type Socket, type Transport, transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { ok, type RawPeer, RawServer } from '../support/raw-server.ts';
import { type Rig, runtimeRig, simRig } from './server-rig.ts';

const [A, B] = ['127.0.0.1', '127.0.0.2'] as const;

interface Net {
  readonly rig: Rig;
  readonly servers: ReadonlyMap<string, RawServer>;
  readonly held: RawPeer[];
  readonly origin: Origin;
  /** What the name has; null: no answer. */
  has: string[] | null;
  asked: number;
  ask(target?: string): { text: string };
  /** The answer, or the code of the error. */
  get(target?: string): Promise<string>;
}

/** Servers at both addresses that say where they are, and an origin that knows them by one name. */
async function withName(
  on: Transport,
  rig: Rig,
  options: OriginOptions,
  body: (net: Net) => Promise<void>,
): Promise<void> {
  const held: RawPeer[] = [];
  const servers = new Map<string, RawServer>();
  let port = 0;
  for (const host of [A, B]) {
    const server = new RawServer((peer, { target }) => {
      if (target === '/hold') held.push(peer);
      else peer.send(ok(host));
    });
    await server.listen(on, undefined, { host, port });
    ({ port } = server);
    servers.set(host, server);
  }
  const resolver: Resolver = {
    resolve(_host, done) {
      net.asked++;
      if (net.has === null) done(new OnehopError('RESOLVE_FAILED', 'no answer'), []);
      else done(null, net.has);
    },
  };
  const handler: ExchangeHandler = {
    onHead() {},
    onBody(exchange: Exchange, bytes, start, end) {
      (exchange.context as { text: string }).text += Buffer.from(
        bytes.subarray(start, end),
      ).toString();
    },
    onEnd() {},
    onError(exchange, error) {
      (exchange.context as { text: string }).text = error.code;
    },
  };
  const named = { scheme: 'http', host: 'name.test', port } as const;
  const net: Net = {
    rig,
    servers,
    held,
    has: [A],
    asked: 0,
    origin: new Origin(named, {
      transport: on,
      resolver,
      connectionIdleMaxMs: 1e9,
      connectionAgeMaxMs: 1e9,
      ...(rig.transport.name === 'sim' ? { defer: (run) => queueMicrotask(run) } : {}),
      ...options,
    }),
    ask(target = '/') {
      const answer = { text: '' };
      const request = { method: 'GET', target, fields: noFields, body: null };
      net.origin.dispatch(request, handler, answer);
      return answer;
    },
    async get(target) {
      const answer = net.ask(target);
      assert.ok(await rig.until(() => answer.text !== ''), 'no answer');
      return answer.text;
    },
  };
  try {
    await body(net);
  } finally {
    net.origin.destroy();
    for (const server of servers.values()) void server.close();
    await rig.until(() => [...servers.values()].every(({ openPeers }) => openPeers === 0));
  }
}

const inSim = (options: OriginOptions, body: (net: Net) => Promise<void>): Promise<void> => {
  const sim = createSimTransport({ seed: 3, splitChance: 0 });
  return withName(sim, simRig(sim), options, body);
};

/** Lets this much virtual time pass. */
const pass = async ({ rig }: Net, ms: number): Promise<void> => {
  let over = false;
  rig.transport.clock.setTimer(() => {
    over = true;
  }, ms);
  assert.ok(await rig.until(() => over, ms + 1));
};

test('a warm pool stayed with an address that had left its name: looked up again every 30 s', () =>
  inSim({}, async (net) => {
    assert.equal(await net.get(), A);
    net.has = [B];
    await pass(net, 25_000);
    assert.equal(await net.get(), A);
    await pass(net, 6000);
    assert.equal(net.servers.get(A)!.openPeers, 0, 'an idle connection is kept');
    assert.equal(await net.get(), B);
    assert.equal(await net.get(), B);
    assert.equal(net.servers.get(B)!.peers.length, 1);
  }));

test('a resolver that threw once was never asked again', () =>
  inSim({}, async (net) => {
    assert.equal(await net.get(), A);
    let throwing = 1;
    Object.defineProperty(net, 'has', {
      get() {
        if (throwing-- > 0) throw new Error('not now');
        return [B];
      },
    });
    await pass(net, 31_000);
    assert.equal(throwing, 0, 'it was not asked');
    await pass(net, 31_000);
    assert.equal(await net.get(), B);
  }));

test('on sockets of the runtime the same, as often as dnsRefreshMs says', () =>
  withName(transport, runtimeRig(transport), { dnsRefreshMs: 20 }, async (net) => {
    assert.equal(await net.get(), A);
    net.has = [B];
    assert.ok(await net.rig.until(() => net.servers.get(A)!.openPeers === 0), 'it is not followed');
    assert.equal(await net.get(), B);
  }));

test('dnsRefreshMs 0 leaves open connections alone; new ones look the name up', () =>
  inSim({ dnsRefreshMs: 0 }, async (net) => {
    assert.equal(await net.get(), A);
    net.has = [B];
    await pass(net, 200_000);
    const held = net.ask('/hold');
    assert.ok(await net.rig.until(() => net.held.length === 1));
    assert.equal(await net.get(), B);
    net.held[0]!.send(ok('held'));
    assert.ok(await net.rig.until(() => held.text === 'held'));
    assert.equal(net.asked, 2);
  }));

test('a busy connection ends what it has, then closes; who waits is served at the new address', () =>
  inSim({ connectionsMax: 1, timeouts: { queueTimeoutMs: 0 } }, async (net) => {
    const held = net.ask('/hold');
    assert.ok(await net.rig.until(() => net.held.length === 1));
    const waiting = net.ask();
    net.has = [B];
    await pass(net, 31_000);
    assert.equal(held.text + waiting.text, '');
    net.held[0]!.send(ok('held'));
    assert.ok(await net.rig.until(() => waiting.text !== ''));
    assert.deepEqual([held.text, waiting.text], ['held', B]);
    assert.equal(net.servers.get(A)!.requests.length, 1);
    assert.equal(net.servers.get(A)!.openPeers, 0);
  }));

test('pipelined requests end where they were sent, nothing is sent behind them', () =>
  inSim({ connectionsMax: 2, pipelining: 4 }, async (net) => {
    net.servers.get(A)!.hooks.onRequest = (peer) => net.held.push(peer);
    const [one, two] = [net.ask('/one'), net.ask('/two')];
    // The second opens a connection of its own; those behind share.
    const three = net.ask('/three');
    assert.ok(await net.rig.until(() => net.held.length === 3));
    net.has = [B];
    net.origin.setAddresses([B]);
    const four = net.ask();
    for (const peer of net.held) peer.send(ok('old'));
    assert.ok(await net.rig.until(() => four.text !== ''));
    assert.deepEqual(
      [one, two, three, four].map(({ text }) => text),
      ['old', 'old', 'old', B],
    );
    assert.equal(net.servers.get(A)!.requests.length, 3);
  }));

test('a name without an answer keeps the connections it has', () =>
  inSim({}, async (net) => {
    assert.equal(await net.get(), A);
    net.has = null;
    await pass(net, 100_000);
    assert.equal(await net.get(), A);
    assert.equal(net.servers.get(A)!.peers.length, 1);
    net.has = [B];
    await pass(net, 31_000);
    assert.equal(await net.get(), B);
  }));

test('one of several addresses that leaves: connections to the others stay', () =>
  inSim({}, async (net) => {
    net.has = [A, B];
    const held = net.ask('/hold');
    assert.ok(await net.rig.until(() => net.held.length === 1));
    assert.equal(await net.get(), A);
    net.has = [B, A];
    await pass(net, 31_000);
    assert.equal(net.servers.get(A)!.openPeers, 2, 'the order of an answer is no change');
    net.held[0]!.send(ok('held'));
    assert.ok(await net.rig.until(() => held.text === 'held'));
  }));

test('a client that is at rest looks nothing up', () =>
  inSim({ connectionIdleMaxMs: 1000 }, async (net) => {
    assert.equal(await net.get(), A);
    await pass(net, 300_000);
    assert.equal(net.asked, 1);
  }));

test('an address is no name to look up, and neither is a proxy at one', () =>
  inSim({ proxy: { host: A, port: 0, authorization: null } }, async (net) => {
    const { port } = net.servers.get(A)!;
    const origin = new Origin(
      { scheme: 'http', host: 'far.test', port: 80 },
      {
        transport: net.rig.transport,
        proxy: { host: A, port, authorization: null },
        resolver: {
          resolve: (host, done) => {
            assert.equal(host, A);
            net.asked++;
            done(null, [host]);
          },
        },
        connectionIdleMaxMs: 1e9,
      },
    );
    const seen: string[] = [];
    const handler: ExchangeHandler = {
      onHead() {},
      onBody() {},
      onEnd: () => seen.push('end'),
      onError: (_exchange, error) => seen.push(error.code),
    };
    origin.dispatch({ method: 'GET', target: '/', fields: noFields, body: null }, handler);
    assert.ok(await net.rig.until(() => seen.length === 1));
    await pass(net, 100_000);
    assert.deepEqual([seen, net.asked], [['end'], 1]);
    origin.destroy();
  }));

test('a proxy by name is followed like an origin', () =>
  inSim({}, async (net) => {
    const { port } = net.servers.get(A)!;
    const origin = new Origin(
      { scheme: 'http', host: 'far.test', port: 80 },
      {
        transport: net.rig.transport,
        proxy: { host: 'proxy.test', port, authorization: null },
        resolver: {
          resolve(host, done) {
            assert.equal(host, 'proxy.test');
            done(null, net.has!);
          },
        },
        connectionIdleMaxMs: 1e9,
      },
    );
    const texts: string[] = [];
    const handler: ExchangeHandler = {
      onHead() {},
      onBody: (_exchange, bytes, start, end) =>
        texts.push(Buffer.from(bytes.subarray(start, end)).toString()),
      onEnd() {},
      onError: (_exchange, error) => texts.push(error.code),
    };
    const request = { method: 'GET', target: '/', fields: noFields, body: null };
    origin.dispatch(request, handler);
    assert.ok(await net.rig.until(() => texts.length === 1));
    net.has = [B];
    await pass(net, 31_000);
    origin.dispatch(request, handler);
    assert.ok(await net.rig.until(() => texts.length === 2));
    assert.deepEqual(texts, [A, B]);
    origin.destroy();
  }));

test('a connection that is being opened to an address that left goes to the new one at once', async () => {
  const sim = createSimTransport({ seed: 3, splitChance: 0 });
  const dialled: string[] = [];
  // Nobody answers at the first address, as behind a route that is gone.
  const deaf: Transport = {
    ...sim,
    connect(options, handlers, state) {
      dialled.push(options.host!);
      if (options.host !== A) return sim.connect(options, handlers, state);
      return { state, destroy() {} } as unknown as Socket<typeof state>;
    },
  };
  await withName(deaf, simRig(sim), { timeouts: { connectTimeoutMs: 2000 } }, async (net) => {
    const answer = net.ask();
    const startMs = sim.clock.nowMs();
    await pass(net, 100);
    assert.deepEqual([dialled, answer.text], [[A], '']);
    // Nothing new; then the name moves.
    net.origin.setAddresses([A]);
    await pass(net, 50);
    net.origin.setAddresses([B]);
    assert.ok(await net.rig.until(() => answer.text !== ''));
    assert.deepEqual([dialled, answer.text], [[A, B], B]);
    assert.ok(sim.clock.nowMs() - startMs < 1000, 'it waited for the deadline');
    assert.equal(net.origin.stats().retries, 0);
  });
});

test('an origin that is left hands back what it has not sent, and ends what it has', () =>
  inSim({ connectionsMax: 1 }, async (net) => {
    const held = net.ask('/hold');
    assert.ok(await net.rig.until(() => net.held.length === 1));
    const waiting = net.ask();
    let left = false;
    void net.origin.leave().then(() => {
      left = true;
    });
    assert.equal(waiting.text, 'CLIENT_CLOSED');
    assert.equal(net.ask().text, 'CLIENT_CLOSED');
    net.held[0]!.send(ok('held'));
    assert.ok(await net.rig.until(() => left));
    assert.equal(held.text, 'held');
  }));

test('the answers of the resolver are used again for as long as it says', async () => {
  let lookups = 0;
  let nowMs = 0;
  const lookup: ResolverOptions['lookup'] = (_host, done) => {
    lookups++;
    done(null, [{ address: A, family: 4 }]);
  };
  const resolver = new SystemResolver({ lookup, nowMs: () => nowMs, ttlMs: 40_000 });
  const sim = createSimTransport({ seed: 3, splitChance: 0 });
  await withName(sim, simRig(sim), { resolver }, async (net) => {
    assert.equal(await net.get(), A);
    await pass(net, 31_000);
    assert.equal(lookups, 1);
    nowMs = 50_000;
    await pass(net, 31_000);
    assert.equal(lookups, 2);
  });
});
