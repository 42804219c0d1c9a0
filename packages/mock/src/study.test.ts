import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type StudyUpstream, startStudyUpstream, type UpstreamCounters } from './study.ts';

const answerShape =
  /^\{"message":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"\}$/;
const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`;

/** Sends text and returns what came back once `answers` responses are there or the peer ended. */
async function exchange(port: number, text: string, answers: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  let received = '';
  await new Promise<void>((resolve, reject) => {
    socket.on('connect', () => socket.write(text));
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      if (received.split('HTTP/1.1 ').length > answers) resolve();
    });
    socket.on('end', resolve);
    socket.on('error', reject);
  });
  socket.destroy();
  return received;
}

describe('study upstream', () => {
  let upstream: StudyUpstream;
  let base: string;
  before(async () => {
    upstream = await startStudyUpstream();
    base = `http://127.0.0.1:${upstream.port}`;
  });
  after(() => upstream.close());

  test('every answer is the exact JSON with a fresh version 4 UUID', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) {
      const response = await fetch(`${base}/request_response/`);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('content-type'), 'application/json');
      assert.equal(response.headers.get('content-length'), '50');
      assert.ok(Math.abs(Date.parse(response.headers.get('date')!) - Date.now()) < 5000);
      const body = await response.text();
      assert.match(body, answerShape);
      seen.add(body);
    }
    assert.equal(seen.size, 200);
  });

  test('a pipelined batch is answered whole and in order', async () => {
    const text =
      get('/request_response/').repeat(150) +
      get('/nowhere') +
      get('/request_response/') +
      get('/request_response/', 'Connection: close\r\n') +
      get('/after-close');
    const received = await exchange(upstream.port, text, 1000);
    const statuses = [...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]);
    assert.deepEqual(statuses, [...new Array(150).fill('200'), '404', '200', '200']);
    const bodies = received.match(/\{"message":"[^"]+"\}/g)!;
    assert.equal(new Set(bodies).size, 152);
    assert.match(received, /Connection: close\r\n/);
  });

  test('a request split at every byte gets one answer', async () => {
    const text = get('/request_response/', 'Accept: */*\r\n');
    const socket = connect({ port: upstream.port, host: '127.0.0.1', noDelay: true });
    let received = '';
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
    });
    await once(socket, 'connect');
    for (const letter of text) {
      assert.equal(received, '');
      await new Promise<void>((resolve) => socket.write(letter, () => setImmediate(resolve)));
    }
    await once(socket, 'data');
    assert.match(received, /^HTTP\/1\.1 200 OK\r\n/);
    socket.destroy();
  });

  test('other paths are 404, other methods 405 with Allow, HEAD has no body', async () => {
    assert.equal((await fetch(`${base}/`)).status, 404);
    assert.equal((await fetch(`${base}/request_response`)).status, 404);
    const wrong = await fetch(`${base}/request_response/`, { method: 'POST', body: 'x' });
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.get('allow'), 'GET, HEAD');
    const head = await exchange(
      upstream.port,
      get('/request_response/?q=1').replace('GET', 'HEAD') + get('/request_response/'),
      2,
    );
    const [, first, second] = head.split('HTTP/1.1 ');
    assert.match(first!, /Content-Length: 50\r\n/);
    assert.ok(first!.endsWith('\r\n\r\n'));
    assert.match(second!, answerShapeAtEnd);
  });

  test('a malformed request is answered with 400 and the connection ends', async () => {
    const received = await exchange(upstream.port, 'GET / HTTP/1.1\r\nbad\r\n\r\n', 99);
    assert.match(received, /^HTTP\/1\.1 400 /);
  });

  test('HTTP/1.0 is answered and closed', async () => {
    const received = await exchange(upstream.port, 'GET /request_response/ HTTP/1.0\r\n\r\n', 99);
    assert.match(received, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(received, /Connection: close\r\n/);
  });

  test('counters count clients and leave out whoever asks for them', async () => {
    await fetch(`${base}/_onehop/upstream/reset/`, { method: 'POST' });
    await exchange(upstream.port, get('/request_response/').repeat(3), 3);
    await exchange(upstream.port, get('/request_response/'), 1);
    const text = await exchange(upstream.port, get('/_onehop/upstream/'), 1);
    const counters = JSON.parse(text.slice(text.indexOf('{'))) as UpstreamCounters;
    assert.equal(counters.requests, 4);
    assert.equal(counters.connectionsOpened, 2);
    assert.ok(counters.concurrencyPeak >= 1 && counters.concurrencyPeak <= 3);
    assert.equal((await fetch(`${base}/_onehop/upstream/reset/`)).status, 405);
  });
});

const answerShapeAtEnd = /\{"message":"[0-9a-f-]{36}"\}$/;

test('latency delays every answer by that much and the peak counts requests under way', async () => {
  const upstream = await startStudyUpstream({ latencyMs: 400 });
  try {
    const startMs = performance.now();
    const texts = await Promise.all(
      Array.from({ length: 10 }, () => exchange(upstream.port, get('/request_response/'), 1)),
    );
    const elapsedMs = performance.now() - startMs;
    for (const text of texts) assert.match(text, answerShapeAtEnd);
    // Not one after the other: that would take ten times as long.
    assert.ok(elapsedMs >= 399.5 && elapsedMs < 3900, `${elapsedMs} ms`);
    const counters = upstream.counters();
    assert.equal(counters.requests, 10);
    assert.ok(counters.concurrencyPeak >= 8, `${counters.concurrencyPeak}`);
    // A client that left is skipped when its answer falls due.
    const socket = connect({ port: upstream.port, host: '127.0.0.1' });
    await once(socket, 'connect');
    socket.write(get('/request_response/'));
    await new Promise((resolve) => setTimeout(resolve, 10));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 500));
    upstream.resetCounters();
    assert.equal(upstream.counters().concurrencyPeak, 0);
    assert.equal(upstream.counters().connectionsOpen, 0);
  } finally {
    await upstream.close();
  }
});

describe('onehop mock study', () => {
  const cli = join(dirname(fileURLToPath(import.meta.url)), '../../onehop/bin/onehop.js');
  const start = (args: string[]) =>
    spawn(process.execPath, [cli, 'mock', 'study', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });

  async function ended(child: ReturnType<typeof start>): Promise<{ code: number; stderr: string }> {
    let stderr = '';
    child.stderr.on('data', (bytes) => {
      stderr += bytes;
    });
    const [code] = (await once(child, 'close')) as [number];
    return { code, stderr };
  }

  async function ready(child: ReturnType<typeof start>): Promise<{ port: number; pid: number }> {
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const parsed = JSON.parse(line.toString()) as { ready: boolean; port: number; pid: number };
    assert.equal(parsed.ready, true);
    assert.equal(parsed.pid, child.pid);
    return parsed;
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`says it is ready, answers, and ends cleanly on ${signal}`, async () => {
      const child = start(['--port', '0']);
      const end = ended(child);
      const { port } = await ready(child);
      assert.match(await exchange(port, get('/request_response/'), 1), answerShapeAtEnd);
      child.kill(signal);
      const { code, stderr } = await end;
      assert.equal(code, 0);
      assert.match(stderr, /study upstream on http:\/\/127\.0\.0\.1:\d+/);
    });
  }

  test('with --exit-with-parent it ends when stdin closes', async () => {
    const child = start(['--exit-with-parent']);
    const end = ended(child);
    await ready(child);
    child.stdin.end();
    assert.equal((await end).code, 0);
  });

  test('a port in use is one clear sentence and exit 1', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const { code, stderr } = await ended(start(['--port', `${port}`]));
    holder.close();
    assert.equal(code, 1);
    assert.equal(stderr, `onehop mock: port ${port} on 127.0.0.1 is in use by another process\n`);
  });

  for (const args of [['--port', 'x'], ['--port', '70000'], ['--latency', '-1'], ['--nonsense']]) {
    test(`${args.join(' ')} is refused with exit 1`, async () => {
      const { code, stderr } = await ended(start(args));
      assert.equal(code, 1);
      assert.match(stderr, /^error: /);
    });
  }
});
