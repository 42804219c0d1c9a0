/** `Client` over TLS, against node:https and Bun.serve with certificates made for the test. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client, type ClientOptions, OnehopError } from 'onehop';
import { findBun } from 'onehop/cli/find-bun';
import { transport } from 'onehop/transport';

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'onehop-client-tls-'));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

interface Certificate {
  certFile: string;
  keyFile: string;
  cert: string;
  key: string;
}

/** A self-signed certificate, its own issuer. */
function makeCertificate(name: string): Certificate {
  const certFile = join(folder, `${name}.pem`);
  const keyFile = join(folder, `${name}-key.pem`);
  const made = spawnSync(
    'openssl',
    [
      ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes'.split(' '),
      ...['-keyout', keyFile, '-out', certFile, '-subj', `/CN=${name}`],
      ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ],
    { encoding: 'utf8' },
  );
  assert.equal(made.status, 0, made.stderr);
  const [cert, key] = [readFileSync(certFile, 'utf8'), readFileSync(keyFile, 'utf8')];
  return { certFile, keyFile, cert, key };
}

async function start(command: string, args: string[]): Promise<number> {
  const child = spawn(command, [join(here, 'https-server.js'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server exited with ${code}`)));
    child.stdout.once('data', (text) => resolve(Number(String(text).trim())));
  });
}

async function using(
  port: number,
  tls: ClientOptions['tls'],
  body: (client: Client) => Promise<void>,
): Promise<void> {
  const client = new Client({
    baseUrl: `https://127.0.0.1:${port}`,
    tls,
    connectionsMax: 4,
    headTimeoutMs: 5000,
  });
  try {
    await body(client);
  } finally {
    client.destroy();
  }
}

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const node = transport.name === 'bun' ? 'node' : process.execPath;
const servers: [name: string, command: string | null][] = [
  ['node:https', spawnSync(node, ['--version']).status === 0 ? node : null],
  ['Bun.serve', findBun()],
];
const server = hasOpenssl ? makeCertificate('server.test') : null;
const stranger = hasOpenssl ? makeCertificate('stranger.test') : null;

for (const [name, command] of servers) {
  let skip: string | false = false;
  if (server === null) skip = 'openssl is not installed';
  else if (command === null) skip = `no runtime for ${name}`;
  describe(`${name} over TLS`, { skip }, () => {
    test('requests, reuse, bodies short and long', async () => {
      const port = await start(command!, [server!.certFile, server!.keyFile]);
      await using(port, { ca: server!.cert }, async (client) => {
        assert.equal(await (await client.post('/', { body: 'hello' })).text(), 'hello');
        for (const length of [1, 1000, 70_000, 1_000_000]) {
          const bytes = await (await client.get(`/${length}`)).bytes();
          assert.equal(bytes.length, length);
          assert.ok(bytes.every((byte) => byte === 120));
        }
        const sent = Buffer.alloc(300_000, 'y');
        const echoed = await (await client.post('/', { body: sent })).bytes();
        assert.ok(sent.equals(echoed), 'a long body comes back as it was sent');
        const texts = await Promise.all(
          Array.from({ length: 40 }, async (_, i) =>
            (await client.post('/', { body: `body ${i}` })).text(),
          ),
        );
        texts.forEach((text, i) => {
          assert.equal(text, `body ${i}`);
        });
        const { opened, reused } = Object.values(client.stats())[0]!.connections;
        assert.ok(opened <= 4 && reused >= 40, `opened ${opened}, reused ${reused}`);
        let read = 0;
        for await (const piece of (await client.get('/500000')).body) read += piece.length;
        assert.equal(read, 500_000);
      });
    });

    test('an unknown issuer and a wrong name are TLS_FAILED, unless told otherwise', async () => {
      const port = await start(command!, [server!.certFile, server!.keyFile]);
      const refused: ClientOptions['tls'][] = [
        undefined,
        { ca: stranger!.cert },
        { ca: server!.cert, serverName: 'other.test' },
      ];
      for (const tls of refused) {
        await using(port, tls, (client) =>
          assert.rejects(
            client.get('/1', { retries: 0 }),
            (error) => error instanceof OnehopError && error.code === 'TLS_FAILED',
          ),
        );
      }
      await using(port, { rejectUnauthorized: false }, async (client) => {
        assert.equal(await (await client.get('/3')).text(), 'xxx');
      });
    });

    test('a client certificate is sent; without one the server refuses', async () => {
      const mine = makeCertificate(`client.${name.length}.test`);
      const port = await start(command!, [server!.certFile, server!.keyFile, mine.certFile]);
      const { cert, key } = mine;
      await using(port, { ca: server!.cert, cert, key }, async (client) => {
        const response = await client.get('/2');
        assert.equal(await response.text(), 'xx');
        if (name === 'node:https') {
          assert.equal(response.headers.get('x-client'), `client.${name.length}.test`);
        }
      });
      const others = [{}, { cert: stranger!.cert, key: stranger!.key }];
      for (const other of others) {
        await using(port, { ca: server!.cert, ...other }, (client) =>
          assert.rejects(
            client.get('/2', { retries: 0 }),
            (error) =>
              error instanceof OnehopError &&
              // TLS 1.3: the client's handshake is done before the server has judged it.
              ['TLS_FAILED', 'UPSTREAM_RESET', 'UPSTREAM_CLOSED'].includes(error.code),
          ),
        );
      }
    });
  });
}
