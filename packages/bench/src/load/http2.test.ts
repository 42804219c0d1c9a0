import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { startStatic } from './calibrate-upstream.ts';
import { makeCertificate, noOpenssl } from './certificate.fixture.ts';
import { debugRequest } from './debug.ts';
import { runH2load, toolVersion } from './drivers.ts';
import { startH2Server } from './h2-server.fixture.ts';
import type { OhaJson } from './oha-types.ts';
import { defaultPlan } from './plan.ts';
import { runLoad } from './run.ts';
import { LoadSession } from './session.ts';
import { body, startTestServer } from './test-server.fixture.ts';
import { textReport } from './text-report.ts';
import type { LoadPlan } from './types.ts';

const run = (url: string, plan: Partial<LoadPlan>) =>
  runLoad(defaultPlan(url, { http2: true, ...plan }));

test('c connections with p streams each carry exactly n requests', async () => {
  await using server = await startH2Server({ delayMs: 5 });
  const plan = { requests: 4_000, connections: 4, streamsPerConnection: 5 };
  const result = await run(server.url, { ...plan, expectBody: Buffer.from(body) });
  assert.equal(result.completed, 4_000);
  assert.equal(result.valid, 4_000);
  assert.deepEqual(result.errorCounts, {});
  assert.equal(result.connectionsEstablished, 4);
  assert.equal(result.inFlightPeak, 20);
  assert.equal(result.totalBodyBytes, 4_000 * body.length);
  const stats = await server.stats();
  assert.equal(stats.streams, 4_000);
  assert.equal(stats.connections, 4);
  assert.equal(stats.streamsPeak, 5);
  // 200 requests in each lane: the tail, in which not all of them are busy, is small.
  assert.ok(Math.abs(result.littlesLawRatio - 1) < 0.05, `${result.littlesLawRatio}`);
  assert.ok(result.latencyMs.min >= 4, `${result.latencyMs.min}`);
  // As in oha: connections are opened ahead of the clock and timed once each.
  assert.equal(result.connectSamplesMs, null);
  assert.equal(result.connectMs !== null, true);
  const oha = result.oha as OhaJson;
  assert.deepEqual(oha.statusCodeDistribution, { '200': 4_000 });
  assert.equal(Object.keys(oha.responseTimeHistogram).length, 11);
});

test('a duration ends the run, a warm-up is left out and pieces add up', async () => {
  await using server = await startH2Server({ delayMs: 80 });
  const shape = { connections: 2, streamsPerConnection: 2 };
  const cut = await run(`${server.url}hang`, { ...shape, durationMs: 200 });
  assert.equal(cut.abortedAtDeadline, 4);
  assert.equal((cut.oha as OhaJson).errorDistribution['aborted due to deadline'], 4);
  const waited = await run(server.url, { ...shape, durationMs: 200, waitOngoing: true });
  assert.equal(waited.abortedAtDeadline, 0);
  const before = (await server.stats()).streams;
  const warm = await run(server.url, { ...shape, requests: 8, warmupRequests: 4 });
  assert.equal(warm.completed, 8);
  assert.equal((await server.stats()).streams - before, 12);
  const session = await LoadSession.open(
    defaultPlan(server.url, { http2: true, ...shape, requests: 8 }),
  );
  await session.run({ requests: 8, durationMs: null }, true);
  await session.run({ requests: 4, durationMs: null }, true);
  const { completed, connectionsEstablished } = session.result();
  session.close();
  assert.deepEqual(
    { completed, connectionsEstablished },
    { completed: 12, connectionsEstablished: 2 },
  );
});

test('an open loop counts from the due instant and opens more connections when all are busy', async () => {
  await using server = await startH2Server({ delayMs: 50 });
  const plan = { connections: 1, streamsPerConnection: 4, ratePerS: 400, durationMs: 500 };
  const result = await run(server.url, plan);
  assert.equal(result.completed, 200);
  assert.equal(result.dropped, 0);
  assert.ok(result.inFlightPeak >= 15, `${result.inFlightPeak}`);
  const { connections, streamsPeak } = await server.stats();
  assert.ok(connections > 3, `${connections}`);
  assert.ok(streamsPeak <= 4, `${streamsPeak}`);
  assert.ok(result.serviceMs !== null && result.latencyMs.p50 >= result.serviceMs.p50);
  assert.ok(Math.abs(result.littlesLawRatio - 1) < 0.05, `${result.littlesLawRatio}`);
  const few = { ...plan, inFlightMax: 8 };
  const dropped = await run(server.url, few);
  assert.ok(dropped.dropped > 20 && dropped.inFlightPeak <= 8, `${dropped.dropped}`);
});

test('streams that are reset, cut, short or late are errors by their name', async () => {
  await using server = await startH2Server();
  const plan = { requests: 6, connections: 2, streamsPerConnection: 2 };
  const errors = async (path: string, more: Partial<LoadPlan> = {}) => {
    const result = await run(`${server.url}${path}`, { ...plan, ...more });
    assert.equal(result.completed, 0, path);
    return { counts: result.errorCounts, reset: result.http2!.streamsReset };
  };
  assert.deepEqual(await errors('refused'), {
    counts: { 'stream reset: REFUSED_STREAM': 6 },
    reset: 6,
  });
  assert.deepEqual(await errors('cut'), {
    counts: { 'stream reset: INTERNAL_ERROR': 6 },
    reset: 6,
  });
  assert.deepEqual(await errors('cancelled'), {
    counts: { 'stream reset: CANCEL': 6 },
    reset: 6,
  });
  assert.deepEqual(await errors('short'), { counts: { 'response ended early': 6 }, reset: 0 });
  assert.deepEqual(await errors('hang', { timeoutMs: 60 }), { counts: { timeout: 6 }, reset: 0 });
  const missing = await run(`${server.url}missing`, plan);
  assert.deepEqual(missing.statusCounts, { '404': 6 });
  assert.equal(missing.valid, 0);
});

test('a connection that ends takes its streams along and is opened again', async () => {
  await using server = await startH2Server();
  const plan = { requests: 6, connections: 1 };
  const error = await run(`${server.url}goaway-error`, plan);
  assert.deepEqual(error.errorCounts, { 'connection ended by GOAWAY: INTERNAL_ERROR': 6 });
  assert.equal(error.http2!.goaways, 6);
  const gone = await run(`${server.url}gone`, plan);
  assert.deepEqual(gone.errorCounts, { 'connection closed before the response': 6 });
  assert.equal(gone.connectionsEstablished >= 6, true);
});

test('a GOAWAY in order costs a reconnect, not an error: untouched streams are sent again', async () => {
  await using server = await startH2Server({ goawayEvery: 4, delayMs: 2 });
  // Five streams leave at once and the fourth is the last that is looked at.
  const plan = { requests: 100, connections: 2, streamsPerConnection: 5 };
  const result = await run(server.url, plan);
  assert.deepEqual(result.errorCounts, {});
  assert.equal(result.completed, 100);
  // What was not looked at is not in the server's count either: nothing was processed twice.
  assert.equal((await server.stats()).streams, 100);
  const { goaways, sentAgain, streamsReset } = result.http2!;
  assert.ok(goaways >= 20, `${goaways}`);
  assert.ok(sentAgain > 0, `${sentAgain}`);
  assert.equal(streamsReset, 0);
  assert.ok(result.connectionsEstablished >= 20, `${result.connectionsEstablished}`);
  assert.match(textReport(result, null, false), /HTTP\/2:\t0 streams reset, \d+ GOAWAY/);
});

test('more streams than the server allows wait, and the self-check says so', async () => {
  await using server = await startH2Server({ maxConcurrentStreams: 3, delayMs: 5 });
  const result = await run(server.url, { requests: 60, connections: 1, streamsPerConnection: 8 });
  assert.equal(result.completed, 60);
  assert.equal((await server.stats()).streamsPeak, 3);
  assert.equal(result.http2!.streamsAllowed, 3);
  assert.match(result.selfCheckProblems.join(' '), /allows 3 streams on a connection/);
});

test('fields and bodies arrive as HTTP/2 wants them', async () => {
  await using server = await startH2Server();
  const plan = {
    requests: 1,
    connections: 1,
    method: 'POST',
    body: Buffer.from('hello'),
    headers: [
      ['Host', 'example.org'],
      ['X-One', '1'],
      ['x-one', '2'],
    ] as const,
  };
  assert.equal((await run(`${server.url}other?q=1`, plan)).statusCounts['404'], 1);
  const { headers, body: sent } = (await server.stats()).last;
  assert.equal(sent, 'hello');
  assert.equal(headers[':method'], 'POST');
  assert.equal(headers[':path'], '/other?q=1');
  assert.equal(headers[':authority'], 'example.org');
  assert.equal(headers['x-one'], '1, 2');
  assert.equal(headers['content-length'], '5');
  const head = await run(server.url, { requests: 3, connections: 1, method: 'HEAD' });
  assert.equal(head.completed, 3);
  const shown = await debugRequest(defaultPlan(server.url, { http2: true }));
  assert.match(shown, /^:method: GET\n/);
  assert.match(shown, /:status: 200\n/);
  assert.ok(shown.includes(body));
});

test('server-sent events are counted and their gaps timed', async () => {
  await using server = await startH2Server();
  const plan = { requests: 4, connections: 1, streamsPerConnection: 2, sse: true };
  const result = await run(`${server.url}sse`, plan);
  assert.equal(result.sseEvents, 4 * 5);
  assert.ok(result.sseGapMs !== null && result.sseGapMs.p50 > 10, `${result.sseGapMs?.p50}`);
});

test('a server without HTTP/2, or none, is one sentence', async () => {
  await using server = await startTestServer();
  const plan = { requests: 10, connections: 2 };
  await assert.rejects(
    run(server.url, plan),
    /cannot connect to http:\/\/127\.0\.0\.1:\d+: the server does not speak HTTP\/2$/,
  );
  await assert.rejects(run('http://127.0.0.1:1/', plan), /127\.0\.0\.1:1: connection refused/);
  for (const wrong of [
    { keepAlive: false },
    { redirectsMax: 2 },
    { streamsPerConnection: 0 },
    { headers: [['Connection', 'close']] as const },
    // node:http2 throws on it: found before the run, not at each request.
    { headers: [['TE', 'gzip']] as const },
    { moreUrls: ['http://127.0.0.1:2/'] },
    { http2: false, streamsPerConnection: 2 },
  ]) {
    await assert.rejects(
      run('http://127.0.0.1:1/', wrong),
      { name: /Error/ },
      JSON.stringify(wrong),
    );
  }
});

test('over TLS the protocol is agreed by ALPN', { skip: noOpenssl }, async () => {
  const { cert, key } = makeCertificate('trusted');
  const other = makeCertificate('other');
  await using server = await startH2Server({ cert, key });
  const shape = { requests: 100, connections: 2, streamsPerConnection: 5 };
  const tls = { insecure: false, ca: cert, cert: null, key: null };
  const trusted = await run(server.url, { ...shape, tls, expectBody: Buffer.from(body) });
  assert.equal(trusted.valid, 100);
  assert.equal(trusted.connectionsEstablished, 2);
  const insecure = await run(server.url, { ...shape, tls: { ...tls, ca: null, insecure: true } });
  assert.equal(insecure.completed, 100);
  for (const ca of [null, other.cert]) {
    await assert.rejects(
      run(server.url, { ...shape, tls: { ...tls, ca } }),
      /TLS handshake failed/,
    );
  }
  await using plain = await startTestServer({ tls: { cert, key } });
  await assert.rejects(
    run(plain.url, { ...shape, tls }),
    /cannot connect to https:.*: the server does not speak HTTP\/2 \(ALPN/,
  );
});

const noNginx = spawnSync('nginx', ['-v']).error === undefined ? false : 'nginx is not on PATH';

test('nginx is loaded to the end of many connections; h2load sees the same', {
  skip: noNginx,
}, async () => {
  const upstream = await startStatic([], { http2: true });
  try {
    const plan = { requests: 3_000, connections: 2, streamsPerConnection: 10 };
    const result = await run(upstream.url, { ...plan, expectBody: Buffer.from(body) });
    assert.equal(result.valid, 3_000);
    assert.deepEqual(result.errorCounts, {});
    if (toolVersion('h2load') !== null) {
      const theirs = await runH2load(result.plan);
      assert.deepEqual([theirs.completed, theirs.failed], [3_000, 0]);
    }
  } finally {
    await upstream.stop();
  }
  // As nginx comes: a GOAWAY after each 1,000 requests of a connection.
  const limited = await startStatic([], { http2: true, requestsPerConnection: 100 });
  try {
    const plan = { requests: 2_000, connections: 2, streamsPerConnection: 10 };
    const result = await run(limited.url, plan);
    assert.deepEqual(result.errorCounts, {});
    assert.equal(result.completed, 2_000);
    assert.ok(result.http2!.goaways >= 15, `${result.http2!.goaways}`);
  } finally {
    await limited.stop();
  }
});
