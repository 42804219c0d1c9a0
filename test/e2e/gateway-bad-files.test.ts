/**
 * What is saved into the files of a gateway that runs must not end it, and what is wrong with them is
 * said by file and line: aliases that YAML has no anchor for, texts that are no configuration at all,
 * certificates that are gone, and output that nobody reads any more.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Service, startPlainService } from '@onehop/mock';
import { createGateway } from 'onehop/gateway';
import { type Certificate, hasOpenssl, makeCertificate, startHttps } from '../contract/tls-rig.ts';
import {
  ask,
  binary,
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
const noOpenssl = hasOpenssl ? false : 'openssl is not on PATH';

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'onehop-bad-files-'));
  service = await startPlainService({ sizeBytes: 11 });
});
after(async () => {
  await Promise.all(open.map((served) => served.end()));
  await service.close();
  rmSync(dir, { recursive: true, force: true });
});

const config = (prefix: string, listen = '127.0.0.1:0'): string =>
  `listen: ${listen}\nupstreams: { one: { targets: ["http://127.0.0.1:${service.port}"] } }\n` +
  `routes: [{ path: ${prefix}/*, upstream: one }]\n`;

/** What no editor should have saved. */
const badTexts = (): Record<string, { text: string; says: RegExp }> => ({
  'a listen address in the way of nginx': {
    text: config('/a', '*:8080'),
    says: /:1: listen: \*:8080 is an alias of YAML/,
  },
  'an alias bomb': {
    text: `a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n${'bcdefghi'
      .split('')
      .map((name, at) => `${name}: &${name} [${`*${'abcdefgh'[at]}, `.repeat(9)}]`)
      .join('\n')}\n`,
    says: /:\d+: its aliases stand for too much/,
  },
  'brackets nested too deeply': {
    text: `upstreams: {}\nroutes: ${'['.repeat(200_000)}`,
    says: /:2: /,
  },
  'a NUL byte': { text: `${config('/a')}accessLog: "./a\\0b"\n`, says: /:4: accessLog: .*NUL/ },
});

for (const workers of ['1', '2']) {
  test(`a bad text saved into the watched file ends the gateway: ${workers} workers`, async () => {
    const path = join(dir, `watched-${workers}.yaml`);
    writeFileSync(path, config('/a'));
    const served = await serve([path, '--runtime', ownRuntime, '--workers', workers]);
    open.push(served);
    assert.equal((await ask(`${served.url}/a/x`)).status, 200);
    for (const [what, { text, says }] of Object.entries(badTexts())) {
      const from = served.stderr.length;
      writeFileSync(path, text);
      await served.says(/the old one stays in force/, from);
      await served.says(says, from);
      assert.equal((await ask(`${served.url}/a/x`)).status, 200, what);
      assert.doesNotMatch(served.stderr.slice(from), /^\s+at /m, what);
    }
    // A later good file is taken all the same.
    writeFileSync(path, config('/b'));
    await served.says(/the file changed: done/);
    assert.equal((await ask(`${served.url}/b/x`)).status, 200);
    const from = served.stderr.length;
    writeFileSync(path, badTexts()['a listen address in the way of nginx']!.text);
    await served.says(/the old one stays in force/, from);
    const again = served.stderr.length;
    writeFileSync(path, config('/c'));
    served.kill('SIGHUP');
    await served.says(/: done/, again);
    await until(async () => (await ask(`${served.url}/c/x`)).status === 200, 'the new route');
  });
}

test('a bad text makes check, explain and serve print a stack instead of file and line', async () => {
  for (const [what, { text, says }] of Object.entries(badTexts())) {
    const path = join(dir, 'unchecked.yaml');
    writeFileSync(path, text);
    for (const args of [
      ['check', path],
      ['explain', path, 'GET', '/'],
      ['serve', path],
    ]) {
      const run = new ServeProcess(args);
      assert.equal(await run.exit, 2, `${args[0]}: ${what}: ${run.stderr}`);
      const lines = run.stderr.trim().split('\n');
      assert.ok(lines[0]!.startsWith(`${path}:`), run.stderr);
      assert.match(lines[0]!, says);
      assert.doesNotMatch(run.stderr, /^\s+at /m);
    }
  }
});

const secured = (port: number, tls: string, host = '127.0.0.1'): string =>
  `listen: 127.0.0.1:0\nupstreams:\n  one:\n    targets: ["https://${host}:${port}"]\n` +
  `    tls:\n${tls}\nroutes: [{ upstream: one }]\n`;

test('a certificate that is missing, broken or of another key is found when it is used', {
  skip: noOpenssl,
}, async () => {
  const one = makeCertificate('one.test');
  const two = makeCertificate('two.test');
  const broken = join(dir, 'broken.pem');
  writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n');
  const wrong: [tls: string, says: RegExp][] = [
    [
      '      ca: /nowhere/ca.pem',
      /:6: upstreams\.one\.tls\.ca: \/nowhere\/ca\.pem cannot be read: there is no such file/,
    ],
    [`      ca: ${dir}`, /:6: upstreams\.one\.tls\.ca: .*it is a directory/],
    ['      ca: /dev/zero', /:6: upstreams\.one\.tls\.ca: .*no regular file/],
    [`      ca: ${broken}`, /:6: upstreams\.one\.tls\.ca: .*certificate 1 in it cannot be read/],
    [`      ca: ${one.keyFile}`, /:6: upstreams\.one\.tls\.ca: .*no PEM certificate/],
    [
      `      cert: ${one.certFile}\n      key: ${one.certFile}`,
      /:7: upstreams\.one\.tls\.key: .*no private key/,
    ],
    [
      `      cert: ${one.certFile}\n      key: ${two.keyFile}`,
      /:7: upstreams\.one\.tls\.key: .*not the key of/,
    ],
    [`      cert: ${one.certFile}`, /:6: upstreams\.one\.tls\.cert: needs a `key` beside it/],
  ];
  const path = join(dir, 'tls.yaml');
  for (const [tls, says] of wrong) {
    writeFileSync(path, secured(1, tls));
    for (const command of ['check', 'serve']) {
      const run = new ServeProcess([command, path]);
      assert.equal(await run.exit, 2, `${command}: ${tls}: ${run.stderr}`);
      assert.match(run.stderr, says);
      assert.doesNotMatch(run.stderr, /^\s+at /m);
    }
  }
  writeFileSync(path, secured(1, `      cert: ${one.certFile}\n      key: ${one.keyFile}`));
  const run = new ServeProcess(['check', path]);
  assert.equal(await run.exit, 0, run.stderr);
});

test('the gateway ends when a name changes after its certificate file vanished', {
  skip: noOpenssl,
}, async () => {
  const certificate = makeCertificate('vanishing.test');
  const port = await https(certificate);
  const caFile = join(dir, 'vanishing-ca.pem');
  copyFileSync(certificate.certFile, caFile);
  let addresses = ['127.0.0.1'];
  const bugs: unknown[] = [];
  const gateway = createGateway(
    {
      listen: '127.0.0.1:0',
      upstreams: {
        one: {
          targets: [`https://localhost.test:${port}`],
          tls: { ca: caFile, serverName: 'localhost' },
          dnsRefresh: '20ms',
          retry: { attempts: 1 },
        },
      },
      routes: [{ upstream: 'one' }],
    },
    {
      lookup: (_host, done) =>
        setImmediate(
          done,
          null,
          addresses.map((address) => ({ address, family: 4 })),
        ),
      observer: {
        onFinish() {},
        onRetry() {},
        onStreamRead() {},
        onEjection() {},
        onHealth() {},
        onInternalError: (error) => bugs.push(error),
      },
    },
  );
  const url = `http://127.0.0.1:${(await gateway.listen())[0]!.port}/`;
  try {
    assert.equal((await ask(url)).status, 200);
    unlinkSync(caFile);
    addresses = ['127.0.0.1', '127.0.0.2'];
    const { members } = gateway.tables.upstreams.get('one')!;
    const ups = () => members.filter((member) => !member.draining && !member.gone);
    await until(() => ups().length === 2, 'a member for each address');
    addresses = ['127.0.0.1'];
    await until(() => ups().length === 1, 'one address to leave');
    // By a member that was made without the file.
    assert.equal((await ask(url)).status, 200);
    assert.deepEqual(bugs, []);
  } finally {
    await gateway.close({ graceMs: 0, announceMs: 0 });
  }
});

const https = ({ certFile, keyFile }: Certificate): Promise<number> =>
  startHttps(process.execPath, [certFile, keyFile]);

test('new contents of a certificate file are not taken by a reload, and missing ones end it', {
  skip: noOpenssl,
}, async () => {
  const good = makeCertificate('reloaded.test');
  const other = makeCertificate('other.test');
  const port = await https(good);
  const caFile = join(dir, 'reloaded-ca.pem');
  copyFileSync(other.certFile, caFile);
  const path = join(dir, 'reloaded.yaml');
  writeFileSync(path, secured(port, `      ca: ${caFile}`));
  const served = await serve([path, '--runtime', ownRuntime, '--workers', '2', '--no-watch']);
  open.push(served);
  const reload = async (says: RegExp): Promise<void> => {
    const from = served.stderr.length;
    served.kill('SIGHUP');
    await served.says(says, from);
  };
  assert.equal((await ask(served.url)).status, 502);
  copyFileSync(good.certFile, caFile);
  await reload(/SIGHUP: done/);
  assert.equal((await ask(served.url)).status, 200);
  unlinkSync(caFile);
  await reload(/reloaded\.yaml:6: upstreams\.one\.tls\.ca: .* there is no such file/);
  assert.equal((await ask(served.url)).status, 200);
  copyFileSync(other.certFile, caFile);
  await reload(/SIGHUP: done/);
  assert.equal((await ask(served.url)).status, 502);
});

test('output that nobody reads any more ends the gateway', async () => {
  const path = join(dir, 'unread.yaml');
  writeFileSync(path, config('/a'));
  const args = [binary, 'serve', path, '--runtime', ownRuntime];
  args.push('--admin', '127.0.0.1:0', '--access-log', 'stdout');
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((done) => child.once('exit', (code, signal) => done(code ?? signal)));
  try {
    let text = '';
    child.stderr.on('data', (bytes) => {
      text += bytes;
    });
    const url = (of: string): string | undefined =>
      new RegExp(`${of} on (http:[^\\s,]+?):?(?:\\s|$)`, 'm').exec(text)?.[1];
    await until(() => url('listening') !== undefined && url('admin') !== undefined, text);
    const [listening, admin] = [url('listening')!, url('admin')!];
    child.stdout.destroy();
    child.stderr.destroy();
    for (let round = 0; round < 5; round++) {
      assert.equal((await ask(`${listening}/a/x`)).status, 200);
      child.kill(round % 2 === 0 ? 'SIGUSR2' : 'SIGHUP');
      await pause(50);
    }
    const metrics = async (): Promise<string> => (await ask(`${admin}/metrics`)).body;
    await until(
      async () => sample(await metrics(), 'onehop_reloads_total', { result: 'ok' }) >= 2,
      'the reloads',
    );
    assert.equal(child.exitCode, null);
    assert.ok(sample(await metrics(), 'onehop_access_log_dropped_total') > 0);
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a folder that is gone with its file and comes back is watched no more', async () => {
  const folder = join(dir, 'mounted');
  const path = join(folder, 'gateway.yaml');
  mkdirSync(folder);
  writeFileSync(path, config('/a'));
  const served = await serve([path, '--runtime', ownRuntime]);
  open.push(served);
  renameSync(folder, `${folder}-old`);
  rmSync(`${folder}-old`, { recursive: true });
  assert.equal((await ask(`${served.url}/a/x`)).status, 200);
  mkdirSync(folder);
  writeFileSync(path, config('/b'));
  await served.says(/the file changed: done/);
  assert.equal((await ask(`${served.url}/b/x`)).status, 200);
});
