/**
 * Nothing that throws in a callback, a timer or a hook of the client ends the process or leaves a
 * request that waits, a connection that is taken, or a count. As the gateway's, in simulated time.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, createFetch } from 'onehop/client';
import { createSimTransport } from 'onehop/transport/sim';
import {
  hooked,
  Injector,
  inject,
  type When,
  watchEverything,
  watchedTransport,
} from '../support/injector.ts';
import { chunk, chunked, ok, RawServer, type Script } from '../support/raw-server.ts';

watchEverything();

const stepMs = 20;

/** One run: what was thrown, and every request settled. */
async function play(at: number, when: When): Promise<Injector> {
  const sim = createSimTransport({
    seed: 5,
    latencyMsMax: 0.1,
    splitChance: 0,
    partialWriteChance: 0,
  });
  const later = (run: () => void, ms: number): void => void sim.clock.setTimer(run, ms);
  const answers: Record<string, Script> = {
    '/never': () => {},
    '/chunks': (peer) => peer.send(chunked(['a', 'b'], 'X-Sum: 1\r\n')),
    '/long': (peer) => peer.send(ok('x'.repeat(200_000))),
    '/cut': (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
    '/stall': (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
    '/moved': (peer) =>
      peer.send('HTTP/1.1 302 Found\r\nLocation: /plain\r\nContent-Length: 0\r\n\r\n'),
    '/slow': (peer) => {
      peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      later(() => peer.send(chunk('a')), stepMs);
      later(() => peer.send('0\r\n\r\n'), 2 * stepMs);
    },
  };
  const server = new RawServer((peer, request) =>
    (answers[request.target] ?? (() => peer.send(ok(request.body))))(peer, request),
  );
  await server.listen(sim);
  const lines: string[] = [];
  const print = console.error;
  console.error = (line: unknown) => void lines.push(String(line));
  const injector = new Injector(at, when);
  const { onConnect, resolve, defer } = hooked('hook', {
    onConnect() {},
    resolve(host: string, done: (error: null, addresses: readonly string[]) => void) {
      if (host === 'dark.test') return;
      later(() => done(null, ['127.0.0.1']), 1);
    },
    defer: later,
  });
  const shared = {
    transport: watchedTransport(sim),
    resolver: { resolve },
    onConnect,
    connectTimeoutMs: stepMs,
    headTimeoutMs: 3 * stepMs,
    idleTimeoutMs: 3 * stepMs,
    queueTimeoutMs: 2 * stepMs,
    totalTimeoutMs: 20 * stepMs,
    connectionsMax: 2,
    connectionIdleMaxMs: 5 * stepMs,
  };
  // No option of the client's own, but one of its origins: pipelined writes leave on our clock.
  const deferred = { defer: (run: () => void) => defer(run, 0) };
  const client = new Client({ ...shared, redirects: 2 });
  const piped = new Client({ ...shared, pipelining: 4, ...deferred });
  const get = createFetch(new Client(shared));
  const url = (path: string, host = 'up.test'): string => `http://${host}:${server.port}${path}`;
  let waiting = 0;
  const outcomes: unknown[] = [];
  const settle = (one: Promise<unknown>): void => {
    waiting++;
    one
      .then(
        (value) => void outcomes.push(value),
        (error: unknown) => void outcomes.push(error),
      )
      .finally(() => waiting--);
  };
  const read = async (path: string, options = {}): Promise<string> =>
    (await client.get(url(path), options)).text();
  async function* pieces(): AsyncGenerator<string> {
    yield 'a'.repeat(1000);
    yield 'b'.repeat(70_000);
  }
  const upload = { method: 'POST', body: pieces(), duplex: 'half' } as never;
  const all = async (): Promise<void> => {
    await sim.clock.runAsync(() => waiting === 0 || sim.clock.nowMs() > 60_000);
    assert.equal(waiting, 0, 'a request waits for ever');
  };
  try {
    inject(injector);
    settle(read('/plain'));
    await all();
    for (const path of ['/chunks', '/long', '/moved', '/slow', '/cut', '/stall'])
      settle(read(path));
    settle(get(url('/plain')).then((response) => response.text()));
    settle(get(url('/slow')).then((response) => response.text()));
    settle(get(url('/plain'), upload).then((response) => response.text()));
    settle(client.post(url('/plain'), { body: pieces() }).then((response) => response.text()));
    for (let i = 0; i < 4; i++) settle(read('/never'));
    settle(client.get(url('/plain', 'dark.test')));
    for (let i = 0; i < 6; i++)
      settle(piped.get(url('/plain')).then((response) => response.text()));
    const leaving = new AbortController();
    settle(read('/never', { signal: leaving.signal }));
    settle(get(url('/never'), { signal: leaving.signal }));
    later(() => leaving.abort(), stepMs);
    await all();
    inject(null);
    for (const each of [client, piped]) {
      for (const { active, connections } of Object.values(each.stats())) {
        const { busy, opening, waiting: queued } = connections;
        assert.deepEqual([active, busy, opening, queued], [0, 0, 0, 0]);
      }
    }
    let text = '';
    settle(
      client.post(url('/plain'), { body: 'next' }).then(async (response) => {
        text = await response.text();
      }),
    );
    await all();
    assert.equal(text, 'next');
  } finally {
    inject(null);
    console.error = print;
    client.destroy();
    piped.destroy();
    void server.close();
  }
  return injector;
}

const perName = process.env['ONEHOP_INJECT'] === 'all' ? Number.POSITIVE_INFINITY : 3;
const counted = play(-1, 'before');

for (const when of ['before', 'after'] as const) {
  test(`a throw ${when} any callback, timer or hook of the client leaves nothing that waits`, async () => {
    const { places } = await counted;
    assert.ok(places.length > 100, `${places.length} places`);
    const seen = new Map<string, number>();
    const failures: string[] = [];
    for (const [at, place] of places.entries()) {
      const count = (seen.get(place) ?? 0) + 1;
      seen.set(place, count);
      if (count > perName && places.indexOf(place, at + 1) !== -1) continue;
      try {
        assert.ok((await play(at, when)).thrown !== null, 'the place was not reached again');
      } catch (error) {
        failures.push(`${when} ${at} ${place}: ${(error as Error).message}`);
      }
    }
    assert.deepEqual(failures, []);
  });
}
