/**
 * Nothing that throws in a callback, a timer or a hook ends the gateway, hangs an exchange or leaves
 * a count behind. One scenario with a bit of everything runs once to count the places where the gateway
 * is called from outside, then twice for each of them: throwing before and after what is there.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGateway, type Gateway, type GatewayObserver } from 'onehop/gateway';
import { createSimTransport } from 'onehop/transport/sim';
import { ByteClient, simRig } from '../contract/server-rig.ts';
import {
  hooked,
  Injected,
  Injector,
  inject,
  type When,
  watchEverything,
  watchedTransport,
  watchMethods,
} from '../support/injector.ts';
import { chunk, chunked, ok, type RawPeer, RawServer, type Script } from '../support/raw-server.ts';
import { gauges } from './gateway-rig.ts';

watchEverything();

/** The `Date` field is renewed on the second: where in it a run begins must not matter. */
const RealDate = Date;
const fixedMs = RealDate.UTC(2026, 0, 1) + 500;
globalThis.Date = class extends RealDate {
  constructor(...given: unknown[]) {
    super(...((given.length === 0 ? [fixedMs] : given) as [number]));
  }
} as DateConstructor;

/** Every method there is: one more in the interface is an error here. */
const observing = (report: (error: unknown) => void) =>
  ({
    onFinish() {},
    onRetry() {},
    onStreamRead() {},
    onEjection() {},
    onHealth() {},
    onCancel() {},
    onConnect() {},
    onRefused() {},
    onLimit() {},
    onInternalError: report,
  }) satisfies Required<GatewayObserver>;

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: t\r\n${more}\r\n`;
const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: t\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** How long a probe, a stream or a lookup takes; everything else is faster. */
const stepMs = 20;

interface Caller {
  readonly client: ByteClient;
  /** It is through: well or badly, but not still waiting. */
  over(): boolean;
}

class Scenario {
  readonly sim = createSimTransport({
    seed: 3,
    latencyMsMax: 0.1,
    splitChance: 0,
    partialWriteChance: 0,
  });
  readonly until = simRig(this.sim).until;
  readonly reports: unknown[] = [];
  readonly callers: Caller[] = [];
  readonly servers: RawServer[] = [];
  addresses = ['10.0.0.1'];
  lookups = 0;
  probes = 0;
  isDown = false;
  gateway!: Gateway;
  /** In force before the reload: what it counted goes back to zero, too. */
  #before: Gateway['tables'] | null = null;
  port = 0;

  #later(run: () => void, ms: number): void {
    this.sim.clock.setTimer(run, ms);
  }

  async pause(ms: number): Promise<void> {
    let over = false;
    this.#later(() => {
      over = true;
    }, ms);
    await this.until(() => over, ms + 10);
  }

  /** What the targets do with each path. */
  #script(isFirst: boolean): Script {
    const answers: Record<string, (peer: RawPeer, body: string) => void> = {
      '/health': (peer) => {
        this.probes++;
        peer.send(this.isDown ? 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n' : ok(''));
      },
      '/events': (peer) => {
        peer.send(
          'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
        );
        this.#later(() => peer.send(chunk('data: 1\n\n')), stepMs);
        this.#later(() => peer.send(chunk('data: 2\n\ndata: [DONE]\n\n')), 3 * stepMs);
        this.#later(() => peer.send('0\r\n\r\n'), 4 * stepMs);
      },
      '/chunks': (peer) => peer.send(chunked(['a', 'bc'], 'X-Sum: 1\r\n')),
      '/long': (peer) => peer.send(ok('x'.repeat(300_000))),
      '/echo': (peer, body) => peer.send(ok(String(body.length))),
      '/interim': (peer) => peer.send(`HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n${ok('i')}`),
      '/never': () => {},
      '/cut': (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
      '/stall': (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
      '/busy': (peer) =>
        peer.send(
          isFirst
            ? 'HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n'
            : ok('not busy'),
        ),
      '/reset': (peer) => (isFirst ? peer.reset() : peer.send(ok('again'))),
      '/ws': (peer) =>
        peer.send('HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello'),
    };
    return (peer, { target, body }) =>
      (answers[target] ?? (() => peer.send(ok('fine'))))(peer, body);
  }

  #config() {
    return {
      listen: '127.0.0.1:0',
      upstreams: {
        up: {
          targets: ['http://up.test:80'],
          balance: 'round-robin' as const,
          dnsRefresh: 3 * stepMs,
          expectWait: 2 * stepMs,
          health: { path: '/health', interval: 2 * stepMs, timeout: stepMs, ejectAfter: 2 },
          timeouts: { head: 5 * stepMs, idle: 5 * stepMs },
          retry: { attempts: 3, backoff: stepMs },
          limits: { pending: 4, queue: 3, queueWait: 3 * stepMs, poolIdle: 6 * stepMs },
          breaker: { errorShare: 0.99, minRequests: 1000 },
        },
        dark: {
          targets: ['http://dark.test:80'],
          timeouts: { connect: stepMs },
          retry: { attempts: 1 },
          dnsRefresh: 3 * stepMs,
        },
      },
      routes: [
        { path: '/dark', upstream: 'dark' },
        { path: '/*', upstream: 'up', sseKeepAlive: stepMs / 2 },
      ],
      limits: { keepAlive: 4 * stepMs, headTime: 4 * stepMs, bodyGap: 4 * stepMs },
      drain: { grace: 100, idle: 0 },
    };
  }

  async start(): Promise<void> {
    for (const host of ['10.0.0.1', '10.0.0.2']) {
      const server = new RawServer(this.#script(host.endsWith('1')));
      await server.listen({
        ...this.sim,
        listen: (options, handlers, state) =>
          this.sim.listen({ ...options, host, port: 80 }, handlers, state),
      });
      this.servers.push(server);
    }
    const observer = hooked(
      'observer',
      observing((error) => this.reports.push(error)),
    );
    const { lookup, random } = hooked('hook', {
      random: () => 0.5,
      lookup: (host: string, done: (error: Error | null, found: never[]) => void) => {
        // A name server that does not answer.
        if (host === 'dark.test') return;
        this.lookups++;
        const found = this.addresses.map((address) => ({ address, family: 4 }));
        this.#later(() => done(null, found as never[]), 1);
      },
    });
    this.gateway = createGateway(this.#config(), {
      transport: watchedTransport(this.sim),
      observer,
      lookup,
      random,
    });
    // The answer of a name server is a callback of ours; this is where it leads.
    watchMethods(this.gateway.tables.upstreams.get('up')!, ['setAddresses']);
    this.port = (await this.gateway.listen())[0]!.port;
  }

  call(text: string, isOver: (client: ByteClient) => boolean = () => false): ByteClient {
    const client = new ByteClient();
    client.socket = this.sim.connect({ port: this.port }, ByteClient.handlers, client);
    client.send(text);
    const over = (): boolean => client.ended || client.closed || isOver(client);
    this.callers.push({ client, over });
    return client;
  }

  /** An answer with a length, or with chunks. */
  ask(text: string): ByteClient {
    return this.call(text, ({ text: got }) => {
      const head = got.indexOf('\r\n\r\n');
      if (head === -1 || /^HTTP\/1\.1 1\d\d /.test(got)) return got.includes('\r\n\r\ni');
      if (/transfer-encoding: chunked/i.test(got)) return got.endsWith('\r\n\r\n');
      return got.length >= head + 4 + Number(/content-length: (\d+)/i.exec(got)?.[1] ?? 0);
    });
  }

  async allOver(): Promise<void> {
    const waiting = (): string[] =>
      this.callers
        .filter(({ over }) => !over())
        .map(({ client }) => `one has ${JSON.stringify(client.text.slice(0, 60))}`);
    // Longer than every deadline: who still waits then waits for ever.
    await this.until(() => waiting().length === 0, 5000);
    assert.deepEqual(waiting(), [], 'a caller waits for ever');
  }

  /** A bit of everything. */
  async run(): Promise<void> {
    await this.start();
    this.ask(get('/plain') + get('/plain'));
    this.ask(post('/echo', 'x'.repeat(10)));
    await this.allOver();
    this.addresses = ['10.0.0.1', '10.0.0.2'];
    await this.pause(5 * stepMs);
    for (const path of [
      '/dark',
      '/chunks',
      '/long',
      '/interim',
      '/busy',
      '/reset',
      '/cut',
      '/stall',
    ]) {
      this.ask(get(path, 'TE: trailers\r\nConnection: te\r\n'));
      await this.pause(1);
    }
    await this.allOver();
    const leaves = this.call(get('/never'), () => leaves.closed);
    await this.pause(2);
    leaves.socket!.destroy();
    this.ask(get('/events'));
    this.ask(post('/echo', 'y'.repeat(200_000)));
    this.ask(get('/never'));
    this.ask('BAD\r\n\r\n');
    // Beyond `pending`, and beyond the queue.
    for (let at = 0; at < 6; at++) this.ask(get('/never'));
    await this.pause(stepMs);
    const halfCloses = this.ask(get('/never'));
    halfCloses.end();
    await this.allOver();
    const tunnel = this.call(get('/ws', 'Connection: upgrade\r\nUpgrade: websocket\r\n'));
    await this.until(() => tunnel.text.includes('hello') || tunnel.ended || tunnel.closed, 1000);
    tunnel.send('to you');
    await this.pause(stepMs);
    tunnel.end();
    // Nobody asks for its body before the wait for that is over.
    const expects = this.call(
      'POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n',
      () => /HTTP\/1\.1 [2-5]\d\d /.test(expects.text),
    );
    await this.until(() => expects.text !== '' || expects.ended || expects.closed, 1000);
    expects.send('hello');
    await this.allOver();
    // One late in its head, one in its body, one that is idle until it is closed.
    this.call('GET / HT');
    this.call('POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nab');
    this.call(get('/plain'));
    this.isDown = true;
    await this.pause(6 * stepMs);
    this.isDown = false;
    await this.pause(6 * stepMs);
    await this.allOver();
    // A reload leaves members behind that an exchange still uses.
    this.ask(get('/events'));
    await this.pause(1);
    this.#before = this.gateway.tables;
    const { config } = this.#before;
    const { up } = config.upstreams;
    const upstreams = {
      ...config.upstreams,
      up: { ...up!, limits: { ...up!.limits, interimResponsesMax: 9 } },
    };
    this.gateway.reload({ ...config, upstreams });
    this.ask(get('/plain'));
    await this.pause(600);
    await this.allOver();
  }

  /** Nothing is left, and everything that goes on by itself goes on. */
  async check(thrown: boolean): Promise<void> {
    for (const { client } of this.callers) if (!client.closed) client.socket!.destroy();
    const open = (): [string, number][] => {
      const { server, tables, scans } = this.gateway;
      const found: [string, number][] = [['connections', server.counters.connectionsOpen]];
      const upstreams = [...tables.upstreams.values()];
      for (const each of this.#before === null ? [tables] : [tables, this.#before]) {
        found.push(...Object.entries(gauges({ server, tables: each, scans } as Gateway)));
        upstreams.push(...each.upstreams.values());
      }
      for (const { members } of upstreams) {
        for (const { origin, label } of members) {
          const { opening, busy, waiting } = origin.stats().connections;
          found.push([`${label} opening`, opening], [`${label} waiting`, waiting]);
          // Probes go on.
          if (busy > 1) found.push([`${label} busy`, busy]);
        }
      }
      return found.filter(([, value]) => value !== 0);
    };
    await this.until(() => open().length === 0, 2000);
    assert.deepEqual(open(), [], 'a count did not return to zero');
    const { lookups, probes } = this;
    await this.pause(400);
    assert.ok(this.lookups > lookups, 'names are not looked up any more');
    assert.ok(this.probes > probes, 'targets are not probed any more');
    const next = this.ask(get('/plain'));
    await this.allOver();
    assert.match(next.text, /^HTTP\/1\.1 200 /, 'the next request');
    if (thrown) assert.ok(this.reports.length > 0, 'it was not reported');
  }

  async close(): Promise<void> {
    let closed = false;
    const closing = this.gateway.close({ graceMs: 50, announceMs: 0, idleMs: 0 }).then(() => {
      closed = true;
    });
    this.ask(get('/never'));
    assert.ok(await this.until(() => closed, 5000), 'it does not close');
    await closing;
    for (const server of this.servers) void server.close();
  }
}

/** Lines on stderr: where reports go when the observer is what throws. */
async function silenced(body: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  const print = console.error;
  console.error = (line: unknown) => void lines.push(String(line));
  try {
    await body();
  } finally {
    console.error = print;
  }
  return lines;
}

async function play(at: number, when: When): Promise<Injector> {
  const injector = new Injector(at, when);
  const scenario = new Scenario();
  const lines = await silenced(async () => {
    inject(injector);
    try {
      await scenario.run();
      inject(null);
      await scenario.check(false);
      inject(injector);
      await scenario.close();
    } finally {
      inject(null);
    }
  });
  if (injector.thrown !== null) {
    const heard = [...scenario.reports, ...lines];
    assert.ok(heard.length > 0, 'what was thrown was not reported');
  }
  for (const report of scenario.reports) {
    assert.ok(report instanceof Injected, `a fault of its own: ${(report as Error).stack}`);
  }
  return injector;
}

/** Each is thrown at; `ONEHOP_INJECT=all` throws at all of them, not at some of each name. */
const perName = process.env['ONEHOP_INJECT'] === 'all' ? Number.POSITIVE_INFINITY : 3;

/** First, last and in between of each name. */
function chosen(places: readonly string[]): number[] {
  const byName = new Map<string, number[]>();
  places.forEach((place, at) => {
    byName.set(place, [...(byName.get(place) ?? []), at]);
  });
  return [...byName.values()].flatMap((all) => {
    if (all.length <= perName) return all;
    const step = (all.length - 1) / (perName - 1);
    return Array.from({ length: perName }, (_, index) => all[Math.round(index * step)]!);
  });
}

const counted = play(-1, 'before');

test('the scenario passes every method of the observer, and every kind of deadline', async () => {
  const { places } = await counted;
  const kinds = new Set(places);
  const methods = Object.keys(observing(() => {})).filter((key) => key !== 'onInternalError');
  const missing = methods.filter((key) => !kinds.has(`observer.${key}`));
  assert.deepEqual(missing, [], 'methods of the observer that nothing calls');
  for (const owner of [
    'GatewayExchange',
    'Exchange',
    'Connection',
    'Dial',
    'Origin',
    'DateField',
  ]) {
    const some = [...kinds].some((place) => place.startsWith(`deadline ${owner} `));
    assert.ok(some, `no deadline of ${owner}`);
  }
});

for (const when of ['before', 'after'] as const) {
  test(`a throw ${when} any callback, timer or hook leaves no count and no caller behind`, async () => {
    const { places } = await counted;
    const failures: string[] = [];
    for (const at of chosen(places)) {
      try {
        const { thrown } = await play(at, when);
        assert.ok(thrown !== null, 'the place was not reached again');
      } catch (error) {
        failures.push(`${when} ${at} ${places[at]}: ${(error as Error).message}`);
      }
    }
    assert.deepEqual(failures, []);
  });
}
