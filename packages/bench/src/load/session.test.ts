import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultPlan } from './plan.ts';
import { LoadSession } from './session.ts';
import { SessionProcess } from './session-process.ts';
import { startTestServer } from './test-server.fixture.ts';

const plan = (url: string) =>
  defaultPlan(url, { connections: 4, requests: 100, connectFirst: true, waitOngoing: true });

test('recorded pieces add up to one result on connections that stay; others leave no trace', async () => {
  await using server = await startTestServer();
  const session = await LoadSession.open(plan(server.url));
  try {
    const pieces = [
      await session.run({ requests: 30, durationMs: null }, true),
      await session.run({ requests: 50, durationMs: null }, false),
      await session.run({ requests: 20, durationMs: null }, true),
    ];
    assert.deepEqual(
      pieces.map(({ completed }) => completed),
      [30, 50, 20],
    );
    const result = session.result();
    assert.equal(result.completed, 50);
    assert.equal(result.valid, 50);
    const recordedMs = pieces[0]!.durationMs + pieces[2]!.durationMs;
    assert.ok(Math.abs(result.durationMs - recordedMs) < 1e-6);
    assert.equal(result.latencyMs.p50 > 0, true);
    assert.equal(result.connectionsEstablished, 4);
    assert.equal(server.connections, 4);
    assert.equal(server.requests, 100);
    // Recording starts afresh.
    await session.run({ requests: 7, durationMs: null }, true);
    assert.equal(session.result().completed, 7);
    assert.throws(() => session.result(), /nothing was recorded/);
  } finally {
    session.close();
  }
});

test('a generating process carries sessions side by side and tells what fails', async () => {
  await using server = await startTestServer();
  const generator = new SessionProcess({ runtime: 'node' });
  try {
    const [one, two] = await Promise.all([
      generator.open(plan(server.url)),
      generator.open(plan(`${server.url}other`)),
    ]);
    const limits = { requests: 40, durationMs: null };
    await Promise.all([generator.run(one!, limits, true), generator.run(two!, limits, true)]);
    const result = await generator.result(two!);
    assert.equal(result.completed, 40);
    assert.equal(result.plan.url, `${server.url}other`);
    await generator.close(one!);
    await assert.rejects(generator.run(one!, limits, true), /there is no session/);
    await assert.rejects(generator.open(plan('http://127.0.0.1:9/')), /cannot connect/);
  } finally {
    generator.stop();
  }
  await assert.rejects(generator.result(1), /the load generator ended/);
});
