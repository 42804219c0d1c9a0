// One process of transport-stress.test.ts: node --expose-gc transport-stress-child.js SCENARIO SEED
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Random } from '../fuzz/random.ts';
import { stressChurn } from './stress-churn.ts';
import { stressInto } from './stress-into.ts';
import { stressRelay } from './stress-relay.ts';
import { isLentUntouched, must } from './stress-rig.ts';
import {
  type Apart,
  slotsFor,
  stressAccepting,
  stressConnecting,
  stressHuge,
  stressWrites,
} from './stress-writes.ts';

const [scenario = '', seedText = '1'] = process.argv.slice(2);
const seed = Number(seedText);

async function apart(count: number): Promise<void> {
  const given: Apart = { seed, count, slots: slotsFor(count) };
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: given });
  await stressConnecting(given, worker);
}

/** Threads that are ended in the middle of it. */
async function threads(count: number): Promise<void> {
  const random = new Random(seed);
  for (let left = count; left > 0; left--) {
    const given: Apart = { seed: seed + left, count: 200, slots: slotsFor(200) };
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: { ...given, alone: true },
    });
    await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => setTimeout(resolve, random.below(120)));
    await worker.terminate();
  }
}

const scenarios: Record<string, () => Promise<unknown>> = {
  writes: () => stressWrites(seed, 400),
  huge: () => stressHuge(seed),
  apart: () => apart(400),
  into: () => stressInto(seed, 200),
  relay: () => stressRelay(seed, 150),
  churn: () => stressChurn(seed, 150),
  threads: () => threads(6),
};

async function main(): Promise<void> {
  const run = scenarios[scenario];
  must(run !== undefined, `no such scenario: ${scenario}`);
  const startMs = performance.now();
  await run();
  must(isLentUntouched(), 'bytes that were only lent for writing were changed');
  console.log(`done in ${Math.round(performance.now() - startMs)} ms`);
}

// What a callback throws comes here, in either runtime.
process.on('uncaughtException', (error) => {
  console.log(`wrong: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.exit(1);
});
if (isMainThread) {
  await main();
  process.exit(0);
} else {
  const { alone, ...given } = workerData as Apart & { alone?: boolean };
  if (alone === true) {
    parentPort!.postMessage('begins');
    await stressWrites(given.seed, given.count);
  } else await stressAccepting(given);
}
