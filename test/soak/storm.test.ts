/**
 * A short storm on the runtime that runs this file: what must hold however slow the machine is. How
 * soon it happens is for `npm run storm`, which has the bars.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runStorm } from './storm.ts';
import { describeStorm, judgeOutcome } from './storm-report.ts';

const settleMs = 30_000;

test('callers that vanish in any phase are seen by the upstream, and leave nothing behind', async () => {
  const result = await runStorm({
    clients: 220,
    waves: 1,
    spreadMs: 1500,
    mode: 'spread',
    settleMs,
  });
  assert.deepEqual(judgeOutcome(result), [], describeStorm(result));
  assert.ok(result.all.worstMs < 5000, describeStorm(result));
});

test('the process of many callers is killed: the upstream sees every one of them leave', async () => {
  const result = await runStorm({
    clients: 120,
    waves: 1,
    spreadMs: 0,
    mode: 'at-once',
    settleMs,
  });
  assert.deepEqual(judgeOutcome(result), [], describeStorm(result));
  assert.equal(result.arrived, 120);
});
