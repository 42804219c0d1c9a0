import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import type { OhaJson } from './oha-types.ts';
import { decodePlan, defaultPlan, encodePlan } from './plan.ts';
import { runLoad } from './run.ts';
import { spawnLoad } from './spawn.ts';
import { body, startTestServer } from './test-server.fixture.ts';

test('a closed loop sends exactly n requests over c connections and balances its books', async () => {
  await using server = await startTestServer();
  const result = await runLoad(defaultPlan(server.url, { requests: 2_000, connections: 10 }));
  assert.equal(result.completed, 2_000);
  assert.equal(result.valid, 2_000);
  assert.equal(server.requests, 2_000);
  assert.equal(server.connections, 10);
  assert.equal(result.connectionsEstablished, 10);
  assert.deepEqual(result.statusCounts, { '200': 2_000 });
  assert.equal(result.totalBodyBytes, 2_000 * body.length);
  assert.ok(Math.abs(result.littlesLawRatio - 1) < 0.05, `${result.littlesLawRatio}`);
  assert.equal(result.quantilesMs.length, 101);
  assert.ok(result.connectSamplesMs !== null);
  assert.ok(result.latencyMs.p99 !== null && result.latencyMs.p99 <= result.latencyMs.max);
  const oha = result.oha as OhaJson;
  assert.equal(oha.statusCodeDistribution['200'], 2_000);
});

test('the warm-up is left out of every figure and connections are opened ahead of the clock', async () => {
  await using server = await startTestServer();
  const plan = { requests: 300, connections: 5, warmupRequests: 100, connectFirst: true };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.equal(result.completed, 300);
  assert.equal(server.requests, 400);
  assert.equal(server.connections, 5);
  assert.equal(result.connectSamplesMs, null);
});

test('a duration ends the run: cut off or waited for', async () => {
  await using server = await startTestServer({ delayMs: 80 });
  const cut = await runLoad(defaultPlan(server.url, { durationMs: 1000, connections: 4 }));
  assert.equal(cut.abortedAtDeadline, 4);
  // Twelve times on each connection at most; fewer on a machine that is late with the answers.
  assert.ok(cut.completed >= 4 && cut.completed <= 48, `${cut.completed}`);
  assert.equal((cut.oha as OhaJson).errorDistribution['aborted due to deadline'], 4);
  const plan = { durationMs: 1000, connections: 4, waitOngoing: true };
  const waited = await runLoad(defaultPlan(server.url, plan));
  assert.equal(waited.abortedAtDeadline, 0);
  assert.ok(waited.completed >= 8 && waited.completed <= 52, `${waited.completed}`);
  assert.ok(waited.durationMs > 1000, `${waited.durationMs}`);
});

test('without keep-alive every request opens a connection', async () => {
  await using server = await startTestServer();
  const plan = { requests: 40, connections: 4, keepAlive: false };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.equal(result.completed, 40);
  assert.equal(server.connections, 40);
  assert.equal(result.connectMs?.min !== undefined, true);
  assert.equal(result.latencyMs.min > 0, true);
});

test('a server that closes after each answer costs a reconnect, not an error', async () => {
  await using server = await startTestServer({ close: true });
  const result = await runLoad(defaultPlan(server.url, { requests: 20, connections: 2 }));
  assert.equal(result.completed, 20);
  assert.deepEqual(result.errorCounts, {});
  assert.equal(server.connections, 20);
  // Only the first connection of each slot is our own cold start; the rest is the server's doing.
  assert.equal(result.connectSamplesMs !== null, true);
});

test('timeouts, wrong bodies, bad statuses and broken answers are told apart', async () => {
  await using server = await startTestServer({ delayMs: 3_000 });
  const plan = { requests: 4, connections: 4, timeoutMs: 60 };
  const late = await runLoad(defaultPlan(server.url, plan));
  assert.deepEqual(late.errorCounts, { timeout: 4 });
  assert.equal(late.completed, 0);
  assert.equal(late.latencyMs.p50, 0);

  await using good = await startTestServer();
  const expected = (text: string) =>
    runLoad(defaultPlan(good.url, { requests: 10, connections: 2, expectBody: Buffer.from(text) }));
  assert.equal((await expected(body)).valid, 10);
  const wrong = await expected(`${body.slice(0, -1)}X`);
  assert.equal(wrong.valid, 0);
  assert.equal(wrong.invalidBodies, 10);
  assert.equal((await expected(`${body}more`)).invalidBodies, 10);
  const pattern = await runLoad(
    defaultPlan(good.url, { requests: 10, connections: 2, expectBodyPattern: '^\\{"message":' }),
  );
  assert.equal(pattern.valid, 10);

  const missing = await runLoad(
    defaultPlan(`${good.url}missing`, { requests: 10, connections: 2 }),
  );
  assert.equal(missing.completed, 10);
  assert.equal(missing.valid, 0);
  assert.deepEqual(missing.statusCounts, { '404': 10 });
  const truncated = await runLoad(
    defaultPlan(`${good.url}truncated`, { requests: 4, connections: 2 }),
  );
  assert.deepEqual(truncated.errorCounts, { 'response ended early': 4 });
  const invalid = await runLoad(defaultPlan(`${good.url}garbage`, { requests: 4, connections: 2 }));
  assert.deepEqual(invalid.errorCounts, { 'invalid HTTP response': 4 });
});

test('redirects are answers by default and followed when asked', async () => {
  await using server = await startTestServer();
  const url = `${server.url}redirect`;
  const plain = await runLoad(defaultPlan(url, { requests: 4, connections: 2 }));
  assert.deepEqual(plain.statusCounts, { '302': 4 });
  const plan = { requests: 4, connections: 2, redirectsMax: 2 };
  const followed = await runLoad(defaultPlan(url, plan));
  assert.deepEqual(followed.statusCounts, { '200': 4 });
  assert.equal(followed.completed, 4);
});

test('server-sent events are counted and their gaps timed', async () => {
  await using server = await startTestServer();
  const plan = { requests: 4, connections: 2, sse: true };
  const result = await runLoad(defaultPlan(`${server.url}sse`, plan));
  assert.equal(result.sseEvents, 4 * 5);
  assert.ok(result.sseGapMs !== null && result.firstByteMs !== null);
  // Five events 60 ms apart: what a busy machine adds or takes moves neither out of its order.
  const { p50: wholeMs } = result.latencyMs;
  assert.ok(result.sseGapMs.p50 > 20 && result.sseGapMs.p50 < wholeMs, `${result.sseGapMs.p50}`);
  assert.ok(result.firstByteMs.p50 < wholeMs - 120, `${result.firstByteMs.p50} of ${wholeMs}`);
});

test('what cannot be reached or makes no sense is one sentence', async () => {
  const refused = runLoad(defaultPlan('http://127.0.0.1:1/', { requests: 1_000, connections: 5 }));
  await assert.rejects(refused, /cannot connect to http:\/\/127\.0\.0\.1:1: connection refused/);
  await assert.rejects(runLoad(defaultPlan('ftp://x/')), CliError);
  await assert.rejects(runLoad(defaultPlan('http://nowhere.invalid/')), /cannot resolve/);
  for (const wrong of [
    { connections: 0 },
    { requests: 0 },
    { requests: 1.5 },
    { durationMs: -1 },
    { ratePerS: 0 },
    { method: 'G T' },
    { headers: [['a b', 'c']] as const },
    { headers: [['a', 'b\r\nc']] as const },
    { expectBodyPattern: '(' },
  ]) {
    const plan = defaultPlan('http://127.0.0.1:1/', wrong);
    await assert.rejects(runLoad(plan), CliError, JSON.stringify(wrong));
  }
});

test('a plan survives the way to another process', () => {
  const plan = defaultPlan('http://h/', {
    body: Uint8Array.of(0, 255, 10),
    bodies: [Uint8Array.of(1), Uint8Array.of(2, 3)],
    headers: [['a', 'b']],
  });
  assert.deepEqual(decodePlan(encodePlan(plan)), plan);
  const buffer = { ...plan, body: Buffer.from(plan.body!) };
  assert.deepEqual(decodePlan(encodePlan(buffer)), plan);
});

test('a spawned run gives the same kind of result, errors included', async () => {
  await using server = await startTestServer();
  const plan = defaultPlan(server.url, { requests: 500, connections: 5 });
  const result = await spawnLoad(plan, { runtime: 'node' });
  assert.equal(result.completed, 500);
  assert.match(result.generator, /^onehop load on node/);
  assert.equal(result.plan, plan);
  const lost = spawnLoad(defaultPlan('http://127.0.0.1:1/', { requests: 5, connections: 1 }));
  await assert.rejects(lost, /connection refused/);
});

test('an interrupted run keeps what it measured', async () => {
  await using server = await startTestServer({ delayMs: 5 });
  const stop = new AbortController();
  const timer = setInterval(() => {
    if (server.requests > 20) stop.abort();
  }, 20);
  const plan = defaultPlan(server.url, { durationMs: 20_000, connections: 2 });
  const result = await spawnLoad(plan, { runtime: 'node', signal: stop.signal });
  clearInterval(timer);
  assert.equal(result.interrupted, true);
  assert.ok(result.completed > 0 && result.durationMs < 19_000, `${result.durationMs} ms`);
});

test('a parent that draws slowly disturbs nothing: progress is rare and one-way', async () => {
  const server = spawn(
    process.versions['bun'] === undefined ? process.execPath : 'node',
    [fileURLToPath(new URL('./stall-server.fixture.js', import.meta.url))],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  try {
    const port = await new Promise<string>((resolve, reject) => {
      server.once('error', reject);
      server.stdout.once('data', (line: Buffer) => resolve(line.toString('utf8').trim()));
    });
    const never = new Int32Array(new SharedArrayBuffer(4));
    let shown = 0;
    const plan = { ratePerS: 200, durationMs: 1_600, connections: 2, connectFirst: true };
    const result = await spawnLoad(defaultPlan(`http://127.0.0.1:${port}/`, plan), {
      runtime: 'node',
      onProgress() {
        shown++;
        // This process is frozen for most of the run.
        Atomics.wait(never, 0, 0, 220);
      },
    });
    assert.equal(result.completed, 320);
    const shownMax = result.durationMs / 250 + 1;
    assert.ok(shown >= 1 && shown <= shownMax, `${shown} reports in ${result.durationMs} ms`);
    // In the same process freezes of 220 ms with pauses of 30 would make 95 ms of the median.
    assert.ok(result.latencyMs.p50 < 90, `p50 ${result.latencyMs.p50}`);
  } finally {
    server.kill('SIGKILL');
  }
});

test('requests go over a Unix socket', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onehop-unix-'));
  const path = join(folder, 'u.sock');
  const server = createServer((_request, response) => response.end('hello'));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    const plan = {
      requests: 20,
      connections: 2,
      unixSocket: path,
      expectBody: Buffer.from('hello'),
    };
    const result = await runLoad(defaultPlan('http://any.invalid/', plan));
    assert.equal(result.valid, 20);
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('the generating process does not send the bytes of the plan back', async () => {
  await using server = await startTestServer();
  const plan = defaultPlan(server.url, { requests: 2, connections: 1, method: 'POST' });
  plan.body = Buffer.alloc(1024 * 1024, 'x');
  const script = fileURLToPath(new URL('./child.js', import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write(`${encodePlan(plan)}\n`);
  let text = '';
  child.stdout.on('data', (piece: Buffer) => {
    text += piece;
  });
  await new Promise((resolve) => child.once('close', resolve));
  assert.match(text, /"kind":"result"/);
  assert.ok(text.length < plan.body.length, `${text.length}`);
});
