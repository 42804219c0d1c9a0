/** `onehop serve --workers`: workers die, are replaced, and are counted as one; none is left behind. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Service, startPlainService } from '@onehop/mock';
import { findBun } from 'onehop/cli/find-bun';
import { Callers } from '../soak/soak-callers.ts';
import {
  ask,
  childrenOf,
  isAlive,
  KeptLoad,
  onBun,
  ownRuntime,
  pause,
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

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'onehop-workers-'));
  service = await startPlainService({ sizeBytes: 11 });
});
after(async () => {
  for (const load of loads) void load.stop();
  await Promise.all(open.map((served) => served.end()));
  await service.close();
  rmSync(dir, { recursive: true, force: true });
});

const flags = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];

async function start(args: string[]): Promise<ServeProcess> {
  const served = await serve([...args, ...flags]);
  open.push(served);
  return served;
}

const target = (): string => `http://127.0.0.1:${service.port}`;
const two = (): string[] => ['--upstream', target(), '--runtime', ownRuntime, '--workers', '2'];

function keptLoad(gateway: string, callers = 8): KeptLoad {
  const load = new KeptLoad(gateway, callers);
  loads.push(load);
  return load;
}

const metrics = async (served: ServeProcess): Promise<string> =>
  (await ask(`${served.admin}/metrics`)).body;

test('two workers share the work and are counted as one', { skip: notLinux }, async () => {
  const served = await start(two());
  assert.equal((await childrenOf(served.pid)).length, 2);
  for (let i = 0; i < 60; i++) assert.equal((await ask(served.url)).status, 200);
  const text = await metrics(served);
  assert.equal(sample(text, 'onehop_requests_total', { status: '2xx' }), 60);
  assert.equal(sample(text, 'onehop_request_duration_seconds_count', { route: '/*' }), 60);
  assert.equal(sample(text, 'onehop_workers'), 2);
  assert.equal(sample(text, 'onehop_target_up'), 1);
  const status = JSON.parse((await ask(`${served.admin}/status`)).body);
  const counts = status.workers.map((worker: { requests: { total: number } }) => {
    return worker.requests.total;
  });
  assert.equal(counts.length, 2);
  assert.equal(counts[0] + counts[1], 60);
  assert.ok(counts[0] > 0 && counts[1] > 0, `one worker got nothing: ${counts}`);
  assert.equal((await ask(`${served.admin}/ready`)).status, 200);
});

test('a killed worker is started again; callers of the other notice nothing', {
  skip: notLinux,
}, async () => {
  const served = await start(two());
  const children = await childrenOf(served.pid);
  const load = keptLoad(served.url, 12);
  await until(() => load.result.ok > 50, 'requests');
  process.kill(children[0]!, 'SIGKILL');
  await served.says(/ended \(SIGKILL\); the next starts in 100 ms/);
  await until(async () => (await childrenOf(served.pid)).length === 2, 'a new worker');
  await until(async () => sample(await metrics(served), 'onehop_workers') === 2, 'it to listen');
  const before = load.result.ok;
  await until(() => load.result.ok > before + 50, 'more requests');
  const { failures } = await load.stop();
  // Only what the killed worker had in its hands is lost: at most one request for each caller.
  assert.ok(failures.length <= 12, failures.join('\n'));
  assert.equal((await ask(served.url)).status, 200);
  assert.equal(sample(await metrics(served), 'onehop_worker_restarts_total'), 1);
});

test('a connection handed to a worker that dies before it takes it goes to another', {
  skip: notLinux || (onBun && 'under Bun each worker accepts for itself'),
}, async () => {
  const served = await start(two());
  const [stopped] = await childrenOf(served.pid);
  process.kill(stopped!, 'SIGSTOP');
  const answers = Array.from({ length: 6 }, () => ask(served.url));
  // The other has answered all that it was given; one is with the stopped worker.
  let answered = 0;
  for (const answer of answers) void answer.then(() => answered++);
  await until(() => answered === 5, 'the other worker to answer');
  process.kill(stopped!, 'SIGKILL');
  for (const { status } of await Promise.all(answers)) assert.equal(status, 200);
});

test('workers are replaced under load without losing a request', { skip: notLinux }, async () => {
  const served = await start(two());
  const old = await childrenOf(served.pid);
  const load = keptLoad(served.url);
  await until(() => load.result.ok > 50, 'requests');
  served.kill('SIGUSR1');
  await served.says(/workers are replaced: done/);
  await until(() => old.every((pid) => !isAlive(pid)), 'the old workers to end', 30_000);
  const before = load.result.ok;
  await until(() => load.result.ok > before + 50, 'more requests');
  const { ok, failures } = await load.stop();
  assert.deepEqual(failures, []);
  const now = await childrenOf(served.pid);
  assert.equal(now.length, 2);
  assert.ok(now.every((pid) => !old.includes(pid)));
  // Counters do not fall back when a worker leaves.
  const counted = sample(await metrics(served), 'onehop_requests_total', { status: '2xx' });
  assert.equal(counted, ok);
});

test('a reload reaches every worker', { skip: notLinux }, async () => {
  const path = join(dir, 'workers.yaml');
  const config = (prefix: string): string =>
    `upstreams: { one: { targets: ["${target()}"] } }\nroutes: [{ path: ${prefix}/*, upstream: one }]\n`;
  writeFileSync(path, config('/a'));
  const served = await start([path, '--runtime', ownRuntime, '--workers', '2']);
  writeFileSync(path, config('/b'));
  await served.says(/the file changed: done/);
  for (let i = 0; i < 20; i++) {
    assert.equal((await ask(`${served.url}/b/x`)).status, 200);
    assert.equal((await ask(`${served.url}/a/x`)).status, 404);
  }
});

test('a file that changes while workers are replaced is loaded once', {
  skip: notLinux,
}, async () => {
  const path = join(dir, 'once.yaml');
  const config = (prefix: string): string =>
    `upstreams: { one: { targets: ["${target()}"] } }\nroutes: [{ path: ${prefix}/*, upstream: one }]\n`;
  writeFileSync(path, config('/a'));
  const served = await start([path, '--runtime', ownRuntime, '--workers', '4']);
  served.kill('SIGUSR1');
  await until(async () => (await childrenOf(served.pid)).length > 4, 'the first new worker');
  // Seen more than once before the last worker is replaced, and loaded after that.
  for (let i = 0; i < 4; i++) {
    writeFileSync(path, config('/b'));
    await pause(150);
  }
  await served.says(/the file changed: done/);
  await pause(500);
  assert.equal(served.stderr.match(/the file changed/g)!.length, 1, served.stderr);
  assert.equal((await ask(`${served.url}/b/x`)).status, 200);
});

test('a second instance cannot share the port of workers', async () => {
  const served = await start(two());
  const port = new URL(served.url).port;
  const other = new ServeProcess(['serve', ...two(), '--listen', `127.0.0.1:${port}`]);
  assert.equal(await other.exit, 1);
  assert.match(other.stderr, /is another gateway running\?/);
});

test('no process is left after the end, nor when the supervisor is killed', {
  skip: notLinux,
}, async () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const served = await start(two());
    const children = await childrenOf(served.pid);
    assert.equal(children.length, 2);
    served.kill(signal);
    assert.equal(await served.exit, signal === 'SIGTERM' ? 0 : null);
    await until(() => children.every((pid) => !isAlive(pid)), `workers to end after ${signal}`);
  }
});

const noBun = findBun() === null ? 'Bun was not found' : false;

test('under Node the gateway takes Bun when it is there, and says so', {
  skip: onBun ? 'about Node' : noBun || notLinux,
}, async () => {
  const served = await start(['--upstream', target()]);
  assert.match(served.stderr, /on bun [\d.]+, pid/);
  assert.equal((await ask(served.url)).status, 200);
  const { readlinkSync } = await import('node:fs');
  const [worker] = await childrenOf(served.pid);
  assert.match(readlinkSync(`/proc/${worker}/exe`), /bun/);
  assert.match(await metrics(served), /onehop_build_info\{version="[\d.]+",runtime="bun /);
});

for (const workers of ['1', '2']) {
  test(`new connections survive that ${workers} on Bun are replaced, under a supervisor on Node`, {
    skip: onBun ? 'about Node' : noBun || notLinux,
  }, async () => {
    const served = await start(['--upstream', target(), '--runtime', 'bun', '--workers', workers]);
    const callers = new Callers(Number(new URL(served.url).port), () => false);
    callers.start('get-new', 16, 8);
    callers.start('get', 4, 8);
    const { get: kept, 'get-new': anew } = callers.tallies;
    const more = async (): Promise<void> => {
      const [ok, freshOk] = [kept.ok, anew.ok];
      await until(() => kept.ok >= ok + 20 && anew.ok >= freshOk + 60, 'more requests', 30_000);
    };
    for (let round = 0; round < 3; round++) {
      await more();
      const from = served.stderr.length;
      served.kill('SIGUSR1');
      await served.says(/workers are replaced: done/, from);
    }
    await more();
    await callers.stop();
    assert.deepEqual([kept.lost, kept.told, anew.lost, anew.told], [{}, {}, {}, {}]);
  });
}

test('a worker that cannot start ends the start with one sentence', async () => {
  const log = join(dir, 'no', 'such', 'dir', 'access.log');
  const served = new ServeProcess(['serve', ...two(), ...flags, '--access-log', log]);
  assert.equal(await served.exit, 1);
  assert.match(served.stderr, /the access log .* cannot be opened/);
});
