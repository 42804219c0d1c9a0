/** The part of the transport contract that needs other processes: TLS, exclusive binds, ref. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type TlsOptions, transport, WriteStatus } from 'onehop/transport';
import { Bench, pattern, type Side } from './transport-harness.ts';

const here = dirname(fileURLToPath(import.meta.url));
const isBun = transport.name === 'bun';
const children: ChildProcess[] = [];
const folder = mkdtempSync(join(tmpdir(), 'onehop-tls-'));
after(() => {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** Starts a script of this folder and resolves with its first line. */
function start(command: string, script: string, args: string[]): Promise<[string, ChildProcess]> {
  const child = spawn(command, [join(here, script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${script} ended without a word`)));
    child.stdout?.once('data', (text) => resolve([String(text).trim(), child]));
  });
}

function exitOf(child: ChildProcess, withinMs: number): Promise<number | 'still running' | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('still running'), withinMs);
    child.once('exit', (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });
}

test('a second process cannot bind the same port', async () => {
  const [first] = await start(process.execPath, 'transport-child.js', ['listen']);
  const [, port] = /^listening (\d+)$/.exec(first) ?? [];
  assert.ok(port !== undefined, first);
  const [second] = await start(process.execPath, 'transport-child.js', ['listen', port]);
  assert.equal(second, 'ADDRESS_IN_USE');
});

test('unref lets the process exit, an idle connection otherwise keeps it alive', async () => {
  const [, unref] = await start(process.execPath, 'transport-child.js', ['unref']);
  assert.equal(await exitOf(unref, 30_000), 0);
  const [, ref] = await start(process.execPath, 'transport-child.js', ['ref']);
  assert.equal(await exitOf(ref, 300), 'still running');
});

const bench = new Bench(transport);

test('a body of 64 KB and its head that lie ready come in one read', { skip: isBun }, async () => {
  const { client, server } = await bench.pair();
  const message = pattern(64 * 1024 + 300);
  client.socket.pause();
  server.socket.write(message, 0, message.length);
  await new Promise((resolve) => setTimeout(resolve, 50));
  client.socket.resume();
  await bench.until(() => client.bytes === message.length, 'all read');
  assert.equal(client.chunks.length, 1);
});
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const canShare = isBun || major > 22 || (major === 22 && minor >= 12);

test('reusePort shares the port, or says clearly that it cannot', async () => {
  if (!canShare) {
    await assert.rejects(bench.listen({ reusePort: true }), (error: Error & { code: string }) => {
      return error.code === 'LISTEN_FAILED' && /node:cluster/.test(error.message);
    });
    return;
  }
  const { listener } = await bench.listen({ reusePort: true });
  const again = await bench.listen({ reusePort: true, port: listener.port });
  assert.equal(again.listener.port, listener.port);
  await assert.rejects(bench.listen({ port: listener.port }), { code: 'ADDRESS_IN_USE' });
});

test('one of several sockets of a port that closes resets nobody', {
  skip: isBun && process.platform === 'linux' ? false : 'workers share a port like this under Bun',
}, async () => {
  let accepted = 0;
  const answering = async (port: number) => {
    const { listener } = await bench.listen({ port, reusePort: true }, (side) => {
      accepted++;
      side.onData = () => {
        side.socket.writeLatin1('heard');
        side.socket.end();
      };
    });
    return listener;
  };
  const staying = await answering(0);
  let leaving = await answering(staying.port);
  const [, child] = await start(process.execPath, 'transport-child.js', [
    'call',
    `${staying.port}`,
  ]);
  const told = new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (text) => resolve(String(text)));
    child.once('exit', (code) => reject(new Error(`the callers ended with ${code}`)));
  });
  told.catch(() => {});
  try {
    // Without the care that is taken, about one in twenty of these resets somebody.
    for (let i = 0; i < 100; i++) {
      const next = await answering(staying.port);
      const before = accepted;
      await bench.until(() => accepted > before, 'a caller');
      await leaving.close();
      leaving = next;
    }
    child.stdin?.end();
    const { answered, ...others } = JSON.parse(await told);
    assert.deepEqual(others, {});
    assert.ok(answered >= 100, `${answered} were answered`);
  } finally {
    child.kill();
    await Promise.all([staying.close(), leaving.close()]);
  }
});

test('a port that closes does not reset what it was given and had not accepted yet', async () => {
  const { listener, accepted } = await bench.listen({}, (side) => {
    side.onData = () => side.socket.writeLatin1('heard');
  });
  const sides = Array.from({ length: 20 }, () => {
    const side = bench.connect({ host: '127.0.0.1', port: listener.port });
    side.onOpen = () => side.socket.writeLatin1('hello');
    return side;
  });
  // They are connecting now, and nothing of it has been looked at.
  await new Promise<void>((resolve) => process.nextTick(resolve));
  await listener.close();
  await bench.until(
    () => sides.every((side) => side.text === 'heard' || side.has('close')),
    'answers',
  );
  // Who came too late was refused, which is no loss.
  const lost = sides.filter(({ text, error }) => text === '' && error?.code !== 'CONNECT_REFUSED');
  assert.deepEqual(
    lost.map(({ error, events }) => [error?.code, events]),
    [],
  );
  assert.ok(accepted.length >= 10, `${accepted.length} were in time`);
  for (const side of sides) side.socket.destroy();
});

test('a port that closes in the turn of a read or a signal accepts first what was waiting', async () => {
  // A turn that is under way polls no more: what was taken for an empty queue had not been looked at.
  const { listener, accepted } = await bench.listen({}, (side) => {
    side.onData = () => side.socket.writeLatin1('heard');
  });
  const trigger = bench.connect({ host: '127.0.0.1', port: listener.port });
  await bench.until(() => accepted.length === 1 && trigger.has('open'), 'the first');
  const sides: Side[] = [];
  const closed = new Promise<void>((resolve) => {
    accepted[0]!.onData = () => {
      for (let i = 0; i < 8; i++) {
        const side = bench.connect({ host: '127.0.0.1', port: listener.port });
        side.onOpen = () => side.socket.writeLatin1('hello');
        sides.push(side);
      }
      void listener.close().then(resolve);
    };
  });
  trigger.socket.writeLatin1('now');
  await closed;
  await bench.until(
    () => sides.every((side) => side.text === 'heard' || side.has('close')),
    'answers',
  );
  assert.deepEqual(
    sides.map(({ text, error }) => [text, error?.code]),
    sides.map(() => ['heard', undefined]),
  );
  for (const side of [trigger, ...sides]) side.socket.destroy();
});

test('a turn reads what had arrived, wherever it is begun', async () => {
  const { listener, accepted } = await bench.listen({});
  const client = bench.connect({ host: '127.0.0.1', port: listener.port });
  await bench.until(() => accepted.length === 1 && client.has('open'), 'the connection');
  let sent = '';
  const askIn = async (begin: (callback: () => void) => void): Promise<void> => {
    await new Promise<void>((resolve) => begin(resolve));
    client.socket.writeLatin1('x');
    sent += 'x';
    await transport.turn();
    assert.equal(accepted[0]!.text, sent, `in ${begin}`);
  };
  for (let i = 0; i < 20; i++) {
    await askIn((callback) => setTimeout(callback, 1));
    await askIn((callback) => setImmediate(callback));
    await askIn((callback) => {
      accepted[0]!.onData = () => {
        accepted[0]!.onData = null;
        callback();
      };
      client.socket.writeLatin1('y');
      sent += 'y';
    });
  }
  client.socket.destroy();
});

// TLS, against a server on Node.

const node = isBun ? 'node' : process.execPath;
const missing = [
  [node, '--version'],
  ['openssl', 'version'],
].find(([command, argument]) => spawnSync(command!, [argument!]).status !== 0);
const skip = missing === undefined ? false : `${missing[0]} is not installed`;
const certFile = join(folder, 'cert.pem');
const keyFile = join(folder, 'key.pem');
let port = 0;
let ca = '';

async function tlsServer(): Promise<void> {
  if (port !== 0) return;
  const made = spawnSync(
    'openssl',
    [
      ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes'.split(' '),
      ...['-keyout', keyFile, '-out', certFile, '-subj', '/CN=good.test'],
      ...['-addext', 'subjectAltName=DNS:good.test,DNS:localhost,IP:127.0.0.1'],
    ],
    { encoding: 'utf8' },
  );
  assert.equal(made.status, 0, made.stderr);
  ca = readFileSync(certFile, 'utf8');
  const [text] = await start(node, 'tls-server.js', [certFile, keyFile]);
  port = Number(text);
}

async function handshake(tls: TlsOptions, host = '127.0.0.1'): Promise<Side> {
  const side = bench.connect({ host, port, tls });
  await bench.until(() => side.has('close') || side.text.includes('\n'), 'greeting or close');
  return side;
}

test('TLS: a good certificate, SNI and ALPN', { skip }, async () => {
  await tlsServer();
  const side = await handshake({ ca, serverName: 'good.test', alpnProtocols: ['http/1.1'] });
  assert.equal(side.text, 'sni=good.test alpn=http/1.1\n', String(side.error?.message));
  assert.equal(side.socket.alpnProtocol, 'http/1.1');
  side.socket.destroy();
  const plain = await handshake({ ca }, 'localhost');
  assert.equal(plain.text, 'sni=localhost alpn=false\n');
  assert.equal(plain.socket.alpnProtocol, '');
});

test('TLS: the certificate is checked against an IP address connected to', { skip }, async () => {
  await tlsServer();
  const side = await handshake({ ca });
  assert.match(side.text, /^sni=/);
});

test('TLS: a wrong name, an unknown issuer and a bad ca are TLS_FAILED', { skip }, async () => {
  await tlsServer();
  const refused: TlsOptions[] = [
    { ca, serverName: 'bad.test' },
    { serverName: 'good.test' },
    { ca: 'not a certificate', serverName: 'good.test' },
  ];
  for (const tls of refused) {
    const side = await handshake(tls);
    assert.equal(side.error?.code, 'TLS_FAILED', JSON.stringify(tls));
    assert.deepEqual(side.events, ['close'], 'open is never called');
  }
});

test('TLS: rejectUnauthorized false takes any certificate', { skip }, async () => {
  await tlsServer();
  const side = await handshake({ serverName: 'bad.test', rejectUnauthorized: false });
  assert.equal(side.text, 'sni=bad.test alpn=false\n');
});

test('a peer that closes within the handshake is TLS_FAILED, for TLS at once and later', async () => {
  for (const hangsUp of ['end', 'destroy', 'reset'] as const) {
    const { listener } = await bench.listen({}, (side) => {
      side.onData = (bytes) => {
        if (bytes.length === 5) side.socket.writeLatin1('ready');
        else if (hangsUp === 'end') side.socket.end();
        else side.socket.destroy(hangsUp === 'reset');
      };
    });
    const atOnce = bench.connect({ port: listener.port, tls: {} });
    const later = bench.connect({ port: listener.port, laterTls: {} });
    await bench.until(() => later.has('open'), 'open');
    later.onData = () => later.socket.startTls();
    later.socket.writeLatin1('hello');
    for (const side of [atOnce, later]) {
      await bench.until(() => side.has('close'), 'close');
      assert.equal(side.error?.code, 'TLS_FAILED', hangsUp);
      assert.ok(!side.has('end'), 'nothing ends that was not open');
    }
  }
});

test('TLS to a server that speaks none is TLS_FAILED', { skip }, async () => {
  const { listener } = await bench.listen({}, (side) => {
    side.onData = () => {
      side.socket.writeLatin1('HTTP/1.1 400 Bad Request\r\n\r\n');
      side.socket.end();
    };
  });
  for (const rejectUnauthorized of [true, false]) {
    const side = bench.connect({ port: listener.port, tls: { rejectUnauthorized } });
    await bench.until(() => side.has('close'), 'close');
    assert.equal(side.error?.code, 'TLS_FAILED');
    assert.deepEqual(side.events, ['close']);
  }
  const closed = bench.connect({ port: 1, tls: {} });
  await bench.until(() => closed.has('close'), 'close');
  assert.equal(closed.error?.code, 'CONNECT_REFUSED');
});

test('TLS: 10 MB through an echo with pauses and corks, byte-exact, then end', {
  skip,
}, async () => {
  await tlsServer();
  const side = await handshake({ ca, serverName: 'good.test' });
  const greeting = side.bytes;
  const sent = pattern(10_000_000);
  let at = 0;
  const pump = (): void => {
    while (at < sent.length) {
      const to = Math.min(at + 50_000, sent.length);
      side.socket.cork();
      side.socket.write(sent, at, at + 10);
      side.socket.write(sent, at + 10, to);
      at = to;
      const status = side.socket.uncork();
      assert.notEqual(status, WriteStatus.Closed);
      if (status === WriteStatus.Queued) return;
    }
    side.onDrain = null;
    side.socket.end();
  };
  side.onDrain = pump;
  let reads = 0;
  side.onData = () => {
    if (++reads % 50 !== 0) return;
    side.socket.pause();
    setTimeout(() => side.socket.resume(), 1);
  };
  pump();
  await bench.until(() => side.has('close'), 'close', 30_000);
  assert.equal(side.error, null);
  assert.ok(side.has('end'));
  assert.ok(Buffer.concat(side.chunks).subarray(greeting).equals(sent));
});

test('every socket of this file closed once and last', () => bench.finish());
