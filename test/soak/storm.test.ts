/** A short storm on the runtime that runs this file; `npm run storm` is the full one, with its bars. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeStorm, quantile, runStorm } from './storm.ts';

test('callers that vanish in any phase are seen by the upstream, and leave nothing behind', async () => {
  const result = await runStorm({ clients: 150, concurrency: 10 });
  const text = describeStorm(result);
  const { after, delaysMs, missed, rssBeforeMb } = result;
  assert.equal(missed, 0, text);
  assert.equal(delaysMs.length, 150);
  // The bars are 5 and 50 ms; other tests share this machine's two cores.
  assert.ok(quantile(delaysMs, 0.5) < 25, text);
  assert.ok(delaysMs.at(-1)! < 500, text);
  assert.deepEqual(
    [after.exchangesOpen, after.pending, after.queued, after.connectionsOpen, after.connections],
    [0, 0, 0, 0, 0],
    text,
  );
  assert.ok(after.rssMb - rssBeforeMb < 60, text);
});
