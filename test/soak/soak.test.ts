/** A short soak on the runtime that runs this file; `npm run soak` is the long one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeSoak, judgeSoak, runSoak } from './soak.ts';

test('killed upstreams and reloads cost no idempotent request, and nothing grows', async () => {
  const result = await runSoak({ durationMs: 10_000, callers: 12, disturbEveryMs: 2000 });
  assert.deepEqual(judgeSoak(result, 60), [], describeSoak(result));
  assert.ok(result.requests > 500, describeSoak(result));
});
