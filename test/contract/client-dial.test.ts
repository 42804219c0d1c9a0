/** Racing addresses (RFC 8305) and the connect deadline, on virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Exchange,
  type ExchangeHandler,
  noFields,
  Origin,
  type Resolver,
} from 'onehop/client';
import { OnehopError } from 'onehop/core';
import type { Socket, Transport } from 'onehop/transport';
import { createSimTransport, type SimTransport } from 'onehop/transport/sim';
import { ok, RawServer } from '../support/raw-server.ts';

interface Dialled {
  host: string;
  atMs: number;
  destroyed: boolean;
}

/** Addresses that start with 10. never answer, as behind a broken route. */
function withBlackHoles(sim: SimTransport, dialled: Dialled[]): Transport {
  return {
    name: 'sim',
    clock: sim.clock,
    turn: sim.turn,
    joinReads: sim.joinReads,
    dropReads: sim.dropReads,
    bodyBuffer: sim.bodyBuffer,
    block: sim.block,
    freeBlock: sim.freeBlock,
    listen: (options, handlers, makeState) => sim.listen(options, handlers, makeState),
    connect(options, handlers, state) {
      const entry: Dialled = { host: options.host!, atMs: sim.clock.nowMs(), destroyed: false };
      dialled.push(entry);
      if (!options.host!.startsWith('10.')) return sim.connect(options, handlers, state);
      return {
        state,
        destroy: () => {
          entry.destroyed = true;
        },
      } as unknown as Socket<typeof state>;
    },
  };
}

async function dial(addresses: string[] | OnehopError, connectTimeoutMs = 2000) {
  const sim = createSimTransport({ seed: 7 });
  const dialled: Dialled[] = [];
  const transport = withBlackHoles(sim, dialled);
  const server = new RawServer((peer) => peer.send(ok('here')));
  await server.listen(sim);
  const resolver: Resolver = {
    resolve: (_host, done) =>
      addresses instanceof OnehopError ? done(addresses, []) : done(null, addresses),
  };
  const origin = new Origin(
    { scheme: 'http', host: 'name.test', port: server.port },
    { transport, resolver, timeouts: { connectTimeoutMs } },
  );
  let outcome = '';
  let atMs = 0;
  const over = (text: string): void => {
    assert.equal(outcome, '', 'ended twice');
    outcome = text;
    atMs = sim.clock.nowMs();
  };
  const handler: ExchangeHandler = {
    onHead() {},
    onBody() {},
    onEnd: (exchange: Exchange) => over(`answer ${exchange.attempt}`),
    onError: (_exchange, error) => over(`${error.code} ${error.upstream}`),
  };
  origin.dispatch({ method: 'GET', target: '/', fields: noFields, body: null }, handler);
  await sim.clock.runAsync(() => outcome !== '');
  const { connections } = origin.stats();
  origin.destroy();
  await server.close();
  sim.clock.advance(100);
  return { outcome, atMs, dialled, connections, name: `http://name.test:${server.port}` };
}

test('a silent first address has 250 ms, then the next is tried beside it and wins', async () => {
  const { outcome, dialled, connections } = await dial(['10.0.0.1', '127.0.0.1']);
  assert.equal(outcome, 'answer 1');
  assert.deepEqual(
    dialled.map(({ host }) => host),
    ['10.0.0.1', '127.0.0.1'],
  );
  const gapMs = dialled[1]!.atMs - dialled[0]!.atMs;
  assert.ok(gapMs >= 250 && gapMs < 270, `${gapMs} ms`);
  assert.equal(dialled[0]!.destroyed, true, 'the loser is destroyed');
  assert.equal(connections.idle, 1);
});

test('a refused address is followed by the next at once', async () => {
  const { outcome, dialled } = await dial(['192.0.2.1', '127.0.0.1']);
  assert.equal(outcome, 'answer 1');
  assert.ok(dialled[1]!.atMs < 20);
});

test('nothing answers: the connect deadline, with every attempt destroyed', async () => {
  const { outcome, atMs, dialled, connections, name } = await dial(['10.0.0.1', '10.0.0.2'], 900);
  assert.equal(outcome, `CONNECT_TIMEOUT ${name}`);
  assert.ok(atMs >= 900 && atMs < 920, `${atMs} ms`);
  assert.ok(dialled.every(({ destroyed }) => destroyed));
  assert.equal(connections.opening, 0);
});

test('all refused: the first reason', async () => {
  const { outcome, name } = await dial(['192.0.2.1', '192.0.2.2']);
  assert.equal(outcome, `CONNECT_REFUSED ${name}`);
});

test('a name without an address', async () => {
  const { outcome, name } = await dial(new OnehopError('RESOLVE_FAILED', 'no address'));
  assert.equal(outcome, `RESOLVE_FAILED ${name}`);
});
