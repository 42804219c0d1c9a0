import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transport } from 'onehop/transport';
import { defaultPlan } from './plan.ts';
import { primeEngine } from './prime.ts';

const url = 'http://host.invalid/';

for (const [name, overrides] of [
  ['a plain plan', {}],
  ['an expected body', { expectBody: Buffer.from('expected') }],
  ['a pattern', { expectBodyPattern: '"message"' }],
  ['server-sent events', { sse: true }],
  ['POST in an open loop', { method: 'POST', body: Buffer.from('x'), ratePerS: 10 }],
  ['keep-alive off', { keepAlive: false }],
] as const) {
  test(`priming runs thousands of requests without a network: ${name}`, async () => {
    const plan = defaultPlan(url, overrides);
    const { completed, valid, errors } = await primeEngine(plan, transport.clock);
    assert.ok(completed >= 10_000, `${completed}`);
    assert.equal(errors, 0);
    // With a pattern the stand-in body is what it is; all others are right.
    if (plan.expectBodyPattern === null) assert.equal(valid, completed);
  });
}

test('priming for a long expected body does not compare all of it 20,000 times', async () => {
  const bodyBytes = 5 * 1024 * 1024;
  const plan = defaultPlan(url, { expectBody: Buffer.alloc(bodyBytes, 'x') });
  const recorder = await primeEngine(plan, transport.clock);
  assert.equal(recorder.valid, recorder.completed);
  assert.ok(recorder.bodyBytes < recorder.completed * 64 * 1024, `${recorder.bodyBytes}`);
});
