/** `Client` over TLS, against node:https and Bun.serve with certificates made for the test. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client, type ClientOptions, OnehopError } from 'onehop';
import { hasOpenssl, makeCertificate, servers, startHttps } from './tls-rig.ts';

async function using(
  port: number,
  tls: ClientOptions['tls'],
  body: (client: Client) => Promise<void>,
): Promise<void> {
  const client = new Client({
    baseUrl: `https://127.0.0.1:${port}`,
    tls,
    connectionsMax: 4,
    headTimeoutMs: 20_000,
  });
  try {
    await body(client);
  } finally {
    client.destroy();
  }
}

const server = hasOpenssl ? makeCertificate('server.test') : null;
const stranger = hasOpenssl ? makeCertificate('stranger.test') : null;

for (const [name, command] of servers) {
  let skip: string | false = false;
  if (server === null) skip = 'openssl is not installed';
  else if (command === null) skip = `no runtime for ${name}`;
  describe(`${name} over TLS`, { skip }, () => {
    test('requests, reuse, bodies short and long', async () => {
      const port = await startHttps(command!, [server!.certFile, server!.keyFile]);
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
      const port = await startHttps(command!, [server!.certFile, server!.keyFile]);
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
      const port = await startHttps(command!, [server!.certFile, server!.keyFile, mine.certFile]);
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
