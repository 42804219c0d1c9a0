/** `onehop serve` with one worker: its death costs a second, not the service. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Service, startPlainService } from '@onehop/mock';
import { findBun } from 'onehop/cli/find-bun';
import {
  ask,
  childrenOf,
  isAlive,
  KeptLoad,
  onBun,
  ownRuntime,
  ServeProcess,
  sample,
  serve,
  until,
} from '../support/serve-process.ts';

let dir: string;
let service: Service;
const open: ServeProcess[] = [];
const loads: KeptLoad[] = [];
const notLinux = process.platform === 'linux' ? false : 'reads /proc';
/** A supervisor on Node with a worker on Bun is what `--runtime auto` makes. */
const runtimes = onBun || findBun() === null ? [ownRuntime] : (['node', 'bun'] as const);

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'onehop-supervised-'));
  service = await startPlainService({ sizeBytes: 11 });
});
after(async () => {
  for (const load of loads) void load.stop();
  await Promise.all(open.map((served) => served.end()));
  await service.close();
  rmSync(dir, { recursive: true, force: true });
});

const upstream = (): string[] => ['--upstream', `http://127.0.0.1:${service.port}`];
const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];

async function start(runtime: string, args: string[] = addresses): Promise<ServeProcess> {
  const served = await serve([...upstream(), '--runtime', runtime, ...args]);
  open.push(served);
  return served;
}

async function workerOf(served: ServeProcess): Promise<number> {
  const children = await childrenOf(served.pid);
  assert.equal(children.length, 1, `children: ${children}`);
  return children[0]!;
}

/** The worker that runs after `pid` has ended. */
async function nextWorker(served: ServeProcess, pid: number): Promise<number> {
  let next = 0;
  await until(async () => {
    next = (await childrenOf(served.pid)).find((child) => child !== pid) ?? 0;
    return next !== 0;
  }, 'the next worker');
  return next;
}

const portOf = (served: ServeProcess): NetConnectOpts => ({
  host: '127.0.0.1',
  port: Number(new URL(served.url).port),
});

/** Connects, sends a request and never tries again: what came of it, once it is connected. */
function caller(where: NetConnectOpts): { connected: Promise<void>; answer: Promise<string> } {
  const socket = connect(where);
  const answer = new Promise<string>((resolve) => {
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (part) => {
      text += part;
    });
    socket.on('error', (error) => resolve(error.message));
    socket.on('close', () => resolve(text));
  });
  const connected = new Promise<void>((resolve) => {
    socket.on('connect', () =>
      socket.write('GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n', () => resolve()),
    );
    socket.on('close', () => resolve());
  });
  return { connected, answer };
}

async function allAnswered(callers: readonly { answer: Promise<string> }[]): Promise<void> {
  for (const { answer } of callers) assert.match(await answer, /^HTTP\/1\.1 200 /);
}

for (const runtime of runtimes) {
  for (const signal of ['SIGABRT', 'SIGKILL'] as const) {
    test(`${signal} of the only worker on ${runtime}: who connects meanwhile is answered by the next`, {
      skip: notLinux,
    }, async () => {
      const served = await start(runtime);
      assert.equal((await ask(served.url)).status, 200);
      const worker = await workerOf(served);
      // Stopped it accepts nothing, and they connect all the same. Only SIGKILL ends a stopped one.
      const waiting: ReturnType<typeof caller>[] = [];
      if (signal === 'SIGKILL') {
        process.kill(worker, 'SIGSTOP');
        for (let i = 0; i < 5; i++) waiting.push(caller(portOf(served)));
        await Promise.all(waiting.map(({ connected }) => connected));
      }
      process.kill(worker, signal);
      await served.says(
        new RegExp(`worker ${worker} ended \\(${signal}\\); the next starts in 100 ms`),
      );
      // Nobody is there now.
      const early = Array.from({ length: 5 }, () => caller(portOf(served)));
      await allAnswered([...waiting, ...early]);
      assert.notEqual(await nextWorker(served, worker), worker);
      const metrics = (await ask(`${served.admin}/metrics`)).body;
      assert.equal(sample(metrics, 'onehop_worker_restarts_total'), 1);
      assert.equal(served.child.exitCode, null);
    });
  }

  test(`the only worker on ${runtime} is replaced under load without losing a request`, {
    skip: notLinux,
  }, async () => {
    const served = await start(runtime);
    const worker = await workerOf(served);
    const load = new KeptLoad(served.url, 8);
    loads.push(load);
    await until(() => load.result.ok > 50, 'requests');
    served.kill('SIGUSR1');
    await served.says(/workers are replaced: done/);
    await until(() => !isAlive(worker), 'the old worker to end');
    const { ok } = load.result;
    await until(() => load.result.ok > ok + 50, 'more requests');
    assert.deepEqual((await load.stop()).failures, []);
    assert.notEqual(await workerOf(served), worker);
  });

  test(`a Unix socket of one worker on ${runtime} outlives it, and goes away at the end`, {
    skip: notLinux,
  }, async () => {
    const path = join(dir, `${runtime}.sock`);
    const listen = ['--listen', `unix:${path}`, '--admin', '127.0.0.1:0'];
    const served = await start(runtime, listen);
    await allAnswered([caller({ path })]);
    const second = new ServeProcess(['serve', ...upstream(), '--runtime', runtime, ...listen]);
    assert.equal(await second.exit, 1);
    assert.match(second.stderr, /is another gateway running\?/);
    const worker = await workerOf(served);
    process.kill(worker, 'SIGKILL');
    await served.says(/ended \(SIGKILL\)/);
    await allAnswered([caller({ path }), caller({ path })]);
    const from = served.stderr.length;
    served.kill('SIGUSR1');
    await served.says(/workers are replaced: done/, from);
    await until(async () => (await childrenOf(served.pid)).length === 1, 'the old worker to end');
    await allAnswered([caller({ path })]);
    served.kill('SIGTERM');
    assert.equal(await served.exit, 0, served.stderr);
    assert.equal(existsSync(path), false);
  });
}

test('a Unix socket that a killed gateway left behind kept the next one from starting', {
  skip: notLinux,
}, async () => {
  const path = join(dir, 'left.sock');
  const plain = join(dir, 'plain.sock');
  for (const more of [[], ['--single-process']]) {
    const listen = ['--listen', `unix:${path}`, '--admin', '127.0.0.1:0', ...more];
    const served = await start(ownRuntime, listen);
    const children = await childrenOf(served.pid);
    for (const pid of [served.pid, ...children]) process.kill(pid, 'SIGKILL');
    await served.exit;
    assert.ok(existsSync(path), 'nothing was left behind');
    const next = await start(ownRuntime, listen);
    await allAnswered([caller({ path })]);
    next.kill('SIGTERM');
    assert.equal(await next.exit, 0, next.stderr);
  }
  // What is no socket is not ours to remove.
  writeFileSync(plain, 'a file');
  const args = ['serve', ...upstream(), '--runtime', ownRuntime, '--listen', `unix:${plain}`];
  const refused = new ServeProcess(args);
  assert.equal(await refused.exit, 1, refused.stderr);
  assert.ok(existsSync(plain));
});

test('a Unix socket takes requests while the drain is announced', { skip: notLinux }, async () => {
  const path = join(dir, 'announced.sock');
  const config = join(dir, 'announced.yaml');
  writeFileSync(
    config,
    `listen: "unix:${path}"\nupstreams: { one: { targets: ["http://127.0.0.1:${service.port}"] } }\n` +
      'routes: [{ upstream: one }]\ndrain: { announce: 10m }\n',
  );
  const announced = await serve([config, '--runtime', ownRuntime]);
  open.push(announced);
  announced.kill('SIGTERM');
  await announced.says(/SIGTERM: draining/);
  await allAnswered([caller({ path })]);
  announced.kill('SIGTERM');
  assert.equal(await announced.exit, 1);
  assert.equal(existsSync(path), false);
});

test('a worker that dies at once again and again is started more and more slowly', {
  skip: notLinux,
}, async () => {
  const served = await start(ownRuntime);
  let worker = await workerOf(served);
  for (const delayMs of [100, 200, 400]) {
    const from = served.stderr.length;
    process.kill(worker, 'SIGKILL');
    await served.says(new RegExp(`the next starts in ${delayMs} ms`), from);
    worker = await nextWorker(served, worker);
  }
  await allAnswered([caller(portOf(served))]);
});

test('a worker that cannot start again says why, and serves as soon as it can', {
  skip: notLinux,
}, async () => {
  const logs = join(dir, 'logs');
  mkdirSync(logs);
  const served = await start(ownRuntime, [...addresses, '--access-log', join(logs, 'access.log')]);
  rmSync(logs, { recursive: true });
  process.kill(await workerOf(served), 'SIGKILL');
  await served.says(/ended \(exit code 1: the access log .* cannot be opened/);
  const waiting = caller(portOf(served));
  await waiting.connected;
  mkdirSync(logs);
  await allAnswered([waiting]);
});

test('the only worker that cannot start at all ends the start with one sentence', async () => {
  const log = join(dir, 'no', 'such', 'dir', 'access.log');
  const args = [...upstream(), '--runtime', ownRuntime, ...addresses, '--access-log', log];
  const served = new ServeProcess(['serve', ...args]);
  assert.equal(await served.exit, 1);
  assert.match(served.stderr, /^onehop: the access log .* cannot be opened.*\n$/);
});

test('the only worker does not outlive a supervisor that is killed', {
  skip: notLinux,
}, async () => {
  const served = await start(ownRuntime);
  const worker = await workerOf(served);
  served.kill('SIGKILL');
  await served.exit;
  await until(() => !isAlive(worker), 'the worker to end');
});

test('--single-process has no supervisor and says what it cannot do', {
  skip: notLinux,
}, async () => {
  const served = await start(ownRuntime, [...addresses, '--single-process']);
  assert.deepEqual(await childrenOf(served.pid), []);
  assert.equal((await ask(served.url)).status, 200);
  served.kill('SIGUSR1');
  await served.says(/SIGUSR1: there is no worker to replace: it runs as --single-process/);
  const two = ['serve', ...upstream(), ...addresses, '--single-process', '--workers', '2'];
  const refused = new ServeProcess(two);
  assert.equal(await refused.exit, 2);
  assert.match(refused.stderr, /--single-process has no workers, and the configuration asks for 2/);
});
