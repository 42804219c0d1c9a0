import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Transport, transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { cases } from './transport.contract.ts';
import { Bench, pattern } from './transport-harness.ts';

const targets: Record<string, () => Transport> = {
  [transport.name]: () => transport,
  sim: () => createSimTransport(),
};
if (transport.name === 'node') {
  // The documented paths of node:net, taken when a Node looks unlike those we know.
  const file = '../../../packages/onehop/dist/transport/node/transport.js';
  const { createNodeTransport } = (await import(new URL(file, import.meta.url).href)) as {
    createNodeTransport(options: { direct: boolean }): Transport;
  };
  targets['node without shortcuts'] = () => createNodeTransport({ direct: false });
}

for (const [name, run] of Object.entries(cases)) {
  for (const [target, make] of Object.entries(targets)) {
    test(`${target}: ${name}`, { timeout: 60_000 }, async (context) => {
      const bench = new Bench(make());
      if (bench.sim !== null) context.diagnostic?.(`seed ${bench.sim.seed}`);
      try {
        await run(bench);
      } finally {
        await bench.finish();
      }
    });
  }
}

// Plenty of work, for which a busy machine may have its time.
const many = { timeout: 600_000 };

test(
  'sim: every case holds whatever the seed, and a seed gives the same run twice',
  many,
  async () => {
    const heavy = /50 MB|borrowed|bigger|1,000/;
    const first = Number(process.env['ONEHOP_SEED'] ?? Math.floor(Math.random() * 1e6));
    for (let seed = first; seed < first + 50; seed++) {
      for (const [name, run] of Object.entries(cases)) {
        if (heavy.test(name)) continue;
        const ends: number[] = [];
        for (let turn = 0; turn < 2; turn++) {
          const target = createSimTransport({ seed });
          const bench = new Bench(target);
          try {
            await run(bench);
            await bench.finish();
          } catch (error) {
            throw new Error(`${name}: run with ONEHOP_SEED=${seed}`, { cause: error });
          }
          ends.push(target.clock.nowMs());
        }
        assert.equal(ends[0], ends[1], `${name}: seed ${seed} is not deterministic`);
      }
    }
  },
);

test('sim: under random resets and losses every socket still ends once, bytes stay a prefix', async () => {
  const first = Number(process.env['ONEHOP_SEED'] ?? Math.floor(Math.random() * 1e6));
  const sent = pattern(200_000);
  let resets = 0;
  let silent = 0;
  for (let seed = first; seed < first + 100; seed++) {
    const target = createSimTransport({ seed, resetChance: 0.01, dropChance: 0.005 });
    const bench = new Bench(target);
    const { listener, accepted } = await bench.listen({});
    const clients = [1, 2, 3].map(() =>
      bench.connect({ port: listener.port }, (side) => {
        side.onOpen = () => {
          side.socket.write(sent, 0, sent.length);
          side.socket.end();
        };
      }),
    );
    target.clock.run();
    for (const side of [...clients, ...accepted]) {
      if (side.error?.code === 'UPSTREAM_RESET') resets++;
      else if (!side.has('close')) silent++;
      const got = Buffer.concat(side.chunks);
      assert.ok(got.equals(sent.subarray(0, got.length)), `seed ${seed}`);
      if (side.has('end') && accepted.includes(side)) assert.equal(got.length, sent.length);
    }
    await bench.finish();
  }
  assert.ok(resets > 0 && silent > 0, `${resets} resets, ${silent} without an end`);
});

test('sim: the spoiled bytes catch a handler that keeps what it borrowed', async () => {
  const bench = new Bench(createSimTransport());
  const kept: Uint8Array[] = [];
  const { client } = await bench.pair(undefined, (side) => {
    side.onData = (bytes) => void kept.push(bytes);
  });
  client.socket.writeLatin1('keep me');
  await bench.until(() => Buffer.concat(kept).length === 7, 'bytes');
  assert.ok(kept.every((bytes) => bytes.every((byte) => byte === 0xdd)));
  await bench.finish();
});
