/** What every transport must do. One list of cases; transport.test.ts runs it against each adapter. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OnehopError } from 'onehop/core';
import { WriteStatus } from 'onehop/transport';
import { type Bench, pattern, type Side } from './transport-harness.ts';

export const cases: Record<string, (bench: Bench) => Promise<void>> = {};

const echo = (side: Side): void => {
  side.onData = (bytes) => void side.socket.write(bytes, 0, bytes.length);
  side.onEnd = () => side.socket.end();
};

let unixPaths = 0;
const unixPath = (): string => join(tmpdir(), `onehop-contract-${process.pid}-${++unixPaths}.sock`);

cases['open and close come once and never from within connect'] = async (bench) => {
  const { listener } = await bench.listen({}, echo);
  const client = bench.connect({ port: listener.port });
  assert.deepEqual(client.events, []);
  await bench.until(() => client.has('open'), 'open');
  client.socket.destroy();
  client.socket.destroy();
  assert.deepEqual(client.events, ['open']);
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error, null);
};

cases['destroyed while connecting: close without error, never open'] = async (bench) => {
  const { listener } = await bench.listen({}, echo);
  const client = bench.connect({ port: listener.port });
  client.socket.destroy();
  assert.deepEqual(client.events, []);
  await bench.until(() => client.has('close'), 'close');
  await bench.sleep(50);
  assert.deepEqual(client.events, ['close']);
  assert.equal(client.error, null);
};

cases['writes of every kind arrive in order'] = async (bench) => {
  const { client, server } = await bench.pair();
  const bytes = Buffer.from('<bytes>');
  const { socket } = client;
  socket.writeLatin1('text\u00ff ');
  socket.write(bytes, 1, 6);
  socket.cork();
  socket.writeLatin1(' corked ');
  socket.write(bytes, 0, bytes.length);
  socket.write(pattern(40_000), 0, 40_000);
  socket.writeLatin1(' more');
  socket.uncork();
  socket.writeLatin1(' end');
  socket.end();
  await bench.until(() => server.has('end'), 'end');
  const big = pattern(40_000).toString('latin1');
  assert.equal(server.text, `text\u00ff bytes corked <bytes>${big} more end`);
};

/**
 * How long a turn takes in which a side answers with two small writes: the median of the turns of the
 * slower side, of so many of both.
 */
async function turnsOfTwo(bench: Bench, trips: number): Promise<number> {
  let left = trips;
  const { clock } = bench.transport;
  const turnsMs: number[] = [];
  let turnMs = 0;
  const answerInTwo = (side: Side): void => {
    let got = 0;
    side.onData = (bytes) => {
      got += bytes.length;
      if (got < 6) return;
      got = 0;
      turnsMs.push(clock.nowMs() - turnMs);
      turnMs = clock.nowMs();
      if (--left <= 0) return;
      side.socket.writeLatin1('one');
      side.socket.writeLatin1('two');
    };
  };
  const { client } = await bench.pair(answerInTwo, answerInTwo);
  turnMs = clock.nowMs();
  client.socket.writeLatin1('one');
  client.socket.writeLatin1('two');
  await bench.until(() => left <= 0, 'the last answer');
  const medianOf = (side: 0 | 1): number => {
    const own = turnsMs.filter((_, turn) => turn % 2 === side).sort((a, b) => a - b);
    return own[own.length >> 1]!;
  };
  return Math.max(medianOf(0), medianOf(1));
}

cases['TCP_NODELAY is on at both ends: small writes do not wait for an acknowledgement'] = async (
  bench,
) => {
  // With Nagle's algorithm at an end its turns take the 40 ms of a delayed acknowledgement, every time;
  // what a busy machine adds it does not add every time.
  let bestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5 && bestMs >= 30; i++) {
    bestMs = Math.min(bestMs, await turnsOfTwo(bench, 30));
  }
  assert.ok(bestMs < 30, `${bestMs} ms`);
};

cases['a cork holds writes until uncork'] = async (bench) => {
  const { client, server } = await bench.pair();
  client.socket.cork();
  client.socket.writeLatin1('head ');
  client.socket.write(Buffer.from('body'), 0, 4);
  assert.equal(client.socket.queuedBytes, 9);
  await bench.sleep(30);
  assert.equal(server.bytes, 0);
  assert.notEqual(client.socket.uncork(), WriteStatus.Closed);
  await bench.until(() => server.bytes === 9, 'the corked bytes');
  assert.equal(server.text, 'head body');
};

cases['two sockets corked at once do not mix'] = async (bench) => {
  const { listener, accepted } = await bench.listen({});
  const one = bench.connect({ port: listener.port });
  const two = bench.connect({ port: listener.port });
  await bench.until(() => accepted.length === 2 && one.has('open') && two.has('open'), 'open');
  one.socket.cork();
  two.socket.cork();
  for (let i = 0; i < 5; i++) {
    one.socket.writeLatin1(`one${i} `);
    two.socket.writeLatin1(`two${i} `);
  }
  two.socket.uncork();
  one.socket.end();
  two.socket.end();
  await bench.until(() => accepted.every((side) => side.has('end')), 'end');
  assert.deepEqual(accepted.map((side) => side.text).sort(), [
    'one0 one1 one2 one3 one4 ',
    'two0 two1 two2 two3 two4 ',
  ]);
};

cases['borrowed bytes may be passed on, also to a socket that does not keep up'] = async (
  bench,
) => {
  const total = 16_000_000;
  const sent = pattern(total);
  // origin -> relay in -> relay out -> slow sink
  const { client: out, server: sink } = await bench.pair(undefined, (side) => {
    side.keep = false;
  });
  const hash = createHash('sha1');
  let turns = 0;
  sink.socket.pause();
  sink.onData = (bytes) => {
    hash.update(bytes);
    if (++turns % 7 !== 0) return;
    sink.socket.pause();
    bench.transport.clock.setTimer(() => sink.socket.resume(), 1);
  };
  const { client: origin, server: relay } = await bench.pair(undefined, (side) => {
    side.keep = false;
  });
  let stalls = 0;
  relay.onData = (bytes) => {
    if (out.socket.write(bytes, 0, bytes.length) === WriteStatus.Queued) {
      if (stalls++ === 0) sink.socket.resume();
      relay.socket.pause();
    }
  };
  out.onDrain = () => relay.socket.resume();
  relay.onEnd = () => out.socket.end();
  origin.socket.write(sent, 0, total);
  origin.socket.end();
  await bench.until(() => sink.has('end'), 'the end of the stream', 30_000);
  assert.equal(sink.bytes, total);
  assert.equal(hash.digest('hex'), createHash('sha1').update(sent).digest('hex'));
  assert.ok(stalls > 0, 'back-pressure was felt');
};

cases['50 MB each way at once, byte-exact, with a bounded queue'] = async (bench) => {
  const total = 50_000_000;
  const sent = pattern(1_000_003);
  const transfer = (side: Side) => {
    const hash = createHash('sha1');
    let left = total;
    let queuedMax = 0;
    side.keep = false;
    side.onData = (bytes) => void hash.update(bytes);
    const pump = (): void => {
      while (left > 0) {
        const at = (total - left) % sent.length;
        const length = Math.min(left, 65_536, sent.length - at);
        left -= length;
        const status = side.socket.write(sent, at, at + length);
        assert.notEqual(status, WriteStatus.Closed);
        queuedMax = Math.max(queuedMax, side.socket.queuedBytes);
        if (status === WriteStatus.Queued) return;
      }
      side.onDrain = null;
      side.socket.end();
    };
    side.onDrain = pump;
    return { pump, digest: () => hash.digest('hex'), queuedMax: () => queuedMax };
  };
  const { client, server } = await bench.pair(undefined, undefined, {
    connect: { sendQueueBytesMax: 100_000 },
    listen: { sendQueueBytesMax: 100_000 },
  });
  const up = transfer(client);
  const down = transfer(server);
  up.pump();
  down.pump();
  await bench.until(() => client.has('close') && server.has('close'), 'both ends', 40_000);
  assert.deepEqual([client.error, server.error], [null, null]);
  assert.deepEqual([client.bytes, server.bytes], [total, total]);
  const expected = createHash('sha1');
  for (let left = total; left > 0; left -= sent.length) expected.update(sent.subarray(0, left));
  const digest = expected.digest('hex');
  assert.deepEqual([up.digest(), down.digest()], [digest, digest]);
  assert.ok(Math.max(up.queuedMax(), down.queuedMax()) <= 65_536, 'at most one write waits');
  assert.ok(client.has('drain') && server.has('drain'));
};

cases['a writer that ignores Queued is cut off with SEND_QUEUE_FULL'] = async (bench) => {
  const { client, server } = await bench.pair(undefined, undefined, {
    connect: { sendQueueBytesMax: 1_000_000 },
  });
  server.socket.pause();
  const chunk = pattern(100_000);
  let status: WriteStatus = WriteStatus.Flushed;
  let writes = 0;
  while (status !== WriteStatus.Closed && writes < 10_000) {
    assert.ok(client.socket.queuedBytes <= 1_000_000);
    status = client.socket.write(chunk, 0, chunk.length);
    writes++;
  }
  assert.equal(status, WriteStatus.Closed);
  assert.equal(client.has('close'), false, 'never from within write');
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error?.code, 'SEND_QUEUE_FULL');
  assert.equal(client.socket.write(chunk, 0, 1), WriteStatus.Closed);
};

cases['one write bigger than the queue limit is taken when nothing waits'] = async (bench) => {
  const { client, server } = await bench.pair(undefined, undefined, {
    connect: { sendQueueBytesMax: 1000 },
  });
  const sent = pattern(30_000_000);
  assert.equal(client.socket.write(sent, 0, sent.length), WriteStatus.Queued);
  client.socket.end();
  await bench.until(() => server.has('end'), 'end', 30_000);
  assert.ok(Buffer.concat(server.chunks).equals(sent));
};

cases['the client half-closes and still hears the answer'] = async (bench) => {
  const { client, server } = await bench.pair();
  client.socket.writeLatin1('question');
  client.socket.end();
  assert.equal(client.socket.writeLatin1('late'), WriteStatus.Closed);
  await bench.until(() => server.has('end'), 'end at the server');
  assert.equal(server.text, 'question');
  await bench.sleep(20);
  assert.equal(server.has('close'), false, 'nobody ends it for us');
  server.socket.writeLatin1('answer');
  server.socket.end();
  await bench.until(() => client.has('close') && server.has('close'), 'close');
  assert.equal(client.text, 'answer');
  assert.ok(client.has('end'));
  assert.deepEqual([client.error, server.error], [null, null]);
};

cases['the server half-closes and still hears the client'] = async (bench) => {
  const { client, server } = await bench.pair();
  server.socket.end();
  await bench.until(() => client.has('end'), 'end at the client');
  client.socket.writeLatin1('still here');
  await bench.until(() => server.bytes === 10, 'bytes after the half-close');
  client.socket.end();
  await bench.until(() => client.has('close') && server.has('close'), 'close');
  assert.equal(server.text, 'still here');
  assert.deepEqual([client.error, server.error], [null, null]);
};

cases['pause holds back data and end until resume'] = async (bench) => {
  const { client, server } = await bench.pair(undefined, (side) => {
    side.onOpen = () => side.socket.pause();
  });
  client.socket.writeLatin1('held');
  client.socket.end();
  await bench.sleep(30);
  assert.deepEqual(server.events, ['open']);
  server.socket.resume();
  await bench.until(() => server.has('end'), 'end');
  assert.equal(server.text, 'held');
};

cases['an end that comes together with bytes is held back by a pause, too'] = async (bench) => {
  const { client, server } = await bench.pair();
  server.onData = () => server.socket.pause();
  server.socket.end();
  client.socket.writeLatin1('last');
  client.socket.end();
  await bench.until(() => server.bytes > 0, 'data');
  await bench.sleep(20);
  assert.deepEqual(server.events, ['open', 'data']);
  server.onData = null;
  server.socket.resume();
  await bench.until(() => server.has('close'), 'close');
  assert.deepEqual(server.events.slice(-3), ['data', 'end', 'close']);
  assert.equal(server.text, 'last');
};

cases['pause within data stops the next data'] = async (bench) => {
  const { client, server } = await bench.pair();
  let calls = 0;
  server.onData = () => {
    calls++;
    server.socket.pause();
  };
  client.socket.write(pattern(1_000_000), 0, 1_000_000);
  await bench.until(() => calls === 1, 'the first data');
  await bench.sleep(30);
  assert.equal(calls, 1);
  server.onData = null;
  server.socket.resume();
  await bench.until(() => server.bytes === 1_000_000, 'the rest');
};

cases['a reset is seen by the peer as UPSTREAM_RESET'] = async (bench) => {
  const { client, server } = await bench.pair();
  server.socket.destroy(true);
  await bench.until(() => client.has('close') && server.has('close'), 'close');
  assert.ok(client.error instanceof OnehopError);
  assert.equal(client.error.code, 'UPSTREAM_RESET');
  assert.equal(server.error, null);
  assert.equal(client.has('end'), false);
};

cases['destroy without reset ends the peer'] = async (bench) => {
  const { client, server } = await bench.pair();
  client.socket.destroy();
  await bench.until(() => server.has('end'), 'end');
  server.socket.end();
  await bench.until(() => server.has('close'), 'close');
  assert.equal(server.error, null);
};

cases['after destroy nothing but close is heard'] = async (bench) => {
  const { client, server } = await bench.pair();
  client.onData = () => client.socket.destroy();
  server.socket.write(pattern(3_000_000), 0, 3_000_000);
  server.socket.end();
  await bench.until(() => client.has('close'), 'close');
  assert.deepEqual(client.events, ['open', 'data', 'close']);
  assert.equal(client.socket.writeLatin1('x'), WriteStatus.Closed);
  assert.equal(client.socket.write(pattern(1), 0, 1), WriteStatus.Closed);
  client.socket.end();
  client.socket.pause();
  client.socket.resume();
  client.socket.destroy(true);
};

cases['nothing can be written before open'] = async (bench) => {
  const { listener, accepted } = await bench.listen({});
  const client = bench.connect({ port: listener.port });
  assert.equal(client.socket.writeLatin1('early'), WriteStatus.Closed);
  assert.equal(client.socket.write(pattern(3), 0, 3), WriteStatus.Closed);
  await bench.until(() => client.has('open') && accepted[0]?.has('open') === true, 'open');
  assert.notEqual(client.socket.writeLatin1('now'), WriteStatus.Closed);
  await bench.until(() => accepted[0]!.bytes === 3, 'the bytes');
};

cases['writing to a peer that has gone ends in close'] = async (bench) => {
  const { client, server } = await bench.pair();
  server.socket.destroy();
  await bench.until(() => client.has('end'), 'end');
  for (let i = 0; i < 100 && client.socket.writeLatin1('x') !== WriteStatus.Closed; i++) {
    await bench.sleep(2);
  }
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error?.code, 'UPSTREAM_RESET');
};

cases['connect to a closed port is CONNECT_REFUSED'] = async (bench) => {
  const { listener } = await bench.listen({});
  await bench.wait(listener.close());
  const client = bench.connect({ port: listener.port });
  assert.deepEqual(client.events, []);
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error?.code, 'CONNECT_REFUSED');
  assert.equal(client.error?.retry, 'always');
  assert.deepEqual(client.events, ['close']);
};

cases['connect to an unknown name is RESOLVE_FAILED'] = async (bench) => {
  const client = bench.connect({ host: 'no-such-host.invalid', port: 80 });
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error?.code, 'RESOLVE_FAILED');
};

cases['connect to a missing Unix socket is CONNECT_REFUSED'] = async (bench) => {
  const client = bench.connect({ path: unixPath() });
  await bench.until(() => client.has('close'), 'close');
  assert.equal(client.error?.code, 'CONNECT_REFUSED');
};

cases['a port in use is ADDRESS_IN_USE and free again after close'] = async (bench) => {
  const { listener, accepted } = await bench.listen({}, echo);
  await assert.rejects(bench.listen({ port: listener.port }), { code: 'ADDRESS_IN_USE' });
  const client = bench.connect({ port: listener.port });
  await bench.until(() => accepted[0]?.has('open') === true && client.has('open'), 'open');
  await bench.wait(listener.close());
  const again = await bench.listen({ port: listener.port });
  assert.equal(again.listener.port, listener.port);
  client.socket.writeLatin1('alive');
  await bench.until(() => client.text === 'alive', 'the old connection lives on');
};

cases['Unix sockets work like TCP'] = async (bench) => {
  const path = unixPath();
  const { client, server } = await bench.pair(undefined, echo, { listen: { path } });
  const sent = pattern(500_000);
  client.socket.write(sent, 0, sent.length);
  await bench.until(() => client.bytes === sent.length, 'the echo');
  assert.ok(Buffer.concat(client.chunks).equals(sent));
  assert.equal(client.socket.alpnProtocol, '');
  server.socket.end();
  await bench.until(() => client.has('end'), 'end');
};

cases['1,000 connections come and go and leave nothing'] = async (bench) => {
  const { listener, accepted } = await bench.listen({}, echo);
  for (let round = 0; round < 10; round++) {
    const clients: Side[] = [];
    for (let i = 0; i < 100; i++) {
      const client = bench.connect({ port: listener.port }, (side) => {
        side.onOpen = () => side.socket.writeLatin1('ping');
        side.onData = () => {
          if (side.bytes < 4) return;
          if (i % 2 === 0) side.socket.end();
          else side.socket.destroy(i % 4 === 1);
        };
      });
      clients.push(client);
    }
    await bench.until(() => clients.every((side) => side.has('close')), 'clients closed');
    await bench.until(() => accepted.every((side) => side.has('close')), 'servers closed');
    for (const client of clients) assert.equal(client.text, 'ping');
  }
  assert.equal(accepted.length, 1000);
  const resources = process.getActiveResourcesInfo?.() ?? [];
  const sockets = resources.filter((name) => name === 'TCPSocketWrap').length;
  assert.ok(sockets < 20, `${sockets} sockets left`);
};

cases['reads that were kept stay as they are until they are given back'] = async (bench) => {
  const total = 3_000_000;
  const sent = pattern(total);
  const { client, server } = await bench.pair(undefined, (side) => {
    side.keep = false;
  });
  const kept: { at: number; view: Uint8Array }[] = [];
  let at = 0;
  let turn = 0;
  server.onData = (bytes) => {
    // Every other read is not kept: freeing those must not touch the others.
    if (server.socket.keepsReads && turn++ % 2 === 0) {
      server.socket.keepRead();
      kept.push({ at, view: bytes.subarray(0, bytes.length) });
    }
    at += bytes.length;
  };
  client.socket.write(sent, 0, total);
  client.socket.end();
  await bench.until(() => server.has('end'), 'end');
  assert.equal(at, total);
  for (const { at: from, view } of kept) {
    assert.ok(sent.subarray(from, from + view.length).equals(view), `bytes from ${from} on`);
  }
  const views = kept.map(({ view }) => view);
  const wanted = Buffer.concat(views);
  const joined = bench.transport.joinReads(views);
  assert.ok(wanted.equals(joined));
  assert.equal(joined.buffer.byteLength, joined.length);
  bench.transport.dropReads([joined]);
};

cases['memory for a body belongs to nobody else, however long'] = async ({ transport }) => {
  for (const length of [1, 100, 64 * 1024, 5_000_000]) {
    const [one, other] = [transport.bodyBuffer(length), transport.bodyBuffer(length)];
    for (const bytes of [one, other]) {
      assert.equal(bytes.length, length);
      assert.equal(bytes.buffer.byteLength, length, 'nothing else lies in its buffer');
    }
    assert.notEqual(one.buffer, other.buffer);
  }
};

cases['a block is memory of its own until it is given back'] = async ({ transport }) => {
  for (const length of [1, 4096, 64 * 1024 + 1, 1024 * 1024]) {
    const [one, other] = [transport.block(length), transport.block(length)];
    assert.equal(one.length, length);
    one.fill(1);
    other.fill(2);
    const copy = Uint8Array.prototype.slice.call(one, 0, length);
    transport.freeBlock(one);
    if (transport.name === 'sim') assert.ok(one.every((byte) => byte === 0));
    assert.equal(copy.length, length);
    assert.ok(copy.every((byte) => byte === 1));
    assert.ok(other.every((byte) => byte === 2));
    transport.freeBlock(other);
  }
};

cases['readInto fills the given bytes in place or says that it cannot'] = async (bench) => {
  const length = 700_000;
  const sent = pattern(length + 1000);
  const target = Buffer.alloc(length);
  let at = 0;
  let inPlace = 0;
  let promised = false;
  let rest = '';
  const { client, server } = await bench.pair((side) => {
    side.keep = false;
    side.onData = (bytes) => {
      const here = Math.min(bytes.length, length - at);
      if (bytes.buffer === target.buffer) {
        assert.equal(
          bytes.byteOffset,
          target.byteOffset + at,
          'in place, but not where it belongs',
        );
        inPlace += bytes.length;
        at += bytes.length;
        return;
      }
      target.set(bytes.subarray(0, here), at);
      at += here;
      rest += Buffer.from(bytes.subarray(here)).toString('latin1');
      promised = side.socket.readInto(target, at);
    };
  });
  server.socket.write(sent, 0, sent.length);
  await bench.until(() => at === length && rest.length === 1000, 'everything');
  assert.ok(target.equals(sent.subarray(0, length)), 'the bytes are the ones sent');
  assert.equal(rest, sent.subarray(length).toString('latin1'), 'no byte behind the range is lost');
  assert.equal(inPlace > 0, promised);
  client.socket.destroy();
};
