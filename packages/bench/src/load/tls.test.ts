import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { makeCertificate, noOpenssl } from './certificate.fixture.ts';
import { startH2Server } from './h2-server.fixture.ts';
import type { OhaJson } from './oha-types.ts';
import { defaultPlan } from './plan.ts';
import { runLoad } from './run.ts';
import { body, startTestServer } from './test-server.fixture.ts';
import type { LoadTls } from './types.ts';

const binary = fileURLToPath(new URL('../../../onehop/bin/onehop.js', import.meta.url));
const none: LoadTls = { insecure: false, ca: null, cert: null, key: null };
const options = { skip: noOpenssl };

test(
  'an https server is loaded when its certificate is trusted, or with insecure',
  options,
  async () => {
    const { cert, key } = makeCertificate('trusted');
    const other = makeCertificate('other');
    await using server = await startTestServer({ tls: { cert, key } });
    const run = (tls: Partial<LoadTls>, requests = 200) => {
      const plan = { requests, connections: 4, expectBody: Buffer.from(body) };
      return runLoad(defaultPlan(server.url, { ...plan, tls: { ...none, ...tls } }));
    };
    const trusted = await run({ ca: cert });
    assert.equal(trusted.valid, 200);
    assert.equal(trusted.connectionsEstablished, 4);
    assert.equal(server.connections, 4);
    // The handshakes are in the connect times, tagged as with TCP.
    assert.equal(trusted.connectSamplesMs !== null && trusted.connectMs !== null, true);
    assert.equal((await run({ insecure: true })).valid, 200);
    for (const ca of [null, other.cert]) {
      await assert.rejects(run({ ca }, 10), /cannot connect to https:.*: TLS handshake failed/);
    }
  },
);

test('a certificate of another name is refused', options, async () => {
  const { cert, key } = makeCertificate('trusted');
  await using server = await startTestServer({ tls: { cert, key } });
  const { port } = new URL(server.url);
  const plan = {
    requests: 4,
    connections: 2,
    tls: { ...none, ca: cert },
    connectTo: [{ host: '', port: 0, toHost: '127.0.0.1', toPort: Number(port) }],
  };
  assert.equal((await runLoad(defaultPlan('https://localhost/', plan))).completed, 4);
  const wrong = runLoad(defaultPlan('https://elsewhere.invalid/', plan));
  await assert.rejects(wrong, /TLS handshake failed/);
});

test('without keep-alive each request has a handshake of its own', options, async () => {
  const { cert, key } = makeCertificate('trusted');
  await using server = await startTestServer({ tls: { cert, key } });
  const plan = { requests: 12, connections: 3, keepAlive: false, tls: { ...none, ca: cert } };
  const result = await runLoad(defaultPlan(server.url, plan));
  assert.equal(result.completed, 12);
  assert.equal(server.connections, 12);
});

test('a client certificate is shown to a server that asks for one', options, async () => {
  const { cert, key } = makeCertificate('server');
  const client = makeCertificate('client');
  const tls = { cert, key, ca: client.cert, requestCert: true, rejectUnauthorized: true };
  const names: string[] = [];
  // Below HTTP: on Bun an https server does not tell who the client is.
  const server = createServer(tls, (socket) => {
    names.push(String(socket.getPeerCertificate().subject.CN));
    socket.on('error', () => {});
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`));
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const own = { ...none, ca: cert, cert: client.cert, key: client.key };
    const result = await runLoad(defaultPlan(url, { requests: 5, connections: 1, tls: own }));
    assert.equal(result.completed, 5);
    assert.deepEqual([...new Set(names)], ['client']);
    const bare = await runLoad(
      defaultPlan(url, { requests: 2, connections: 1, tls: { ...none, ca: cert } }),
    ).catch((error: Error) => error);
    // With TLS 1.3 the server refuses after the client's side of the handshake is done.
    if (!(bare instanceof Error)) assert.equal(bare.completed, 0);
  } finally {
    server.close();
  }
});

function load(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
  const words = [binary, 'bench', 'load', '--runtime', 'node', ...args];
  const child = spawn(process.execPath, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString('utf8');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString('utf8');
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

test("oha's flags for TLS and HTTP/2 do what they do there", options, async () => {
  const { cert, key, certFile } = makeCertificate('trusted');
  await using server = await startH2Server({ cert, key });
  const flags = ['--http2', '-p', '5', '-c', '2', '-n', '100'];
  for (const trust of [['--cacert', certFile], ['--insecure']]) {
    const { code, out, err } = await load('-j', ...flags, ...trust, server.url);
    assert.equal(code, 0, err);
    const parsed = JSON.parse(out) as OhaJson;
    assert.deepEqual(parsed.statusCodeDistribution, { '200': 100 });
    assert.equal(Object.keys(parsed.responseTimeHistogram).length, 11);
  }
  const text = await load(...flags, '--cacert', certFile, server.url);
  assert.match(text.out, /Closed loop:\t2 HTTP\/2 connections with 5 streams, each/);
  const untrusted = await load(...flags, server.url);
  assert.equal(untrusted.code, 1);
  assert.match(untrusted.err, /^onehop bench: cannot connect to .*: TLS handshake failed\n$/);
  const failed = await load(...flags, '--insecure', `${server.url}refused`);
  assert.equal(failed.code, 1);
  assert.match(failed.out, /\[100\] stream reset: REFUSED_STREAM/);
  assert.match(failed.err, /100 of the requests failed/);
  const breached = await load(...flags, '--insecure', '--fail-on', 'rps<10000000', server.url);
  assert.equal(breached.code, 3);
});

test('a server that refuses HTTP/2 is one sentence and exit code 1', async () => {
  await using server = await startTestServer();
  const { code, out, err } = await load('--http2', '-n', '10', server.url);
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.match(err, /^onehop bench: cannot connect to .*: the server does not speak HTTP\/2\n$/);
});
