/** What a hook or a bug throws, on the runtime's own clock and sockets; each test is named after what it did. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client, createFetch } from 'onehop/client';
import { createGateway, type Gateway, type GatewayObserver, silentObserver } from 'onehop/gateway';
import { transport } from 'onehop/transport';
import { chunk, ok, type RawPeer, RawServer, type Script } from '../support/raw-server.ts';
import {
  binary,
  onBun,
  ask as request,
  sample,
  until as untilMet,
} from '../support/serve-process.ts';
import { ask, assertGaugesZero, simple, until, withServers } from './gateway-rig.ts';

const dir = mkdtempSync(join(tmpdir(), 'onehop-throws-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const expected = new Error('expected in this test');

/** A gateway whose observer throws in `method`. */
async function withThrowing(
  method: keyof GatewayObserver,
  scripts: Script[],
  upstream: Record<string, unknown>,
  body: (gateway: Gateway, port: number, faults: [unknown, string][]) => Promise<void>,
): Promise<void> {
  await withServers(scripts, async (_servers, ports) => {
    const faults: [unknown, string][] = [];
    const observer: GatewayObserver = {
      ...silentObserver,
      [method]() {
        throw expected;
      },
      onInternalError: (error, where) => faults.push([error, where]),
    };
    const gateway = createGateway(
      { ...simple(ports, upstream), listen: '127.0.0.1:0' },
      { observer },
    );
    try {
      await body(gateway, (await gateway.listen())[0]!.port, faults);
      await assertGaugesZero(gateway);
    } finally {
      await gateway.close({ graceMs: 0, announceMs: 0 });
    }
  });
}

const told = (method: string): [unknown, string] => [expected, `${method} of the observer`];

test('a caller waited for ever when onRetry threw', async () => {
  const reset: Script = (peer) => peer.reset();
  const fine: Script = (peer) => peer.send(ok('fine'));
  const upstream = { balance: 'round-robin', retry: { attempts: 3, backoff: 0, budgetMin: 100 } };
  await withThrowing('onRetry', [reset, fine], upstream, async (_gateway, port, faults) => {
    for (let at = 0; at < 4; at++) assert.equal((await ask(port)).status, 200);
    assert.ok(faults.length > 0);
    for (const fault of faults) assert.deepEqual(fault, told('onRetry'));
  });
});

test('a stream was cut when onStreamRead threw', async () => {
  const stream: Script = (peer) =>
    peer.send(
      `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${chunk('data: 1\n\n')}0\r\n\r\n`,
    );
  await withThrowing('onStreamRead', [stream], {}, async (_gateway, port, faults) => {
    const answer = await ask(port);
    assert.deepEqual([answer.status, answer.complete, answer.body], [200, true, 'data: 1\n\n']);
    assert.deepEqual(faults, [told('onStreamRead')]);
  });
});

test('the process ended when onHealth threw, and nothing was probed any more', async () => {
  let isUp = true;
  let probes = 0;
  const script: Script = (peer) => {
    probes++;
    peer.send(isUp ? ok('') : 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
  };
  const health = { path: '/health', interval: 10, healthyAfter: 1, unhealthyAfter: 1 };
  await withThrowing('onHealth', [script], { health }, async (gateway, _port, faults) => {
    const { members } = gateway.tables.upstreams.get('up')!;
    assert.ok(await until(() => probes > 2));
    isUp = false;
    assert.ok(await until(() => !members[0]!.probedHealthy));
    isUp = true;
    assert.ok(await until(() => members[0]!.probedHealthy));
    assert.deepEqual(faults, [told('onHealth'), told('onHealth')]);
  });
});

test('who stood in line waited for ever when what hears of limits threw', async () => {
  const held: RawPeer[] = [];
  const script: Script = (peer, { target }) => {
    if (target === '/held') held.push(peer);
    else peer.send(ok('fine'));
  };
  await withServers([script], async (_servers, ports) => {
    const faults: unknown[] = [];
    const observer: GatewayObserver = {
      ...silentObserver,
      onInternalError: (error) => faults.push(error),
    };
    const limits = { pending: 1, queue: 10, queueWait: '60s' };
    const gateway = createGateway(
      { ...simple(ports, { limits, retry: { attempts: 1 } }), listen: '127.0.0.1:0' },
      { observer },
    );
    Object.defineProperty(gateway.limits, 'exchangeEnded', {
      value() {
        throw expected;
      },
    });
    try {
      const { port } = (await gateway.listen())[0]!;
      const first = ask(port, 'POST /held HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n');
      assert.ok(await until(() => held.length === 1));
      const second = ask(port);
      const { queue } = gateway.tables.upstreams.get('up')!;
      assert.ok(await until(() => queue.length === 1));
      held[0]!.reset();
      assert.equal((await first).status, 502);
      assert.equal((await second).status, 200);
      assert.deepEqual(faults, [expected]);
      await assertGaugesZero(gateway);
    } finally {
      await gateway.close({ graceMs: 0, announceMs: 0 });
    }
  });
});

test('an observer that is asynchronous ended the process when it was rejected', async () => {
  const faults: unknown[] = [];
  const observer: GatewayObserver = {
    ...silentObserver,
    onFinish: async () => {
      throw expected;
    },
    onInternalError: (error) => faults.push(error),
  };
  await withServers([(peer) => peer.send(ok(''))], async (_servers, ports) => {
    const gateway = createGateway({ ...simple(ports), listen: '127.0.0.1:0' }, { observer });
    const { port } = (await gateway.listen())[0]!;
    assert.equal((await ask(port)).status, 200);
    assert.ok(await until(() => faults.length > 0));
    assert.deepEqual(faults, [expected]);
    await gateway.close({ graceMs: 0, announceMs: 0 });
  });
});

test('a hook of the client that throws ends the process or leaves a request that waits', async () => {
  const server = new RawServer((peer, { body }) => peer.send(ok(body)));
  await server.listen(transport);
  const lines: string[] = [];
  const print = console.error;
  console.error = (line: unknown) => void lines.push(String(line));
  const client = new Client({
    retries: 0,
    onConnect() {
      throw expected;
    },
    resolver: {
      resolve(host, done) {
        if (host === 'throws.test') throw expected;
        done(null, ['127.0.0.1']);
        // Whoever calls back twice is as broken as whoever throws.
        if (host === 'twice.test') done(null, ['127.0.0.1']);
      },
    },
  });
  const url = (host: string): string => `http://${host}:${server.port}/`;
  try {
    await assert.rejects(client.get(url('throws.test')), { code: 'INTERNAL' });
    assert.equal(await (await client.post(url('fine.test'), { body: 'a' })).text(), 'a');
    assert.equal(await (await client.post(url('twice.test'), { body: 'b' })).text(), 'b');
    async function* body(): AsyncGenerator<string> {
      yield 'one';
      throw expected;
    }
    const fails = { method: 'POST', body: body(), duplex: 'half' } as never;
    await assert.rejects(createFetch(client)(url('fine.test'), fails));
    await assert.rejects(client.post(url('fine.test'), { body: body() }));
    const signal = {
      aborted: false,
      reason: undefined,
      addEventListener() {
        throw expected;
      },
      removeEventListener() {},
    } as unknown as AbortSignal;
    await assert.rejects(client.get(url('fine.test'), { signal }));
    for (const { active, connections } of Object.values(client.stats())) {
      assert.deepEqual([active, connections.busy, connections.waiting], [0, 0, 0]);
    }
    assert.ok(lines.some((line) => line.includes('onConnect of an origin')));
  } finally {
    console.error = print;
    client.destroy();
    await server.close();
  }
});

// Without `--single-process` it is the supervisor that throws.
for (const mode of [[], ['--single-process']]) {
  const where = mode[0] ?? 'under a supervisor';
  test(`an error that nobody catches ends the gateway, ${where}`, async () => {
    const server = new RawServer((peer) => peer.send(ok('fine')));
    await server.listen(transport);
    const bug = join(dir, 'bug.mjs');
    // Once it listens, or it would end a start, as it should: and then again and again.
    writeFileSync(
      bug,
      `const fail = () => { throw new Error('nobody catches'); };
const begin = () => { Promise.reject(new Error('nobody waits')); setInterval(fail, 100).unref(); };
const write = process.stderr.write.bind(process.stderr);
process.stderr.write = (text, ...more) => {
  if (String(text).includes('listening on')) setTimeout(begin, 100);
  return write(text, ...more);
};\n`,
    );
    const config = join(dir, 'bug.yaml');
    writeFileSync(
      config,
      `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstreams: { one: { targets: ["http://127.0.0.1:${server.port}"] } }\nroutes: [{ upstream: one }]\n`,
    );
    const preload = onBun ? ['--preload', bug] : ['--import', bug];
    const args = [
      ...preload,
      binary,
      'serve',
      config,
      '--runtime',
      onBun ? 'bun' : 'node',
      ...mode,
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (bytes) => {
      text += bytes;
    });
    const ended = new Promise((done) => child.once('exit', done));
    try {
      const url = (of: string): string | undefined =>
        new RegExp(`${of} on (http:[^\\s,]+?):?(?:\\s|$)`, 'm').exec(text)?.[1];
      await untilMet(
        () => url('listening') !== undefined && url('admin') !== undefined,
        'its start',
      );
      const [listening, admin] = [url('listening')!, url('admin')!];
      await untilMet(async () => {
        const { body } = await request(`${admin}/metrics`);
        return sample(body, 'onehop_internal_errors_total') >= 5;
      }, `errors to be counted: ${text}`);
      assert.equal((await request(listening)).status, 200);
      const lines = text.split('\n').filter((line) => line.includes('internal error'));
      assert.ok(
        lines.some((line) => line.includes('nobody waits')),
        text,
      );
      assert.ok(
        lines.some((line) => line.includes('nobody catches')),
        text,
      );
      // Each kind once in ten seconds.
      assert.ok(lines.length <= 4, text);
      child.kill('SIGTERM');
      assert.equal(await ended, 0);
    } finally {
      child.kill('SIGKILL');
      await server.close();
    }
  });
}
