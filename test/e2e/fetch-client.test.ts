/** What the behaviour table does not show: binding to a client, deadlines, memory, back-pressure. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client, createFetch, fetch, type OnehopError } from 'onehop';

const isBun = process.versions['bun'] !== undefined;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

let server: Server;
let url = '';
let connections = 0;
let closedEarly = 0;
let bigBytesSent = 0;
const piece = Buffer.alloc(64 * 1024, 97);

async function sendBig(response: ServerResponse): Promise<void> {
  response.setMaxListeners(0);
  for (let i = 0; i < 512 && !response.destroyed; i++) {
    bigBytesSent += piece.length;
    if (!response.write(piece)) {
      await new Promise<void>((resolve) => {
        response.once('drain', resolve);
        response.once('close', resolve);
      });
    }
  }
  response.end();
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  response.on('close', () => {
    if (!response.writableFinished) closedEarly++;
  });
  switch (request.url) {
    case '/silent':
      return;
    case '/stall':
      response.write('some');
      return;
    case '/big':
      void sendBig(response);
      return;
    case '/echo': {
      const pieces: Buffer[] = [];
      request.on('data', (bytes: Buffer) => pieces.push(bytes));
      request.on('end', () => {
        const { headers, method } = request;
        const body = Buffer.concat(pieces).toString();
        response.end(JSON.stringify({ method, headers, body }));
      });
      return;
    }
    default:
      response.end('{"a":1}');
  }
}

before(async () => {
  server = createServer(answer);
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

async function until(check: () => boolean, ms = 2000): Promise<boolean> {
  for (let waited = 0; waited < ms && !check(); waited += 10) await sleep(10);
  return check();
}

/** The code behind `fetch failed`. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof TypeError, String(error));
    return (error.cause as OnehopError).code;
  }
  return 'no error';
}

test('members that the runtime has are all there and all work', async () => {
  const skipped = ['constructor', 'body', 'clone', 'error', 'redirect'];
  for (const name of Object.getOwnPropertyNames(Response.prototype)) {
    if (skipped.includes(name)) continue;
    const response = (await fetch(url)) as unknown as Record<string, unknown>;
    const member = response[name];
    if (typeof member !== 'function' || name === 'formData') continue;
    await (member as () => unknown).call(response);
  }
  for (const name of Object.getOwnPropertyNames(Headers.prototype)) {
    if (['constructor', 'append', 'set', 'delete', 'forEach'].includes(name)) continue;
    const { headers } = await fetch(url);
    const member = (headers as unknown as Record<string, unknown>)[name];
    if (typeof member === 'function') {
      (member as (name: string) => unknown).call(headers, 'set-cookie');
    }
  }
});

test('createFetch uses base URL, headers and pool of its client', async () => {
  const client = new Client({ baseUrl: `${url}/x/`, headers: { 'X-Key': 'k', Accept: 'a/b' } });
  const bound = createFetch(client);
  const before = connections;
  for (let i = 0; i < 5; i++) {
    const { headers } = (await (await bound('/echo')).json()) as {
      headers: Record<string, string>;
    };
    assert.equal(headers['x-key'], 'k');
    assert.equal(headers['accept'], 'a/b');
    assert.equal(headers['user-agent'], 'onehop');
  }
  const own = await (await bound('../echo', { headers: { 'x-key': 'mine' } })).json();
  assert.equal((own as { headers: Record<string, string> }).headers['x-key'], 'mine');
  assert.equal(connections - before, 1);
  assert.equal(client.stats()[url]?.requests, 6);
  await client.close();
  assert.equal(await codeOf(bound('/echo')), 'CLIENT_CLOSED');
});

test('deadlines of the client and of one request fail with their code', async () => {
  const client = new Client({ headTimeoutMs: 50, retries: 0 });
  const bound = createFetch(client);
  assert.equal(await codeOf(bound(`${url}/silent`)), 'HEAD_TIMEOUT');
  const onehop = { headTimeoutMs: 0, totalTimeoutMs: 60 };
  assert.equal(await codeOf(bound(`${url}/silent`, { onehop })), 'TOTAL_TIMEOUT');
  const response = await bound(`${url}/stall`, { onehop: { idleTimeoutMs: 50 } });
  assert.equal(await codeOf(response.text()), 'IDLE_TIMEOUT');
  client.destroy();
});

test('a body beyond bodyBytesMax is refused, and nothing by default', async () => {
  const onehop = { bodyBytesMax: 1000 };
  assert.equal(
    await codeOf(fetch(`${url}/big`, { onehop }).then((response) => response.text())),
    'RESPONSE_TOO_LARGE',
  );
  assert.equal((await (await fetch(`${url}/big`)).arrayBuffer()).byteLength, 512 * piece.length);
});

test('options of other implementations that say where to go are refused', async () => {
  for (const name of ['dispatcher', 'agent', 'proxy', 'tls', 'unix']) {
    await assert.rejects(fetch(url, { [name]: {} } as object), { name: 'TypeError' });
  }
});

test('decompress: false leaves the coding alone and does not ask for one', async () => {
  const response = await fetch(`${url}/echo`, { onehop: { decompress: false } });
  const { headers } = (await response.json()) as { headers: Record<string, string> };
  assert.equal(headers['accept-encoding'], undefined);
});

test('contentLength lets a stream go without chunks', async () => {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('ab');
    yield Buffer.from('cd');
  }
  const response = await fetch(`${url}/echo`, {
    method: 'POST',
    body: pieces(),
    duplex: 'half',
    onehop: { contentLength: 4 },
  });
  const seen = (await response.json()) as { headers: Record<string, string>; body: string };
  assert.equal(seen.headers['content-length'], '4');
  assert.equal(seen.headers['transfer-encoding'], undefined);
  assert.equal(seen.body, 'abcd');
});

test('many requests on one signal leave no listener behind', async () => {
  const { signal } = new AbortController();
  await Promise.all(
    Array.from({ length: 50 }, async () => (await fetch(url, { signal })).arrayBuffer()),
  );
  await fetch('http://127.0.0.1:1/', { signal }).catch(() => {});
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('a reader who waits holds the server up', async () => {
  bigBytesSent = 0;
  const response = await fetch(`${url}/big`);
  const reader = response.body!.getReader();
  await reader.read();
  await sleep(150);
  const sent = bigBytesSent;
  await sleep(100);
  assert.equal(bigBytesSent, sent, 'the server went on');
  assert.ok(sent < 512 * piece.length, 'all of it was sent');
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.length;
  }
  assert.ok(bytes > sent / 2);
  assert.equal(bigBytesSent, 512 * piece.length);
});

test('a response that nobody holds any more gives its connection back', async () => {
  let collect: () => void;
  if (isBun) {
    const bun = (globalThis as unknown as { Bun: { gc(now: boolean): void } }).Bun;
    collect = () => bun.gc(true);
  } else {
    setFlagsFromString('--expose_gc');
    collect = runInNewContext('gc') as () => void;
  }
  const before = closedEarly;
  const forget = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) assert.equal((await fetch(`${url}/stall`)).status, 200);
  };
  await forget();
  for (let i = 0; i < 100 && closedEarly - before < 10; i++) {
    collect();
    await sleep(10);
  }
  assert.ok(closedEarly - before >= 10, `${closedEarly - before} of 20 were closed`);
});

test('a stream that is still read survives its response', async () => {
  const { body } = await fetch(`${url}/big`);
  let bytes = 0;
  for await (const part of body!) bytes += (part as Uint8Array).length;
  assert.equal(bytes, 512 * piece.length);
});

test('a cancelled stream ends the exchange at the server', async () => {
  const before = closedEarly;
  const { body } = await fetch(`${url}/stall`);
  await body!.cancel();
  assert.ok(await until(() => closedEarly === before + 1));
});
