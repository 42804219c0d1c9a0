/** Who speaks another protocol to a plain HTTP/1.1 port is named in the log, however its bytes come. */
import assert from 'node:assert/strict';
import { connect as connectHttp2 } from 'node:http2';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { ok } from '../support/raw-server.ts';
import { ask, simple, until, withGateway, withServers } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

interface Heard {
  status: number;
  reason: string;
  address: string;
  code: string;
}

/** Runs `body` against a gateway and says what was refused. */
async function refusals(body: (port: number, heard: Heard[]) => Promise<void>): Promise<Heard[]> {
  const heard: Heard[] = [];
  await withServers([(peer) => peer.send(ok('fine'))], async (_, ports) => {
    await withGateway(
      simple(ports),
      async ({ port }) => {
        await body(port, heard);
        // Nobody else is the worse for it.
        assert.equal((await ask(port)).body, 'fine');
      },
      {
        onRefused: ({ status, error, remoteAddress }) =>
          void heard.push({
            status,
            reason: error.message,
            address: remoteAddress,
            code: error.code,
          }),
      },
    );
  });
  return heard;
}

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const tlsHello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03';
const hellos = [
  { what: 'a TLS hello', bytes: tlsHello, reason: /TLS client hello on a plain port/, status: 400 },
  { what: 'an HTTP/2 preface', bytes: preface, reason: /HTTP\/2 connection preface/, status: 505 },
  {
    what: 'a PROXY protocol line',
    bytes: 'PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n',
    reason: /PROXY protocol/,
    status: 400,
  },
  {
    what: 'a PROXY protocol line without addresses',
    bytes: 'PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n',
    reason: /PROXY protocol/,
    status: 400,
  },
  {
    what: 'an SSH client',
    bytes: 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n',
    reason: /SSH/,
    status: 400,
  },
  { what: 'a SOCKS 5 client', bytes: '\x05\x01\x00', reason: /SOCKS/, status: 400 },
  { what: 'a SOCKS 4 client', bytes: '\x04\x01\x00\x50', reason: /SOCKS/, status: 400 },
];

for (const { what, bytes, reason, status } of hellos) {
  test(`${what} was logged as a bad method or version`, async () => {
    let sent = 0;
    const heard = await refusals(async (port, heard) => {
      // Whole, in two pieces at every place, and byte by byte.
      const cuts = Array.from({ length: Math.min(bytes.length, 24) }, (_, at) => [at]);
      for (const at of [[], ...cuts, Array.from({ length: bytes.length }, (_, index) => index)]) {
        const client = await RawClient.open(port);
        const places = [0, ...at, bytes.length];
        const pieces = places
          .slice(1)
          .map((end, index) => Buffer.from(bytes.slice(places[index], end), 'latin1'))
          .filter((piece) => piece.length > 0);
        await client.sendPieces(pieces, 2);
        sent++;
        assert.ok(await until(() => heard.length === sent), `not refused: cut at ${at.join()}`);
        assert.ok(await client.untilEnd());
        client.close();
      }
    });
    for (const line of heard) {
      assert.match(line.reason, reason);
      assert.equal(line.status, status);
      assert.equal(line.address, '127.0.0.1');
      assert.equal(line.code, 'REQUEST_INVALID');
    }
  });
}

test('the signature of PROXY protocol 2 was logged as a bad request line', async () => {
  const heard = await refusals(async (port) => {
    const client = await RawClient.open(port);
    client.send('\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c');
    assert.ok(await client.untilEnd());
    client.close();
  });
  assert.match(heard[0]!.reason, /PROXY protocol/);
});

test('what only looks like another protocol keeps its own reason', async () => {
  const others = {
    'PRI * HTTP/1.1\r\nHost: t\r\n\r\n': /target/,
    'GET / HTTP/2.0\r\n\r\n': /Only HTTP\/1\.0/,
    'SSH / HTTP/9\r\n\r\n': /Only HTTP\/1\.0/,
    '\x01\x02\x03': /not a token/,
    '\r\n\r\nGET / HTTP/1.1\r\n\r\n': /request line/,
  };
  for (const [bytes, reason] of Object.entries(others)) {
    const heard = await refusals(async (port) => {
      const client = await RawClient.open(port);
      client.send(bytes);
      assert.ok(await client.untilEnd());
      client.close();
    });
    assert.match(heard[0]!.reason, reason, JSON.stringify(bytes));
  }
});

test('a TLS client is told that the port is plain, not that its version is wrong for TLS', async () => {
  const heard = await refusals(async (port) => {
    const error = await new Promise<Error>((resolve, reject) => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () =>
        reject(new Error('connected')),
      );
      socket.on('error', resolve);
    });
    // Node's and Bun's words for bytes that are no record; an alert would name a version or a cipher.
    assert.doesNotMatch(error.message, /alert/i);
  });
  assert.match(heard[0]!.reason, /TLS/);
});

test('an HTTP/2 client is told to use HTTP/1.1 in its own protocol', async () => {
  await refusals(async (port) => {
    const client = await RawClient.open(port);
    client.send(`${preface}\x00\x00\x00\x04\x00\x00\x00\x00\x00`);
    assert.ok(await client.untilEnd());
    const frames = [...client.received];
    // An empty SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 sections 3.4, 6.8 and 7).
    assert.deepEqual(frames.slice(0, 9), [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    assert.deepEqual(frames.slice(12, 26), [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13]);
    assert.equal(frames[11], frames.length - 18);
    assert.match(client.text, /HTTP\/2 is not spoken here$/);
    client.close();
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    const code = new Promise((resolve) => session.on('goaway', resolve));
    const request = session.request({ ':path': '/' });
    request.on('error', () => {});
    assert.equal(await code, 13);
    session.destroy();
  });
});
