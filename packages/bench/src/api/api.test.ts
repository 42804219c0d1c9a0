import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect as connectTcp, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ReuseMode } from '../contestants/index.ts';
import { contestantNames, currentRuntime, loadContestant } from '../contestants/index.ts';
import { HeadCounter } from './head-counter.ts';
import type { LaunchOptions, ServerProcess } from './index.ts';
import { launch, launchCommand } from './index.ts';

const runtime = currentRuntime();
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
// Nothing listens there, and it is none of the ports that fetch refuses to talk to.
const closed = 'http://127.0.0.1:2/';
let upstream: ServerProcess;
let h2Upstream: ServerProcess;

const start = (options: Partial<LaunchOptions>) =>
  launch(launchCommand({ program: 'api', runtime, requestUrl: closed, ...options }));

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: the assertions say what it is
  body: any;
}

async function getJson(url: string): Promise<Answer> {
  const response = await fetch(url, { redirect: 'manual', headers: { connection: 'close' } });
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}

before(async () => {
  upstream = await start({});
  h2Upstream = await launch(launchCommand({ program: 'h2-upstream', runtime: 'node' }));
});
after(async () => {
  await upstream.stop();
  await h2Upstream.stop();
});

/** Runs the program with nothing but this environment until it ends; for starts that fail. */
function runProgram(env: Record<string, string>): Promise<{ code: number | null; err: string }> {
  const file = fileURLToPath(new URL('./main.js', import.meta.url));
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file], { env: { PATH: process.env['PATH'], ...env } });
    let err = '';
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.on('close', (code) => resolve({ code, err: err.trim() }));
  });
}

const badEnvironments: [name: string, env: Record<string, string>, message: RegExp][] = [
  ['REQUEST_URL is missing', {}, /REQUEST_URL is missing/],
  ['REQUEST_URL is empty', { REQUEST_URL: '' }, /REQUEST_URL is missing/],
  ['REQUEST_URL is no URL', { REQUEST_URL: 'nonsense' }, /REQUEST_URL is no URL: "nonsense"/],
  ['REQUEST_URL is https', { REQUEST_URL: 'https://a/' }, /must start with http:\/\//],
  ['REQUEST_URL has no slash', { REQUEST_URL: 'http://a:1' }, /must end with a slash/],
  ['API_PORT is nonsense', { REQUEST_URL: closed, API_PORT: '80x' }, /API_PORT must be/],
  ['API_PORT is too large', { REQUEST_URL: closed, API_PORT: '65536' }, /from 0 to 65535/],
  ['the mode is unknown', { REQUEST_URL: closed, ONEHOP_REUSE: 'both' }, /"shared" or "per-req/],
  ['a client is unknown', { REQUEST_URL: closed, ONEHOP_CLIENTS: 'nope' }, /"nope".*known here/],
  [
    'the host is not ours',
    { REQUEST_URL: closed, API_HOST: '192.0.2.1', API_PORT: '0' },
    /192\.0\.2\.1 is not an address/,
  ],
];

for (const [name, env, message] of badEnvironments) {
  test(`exit 1 with one sentence when ${name}`, async () => {
    const { code, err } = await runProgram(env);
    assert.equal(code, 1);
    assert.match(err, message);
    assert.equal(err.split('\n').length, 1, err);
  });
}

test('exit 1 with one sentence when the port is in use', async () => {
  const { code, err } = await runProgram({ REQUEST_URL: closed, API_PORT: `${upstream.port}` });
  assert.equal(code, 1);
  assert.equal(err, `onehop bench api: port ${upstream.port} on 127.0.0.1 is already in use`);
});

test('/request_response/ answers with a random UUID, version 4', async () => {
  const first = await getJson(`${upstream.url}request_response/`);
  const second = await getJson(`${upstream.url}request_response/`);
  assert.equal(first.status, 200);
  assert.deepEqual(Object.keys(first.body), ['message']);
  assert.match(first.body.message, uuid);
  assert.notEqual(first.body.message, second.body.message);
});

for (const reuse of ['shared', 'per-request'] as ReuseMode[]) {
  test(`every client forwards, ${reuse}`, async () => {
    const api = await start({ requestUrl: upstream.url, reuse });
    const apiH2 = await start({ requestUrl: h2Upstream.url, reuse });
    try {
      for (const name of contestantNames(runtime)) {
        const { modes, protocol } = (await loadContestant(name))!;
        const { url } = protocol === 'h2c' ? apiH2 : api;
        const { status, body } = await getJson(`${url}send_request/${name}/`);
        if (!modes.includes(reuse)) {
          assert.equal(status, 404, name);
          assert.match(body.error.message, new RegExp(`has no ${reuse} mode`));
          continue;
        }
        assert.equal(status, 200, `${name}: ${JSON.stringify(body)}`);
        assert.deepEqual(Object.keys(body), ['status', 'message']);
        assert.equal(body.status, 1);
        assert.match(body.message, uuid);
      }
    } finally {
      await api.stop();
      await apiH2.stop();
    }
  });
}

test('a refused upstream is a 502 that says who, where and why, for every client', async () => {
  const { url } = upstream; // its own REQUEST_URL is a closed port
  for (const name of contestantNames(runtime)) {
    const { status, body } = await getJson(`${url}send_request/${name}/`);
    assert.equal(status, 502, name);
    assert.equal(body.error.upstream, `${closed}request_response/`);
    assert.equal(body.error.client, name);
    assert.equal(body.error.phase, 'connect', `${name}: ${body.error.message}`);
    assert.notEqual(body.error.message, '');
  }
});

test('an upstream body of another shape is a 502', async () => {
  const bodies = ['{"message":7}', '{"text":"x"}', '[]', 'null', '{"message":"x"'];
  let body = '';
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => {
      const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
      socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const api = await start({ requestUrl: `http://127.0.0.1:${port}/`, clients: ['node-http'] });
  try {
    for (body of bodies) {
      const answer = await getJson(`${api.url}send_request/node-http/`);
      assert.equal(answer.status, 502, body);
      assert.equal(answer.body.error.phase, 'body');
    }
    body = '{"message":"fine"}';
    assert.equal((await getJson(`${api.url}send_request/node-http/`)).body.message, 'fine');
  } finally {
    await api.stop();
    server.close();
  }
});

test('an unknown client is a 404 that names the known ones', async () => {
  const { status, body } = await getJson(`${upstream.url}send_request/nope/`);
  assert.equal(status, 404);
  assert.deepEqual(body.error.known, contestantNames(runtime));
  assert.match(body.error.message, /unknown client "nope"; known: /);
});

test('a path without its slash is redirected, any other is a 404', async () => {
  const options = { redirect: 'manual', headers: { connection: 'close' } } as const;
  const response = await fetch(`${upstream.url}send_request/node-http?a=1`, options);
  assert.equal(response.status, 307);
  assert.equal(response.headers.get('location'), '/send_request/node-http/?a=1');
  assert.equal((await getJson(`${upstream.url}nothing/`)).status, 404);
});

test('the OpenAPI document has the routes and their models, not the lab routes', async () => {
  const { body } = await getJson(`${upstream.url}openapi.json`);
  assert.match(body.openapi, /^3\.1/);
  assert.deepEqual(Object.keys(body.paths), [
    '/request_response/',
    '/send_request/{client}/',
    '/send_chat/{client}/',
  ]);
  const { responses } = body.paths['/send_request/{client}/'].get;
  assert.deepEqual(Object.keys(responses), ['200', '404', '502']);
});

test('the documentation page is whole without a network', async () => {
  const page = await (await fetch(`${upstream.url}docs/`)).text();
  assert.match(page, /Swagger UI/);
  const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
  assert.ok(links.length > 3);
  for (const link of links) {
    assert.doesNotMatch(link, /^(https?:)?\/\//);
    const response = await fetch(new URL(link, `${upstream.url}docs/`));
    await response.arrayBuffer();
    assert.equal(response.status, 200, link);
  }
});

test('the measure routes count CPU since the reset', async () => {
  await upstream.measureReset();
  for (let i = 0; i < 20; i++) await getJson(`${upstream.url}request_response/`);
  const measure = await upstream.measure();
  assert.ok(measure.cpuUserUs + measure.cpuSystemUs > 0);
  assert.ok(measure.cpuUserUs < 10_000_000);
  assert.ok(measure.rssPeakBytes > 20e6 && measure.rssPeakBytes < 2e9);
  assert.equal(measure.pid, upstream.pid);
  assert.ok(measure.loopDelayMaxMs === null || measure.loopDelayMaxMs >= 0);
  await upstream.measureReset();
  const again = await upstream.measure();
  assert.ok(again.cpuUserUs < measure.cpuUserUs + 1);
});

test('a paused measure counts nothing until it is resumed', async () => {
  const post = (action: string) =>
    fetch(`${upstream.url}_onehop/measure/${action}/`, { method: 'POST' }).then((r) => r.json());
  const total = async () => {
    const measure = await upstream.measure();
    return measure.cpuUserUs + measure.cpuSystemUs;
  };
  const work = async () => {
    for (let i = 0; i < 20; i++) await getJson(`${upstream.url}request_response/`);
  };
  await post('reset');
  await work();
  assert.deepEqual(await post('pause'), { pause: true });
  const paused = await total();
  assert.ok(paused > 0);
  await work();
  assert.equal(await total(), paused);
  await post('resume');
  await work();
  assert.ok((await total()) > paused);
});

test('without ONEHOP_MEASURE there are no lab routes', async () => {
  const api = await start({ env: { ONEHOP_MEASURE: '0' } });
  assert.equal((await getJson(`${api.url}_onehop/measure/`)).status, 404);
  await api.stop();
});

test('SIGTERM and SIGINT end the server with 0 while connections are open', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { command, args, env } = launchCommand({ program: 'api', runtime, requestUrl: closed });
    const child = spawn(command, args, { env: { ...process.env, ...env } });
    const line = await new Promise<string>((resolve) => child.stdout.once('data', resolve));
    const ready = JSON.parse(String(line)) as { port: number; pid: number; ready: boolean };
    assert.equal(ready.ready, true);
    assert.equal(ready.pid, child.pid);
    const socket = connectTcp(ready.port, '127.0.0.1');
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    assert.equal(await ended, 0, signal);
    socket.destroy();
  }
});

test('the null forwarder splices the upstream’s own answer and measures itself', async () => {
  const options = { program: 'null-forwarder', runtime, requestUrl: upstream.url } as const;
  const forwarder = await launch(launchCommand(options));
  const { status, body } = await getJson(`${forwarder.url}send_request/null/`);
  assert.equal(status, 200);
  assert.match(body.message, uuid);
  await forwarder.measureReset();
  assert.equal((await forwarder.measure()).pid, forwarder.pid);
  await forwarder.stop();
  const broken = await launch(launchCommand({ ...options, requestUrl: closed }));
  assert.equal((await getJson(`${broken.url}send_request/null/`)).status, 502);
  await broken.stop();
});

test('a head counter finds every blank line, however the bytes are split', () => {
  const text = 'GET / HTTP/1.1\r\na: b\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\r\n\r\n';
  const expected = text.split('\r\n\r\n').length - 1;
  for (let first = 0; first <= text.length; first++) {
    for (let second = first; second <= text.length; second++) {
      const counter = new HeadCounter();
      const parts = [text.slice(0, first), text.slice(first, second), text.slice(second)];
      const heads = parts.reduce((sum, part) => sum + counter.push(Buffer.from(part)), 0);
      assert.equal(heads, expected, `${first} ${second}`);
    }
  }
});

test('the HTTP/2 upstream answers and says how many streams it allows', async () => {
  const session = connect(h2Upstream.url);
  const settings = new Promise<number | undefined>((resolve) =>
    session.once('remoteSettings', (remote) => resolve(remote.maxConcurrentStreams)),
  );
  const stream = session.request({ ':path': '/request_response/' });
  let text = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream) text += chunk;
  assert.match(JSON.parse(text).message, uuid);
  assert.equal(await settings, 100);
  session.close();
});
