import { test } from 'node:test';
import { type Transport, transport } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { cases } from './transport.contract.ts';
import { Bench } from './transport-harness.ts';

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
