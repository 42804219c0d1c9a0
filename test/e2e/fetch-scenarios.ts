/** What a fetch is asked to do against a server that says exactly what a scenario wants. */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import type { Fetch } from 'onehop';
import { chunked, ok, type RawPeer, type RawRequest } from '../support/raw-server.ts';

/** Everything observable, as JSON. */
export type Outcome = unknown;
export interface Target {
  /** `http://127.0.0.1:port/name-of-the-scenario` */
  url: string;
  /** The same server under another origin. */
  otherUrl: string;
  /** Nothing listens there. */
  closedUrl: string;
  /** Whether the connection that was last asked for this scenario is closed. */
  isClosed(): boolean;
}
export type Serve = (peer: RawPeer, request: RawRequest, target: Target) => void;
export interface Scenario {
  name: string;
  serve: Serve;
  run(fetch: Fetch, target: Target): Promise<Outcome>;
}

const scenarios: Scenario[] = [];
export const allScenarios: readonly Scenario[] = scenarios;

function add(
  name: string,
  serve: string | Serve,
  run: Scenario['run'] = (fetch, { url }) => whole(fetch(url)),
): void {
  const reply: Serve = typeof serve === 'string' ? (peer) => peer.send(serve) : serve;
  scenarios.push({ name, serve: reply, run });
}

/** An error by name, with what it hangs on. */
function nameOf(error: unknown): unknown {
  if (!(error instanceof Error) && !(error instanceof DOMException)) return { thrown: error };
  return { error: error.name };
}

/** Head and text of a response, or where it failed. */
async function whole(promise: Promise<Response>): Promise<Outcome> {
  let response: Response;
  try {
    response = await promise;
  } catch (error) {
    return { at: 'fetch', ...(nameOf(error) as object) };
  }
  const { status, statusText, ok: isOk, type, redirected } = response;
  const head = {
    status,
    statusText,
    ok: isOk,
    type,
    redirected,
    path: new URL(response.url).pathname,
    headers: [...response.headers],
    hasBody: response.body !== null,
  };
  try {
    return { ...head, text: await response.text() };
  } catch (error) {
    return { ...head, at: 'body', ...(nameOf(error) as object) };
  }
}

async function attempt(run: () => unknown): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    return nameOf(error);
  }
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const coded = (coding: string, bytes: Uint8Array): string =>
  ok(latin1(bytes), `Content-Encoding: ${coding}\r\n`);

// Heads.
add('plain', ok('hello'));
add('status and reason', 'HTTP/1.1 418 I am a teapot\r\nContent-Length: 0\r\n\r\n');
add('no reason', 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n');
add('status 599', 'HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nhi');
add('repeated fields', ok('', 'X-B: 1\r\nx-a: 2\r\nX-b: 3\r\n'));
add('field with white space around', ok('', 'X-A: \t spaced out \t \r\n'));
add('empty field', ok('', 'X-A:\r\n'));
add('field in latin1', ok('', 'X-A: caf\xe9\r\n'));
add('long field', ok('', `X-A: ${'a'.repeat(12_000)}\r\n`));
add('field too long', ok('', `X-A: ${'a'.repeat(40_000)}\r\n`));
for (const status of [204, 205, 304]) {
  add(
    `null body of ${status}`,
    `HTTP/1.1 ${status} X\r\n${status === 205 ? 'Content-Length: 0\r\n' : ''}\r\n`,
  );
}
add('HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n', (fetch, { url }) =>
  whole(fetch(url, { method: 'HEAD' })),
);
add(
  'HEAD of something compressed',
  'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n',
  (fetch, { url }) => whole(fetch(url, { method: 'HEAD' })),
);
add('empty body', ok(''));
add('100 Continue first', `HTTP/1.1 100 Continue\r\n\r\n${ok('x')}`);
add('103 Early Hints first', `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${ok('x')}`);
add('101 unasked', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n');
add('chunked', chunked(['one', 'two', 'three']));
add('trailers', chunked(['one'], 'X-T: 1\r\n'));
add('body until close', (peer) => peer.sendLast('HTTP/1.1 200 OK\r\n\r\nuntil close'));
add('HTTP/1.0', (peer) => peer.sendLast('HTTP/1.0 200 OK\r\n\r\nold'));
add('connection: close', (peer) => peer.sendLast(ok('bye', 'Connection: close\r\n')));
add(
  'set-cookie',
  ok('', 'Set-Cookie: a=1\r\nset-cookie: b=2; Path=/\r\n'),
  async (fetch, { url }) => {
    const { headers } = await fetch(url);
    return [headers.getSetCookie(), headers.get('Set-Cookie'), [...headers]];
  },
);
add('headers as an object', ok('', 'X-B: 1\r\nX-A: 2\r\n'), async (fetch, { url }) => {
  const { headers } = await fetch(url);
  const seen: unknown[] = [];
  headers.forEach((value, name, whole) => {
    seen.push([name, value, whole === headers]);
  });
  return [
    seen,
    [...headers.keys()],
    [...headers.values()],
    headers.get('missing'),
    headers.has('x-A'),
    headers instanceof Headers,
    [...new Headers(headers)],
    Object.prototype.toString.call(headers),
  ];
});
add('headers are immutable', ok(''), async (fetch, { url }) => {
  const { headers } = await fetch(url);
  return [
    await attempt(() => headers.set('a', 'b')),
    await attempt(() => headers.append('a', 'b')),
    await attempt(() => headers.delete('a')),
    await attempt(() => headers.get('not a name')),
    await attempt(() => headers.has('')),
  ];
});
add('kinds', ok('x'), async (fetch, { url }) => {
  const response = await fetch(`${url}?a=b#fragment`);
  return [
    response instanceof Response,
    response.constructor === Response,
    Object.prototype.toString.call(response),
    new URL(response.url).search,
    response.url.includes('#'),
  ];
});

// Bodies.
add('body is used once', ok('x'), async (fetch, { url }) => {
  const response = await fetch(url);
  const before = response.bodyUsed;
  const text = await response.text();
  return [
    before,
    text,
    response.bodyUsed,
    await attempt(() => response.text()),
    await attempt(() => response.clone()),
    response.body?.locked,
  ];
});
add('null body is never used', 'HTTP/1.1 204 X\r\n\r\n', async (fetch, { url }) => {
  const response = await fetch(url);
  const texts = [await response.text(), await response.text()];
  return [texts, response.bodyUsed, (await response.arrayBuffer()).byteLength];
});
add('json', ok('{"a":[1,2]}'), async (fetch, { url }) => (await fetch(url)).json());
add('json that is none', ok('{'), async (fetch, { url }) => {
  const response = await fetch(url);
  return [await attempt(() => response.json()), response.bodyUsed];
});
add('empty json', ok(''), async (fetch, { url }) => attempt(async () => (await fetch(url)).json()));
add('text with byte order mark', ok('\xef\xbb\xbfx'));
add('text that is not UTF-8', ok('a\xffb\xe2\x82'));
add('arrayBuffer', ok('abc'), async (fetch, { url }) => {
  const buffer = await (await fetch(url)).arrayBuffer();
  return [buffer instanceof ArrayBuffer, buffer.byteLength, [...new Uint8Array(buffer)]];
});
add('bytes', ok('abc'), async (fetch, { url }) => {
  const bytes = await ((await fetch(url)) as Response & { bytes(): Promise<Uint8Array> }).bytes();
  return [bytes.constructor.name, bytes.buffer.byteLength, [...bytes]];
});
add('blob', ok('abc', 'Content-Type: Text/Plain; Charset=utf-8\r\n'), async (fetch, { url }) => {
  const blob = await (await fetch(url)).blob();
  return [blob instanceof Blob, blob.size, blob.type, await blob.text()];
});
add(
  'form of pairs',
  ok('a=1&b=2', 'Content-Type: application/x-www-form-urlencoded\r\n'),
  async (fetch, { url }) => [...(await (await fetch(url)).formData())],
);
const multipart = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n';
add(
  'form of parts',
  ok(multipart, 'Content-Type: multipart/form-data; boundary=b\r\n'),
  async (fetch, { url }) => [...(await (await fetch(url)).formData())],
);
add('form that is none', ok('x', 'Content-Type: text/plain\r\n'), async (fetch, { url }) =>
  attempt(async () => (await fetch(url)).formData()),
);
add('clone', chunked(['one', 'two']), async (fetch, { url }) => {
  const response = await fetch(url);
  const copy = response.clone();
  return [
    copy instanceof Response,
    copy.status,
    await response.text(),
    response.bodyUsed,
    copy.bodyUsed,
    await copy.text(),
  ];
});
add('stream', ok('abc'), async (fetch, { url }) => {
  const response = await fetch(url);
  const { body } = response;
  const same = body === response.body;
  const reader = body!.getReader();
  const before = response.bodyUsed;
  const { value, done } = await reader.read();
  return [
    body instanceof ReadableStream,
    same,
    before,
    response.bodyUsed,
    value?.constructor.name,
    latin1(value!),
    done,
    (await reader.read()).done,
  ];
});
add('stream for await', chunked(['one', 'two']), async (fetch, { url }) => {
  let text = '';
  for await (const piece of (await fetch(url)).body!) text += latin1(piece as Uint8Array);
  return text;
});
add('stream into one’s own buffer', ok('abcdef'), async (fetch, { url }) => {
  const reader = (await fetch(url)).body!.getReader({ mode: 'byob' });
  const first = await reader.read(new Uint8Array(4));
  const second = await reader.read(new Uint8Array(4));
  const end = await reader.read(new Uint8Array(4));
  return [latin1(first.value!), latin1(second.value!), end.done];
});
add('locked stream', ok('abc'), async (fetch, { url }) => {
  const response = await fetch(url);
  response.body!.getReader();
  return [
    response.bodyUsed,
    await attempt(() => response.text()),
    await attempt(() => response.clone()),
  ];
});
add('stream given to a new Response', ok('abc'), async (fetch, { url }) => {
  const response = await fetch(url);
  const copy = new Response(response.body, response);
  return [copy.status, await copy.text(), response.bodyUsed];
});
add('text after stream was looked at', ok('abc'), async (fetch, { url }) => {
  const response = await fetch(url);
  return [response.body!.locked, await response.text(), response.bodyUsed];
});
const never: Serve = (peer) =>
  peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n');
add('cancel ends the exchange', never, async (fetch, target) => {
  const response = await fetch(target.url);
  const reader = response.body!.getReader();
  await reader.read();
  const before = target.isClosed();
  await reader.cancel();
  for (let i = 0; i < 100 && !target.isClosed(); i++) await sleep(10);
  return [before, target.isClosed(), response.bodyUsed];
});

// Redirects.
const redirectTo =
  (status: number, location: string | null): Serve =>
  (peer, request, target) => {
    if (request.target.includes('?there')) peer.send(ok(seen(request)));
    else {
      const field =
        location === null ? '' : `Location: ${location.replace('OTHER', target.otherUrl)}\r\n`;
      peer.send(`HTTP/1.1 ${status} X\r\n${field}Content-Length: 2\r\n\r\nno`);
    }
  };
/** What arrived, without what clients are free to choose. */
function seen(request: RawRequest): string {
  const skipped = [
    'host',
    'accept',
    'accept-language',
    'user-agent',
    'sec-fetch-mode',
    'accept-encoding',
    'connection',
  ];
  const fields = [...request.headers]
    .filter(([name]) => !skipped.includes(name))
    .filter(([name]) => name !== 'content-length' || !request.body.includes('formdata'))
    .map(([name, value]) => [name, value.replace(/boundary=.*/, 'boundary=B')])
    .sort();
  const body = request.body.replace(/-{4,}[\w-]*formdata[\w-]*/g, 'B').replace(/\r\n$/, '');
  return JSON.stringify([request.method, request.target.replace(/^[^?]*/, ''), fields, body]);
}
for (const status of [300, 301, 302, 303, 307, 308]) {
  add(`${status} of GET`, redirectTo(status, '?there'));
  add(`${status} of POST`, redirectTo(status, '?there'), (fetch, { url }) =>
    whole(
      fetch(url, { method: 'POST', body: 'x', headers: { 'content-language': 'en', 'x-a': 'b' } }),
    ),
  );
  add(`${status} of HEAD`, redirectTo(status, '?there'), (fetch, { url }) =>
    whole(fetch(url, { method: 'HEAD' })),
  );
}
add('302 of PUT', redirectTo(302, '?there'), (fetch, { url }) =>
  whole(fetch(url, { method: 'PUT', body: 'x' })),
);
add('redirect manual', redirectTo(302, '?there'), (fetch, { url }) =>
  whole(fetch(url, { redirect: 'manual' })),
);
add('redirect error', redirectTo(302, '?there'), (fetch, { url }) =>
  whole(fetch(url, { redirect: 'error' })),
);
add('redirect of no kind', ok(''), (fetch, { url }) =>
  whole(fetch(url, { redirect: 'sideways' as 'follow' })),
);
add('redirect for ever', redirectTo(302, '?again'));
add('redirect without location', redirectTo(302, null));
add('redirect to nowhere', redirectTo(302, 'http://:bad:'));
add('redirect to another scheme', redirectTo(302, 'ftp://127.0.0.1/'));
add('redirect keeps nothing of a fragment', redirectTo(302, '?there#x'));
add('redirect to another origin drops secrets', redirectTo(307, 'OTHER?there'), (fetch, { url }) =>
  whole(
    fetch(url, {
      method: 'POST',
      body: 'x',
      headers: { authorization: 'a', cookie: 'b', 'x-c': 'd' },
    }),
  ),
);
add('redirect within the origin keeps secrets', redirectTo(302, '?there'), (fetch, { url }) =>
  whole(fetch(url, { headers: { authorization: 'a', cookie: 'b' } })),
);
add('307 of a stream', redirectTo(307, '?there'), (fetch, { url }) =>
  whole(fetch(url, { method: 'POST', body: streamOf('x'), duplex: 'half' })),
);
add('303 of a stream', redirectTo(303, '?there'), (fetch, { url }) =>
  whole(fetch(url, { method: 'POST', body: streamOf('x'), duplex: 'half' })),
);
add('307 of a blob', redirectTo(307, '?there'), (fetch, { url }) =>
  whole(fetch(url, { method: 'POST', body: new Blob(['xy']) })),
);

// Aborts.
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const silent: Serve = () => {};
add('aborted before', ok('x'), (fetch, { url }) =>
  whole(fetch(url, { signal: AbortSignal.abort() })),
);
add('aborted before, with a reason', ok('x'), (fetch, { url }) =>
  whole(fetch(url, { signal: AbortSignal.abort('why') })),
);
add('aborted while waiting', silent, (fetch, { url }) => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  return whole(fetch(url, { signal: controller.signal }));
});
add('timed out while waiting', silent, (fetch, { url }) =>
  whole(fetch(url, { signal: AbortSignal.timeout(20) })),
);
add('aborted in the body', never, async (fetch, { url }) => {
  const controller = new AbortController();
  const response = await fetch(url, { signal: controller.signal });
  setTimeout(() => controller.abort(new RangeError('why')), 20);
  return attempt(() => response.text());
});
add('aborted in the stream', never, async (fetch, { url }) => {
  const controller = new AbortController();
  const response = await fetch(url, { signal: controller.signal });
  const reader = response.body!.getReader();
  await reader.read();
  setTimeout(() => controller.abort(), 20);
  return [await attempt(() => reader.read()), await attempt(() => reader.closed)];
});
add('aborted before the body is read', ok('x'), async (fetch, { url }) => {
  const controller = new AbortController();
  const response = await fetch(url, { signal: controller.signal });
  controller.abort();
  return attempt(() => response.text());
});
add('aborted when all is over', ok('x'), async (fetch, { url }) => {
  const controller = new AbortController();
  const text = await (await fetch(url, { signal: controller.signal })).text();
  controller.abort();
  return text;
});
add('signal that is none', ok('x'), (fetch, { url }) =>
  whole(fetch(url, { signal: {} as AbortSignal })),
);

// Requests.
const echo: Serve = (peer, request) => peer.send(ok(seen(request)));
const sent = (name: string, init: () => object): void =>
  add(name, echo, (fetch, { url }) => whole(attemptFetch(() => fetch(url, init()))));
const attemptFetch = async (run: () => Promise<Response>): Promise<Response> => run();

function streamOf(...pieces: unknown[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) {
        controller.enqueue(
          (typeof piece === 'string' ? new TextEncoder().encode(piece) : piece) as Uint8Array,
        );
      }
      controller.close();
    },
  }) as ReadableStream<Uint8Array>;
}

for (const method of ['post', 'PaTcH', 'patch', 'FOO', 'delete', 'CONNECT', 'trace', 'b d', '']) {
  sent(`method '${method}'`, () => ({ method }));
}
sent('GET with a body', () => ({ body: 'x' }));
sent('HEAD with a body', () => ({ method: 'HEAD', body: 'x' }));
sent('POST without body', () => ({ method: 'POST' }));
sent('PUT of null', () => ({ method: 'PUT', body: null }));
sent('string', () => ({ method: 'POST', body: 'caf\u00e9 \ud800' }));
sent('string with its own type', () => ({
  method: 'POST',
  body: '{}',
  headers: { 'Content-Type': 'application/json' },
}));
sent('empty string', () => ({ method: 'POST', body: '' }));
sent('URLSearchParams', () => ({ method: 'POST', body: new URLSearchParams({ a: 'b c' }) }));
sent('ArrayBuffer', () => ({ method: 'POST', body: new Uint8Array([65, 66]).buffer }));
sent('view', () => ({ method: 'POST', body: new Uint8Array([64, 65, 66]).subarray(1) }));
sent('DataView', () => ({
  method: 'POST',
  body: new DataView(new Uint8Array([65, 66]).buffer, 1),
}));
sent('Blob', () => ({ method: 'POST', body: new Blob(['a', 'b'], { type: 'text/x' }) }));
sent('Blob without type', () => ({ method: 'POST', body: new Blob(['a']) }));
sent('number', () => ({ method: 'POST', body: 5 as unknown as string }));
sent('FormData', () => {
  const form = new FormData();
  form.append('a\n"', '1\n2');
  form.append('f', new File(['x'], 'n "1".txt', { type: 'text/x' }));
  return { method: 'POST', body: form };
});
sent('FormData of text', () => {
  const form = new FormData();
  form.append('a', '1');
  return { method: 'POST', body: form };
});
sent('stream of bytes', () => ({ method: 'POST', body: streamOf('a', 'bc'), duplex: 'half' }));
sent('stream without duplex', () => ({ method: 'POST', body: streamOf('a') }));
sent('stream of strings', () => ({
  method: 'POST',
  body: streamOf(1),
  duplex: 'half',
}));
sent('stream that fails', () => ({
  method: 'POST',
  body: new ReadableStream({
    pull(controller) {
      controller.error(new Error('broken'));
    },
  }),
  duplex: 'half',
}));
sent('locked stream as body', () => {
  const stream = streamOf('a');
  stream.getReader();
  return { method: 'POST', body: stream, duplex: 'half' };
});
sent('generator', () => ({
  method: 'POST',
  body: (async function* () {
    yield new Uint8Array([65]);
    yield new Uint8Array([66]);
  })(),
  duplex: 'half',
}));
sent('headers as pairs', () => ({
  headers: [
    ['X-A', '1'],
    ['x-a', '2'],
  ],
}));
sent('headers as Headers', () => ({
  headers: new Headers([
    ['X-A', '1'],
    ['cookie', 'a=b'],
  ]),
}));
sent('headers as an odd list', () => ({ headers: [['x-a']] as unknown as [string, string][] }));
sent('header name invalid', () => ({ headers: { 'x a': '1' } }));
sent('header value with line end', () => ({ headers: { 'x-a': 'a\r\nb: c' } }));
sent('header value trimmed', () => ({ headers: { 'x-a': ' a\r\n' } }));
sent('header value undefined', () => ({ headers: { 'x-a': undefined as unknown as string } }));
sent('header value beyond latin1', () => ({ headers: { 'x-a': '\u20ac' } }));
sent('header value in latin1', () => ({ headers: { 'x-a': '\xe9' } }));
sent('own content-length', () => ({
  method: 'POST',
  body: 'ab',
  headers: { 'content-length': '2' },
}));
sent('wrong content-length', () => ({
  method: 'POST',
  body: 'ab',
  headers: { 'content-length': '3' },
}));
sent('own transfer-encoding', () => ({
  method: 'POST',
  body: 'ab',
  headers: { 'transfer-encoding': 'chunked' },
}));
sent('own expect', () => ({ method: 'POST', body: 'ab', headers: { expect: '100-continue' } }));
sent('own te', () => ({ headers: { te: 'trailers' } }));
sent('own keep-alive', () => ({ headers: { 'keep-alive': 'timeout=5' } }));
sent('integrity', () => ({ integrity: 'sha256-AAAA' }));
sent('only-if-cached', () => ({ cache: 'only-if-cached' }));
sent('mode navigate', () => ({ mode: 'navigate' }));
sent('options without effect', () => ({
  cache: 'no-store',
  credentials: 'include',
  keepalive: true,
  mode: 'cors',
  referrerPolicy: 'no-referrer',
}));
add(
  'own host',
  (peer, request) => peer.send(ok(request.headers.get('host')!)),
  (fetch, { url }) => whole(fetch(url, { headers: { host: 'other.example' } })),
);
add(
  'own defaults',
  (peer, request) => {
    const { headers } = request;
    peer.send(
      ok([headers.get('accept'), headers.get('user-agent'), headers.get('accept-encoding')].join()),
    );
  },
  (fetch, { url }) =>
    whole(
      fetch(url, { headers: { Accept: 'a/b', 'User-Agent': 'me', 'Accept-Encoding': 'identity' } }),
    ),
);
add('defaults', (peer, request) => {
  const { headers } = request;
  peer.send(
    ok([headers.get('accept'), headers.get('accept-encoding'), headers.get('connection')].join()),
  );
});
add('default accept-language', (peer, request) =>
  peer.send(ok(String(request.headers.get('accept-language')))),
);
add('Request', echo, (fetch, { url }) =>
  whole(fetch(new Request(url, { method: 'PUT', headers: { 'x-a': 'b' } }))),
);
add('Request with a body', echo, async (fetch, { url }) => {
  const request = new Request(url, { method: 'PUT', body: 'text' });
  return [await whole(fetch(request)), request.bodyUsed];
});
add('Request with other options', echo, (fetch, { url }) =>
  whole(
    fetch(new Request(url, { method: 'PUT', body: 'text' }), {
      method: 'POST',
      headers: { 'x-b': 'c' },
    }),
  ),
);
add('Request aborted', silent, (fetch, { url }) => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  return whole(fetch(new Request(url, { signal: controller.signal })));
});
add('URL object', ok('x'), (fetch, { url }) => whole(fetch(new URL(url))));
for (const url of [
  'not a url',
  '/relative',
  'ftp://127.0.0.1/',
  'http://u:p@127.0.0.1/',
  'about:blank',
]) {
  add(`URL ${url}`, ok(''), (fetch) => whole(attemptFetch(() => fetch(url))));
}
add('URL data:', ok(''), async (fetch) => (await fetch('data:text/plain,hey')).text());
add('URL blob:', ok(''), async (fetch) => {
  const url = URL.createObjectURL(new Blob(['hey']));
  return (await fetch(url)).text();
});

// Faults.
add('refused', ok(''), async (fetch, { closedUrl }) => {
  try {
    await fetch(closedUrl);
    return 'no';
  } catch (error) {
    const { cause } = error as Error;
    return [nameOf(error), (error as Error).message, (cause as { code?: string }).code];
  }
});
add(
  'closed without a response',
  (peer) => peer.sendLast(''),
  (fetch, { url }) => whole(fetch(url, { method: 'POST' })),
);
add(
  'reset without a response',
  (peer) => peer.reset(),
  (fetch, { url }) => whole(fetch(url, { method: 'POST' })),
);
add('not HTTP', (peer) => peer.sendLast('SSH-2.0-x\r\n\r\n'));
add('half a head', (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nConte'));
add('body cut short', (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
add(
  'body cut short in the stream',
  (peer) => peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'),
  async (fetch, { url }) => {
    const reader = (await fetch(url)).body!.getReader();
    let text = '';
    return [
      await attempt(async () => {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return text;
          text += latin1(value as Uint8Array);
        }
      }),
    ];
  },
);
add('chunks cut short', (peer) =>
  peer.sendLast('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab'),
);
add('chunks that are none', (peer) =>
  peer.sendLast('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n'),
);
add('reset in the body', (peer) => {
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
  setTimeout(() => peer.reset(), 20);
});
add('two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab');
add('length and chunks', (peer) =>
  peer.sendLast(
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
  ),
);
add('length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\na');
add('more than the length', (peer) =>
  peer.sendLast('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc'),
);
add('field without colon', 'HTTP/1.1 200 OK\r\nbroken\r\n\r\n');
add('field with NUL', 'HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n');

// Codings.
const text = Buffer.from('compressible '.repeat(20));
add('gzip', coded('gzip', gzipSync(text)));
add('x-gzip', coded('x-gzip', gzipSync(text)));
add('deflate', coded('deflate', deflateSync(text)));
add('deflate without wrapper', coded('deflate', deflateRawSync(text)));
add('br', coded('br', brotliCompressSync(text)));
add('gzip, br', coded('gzip, br', brotliCompressSync(gzipSync(text))));
add('GZIP', coded('GZIP', gzipSync(text)));
add('identity', coded('identity', text));
add('unknown coding', coded('made-up', text));
add('empty gzip', coded('gzip', new Uint8Array(0)));
add('gzip that is none', coded('gzip', text));
add('gzip cut short', coded('gzip', gzipSync(text).subarray(0, 20)));
add(
  'gzip with something behind',
  coded('gzip', Buffer.concat([gzipSync(text), Buffer.from('xx')])),
);
add('gzip as a stream', coded('gzip', gzipSync(text)), async (fetch, { url }) => {
  let length = 0;
  for await (const piece of (await fetch(url)).body!) length += (piece as Uint8Array).length;
  return length;
});
