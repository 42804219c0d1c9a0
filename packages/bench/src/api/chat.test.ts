import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { type Service, startOpenAiService } from '@onehop/mock';
import { chatContestantNames, currentRuntime, type ReuseMode } from '../contestants/index.ts';
import { launch, launchCommand, type ServerProcess } from './index.ts';

const runtime = currentRuntime();
const names = chatContestantNames(runtime);
let upstream: Service;
const apis = {} as Record<ReuseMode, ServerProcess>;

before(async () => {
  upstream = await startOpenAiService({ tokens: 5, seed: 1 });
  const requestUrl = `http://127.0.0.1:${upstream.port}/`;
  for (const reuse of ['shared', 'per-request'] as const) {
    apis[reuse] = await launch(launchCommand({ program: 'api', runtime, requestUrl, reuse }));
  }
});
after(async () => {
  await Promise.all(Object.values(apis).map((api) => api.stop()));
  await upstream.close();
});

async function ask(base: string, client: string) {
  const response = await fetch(`${base}send_chat/${client}/`, { headers: { connection: 'close' } });
  // biome-ignore lint/suspicious/noExplicitAny: the assertions say what it is
  return { status: response.status, body: (await response.json()) as any };
}

for (const name of names) {
  test(`${name} asks for a completion in both modes`, async () => {
    for (const reuse of ['shared', 'per-request'] as const) {
      upstream.resetCounters();
      for (let i = 0; i < 4; i++) {
        const { status, body } = await ask(apis[reuse].url, name);
        assert.equal(status, 200, JSON.stringify(body));
        assert.equal(body.status, 1);
        assert.match(body.message, /^\w+( \w+){4}$/);
      }
      const { requests, connectionsOpened } = upstream.counters();
      assert.equal(requests, 4);
      // Bun's fetch has one pool for the whole process: nothing to close, and others use it, too.
      const pooled = runtime === 'bun' && (name === 'openai' || name === 'chat-fetch');
      if (pooled) assert.ok(connectionsOpened <= 1, `${connectionsOpened}`);
      else assert.equal(connectionsOpened, reuse === 'shared' ? 1 : 4);
    }
  });

  test(`${name}: what fails is a 502 that says why, and is asked for once`, async () => {
    const faulty = await startOpenAiService({ fault: { name: 'status', value: 503 } });
    const wrong = await launch(
      launchCommand({ program: 'api', runtime, requestUrl: `http://127.0.0.1:${faulty.port}/` }),
    );
    try {
      const { status, body } = await ask(wrong.url, name);
      assert.equal(status, 502);
      assert.equal(body.error.phase, 'status', JSON.stringify(body));
      assert.equal(body.error.upstream, `http://127.0.0.1:${faulty.port}/v1/chat/completions`);
      assert.match(body.error.message, /503/);
      assert.equal(faulty.counters().requests, 1);
      await faulty.close();
      const refused = await ask(wrong.url, name);
      assert.equal(refused.status, 502);
      assert.equal(refused.body.error.phase, 'connect', JSON.stringify(refused.body));
    } finally {
      await wrong.stop();
    }
  });
}

test('a name of the other case is unknown there', async () => {
  const { status, body } = await ask(apis.shared.url, 'onehop');
  assert.equal(status, 404);
  assert.deepEqual(body.error.known, names);
});

test('an answer that trickles is given up after the same time by every client', async () => {
  const trickling = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const drop = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(drop));
  });
  await new Promise<void>((resolve) => trickling.listen(0, '127.0.0.1', resolve));
  const requestUrl = `http://127.0.0.1:${(trickling.address() as AddressInfo).port}/`;
  const timeoutMs = 300;
  const api = await launch(launchCommand({ program: 'api', runtime, requestUrl, timeoutMs }));
  const late = (name: string) =>
    new Promise<string>((resolve) => setTimeout(() => resolve(`${name} waits on`), 5000).unref());
  try {
    const outcomes = names.map((name) =>
      Promise.race([ask(api.url, name).then(({ status }) => `${name} ${status}`), late(name)]),
    );
    assert.deepEqual(
      await Promise.all(outcomes),
      names.map((name) => `${name} 502`),
    );
  } finally {
    await api.stop();
    trickling.closeAllConnections();
    trickling.close();
  }
});
