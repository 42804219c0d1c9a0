import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPaced } from './calibrate-upstream.ts';
import { driverResultOf, parseWrk, runH2load, runOha, runWrk, toolVersion } from './drivers.ts';
import { defaultPlan } from './plan.ts';
import { runLoad } from './run.ts';

const missing = (tool: 'oha' | 'wrk' | 'h2load'): string | false =>
  toolVersion(tool) === null ? `${tool} is not on PATH` : false;

test('what wrk prints is read, units and failures included', () => {
  const text = `Running 1s test @ http://127.0.0.1:1/
  1 threads and 10 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   525.98us    1.22ms   1.35s    91.80%
    Req/Sec    41.70k    13.41k   65.95k    70.00%
  Latency Distribution
     50%  115.00us
     75%  242.00us
     90%    1.45ms
     99%    6.39ms
  41618 requests in 1.01s, 8.10MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:  41397.48
Transfer/sec:      8.05MB
`;
  assert.deepEqual(parseWrk(text, 'wrk 4.1.0'), {
    generator: 'wrk 4.1.0',
    completed: 41_618,
    requestsPerS: 41_397.48,
    durationMs: 1_010,
    p50Ms: 0.115,
    p99Ms: 6.39,
    meanMs: 0.52598,
    maxMs: 1_350,
    failed: 10,
  });
  assert.throws(() => parseWrk('unable to connect', 'wrk'), /no result/);
});

for (const [tool, run] of [
  ['oha', runOha],
  ['wrk', runWrk],
  ['h2load', runH2load],
] as const) {
  test(`${tool} runs a plan and tells what we tell`, { skip: missing(tool) }, async () => {
    const upstream = await startPaced(5);
    try {
      const plan = defaultPlan(upstream.url, { connections: 4, durationMs: 1_000 });
      const theirs = await run(plan);
      const ours = driverResultOf(await runLoad(plan));
      for (const result of [theirs, ours]) {
        assert.equal(result.failed, 0);
        // Four connections and 5 ms each, or more as the machine has it; no other unit comes near.
        assert.ok(result.requestsPerS > 8 && result.requestsPerS < 850, `${result.requestsPerS}`);
        assert.ok(result.p50Ms! >= 4.9 && result.p50Ms! < 500, `${result.p50Ms}`);
        // Below 1,000 samples we claim no p99.
        assert.ok((result.p99Ms ?? Number.POSITIVE_INFINITY) >= result.p50Ms!);
      }
      await assert.rejects(run({ ...plan, ratePerS: 5 }), /cannot run a plan with a rate/);
    } finally {
      await upstream.stop();
    }
  });
}
