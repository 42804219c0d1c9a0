import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defaultPlan } from './plan.ts';
import { runLoad } from './run.ts';
import { scheduleOf } from './schedule.ts';
import { selfCheck, unaccountedRequests } from './self-check.ts';
import { EventTimer } from './sse.ts';
import { startTestServer } from './test-server.fixture.ts';

const openLoop = { connectFirst: true, connections: 5 };

test('schedules depend on the plan and its seed alone', () => {
  const take = (plan: Parameters<typeof defaultPlan>[1], count: number): number[] => {
    const schedule = scheduleOf(defaultPlan('http://h/', plan))!;
    return Array.from({ length: count }, () => {
      const due = schedule.dueMs;
      schedule.advance();
      return due;
    });
  };
  assert.equal(scheduleOf(defaultPlan('http://h/')), null);
  assert.deepEqual(take({ ratePerS: 4 }, 5), [0, 250, 500, 750, 1_000]);
  const burst = { burst: { delayMs: 100, requests: 2 } };
  assert.deepEqual(take(burst, 5), [100, 100, 200, 200, 300]);
  const poisson = { ratePerS: 1_000, arrivals: 'poisson', seed: 7 } as const;
  assert.deepEqual(take(poisson, 50), take(poisson, 50));
  assert.notDeepEqual(take(poisson, 50), take({ ...poisson, seed: 8 }, 50));
  const last = take(poisson, 20_000).at(-1)!;
  assert.ok(Math.abs(last / 20_000 - 1) < 0.03, `mean distance ${last / 20_000} ms`);
});

test('an open loop offers its rate whatever the server does', async () => {
  await using server = await startTestServer({ delayMs: 50 });
  // A closed loop on 5 connections could reach 100/s at most.
  const plan = { ...openLoop, ratePerS: 400, durationMs: 500 };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.equal(result.completed, 200);
  assert.equal(result.dropped, 0);
  assert.ok(result.inFlightPeak >= 15, `${result.inFlightPeak}`);
  assert.ok(server.connections > 5, `${server.connections}`);
  assert.ok(result.serviceMs !== null && result.scheduleLagP99Ms !== null);
  assert.ok(result.latencyMs.p50 >= result.serviceMs.p50);
  assert.ok(Math.abs(result.littlesLawRatio - 1) < 0.05, `${result.littlesLawRatio}`);
});

test('beyond the in-flight limit requests are dropped, counted and called a problem', async () => {
  await using server = await startTestServer({ delayMs: 200 });
  const plan = { ...openLoop, ratePerS: 200, requests: 60, inFlightMax: 8 };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.ok(result.dropped > 20, `${result.dropped}`);
  assert.equal(result.completed + result.dropped, 60);
  assert.ok(result.inFlightPeak <= 8);
  assert.match(result.selfCheckProblems.join(' '), /were not sent/);
});

test('requests that the pacing lost without an error are told by the self-check', async () => {
  await using server = await startTestServer({ delayMs: 1 });
  for (const plan of [
    { ...openLoop, ratePerS: 300, durationMs: 200 },
    { ...openLoop, ratePerS: 300, arrivals: 'poisson', durationMs: 200 } as const,
    { ...openLoop, ratePerS: 300, requests: 40 },
    { ...openLoop, burst: { delayMs: 30, requests: 7 }, durationMs: 100 },
  ]) {
    const result = await runLoad(defaultPlan(server.url, plan));
    assert.equal(unaccountedRequests(result), 0, JSON.stringify(plan));
    const short = { ...result, completed: result.completed - 3 };
    assert.equal(unaccountedRequests(short), 3);
    assert.match(selfCheck(short).join(' '), /3 requests of the schedule were neither sent/);
    assert.equal(unaccountedRequests({ ...short, dropped: 1, errorCounts: { timeout: 2 } }), 0);
    assert.equal(unaccountedRequests({ ...short, interrupted: true }), 0);
  }
});

test('bursts come as bursts', async () => {
  await using server = await startTestServer({ delayMs: 30 });
  const plan = { ...openLoop, burst: { delayMs: 60, requests: 10 }, requests: 30 };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.equal(result.completed, 30);
  assert.ok(result.inFlightPeak >= 10, `${result.inFlightPeak}`);
  assert.ok(result.durationMs >= 180, `${result.durationMs}`);
});

const posix = process.platform === 'win32' ? 'signals to stop a process need POSIX' : false;

/**
 * The canonical test of coordinated omission. A server is stopped for S of a run of T: at a constant
 * rate the share S/T of the requests falls into the stop, and their latencies from the due instant
 * spread evenly over 0..S. A closed loop sees one slow answer per connection and nothing else.
 */
test('a stopped server shows in the percentiles as arithmetic says', { skip: posix }, async () => {
  // On a machine that starves the server of CPU the arithmetic is somebody else's: try again.
  for (let attempt = 1; ; attempt++) {
    try {
      await stallAndCompare();
      return;
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
});

async function stallAndCompare(): Promise<void> {
  const child = spawn(
    process.versions['bun'] === undefined ? process.execPath : 'node',
    [fileURLToPath(new URL('./stall-server.fixture.js', import.meta.url))],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  try {
    const port = await new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.stdout.once('data', (line: Buffer) => resolve(line.toString('utf8').trim()));
    });
    const url = `http://127.0.0.1:${port}/`;
    /** How long the server was stopped, at least. */
    const stall = async (): Promise<number> => {
      await sleep(700);
      child.kill('SIGSTOP');
      const stoppedAt = performance.now();
      await sleep(500);
      const stoppedMs = performance.now() - stoppedAt;
      child.kill('SIGCONT');
      return stoppedMs;
    };
    const plan = { ...openLoop, ratePerS: 500, durationMs: 2_500 };
    const [open, stallMs] = await Promise.all([runLoad(defaultPlan(url, plan)), stall()]);
    assert.equal(open.completed, 1_250);
    assert.equal(open.dropped, 0);
    // At p the wait is the stop less the time in which the slower ones were due: (1 - p) * 2.5 s.
    // Catching up takes the server a moment, more on a busy machine, so there is room above.
    const { p50, p90, p95, p99, max } = open.latencyMs;
    const near = (name: string, found: number, expected: number): void => {
      const text = `${name} is ${found}, expected ${expected} of a stop of ${stallMs} ms`;
      assert.ok(found > expected - 40 && found < expected + 200, text);
    };
    assert.ok(p50 < 150, `p50 ${p50}`);
    near('p90', p90, stallMs - 250);
    near('p95', p95, stallMs - 125);
    near('p99', p99!, stallMs - 25);
    near('max', max, stallMs);

    const closedPlan = { connections: 5, durationMs: 2_000 };
    const [closed] = await Promise.all([runLoad(defaultPlan(url, closedPlan)), stall()]);
    assert.ok(closed.latencyMs.max > 400);
    assert.ok(closed.latencyMs.p99! < 100, `closed p99 ${closed.latencyMs.p99}`);
  } finally {
    child.kill('SIGKILL');
  }
}

test('events end with an empty line, however the bytes are cut', () => {
  const text = 'data: a\n\ndata: b\r\n\r\n: comment\n\n\n\ndata: c\r\rdata: unfinished\n';
  const bytes = Buffer.from(text);
  for (let size = 1; size <= bytes.length; size++) {
    const timer = new EventTimer();
    const gaps: number[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      timer.take(
        bytes,
        at,
        Math.min(at + size, bytes.length),
        at,
        gaps as { push(ms: number): void },
      );
    }
    assert.equal(timer.events, 4, `in pieces of ${size}`);
    assert.equal(gaps.length, 3);
  }
});
