/** The thread of pacer.ts: sleeps as long as it is told, then wakes its parent by a message. */
import { parentPort, workerData } from 'node:worker_threads';

const { shared } = workerData as { shared: SharedArrayBuffer };
/** Word 0 counts the orders; word 1 is 1 when it is time to go. */
const words = new Int32Array(shared, 0, 2);
const sleepMs = new Float64Array(shared, 8, 1);

/**
 * A wake-up can get lost on a starved machine, and a thread that sleeps for ever would then keep its
 * process from ending. So no sleep without an order is longer than this.
 */
const IDLE_MS = 5;

parentPort!.postMessage('ready');
let order = 0;
for (;;) {
  while (Atomics.wait(words, 0, order, IDLE_MS) === 'timed-out') {
    // Nothing was ordered yet.
  }
  order = Atomics.load(words, 0);
  if (Atomics.load(words, 1) === 1) break;
  // The next order cuts the sleep short and counts from anew.
  if (Atomics.wait(words, 0, order, sleepMs[0]!) === 'timed-out') parentPort!.postMessage('due');
}
parentPort!.close();
