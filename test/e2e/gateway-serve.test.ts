/** `onehop serve` as a process: start, reload, drain, and what it says about itself. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Service, startOpenAiService, startPlainService } from '@onehop/mock';
import {
  ask,
  childrenOf,
  KeptLoad,
  ownRuntime,
  pause,
  ServeProcess,
  sample,
  serve,
  until,
} from '../support/serve-process.ts';

let dir: string;
let first: Service;
let second: Service;
let model: Service;
const open: ServeProcess[] = [];
const loads: KeptLoad[] = [];

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'onehop-serve-'));
  first = await startPlainService({ sizeBytes: 11 });
  second = await startPlainService({ sizeBytes: 22 });
  model = await startOpenAiService({ tokens: 10, tokenGap: { kind: 'fixed', ms: 40 } });
});
after(async () => {
  for (const load of loads) void load.stop();
  await Promise.all(open.map((served) => served.end()));
  await Promise.all([first.close(), second.close(), model.close()]);
  rmSync(dir, { recursive: true, force: true });
});

const url = (service: Service): string => `http://127.0.0.1:${service.port}`;
const flags = ['--runtime', ownRuntime, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];

async function start(args: string[], env: NodeJS.ProcessEnv = {}): Promise<ServeProcess> {
  const served = await serve([...args, ...flags], { env });
  open.push(served);
  return served;
}

function keptLoad(gateway: string): KeptLoad {
  const load = new KeptLoad(gateway, 8);
  loads.push(load);
  return load;
}

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

const config = (target: string, extra = ''): string => `
upstreams:
  one: { targets: ["${target}"] }
routes:
  - { path: /*, upstream: one }
${extra}`;

const streamBody = JSON.stringify({
  model: 'any',
  stream: true,
  messages: [{ role: 'user', content: 'hi' }],
});

/** Opens a stream and collects it; `cut` when it did not end as it should. */
function openStream(
  gateway: string,
  onText: (text: string) => void = () => {},
): { text: () => string; done: Promise<'end' | 'cut'> } {
  let text = '';
  const done = new Promise<'end' | 'cut'>((resolve) => {
    const outgoing = request(
      `${gateway}/v1/chat/completions`,
      { method: 'POST', headers: { 'content-type': 'application/json' }, agent: false },
      (incoming) => {
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          text += part;
          onText(text);
        });
        incoming.on('end', () => resolve(incoming.complete ? 'end' : 'cut'));
        incoming.on('error', () => resolve('cut'));
        incoming.on('aborted', () => resolve('cut'));
      },
    );
    outgoing.on('error', () => resolve('cut'));
    outgoing.end(streamBody);
  });
  return { text: () => text, done };
}

test('a bad file: every problem with its line, exit code 2, nothing started', async () => {
  const path = file(
    'bad.yaml',
    'listen: 127.0.0.1:0\nupstreams:\n  a:\n    targets: [nonsense]\n    balence: p2c\nroutes:\n  - { path: /*, upstream: b }\n',
  );
  for (const command of ['check', 'serve']) {
    const served = new ServeProcess([command, path]);
    assert.equal(await served.exit, 2);
    assert.match(served.stderr, /bad\.yaml:4: upstreams\.a\.targets\[0\]: not a URL/);
    assert.match(served.stderr, /bad\.yaml:5: upstreams\.a\.balence: .*did you mean balance/);
    assert.match(served.stderr, /bad\.yaml:7: routes\[0\]\.upstream: no upstream is named b/);
    assert.doesNotMatch(served.stderr, /listening/);
  }
});

test('a missing file and a missing target are said in one sentence, exit code 2', async () => {
  const missing = new ServeProcess(['serve', join(dir, 'nowhere.yaml')]);
  assert.equal(await missing.exit, 2);
  assert.match(missing.stderr, /nowhere\.yaml: cannot be read: there is no such file/);
  const wrong = new ServeProcess(['serve', '--upstream', 'ftp://x']);
  assert.equal(await wrong.exit, 2);
  assert.match(wrong.stderr, /--upstream: scheme ftp is not supported/);
});

test('check accepts a good file and says what is in it', async () => {
  const path = file('good.yaml', config(url(first)));
  const served = new ServeProcess(['check', path]);
  assert.equal(await served.exit, 0, served.stderr);
  assert.match(served.stdout, /fine: 1 routes, 1 upstreams, 1 targets/);
});

test('explain says which route takes a request, why not the others, and what is sent', async () => {
  const path = file(
    'explain.yaml',
    `upstreams:
  llm: { protocol: openai, targets: ["http://10.0.0.1:8000/base"] }
routes:
  - { path: /v1/*, upstream: llm, models: [llama-*], rewrite: { prefix: /api/ } }
  - { path: /only, host: a.example, upstream: llm }
`,
  );
  const body = file('body.json', '{"model":"llama-3"}');
  const taken = new ServeProcess(['explain', path, 'POST', '/v1/chat?x=1', '--body', body]);
  assert.equal(await taken.exit, 0);
  assert.match(taken.stdout, /routes\[0\] \/v1\/\*: yes, model "llama-3"/);
  assert.match(taken.stdout, /http:\/\/10\.0\.0\.1:8000\/base -> POST \/base\/api\/chat\?x=1/);
  const other = new ServeProcess(['explain', path, 'GET', '/only', '--host', 'b.example']);
  assert.equal(await other.exit, 1);
  assert.match(other.stdout, /routes\[0\] \/v1\/\*: no: the path \/only does not match/);
  assert.match(other.stdout, /routes\[1\] \/only: no: the host is b\.example, not a\.example/);
  assert.match(other.stdout, /refused with 404/);
});

test('without a file: forwards in turn to both targets, counts it, and shows it', async () => {
  const served = await start(['--upstream', url(first), url(second)]);
  const sizes = new Set<number>();
  for (let i = 0; i < 20; i++) {
    const { status, body } = await ask(`${served.url}/any/path`);
    assert.equal(status, 200);
    sizes.add(body.length);
  }
  assert.deepEqual([...sizes].sort(), [11, 22]);
  const sent = 'x'.repeat(1000);
  await ask(`${served.url}/echo`, { method: 'POST', body: sent });
  await ask(`${served.url}/a%2Fb`);

  const { body: text, headers } = await ask(`${served.admin}/metrics`);
  assert.match(String(headers['content-type']), /version=0\.0\.4/);
  const labels = { route: '/*', upstream: 'default' };
  const of = (name: string, more = {}): number => sample(text, name, { ...labels, ...more });
  assert.equal(of('onehop_requests_total', { status: '2xx' }), 21);
  assert.equal(of('onehop_request_body_bytes_total'), 1000);
  assert.equal(of('onehop_request_duration_seconds_count'), 21);
  assert.ok(of('onehop_own_duration_seconds_sum') < of('onehop_request_duration_seconds_sum'));
  assert.ok(of('onehop_own_duration_seconds_sum') > 0);
  assert.equal(sample(text, 'onehop_rejects_total', { reason: 'PATH_AMBIGUOUS' }), 1);
  assert.equal(sample(text, 'onehop_upstream_head_duration_seconds_count'), 21);
  const opened = [url(first), url(second)].map((target) =>
    sample(text, 'onehop_pool_opened_total', { target }),
  );
  assert.deepEqual(opened, [1, 1]);
  assert.equal(sample(text, 'onehop_upstream_connect_duration_seconds_count'), 2);
  assert.equal(sample(text, 'onehop_upstream_pending', { upstream: 'default' }), 0);
  assert.equal(sample(text, 'onehop_ready'), 1);

  const status = JSON.parse((await ask(`${served.admin}/status`)).body);
  const [worker] = status.workers;
  assert.equal(worker.upstreams.default.targets.length, 2);
  assert.equal(worker.upstreams.default.targets[0].up, true);
  assert.equal(worker.routes[0].route, '/*');
  assert.equal((await ask(`${served.admin}/health`)).body, 'ok\n');
  assert.equal((await ask(`${served.admin}/ready`)).status, 200);
  assert.equal((await ask(`${served.admin}/nothing`)).status, 404);
  assert.equal((await ask(`${served.admin}/status`, { method: 'POST' })).status, 405);
});

test('retries, ejections, waiting and refusals are counted by what caused them', async () => {
  // Answers when it is told to.
  const held: (() => void)[] = [];
  const slow = createServer((_incoming, outgoing) => {
    held.push(() => outgoing.end('later'));
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  const { port: slowPort } = slow.address() as { port: number };
  const gone = await startPlainService({});
  const dead = url(gone);
  await gone.close();
  const path = file(
    'counted.yaml',
    `upstreams:
  pair:
    targets: ["${dead}", "${url(first)}"]
    balance: round-robin
    health: { ejectAfter: 2, ejectFor: 1h }
  narrow: { targets: ["http://127.0.0.1:${slowPort}"], limits: { pending: 1, queue: 1, queueWait: 1m } }
routes:
  - { path: /pair, upstream: pair }
  - { path: /narrow, upstream: narrow }
`,
  );
  const served = await start([path]);
  for (let i = 0; i < 10; i++) assert.equal((await ask(`${served.url}/pair`)).status, 200);
  const under = ask(`${served.url}/narrow`);
  await until(() => held.length === 1, 'the first request to arrive');
  const began = performance.now();
  const waiting = ask(`${served.url}/narrow`);
  const queued = async (): Promise<number> =>
    sample((await ask(`${served.admin}/metrics`)).body, 'onehop_queue_length', {
      upstream: 'narrow',
    });
  await until(async () => (await queued()) === 1, 'the second request to wait');
  assert.equal((await ask(`${served.url}/narrow`)).status, 503);
  await pause(800);
  held[0]!();
  assert.equal((await under).status, 200);
  await until(() => held.length === 2, 'the second request to arrive');
  const waitedMax = (performance.now() - began) / 1000;
  held[1]!();
  assert.equal((await waiting).status, 200);
  assert.equal((await ask(`${served.url}/nowhere`)).status, 404);

  const { body: text } = await ask(`${served.admin}/metrics`);
  const pair = { upstream: 'pair' };
  assert.equal(sample(text, 'onehop_retries_total', { ...pair, reason: 'CONNECT_REFUSED' }), 2);
  assert.equal(sample(text, 'onehop_target_ejections_total', { ...pair, target: dead }), 1);
  assert.equal(sample(text, 'onehop_target_up', { ...pair, target: dead }), 0);
  assert.equal(sample(text, 'onehop_target_up', { ...pair, target: url(first) }), 1);
  assert.equal(sample(text, 'onehop_queue_wait_seconds_count', { upstream: 'narrow' }), 1);
  const waited = sample(text, 'onehop_queue_wait_seconds_sum', { upstream: 'narrow' });
  assert.ok(waited > 0.79 && waited < waitedMax, `waited ${waited} s of ${waitedMax} s`);
  assert.equal(sample(text, 'onehop_queue_length', { upstream: 'narrow' }), 0);
  assert.equal(sample(text, 'onehop_rejects_total', { reason: 'QUEUE_FULL' }), 1);
  assert.equal(sample(text, 'onehop_rejects_total', { reason: 'ROUTE_NOT_FOUND' }), 1);
  assert.equal(sample(text, 'onehop_requests_total', { route: '', status: '4xx' }), 1);
  // What waited for a place is not the gateway's own time.
  const own = sample(text, 'onehop_own_duration_seconds_sum', { route: '/narrow' });
  assert.ok(own < waited, `own part ${own} s, waited ${waited} s`);
  slow.closeAllConnections();
  slow.close();
});

test('the admin listener answers no page of another site', async () => {
  const served = await start(['--upstream', url(first)]);
  const refused: Record<string, string>[] = [
    { origin: 'https://evil.example' },
    { host: 'evil.example' },
    { 'sec-fetch-site': 'cross-site' },
  ];
  for (const headers of refused) {
    assert.equal((await ask(`${served.admin}/status`, { headers })).status, 403);
  }
  for (const host of ['localhost:9', '[::1]:9', 'onehop', 'gw.ns.svc.cluster.local']) {
    assert.equal((await ask(`${served.admin}/ready`, { headers: { host } })).status, 200);
  }
  // Nothing of it is on the public side: there everything is forwarded.
  assert.equal((await ask(`${served.url}/metrics`)).body.length, 11);
});

test('a stream: time to first event, every gap, bytes and the cancelled caller are counted', async () => {
  const log = join(dir, 'stream.log');
  // In lock-step: an event leaves 20 ms after the caller has the one before. So no two of them meet
  // in one read, however slow the machine is.
  const events = 12;
  const eventsOf = (text: string): number => text.split('\n\n').length - 1;
  let sendNext = (): void => {};
  const upstream = createServer((_incoming, outgoing) => {
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    let sent = 0;
    sendNext = () => {
      if (++sent < events) outgoing.write(`data: {"n":${sent}}\n\n`);
      else outgoing.end('data: [DONE]\n\n');
    };
    sendNext();
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const { port } = upstream.address() as { port: number };
  const served = await start(['--upstream', `http://127.0.0.1:${port}`, '--access-log', log]);
  const began = performance.now();
  let answered = 0;
  const stream = openStream(served.url, (sofar) => {
    if (eventsOf(sofar) === answered || eventsOf(sofar) === events) return;
    answered = eventsOf(sofar);
    setTimeout(() => sendNext(), 20);
  });
  assert.equal(await stream.done, 'end');
  const elapsed = (performance.now() - began) / 1000;
  assert.equal(eventsOf(stream.text()), events);
  const { body: text } = await ask(`${served.admin}/metrics`);
  assert.equal(sample(text, 'onehop_stream_first_event_seconds_count'), 1);
  assert.equal(sample(text, 'onehop_stream_event_gap_seconds_count'), events - 1);
  const sum = sample(text, 'onehop_stream_event_gap_seconds_sum');
  // A timer may be a millisecond early.
  assert.ok(sum > (events - 1) * 0.018, `the gaps add up to ${sum} s`);
  assert.ok(sum < elapsed, `the gaps add up to ${sum} s of ${elapsed} s`);
  assert.equal(
    sample(text, 'onehop_response_body_bytes_total', { route: '/*' }),
    stream.text().length,
  );

  const leaving = request(`${served.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    agent: false,
  });
  leaving.on('error', () => {});
  leaving.end(streamBody);
  await new Promise<void>((resolve) => {
    leaving.on('response', (incoming) => {
      incoming.on('error', () => {});
      incoming.once('data', () => resolve());
    });
  });
  leaving.destroy();
  await until(async () => {
    const now = (await ask(`${served.admin}/metrics`)).body;
    return sample(now, 'onehop_requests_total', { status: '499' }) === 1;
  }, 'the cancelled request to be counted');
  const now = (await ask(`${served.admin}/metrics`)).body;
  assert.equal(sample(now, 'onehop_cancellations_total', { phase: 'response' }), 1);
  assert.equal(sample(now, 'onehop_cancel_to_upstream_close_seconds_count'), 1);
  assert.equal(sample(now, 'onehop_upstream_pending'), 0);
  await until(() => readFileSync(log, 'utf8').split('\n').length === 3, 'two lines of access log');
  const lines = readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(lines[0].status, 200);
  assert.equal(lines[0].streamed, true);
  assert.equal(lines[1].status, 499);
  assert.equal(lines[1].upstreamStatus, 200);
  assert.equal(lines[1].cancelled, true);
  await new Promise((resolve) => upstream.close(resolve));
});

test('the access log holds no secrets, and goes on in a new file after rotation', async () => {
  const log = join(dir, 'access.log');
  const served = await start(['--upstream', url(first), '--access-log', log]);
  await ask(`${served.url}/a?api_key=k1secret&size=3&Access%5FToken=k2secret`, {
    headers: {
      authorization: 'Bearer k3secret',
      cookie: 'session=k4secret',
      'x-api-key': 'k5secret',
      'x-request-id': 'my-id',
    },
  });
  await until(() => readFileSync(log, 'utf8').includes('\n'), 'the line');
  const text = readFileSync(log, 'utf8');
  assert.doesNotMatch(text, /secret/);
  const line = JSON.parse(text);
  assert.equal(line.path, '/a?api_key=***&size=3&Access%5FToken=***');
  assert.equal(line.requestId, 'my-id');
  assert.equal(line.status, 200);
  assert.equal(line.attempts, 1);
  assert.equal(line.target, url(first));
  assert.equal(line.responseBytes, 3);
  assert.ok(line.totalMs >= line.headMs);

  renameSync(log, `${log}.1`);
  served.kill('SIGUSR2');
  await served.says(/SIGUSR2/);
  await until(async () => {
    await ask(`${served.url}/later`);
    try {
      return readFileSync(log, 'utf8').includes('/later');
    } catch {
      return false;
    }
  }, 'lines in the new file');
  assert.equal(readFileSync(`${log}.1`, 'utf8').includes('my-id'), true);
});

test('traceparent reaches the upstream as it came', async () => {
  const served = await start(['--upstream', url(first)]);
  const seen: string[] = [];
  const upstream = createServer((incoming, outgoing) => {
    seen.push(String(incoming.headers['traceparent']), String(incoming.headers['tracestate']));
    outgoing.end('ok');
  });
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const { port } = upstream.address() as { port: number };
  const path = file(
    'trace.yaml',
    `upstreams: { one: { targets: ["http://127.0.0.1:${port}"] } }\nroutes: [{ upstream: one, serverTiming: true }]\n`,
  );
  const traced = await start([path]);
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { headers } = await ask(traced.url, { headers: { traceparent, tracestate: 'a=b' } });
  assert.deepEqual(seen, [traceparent, 'a=b']);
  assert.match(String(headers['server-timing']), /^onehop;dur=[\d.]+, upstream;dur=[\d.]+$/);
  assert.equal((await ask(served.url)).headers['server-timing'], undefined);
  await new Promise((resolve) => upstream.close(resolve));
});

test('reload under load by file change and by SIGHUP loses nothing; a bad file changes nothing', async () => {
  const path = file('reload.yaml', config(url(first)));
  const served = await start([path]);
  const load = keptLoad(served.url);
  const more = async (): Promise<void> => {
    const { ok } = load.result;
    await until(() => load.result.ok >= ok + 50, 'more requests');
  };
  await more();

  // As editors do it: a new file takes the name.
  renameSync(file('reload.new', config(url(second))), path);
  await served.says(/the file changed: done/);
  assert.equal((await ask(served.url)).body.length, 22);

  let from = served.stderr.length;
  writeFileSync(path, 'upstreams: {}\nroutes: [{ upstream: gone }]\n');
  await served.says(/the old one stays in force/, from);
  await served.says(/reload\.yaml:2: routes\[0\]\.upstream: no upstream is named gone/, from);
  assert.equal((await ask(served.url)).body.length, 22);
  const status = JSON.parse((await ask(`${served.admin}/status`)).body);
  assert.equal(status.config.lastReload.ok, false);
  assert.ok(status.config.lastReload.problems.length > 0);

  from = served.stderr.length;
  writeFileSync(path, config(url(first), 'limits: { headers: 50 }'));
  await served.says(/done, 1 routes in force[\s\S]*limits changed: that needs a restart/, from);
  from = served.stderr.length;
  served.kill('SIGHUP');
  await served.says(/SIGHUP: done/, from);
  assert.equal((await ask(served.url)).body.length, 11);
  await more();
  const { failures } = await load.stop();
  assert.deepEqual(failures, []);
  const { body: text } = await ask(`${served.admin}/metrics`);
  assert.equal(sample(text, 'onehop_reloads_total', { result: 'ok' }), 3);
  assert.equal(sample(text, 'onehop_reloads_total', { result: 'failed' }), 1);
});

test('a reload lets a stream end at the target it removed', async () => {
  const path = file('stream.yaml', config(url(model)));
  const served = await start([path]);
  const stream = openStream(served.url);
  await until(() => stream.text().includes('data:'), 'the stream to begin');
  writeFileSync(path, config(url(first)));
  served.kill('SIGHUP');
  await served.says(/done/);
  assert.equal(await stream.done, 'end');
  assert.match(stream.text(), /\[DONE\]/);
});

test('drain: a stream ends well, exit code 0', async () => {
  const path = file('drain.yaml', config(url(model), 'drain: { announce: 300ms, grace: 20s }'));
  const served = await start([path]);
  const stream = openStream(served.url);
  await until(() => stream.text().includes('data:'), 'the stream to begin');
  served.kill('SIGTERM');
  assert.equal(await stream.done, 'end');
  assert.match(stream.text(), /\[DONE\]/);
  assert.equal(await served.exit, 0, served.stderr);
});

test('while a drain is announced it is not ready, but takes requests', async () => {
  const path = file('announced.yaml', config(url(first), 'drain: { announce: 10m }'));
  const served = await start([path]);
  served.kill('SIGTERM');
  await until(async () => (await ask(`${served.admin}/ready`)).status === 503, 'not ready');
  assert.equal((await ask(served.url)).status, 200);
  assert.equal((await ask(`${served.admin}/health`)).status, 200);
  served.kill('SIGTERM');
  assert.equal(await served.exit, 1);
});

test('a drain under load answers every request that was sent', async () => {
  const path = file('drain-load.yaml', config(url(first), 'drain: { idle: 20s }'));
  const served = await start([path]);
  const load = keptLoad(served.url);
  await until(() => load.result.ok > 50, 'requests');
  served.kill('SIGTERM');
  // Each caller brings its next request and is told; who is late is not cut off for it.
  assert.equal(await served.exit, 0, served.stderr);
  const { ok, failures } = await load.stop();
  // New connections find nobody; requests that were sent must have been answered.
  assert.deepEqual(
    failures
      .filter((why) => !why.startsWith('connect:'))
      .filter((why) => !/ECONNREFUSED/.test(why)),
    [],
  );
  assert.ok(ok > 50, `${ok} requests`);
});

test('a drain answers what had connected and was not accepted yet when the signal came', {
  skip: process.platform === 'linux' ? false : 'reads /proc',
}, async () => {
  const served = await start(['--upstream', url(first)]);
  const port = Number(new URL(served.url).port);
  await ask(served.url);
  // As a machine that gives it no time for a while does it.
  const [worker] = await childrenOf(served.pid);
  process.kill(worker!, 'SIGSTOP');
  const sockets = Array.from({ length: 8 }, () => connect(port, '127.0.0.1'));
  const answers = sockets.map(
    (socket) =>
      new Promise<string>((resolve) => {
        let text = '';
        socket.setEncoding('latin1');
        socket.on('data', (part) => {
          text += part;
        });
        socket.on('error', (error) => resolve(error.message));
        socket.on('close', () => resolve(text));
      }),
  );
  const head = 'GET / HTTP/1.1\r\nHost: load.test\r\n\r\n';
  await Promise.all(
    sockets.map((socket) => new Promise<void>((sent) => socket.write(head, () => sent()))),
  );
  served.kill('SIGTERM');
  await served.says(/SIGTERM: draining/);
  process.kill(worker!, 'SIGCONT');
  for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.equal(await served.exit, 0, served.stderr);
});

test('a stream that outlives the grace ends with an error event; the caller sees it is cut', async () => {
  const slow = await startOpenAiService({ tokens: 200, tokenGap: { kind: 'fixed', ms: 50 } });
  const log = join(dir, 'grace.log');
  const path = file('grace.yaml', config(url(slow), `drain: { grace: 300ms }\naccessLog: ${log}`));
  const served = await start([path]);
  const stream = openStream(served.url);
  await until(() => stream.text().includes('data:'), 'the stream to begin');
  served.kill('SIGTERM');
  await stream.done;
  assert.match(stream.text(), /data: \{"error":.*draining/i);
  assert.equal(await served.exit, 0, served.stderr);
  const line = JSON.parse(readFileSync(log, 'utf8'));
  assert.equal(line.error, 'DRAINING');
  await slow.close();
});

test('a second signal ends at once', async () => {
  const slow = await startPlainService({ latency: { kind: 'fixed', ms: 20_000 } });
  const served = await start(['--upstream', url(slow)]);
  ask(served.url).catch(() => {});
  await until(() => slow.counters().requests === 1, 'the request to arrive');
  served.kill('SIGINT');
  await served.says(/SIGINT: draining/);
  const began = performance.now();
  served.kill('SIGINT');
  assert.equal(await served.exit, 1);
  assert.ok(performance.now() - began < 15_000);
  await slow.close();
});

test('a second instance on the same address says so and exits with 1', async () => {
  const served = await start(['--upstream', url(first)]);
  const port = new URL(served.url).port;
  const other = new ServeProcess([
    ...['serve', '--runtime', ownRuntime, '--upstream', url(second)],
    ...['--listen', `127.0.0.1:${port}`],
  ]);
  assert.equal(await other.exit, 1);
  assert.match(other.stderr, new RegExp(`${port}.*is another gateway running\\?`));
  assert.equal(other.stderr.trim().split('\n').length, 1);
  assert.equal((await ask(served.url)).body.length, 11);
});

test('systemd is told when it is ready and when it ends', async () => {
  const said = join(dir, 'notified');
  const program = file('systemd-notify', `#!/bin/sh\necho "$@" >> ${said}\n`);
  chmodSync(program, 0o755);
  const served = await start(['--upstream', url(first)], {
    NOTIFY_SOCKET: join(dir, 'socket'),
    PATH: `${dir}:${process.env['PATH']}`,
  });
  const read = (): string => {
    try {
      return readFileSync(said, 'utf8');
    } catch {
      return '';
    }
  };
  await until(() => read().includes('READY=1'), 'READY=1');
  assert.match(read(), new RegExp(`--pid=${served.pid}`));
  served.kill('SIGTERM');
  await served.exit;
  await until(() => read().includes('STOPPING=1'), 'STOPPING=1');
});
