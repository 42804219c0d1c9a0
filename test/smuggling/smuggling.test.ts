/**
 * Request smuggling by class against a deliberately lenient upstream: one that takes whatever reading
 * of doubtful framing finds a second request in its bytes. A gateway is safe when even this upstream
 * never sees the hidden one.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { pause, simple, withGateway } from '../e2e/gateway-rig.ts';
import { RawClient } from '../e2e/raw-client.ts';

const hidden = 'GET /evil HTTP/1.1\r\nHost: t\r\n\r\n';
const post = (fields: string, body: string): string =>
  `POST /a HTTP/1.1\r\nHost: t\r\n${fields}\r\n${body}`;
const length = (text: string): string => `Content-Length: ${text.length}\r\n`;
const zero = `0\r\n\r\n${hidden}`;

/** Class, then requests that hide another one in the view of some reader. */
const classes: Record<string, string[]> = {
  'CL.TE': [
    post(`${length(zero)}Transfer-Encoding: chunked\r\n`, zero),
    post(`Transfer-Encoding: chunked\r\n${length(zero)}`, zero),
  ],
  'TE.CL': [
    post(
      'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
      `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
    ),
  ],
  'TE.TE': [
    post(`${length(zero)}Transfer-Encoding: xchunked\r\n`, zero),
    post(`${length(zero)}Transfer-Encoding : chunked\r\n`, zero),
    post(`${length(zero)}Transfer-Encoding: chunked, identity\r\n`, zero),
    post(`${length(zero)}Transfer-Encoding:\x0bchunked\r\n`, zero),
    post(`${length(zero)}X: y\n Transfer-Encoding: chunked\r\n`, zero),
    post(`${length(zero)}Transfer-Encoding: "chunked"\r\n`, zero),
    post(`${length(zero)}Transfer_Encoding: chunked\r\n`, zero),
    post(`${length(zero)} Transfer-Encoding: chunked\r\n`, zero),
  ],
  'CL.CL': [
    post(`Content-Length: 0\r\n${length(hidden)}`, hidden),
    post(`${length(hidden)}Content-Length: 0\r\n`, hidden),
    post(`Content-Length: 0, ${hidden.length}\r\n`, hidden),
    post(`Content-Length: +${hidden.length}\r\n`, hidden),
    post(`Content-Length : ${hidden.length}\r\n`, hidden),
    post(`Content-Length: 0x${hidden.length.toString(16)}\r\n`, hidden),
  ],
  'CL.0': [
    `GET /a HTTP/1.1\r\nHost: t\r\n${length(hidden)}\r\n${hidden}`,
    `OPTIONS /a HTTP/1.1\r\nHost: t\r\n${length(hidden)}\r\n${hidden}`,
  ],
  'chunk lines': [
    post('Transfer-Encoding: chunked\r\n', `0;a=b\n\r\n${hidden}`),
    post(
      'Transfer-Encoding: chunked\r\n',
      `2;\nxx\r\n${hidden.length.toString(16)}\r\n0\r\n\r\n${hidden}`,
    ),
    post('Transfer-Encoding: chunked\r\n', `1\r\nab\r\n0\r\n\r\n${hidden}`),
    post('Transfer-Encoding: chunked\r\n', `ffffffffffffffff1\r\n${hidden}`),
    post('Transfer-Encoding: chunked\r\n', `-1\r\n${hidden}`),
    post('Transfer-Encoding: chunked\r\n', `0\r\nGET /evil HTTP/1.1\r\nHost: t\r\n\r\n`),
  ],
  'line ends': [
    `GET /a HTTP/1.1\r\nHost: t\r\nX: a\n\n${hidden}`,
    `GET /a HTTP/1.1\r\nHost: t\r\nX: a\r\r\n${hidden}`,
    `GET /a HTTP/1.1\nHost: t\nContent-Length: 0\n\n${hidden}`,
    `GET /a HTTP/1.1\r\nHost: t\r\nX: a\0\r\n\r\n`,
  ],
  upgrade: [
    `GET /a HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n${length(hidden)}\r\n${hidden}`,
    `POST /a HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${length(hidden)}\r\n${hidden}`,
  ],
  'hop by hop': [
    post(`Connection: Content-Length\r\n${length(hidden)}`, hidden),
    post(`Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n`),
  ],
};

/** What a body is, told as the most careless reader could: any line with a method starts a request. */
class LenientUpstream {
  readonly seen: string[] = [];
  readonly heads: string[] = [];
  port = 0;
  readonly #server = createServer((socket) => {
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      text += (bytes as Buffer).toString('latin1');
      for (;;) {
        const end = text.search(/\r?\n\r?\n/);
        if (end < 0) return;
        const head = text.slice(0, end);
        let rest = text.slice(end).replace(/^\r?\n\r?\n/, '');
        const chunked = /transfer[-_]encoding\s*:[^\n]*chunked/i.test(head);
        const last = /content-length\s*:\s*(\d+)/i.exec(head);
        if (chunked) {
          const over = rest.indexOf('0\r\n\r\n');
          if (over < 0) return;
          rest = rest.slice(over + 5);
        } else if (last !== null) {
          if (rest.length < Number(last[1])) return;
          rest = rest.slice(Number(last[1]));
        }
        text = rest;
        this.heads.push(head);
        this.seen.push(head.split(/\r?\n/)[0]!);
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      }
    });
  });

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as { port: number }).port;
  }

  close(): void {
    this.#server.close();
  }
}

for (const [name, payloads] of Object.entries(classes)) {
  test(`no request is smuggled by ${name}`, async () => {
    const upstream = new LenientUpstream();
    await upstream.listen();
    await withGateway(simple([upstream.port], {}, { route: { path: '/a' } }), async (rig) => {
      for (const payload of payloads) {
        const client = await RawClient.open(rig.port);
        client.send(payload);
        await client.until(() => client.ended || client.text.includes('\r\n\r\n'), 400);
        await pause(10);
        client.close();
        // The next caller must get its own answer, not that of a hidden request.
        const next = await RawClient.open(rig.port);
        next.send('GET /a?next HTTP/1.1\r\nHost: t\r\n\r\n');
        assert.ok(await next.untilText('\r\n\r\nok'), `${JSON.stringify(payload)}: next caller`);
        next.close();
        const evil = upstream.seen.filter((line) => line.includes('/evil'));
        assert.deepEqual(evil, [], JSON.stringify(payload));
        for (const head of upstream.heads) {
          const both = /content-length/i.test(head) && /transfer[-_]encoding/i.test(head);
          assert.ok(!both, `both framings were forwarded: ${JSON.stringify(payload)}`);
        }
      }
    });
    upstream.close();
  });
}

test('the lenient upstream shows a smuggled request when nobody stands before it', async () => {
  const upstream = new LenientUpstream();
  await upstream.listen();
  const client = await RawClient.open(upstream.port);
  client.send(classes['CL.TE']![0]!);
  assert.ok(await client.untilText('ok'));
  assert.ok(upstream.seen.some((line) => line.includes('/evil')));
  client.close();
  upstream.close();
});
