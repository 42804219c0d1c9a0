/** https through an HTTP proxy: CONNECT, then TLS on the same connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { Client, type ClientOptions, createFetch, OnehopError } from 'onehop';
import { transport } from 'onehop/transport';
import { type Certificate, hasOpenssl, makeCertificate, servers, startHttps } from './tls-rig.ts';

/** What the proxy does with a CONNECT; by default it connects to the loopback port that is asked for. */
type Answer = (socket: Socket, authority: string) => void;

class ConnectProxy {
  readonly heads: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(answer: Answer = tunnel) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      let text = '';
      const onData = (bytes: Buffer): void => {
        text += bytes.toString('latin1');
        if (!text.includes('\r\n\r\n')) return;
        socket.off('data', onData);
        socket.pause();
        this.heads.push(text);
        answer(socket, text.split(' ')[1]!);
      };
      socket.on('data', onData);
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get open(): number {
    return this.#sockets.size;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

function tunnel(socket: Socket, authority: string): void {
  const upstream = connect(Number(authority.split(':').at(-1)), '127.0.0.1', () => {
    // In two pieces, an interim response in front: heads come as they like.
    socket.write('HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Connec');
    setTimeout(() => {
      socket.write('tion established\r\nvia: 1.1 test\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
      socket.resume();
    }, 5);
  });
  upstream.on('error', () => socket.destroy());
  upstream.on('close', () => socket.destroy());
  socket.on('close', () => upstream.destroy());
}

async function through(
  answer: Answer | undefined,
  options: ClientOptions,
  body: (client: Client, proxy: ConnectProxy) => Promise<void>,
  user = '',
): Promise<void> {
  const proxy = new ConnectProxy(answer);
  const address = await proxy.listen();
  const client = new Client({
    proxy: `http://${user}${address}`,
    headTimeoutMs: 20_000,
    ...options,
  });
  try {
    await body(client, proxy);
  } finally {
    client.destroy();
    proxy.close();
  }
}

const code =
  (expected: string, text = '') =>
  (error: unknown) => {
    assert.ok(error instanceof OnehopError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.ok(error.message.includes(text), error.message);
    return true;
  };

const certificate: Certificate | null = hasOpenssl ? makeCertificate('proxied.test') : null;
const origin = 'https://127.0.0.1:9';

for (const [name, command] of servers) {
  let skip: string | false = false;
  if (certificate === null) skip = 'openssl is not installed';
  else if (command === null) skip = `no runtime for ${name}`;
  describe(`${name} through a proxy, on ${transport.name}`, { skip }, () => {
    test('requests go through one tunnel per connection, with credentials for the proxy only', async () => {
      const { certFile, keyFile, cert } = certificate!;
      const port = await startHttps(command!, [certFile, keyFile]);
      await through(
        undefined,
        { tls: { ca: cert }, connectionsMax: 2 },
        async (client, proxy) => {
          for (const host of ['127.0.0.1', 'localhost']) {
            const url = `https://${host}:${port}`;
            assert.equal(await (await client.post(url, { body: 'hello' })).text(), 'hello');
            for (const length of [1, 70_000, 1_000_000]) {
              const bytes = await (await client.get(`${url}/${length}`)).bytes();
              assert.equal(bytes.length, length);
              assert.ok(bytes.every((byte) => byte === 120));
            }
            const sent = Buffer.alloc(300_000, 'y');
            const echoed = await (await client.post(url, { body: sent })).bytes();
            assert.ok(sent.equals(echoed), 'a long body comes back as it was sent');
            const texts = await Promise.all(
              Array.from({ length: 20 }, async (_, i) =>
                (await client.post(url, { body: `body ${i}` })).text(),
              ),
            );
            assert.deepEqual(
              texts,
              texts.map((_, i) => `body ${i}`),
            );
            const response = await createFetch(client)(`${url}/3`);
            assert.equal(await response.text(), 'xxx');
          }
          assert.ok(proxy.heads.length >= 2 && proxy.heads.length <= 4, `${proxy.heads.length}`);
          const user = Buffer.from('me:p%zz s').toString('base64');
          for (const head of proxy.heads) {
            const [line, ...fields] = head.trimEnd().split('\r\n');
            const authority = line!.split(' ')[1]!;
            assert.match(line!, /^CONNECT (127\.0\.0\.1|localhost):\d+ HTTP\/1\.1$/);
            assert.ok(fields.includes(`host: ${authority}`), head);
            assert.ok(fields.includes(`proxy-authorization: Basic ${user}`), head);
          }
        },
        'me:p%zz s@',
      );
    });

    test('the certificate must be for the origin, whatever the proxy is called', async () => {
      const { certFile, keyFile, cert } = certificate!;
      const port = await startHttps(command!, [certFile, keyFile]);
      const refused: ClientOptions['tls'][] = [{}, { ca: cert, serverName: 'other.test' }];
      for (const tls of refused) {
        await through(undefined, { tls, retries: 0 }, async (client, proxy) => {
          await assert.rejects(client.get(`https://127.0.0.1:${port}/1`), code('TLS_FAILED'));
          assert.equal(proxy.heads.length, 1);
        });
      }
      // 127.0.0.2 is not in the certificate; the proxy's own address is.
      await through(undefined, { tls: { ca: cert }, retries: 0 }, (client) =>
        assert.rejects(client.get(`https://127.0.0.2:${port}/1`), code('TLS_FAILED')),
      );
      await through(undefined, { tls: { rejectUnauthorized: false } }, async (client) => {
        assert.equal(await (await client.get(`https://127.0.0.2:${port}/2`)).text(), 'xx');
      });
    });
  });
}

describe(`a proxy that does not help, on ${transport.name}`, () => {
  const cases: [title: string, answer: string | null, code: string, text: string][] = [
    ['wants credentials', 'HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\nno', 'PROXY_REFUSED', '407'],
    ['cannot reach the origin', 'HTTP/1.1 502 Bad\r\n\r\n', 'CONNECT_FAILED', '502'],
    ['does not speak HTTP', 'SSH-2.0-x\r\n', 'CONNECT_FAILED', 'not HTTP'],
    ['sends more than its answer', 'HTTP/1.1 200 ok\r\n\r\nhi', 'CONNECT_FAILED', 'behind'],
    ['hangs up', null, 'CONNECT_FAILED', 'closed'],
    ['is no proxy but speaks TLS badly', 'HTTP/1.1 200 ok\r\n\r\n', 'TLS_FAILED', ''],
  ];
  for (const [title, answer, expected, text] of cases) {
    test(title, () =>
      through(
        (socket) => {
          if (answer === null) socket.end();
          else socket.write(answer);
          socket.once('data', () => socket.end('this is not TLS'));
          socket.resume();
        },
        { retries: 0 },
        async (client, proxy) => {
          await assert.rejects(client.get(`${origin}/`), code(expected, text));
          const [{ active, connections }] = Object.values(client.stats()) as [
            ReturnType<Client['stats']>[string],
          ];
          assert.deepEqual([active, connections.opening, connections.busy], [0, 0, 0]);
          for (let i = 0; proxy.open > 0 && i < 1000; i++) {
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          assert.equal(proxy.open, 0, 'the connection to the proxy is closed');
        },
      ),
    );
  }

  test('a tunnel that closes within the TLS handshake is TLS_FAILED', () =>
    through(
      (socket) => {
        socket.write('HTTP/1.1 200 ok\r\n\r\n');
        socket.once('data', () => socket.end());
        socket.resume();
      },
      { retries: 0 },
      async (client) => {
        await assert.rejects(client.get(`${origin}/`), code('TLS_FAILED'));
      },
    ));

  test('407 is not asked again', () =>
    through(
      (socket) => void socket.end('HTTP/1.1 407 No\r\n\r\n'),
      { retries: 3 },
      async (client, proxy) => {
        await assert.rejects(client.get(`${origin}/`), code('PROXY_REFUSED'));
        assert.equal(proxy.heads.length, 1);
      },
    ));

  test('silence ends with the connect deadline, before and after its answer', async () => {
    for (const answer of ['', 'HTTP/1.1 200 ok\r\n\r\n']) {
      await through(
        (socket) => {
          socket.write(answer);
          socket.resume();
        },
        { retries: 0, connectTimeoutMs: 80 },
        async (client, proxy) => {
          await assert.rejects(client.get(`${origin}/`), code('CONNECT_TIMEOUT'));
          for (let i = 0; proxy.open > 0 && i < 1000; i++) {
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          assert.equal(proxy.open, 0);
        },
      );
    }
  });
});
