import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { OhaJson } from './oha-types.ts';
import { body, startTestServer, type TestServer } from './test-server.fixture.ts';

const binary = fileURLToPath(new URL('../../../onehop/bin/onehop.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'onehop-load-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended, as it should.
  }
}

function run(args: readonly string[], whileRunning?: (pid: number) => void): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [binary, 'bench', ...args], {
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString('utf8');
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
    whileRunning?.(child.pid!);
  });
}

const load = (...args: string[]): Promise<Outcome> => run(['load', '--runtime', 'node', ...args]);

/** Runs one request with the flags and returns what the server got. */
async function sent(server: TestServer, ...flags: string[]): Promise<TestServer['last']> {
  const { code, err } = await load('-n', '1', '-c', '1', ...flags, server.url);
  assert.equal(code, 0, err);
  return server.last;
}

const header = (last: TestServer['last'], name: string): string | undefined =>
  last.headers.find(([key]) => key === name)?.[1];

test("the study's own command and today's spelling give the same JSON shape", async () => {
  await using server = await startTestServer();
  const old = await load('--no-tui', '-j', '-n', '200', '-c', '4', server.url);
  const now = await load('--no-tui', '--output-format', 'json', '-n', '0.2k', '-c4', server.url);
  for (const { code, out } of [old, now]) {
    assert.equal(code, 0);
    const parsed = JSON.parse(out) as OhaJson;
    assert.deepEqual(parsed.statusCodeDistribution, { '200': 200 });
    assert.equal(parsed.summary.successRate, 1);
    assert.equal(Object.keys(parsed.responseTimeHistogram).length, 11);
  }
  assert.equal(server.requests, 400);
});

const oha = spawnSync('oha', ['--version'], { encoding: 'utf8' });
const noOha = oha.status === 0 ? false : 'oha is not on PATH';

test("the JSON has every field of oha's own and no other but ours", { skip: noOha }, async () => {
  await using server = await startTestServer();
  const flags = ['--no-tui', '--output-format', 'json', '--stats-success-breakdown', '-n', '300'];
  const theirs = await new Promise<string>((resolve) => {
    const child = spawn('oha', [...flags, server.url], { stdio: ['ignore', 'pipe', 'ignore'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString('utf8');
    });
    child.on('close', () => resolve(out));
  });
  const ours = (await load(...flags, server.url)).out;
  const paths = (value: unknown, prefix = ''): string[] => {
    if (typeof value !== 'object' || value === null) return [`${prefix}`];
    // Keys of histograms are measured values.
    if (prefix.includes('Histogram')) return [`${prefix}.*`];
    return Object.entries(value).flatMap(([key, entry]) => paths(entry, `${prefix}.${key}`));
  };
  const expected = new Set(paths(JSON.parse(theirs)));
  const found = new Set(paths(JSON.parse(ours)));
  assert.deepEqual(
    [...expected].filter((path) => !found.has(path)),
    [],
  );
  assert.deepEqual(
    [...found].filter((path) => !expected.has(path)),
    ['.summary.statusSuccessRate'],
  );
});

test('the text has the sections of oha and says which load model it was', async () => {
  await using server = await startTestServer();
  const { out, code } = await load('-n', '100', '-c', '2', '-u', 'us', server.url);
  assert.equal(code, 0);
  for (const part of [
    'Summary:',
    'Success rate:\t100.00%',
    'Requests/sec:',
    'Response time histogram:',
    '■■■',
    '99.99% in',
    'DNS+dialup:',
    '[200] 100 responses',
    'Closed loop:',
    ' us',
  ]) {
    assert.ok(out.includes(part), `${part} is missing in\n${out}`);
  }
  const open = await load('-q', '200', '-z', '200ms', '--latency-correction', server.url);
  assert.match(open.out, /Open loop:\t200 requests\/sec offered/);
  assert.match(open.out, /Service:/);
});

test('what is sent follows the flags', async () => {
  await using server = await startTestServer();
  const plain = await sent(server);
  assert.equal(plain.method, 'GET');
  assert.equal(header(plain, 'accept'), '*/*');
  assert.equal(header(plain, 'accept-encoding'), 'gzip, compress, deflate, br');
  assert.match(header(plain, 'user-agent')!, /^onehop-bench\//);
  assert.equal(header(await sent(server, '--disable-compression'), 'accept-encoding'), undefined);
  const many = await sent(
    server,
    ...['-m', 'PUT', '-d', 'hello', '-T', 'text/plain', '-A', 'application/json'],
    ...['-H', 'x-one: 1', '-H', 'X-Two: 2: 3', '-a', 'me:secret', '--host', 'example.org'],
  );
  assert.equal(many.method, 'PUT');
  assert.equal(many.body, 'hello');
  assert.equal(header(many, 'content-type'), 'text/plain');
  assert.equal(header(many, 'accept'), 'application/json');
  assert.equal(header(many, 'x-one'), '1');
  assert.equal(header(many, 'x-two'), '2: 3');
  assert.equal(header(many, 'authorization'), `Basic ${btoa('me:secret')}`);
  assert.equal(header(many, 'host'), 'example.org');
  assert.equal(many.headers.filter(([name]) => name === 'host').length, 1);
  assert.equal(header(await sent(server, '--disable-keepalive'), 'connection'), 'close');
});

test('bodies come from files, lines and forms; URLs from a file', async () => {
  await using server = await startTestServer();
  const file = join(folder, 'body.txt');
  writeFileSync(file, 'first\nsecond\n');
  assert.equal((await sent(server, '-m', 'POST', '-D', file)).body, 'first\nsecond\n');
  assert.match((await sent(server, '-m', 'POST', '-Z', file)).body, /^(first|second)$/);
  const form = await sent(server, '-F', 'a=1', '-F', `f=@${file};type=text/x`);
  assert.equal(form.method, 'POST');
  assert.match(header(form, 'content-type')!, /^multipart\/form-data; boundary=/);
  assert.match(form.body, /name="a"\r\n\r\n1\r\n/);
  assert.match(form.body, /filename="body.txt"\r\ncontent-type: text\/x\r\n\r\nfirst/);
  const urls = join(folder, 'urls.txt');
  writeFileSync(urls, `${server.url}\n${server.url}other\n`);
  const { code } = await load('--urls-from-file', '-n', '50', '-c', '2', urls);
  assert.equal(code, 0);
});

test('connections go where --connect-to says', async () => {
  await using server = await startTestServer();
  const { port } = new URL(server.url);
  const to = `example.invalid:80:127.0.0.1:${port}`;
  const { code, err } = await load('-n', '3', '--connect-to', to, 'http://example.invalid/');
  assert.equal(code, 0, err);
  assert.equal(header(server.last, 'host'), 'example.invalid');
});

test('--debug shows both messages and sends one request', async () => {
  await using server = await startTestServer();
  const { out, code } = await load('--debug', server.url);
  assert.equal(code, 0);
  assert.match(out, /^GET \/ HTTP\/1\.1\r\n/);
  assert.match(out, /HTTP\/1\.1 200 OK/);
  assert.ok(out.includes(body));
  assert.equal(server.requests, 1);
});

test('results go to a file, as CSV or not at all', async () => {
  await using server = await startTestServer();
  const file = join(folder, 'cell.json');
  const written = await load('-j', '-n', '20', '-c', '2', '-o', file, server.url);
  assert.equal(written.code, 0);
  assert.equal(written.out, '');
  assert.equal((JSON.parse(readFileSync(file, 'utf8')) as OhaJson).summary.successRate, 1);
  const csv = await load('--output-format', 'csv', '-n', '20', '-c', '2', server.url);
  const lines = csv.out.trim().split('\n');
  assert.equal(lines.length, 21);
  assert.equal(
    lines[0],
    'request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status',
  );
  const starts = lines.slice(1).map((line) => Number(line.split(',')[0]));
  assert.deepEqual(
    starts,
    [...starts].sort((a, b) => a - b),
  );
  assert.ok(lines.slice(1).every((line) => line.endsWith(`,${body.length},200`)));
  const quiet = await load('--output-format', 'quiet', '-n', '5', '-c', '1', server.url);
  assert.deepEqual(quiet, { code: 0, out: '', err: '' });
});

test('exit codes: 0 fine, 1 failed, 3 threshold breached, 4 generator in doubt', async () => {
  await using server = await startTestServer();
  const missing = `${server.url}missing`;
  const failed = await load('-n', '10', '-c', '1', missing);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /10 of the requests failed/);
  assert.equal((await load('-n', '10', '--allow-failures', missing)).code, 0);
  const breached = await load('-n', '10', '--fail-on', 'errors>50%', missing);
  assert.equal(breached.code, 3);
  assert.match(breached.err, /errors>50%: it was 100\.000%/);
  assert.equal((await load('-n', '10', '--fail-on', 'p99>10s', server.url)).code, 0);
  assert.equal((await load('-n', '10', '--fail-on', 'p50<10s', server.url)).code, 3);
  assert.equal((await load('-n', '10', '--fail-on', 'rps<1', server.url)).code, 0);
  const wrong = await load('-n', '10', '--expect-body', 'other', server.url);
  assert.equal(wrong.code, 1);
  assert.equal((await load('-n', '10', '--expect-body', `/^\\{"m/`, server.url)).code, 0);
  const open = ['-q', '300', '-n', '60', '-c', '1', '--in-flight-max', '1', '--self-check'];
  await using slow = await startTestServer({ delayMs: 100 });
  const doubtful = await load(...open, slow.url);
  assert.equal(doubtful.code, 4);
  assert.match(doubtful.err, /were not sent/);
});

test('bad input is one sentence, exit code 1, and nothing is written', async () => {
  const url = 'http://127.0.0.1:1/';
  const before = readdirSync(folder);
  const out = join(folder, 'never.json');
  const cases: [string[], RegExp][] = [
    [['-n', 'many', url], /-n takes a whole number/],
    [['-n', '0', url], /-n takes a whole number/],
    [['-n', '1.5', url], /-n takes a whole number/],
    [['-c', '-3', url], /-c takes a whole number/],
    [['-z', '10', url], /-z takes a duration/],
    [['-q', 'fast', url], /-q takes a number/],
    [['-w', url], /-w needs -z/],
    [['-d', 'a', '-D', 'b', url], /only one of -d, -D, -Z and -F/],
    [['-D', '/nonexistent', url], /does not exist/],
    [['-H', 'nonsense', url], /-H takes a header/],
    [['--connect-to', 'a:b', url], /HOST:PORT/],
    [['--output-format', 'xml', url], /text, json, csv, quiet/],
    [['-u', 'weeks', url], /ns, us, ms/],
    [['--fail-on', 'p99>5', url], /--fail-on takes a condition/],
    [['--expect-body', '/(/', url], /no valid pattern/],
    [['-q', '5', '--burst-delay', '1s', url], /cannot be combined/],
    [['-o', '/nonexistent/x.json', url], /not a writable directory/],
    [['-o', folder, url], /is a directory/],
    [['nonsense'], /is not a URL/],
    [['--http2', url], /cannot connect to http:\/\/127\.0\.0\.1:1: connection refused/],
    [['-p', '4', url], /-p needs --http2/],
    [['--http2', '--disable-keepalive', url], /cannot be combined/],
    [['--http2', '-r', '1', url], /redirects are not followed over HTTP\/2/],
    [['--http-version', '3', url], /1\.1, 2/],
    [['--http2', '-H', 'connection: close', url], /does not exist in HTTP\/2/],
    [['-x', 'http://proxy', url], /does not have: HTTP proxies/],
    [['--rand-regex-url', url], /does not have: random URLs/],
    [['--aws-session', 'x', url], /does not have: AWS/],
    [['-o', out, url], /cannot connect to http:\/\/127\.0\.0\.1:1: connection refused/],
    [['--what', url], /unknown option '--what'/],
    [[], /missing required argument/],
  ];
  for (let at = 0; at < cases.length; at += 4) {
    await Promise.all(
      cases.slice(at, at + 4).map(async ([args, message]) => {
        const { code, err, out: text } = await load(...args);
        assert.match(err, message);
        assert.equal(code, 1, args.join(' '));
        assert.equal(text, '');
        assert.equal(err.trim().split('\n').length, 1, err);
      }),
    );
  }
  assert.deepEqual(readdirSync(folder), before);
  assert.equal(existsSync(out), false);
});

test('a calibration that cannot be is refused at once, and nothing is written', async () => {
  const out = join(folder, 'calibration', 'calibrate.json');
  const cases: [string[], RegExp][] = [
    [['--rounds', 'x', '-o', out], /--rounds takes a whole number/],
    [['--part', 'nope', '-o', out], /--part takes one of spread, in-step, flat-out, stall/],
    [['-o', '/proc/x/y.json'], /-o: cannot make the directory \/proc\/x: ENOENT/],
  ];
  for (const [args, message] of cases) {
    const { code, err } = await run(['calibrate', ...args], (pid) => {
      // Node's own recursive mkdir never returns there.
      setTimeout(() => kill(pid), 20_000).unref();
    });
    assert.match(err, message);
    assert.equal(code, 1);
    assert.equal(err.trim().split('\n').length, 1, err);
  }
  assert.equal(existsSync(join(folder, 'calibration')), false);
});

test('Ctrl-C prints what was measured and exits with 130', async () => {
  await using server = await startTestServer({ delayMs: 2 });
  const args = ['load', '--runtime', 'node', '-j', '-z', '1m', '-c', '2', server.url];
  const { code, out } = await run(args, (pid) => {
    // In the middle of it, whenever that is.
    const timer = setInterval(() => {
      if (server.requests < 100) return;
      clearInterval(timer);
      process.kill(pid, 'SIGINT');
    }, 20);
  });
  assert.equal(code, 130);
  const { summary } = JSON.parse(out) as OhaJson;
  assert.ok(summary.total! < 50 && summary.requestsPerSec! > 0);
});

test('import shows a directory of cells and says what to beware of', async () => {
  await using server = await startTestServer();
  for (const client of ['fast', 'slow']) {
    for (const c of ['2', '4']) {
      const file = join(folder, `${client}_50_${c}.json`);
      assert.equal((await load('-j', '-n', '50', '-c', c, '-o', file, server.url)).code, 0);
    }
  }
  const { out, code } = await run(['import', folder]);
  assert.equal(code, 0);
  const report = /^Report: (.+\.html)$/m.exec(out)?.[1];
  assert.ok(report !== undefined && readFileSync(report, 'utf8').includes('<svg'), out);
  assert.match(out, /Requests\/sec, 50 requests/);
  const parsed = await run(['import', '--json', folder]);
  assert.equal((JSON.parse(parsed.out) as { cells: unknown[] }).cells.length, 4);
  const unwritable = await run(['import', folder, '-o', join(folder, 'fast_50_2.json')]);
  assert.equal(unwritable.code, 1, unwritable.err);
  assert.equal(unwritable.err.trim().split('\n').length, 1);
  const nothing = await run(['import', '/nonexistent']);
  assert.equal(nothing.code, 1);
  assert.match(nothing.err, /does not exist/);
});
