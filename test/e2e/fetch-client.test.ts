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
let sendLate = (): void => {};
let lateClosed = false;
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
    case '/late':
      response.write('some');
      response.on('close', () => {
        lateClosed = true;
      });
      sendLate = () => response.end('more');
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

async function until(check: () => boolean, ms = 15_000): Promise<boolean> {
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
  // Until everybody on the way holds what it may.
  let sent = -1;
  while (sent !== bigBytesSent) {
    sent = bigBytesSent;
    await sleep(150);
  }
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

function garbageCollector(): () => void {
  if (isBun) {
    const bun = (globalThis as unknown as { Bun: { gc(now: boolean): void } }).Bun;
    return () => bun.gc(true);
  }
  setFlagsFromString('--expose_gc');
  return runInNewContext('gc') as () => void;
}

const forgotten: [title: string, use: (response: Response) => unknown][] = [
  ['a response', () => {}],
  ['a response whose body was looked at', (response) => response.body],
  ['a response that was cloned', (response) => response.clone()],
  ['a response whose stream has a reader', (response) => response.body!.getReader()],
  ['a response whose body was begun', (response) => response.body!.getReader().read()],
  [
    'a response of which a clone was begun',
    (response) => response.clone().body!.getReader().read(),
  ],
];
// On Bun a pipe always waits for the next piece, and who waits is not forgotten.
if (!isBun) {
  const pipe = (response: Response): unknown => response.body!.pipeThrough(new TextDecoderStream());
  forgotten.push(['a response that is piped', pipe]);
}
for (const [title, use] of forgotten) {
  test(`${title} and that nobody holds any more gives its connection back`, async () => {
    const collect = garbageCollector();
    const before = closedEarly;
    const forget = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        const response = await fetch(`${url}/stall`);
        assert.equal(response.status, 200);
        await use(response);
      }
    };
    await forget();
    for (let i = 0; i < 1000 && closedEarly - before < 10; i++) {
      collect();
      await sleep(10);
    }
    assert.ok(closedEarly - before >= 10, `${closedEarly - before} of 20 were closed`);
  });
}

test('a stream that somebody holds or waits for is not given up', async () => {
  const collect = garbageCollector();
  const held = await (async () => (await fetch(`${url}/stall`)).body!.getReader())();
  lateClosed = false;
  const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes!).toString();
  let arrived = '';
  await (async () => {
    const reader = (await fetch(`${url}/late`)).body!.getReader();
    assert.equal(text((await reader.read()).value), 'some');
    void reader.read().then(({ value }) => {
      arrived = text(value);
    });
  })();
  for (let i = 0; i < 20; i++) {
    collect();
    await sleep(10);
  }
  assert.equal(lateClosed, false);
  sendLate();
  assert.ok(await until(() => arrived === 'more'), 'who waits gets what comes');
  assert.equal(text((await held.read()).value), 'some');
  await held.cancel();
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

test('the abort of a fetch was not heard while the body of its Request brought nothing', async () => {
  for (const when of ['before', 'after']) {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      cancel() {
        cancelled = true;
      },
    });
    const aborter = new AbortController();
    const reason = new Error('enough');
    const init = { method: 'POST', body, duplex: 'half', signal: aborter.signal } as RequestInit;
    const request = new Request(`${url}/silent`, init);
    if (when === 'before') aborter.abort(reason);
    let outcome: unknown = 'nothing';
    void fetch(request).catch((error: unknown) => {
      outcome = error;
    });
    await sleep(20);
    aborter.abort(reason);
    await until(() => outcome !== 'nothing');
    assert.equal(outcome, reason, `aborted ${when} the fetch`);
    assert.ok(await until(() => cancelled || !request.body!.locked), `aborted ${when} the fetch`);
  }
});

test('a closed client left the body of a Request locked, and its error was not the standard one', async () => {
  const client = new Client();
  await client.close();
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(Buffer.from('a')),
    cancel() {
      cancelled = true;
    },
  });
  const request = new Request(url, { method: 'POST', body, duplex: 'half' } as RequestInit);
  const error = await createFetch(client)(request).catch((thrown: unknown) => thrown as Error);
  assert.ok(error instanceof TypeError, String(error));
  assert.equal((error.cause as OnehopError).code, 'CLIENT_CLOSED');
  assert.ok(await until(() => cancelled));
});

for (const title of ['aborted', 'aborted at once', 'answered early', 'never connected']) {
  test(`a request body that is silent is cancelled when its fetch was ${title}`, async () => {
    for (const inRequest of [false, true]) {
      let cancelled = false;
      let taken = false;
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
        // Asked for more: the first piece was taken.
        pull: () => {
          taken = true;
          return new Promise(() => {});
        },
        cancel: () => {
          cancelled = true;
        },
      });
      const aborter = new AbortController();
      const target = title === 'never connected' ? 'http://127.0.0.1:1' : url;
      const to = title.startsWith('aborted') ? `${target}/silent` : target;
      const init = { method: 'POST', body, duplex: 'half', signal: aborter.signal } as RequestInit;
      const answer = inRequest ? fetch(new Request(to, init)) : fetch(to, init);
      const outcome = answer.then(
        (response) => response.text(),
        (error: Error) => error.message,
      );
      if (title === 'aborted') assert.ok(await until(() => taken));
      if (title !== 'aborted at once') await sleep(50);
      if (title.startsWith('aborted')) aborter.abort(new Error('enough'));
      await outcome;
      // What nobody began to read is the caller's still.
      const isSettled = (): boolean => cancelled || !body.locked;
      assert.ok(await until(isSettled), `in a Request: ${inRequest}`);
      if (title === 'aborted' || title === 'answered early') assert.ok(cancelled);
    }
  });
}
