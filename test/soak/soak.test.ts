/** A short soak on the runtime that runs this file; `npm run soak` is the long one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownRuntime } from '../support/serve-process.ts';
import { runSoak } from './soak.ts';
import { describeSoak, judgeSoak } from './soak-report.ts';

test('killed upstreams and workers, reloads and restarts lose nothing, and nothing grows', {
  skip: process.platform === 'linux' ? false : 'reads /proc',
}, async () => {
  const result = await runSoak({
    durationMs: 16_000,
    disturbEveryMs: 1200,
    ratePerS: 200,
    runtime: ownRuntime,
  });
  assert.deepEqual(judgeSoak(result, 60), [], describeSoak(result));
  assert.ok(result.requests > 800, describeSoak(result));
});
