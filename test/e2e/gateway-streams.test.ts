/** Chunked responses on their way through a live gateway: what passes as it is, and what must not. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { transport } from 'onehop/transport';
import { chunk, RawServer, type Script } from '../support/raw-server.ts';
import { parseFirstResponse } from './conformance.ts';
import { pause, simple, until, withGateway } from './gateway-rig.ts';
import { checkTail, withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';

const get = (version = 'HTTP/1.1'): string => `GET / ${version}\r\nHost: t\r\n\r\n`;
const headOf = (type: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`;
const events = headOf('text/event-stream');

async function withUpstream(
  script: Script,
  body: (port: number, server: RawServer) => Promise<void>,
): Promise<void> {
  const server = new RawServer(script);
  await server.listen(transport);
  try {
    await body(server.port, server);
  } finally {
    await server.close();
  }
}

/** Sends the pieces so far apart that each is a read of its own. */
const inPieces =
  (pieces: readonly string[], gapMs = 15): Script =>
  (peer) => {
    // One timer sets the next: late timers of several durations may fire out of order.
    const send = (i: number): void => {
      peer.send(pieces[i]!);
      if (i + 1 < pieces.length) setTimeout(send, gapMs, i + 1);
    };
    send(0);
  };

async function fetchRaw(port: number, request = get()) {
  const client = await RawClient.open(port);
  client.send(request);
  await client.until(
    () => client.ended || parseFirstResponse(client.received, false)?.complete === true,
  );
  const got = parseFirstResponse(client.received, false);
  const text = client.text;
  client.close();
  return { text, body: got?.body.toString('latin1') ?? '', complete: got?.complete === true };
}

test('rule 4: whole chunks keep their framing, and are counted without it', async () => {
  const pieces = [
    events,
    '009\r\ndata: 1\n\n\r\n',
    `${chunk('data: 2\n\n')}00a\r\ndata: 33\n\n\r\n`,
  ];
  await withUpstream(inPieces([...pieces, '0\r\n\r\n']), async (port) => {
    let counted = 0;
    const hear = {
      onFinish: (exchange: { downstream: { responseBytes: number } }) => {
        counted = exchange.downstream.responseBytes;
      },
    };
    await withGateway(
      simple([port]),
      async (rig) => {
        const got = await fetchRaw(rig.port);
        assert.ok(got.text.includes(pieces[1]!), got.text);
        assert.ok(got.text.includes(pieces[2]!), got.text);
        assert.equal(got.body, 'data: 1\n\ndata: 2\n\ndata: 33\n\n');
        assert.equal(got.complete, true);
        assert.ok(await until(() => counted === 28), `${counted}`);
      },
      hear,
    );
  });
});

test('rule 4: a caller of HTTP/1.0 gets the data without the framing', async () => {
  const pieces = [events, chunk('data: 1\n\n'), chunk('data: 2\n\n'), '0\r\n\r\n'];
  await withUpstream(inPieces(pieces), async (port) => {
    await withGateway(simple([port]), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get('HTTP/1.0'));
      assert.ok(await client.untilEnd());
      assert.ok(client.text.endsWith('\r\n\r\ndata: 1\n\ndata: 2\n\n'), client.text);
      client.close();
    });
  });
});

test('chunk extensions do not pass', async () => {
  const pieces = [headOf('text/plain'), '5;evil="x"\r\nhello\r\n', '1\r\n!\r\n', '0;y\r\n\r\n'];
  await withUpstream(inPieces(pieces), async (port) => {
    await withGateway(simple([port]), async (rig) => {
      const got = await fetchRaw(rig.port);
      assert.equal(got.body, 'hello!');
      assert.equal(got.complete, true);
      assert.ok(!got.text.includes('evil') && !got.text.includes(';y'), got.text);
    });
  });
});

for (const [name, bad] of [
  ['a size that is none', `${chunk('good!')}zz\r\nbad\r\n`],
  ['data longer than its size', `${chunk('good!')}3\r\nbadder\r\n`],
  ['a bare LF behind the size', `${chunk('good!')}3\nbad\r\n`],
  ['a bare CR behind the data', `${chunk('good!')}3\r\nbad\rX`],
  ['a signed size', `${chunk('good!')}+3\r\nbad\r\n`],
] as const) {
  test(`chunks with ${name} do not reach the caller as a whole response`, async () => {
    await withUpstream(inPieces([headOf('text/plain'), bad, '0\r\n\r\n']), async (port) => {
      await withGateway(simple([port]), async (rig) => {
        const got = await fetchRaw(rig.port);
        assert.equal(got.complete, false);
        assert.ok('good!bad'.startsWith(got.body), got.body);
        assert.ok(!got.text.includes('zz') && !got.text.includes('+3'), got.text);
      });
    });
  });
}

test('rule 9: comments and whole chunks alternate without breaking the framing', async () => {
  const pieces = [events, chunk('data: 1\n\n'), chunk('data: half'), chunk('\n\n'), chunk('\n')];
  pieces.push(chunk('data: 2\n\n'), '0\r\n\r\n');
  let later = (_run: () => void, _ms: number): void => {};
  const script: Script = (peer) => {
    for (const [i, piece] of pieces.entries()) later(() => peer.send(piece), 90 * i);
  };
  const input = (ports: number[]) => simple(ports, {}, { route: { sseKeepAlive: 30 } });
  await withSimGateway([script], input, async (rig) => {
    later = (run, ms) => void rig.clock.setTimer(run, ms);
    const got = await rig.ask(get());
    assert.equal(got.complete, true);
    assert.equal(
      got.body.replaceAll(': keep-alive\n\n', ''),
      'data: 1\n\ndata: half\n\n\ndata: 2\n\n',
    );
    assert.ok(got.body.includes('data: 1\n\n: keep-alive\n\n'), got.body);
    assert.ok(!got.body.includes('half:'), got.body);
  });
});

test('rule 7: the last event waits for the terminator behind whole chunks too', () =>
  checkTail(
    events,
    [
      [chunk('data: 1\n\n') + chunk('data: 2\n\n'), 15],
      [chunk('data: 3\n\n') + chunk('data: [DONE]\n\n'), 30],
      ['0\r\n\r\n', 32],
    ],
    simple,
    get(),
    (client) => {
      const body = parseFirstResponse(client.bytes, false)?.body.toString('latin1');
      assert.equal(body, 'data: 1\n\ndata: 2\n\ndata: 3\n\ndata: [DONE]\n\n');
    },
  ));

test('any cut of a chunked body gives the caller the same bytes', async () => {
  const sizes = [1, 2, 9, 200, 1, 5000, 17, 3];
  const data = sizes.map((size, i) => String.fromCharCode(97 + i).repeat(size));
  const whole = data.map(chunk).join('');
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed % below;
  };
  const script: Script = (peer) => {
    peer.send(headOf('text/plain'));
    const cuts = [0, 1, 2, 3].map(() => random(whole.length)).sort((a, b) => a - b);
    // One of them between two chunks, so that whole ones follow.
    cuts[0] = chunk(data[0]!).length;
    cuts.sort((a, b) => a - b);
    const pieces = [...cuts, whole.length].map((cut, i) => whole.slice(cuts[i - 1] ?? 0, cut));
    inPieces([...pieces, '0\r\n\r\n'], 4)(peer, undefined as never);
  };
  await withUpstream(script, async (port) => {
    await withGateway(simple([port]), async (rig) => {
      await Promise.all(
        Array.from({ length: 40 }, async () => {
          const got = await fetchRaw(rig.port);
          assert.equal(got.complete, true);
          assert.equal(got.body, data.join(''));
        }),
      );
    });
  });
});

test('rule 3: a caller that reads slowly holds up a chunked stream', async () => {
  const block = Buffer.alloc(16 * 1024, 0x61);
  let sentBytes = 0;
  const server = createServer((_, res) => {
    const more = (): void => {
      while (sentBytes < 64 * 1024 * 1024) {
        sentBytes += block.length;
        if (!res.write(block)) {
          res.once('drain', more);
          return;
        }
      }
      res.end();
    };
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  try {
    await withGateway(simple([port]), async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(get());
      assert.ok(await client.untilText('aaaa'));
      client.socket.pause();
      // Until everybody on the way holds what it may.
      let before = -1;
      while (before !== sentBytes) {
        before = sentBytes;
        await pause(300);
      }
      let queuedBytes = 0;
      rig.gateway.server.forEachExchange((exchange) => {
        queuedBytes += exchange.queuedBytes;
      });
      assert.ok(before < 48 * 1024 * 1024, `${before} bytes were sent though nobody read`);
      assert.ok(queuedBytes < 4 * 1024 * 1024, `${queuedBytes} bytes wait in the gateway`);
      client.close();
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
