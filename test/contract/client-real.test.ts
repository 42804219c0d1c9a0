/** The client against servers that others wrote. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from 'onehop';
import { findBun } from 'onehop/cli/find-bun';

const has = (command: string, args: string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts a server that prints its port on the first line. */
async function start(
  command: string,
  args: string[],
): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise<number>((resolve, reject) => {
    let text = '';
    child.stdout!.on('data', (chunk) => {
      text += chunk;
      if (text.includes('\n')) resolve(Number(text.split('\n')[0]));
    });
    child.once('exit', (code) => reject(new Error(`${command} exited with ${code}`)));
    child.once('error', reject);
  });
  return { child, port };
}

async function freePort(): Promise<number> {
  const server = http.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Until it answers. */
async function ready(url: string): Promise<void> {
  const client = new Client({ connectTimeoutMs: 5000 });
  try {
    for (let i = 0; i < 500; i++) {
      try {
        (await client.get(url)).discard();
        return;
      } catch {
        await sleep(50);
      }
    }
    throw new Error('the server did not come up');
  } finally {
    client.destroy();
  }
}

test('node:http: 200 requests at once over 10 connections, keep-alive and streams', async () => {
  const server = http.createServer((request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      if (request.url === '/stream') {
        for (let i = 0; i < 50; i++) response.write(Buffer.alloc(10_000, 'x'));
        response.end();
      } else response.end(JSON.stringify({ url: request.url, bytes }));
    });
  });
  let connections = 0;
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const client = new Client({ baseUrl: `http://127.0.0.1:${port}`, connectionsMax: 10 });
  try {
    const bodies = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const body = i % 2 === 0 ? undefined : 'b'.repeat(i * 100);
        const method = i % 2 === 0 ? 'GET' : 'POST';
        return (await client.request({ method, url: `/${i}`, body })).json<{
          url: string;
          bytes: number;
        }>();
      }),
    );
    bodies.forEach((body, i) => {
      assert.deepEqual(body, { url: `/${i}`, bytes: i % 2 === 0 ? 0 : i * 100 });
    });
    assert.equal((await (await client.get('/stream')).bytes()).length, 500_000);
    assert.ok(connections <= 10, `${connections} connections`);
  } finally {
    await client.close();
    server.close();
  }
});

test('node:http closing idle connections early: GETs never fail', async () => {
  const server = http.createServer((_request, response) => response.end('ok'));
  server.keepAliveTimeout = 5; // and it does say so only in whole seconds
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const client = new Client({
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
  try {
    for (let i = 0; i < 40; i++) {
      assert.equal(await (await client.get('/')).text(), 'ok');
      await sleep(i % 8);
    }
  } finally {
    await client.close();
    server.close();
  }
});

const bun = findBun();
test('Bun.serve', { skip: bun === null ? 'Bun was not found' : false }, async () => {
  const script = `const s = Bun.serve({ port: 0, hostname: '127.0.0.1', async fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === '/stream') return new Response(new ReadableStream({ async pull(c) {
      for (let i = 0; i < 20; i++) { c.enqueue(new Uint8Array(5000)); await Bun.sleep(1); } c.close(); } }));
    return Response.json({ path, length: (await request.text()).length });
  } }); console.log(s.port);`;
  const { child, port } = await start(bun!, ['-e', script]);
  const client = new Client({ baseUrl: `http://127.0.0.1:${port}`, connectionsMax: 5 });
  try {
    const bodies = await Promise.all(
      Array.from({ length: 50 }, async (_, i) =>
        (await client.post(`/${i}`, { body: 'x'.repeat(i) })).json(),
      ),
    );
    bodies.forEach((body, i) => {
      assert.deepEqual(body, { path: `/${i}`, length: i });
    });
    assert.equal((await (await client.get('/stream')).bytes()).length, 100_000);
  } finally {
    client.destroy();
    child.kill();
  }
});

const noNginx = has('nginx', ['-v']) ? false : 'nginx is not installed';
test('nginx: keep-alive, gzip, errors, large files', { skip: noNginx }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onehop-nginx-'));
  const port = await freePort();
  mkdirSync(join(folder, 'www'));
  writeFileSync(join(folder, 'www/large.txt'), 'nginx says hello\n'.repeat(200_000));
  writeFileSync(
    join(folder, 'nginx.conf'),
    `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_processes 1;
    events { worker_connections 64; }
    http { access_log off; gzip on; gzip_types text/plain; default_type text/plain;
      client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
      uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      keepalive_requests 7;
      server { listen 127.0.0.1:${port}; root ${folder}/www; location = /ok { return 200 "fine"; } } }`,
  );
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: 'ignore',
  });
  const client = new Client({ baseUrl: `http://127.0.0.1:${port}`, connectionsMax: 2 });
  try {
    await ready(`http://127.0.0.1:${port}/ok`);
    // It closes each connection after 7 requests; none of 60 may fail by that.
    const texts = await Promise.all(
      Array.from({ length: 60 }, async () => (await client.get('/ok')).text()),
    );
    assert.ok(texts.every((text) => text === 'fine'));
    const packed = await client.get('/large.txt', { decompress: true });
    assert.equal(packed.headers.get('content-encoding'), 'gzip');
    assert.equal((await packed.text()).length, 3_400_000);
    const plain = await (await client.get('/large.txt')).bytes();
    assert.equal(plain.length, 3_400_000);
    const missing = await client.get('/nothing');
    assert.equal(missing.status, 404);
    missing.discard();
  } finally {
    client.destroy();
    child.kill();
    await new Promise((resolve) => child.once('exit', resolve));
    rmSync(folder, { recursive: true, force: true });
  }
});

/** A Python with uvicorn: the lab's, or the system's. */
const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const pythons = [join(root, 'lab/peers/python/.venv/bin/python'), 'python3'].filter(
  (path) => path === 'python3' || existsSync(path),
);
const python = pythons.find((path) => has(path, ['-c', 'import uvicorn']));
test('uvicorn closes idle connections after 5 s: requests 4 to 6 s apart never fail', {
  skip: python === undefined ? 'no Python with uvicorn: npm run setup:python makes one' : false,
  timeout: 60_000,
}, async () => {
  const port = await freePort();
  const app = `
import uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"): break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % len(body)})
uvicorn.run(app, host="127.0.0.1", port=${port}, log_level="error")
`;
  const child = spawn(python!, ['-c', app], { stdio: 'ignore' });
  const client = new Client({ baseUrl: `http://127.0.0.1:${port}` });
  try {
    await ready(`http://127.0.0.1:${port}/`);
    for (const waitMs of [0, 3900, 4990, 5000]) {
      await sleep(waitMs);
      assert.equal(await (await client.post('/', { body: 'xyz' })).text(), '3');
    }
  } finally {
    client.destroy();
    child.kill();
  }
});
