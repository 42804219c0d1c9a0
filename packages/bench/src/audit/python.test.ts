import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { test } from 'node:test';
import { launch } from '../api/index.ts';
import { pythonLaunchCommand, pythonPeers, pythonSource } from '../contestants/index.ts';
import { CHECKS } from './checks.ts';
import { runAudit } from './index.ts';

const { peers, reason } = await pythonPeers();
const onBun = process.versions['bun'] !== undefined;
const skip = reason ?? (onBun ? 'the peers are the same whoever asks: judged under Node' : false);
const options = skip === false ? {} : { skip };

test('there are peers, or a reason why there are none', () => {
  if (reason === null) {
    const names = peers.map(({ name }) => name);
    assert.deepEqual(names, ['httpx', 'httpx-http2', 'aiohttp', 'httpx-aiohttp']);
    for (const { version } of peers) assert.match(version, /^\d+\.\d+/);
    for (const name of names) assert.ok(pythonSource()?.includes(`"${name}"`));
  } else {
    assert.match(reason, /\S/);
    assert.deepEqual(peers, []);
  }
});

test('a missing virtual environment is a reason, not an error', async () => {
  const before = process.env['ONEHOP_PYTHON_VENV'];
  process.env['ONEHOP_PYTHON_VENV'] = '/nonexistent';
  try {
    const found = await pythonPeers();
    assert.deepEqual(found.peers, []);
    assert.match(found.reason ?? '', /npm run setup:python/);
    assert.equal(found.leftOut.length, 4);
    assert.throws(() => pythonLaunchCommand({ program: 'api' }), /npm run setup:python/);
  } finally {
    if (before === undefined) delete process.env['ONEHOP_PYTHON_VENV'];
    else process.env['ONEHOP_PYTHON_VENV'] = before;
  }
});

test('every Python adapter passes the fairness audit', options, async () => {
  const results = await runAudit({ runtimes: ['python'] });
  assert.equal(results.length, peers.length * 2 * CHECKS.length);
  assert.deepEqual(
    results.filter(({ verdict }) => verdict === 'fail'),
    [],
  );
});

test('the Python server refuses a bad environment with one sentence', options, async () => {
  const cases: [env: Record<string, string>, message: RegExp][] = [
    [{}, /REQUEST_URL is missing/],
    [{ REQUEST_URL: 'nonsense' }, /REQUEST_URL is no URL/],
    [{ REQUEST_URL: 'http://127.0.0.1:1' }, /must end with a slash/],
    [{ REQUEST_URL: 'http://127.0.0.1:1/', API_PORT: '70000' }, /API_PORT must be/],
    [{ REQUEST_URL: 'http://127.0.0.1:1/', ONEHOP_CLIENTS: 'nope' }, /"nope".*known here: httpx/],
  ];
  for (const [env, message] of cases) {
    const server = launch(pythonLaunchCommand({ program: 'api', env }));
    await assert.rejects(server, (error: Error) => {
      assert.match(error.message, message);
      assert.equal(error.message.split('\n').length, 1);
      return true;
    });
  }
});

test('the Python server forwards, documents and measures itself', options, async () => {
  const upstream = await launch(pythonLaunchCommand({ program: 'h2-upstream' }));
  const api = await launch(pythonLaunchCommand({ program: 'api', requestUrl: upstream.url }));
  const get = async (url: string) => (await fetch(url)).json() as Promise<Record<string, unknown>>;
  try {
    for (const { name } of peers) {
      const { status, message } = await get(`${api.url}send_request/${name}/`);
      assert.equal(status, 1, name);
      assert.match(String(message), /^[0-9a-f-]{36}$/);
    }
    const seen = await get(`${upstream.url}_onehop/upstream/`);
    assert.equal(seen['requests'], peers.length);
    const { paths } = await get(`${api.url}openapi.json`);
    assert.deepEqual(Object.keys(paths as object), [
      '/request_response/',
      '/send_request/{client}/',
    ]);
    const unknown = await fetch(`${api.url}send_request/nope/`);
    assert.equal(unknown.status, 404);
    await unknown.arrayBuffer();
    await api.measureReset();
    assert.equal((await api.measure()).pid, api.pid);
    await upstream.stop();
    const failed = await fetch(`${api.url}send_request/aiohttp/`);
    const { error } = (await failed.json()) as { error: { phase: string; client: string } };
    assert.equal(failed.status, 502);
    assert.equal(error.client, 'aiohttp');
  } finally {
    await api.stop();
    await upstream.stop();
  }
});

test(
  'the Python upstream of HTTP/2 keeps a connection behind its thousandth request',
  options,
  async () => {
    const upstream = await launch(pythonLaunchCommand({ program: 'h2-upstream' }));
    const session = connect(upstream.url).setMaxListeners(0);
    let closed = false;
    session.on('goaway', () => {
      closed = true;
    });
    try {
      for (let sent = 0; sent < 1200; sent += 50) {
        const statuses = await Promise.all(
          Array.from({ length: 50 }, () => {
            const stream = session.request({ ':path': '/request_response/' });
            return new Promise<number>((resolve, reject) => {
              let status = 0;
              stream.on('response', (headers) => {
                status = headers[':status'] ?? 0;
              });
              stream.on('error', reject).on('close', () => resolve(status));
              // What the end of the connection leaves unanswered is told to nobody else.
              session.once('goaway', () => resolve(0));
              stream.resume();
            });
          }),
        );
        assert.ok(
          statuses.every((status) => status === 200),
          `${statuses}`,
        );
      }
      assert.equal(closed, false);
    } finally {
      session.destroy();
      await upstream.stop();
    }
  },
);
