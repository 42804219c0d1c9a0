/** Faults of the `onehop serve` processes that a review found; each test is named after its fault. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Service, startPlainService } from '@onehop/mock';
import {
  ask,
  childrenOf,
  ownRuntime,
  pause,
  type ServeProcess,
  sample,
  serve,
  until,
} from '../support/serve-process.ts';

let dir: string;
let service: Service;
const open: ServeProcess[] = [];
const notLinux = process.platform === 'linux' ? false : 'reads /proc';

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'onehop-processes-'));
  service = await startPlainService({ sizeBytes: 11 });
});
after(async () => {
  await Promise.all(open.map((served) => served.end()));
  await service.close();
  rmSync(dir, { recursive: true, force: true });
});

const config = (prefix: string, more = ''): string =>
  `listen: 127.0.0.1:0\nupstreams: { one: { targets: ["http://127.0.0.1:${service.port}"] } }\n` +
  `routes: [{ path: ${prefix}/*, upstream: one }]\n${more}`;

test('a worker that starts while a reload goes on keeps the old configuration', {
  skip: notLinux,
}, async () => {
  const path = join(dir, 'late.yaml');
  writeFileSync(path, config('/a'));
  const flags = ['--runtime', ownRuntime, '--workers', '2', '--no-watch'];
  flags.push('--admin', '127.0.0.1:0');
  const served = await serve([path, ...flags]);
  open.push(served);
  const children = await childrenOf(served.pid);
  assert.equal(children.length, 2);
  process.kill(children[0]!, 'SIGKILL');
  await until(async () => {
    const now = await childrenOf(served.pid);
    return now.length === 2 && now.some((pid) => !children.includes(pid));
  }, 'the next worker');
  writeFileSync(path, config('/b'));
  served.kill('SIGHUP');
  await served.says(/SIGHUP: done/);
  const workers = async (): Promise<number> =>
    sample((await ask(`${served.admin}/metrics`)).body, 'onehop_workers');
  await until(async () => (await workers()) === 2, 'both to take requests');
  const statuses: number[] = [];
  for (let i = 0; i < 40; i++) statuses.push((await ask(`${served.url}/b/x`)).status);
  assert.deepEqual(
    statuses.filter((status) => status !== 200),
    [],
  );
});

/** Milliseconds of processor time that a process has used so far. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

test('more connections than descriptors keep the loop spinning over accepts that fail', {
  skip: notLinux,
}, async () => {
  const path = join(dir, 'many.yaml');
  const script = join(dir, 'few-files');
  writeFileSync(path, config('', 'limits: { connections: 5000, connectionsPerAddress: 5000 }'));
  writeFileSync(script, `#!/bin/sh\nulimit -n 400\nexec "${process.execPath}" "$@"\n`);
  chmodSync(script, 0o755);
  const flags = [path, '--runtime', ownRuntime, '--no-watch'];
  const served = await serve(flags, { executable: script });
  open.push(served);
  assert.match(served.stderr, /400 open files allow 160/);
  const [worker] = await childrenOf(served.pid);
  const port = Number(new URL(served.url).port);
  const sockets: Socket[] = [];
  for (let i = 0; i < 450; i++) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => {});
    socket.resume();
    sockets.push(socket);
  }
  // Until it is through with all of them, or has had its time for that.
  let lookMs = -1;
  for (let round = 0; round < 25 && lookMs !== cpuMs(worker!); round++) {
    lookMs = cpuMs(worker!);
    await pause(200);
  }
  const files = readdirSync(`/proc/${worker}/fd`).length;
  const before = cpuMs(worker!);
  await pause(1000);
  const usedMs = cpuMs(worker!) - before;
  for (const socket of sockets) socket.destroy();
  assert.ok(usedMs < 400, `${usedMs} ms of processor time in a second of nothing, ${files} files`);
  assert.ok(files < 300, `${files} files open`);
  const again = (): Promise<number> =>
    ask(`${served.url}/x`).then(
      ({ status }) => status,
      () => 0,
    );
  await until(async () => (await again()) === 200, 'the places to be free again');
});
